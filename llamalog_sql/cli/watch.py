"""Commands that hang capture on tables, take it off, and measure what it costs."""

from __future__ import annotations

import functools
from typing import Any

import click

from llamalog_sql import bench, output, watching
from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import (
    dry_run_option,
    dsn_option,
    format_option,
    print_sql,
    say,
    session,
    sql_option,
)
from llamalog_sql.watching import Options, Outcome


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option(
    "--as", "entity_type", metavar="TYPE", help="Entity type; by default the singular of the name."
)
@click.option(
    "--key",
    metavar="COLUMNS",
    help="Columns of a unique key, with commas; by default the primary key.",
)
@click.option(
    "--kind",
    type=click.Choice(["entity", "link"]),
    help="What its rows are; by default by foreign keys.",
)
@click.option("--part-of", metavar="COLUMN", help="Column that refers to the whole, or none.")
@click.option(
    "--label", metavar="COLUMN", help="Column that people know it by; by default title or name."
)
@click.option("--quality", metavar="COLUMN", help="Quality column; by default data_quality.")
@click.option(
    "--source",
    metavar="COLUMN",
    help="Column that says where the data came from; by default source.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="COLUMN",
    help="A change of it alone is no change. Repeatable.",
)
@click.option(
    "--redact", multiple=True, metavar="COLUMN", help="Never store its values. Repeatable."
)
@click.option(
    "--image", type=click.Choice(["none", "full"]), help="Store the row on INSERT.  [default: none]"
)
@click.option("--on-truncate", type=click.Choice(["log", "refuse"]), help="[default: log]")
@click.option(
    "--capture",
    type=click.Choice(["rendered", "statement", "tolerant"]),
    help="For this table; all rows of a statement at once; proof against any DDL.",
)
@click.option(
    "--always/--no-always",
    default=None,
    help="Log rows that replication applies too, by ENABLE ALWAYS TRIGGER.  [default: no]",
)
@click.option(
    "--row-security/--no-row-security",
    default=None,
    help="Readers of the log see changes of the rows only that the table's policies show them.  [default: no]",
)
@sql_option
@dry_run_option
@dsn_option
def watch(
    tables: tuple[str, ...],
    key: str | None,
    ignore: tuple[str, ...],
    redact: tuple[str, ...],
    show_sql: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Log every change of these tables from now on.

    What each is (its key, its label, part of what, link between what) is read from the catalogue, and kept in
    llamalog.watches; options set it for these tables. A second time changes nothing. Blocks writers for moments.

    \b
    Example:
      llamalog watch albums artists tracks album_artists track_artists
      llamalog watch public."User" --redact email
    """
    options = Options(
        key=[name.strip() for name in key.split(",")] if key else None,
        ignore=list(ignore) or None,
        redact=list(redact) or None,
        **given,
    )
    with session(as_caller=True) as conn:
        if show_sql:
            print_sql(watching.script(conn, list(tables), options))
            return
        if dry_run:
            for outcome in watching.preview(conn, list(tables), options):
                click.echo(
                    f"would watch {outcome.table} as {outcome.entity_type}: {outcome.description}"
                )
            return
        _tell(watching.watch(conn, list(tables), options))


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE|TYPE...")
@sql_option
@dry_run_option
@dsn_option
def unwatch(tables: tuple[str, ...], show_sql: bool, dry_run: bool) -> None:
    """Stop logging these tables; they become as they were, and their history stays.

    \b
    Example:
      llamalog unwatch track_artists
    """
    with session(as_caller=True) as conn:
        if show_sql:
            print_sql(watching.unwatch_script(conn, list(tables)))
            return
        if dry_run:
            for name in tables:
                target = watching.watched(conn, name)
                click.echo(f"would unwatch {target.table.shown} as {target.entity_type}")
            return
        _tell(watching.unwatch(conn, list(tables)))


def _tell(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        say(f"{outcome.action} {outcome.table} as {outcome.entity_type}: {outcome.description}")


@main.command("bench")
@click.argument("tables", nargs=-1, required=True, metavar="[SCHEMA.]TABLE...")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Column that UPDATE changes; by default two, in no index if possible. Repeatable.",
)
@click.option(
    "--rows",
    "row_count",
    default=1000,
    show_default=True,
    type=click.IntRange(2, 100_000),
    help="Most rows to sample.",
)
@click.option(
    "--rounds",
    default=7,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Rounds to measure.",
)
@format_option
@dsn_option
def bench_command(
    tables: tuple[str, ...], columns: tuple[str, ...], row_count: int, rounds: int, form: str
) -> None:
    """Measure what logging would cost on tables of your own, with each kind of capture and without.

    On copies of a table's shape with a sample of its rows, in temporary tables: the table itself is read once (ACCESS SHARE,
    as any reader), nobody waits, no trigger of the application's fires, and nothing is left behind. Copies have no foreign
    keys and no triggers, so a ratio is rather too high than too low. Times are the server's, of prepared statements with
    their commit, without network and flush to disk. A minute or two a table; it keeps a processor busy.

    \b
    Example:
      llamalog bench albums tracks
      llamalog bench public."User" --column name --format json
    """
    costs = []
    with session(as_caller=True) as conn:
        for name in tables:
            measured = bench.bench(
                conn,
                name,
                columns=list(columns),
                row_count=row_count,
                rounds=rounds,
                progress=functools.partial(_say_of, name),
            )
            if form == "table":
                output.print_costs(measured)
            costs += measured
    if form != "table":
        output.write_rows(costs, form)


def _say_of(name: str, message: str) -> None:
    say(f"{output.clean(name)}: {message}")
