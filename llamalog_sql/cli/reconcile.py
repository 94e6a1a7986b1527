"""The command that proves that live rows follow from the log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import click

from llamalog_sql import reconciling
from llamalog_sql.cli.group import FAILED, main
from llamalog_sql.cli.shared import (
    COUNT,
    SEQ,
    Moment,
    Seconds,
    dsn_option,
    format_option,
    say,
    session,
)
from llamalog_sql.errors import Misuse
from llamalog_sql.reconciling import Finding, Place

_SECONDS = {"s": 1, "min": 60, "h": 3600}


class Period(click.ParamType[float]):
    """A span of time, as 90s, 10min or 2h; gives seconds."""

    name = "period"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]+)?) ?(s|min|h)", str(value))
        if found is None:
            self.fail(f'"{value}" is no span of time; write 90s, 10min or 2h', param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


@main.command()
@click.argument("entity_types", metavar="[TYPE]...", nargs=-1)
@click.option("--since", type=Moment(), help="Only rows that the log has touched since this time.")
@click.option("--deep", is_flag=True, help="Look for gaps within the history of each row too.")
@click.option("--ignore-unknown", is_flag=True, help="Pass over rows that the log never saw come.")
@click.option("--from", "after_key", metavar="KEY", help="Begin after this key of the first TYPE.")
@click.option(
    "--from-change", "above_seq", type=SEQ, metavar="SEQ", help="Begin in the log, there."
)
@click.option("--limit", type=COUNT, help="Stop after so many rows.")
@click.option("--for", "seconds", type=Period(), help="Stop after so long, as 10min.")
@click.option(
    "--batch",
    default=2000,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Rows to read at a time.",
)
@click.option(
    "--throttle",
    default=0.0,
    type=Seconds(0, 3600),
    help="Pause between two batches.",
)
@format_option
@dsn_option
def reconcile(
    entity_types: tuple[str, ...],
    since: datetime | None,
    deep: bool,
    ignore_unknown: bool,
    after_key: str | None,
    above_seq: int | None,
    limit: int | None,
    seconds: float | None,
    batch: int,
    throttle: float,
    form: str,
) -> None:
    """Prove that the rows of a TYPE, or of all, follow from the log; show those that do not. Exit 1 when there are any.

    Finds what no capture saw: writes with triggers off, ALTER TYPE ... USING, restored tables. Reads only, in batches, beside
    writers; a run that stops early says how to go on.

    \b
    Example:
      llamalog reconcile
      llamalog reconcile TRACK --for 10min --throttle 0.1
      llamalog reconcile --since 2026-11-28 --format jsonl
    """
    if deep and since:
        raise Misuse("--deep and --since do not go together", hint="Leave one of them out.")
    if (after_key is not None or above_seq is not None) and not entity_types:
        raise Misuse("--from and --from-change go with a TYPE", hint="Say of which type it is.")
    if after_key is not None and (since or above_seq is not None):
        raise Misuse(
            "--from goes through a table, --since and --from-change through the log",
            hint="Leave one of them out.",
        )
    tally = reconciling.Tally()
    with session() as conn:
        reconciling.ready(conn)
        kinds = reconciling.types(conn, entity_types)
        start = Place(kinds[0], after_key, above_seq) if entity_types else None
        batches = reconciling.reconcile(
            conn,
            kinds,
            tally,
            start=start,
            since=since,
            is_deep=deep,
            pace=reconciling.Pace(batch, throttle, limit, seconds),
            say=say,
        )
        try:
            reconciling.write(_without_unknown(batches) if ignore_unknown else batches, form)
        finally:
            # also to whoever has had enough, or lost the connection
            if tally.stopped_at is None or tally.count():
                for line in reconciling.lines(tally, since):
                    say(line)
    wanted = (
        reconciling.CONTRADICTIONS if ignore_unknown else (*reconciling.CONTRADICTIONS, "unknown")
    )
    if tally.count(*wanted):
        click.get_current_context().exit(FAILED)


def _without_unknown(batches: Iterable[Sequence[Finding]]) -> Iterator[list[Finding]]:
    for batch in batches:
        yield [finding for finding in batch if finding.verdict != "unknown"]
