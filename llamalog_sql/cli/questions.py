"""Commands that ask about one entity."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import click

from llamalog_sql import instants, output, output_instants, pausing, queries
from llamalog_sql.cli.group import FAILED, main
from llamalog_sql.cli.shared import (
    COUNT,
    SEQ,
    Moment,
    dsn_option,
    entity_arguments,
    format_option,
    say,
    say_nothing,
    say_unread,
    session,
)
from llamalog_sql.connection import Connection
from llamalog_sql.instants import EntityAt
from llamalog_sql.queries import Blame, ChainRow, Change, Difference, Found, Sentence, TreeNode

logger = logging.getLogger("llamalog_sql")

#: Pauses that are told, the last ones.
_PAUSES = 3


def _say_archived(conn: Connection, entity_type: str, entity_id: str) -> None:
    since = queries.detail_since(conn, entity_type, entity_id)
    if since is not None:
        say(
            f"changes before {since.astimezone(UTC):%Y-%m} are archived; see llamalog restore-archive"
        )


def _say_breaks(conn: Connection, entity_type: str, entity_id: str) -> None:
    found = queries.breaks(conn, entity_type, entity_id)
    if found:
        logger.warning(
            f"in {output.plural(len(found), 'place')} its changes do not meet: a write was not captured;"
            " llamalog.breaks(type, id) lists them"
        )


def _say_rest_of_second(conn: Connection, entity_type: str, entity_id: str, at: datetime) -> None:
    """Say that what a table shows of an instant is not all of it, where that makes a difference."""
    if at.microsecond == 0:
        last = instants.changed_within_second(conn, entity_type, entity_id, at)
        if last is not None:
            say(
                f"it was changed later in that second, last at {last.astimezone(UTC).isoformat()};"
                " tables show whole seconds"
            )


def _say_columns(
    conn: Connection, entity_type: str, at: datetime | None, fields: Collection[str] | None = None
) -> None:
    for change in instants.columns_changed_since(conn, entity_type, at):
        if fields is None or change.column_name in fields:
            say(output_instants.column_change(change))


def _say_pauses(conn: Connection, entity_type: str, at: datetime | None) -> None:
    found = pausing.since(conn, entity_type, at)
    if len(found) > _PAUSES:
        say(
            f"{output.plural(len(found) - _PAUSES, 'earlier pause')}:"
            " llamalog.pauses_since(type) lists them"
        )
    for pause in found[-_PAUSES:]:
        say(output_instants.pause(pause))


@main.command()
@entity_arguments
@click.option("--limit", default=50, show_default=True, type=COUNT, help="Most rows to show.")
@format_option
@dsn_option
def history(entity_type: str, entity: str, limit: int, form: str) -> None:
    """Show the changes of one entity, newest first.

    \b
    Example:
      llamalog history ALBUM "OK Computer" --format jsonl
    """
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        label = queries.label(conn, entity_type, entity_id)
        # one more tells whether there is more
        found = queries.history(conn, entity_type, entity_id, limit=limit + 1)
        _say_archived(conn, entity_type, entity_id)
        if found:
            _say_pauses(conn, entity_type, found[-1].created_at)
    rows = found[:limit]
    if len(found) > limit:
        say(f"only the newest {limit}; for more, --limit")
    if form != "table":
        output.write_rows(rows, form, Change)
        return
    if not rows:
        say("no change of it is recorded")
        return
    output.print_changes(rows, output.heading(entity_type, entity_id, label), with_entity=False)


@main.command()
@entity_arguments
@click.option(
    "--category", "categories", multiple=True, metavar="CATEGORY", help="Only this one. Repeatable."
)
@click.option("--since", type=Moment(), help="From this time; without offset UTC.")
@click.option("--until", type=Moment(), help="Before this time; without offset UTC.")
@click.option("--limit", default=20, show_default=True, type=COUNT, help="Rows of a page.")
@click.option("--cursor", help="Where the page before ended.")
@format_option
@dsn_option
def chain(
    entity_type: str,
    entity: str,
    categories: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    form: str,
) -> None:
    """Show the whole story of an entity by time: its parts, its links, and what the jobs about it caused.

    \b
    Example:
      llamalog chain ALBUM "OK Computer" --category CREATED --category FAILED
    """
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        label = queries.label(conn, entity_type, entity_id)
        page = queries.chain(
            conn,
            entity_type,
            entity_id,
            categories=categories,
            start_date=since,
            end_date=until,
            limit=limit,
            cursor=cursor,
        )
        _say_archived(conn, entity_type, entity_id)
        if page.logs:
            _say_pauses(conn, entity_type, page.logs[0].created_at)
        else:
            say_nothing(conn, "no such change is recorded")
    if form == "json":
        click.echo(
            output.as_json(
                {
                    "logs": [
                        output.as_dict(row, without=("total_count", "has_more", "next_cursor"))
                        for row in page.logs
                    ],
                    "total_count": page.total_count,
                    "cursor": page.cursor,
                    "has_more": page.has_more,
                },
                indent=2,
            )
        )
        return
    if form != "table":
        output.write_rows(page.logs, form, ChainRow)
        return
    if not page.logs:
        return
    heading = output.heading(entity_type, entity_id, label)
    output.print_changes(
        page.logs,
        f"{heading}: {len(page.logs)} of {output.plural(page.total_count, 'change')}",
        with_entity=True,
    )
    if page.cursor:
        say(f"more: add --cursor {page.cursor}")


@main.command()
@entity_arguments
@click.option(
    "--children",
    default=output.CHILDREN,
    show_default=True,
    type=click.IntRange(min=1),
    help="Children of a node to draw.",
)
@format_option
@dsn_option
def tree(entity_type: str, entity: str, children: int, form: str) -> None:
    """Draw the story of an entity as a tree of jobs and changes.

    \b
    Example:
      llamalog tree ALBUM "OK Computer"
    """
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        label = queries.label(conn, entity_type, entity_id)
        nodes = queries.tree(conn, entity_type, entity_id)
        _say_archived(conn, entity_type, entity_id)
        told = [node.created_at for node in nodes if node.created_at is not None]
        if told:
            _say_pauses(conn, entity_type, min(told))
    if form != "table":
        output.write_rows(nodes, form, TreeNode)
        return
    output.console().print(
        output.tree(nodes, output.heading(entity_type, entity_id, label), children)
    )


@main.command()
@entity_arguments
@format_option
@dsn_option
def why(entity_type: str, entity: str, form: str) -> None:
    """Tell how an entity came here, and what happened to it since.

    \b
    Example:
      llamalog why ALBUM "OK Computer"
    """
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        sentences = queries.why(conn, entity_type, entity_id)
        if sentences:
            _say_pauses(conn, entity_type, sentences[0].created_at)
    if form != "table":
        output.write_rows(sentences, form, Sentence)
        return
    output.console().print(output.story(sentences), end="")


@main.command("as-of")
@click.argument("entity_type", metavar="TYPE")
@click.argument("entity", metavar='[ID|"TITLE"]')
@click.argument("at", metavar="TIME", type=Moment(), required=False)
@format_option
@dsn_option
def as_of(entity_type: str, entity: str, at: datetime | None, form: str) -> None:
    """Show a row as it was at an instant (ISO 8601; without offset UTC).

    With no more than a type and a time: all rows of the type, each under the key that it had then.

    \b
    Example:
      llamalog as-of ALBUM "OK Computer" 2026-11-22T18:30:00
      llamalog as-of ALBUM 2026-11-22T18:30:00 --format jsonl
    """
    if at is None:
        _all_as_of(entity_type, Moment().convert(entity, None, click.get_current_context()), form)
        return
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        row = queries.as_of(conn, entity_type, entity_id, at)
        _say_rest_of_second(conn, entity_type, entity_id, at)
        _say_columns(conn, entity_type, at)
        _say_pauses(conn, entity_type, at)
        _say_breaks(conn, entity_type, entity_id)
    if form != "table":
        output.write_image(row, form)
    elif row is None:
        say("it did not exist then")
    else:
        output.console().print(output.image_table(row))


def _all_as_of(entity_type: str, at: datetime, form: str) -> None:
    count = 0

    def counted(batches: Iterator[list[EntityAt]]) -> Iterator[list[EntityAt]]:
        nonlocal count
        for batch in batches:
            count += len(batch)
            yield batch

    with session() as conn:
        output_instants.write_entities(
            counted(instants.as_of_all(conn, entity_type, at)),
            form,
            instants.key_columns(conn, entity_type),
        )
        _say_columns(conn, entity_type, at)
    if not count:
        say("none existed then")


@main.command()
@entity_arguments
@format_option
@dsn_option
def blame(entity_type: str, entity: str, form: str) -> None:
    """Show for every field of a row which change set its value: when, through which path, by whom.

    \b
    Example:
      llamalog blame ALBUM "OK Computer"
    """
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        rows = queries.blame(conn, entity_type, entity_id)
        unknown = {row.field for row in rows if row.seq is None}
        _say_columns(conn, entity_type, None, unknown)
        if unknown:
            _say_pauses(conn, entity_type, None)
        _say_archived(conn, entity_type, entity_id)
        _say_breaks(conn, entity_type, entity_id)
    if form != "table":
        output.write_rows(rows, form, Blame)
    elif not rows:
        say("neither the row nor the image of its removal is there")
    else:
        output.print_blame(rows)


@main.command()
@entity_arguments
@click.argument("from_at", metavar="[FROM", type=Moment(), required=False)
@click.argument("to_at", metavar="TO]", type=Moment(), required=False)
@click.option("--from-change", type=SEQ, metavar="SEQ", help="From what this change left.")
@click.option("--to-change", type=SEQ, metavar="SEQ", help="To what this change left.")
@format_option
@dsn_option
def diff(
    entity_type: str,
    entity: str,
    from_at: datetime | None,
    to_at: datetime | None,
    from_change: int | None,
    to_change: int | None,
    form: str,
) -> None:
    """Show what became of a row from one instant to another (ISO 8601; without offset UTC), or from one change to another.

    \b
    Example:
      llamalog diff ALBUM "OK Computer" 2026-11-22 2026-11-23
      llamalog diff ALBUM "OK Computer" --from-change 17 --to-change 42
    """
    given = [value is not None for value in (from_at, to_at, from_change, to_change)]
    if given not in ([True, True, False, False], [False, False, True, True]):
        raise click.UsageError(
            "give two times, FROM and TO, or else two changes, --from-change and --to-change"
        )
    exists = True
    with session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        if from_at is not None and to_at is not None:
            rows = queries.diff(conn, entity_type, entity_id, from_at, to_at)
            exists = bool(rows) or queries.as_of(conn, entity_type, entity_id, to_at) is not None
            for at in (from_at, to_at):
                _say_rest_of_second(conn, entity_type, entity_id, at)
            _say_columns(conn, entity_type, from_at)
            _say_pauses(conn, entity_type, from_at)
        elif from_change is not None and to_change is not None:
            rows = instants.diff_changes(conn, entity_type, entity_id, from_change, to_change)
            _say_columns(conn, entity_type, instants.made_at(conn, from_change))
        _say_breaks(conn, entity_type, entity_id)
    if form != "table":
        output.write_rows(rows, form, Difference)
    elif not rows:
        say("no difference" if exists else "it existed at neither time")
    else:
        output.console().print(output.difference_table(rows))


@main.command()
@click.argument("text")
@click.option("--type", "entity_type", metavar="TYPE", help="Only entities of this type.")
@click.option("--limit", default=20, show_default=True, type=COUNT, help="Most to show.")
@format_option
@dsn_option
def find(text: str, entity_type: str | None, limit: int, form: str) -> None:
    """Find entities by a part of their title or name; also deleted ones. Exit 1 when there is none.

    A type whose table you may not read is said to be left out; in json, jsonl and csv it is a row without entity_id.

    \b
    Example:
      llamalog find computer --type ALBUM
    """
    with session() as conn:
        asked = queries.find(conn, text, entity_type=entity_type, limit=limit + 1)
    found = [row for row in asked if row.entity_id is not None]
    unread = [row for row in asked if row.entity_id is None]
    rows = found[:limit]
    if len(found) > limit:
        say(f"only {limit}; for more, --limit")
    if form != "table":
        output.write_rows([*rows, *unread], form, Found)
    elif rows:
        output.console().print(output.found_table(rows))
    say_unread([row.entity_type for row in unread])
    if not rows:
        known = "nothing that you may read is" if unread else "nothing is"
        say(f'{known} called "{output.clean(text[:100])}"')
        click.get_current_context().exit(FAILED)
