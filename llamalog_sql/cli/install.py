"""Commands that bring LlamaLog into a database and out of it, and say how it is there."""

from __future__ import annotations

import logging

import click

from llamalog_sql import installation, migrate, output, watching
from llamalog_sql.cli.group import FAILED, main
from llamalog_sql.cli.shared import (
    confirm,
    dry_run_option,
    dsn_option,
    format_option,
    print_sql,
    say,
    session,
    sql_option,
    yes_option,
)
from llamalog_sql.errors import Misuse

logger = logging.getLogger("llamalog_sql")


@main.command("migrate")
@sql_option
@dry_run_option
@dsn_option
def migrate_command(show_sql: bool, dry_run: bool) -> None:
    """Install LlamaLog in the database, or bring it to this version.

    Everything happens in one transaction; a second run changes nothing. Locks nothing of the application's but, for
    moments, the watched tables whose capture changes.

    \b
    Example:
      llamalog migrate --dry-run
    """
    with session(installed=False) as conn:
        if show_sql:
            print_sql(migrate.script(conn))
            return
        plan = migrate.plan(conn)
        if dry_run:
            for piece in plan.pending:
                click.echo(f"would apply {piece.name}")
            if plan.changed:
                click.echo(f"would apply {len(plan.changed)} functions and views")
            for name in plan.edited:
                click.echo(f"edited after it had been applied: {name}")
            if plan.is_empty:
                drifted = watching.drifted(conn)
                for _, table, problem in drifted:
                    click.echo(f"would renew the capture of {table}: {problem}")
                if not drifted:
                    click.echo("nothing to do")
            return
        report = migrate.migrate(conn)
    for note in report.notes:
        logger.warning(note)
    if report.is_empty:
        say("up to date; nothing was changed")
        return
    for name in report.migrations:
        say(f"applied {name}")
    if report.repeatables:
        say(f"applied {len(report.repeatables)} functions and views")
    for name in report.partitions:
        say(f"made partition {name}")
    for name in report.watches:
        say(f"renewed the capture of {name}")


@main.command()
@format_option
@dsn_option
def status(form: str) -> None:
    """Show the installation, what is watched, and the size of the log.

    \b
    Example:
      llamalog status
    """
    with session(installed=False) as conn:
        found = installation.status(conn)
    if form != "table":
        output.write_rows([found], form)
        return
    console = output.console()
    for name, value in found.lines():
        console.print(f"{name:<12} {value}", markup=False)
    if found.watched:
        console.print()
        console.print(
            output.grid(["type", "table", "", "capture"], [w.cells() for w in found.watched])
        )


@main.command()
@format_option
@dsn_option
def check(form: str) -> None:
    """Find what is not as it should be; exit 1 when there is something. For a deploy pipeline.

    \b
    Example:
      llamalog check && deploy
    """
    with session(installed=False) as conn:
        findings = installation.check(conn)
    if form != "table":
        output.write_rows(findings, form, installation.Finding)
    else:
        for finding in findings:
            click.echo(f"{finding.what}: {finding.problem}")
            click.echo(f"  hint: {finding.hint}")
        if not findings:
            click.echo("ok")
    if findings:
        click.get_current_context().exit(FAILED)


@main.command()
@click.option(
    "--all", "everything", is_flag=True, help="Uninstall: undo every migration; the log is kept."
)
@click.option("--drop-log", is_flag=True, help="Erase the log too.")
@yes_option
@sql_option
@dry_run_option
@dsn_option
def rollback(everything: bool, drop_log: bool, yes: bool, show_sql: bool, dry_run: bool) -> None:
    """Undo the newest migration, or with --all uninstall.

    Takes capture off every table first: until the next llamalog migrate nothing is logged.

    \b
    Example:
      llamalog rollback --all --yes
    """
    if drop_log and not everything:
        raise Misuse("--drop-log goes with --all", hint="Add --all to uninstall and erase the log.")
    with session(installed=False) as conn:
        victims = migrate.rollback_plan(conn, everything=everything, drop_log=drop_log)
        if show_sql:
            print_sql(migrate.rollback_script(conn, victims))
            return
        if dry_run:
            click.echo("would take capture off every table")
            for name in victims:
                click.echo(f"would undo {name}")
            if drop_log:
                click.echo("would erase the log")
            return
        confirm(
            f"Take off capture{', erase the log' if drop_log else ''}"
            f" and undo {', '.join(victims) or 'nothing but that'}?",
            yes,
        )
        for name in migrate.rollback(conn, everything=everything, drop_log=drop_log):
            say(f"undid {name}")
        if everything and not drop_log:
            say(
                "the log is kept, with its jobs; llamalog migrate goes on with it, --drop-log erases it."
                " What was watched and redacted, and paths of your own, are forgotten."
            )
