"""How answers look: tables, trees and stories on a terminal; JSON, JSON lines and CSV for programs."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import secrets
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from llamalog_sql.bench import Cost
from llamalog_sql.queries import Blame, ChainRow, Change, Difference, Found, Sentence, TreeNode

FORMATS = ("table", "json", "jsonl", "csv")

#: Children of a node that are drawn before "N more".
CHILDREN = 15

_STATUS_STYLES = {
    "SUCCESS": "green",
    "COMPLETED": "green",
    "PARTIAL_SUCCESS": "yellow",
    "FAILED": "red",
    "NO_DATA_AVAILABLE": "bright_black",
    "SKIPPED": "blue",
    "PREVIEW": "magenta",
}
_CATEGORY_STYLES = {
    "FAILED": "red",
    "DELETED": "yellow",
    "UNLINKED": "yellow",
    "TRUNCATED": "yellow",
}
_SOURCE_STYLES = {
    "spotify": "green",
    "musicbrainz": "blue",
    "lastfm": "red",
    "last.fm": "red",
    "discogs": "dark_orange",
    "deezer": "purple",
}


class _Console(Console):
    """Leaves it to the command what becomes of a closed pipe; rich would end it with code 1."""

    def on_broken_pipe(self) -> None:
        raise


def console(stream: IO[str] | None = None) -> Console:
    """Return a console that writes to stdout; NO_COLOR and FORCE_COLOR are heeded, and a pipe gets whole lines."""
    stream = stream or sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else 500
    return _Console(file=stream, width=width, highlight=False, emoji=False)


def clean(text: object) -> str:
    """Return stored text made harmless for a terminal: control characters are shown, not obeyed."""
    return "".join(
        c if c.isprintable() else {"\n": "⏎", "\t": " "}.get(c, f"\\x{ord(c):02x}")
        for c in str(text)
    )


def heading(entity_type: str, entity_id: str, label: str | None) -> str:
    """Return what stands above an answer: which entity it is about."""
    named = f" “{clean(label)}”" if label is not None else ""
    return f"🦙 {clean(entity_type.upper())}{named} {clean(entity_id)}"


def badge(category: str | None, status: str | None) -> Text:
    """Return the badge of a change: its category in words, coloured by category and status."""
    words = clean(category or "")
    if category == "CREATED":
        words = f"🦙 {words}"
    if status not in {None, "SUCCESS"} and status != category:
        words = f"{words} {clean(status)}"
    return Text(words, style=f"bold {badge_colour(category, status)}")


def badge_colour(category: str | None, status: str | None) -> str:
    return _CATEGORY_STYLES.get(category or "") or _STATUS_STYLES.get(status or "", "cyan")


def source_text(source: str | None) -> Text:
    """Return the name of a source in its colour."""
    return Text(clean(source or ""), style=source_colour(source))


def source_colour(source: str | None) -> str:
    """Return the colour of a source, '' where it has none."""
    name = (source or "").lower()
    return next((style for key, style in _SOURCE_STYLES.items() if name.startswith(key)), "")


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def write_rows(rows: Sequence[Any], form: str, kind: type[Any] | None = None) -> None:
    """Write dataclasses as json (an array), jsonl (a line each) or csv (with a header).

    kind: which dataclass they are of; to be said where there may be none, so that csv has its header all the same.
    """
    stream = sys.stdout
    dicts = [dataclasses.asdict(row) for row in rows]
    if form == "json":
        stream.write(as_json(dicts, indent=2) + "\n")
    elif form == "jsonl":
        for row in dicts:
            stream.write(as_json(row) + "\n")
    else:
        kind = kind or (type(rows[0]) if rows else None)
        header = [field.name for field in dataclasses.fields(kind)] if kind else []
        write_csv([list(row.values()) for row in dicts], header, stream)


def write_batches(
    batches: Iterable[Sequence[Any]],
    kind: type[Any],
    form: str,
    stream: IO[str] | None = None,
    *,
    is_spreadsheet_safe: bool = False,
) -> None:
    """Write dataclasses of one kind as they come, each batch at once: jsonl, or csv whose header always stands there.

    is_spreadsheet_safe: csv in which no cell is taken for a formula: an apostrophe stands before what could be one.
    """
    stream = stream or sys.stdout
    names = [field.name for field in dataclasses.fields(kind)]
    if form == "csv":
        write_csv([], names, stream)
    for batch in batches:
        if form == "csv":
            cells = ([getattr(row, name) for name in names] for row in batch)
            write_csv(map(_tamed, cells) if is_spreadsheet_safe else cells, [], stream)
        else:
            for row in batch:
                stream.write(as_json({name: getattr(row, name) for name in names}) + "\n")
        stream.flush()


#: What a formula begins with, the wide forms too, and what some spreadsheets skip before it.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")


def _tamed(row: Sequence[Any]) -> list[str]:
    """Return cells that no spreadsheet takes for formulas."""
    cells = [_cell(value) for value in row]
    return [f"'{cell}" if cell.startswith(_FORMULA) else cell for cell in cells]


#: Stands around the text of a number until it is written without quotation marks; nobody can have stored it.
_NUMBER = f"{secrets.token_hex(8)}:{{}}"
_QUOTED_NUMBER = re.compile(_NUMBER.format(r"(-?[0-9.]+(?:[eE][+-]?[0-9]+)?)").join('""'))


def as_json(value: object, indent: int | None = None) -> str:
    """Return JSON; of a Decimal every digit, as the log has them."""
    text = json.dumps(value, default=_for_json, ensure_ascii=False, indent=indent)
    return _QUOTED_NUMBER.sub(r"\1", text)


def write_csv(rows: Iterable[Sequence[Any]], header: Sequence[str], stream: IO[str]) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    if header:
        writer.writerow(header)
    for row in rows:
        writer.writerow([_cell(value) for value in row])


def as_dict(row: Any, *, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return a dataclass as a dictionary."""
    kept = {name: value for name, value in dataclasses.asdict(row).items() if name not in without}
    return kept


def plural(count: int, one: str, many: str | None = None) -> str:
    """Return 1 row, 2 rows."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def grid(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a plain table."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for position, name in enumerate(header):
        # names and ids are for copying
        table.add_column(name, overflow="fold", no_wrap=position < 2)
    for row in rows:
        table.add_row(*(Text(clean(cell)) for cell in row))
    return table


def print_costs(costs: Sequence[Cost]) -> None:
    """Print what logging a table costs: what was measured, then single statements and statements of many rows."""
    target = console()
    first = costs[0]
    facts = (
        f"{plural(first.table_rows, 'row')}, {plural(first.column_count, 'column')}, {first.row_bytes:,} bytes a row;"
        f" {first.sampled_rows:,} sampled"
    )
    target.print(Text(f"🦙 {clean(first.table)}: {facts}", style="bold"))
    for columns in {tuple(c.columns): None for c in costs if c.write == "UPDATE"}:
        target.print(Text(f"UPDATE changes {', '.join(map(clean, columns))}"))
    if not any(cost.write == "UPDATE" for cost in costs):
        target.print(Text("no UPDATE: each column is in a unique key, or the same in all rows"))
    if first.wal_bytes is None:
        target.print(Text("WAL not counted: at wal_level minimal, new tables leave none"))
    for is_many in (False, True):
        some = [cost for cost in costs if (cost.rows_per_statement > 1) == is_many]
        target.print()
        target.print(Text(_statements(some) if is_many else "one row a statement, each committed"))
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("write", no_wrap=True)
        table.add_column("capture")
        for name in ("µs/row", "+ µs", "× none", "spread", "log B", "WAL B"):
            table.add_column(name, justify="right", no_wrap=True)
        for cost in some:
            table.add_row(cost.write if cost.ratio is None else "", cost.capture, *_figures(cost))
        target.print(table)
    target.print()


def _statements(costs: Sequence[Cost]) -> str:
    """Return how many rows a statement writes; of a slow capture fewer."""
    usual = max(cost.rows_per_statement for cost in costs)
    fewer = {c.capture: c.rows_per_statement for c in costs if c.rows_per_statement < usual}
    slow = "".join(f"; {name}: {count:,}" for name, count in fewer.items())
    return f"{usual:,} rows a statement{slow}"


def _figures(cost: Cost) -> list[str]:
    def size(value: int | None) -> str:
        return "–" if value is None else f"{value:,}"

    bytes_of = [size(cost.log_bytes), size(cost.wal_bytes)]
    if cost.ratio is None or cost.ratio_low is None or cost.ratio_high is None:
        return [_short(cost.microseconds), "", "", "", "", bytes_of[1]]
    spread = f"{_short(cost.ratio_low)}–{_short(cost.ratio_high)}"
    return [
        _short(cost.microseconds),
        _short(cost.added_microseconds or 0),
        _short(cost.ratio),
        spread,
        *bytes_of,
    ]


def _short(value: float) -> str:
    """Return a measured number with no more digits than noise leaves."""
    return (
        f"{value:,.0f}"
        if abs(value) >= 100
        else f"{value:.1f}"
        if abs(value) >= 10
        else f"{value:.2f}"
    )


def print_changes(rows: Sequence[Change | ChainRow], title: str, *, with_entity: bool) -> None:
    """Print changes with the fields that the admin screens show: a table, or where it has no room a paragraph for each."""
    target = console()
    cells = [_cells(row, with_entity) for row in rows]
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    for name in cells[0]:
        table.add_column(name, overflow="fold", no_wrap=name in {"seq", "time", "category"})
    table.columns[1].header = "time (UTC)"
    for row in cells:
        table.add_row(*row.values())
    if _fits(table, target):
        target.print(table)
        return
    target.print(Text(title, style="bold"))
    for row in cells:
        for line in _paragraph(row):
            target.print(line)


def _cells(row: Change | ChainRow, with_entity: bool) -> dict[str, Text]:
    entity = _entity(
        row.entity_type, row.entity_id, row.link_type, row.related_type, row.related_id
    )
    return {
        "seq": Text(str(row.seq)),  # what revert and diff ask for
        "time": Text(moment(row.created_at)),
        "category": badge(row.category, row.status),
        **({"entity": entity} if with_entity else {}),
        "source": source_text(row.source),
        "by": Text(clean(actor(row.user_id, _role(row), row.triggered_by))),
        "what": Text(_what(row, with_entity)),
        "job": Text(clean(row.job_id or row.parent_job_id or "")),
    }


def change_line(row: Change) -> Text:
    """Return a change as one line, for a terminal where changes scroll by."""
    cells = _cells(row, True)
    cells["category"].pad_right(max(0, 10 - cells["category"].cell_len))
    trail = Text(" · ", style="dim").join(
        text for text in (cells["source"], cells["by"], cells["job"]) if text
    )
    trail.stylize("dim")
    head = (cells["time"], cells["category"], cells["entity"], cells["what"], trail)
    return Text("  ").join(text for text in head if text)


def actor(user_id: str | None, db_user: str | None, triggered_by: str | None = None) -> str:
    """Return who is answerable for a change: the user that the application named. Where it named none there is no user, and
    the role that wrote is called a role, with what made it write where that is known.
    """
    role = f"role {db_user}" if db_user else None
    return user_id or " with ".join(filter(None, [role, triggered_by]))


def _role(row: Change | ChainRow) -> str | None:
    """Return the role that wrote; of what was inferred, nobody knows who did it."""
    noted = row.metadata.get("llamalog") if isinstance(row.metadata, dict) else None
    is_inferred = isinstance(noted, dict) and noted.get("inferred") is True
    # only llamalog backfill writes there: what others say of llamalog is a claim
    return None if is_inferred and row.seq < 1 else row.db_user


def _paragraph(cells: dict[str, Text]) -> Iterator[RenderableType]:
    """Yield the lines of one change for a narrow terminal: what happened, then who and which job."""
    head = [cells["seq"], cells["time"], cells["category"]]
    yield Text("  ").join([*head, cells["entity"]] if "entity" in cells else head)
    trail = Text(" · ", style="dim").join(
        text for text in (cells["source"], cells["by"], cells["job"]) if text
    )
    for text in (cells["what"], trail):
        if text:
            yield Padding(text, (0, 0, 0, 4))


def found_table(rows: Sequence[Found]) -> Table:
    return grid(
        ["type", "id", "label", ""],
        [
            [
                row.entity_type,
                row.entity_id or "",
                row.label or "",
                "deleted" if row.is_alive is False else "",
            ]
            for row in rows
        ],
    )


def write_image(row: dict[str, Any] | None, form: str, stream: IO[str] | None = None) -> None:
    """Write the image of a row as json (an object, or null), jsonl or csv (a column for each field)."""
    stream = stream or sys.stdout
    if form == "csv":
        write_csv([] if row is None else [list(row.values())], list(row or ()), stream)
    else:
        stream.write(as_json(row, indent=2 if form == "json" else None) + "\n")


def image_table(row: dict[str, Any]) -> Table:
    table = grid(
        ["field", "value"], [[name, _readable(value)] for name, value in sorted(row.items())]
    )
    table.columns[1].no_wrap = False  # the name of a field is not to be squeezed by its value
    return table


def print_blame(rows: Sequence[Blame]) -> None:
    """Print each field with the change that set it: a table, or where it has no room two lines for each."""
    target = console()
    lines = [
        [
            row.field,
            moment(row.created_at),
            row.category or "unknown",
            row.source or "",
            actor(row.user_id, row.db_user),
            row.job_id or "",
            short_value(row.value),
        ]
        for row in rows
    ]
    table = grid(["field", "time (UTC)", "category", "source", "by", "job", "value"], lines)
    if _fits(table, target):
        target.print(table)
        return
    for field, *trail, value in lines:
        target.print(Text(f"{clean(field)}  ", style="bold").append(clean(value), style="not bold"))
        said = " · ".join(clean(part) for part in trail if part)
        target.print(Padding(Text(said, style="dim"), (0, 0, 0, 4)))


def _fits(table: Table, target: Console) -> bool:
    """Return whether the table has room for the longest word of each column."""
    needed = Measurement.get(target, target.options.update(max_width=10_000), table).minimum
    return needed <= target.width


def difference_table(rows: Sequence[Difference]) -> Table:
    return grid(
        ["field", "change", "before", "after"],
        [
            [
                row.field,
                row.change,
                "" if row.change in {"created", "added"} else _readable(row.before),
                "" if row.change in {"deleted", "dropped"} else _readable(row.after),
            ]
            for row in rows
        ],
    )


def story(sentences: Sequence[Sentence]) -> Text:
    """Return the story, a paragraph for each step."""
    text = Text()
    for sentence in sentences:
        if sentence.created_at is not None:
            text.append(moment(sentence.created_at) + "  ", style="dim")
        text.append(clean(sentence.sentence) + "\n")
    return text


def tree(nodes: Sequence[TreeNode], title: str, children: int = CHILDREN) -> Tree:
    """Return the nodes as a tree below a title; below each, `children` of them and how many more there are."""
    below: dict[str | None, list[TreeNode]] = {}
    for node in nodes:
        below.setdefault(node.parent_node if node.depth else None, []).append(node)
    top = Tree(Text(title, style="bold"), guide_style="dim")
    _grow(top, None, below, children)
    return top


#: Levels of a tree that are drawn: no terminal has room for more.
_DEEPEST = 100


def _grow(
    branch: Tree,
    above: TreeNode | None,
    below: dict[str | None, list[TreeNode]],
    children: int,
    depth: int = 0,
) -> None:
    if depth == _DEEPEST:
        branch.add(Text("deeper: --format json has all of it", style="dim italic"))
        return
    nodes = below.get(above.node if above else None, [])
    for node in nodes[:children]:
        only = below.get(node.node, [])
        if (
            node.seq is None
            and len(only) == 1
            and only[0].seq is not None
            and only[0].node not in below
        ):
            # a job that did one thing takes one line
            branch.add(_line(only[0], None))
        else:
            _grow(branch.add(_line(node, above)), node, below, children, depth + 1)
    if len(nodes) > children:
        more = f"{len(nodes) - children} more: --children {len(nodes)}"
        branch.add(Text(more, style="dim italic"))


def _line(node: TreeNode, above: TreeNode | None) -> Text:
    line = Text()
    if node.seq is None:
        line.append("job ", style="dim")
        line.append(clean(node.job_id))
    else:
        line.append_text(badge(node.category, node.status)).append(" ")
        if node.link_type:
            line.append(f"{clean(node.entity_type)} “{clean(node.label or node.entity_id)}” – ")
            line.append(
                f"{clean(node.related_type)} “{clean(node.related_label or node.related_id)}”"
            )
        elif node.entity_id:
            line.append(f"{clean(node.entity_type)} “{clean(node.label or node.entity_id)}”")
        else:
            line.append(clean(node.operation))
    if node.detail:
        line.append(f"  {clean(node.detail)}")
    trail = []
    if (
        above is None
        or (node.source, node.user_id) != (above.source, above.user_id)
        or node.node.startswith("job ")
    ):
        # a child says only what its parent has not said
        if node.source:
            trail.append(source_text(node.source))
        if node.user_id:
            trail.append(Text(f"user {clean(node.user_id)}"))
        elif node.triggered_by:
            trail.append(Text(clean(node.triggered_by)))
        if node.seq is not None and node.job_id and not node.job_id.startswith("tx:"):
            trail.append(Text(f"job {clean(node.job_id)}"))
        if node.created_at is not None:
            trail.append(Text(moment(node.created_at)))
    for part in trail:
        line.append(" · ", style="dim")
        part.stylize("dim")
        line.append_text(part)
    return line


def _entity(
    entity_type: str | None,
    entity_id: str | None,
    link_type: str | None,
    related_type: str | None,
    related_id: str | None,
) -> Text:
    if entity_type is None:
        return Text("")
    if entity_id is None:
        return Text(clean(entity_type))  # about the type, as that its capture was paused
    shown = f"{clean(entity_type)} {clean(entity_id)}"
    if link_type is not None:
        shown += f" – {clean(related_type)} {clean(related_id)}"
    return Text(shown)


def _what(row: Change | ChainRow, with_entity: bool) -> str:
    parts = []
    if row.link_type is not None and not with_entity:
        parts.append(f"{row.related_type} {row.related_id}")
    if row.error_message:
        parts.append(
            f"{row.error_message} ({row.error_code})" if row.error_code else row.error_message
        )
    if (
        row.op == "U"
        and row.fields_enriched
        and isinstance(row.before, dict)
        and isinstance(row.after, dict)
    ):
        shown = [
            _difference(name, row.before.get(name), row.after.get(name))
            for name in row.fields_enriched[:3]
        ]
        if len(row.fields_enriched) > 3:
            shown.append(f"{len(row.fields_enriched) - 3} more")
        parts.append(", ".join(shown))
    elif row.op == "I" and row.fields_enriched and row.link_type is None:
        parts.append(plural(len(row.fields_enriched), "field"))
    elif row.op is None:
        parts += _told(row)
    if row.reason:
        parts.append(row.reason)
    return clean("; ".join(parts))


def _told(row: Change | ChainRow) -> Iterator[str]:
    """Yield what a row says that the application wrote itself."""
    yield row.operation
    if row.fields_enriched:
        more = len(row.fields_enriched) - 4
        yield ", ".join(row.fields_enriched[:4]) + (f" and {more} more" if more > 0 else "")
    if row.data_quality_before != row.data_quality_after:
        yield f"quality {row.data_quality_before or '–'} → {row.data_quality_after or '–'}"


def _difference(name: str, before: Any, after: Any) -> str:
    if before == after == "[redacted]":
        return f"{name} (redacted)"
    old, new = _shown(before), _shown(after)
    if old != new and _shortened(old) == _shortened(new):
        # long texts that begin alike: from shortly before where they part
        pairs = enumerate(zip(old, new, strict=False))
        start = next((n for n, (a, b) in pairs if a != b), min(len(old), len(new))) - _ALIKE
        old, new = f"…{old[start:]}", f"…{new[start:]}"
    return f"{name}: {_shortened(old)} → {_shortened(new)}"


#: Characters of a cell, and those of them that two long texts have in common where both are shown.
_CELL = 40
_ALIKE = 15


def short_value(image: Any) -> str:
    """Return the image of a value for a cell, cut where it is long; not yet clean."""
    return _shortened(_shown(image))


def _shortened(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


#: Characters of a value that a terminal is shown where values are what was asked for; other formats have all of it.
_READABLE = 200


def _readable(image: Any) -> str:
    """Return the image of a value, one of a megabyte cut and its length said: it would push all else off the screen."""
    text = _shown(image)
    return (
        text if len(text) <= _READABLE else f"{text[: _READABLE - 1]}… ({len(text):,} characters)"
    )


def _shown(image: Any) -> str:
    if image is None:
        return "nothing"
    if isinstance(image, dict) and "$json" in image:
        image = image["$json"]
    return image if isinstance(image, str) else as_json(image)


def _for_json(value: object) -> str:
    return _NUMBER.format(value) if isinstance(value, Decimal) else _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, (dict, list, bool)):
        return as_json(value)
    return _plain(value)
