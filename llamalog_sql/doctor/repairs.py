"""Puts right what the doctor found, where that is safe: the application's data are never touched, and each step can be undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from llamalog_sql import migrate
from llamalog_sql.connection import Connection, first_row, owner_of_the_log
from llamalog_sql.errors import LlamaLogError, translate
from llamalog_sql.findings import (
    KINDS,
    OWNER_OF_THE_TABLE,
    RIGHTS,
    SUPERUSER,
    Finding,
)
from llamalog_sql.render import ident
from llamalog_sql.watching import LOCK_TIMEOUT

MIGRATE = "llamalog migrate"


@dataclass(frozen=True)
class Repair:
    """A step, and which findings it is for.  statement: SQL, or MIGRATE.  by: who may take it."""

    statement: str
    findings: list[Finding]
    by: str

    @property
    def reason(self) -> str:
        first = f"{self.findings[0].what}: {self.findings[0].problem}"
        return first + (f"; {len(self.findings) - 1} more" if len(self.findings) > 1 else "")


@dataclass(frozen=True)
class Refusal:
    """A step that could not be taken.  hint: which role or right is needed."""

    repair: Repair
    problem: str
    sqlstate: str
    hint: str


def plan(findings: Sequence[Finding]) -> list[Repair]:
    """Return the steps that put right what can be, in order, each once: SQL, then one llamalog migrate if one is needed."""
    by_statement: dict[str, list[Finding]] = {}
    for found in findings:
        if found.is_fault:
            for statement in found.fix:
                by_statement.setdefault(statement.strip().rstrip(";"), []).append(found)
    # who owns a function decides who may replace it
    repairs = [
        Repair(statement, about, KINDS[about[0].id].by) for statement, about in by_statement.items()
    ]
    if migrating := [found for found in findings if found.is_fault and KINDS[found.id].migrates]:
        needed = max((KINDS[found.id].by for found in migrating), key=RIGHTS.index)
        repairs.append(Repair(MIGRATE, migrating, needed))
    return repairs


def script(repairs: Sequence[Repair]) -> Iterator[str]:
    """Yield the SQL of the steps; that of llamalog migrate is its own: llamalog migrate --sql."""
    for repair in repairs:
        if repair.statement == MIGRATE:
            yield f"-- then run: {MIGRATE}"
        else:
            yield repair.statement


def repair(conn: Connection, repairs: Sequence[Repair]) -> Iterator[Repair | Refusal]:
    """Take the steps one by one, each in a transaction of its own, and yield each that was taken, or why it was not.

    Waits for a lock no longer than LOCK_TIMEOUT, or the lock_timeout of the session: writers queue behind who waits.
    """
    for step in repairs:
        try:
            if step.statement == MIGRATE:
                migrate.migrate(conn)
            elif " CONCURRENTLY " in step.statement:
                # in no transaction, and no writer waits for it
                conn.execute(step.statement.encode())
            else:
                with conn.transaction():
                    conn.execute(
                        "SELECT set_config('lock_timeout', %s, true) WHERE current_setting('lock_timeout') = '0'",
                        [LOCK_TIMEOUT],
                    )
                    conn.execute(step.statement.encode())
        except (psycopg.Error, LlamaLogError) as error:
            if conn.broken:
                raise
            yield _refusal(conn, step, error)
        else:
            yield step


def _refusal(conn: Connection, step: Repair, error: psycopg.Error | LlamaLogError) -> Refusal:
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else str(error)
    known = error if isinstance(error, LlamaLogError) else translate(error)
    if known.sqlstate == "42501":
        hint = _needed(conn, step.by)
    elif known.sqlstate == "55P03":
        hint = "Run it again: somebody else is at work there."
    else:
        hint = known.hint or "See docs/doctor.md."
    return Refusal(step, str(said), known.sqlstate, hint)


def _needed(conn: Connection, by: str) -> str:
    """Return which role or right is lacking."""
    if by == SUPERUSER:
        return "Connect as a superuser."
    me = first_row(conn, "SELECT current_user")
    assert me is not None
    owner = ident(owner_of_the_log(conn))
    needed = f"GRANT {owner} TO {ident(me[0])}"
    if by == OWNER_OF_THE_TABLE:
        return f"Connect as a superuser, or as the owner of the table with: {needed}"
    return f"{needed}, or connect as a superuser."
