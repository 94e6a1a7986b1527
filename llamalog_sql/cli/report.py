"""The command that makes a page for people who have no terminal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import Moment, dsn_option, say, session
from llamalog_sql.errors import Misuse
from llamalog_sql.saving import writing

DAYS = 30


@main.command()
@click.argument("entity_type", metavar="[TYPE]", required=False)
@click.argument("entity", metavar='[ID|"TITLE"]', required=False)
@click.option(
    "-o",
    "--output",
    "target",
    required=True,
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Where the page goes; one that is there is replaced. - is stdout.",
)
@click.option("--job", "job_id", metavar="JOB", help="Of a job, with whatever it caused.")
@click.option(
    "--since", type=Moment(), help=f"Of the whole log: from this time.  [default: {DAYS} days ago]"
)
@dsn_option
def report(
    entity_type: str | None,
    entity: str | None,
    target: Path,
    job_id: str | None,
    since: datetime | None,
) -> None:
    """Make one page of HTML about an entity, a job, or when none is named the whole log.

    The page is whole in itself: it needs no network, can be sent, printed, and read with a keyboard or a screen reader.

    \b
    Example:
      llamalog report ALBUM "OK Computer" -o album.html
      llamalog report --job sync-7 -o job.html
      llamalog report --since 2026-11-01 -o log.html
    """
    from llamalog_sql import report as reports

    if entity_type is not None and entity is None:
        raise Misuse(
            f"which {entity_type}?",
            hint=f"Name it by id or title: llamalog report {entity_type} ID -o FILE",
        )
    if entity_type is not None and job_id is not None:
        raise Misuse("an entity or a job?", hint="A page is about one of them: leave one out.")
    if (entity_type or job_id) and since:
        raise Misuse(
            "--since is for the whole log",
            hint="The page of an entity or a job shows all its time: leave it out.",
        )
    with session() as conn:
        if entity_type is not None and entity is not None:
            page = reports.entity(conn, entity_type, entity)
        elif job_id is not None:
            page = reports.job(conn, job_id)
        else:
            page = reports.log(conn, since or datetime.now(UTC) - timedelta(days=DAYS))
    if str(target) == "-":
        sys.stdout.buffer.write(page.encode())
        return
    with writing(target) as stream:
        stream.write(page)
    say(f"wrote {target}: {len(page.encode()):,} bytes")
