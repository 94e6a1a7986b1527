"""Figures about a span of the log: how much of what, and what fell silent."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import IO

from rich.table import Table
from rich.text import Text

from llamalog_sql.connection import Connection, ask
from llamalog_sql.output import clean, moment

#: By what changes are counted; the type is for whoever asks.
SIDES = ("category", "source", "status", "user", "day", "type")

#: Lines of a side that are drawn before "N more", where several sides are.
LINES = 10

#: Columns of a terminal that the longest bar takes.
_WIDTH = 40


@dataclass(frozen=True)
class Count:
    """How many changes have something in common.  side: in what.  name: None where they say nothing of it."""

    side: str
    name: str | None
    change_count: int
    last_at: datetime


@dataclass(frozen=True)
class Silent:
    """What stopped writing, or is written no more.  what: source, or table.  description: of a table its name.

    last_at: of a table, None: not in the span.  longest_pause: of a source before that, None where there was none.
    """

    what: str
    name: str
    description: str | None
    change_count: int
    last_at: datetime | None
    longest_pause: timedelta | None
    silent_for: timedelta | None


def counts(
    conn: Connection, side: str, since: datetime | None = None, until: datetime | None = None
) -> list[Count]:
    """Return the changes of a span counted by one of SIDES, the most first; days in their order.

    since: by default 30 days before `until`, which by default is now.

    Raises Misuse (22023).
    Source: sql/functions/stats.sql
    """
    return ask(
        conn,
        Count,
        "SELECT %s AS side, counted.* FROM llamalog.stats(%s, %s, %s) AS counted",
        [side, side, since, until],
    )


def silent(
    conn: Connection, since: datetime | None = None, until: datetime | None = None
) -> list[Silent]:
    """Return the sources that wrote in a span and then stopped, the longest silent first, then the tables not written to.

    Source: sql/functions/silent_sources.sql, sql/functions/silent_tables.sql
    """
    sources = ask(
        conn,
        Silent,
        "SELECT 'source' AS what, silent.source AS name, silent.description, silent.change_count, silent.last_at,"
        " silent.longest_pause, silent.silent_for FROM llamalog.silent_sources(%s, %s) AS silent",
        [since, until],
    )
    tables = ask(
        conn,
        Silent,
        "SELECT 'table' AS what, silent.entity_type AS name, silent.table_name AS description, 0 AS change_count,"
        " NULL AS last_at, NULL AS longest_pause, NULL AS silent_for FROM llamalog.silent_tables(%s, %s) AS silent",
        [since, until],
    )
    return [*sources, *tables]


def chart(rows: Sequence[Count], lines: int | None = None, stream: IO[str] | None = None) -> Table:
    """Return the counts as bars, of the first `lines` of them.  A terminal without UTF-8 gets # for a block."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column(rows[0].side if rows else "", no_wrap=True, overflow="ellipsis")
    table.add_column("changes", justify="right", no_wrap=True)
    table.add_column("")
    drawn = list(_without_gaps(rows) if rows and rows[0].side == "day" else _named(rows))
    # of days the last ones, of all else the first, which have the most
    cut = drawn if lines is None else drawn[-lines:] if rows[0].side == "day" else drawn[:lines]
    most = max((count for _, count in cut), default=0)
    encoding = (getattr(stream or sys.stdout, "encoding", None) or "").lower()
    block = "█" if encoding.startswith("utf") else "#"
    for name, count in cut:
        # what is there is seen, however little it is
        bar = block * (max(1, round(_WIDTH * count / most)) if count else 0)
        table.add_row(Text(clean(name)), f"{count:,}", Text(bar, style="cyan"))
    if len(cut) < len(drawn):
        table.add_row(Text(f"{len(drawn) - len(cut)} more: --by {rows[0].side}", style="dim"))
    return table


def silence(rows: Sequence[Silent]) -> Text:
    """Return what fell silent, a line each."""
    text = Text()
    for row in rows:
        text.append(clean(row.name), style="bold yellow")
        if row.last_at is None or row.silent_for is None:
            text.append(f"  nothing was written to {clean(row.description)}\n")
            continue
        text.append(
            f"  has stopped: last written {moment(row.last_at)}, {_long(row.silent_for)} ago"
        )
        if row.longest_pause is not None:
            text.append(f"; until then it paused for {_long(row.longest_pause)} at most")
        text.append("\n")
    return text


def _named(rows: Sequence[Count]) -> Iterator[tuple[str, int]]:
    for row in rows:
        yield row.name if row.name is not None else "(none)", row.change_count


def _without_gaps(rows: Sequence[Count]) -> Iterator[tuple[str, int]]:
    """Yield the days from the first to the last, those without changes too."""
    known = {date.fromisoformat(row.name): row.change_count for row in rows if row.name}
    day, last = min(known), max(known)
    while day <= last:
        yield day.isoformat(), known.get(day, 0)
        day += timedelta(days=1)


def _long(span: timedelta) -> str:
    """Return how long it was in the largest unit of which there are two."""
    for unit, seconds in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if span.total_seconds() >= 2 * seconds:
            return f"{span.total_seconds() / seconds:.0f} {unit}s"
    return f"{span.total_seconds():.0f} seconds"
