"""Context of the writes of a block: which path, which job, for whom; and the record of its failure, should it fail."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row
from psycopg.types.json import Jsonb

logger = logging.getLogger(__name__)

#: Seconds that a block which failed waits for the record of it: a pool may have no second connection for it just now.
PATIENCE = 6.0

#: Everything that llamalog.set_context() sets, to be put back after a nested block.
SETTINGS = (
    "source",
    "job_id",
    "parent_job_id",
    "root_job_id",
    "user_id",
    "category",
    "operation",
    "reason",
    "triggered_by",
    "sources",
    "metadata",
    "path",
    "head",
)


@contextmanager
def context(
    conn: psycopg.Connection[Any],
    *,
    source: str | None = None,
    job_id: str | None = None,
    parent_job_id: str | None = None,
    root_job_id: str | None = None,
    user_id: str | None = None,
    category: str | None = None,
    operation: str | None = None,
    reason: str | None = None,
    triggered_by: str | None = None,
    sources: list[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    entity: tuple[str, object] | None = None,
    failure_dsn: str | None = None,
) -> Iterator[str]:
    """Run a block in one transaction whose changes carry this context; yields the job id.

    The block is a transaction of its own, or a savepoint inside one that is open, as `conn.transaction()` makes it.
    Inside another context it is a job of its own, caused by the outer one and for the same user unless said
    otherwise, and the outer context holds again after it.

    When the block raises, its changes are rolled back and a FAILED row is written over a second connection, so that
    the failure survives: with SQLSTATE (or the name of the exception), message, duration and this job.

    source: a path of llamalog.source_paths, or one of your own.  job_id: made up when not given.
    category: of the UPDATEs, when not that of the source.  entity: (type, id) that a failure is recorded for.
    failure_dsn: where to write the failure, when not to the server and database of `conn`, as its user.

    Raises what the block raises.
    Source: sql/functions/set_context.sql, sql/functions/record_failure.sql
    """
    if isinstance(entity, str) or (entity is not None and len(entity) != 2):
        raise TypeError("entity is a pair: (type, id)")
    started = time.monotonic()
    address = _address(conn)
    given: dict[str, Any] = {
        "source": source,
        "job_id": job_id,
        "parent_job_id": parent_job_id,
        "root_job_id": root_job_id,
        "user_id": user_id,
        "operation": operation,
        "reason": reason,
        "triggered_by": triggered_by,
        "sources": sources,
        "metadata": Jsonb(dict(metadata)) if metadata is not None else None,
    }
    try:
        with conn.transaction():
            outer = _settings(conn)
            if outer["job_id"] and parent_job_id is None:
                is_same = outer["job_id"] == job_id
                given["parent_job_id"] = outer["parent_job_id"] if is_same else outer["job_id"]
                given["root_job_id"] = (
                    root_job_id or outer["root_job_id"] or outer["parent_job_id"] or outer["job_id"]
                )
                given["user_id"] = user_id or outer["user_id"] or None
            given["job_id"] = _call(conn, "llamalog.set_context", {**given, "category": category})
            yield given["job_id"]
            # RELEASE SAVEPOINT keeps what was set inside it
            _restore(conn, outer)
    except GeneratorExit:
        raise
    except BaseException as error:
        elapsed = int((time.monotonic() - started) * 1000)
        _record_failure(failure_dsn or address, error, given, entity, elapsed)
        raise


def _address(conn: psycopg.Connection[Any]) -> str:
    """Return where the connection leads, while it is open."""
    password = {"password": conn.info.password} if conn.info.password else {}
    return make_conninfo("", **{**conn.info.get_parameters(), **password})


def _settings(conn: psycopg.Connection[Any]) -> dict[str, str]:
    with _cursor(conn) as cursor:
        rows = cursor.execute(
            "SELECT setting.name, coalesce(current_setting('llamalog.' || setting.name, true), '')"
            " FROM unnest(%s::text[]) AS setting (name)",
            [list(SETTINGS)],
            prepare=False,
        ).fetchall()
    return dict(rows)


def _restore(conn: psycopg.Connection[Any], settings: dict[str, str]) -> None:
    with _cursor(conn) as cursor:
        cursor.execute(
            "SELECT set_config('llamalog.' || setting.name, setting.value, true)"
            " FROM unnest(%s::text[], %s::text[]) AS setting (name, value)",
            [list(settings), list(settings.values())],
            prepare=False,
        )


def _cursor(conn: psycopg.Connection[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
    """Return a plain cursor, whatever kinds of cursor and row the connection makes for its owner.

    What it runs is never prepared: a pooler may hand the session on, where the name is taken, or not known.
    """
    return psycopg.Cursor(conn, row_factory=tuple_row)


def _call(conn: psycopg.Connection[Any], function: str, arguments: dict[str, Any]) -> Any:
    named = psycopg.sql.SQL(", ").join(
        psycopg.sql.SQL("{} => {}").format(
            psycopg.sql.Identifier(name), psycopg.sql.Placeholder(name)
        )
        for name in arguments
    )
    schema, name = function.split(".")
    query = psycopg.sql.SQL("SELECT {}({})").format(psycopg.sql.Identifier(schema, name), named)
    with _cursor(conn) as cursor:
        row = cursor.execute(query, arguments, prepare=False).fetchone()
    assert row is not None
    return row[0]


def _record_failure(
    dsn: str,
    error: BaseException,
    given: dict[str, Any],
    entity: tuple[str, object] | None,
    duration_ms: int,
) -> None:
    """Write the FAILED row on a connection of its own; a failure to do so is logged and hides nothing.

    Written beside the caller, who waits no longer than PATIENCE. Where the block is part of a transaction, that keeps its own
    connection; if it is the last one of a pooler, the row is written when the pooler gives another one, or this one.
    """
    name = type(error).__name__
    code, message = name, None
    if isinstance(error, psycopg.Error):
        code, message = error.sqlstate or name, error.diag.message_primary
    message = message or _text_of(error) or name
    arguments = {
        **given,
        "error_message": message,
        "error_code": code,
        "entity_type": entity[0] if entity else None,
        "entity_id": str(entity[1]) if entity else None,
        "duration_ms": duration_ms,
    }

    def warn(how: str) -> None:
        logger.warning(
            "[🦙 LlamaLog] the failure of job %s (%s: %s) %s", given["job_id"], code, message, how
        )

    def write() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as second:
                _call(second, "llamalog.record_failure", arguments)
        except psycopg.Error as trouble:
            hint = f" ({trouble.diag.message_hint})" if trouble.diag.message_hint else ""
            warn(f"could not be recorded: {trouble.diag.message_primary or trouble}{hint}")

    writing = threading.Thread(target=write, name="llamalog-failure", daemon=True)
    writing.start()
    writing.join(PATIENCE)
    if writing.is_alive():
        warn("is not recorded yet: no second connection was to be had")


def _text_of(error: BaseException) -> str:
    """Return what the error says of itself, as PostgreSQL can hold it."""
    try:
        said = str(error)
    except Exception:
        return ""  # whatever it is that the application's own class raises here must not hide the error itself
    return said.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
