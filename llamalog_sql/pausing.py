"""Pausing capture of tables, for bulk loads and emergencies: what is written meanwhile is not in the log, which says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from llamalog_sql import watching
from llamalog_sql.connection import Connection
from llamalog_sql.errors import translate

_COLUMNS = "entity_type, reason, paused_at, paused_by, resumed_at, resumed_by"


@dataclass(frozen=True)
class Pause:
    """A time in which a table was not captured.  resumed_at: None while that lasts.  resumed_by: None too where it was unwatched."""

    entity_type: str
    reason: str
    paused_at: datetime
    paused_by: str
    resumed_at: datetime | None
    resumed_by: str | None


def pause(conn: Connection, names: list[str], reason: str) -> list[Pause]:
    """Stop logging what is written to watched tables, named as tables or as entity types: all of them, or none.

    Raises NotWatched (LL002), AlreadyPaused (LL024), Misuse without a reason, 42501 for who may not.
    Source: sql/functions/pause.sql
    """
    return _call(conn, "pause", [[name, reason] for name in _types(conn, names)])


def resume(conn: Connection, names: list[str]) -> list[Pause]:
    """Log again what is written to paused tables, once those who have written unlogged have ended: all of them, or none.

    Raises NotWatched (LL002), NotPaused (LL025), 42501 for who may not, and 55P03 where a transaction does not end.
    Source: sql/functions/resume.sql
    """
    return _call(conn, "resume", [[name] for name in _types(conn, names)])


def pause_script(conn: Connection, names: list[str], reason: str) -> Iterator[str]:
    """Yield the SQL of `pause`.  Raises NotWatched (LL002)."""
    return _script(conn, "pause", [[name, reason] for name in _types(conn, names)])


def resume_script(conn: Connection, names: list[str]) -> Iterator[str]:
    """Yield the SQL of `resume`.  Raises NotWatched (LL002)."""
    return _script(conn, "resume", [[name] for name in _types(conn, names)])


def since(conn: Connection, entity_type: str, at: datetime | None = None) -> list[Pause]:
    """Return the pauses of a type that had not ended at an instant; all of them without one.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/pauses_since.sql
    """
    try:
        with conn.cursor(row_factory=class_row(Pause)) as cursor:
            return cursor.execute(
                f"SELECT {_COLUMNS} FROM llamalog.pauses_since(%s, %s)".encode(), [entity_type, at]
            ).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def _types(conn: Connection, names: list[str]) -> list[str]:
    """Return the entity types of watched tables."""
    return [str(watching.watched(conn, name).entity_type) for name in names]


def _call(conn: Connection, function: str, calls: list[list[str]]) -> list[Pause]:
    done = []
    try:
        with conn.transaction(), conn.cursor(row_factory=class_row(Pause)) as cursor:
            for arguments in calls:
                marks = ", ".join(["%s"] * len(arguments))
                query = f"SELECT {_COLUMNS} FROM llamalog.{function}({marks})"
                done += cursor.execute(query.encode(), arguments).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error
    return done


def _script(conn: Connection, function: str, calls: list[list[str]]) -> Iterator[str]:
    for arguments in calls:
        values = sql.SQL(", ").join(map(sql.Literal, arguments)).as_string(conn)
        yield f"SELECT * FROM llamalog.{function}({values});\n"
