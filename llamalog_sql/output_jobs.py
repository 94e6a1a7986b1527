"""How jobs and their impact look: a tree of jobs, tables of what was touched; streams for programs."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from llamalog_sql.jobs import Criteria, Impact, ImpactEntity, JobNode
from llamalog_sql.output import _cell, as_json, clean, moment, plural, source_text

#: Levels of a tree that are drawn: no terminal has room for more.
_DEEPEST = 100

#: Rows of a table whose columns are laid out together.
_LAID_OUT = 500


def job_tree(nodes: Sequence[JobNode], children: int) -> Tree:
    """Return the first ancestor with what follows from it; below each job, `children` of those that it caused."""
    below: dict[str | None, list[JobNode]] = {}
    for node in nodes[1:]:
        below.setdefault(node.parent_job_id, []).append(node)
    top = Tree(_job_line(nodes[0]), guide_style="dim")
    _grow(top, nodes[0], below, children, 0)
    return top


def _grow(
    branch: Tree,
    above: JobNode,
    below: Mapping[str | None, list[JobNode]],
    children: int,
    depth: int,
) -> None:
    nodes = below.get(above.job_id, [])
    if depth == _DEEPEST and nodes:
        branch.add(Text("deeper: --format json has all of it", style="dim italic"))
        return
    for node in nodes[:children]:
        _grow(branch.add(_job_line(node)), node, below, children, depth + 1)
    if len(nodes) > children:
        more = f"{len(nodes) - children} more: --children {len(nodes)}"
        branch.add(Text(more, style="dim italic"))


def _job_line(node: JobNode) -> Text:
    line = Text("🦙 job " if node.depth == 0 else "job ", style="bold" if node.depth == 0 else "")
    line.append(clean(node.job_id))
    trail = []
    if node.source:
        trail.append(source_text(node.source))
    if node.user_id:
        trail.append(Text(f"user {clean(node.user_id)}"))
    elif node.triggered_by:
        trail.append(Text(clean(node.triggered_by)))
    trail.append(Text(_span(node.started_at, node.ended_at)))
    if node.categories:
        trail.append(Text(_counts(node.categories), style="red" if node.failure_count else ""))
    elif node.started_at is not None:
        trail.append(Text("no change"))
    for part in trail:
        line.append(" · ", style="dim")
        line.append_text(part)
    return line


def _span(first: datetime | None, last: datetime | None) -> str:
    """Return when it was: the end only as far as it differs, in days from the beginning."""
    if first is None:
        return "only its name is known"
    end = moment(last)
    if end == moment(first):
        return end
    is_same_day = end[:10] == moment(first)[:10]
    return f"{moment(first)} – {end[11:] if is_same_day else end}"


def _counts(categories: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {clean(name)}" for name, count in sorted(categories.items()))


def phrase(criteria: Criteria) -> str:
    """Return whose changes are meant, in words that follow “changes”."""
    who = [
        f"job {_named(criteria.job_id)} and what it caused" if criteria.job_id is not None else "",
        f"source {_named(criteria.source)}" if criteria.source is not None else "",
        f"user {_named(criteria.user_id)}" if criteria.user_id is not None else "",
    ]
    when = [
        f"from {_iso(criteria.start_date)}" if criteria.start_date is not None else "",
        f"before {_iso(criteria.end_date)}" if criteria.end_date is not None else "",
    ]
    whose = ", ".join(part for part in who if part)
    return " ".join(part for part in (whose and f"of {whose}", *when) if part)


def _named(name: str) -> str:
    """Return a name for a sentence; one that could not be seen in it, in quotation marks."""
    return clean(name) if name and name == name.strip() else f'"{clean(name)}"'


def _iso(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def impact_title(criteria: Criteria, rows: Sequence[Impact]) -> Text:
    touched = sum(row.entity_count for row in rows)
    changes = sum(row.change_count for row in rows)
    when = _span(min(row.first_at for row in rows), max(row.last_at for row in rows))
    counts = f"{changes:,}, on {plural(touched, 'entity or link', 'entities and links')}"
    return Text(f"🦙 changes {phrase(criteria)}: {counts} · {when}", style="bold")


def impact_table(rows: Sequence[Impact]) -> Table:
    """Return a row for each type: how many were touched, by how many changes of which categories."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("type", no_wrap=True)
    table.add_column("touched", justify="right", no_wrap=True)
    table.add_column("changes", justify="right", no_wrap=True)
    table.add_column("how")
    for row in rows:
        table.add_row(
            Text("no entity" if row.entity_type is None else clean(row.entity_type)),
            f"{row.entity_count:,}",
            f"{row.change_count:,}",
            _counts(row.categories),
        )
    return table


def entity_tables(rows: Iterable[ImpactEntity]) -> Iterator[Table]:
    """Yield tables of a screenful or two each: the widths of columns are known before the last row is."""
    left = iter(rows)
    while batch := list(itertools.islice(left, _LAID_OUT)):
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("type", no_wrap=True)
        # ids are for copying
        table.add_column("id", no_wrap=True)
        table.add_column("label", overflow="fold")
        table.add_column("how")
        for row in batch:
            label = clean(row.label or "") + (" (deleted)" if row.is_alive is False else "")
            other = clean(row.related_label or "")
            table.add_row(
                Text(clean(row.touched_type)),
                _ends(clean(row.entity_id), row.related_id and clean(row.related_id)),
                _ends(label, other if row.related_id else None),
                _counts(row.categories),
            )
        yield table


def _ends(one: str, other: str | None) -> Text:
    """Return an entity, or the ends of a link in a line each: two ids have no room beside each other."""
    return Text(one if other is None else f"{one} –\n{other}")


def remembering_last(
    rows: Iterable[ImpactEntity], last: list[ImpactEntity]
) -> Iterator[ImpactEntity]:
    """Pass the rows on; `last` holds the one that came last."""
    for row in rows:
        last[:] = [row]
        yield row


def stream_rows(rows: Iterable[ImpactEntity], form: str, stream: IO[str] | None = None) -> None:
    """Write dataclasses as output.write_rows() does, each as it comes: memory does not grow with their number."""
    stream = stream or sys.stdout
    writer = csv.writer(stream, lineterminator="\n")
    if form == "csv":
        writer.writerow(field.name for field in dataclasses.fields(ImpactEntity))
    number = -1
    for number, row in enumerate(rows):
        values = dataclasses.asdict(row)
        if form == "csv":
            writer.writerow([_cell(value) for value in values.values()])
        elif form == "jsonl":
            stream.write(as_json(values) + "\n")
        else:
            text = as_json(values, indent=2).replace("\n", "\n  ")
            stream.write(("[\n  " if number == 0 else ",\n  ") + text)
    if form == "json":
        stream.write("[]\n" if number < 0 else "\n]\n")
