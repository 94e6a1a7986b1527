"""Questions about instants beside `queries`: all rows of a type, a row between two changes, when columns came and went."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import set_json_loads

from llamalog_sql.connection import Connection, ask, exact_json, first_row
from llamalog_sql.errors import translate
from llamalog_sql.queries import Difference

#: Rows fetched at a time.
_BATCH = 1000


@dataclass(frozen=True)
class EntityAt:
    """A row at an instant, under the key that it had then.  image: None where the row is gone unseen: not known."""

    entity_id: str
    image: dict[str, Any] | None


@dataclass(frozen=True)
class ColumnChange:
    """A column that came, went or got another name.  change: added, dropped or renamed.

    old_name: None where it was not renamed.  after_at, noticed_at: it happened between them, or then where they are one.
    """

    column_name: str
    change: str
    old_name: str | None
    after_at: datetime
    noticed_at: datetime


def key_columns(conn: Connection, entity_type: str) -> list[str]:
    """Return the columns by which the rows of a type are known."""
    try:
        found = first_row(
            conn,
            "SELECT watch.key_columns FROM llamalog.watches AS watch"
            " WHERE watch.entity_type = llamalog.entity_type(%s)",
            [entity_type],
        )
    except psycopg.Error as error:
        raise translate(error) from error
    return list(found[0]) if found else []


def as_of_all(conn: Connection, entity_type: str, at: datetime) -> Iterator[list[EntityAt]]:
    """Yield every row of a type that existed at an instant, by key as text, in batches; memory is that of a batch.

    Raises what queries.as_of does.
    Source: sql/functions/as_of_all.sql
    """
    try:
        # a cursor on the server, which ends with its transaction
        with (
            conn.transaction(),
            conn.cursor("llamalog_as_of", row_factory=class_row(EntityAt)) as cursor,
        ):
            set_json_loads(exact_json, cursor)
            cursor.execute("SELECT * FROM llamalog.as_of_all(%s, %s)", [entity_type, at])
            while batch := cursor.fetchmany(_BATCH):
                yield batch
    except psycopg.Error as error:
        raise translate(error) from error


def diff_changes(
    conn: Connection, entity_type: str, entity_id: str, from_change: int, to_change: int
) -> list[Difference]:
    """Return the fields in which a row differs between what one of its changes left and what another did.

    from_change, to_change: seq of the changes.

    Raises what queries.as_of does, UnknownChange (LL018), CannotRevert (LL019) for half of a move between partitions, and
    Misuse (22023) for a change of another row, or when from_change is after to_change.
    Source: sql/functions/diff_changes.sql
    """
    return ask(
        conn,
        Difference,
        "SELECT * FROM llamalog.diff_changes(%s, %s, %s::bigint, %s::bigint)",
        [entity_type, entity_id, from_change, to_change],
    )


def changed_within_second(
    conn: Connection, entity_type: str, entity_id: str, at: datetime
) -> datetime | None:
    """Return the last change of a row after an instant and less than a second later, None where there is none.

    Source: sql/functions/row_changes.sql
    """
    found = first_row(
        conn,
        "SELECT max(change.created_at)"
        " FROM llamalog.row_changes(llamalog.entity_type(%(type)s), %(id)s, %(at)s) AS change"
        " WHERE change.created_at > %(at)s AND change.created_at < %(at)s + interval '1 second'",
        {"type": entity_type, "id": entity_id, "at": at},
    )
    return found[0] if found else None


def made_at(conn: Connection, change: int) -> datetime | None:
    """Return when a change was made, None for one that the log does not have."""
    found = first_row(conn, "SELECT created_at FROM llamalog.log WHERE seq = %s", [change])
    return found[0] if found else None


def columns_changed_since(
    conn: Connection, entity_type: str, at: datetime | None = None
) -> list[ColumnChange]:
    """Return the columns of a type that came, went or got another name after an instant, in that order.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/columns_changed_since.sql
    """
    return ask(
        conn,
        ColumnChange,
        "SELECT column_name, change, old_name, after_at, noticed_at"
        " FROM llamalog.columns_changed_since(%s, %s)",
        [entity_type, at],
    )
