"""Whether live rows follow from the log: goes through tables and log in batches, and says what does not agree."""

from __future__ import annotations

import functools
import json
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import IsolationLevel, sql
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads
from rich.text import Text

from llamalog_sql import output
from llamalog_sql.connection import Connection
from llamalog_sql.errors import translate

_exact = functools.partial(json.loads, parse_float=Decimal)

#: Verdicts that contradict the log. The others: agrees, and unknown.
CONTRADICTIONS = ("changed", "came", "went", "gap")

#: Below every change, and what backfill has noted below the first.
_BEGINNING = -(10**12)

#: Rows of the log that are looked through at a time, in batches of the table: most say that something lives, and it does.
_STRETCH = 5

#: Seconds between two words about progress.
_SAID_EVERY = 10.0


@dataclass(frozen=True)
class Finding:
    """A row that does not follow from the log.

    verdict: changed (field holds found, not left_value), came (it is there although after_seq removed it), went (it is gone
    although it lives since after_seq), gap (the change found_seq found another value than after_seq had left), unknown (the
    log never saw it come).  field: None where it is the row itself.  left_value: None also where the log knows only that
    there was a value.
    """

    entity_type: str
    entity_id: str
    verdict: str
    field: str | None
    after_seq: int | None
    left_value: object
    found_seq: int | None
    found: object


@dataclass(frozen=True)
class Pace:
    """How hard to work.  batch: rows of a batch.  throttle: seconds between batches.  rows, seconds: when to stop."""

    batch: int = 2000
    throttle: float = 0.0
    rows: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Place:
    """Where to go on: in the table after a key, or in the log above a seq; None for its beginning."""

    entity_type: str
    after_key: str | None = None
    above_seq: int | None = None


@dataclass
class Tally:
    """What was found so far.  counts: rows by type and verdict.  unexplained: rows by type and column that came later, holding
    a value that no change gave.  stopped_at: where a run that stops now would go on, None at its end; types_left: what follows.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    unexplained: Counter[tuple[str, str]] = field(default_factory=Counter)
    stopped_at: Place | None = None
    types_left: Sequence[str] = ()

    def count(self, *verdicts: str) -> int:
        """Return how many rows have one of the verdicts; without any, how many were checked."""
        return sum(
            count
            for counts in self.counts.values()
            for verdict, count in counts.items()
            if not verdicts or verdict in verdicts
        )


def ready(conn: Connection) -> Connection:
    """Return the connection, its transactions read-only and of one snapshot each."""
    conn.read_only = True
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    return conn


def types(conn: Connection, wanted: Sequence[str] = ()) -> list[str]:
    """Return the types as they are watched; without any, all that are: entities, wholes before their parts, then links.

    Raises UnknownEntityType (LL003), NotWatched (LL002).
    """
    if wanted:
        asked = (
            _ask(conn, "SELECT (llamalog.reconciled_watch(%s)).entity_type", [kind])
            for kind in wanted
        )
        return list(dict.fromkeys(kind for ((kind,),) in asked))
    found = _ask(
        conn,
        "SELECT watch.entity_type FROM llamalog.watches AS watch WHERE watch.unwatched_at IS NULL"
        " ORDER BY watch.is_link, watch.related_type IS NOT NULL, watch.entity_type",
        [],
    )
    return [kind for (kind,) in found]


def reconcile(
    conn: Connection,
    kinds: Sequence[str],
    tally: Tally,
    *,
    start: Place | None = None,
    since: datetime | None = None,
    is_deep: bool = False,
    pace: Pace | None = None,
    say: Callable[[str], None] | None = None,
) -> Iterator[list[Finding]]:
    """Yield what does not follow from the log, a batch at a time; memory is that of a batch.

    start: where to begin with the first of the types.  since: only rows that the log has touched since then, and not
    those it never saw.  is_deep: look for gaps within the history of each row too.  say: is told now and then how far it is.

    Raises UnknownEntityType (LL003), NotWatched (LL002), LlamaLogError (22P02, 42501, 42703).
    Source: sql/functions/reconcile.sql, reconcile_log.sql
    """
    pace = pace or Pace()
    began = said = time.monotonic()
    for number, kind in enumerate(kinds):
        left = kinds[number + 1 :]
        counts = tally.counts.setdefault(kind, Counter())
        at = start if start and number == 0 else Place(kind)
        tally.stopped_at, tally.types_left = at, left
        for judged, next_place in _batches(conn, at, since, is_deep, pace):
            counts.update(row.verdict for row in judged)
            tally.unexplained.update(
                (kind, name)
                for row in judged
                if row.verdict == "agrees"
                for name in row.unexplained or ()
            )
            yield [_finding(kind, row) for row in judged if row.verdict != "agrees"]
            if next_place is not None:
                tally.stopped_at = next_place
            elif left:
                tally.stopped_at, tally.types_left = Place(left[0]), left[1:]
            else:
                tally.stopped_at = None
                return
            now = time.monotonic()
            if _is_enough(tally, pace, now - began):
                return
            if say is not None and now - said > _SAID_EVERY:
                said = now
                say(f"{told(tally, kind)}; {_where(tally.stopped_at)}")
            time.sleep(pace.throttle)


def _is_enough(tally: Tally, pace: Pace, seconds: float) -> bool:
    return (pace.rows is not None and tally.count() >= pace.rows) or (
        pace.seconds is not None and seconds >= pace.seconds
    )


def _where(place: Place) -> str:
    if place.above_seq is not None:
        return f"at change {max(place.above_seq, 0)} of the log"
    return f"at {output.clean(place.after_key or place.entity_type)}"


def _batches(
    conn: Connection, at: Place, since: datetime | None, is_deep: bool, pace: Pace
) -> Iterator[tuple[list[Any], Place | None]]:
    """Yield rows with their verdicts, and where to go on: first through the table, then through the log; None at its end."""
    kind, size = at.entity_type, min(pace.batch, pace.rows or pace.batch)
    ((schema, table),) = _ask(
        conn,
        "SELECT watch.schema_name, watch.table_name FROM llamalog.reconciled_watch(%s) AS watch",
        [kind],
    )
    lock = sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.Identifier(schema, table))
    if since is None and at.above_seq is None:
        key, judged = at.after_key, None
        while judged is None or len(judged) == size:
            judged = _ask(
                conn,
                "SELECT * FROM llamalog.reconcile(%s, %s, %s::integer, %s)",
                [kind, key, size, is_deep],
                lock,
            )
            key = judged[-1].entity_id if judged else key
            is_last = len(judged) < size
            yield judged, Place(kind, above_seq=_BEGINNING) if is_last else Place(kind, key)
    above = at.above_seq
    if above is None:
        above = 0 if since else _BEGINNING
    stretch = size if since else size * _STRETCH
    while True:
        # of the whole log, what was written since the type is watched; what is older lies below a stretch, not in it
        ((below, until),) = _ask(
            conn,
            "SELECT min(stretch.seq) - 1, max(stretch.seq) FROM (SELECT log.seq FROM llamalog.log AS log"
            " WHERE log.seq > %s AND (log.seq < 1 OR log.created_at >="
            " coalesce(%s, (SELECT watch.watched_at FROM llamalog.watches AS watch WHERE watch.entity_type = %s)))"
            " ORDER BY log.seq LIMIT %s) AS stretch",
            [above, since, kind, stretch],
        )
        if until is None:
            yield [], None
            return
        judged = _ask(
            conn,
            "SELECT judged.*, NULL::bigint AS found_seq"
            " FROM llamalog.reconcile_log(%s, %s::bigint, %s::bigint, %s) AS judged",
            [kind, below, until, since is None],
            lock,
        )
        above = until
        yield judged, Place(kind, above_seq=above)


def _ask(
    conn: Connection, query: str, parameters: list[Any], lock: sql.Composed | None = None
) -> list[Any]:
    """Return the answer.  lock: what comes before the snapshot: to one that is older, a table is empty after TRUNCATE or ALTER TYPE."""
    try:
        with conn.transaction(), conn.cursor(row_factory=namedtuple_row) as cursor:
            set_json_loads(_exact, cursor)
            if lock is not None:
                cursor.execute(lock)
            return cursor.execute(query.encode(), parameters).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def _finding(kind: str, row: Any) -> Finding:
    return Finding(
        entity_type=kind,
        entity_id=row.entity_id,
        verdict=row.verdict,
        field=row.field,
        after_seq=row.after_seq,
        left_value=row.left_value,
        found_seq=row.found_seq,
        found=row.found,
    )


# -- how it is told ---------------------------------------------------------------------------------------------------


def told(tally: Tally, kind: str) -> str:
    """Return the summary of a type, as a line."""
    counts = tally.counts[kind]
    against = sum(counts[verdict] for verdict in CONTRADICTIONS)
    agree, unknown, checked = counts["agrees"], counts["unknown"], counts.total()
    parts = [
        f"{agree:,} agree{'s' * (agree == 1)} with the log",
        f"{against:,} contradict{'s' * (against == 1)} it",
    ]
    if unknown:
        parts.append(f"{unknown:,} {'is' if unknown == 1 else 'are'} not known to it")
    return f"{kind}: of {output.plural(checked, 'row')} {', '.join(parts)}"


def lines(tally: Tally, since: datetime | None) -> Iterator[str]:
    """Yield what there is to say in the end: a summary of each type, what no change gave, and how to go on."""
    for kind in tally.counts:
        yield told(tally, kind)
    for (kind, name), count in sorted(tally.unexplained.items()):
        yield (
            f"{kind}: {count:,} of them hold{'s' * (count == 1)} a value in {output.clean(name)} that no change gave:"
            " the column came later"
        )
    if tally.count("unknown"):
        yield (
            "what was there before it was watched is not known: llamalog backfill notes it once, links apart;"
            " --ignore-unknown passes it over"
        )
    if tally.stopped_at is not None:
        yield f"stopped before the end; go on with: {go_on(tally.stopped_at, tally.types_left, since)}"


def go_on(place: Place, types_left: Sequence[str], since: datetime | None) -> str:
    """Return the command that goes on where a run has stopped."""
    words = ["llamalog", "reconcile", place.entity_type, *types_left]
    if since is not None:
        words += ["--since", since.isoformat()]
    if place.above_seq is not None:
        words.append(f"--from-change={place.above_seq}")
    elif place.after_key is not None:
        words.append(f"--from={place.after_key}")
    return output.clean(shlex.join(words))


def write(batches: Iterable[Sequence[Finding]], form: str) -> None:
    """Write findings as they come: a line each for a person, a JSON array, JSON lines or csv."""
    if form == "table":
        target = output.console()
        for batch in batches:
            for finding in batch:
                target.print(_line(finding), soft_wrap=True)
            sys.stdout.flush()
    elif form == "json":
        is_first = True
        for batch in batches:
            for finding in batch:
                sys.stdout.write("[\n" if is_first else ",\n")
                sys.stdout.write(output.as_json(output.as_dict(finding)))
                is_first = False
        sys.stdout.write("[]\n" if is_first else "\n]\n")
    else:
        output.write_batches(batches, Finding, form)


def _line(found: Finding) -> Text:
    line = Text(f"{output.clean(found.entity_type)} {output.clean(found.entity_id)}", style="bold")
    return line.append(f"  {output.clean(_said(found))}", style="not bold")


def _said(found: Finding) -> str:
    left, there = output.short_value(found.left_value), output.short_value(found.found)
    if found.verdict == "changed":
        if found.left_value is None and found.found is None:
            left = "a value"  # a creation has the names of the fields that it filled
        return f"{found.field}: {there}, but change {found.after_seq} left {left}"
    if found.verdict == "gap" and found.field is not None:
        return f"{found.field}: change {found.found_seq} found {there}, but change {found.after_seq} left {left}"
    return {
        "came": f"is there, but gone since change {found.after_seq}",
        "went": f"is gone, but no change since {found.after_seq} removed it",
        "gap": f"came or went unseen between changes {found.after_seq} and {found.found_seq}",
        "unknown": "is not known to the log",
    }[found.verdict]
