"""Follows the log: the newest changes, then each as it is committed, across lost connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from llamalog_sql.connection import Connection, exact_json
from llamalog_sql.errors import LlamaLogError, Unreachable, translate
from llamalog_sql.queries import Change

logger = logging.getLogger(__name__)

#: Changes asked for at a time.
_BATCH = 1000

#: Seconds between two attempts to connect again, at first and at most.
_SOON, _LATE = 1.0, 30.0


@dataclass(frozen=True)
class Filter:
    """Which changes are wanted; None for all.

    entity_id: with entity_type; also changes of its parts and links.  job_id: the job, and what it caused.
    user_id: the user, or where none was claimed the role of the database.
    """

    entity_type: str | None = None
    entity_id: str | None = None
    categories: Sequence[str] | None = None
    status: str | None = None
    source: str | None = None
    user_id: str | None = None
    job_id: str | None = None


@dataclass(frozen=True)
class News:
    """What was new.  cursor: leads to what follows; at once where has_more is true."""

    changes: list[Change]
    cursor: str
    has_more: bool


def ready(conn: Connection) -> Connection:
    """Return the connection, its transactions READ COMMITTED whatever the database's default: others cannot follow."""
    conn.isolation_level = IsolationLevel.READ_COMMITTED
    return conn


def tail(conn: Connection, wanted: Filter, *, cursor: str | None = None, limit: int = 10) -> News:
    """Return what was committed since the cursor, by seq, at most `limit`; without cursor the newest changes.

    Raises BadCursor (LL006), UnknownEntityType (LL003), Misuse (22023); 25000 in a transaction that has written or is
    not READ COMMITTED.
    Source: sql/functions/tail.sql
    """
    try:
        with conn.transaction(), conn.cursor(row_factory=dict_row) as asking:
            set_json_loads(exact_json, asking)
            rows = asking.execute(
                "SELECT (tail.change).*, tail.next_cursor, tail.has_more"
                " FROM llamalog.tail(%s, %s::integer, %s, %s, %s::text[], %s, %s, %s, %s) AS tail",
                [
                    cursor,
                    limit,
                    wanted.entity_type,
                    wanted.entity_id,
                    list(wanted.categories) if wanted.categories else None,
                    wanted.status,
                    wanted.source,
                    wanted.user_id,
                    wanted.job_id,
                ],
            ).fetchall()
    except psycopg.Error as error:
        raise translate(error) from error
    next_cursor, has_more = rows[0]["next_cursor"], rows[0]["has_more"]
    for row in rows:
        del row["next_cursor"], row["has_more"]
    return News([Change(**row) for row in rows if row["seq"] is not None], next_cursor, has_more)


def follow(
    conn: Connection,
    connect: Callable[[], Connection],
    wanted: Filter,
    cursor: str,
    *,
    interval: float = 1.0,
) -> Iterator[list[Change]]:
    """Yield what is committed after the cursor, each change once, for ever; at each look, be it nothing.

    connect: opens another connection when one is lost, like the first; it is tried again until it does.
    interval: seconds between polls.

    Raises what tail() does.
    """
    try:
        while True:
            try:
                news = tail(conn, wanted, cursor=cursor, limit=_BATCH)
            except LlamaLogError as error:
                if not conn.closed:
                    raise
                # libpq may add what it thinks of it
                logger.warning(f"the connection is lost: {str(error).splitlines()[0]}")
                conn = _connect_again(connect)
                continue
            # what was yielded is not asked for again
            cursor = news.cursor
            yield news.changes
            if not news.has_more:
                time.sleep(interval)
    finally:
        conn.close()


def _connect_again(connect: Callable[[], Connection]) -> Connection:
    pause = _SOON
    while True:
        try:
            conn = ready(connect())
        except Unreachable as error:
            logger.warning(f"{error}; trying again in {pause:.0f} s")
            time.sleep(pause)
            pause = min(pause * 2, _LATE)
        else:
            logger.warning("connected again; nothing is left out")
            return conn
