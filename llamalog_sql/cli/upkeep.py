"""Commands for cron: months to come, months to archive."""

from __future__ import annotations

from pathlib import Path

import click

from llamalog_sql import installation, migrate, output, retention
from llamalog_sql.cli.group import main
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


@main.command()
@click.option(
    "--months",
    default=3,
    show_default=True,
    type=click.IntRange(0, 120),
    help="Months to make ahead.",
)
@click.option("--keep", metavar="PERIOD", help="Archive what is older, as '24 months'.")
@click.option(
    "--keep-type",
    "keep_types",
    multiple=True,
    metavar="TYPE=PERIOD",
    help="A period of its own for a type, shorter or longer. Repeatable.",
)
@click.option(
    "--archive",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the Parquet files go.",
)
@click.option("--drop-rows", is_flag=True, help="Keep no archive: the rows are gone for good.")
@yes_option
@sql_option
@dry_run_option
@format_option
@dsn_option
def maintain(
    months: int,
    keep: str | None,
    keep_types: tuple[str, ...],
    directory: Path | None,
    drop_rows: bool,
    yes: bool,
    show_sql: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Make the monthly partitions to come, and with --keep archive the old ones. Safe in cron.

    Of what is archived, the log keeps how each living entity came. Killed anywhere, the same command goes on.

    \b
    Example:
      llamalog maintain --months 6
      llamalog maintain --keep '24 months' --keep-type TRACK='6 months' --archive /var/archive
    """
    policy = retention.policy_of(keep, keep_types)
    is_keeping = policy != retention.Policy()
    if is_keeping and (directory is None) == (not drop_rows):
        raise Misuse(
            "--keep takes rows out of the log: where to?",
            hint="Add --archive DIR, or else --drop-rows: then they are gone for good.",
        )
    if not is_keeping and (directory or drop_rows or form != "table"):
        raise Misuse(
            "--archive, --drop-rows and --format go with --keep",
            hint="Say how long: --keep '24 months'",
        )
    with session() as conn:
        if show_sql:
            print_sql([f"SELECT * FROM llamalog.maintain(months_ahead => {months})"])
            print_sql(retention.script(conn, policy, directory) if is_keeping else [])
            return
        planned = retention.plan(conn, policy) if is_keeping else []
        if dry_run:
            missing = installation.missing_months(conn, months)
            if form != "table":
                output.write_rows(planned, form, retention.Month)
                return
            for name in missing:
                click.echo(f"would make {name}")
            for month in planned:
                click.echo(f"would archive {_told(month)}")
            if not (missing or planned):
                click.echo("nothing to do")
            return
        made = migrate.maintain(conn, months)
        for name in made:
            say(f"made partition {name}")
        if not is_keeping:
            if not made:
                say("every month has its partition")
            return
        retention.require_directory(directory)
        for month in planned:
            click.echo(_told(month), err=True)
        if planned:
            where = f"to {directory}" if directory else "NOWHERE, for good"
            confirm(f"Archive {output.plural(len(planned), 'month')} {where}?", yes)
        done = retention.keep(conn, policy, directory, progress=_tell_archived)
    if form != "table":
        output.write_rows(done, form, retention.Archived)
    elif not done:
        say("no month is to be archived")


def _told(month: retention.Month) -> str:
    return (
        f"{month.month}{month.of_types}: {output.plural(month.archived_rows, 'row')},"
        f" {month.removed_rows:,} leave the log, {month.kept_rows:,} stay"
    )


def _tell_archived(month: retention.Archived) -> None:
    where = f" to {month.file}" if month.file else ""
    say(
        f"archived {month.month}{where}: {output.plural(month.archived_rows, 'row')}, checksum {month.checksum};"
        f" {month.removed_rows:,} left the log, {month.kept_rows:,} stay ({month.seconds} s)"
    )


@main.command("restore-archive")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.option("--foreign", is_flag=True, help="Also where nothing is known of that archive.")
@dry_run_option
@format_option
@dsn_option
def restore_archive(files: tuple[Path, ...], foreign: bool, dry_run: bool, form: str) -> None:
    """Bring archived months back into the log: the rows that are not there, as they were.

    Each file is proved by count and checksum first. A second time changes nothing.

    \b
    Example:
      llamalog restore-archive /var/archive/llama_logs_2024_01.parquet
    """
    with session() as conn:
        # one that cannot be read is told before another is brought back
        described = [retention.described(path) for path in files]
        if dry_run:
            for line in described:
                click.echo(f"would bring back {line}")
            return
        done = []
        for path in files:
            done.append(retention.restore(conn, path, is_foreign=foreign))
            say(
                f"{done[-1].month}: {done[-1].restored_rows:,} of {output.plural(done[-1].archived_rows, 'row')} brought back"
            )
    if form != "table":
        output.write_rows(done, form, retention.Restored)
