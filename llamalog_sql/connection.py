"""Connections to the database that explains itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import class_row, tuple_row
from psycopg.types.json import set_json_loads

from llamalog_sql.connection_string import connection_string
from llamalog_sql.errors import (
    LlamaLogError,
    NotInstalled,
    ServerTooOld,
    Unreachable,
    translate,
)

Connection = psycopg.Connection[Any]
Parameters = Sequence[Any] | Mapping[str, Any] | None
Row = TypeVar("Row")

#: Reads jsonb so that every digit stays: 1.0 and 1.00 are two values.
exact_json = functools.partial(json.loads, parse_float=Decimal)

OLDEST_SERVER = 15


def connect(dsn: str | None = None) -> Connection:
    """Return a new connection to the database that `dsn`, or else the environment, names.

    dsn: a libpq connection string or URL; DATABASE_URLs of Prisma and SQLAlchemy are understood.

    Raises Unreachable (08001), ServerTooOld (LL012).
    """
    try:
        given = conninfo_to_dict(connection_string(dsn))
    except (psycopg.Error, ValueError) as error:
        said = translate(error) if isinstance(error, psycopg.Error) else error
        raise Unreachable(
            f"malformed connection string: {said}",
            hint="Write postgresql://user@host/database, or host=... dbname=...",
        ) from None
    given.setdefault("application_name", "llamalog")
    given.setdefault("connect_timeout", "10")
    # whatever the database's: SQL_ASCII would give bytes for text
    given.setdefault("client_encoding", "UTF8")
    try:
        conn = psycopg.connect(make_conninfo("", **given))
    except psycopg.OperationalError as error:
        refusal = translate(error)
        raise Unreachable(str(refusal).splitlines()[0], sqlstate=refusal.sqlstate) from None
    if conn.info.server_version < OLDEST_SERVER * 10000:
        version = conn.info.parameter_status("server_version")
        conn.close()
        raise ServerTooOld(f"the server is PostgreSQL {version}, older than {OLDEST_SERVER}")
    # a pooler hands the server's session on, with what was prepared in it
    conn.prepare_threshold = None
    return conn


def refuse_pooler(conn: Connection, what: str) -> None:
    """Raise where a pooler would hand on to other clients what this command leaves in its session.

    what: as "temporary tables".  It shows by a process id that is not the server's.
    """
    if not rows(conn, "SELECT 1 WHERE pg_backend_pid() = %s", [conn.info.backend_pid]):
        raise LlamaLogError(
            f"a connection pooler stands in between, and would hand on {what}",
            hint="Connect to the server itself.",
        )


def rows(
    conn: Connection, query: str | sql.Composed, parameters: Parameters = None
) -> list[tuple[Any, ...]]:
    """Return the rows of a query as tuples, whatever kind of rows the connection makes for its owner."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        text = query.encode() if isinstance(query, str) else query
        return cursor.execute(text, parameters).fetchall()


def first_row(
    conn: Connection, query: str | sql.Composed, parameters: Parameters = None
) -> tuple[Any, ...] | None:
    """Return the first row of a query, None when there is none."""
    found = rows(conn, query, parameters)
    return found[0] if found else None


def ask(conn: Connection, kind: type[Row], query: str, parameters: Parameters = None) -> list[Row]:
    """Return the answer to a question as dataclasses, whose fields are named like its columns.

    Raises what is wrong as an error of llamalog_sql.errors.
    """
    try:
        with conn.cursor(row_factory=class_row(kind)) as cursor:
            set_json_loads(exact_json, cursor)
            return cursor.execute(query.encode(), parameters).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error


def owner_of_the_log(conn: Connection) -> str:
    """Return the role that owns the schema llamalog."""
    found = first_row(
        conn, "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'llamalog'"
    )
    assert found is not None
    return str(found[0])


@contextmanager
def as_owner(conn: Connection) -> Iterator[None]:
    """Create what is created inside as the owner of the log; then the session has the role again that it had."""
    before = first_row(conn, "SELECT current_user")
    assert before is not None
    role = sql.SQL("SET LOCAL ROLE {}")
    conn.execute(role.format(sql.Identifier(owner_of_the_log(conn))))
    yield
    conn.execute(role.format(sql.Identifier(before[0])))


@contextmanager
def own_path(conn: Connection) -> Iterator[None]:
    """Find nothing in the application's schemas by chance: their operators could take the place of PostgreSQL's."""
    ((before,),) = rows(conn, "SELECT pg_catalog.current_setting('search_path')")
    conn.execute("SET search_path = pg_catalog, pg_temp")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT pg_catalog.set_config('search_path', %s, false)", [before])


def require_installation(conn: Connection) -> None:
    """Raise NotInstalled (LL001) unless `llamalog migrate` has run in the database."""
    found = first_row(
        conn,
        "SELECT to_regclass('llamalog.llama_logs'), to_regclass('llamalog.watches'), to_regclass('llamalog.log'),"
        " to_regproc('llamalog.chain_changes'), to_regproc('llamalog.capture_row')",
    )
    assert found is not None
    if all(part is None for part in found):
        raise NotInstalled("llamalog is not installed in this database")
    if any(part is None for part in found):
        raise NotInstalled("llamalog is only half installed in this database")
