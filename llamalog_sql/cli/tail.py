"""The command that follows the log."""

from __future__ import annotations

import functools
import itertools
import select
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import click

from llamalog_sql import jobs, output, queries, tailing
from llamalog_sql.cli.group import main
from llamalog_sql.cli.shared import (
    COUNT,
    Seconds,
    connected,
    dsn_option,
    format_option,
    say,
    session,
)
from llamalog_sql.errors import Misuse, UnknownJob
from llamalog_sql.queries import Change


@main.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with each change as it is committed.")
@click.option(
    "-n", "--limit", default=10, show_default=True, type=COUNT, help="Newest changes to begin with."
)
@click.option("--type", "entity_type", metavar="TYPE", help="Only entities of this type.")
@click.option("--entity", metavar='ID|"TITLE"', help="Only this one of them, its parts and links.")
@click.option(
    "--category", "categories", multiple=True, metavar="CATEGORY", help="Only this one. Repeatable."
)
@click.option("--status", help="Only changes of this status.")
@click.option("--source", help="Only what entered through this path.")
@click.option("--user", "user_id", help="Only what this user did, or this role of the database.")
@click.option("--job", "job_id", help="Only this job, and those that name it as parent or root.")
@click.option(
    "--interval",
    default=1.0,
    show_default=True,
    type=Seconds(0.05, 3600),
    help="Seconds between two looks.",
)
@format_option
@dsn_option
def tail(
    follow: bool,
    limit: int,
    entity_type: str | None,
    entity: str | None,
    categories: tuple[str, ...],
    status: str | None,
    source: str | None,
    user_id: str | None,
    job_id: str | None,
    interval: float,
    form: str,
) -> None:
    """Show the newest changes, a line each; with -f those to come, until Ctrl-C.

    Each change is shown once, when it is committed, also that of a slow transaction. A lost connection is made again.

    \b
    Example:
      llamalog tail -f --type ALBUM --category FAILED
    """
    if entity is not None and entity_type is None:
        raise Misuse("--entity goes with --type", hint="Say of which type it is: --type ALBUM")
    if follow and form == "json":
        raise Misuse("an array that grows never ends", hint="With -f, write --format jsonl.")
    with session() as conn:
        tailing.ready(conn)
        if job_id is not None:
            try:
                jobs.require(conn, job_id)
            except UnknownJob as error:
                if not follow:
                    raise
                say(f"{output.clean(error)} yet")
        wanted = tailing.Filter(
            entity_type=entity_type,
            entity_id=queries.resolve(conn, entity_type, entity)
            if entity is not None and entity_type is not None
            else None,
            categories=categories,
            status=status,
            source=source,
            user_id=user_id,
            job_id=job_id,
        )
        news = tailing.tail(conn, wanted, limit=limit)
        if not news.changes:
            say("no such change is among the last million" + (" yet" if follow else ""))
        if form == "json":
            output.write_rows(news.changes, form, Change)
            return
        batches: Iterator[Sequence[Change]] = iter([news.changes])
        if follow:
            again = functools.partial(connected, click.get_current_context().obj["dsn"])
            coming = tailing.follow(conn, again, wanted, news.cursor, interval=interval)
            batches = itertools.chain(batches, itertools.takewhile(_is_read, coming))
        # who follows ends it so, and nothing went wrong
        with suppress(KeyboardInterrupt):
            if form == "table":
                _print_lines(batches)
            else:
                output.write_batches(batches, Change, form)


def _print_lines(batches: Iterable[Sequence[Change]]) -> None:
    console = output.console()
    for batch in batches:
        for change in batch:
            console.print(output.change_line(change), soft_wrap=True)
        sys.stdout.flush()


def _is_read(_: object) -> bool:
    """Return whether anybody reads what is written: `head` may have gone, and nothing new come to tell."""
    try:
        stdout = sys.stdout.fileno()
    except OSError:
        return True  # no file: a test's
    ends = select.poll()
    ends.register(stdout, 0)
    return not any(state & select.POLLERR for _, state in ends.poll(0))
