"""Commands that ask about jobs, and about what a job, a source or a user did."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import click

from llamalog_sql import jobs, output, output_jobs
from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import (
    COUNT,
    Moment,
    dsn_option,
    format_option,
    say,
    say_nothing,
    session,
)
from llamalog_sql.connection import Connection
from llamalog_sql.jobs import Criteria, ImpactEntity


def _say_archived(conn: Connection, start: datetime | None) -> None:
    since = jobs.archived_before(conn)
    if since is not None and (start is None or start < since):
        say(
            f"changes before {since.astimezone(UTC):%Y-%m} are archived; see llamalog restore-archive"
        )


@main.command()
@click.argument("job_id", metavar="JOB")
@click.option(
    "--children",
    default=output.CHILDREN,
    show_default=True,
    type=click.IntRange(min=1),
    help="Jobs to draw below the one that caused them.",
)
@format_option
@dsn_option
def job(job_id: str, children: int, form: str) -> None:
    """Draw what caused a job, the job, and what it caused: by whom, when, how many changes.

    \b
    Example:
      llamalog job sync-7
    """
    with session() as conn:
        nodes = jobs.job(conn, job_id)
        _say_archived(conn, None)
    if form != "table":
        output.write_rows(nodes, form, jobs.JobNode)
        return
    output.console().print(output_jobs.job_tree(nodes, children))


@main.command()
@click.option("--job", "job_id", metavar="JOB", help="A job, with whatever it caused.")
@click.option("--source", help="A path through which writes enter, as spotify_sync.")
@click.option("--user", "user_id", metavar="USER", help="A user, as the application claims.")
@click.option("--since", type=Moment(), help="From this time; without offset UTC.")
@click.option("--until", type=Moment(), help="Before this time; without offset UTC.")
@click.option("--list", "is_list", is_flag=True, help="List the entities, not only their number.")
@click.option(
    "--limit", type=COUNT, help="With --list: rows of a page.  [default: 50]", metavar="N"
)
@click.option("--cursor", help="With --list: where the page before ended.")
@format_option
@dsn_option
def impact(
    job_id: str | None,
    source: str | None,
    user_id: str | None,
    since: datetime | None,
    until: datetime | None,
    is_list: bool,
    limit: int | None,
    cursor: str | None,
    form: str,
) -> None:
    """Show what a job, a source, a user or a time touched: how much of each type, and how.

    Several of them narrow it down. A job is found by an index, a time by the parts of the log that
    it spans; a source or a user without --since reads the whole log.

    \b
    Example:
      llamalog impact --job sync-7
      llamalog impact --user ann --since 2026-11-22 --list --limit 1000000 --format jsonl
    """
    if not is_list and (limit is not None or cursor is not None):
        raise click.UsageError("--limit and --cursor go with --list")
    criteria = Criteria(job_id, source, user_id, since, until)
    with session() as conn:
        if is_list:
            found = jobs.impact_entities(conn, criteria, limit=limit or 50, cursor=cursor)
            _show_entities(conn, found, criteria, form)
        else:
            _show_impact(conn, jobs.impact(conn, criteria), criteria, form)
        _say_archived(conn, since)


def _show_impact(conn: Connection, rows: list[jobs.Impact], criteria: Criteria, form: str) -> None:
    if form != "table":
        output.write_rows(rows, form, jobs.Impact)
    elif rows:
        output.console().print(output_jobs.impact_title(criteria, rows))
        output.console().print(output_jobs.impact_table(rows))
    if not rows:
        say_nothing(conn, f"no change {output_jobs.phrase(criteria)} is recorded")


def _show_entities(
    conn: Connection, found: Iterator[ImpactEntity], criteria: Criteria, form: str
) -> None:
    last: list[ImpactEntity] = []
    rows = output_jobs.remembering_last(found, last)
    if form == "table":
        for table in output_jobs.entity_tables(rows):
            output.console().print(table)
    else:
        output_jobs.stream_rows(rows, form)
    if not last:
        say_nothing(conn, f"no change {output_jobs.phrase(criteria)} touched an entity")
    elif last[0].next_cursor is not None:
        say(f"more: add --cursor {last[0].next_cursor}")
