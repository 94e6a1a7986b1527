"""The command that shows figures about the log."""

from __future__ import annotations

from datetime import datetime

import click

from llamalog_sql import output, sizes
from llamalog_sql import stats as figures
from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import Moment, dsn_option, format_option, say, say_nothing, session
from llamalog_sql.errors import Misuse


@main.command()
@click.option(
    "--since", type=Moment(), help="From this time; without offset UTC.  [default: 30 days ago]"
)
@click.option(
    "--until", type=Moment(), help="Before this time; without offset UTC.  [default: now]"
)
@click.option(
    "--by", "side", type=click.Choice(figures.SIDES), help="Count by this alone, and all of it."
)
@click.option("--silent", is_flag=True, help="Only what fell silent.")
@click.option("--size", is_flag=True, help="What takes the room in the log, whatever the time.")
@format_option
@dsn_option
def stats(
    since: datetime | None,
    until: datetime | None,
    side: str | None,
    silent: bool,
    size: bool,
    form: str,
) -> None:
    """Show how much was written, by category, source, status, user and day, and what fell silent.

    A source has stopped when it is silent for more than a day and twice its longest pause before, or for half of the span.
    A table is silent when nothing was written to it in the span. --format writes the counts, with --silent what fell silent.

    \b
    Example:
      llamalog stats --since 2026-11-01
      llamalog stats --by source --format csv
      llamalog stats --size
    """
    if (size and (since or until or side or silent)) or (side and silent):
        raise Misuse(
            "these options do not go together",
            hint="--size stands alone; --by and --silent are different questions.",
        )
    if size:
        _show_sizes(form)
        return
    sides = [side] if side else [] if silent else [s for s in figures.SIDES if s != "type"]
    with session() as conn:
        counted = [figures.counts(conn, one, since, until) for one in sides]
        is_asked = not side and (silent or form == "table")
        quiet = figures.silent(conn, since, until) if is_asked else []
        if not any(counted) and not quiet:
            if silent:
                say("nothing fell silent")
            else:
                say_nothing(conn, "nothing was written in that time")
    if form != "table":
        if silent:
            output.write_rows(quiet, form, figures.Silent)
        else:
            output.write_rows([row for rows in counted for row in rows], form, figures.Count)
        return
    console = output.console()
    for rows in filter(None, counted):
        console.print(figures.chart(rows, None if side else figures.LINES))
        console.print()
    console.print(figures.silence(quiet), end="")


def _show_sizes(form: str) -> None:
    with session() as conn:
        found = sizes.sizes(conn)
    if form != "table":
        output.write_rows(found, form, sizes.Size)
        return
    output.console().print(
        output.grid(
            ["what", "name", "rows", "heap", "toast", "indexes", "total", "share"],
            [line.cells() for line in found],
        )
    )
