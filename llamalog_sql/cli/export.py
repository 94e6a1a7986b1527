"""Commands that give what the log says to other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from llamalog_sql import output, queries
from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import SEQ, Moment, dsn_option, say, say_nothing, session
from llamalog_sql.connection import Connection
from llamalog_sql.errors import Misuse
from llamalog_sql.export import openlineage, prov, rows
from llamalog_sql.queries import Change
from llamalog_sql.saving import writing
from llamalog_sql.tailing import Filter

output_option = click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Where to, instead of stdout; there when it is whole.",
)


def story_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command be about an entity, or with --job about a job."""
    command = click.option("--job", "job_id", help="This job, and what it caused.")(command)
    command = click.argument("entity", metavar='ID|"TITLE"', required=False)(command)
    return click.argument("entity_type", metavar="TYPE", required=False)(command)


def _story(
    conn: Connection, entity_type: str | None, entity: str | None, job_id: str | None
) -> list[Change]:
    if job_id is not None:
        return rows.of_job(conn, job_id)
    assert entity_type is not None
    assert entity is not None
    return rows.of_entity(conn, entity_type, queries.resolve(conn, entity_type, entity))


def _require_one(hint: str, *given: object) -> None:
    if sum(what is not None for what in given) != 1:
        raise Misuse("which story to export is not said, or twice", hint=hint)


@main.group()
def export() -> None:
    """Write the log for other tools: its rows, W3C PROV, or OpenLineage.

    The answer to a question is written by the question: every one has --format json, jsonl and csv.

    \b
    Example:
      llamalog export log --since 2026-11-01 --as csv -o november.csv
      llamalog export prov ALBUM "OK Computer" -o album.json
      llamalog export openlineage --since 2026-11-28 | head
    """


@export.command()
@click.option("--since", type=Moment(), help="From this time; without offset UTC.")
@click.option("--until", type=Moment(), help="Before this time; without offset UTC.")
@click.option("--after", type=SEQ, metavar="SEQ", help="Only changes of a higher seq.")
@click.option("--type", "entity_type", metavar="TYPE", help="Only entities of this type.")
@click.option(
    "--category", "categories", multiple=True, metavar="CATEGORY", help="Only this one. Repeatable."
)
@click.option("--status", help="Only changes of this status.")
@click.option("--source", help="Only what entered through this path.")
@click.option("--user", "user_id", help="Only what this user did, or this role of the database.")
@click.option("--job", "job_id", help="Only this job, and those that name it as parent or root.")
@click.option(
    "--as",
    "--format",  # as every question has it
    "form",
    type=click.Choice(["jsonl", "csv"]),
    default="jsonl",
    show_default=True,
    help="How to write it.",
)
@click.option(
    "--spreadsheet-safe",
    is_flag=True,
    help="An apostrophe before each cell that a spreadsheet would take for a formula.",
)
@output_option
@dsn_option
def log(
    since: datetime | None,
    until: datetime | None,
    after: int | None,
    entity_type: str | None,
    categories: tuple[str, ...],
    status: str | None,
    source: str | None,
    user_id: str | None,
    job_id: str | None,
    form: str,
    spreadsheet_safe: bool,
    path: Path | None,
) -> None:
    """Write the rows of the log in their order, exactly, however many.

    \b
    Example:
      llamalog export log --as csv -o log.csv
      llamalog export log --after 1048576 >> log.jsonl
    """
    if spreadsheet_safe and form != "csv":
        raise Misuse("--spreadsheet-safe goes with --as csv", hint="JSON has no formulas.")
    wanted = Filter(
        entity_type=entity_type,
        categories=categories,
        status=status,
        source=source,
        user_id=user_id,
        job_id=job_id,
    )
    count, last = 0, after

    def counted(batches: Iterator[list[Change]]) -> Iterator[Sequence[Change]]:
        nonlocal count, last
        for batch in batches:
            yield batch
            count, last = count + len(batch), batch[-1].seq

    with session() as conn, writing(path) as stream:
        batches = counted(rows.log(conn, wanted, since=since, until=until, after=after))
        output.write_batches(batches, Change, form, stream, is_spreadsheet_safe=spreadsheet_safe)
        if not count:
            say_nothing(conn, "no such change is recorded")
    if count:
        say(f"{output.plural(count, 'change')}, the last one {last}")


@export.command("prov")
@story_arguments
@click.option(
    "--base", metavar="URI", help="What identifiers begin with.  [urn:llamalog:DATABASE:]"
)
@output_option
@dsn_option
def prov_command(
    entity_type: str | None,
    entity: str | None,
    job_id: str | None,
    base: str | None,
    path: Path | None,
) -> None:
    """Write the story of an entity, or of a job, as W3C PROV-JSON.

    \b
    Example:
      llamalog export prov ALBUM "OK Computer" -o album.json
      llamalog export prov --job sync-7
    """
    _require_one('Give an entity, as ALBUM "OK Computer", or --job JOB.', entity, job_id)
    prov.require_library()
    with session() as conn, writing(path) as stream:
        story = _story(conn, entity_type, entity, job_id)
        document = prov.document(conn, story, base=base)
        stream.write(f"{document.serialize(format='json', indent=2)}\n")
    say(output.plural(len(story), "change"))


@export.command("openlineage")
@story_arguments
@click.option("--since", type=Moment(), help="All jobs from this time on; without offset UTC.")
@click.option("--namespace", metavar="URI", help="Of tables and jobs.  [postgres://HOST:PORT]")
@output_option
@dsn_option
def openlineage_command(
    entity_type: str | None,
    entity: str | None,
    job_id: str | None,
    since: datetime | None,
    namespace: str | None,
    path: Path | None,
) -> None:
    """Write jobs as OpenLineage run events, a line each: of an entity's story, of a job, or of all since a time.

    \b
    Example:
      llamalog export openlineage --since 2026-11-28 -o events.jsonl
      llamalog export openlineage ALBUM "OK Computer" --namespace postgres://db.example.org:5432
    """
    _require_one(
        'Give an entity, as ALBUM "OK Computer", or --job JOB, or --since TIME.',
        entity,
        job_id,
        since,
    )
    count = 0
    with session() as conn, writing(path) as stream:
        jobs: Iterable[str]
        if since is not None:
            jobs = rows.jobs_since(conn, since)
        else:
            jobs = rows.jobs_of(_story(conn, entity_type, entity, job_id))
        for event in openlineage.events(conn, jobs, namespace=namespace):
            stream.write(output.as_json(event) + "\n")
            count += 1
        if not count:
            say_nothing(conn, "no job wrote in that time")
    if count:
        say(f"{count:,} events")
