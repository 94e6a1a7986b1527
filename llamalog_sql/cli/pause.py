"""Commands that pause capture, and resume it."""

from __future__ import annotations

import logging

import click

from llamalog_sql import output, pausing, watching
from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import (
    confirm,
    dry_run_option,
    dsn_option,
    print_sql,
    say,
    session,
    sql_option,
    yes_option,
)
from llamalog_sql.connection import Connection
from llamalog_sql.errors import Misuse

logger = logging.getLogger("llamalog_sql")


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE|TYPE...")
@click.option("--reason", required=True, help="Why; kept, and shown to whoever misses the changes.")
@yes_option
@sql_option
@dry_run_option
@dsn_option
def pause(tables: tuple[str, ...], reason: str, yes: bool, show_sql: bool, dry_run: bool) -> None:
    """Stop logging what is written to these tables, until llamalog resume. For bulk loads and emergencies.

    Blocks nobody, and needs no right to the table: whoever owns the log may, a superuser, a member of llamalog_admin. What was
    committed before is logged. The log says that there is a gap, and no question answers across it.

    \b
    Example:
      llamalog pause orders order_lines --reason "load of 2019, ticket 4711"
    """
    if not reason.strip():
        raise Misuse(
            "--reason is empty", hint="Say why: whoever misses the changes later will ask."
        )
    with session(as_caller=True) as conn:
        if show_sql:
            print_sql(pausing.pause_script(conn, list(tables), reason))
            return
        if dry_run:
            for name in _named(conn, tables):
                click.echo(f"would pause capture of {name}")
            return
        names = ", ".join(_named(conn, tables))
        confirm(f"Let what is written to {names} from now on go unlogged?", yes)
        for paused in pausing.pause(conn, list(tables), reason):
            logger.warning(
                "capture of %s is paused: what is written to it is not logged until llamalog resume %s",
                output.clean(paused.entity_type),
                output.clean(paused.entity_type),
            )


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE|TYPE...")
@sql_option
@dry_run_option
@dsn_option
def resume(tables: tuple[str, ...], show_sql: bool, dry_run: bool) -> None:
    """Log again what is written to these tables.

    Waits until every transaction that has written to them unlogged has ended, at most for 5 seconds, or the lock_timeout of the
    session; whoever writes to them meanwhile waits too.

    \b
    Example:
      llamalog resume orders order_lines
    """
    with session(as_caller=True) as conn:
        if show_sql:
            print_sql(pausing.resume_script(conn, list(tables)))
            return
        if dry_run:
            for name in _named(conn, tables):
                click.echo(f"would resume capture of {name}")
            return
        for ended in pausing.resume(conn, list(tables)):
            say(
                f"capture of {output.clean(ended.entity_type)} is resumed; what was written to it from"
                f" {output.moment(ended.paused_at)} to {output.moment(ended.resumed_at)} is not in the log"
            )


def _named(conn: Connection, tables: tuple[str, ...]) -> list[str]:
    targets = [watching.watched(conn, name) for name in tables]
    return [output.clean(f"{t.table.shown} ({t.entity_type})") for t in targets]
