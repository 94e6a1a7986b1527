"""Locks a table without being in anybody's way."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg

from llamalog_sql.connection import Connection, refuse_pooler, rows
from llamalog_sql.errors import LlamaLogError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How to wait for locks.  lock_timeout: milliseconds of one attempt.  attempts: at most."""

    lock_timeout: int = 100
    attempts: int = 100


@dataclass
class Report:
    """What adopting did.  locked_ms: how long tables were locked exclusively, in all and at most.

    before, after: of the rows that were there before the first step, under one snapshot.
    unneeded: indexes that the log has no use for, and that hold nothing for the application's statements to find.
    """

    table: str
    row_count: int = 0
    before: str = ""
    after: str = ""
    locked_ms: float = 0.0
    longest_lock_ms: float = 0.0
    unneeded: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


def exclusively(
    conn: Connection, statements: list[str], patience: Patience, report: Report
) -> None:
    """Run a step in one transaction; give up waiting for a lock before writers queue behind it, and try again."""
    for attempt in range(patience.attempts):
        try:
            with conn.transaction():
                conn.execute(f"SET LOCAL lock_timeout = {patience.lock_timeout}")
                first, *others = statements
                conn.execute(first.encode())
                since = time.monotonic()
                if others:
                    conn.execute(";\n".join(s.rstrip().rstrip(";") for s in others).encode())
            held = (time.monotonic() - since) * 1000
            report.locked_ms += held
            report.longest_lock_ms = max(report.longest_lock_ms, held)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt + 1 == patience.attempts:
                raise
            if attempt % 10 == 4:
                logger.info("waiting for a lock that another session holds")
            time.sleep(random.uniform(0.5, 1.5) * min(0.05 * 1.5**attempt, 1))  # noqa: S311
        else:
            return


@contextmanager
def alone(conn: Connection) -> Iterator[None]:
    """Let no two adoptions, or one and its undoing, work at once.  Raises LlamaLogError (55006)."""
    refuse_pooler(conn, "locks and settings")
    key = "hashtextextended('llamalog.adopt', 0)"
    if rows(conn, f"SELECT pg_try_advisory_lock({key})") != [(True,)]:
        raise LlamaLogError(
            "another llamalog adopt is at work in this database",
            sqlstate="55006",
            hint="Wait for it, or stop it: the same command goes on where it was.",
        )
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(f"SELECT pg_advisory_unlock({key})".encode())
