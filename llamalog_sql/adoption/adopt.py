"""Makes the application's own log the log; shows, before, what that means."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import IsolationLevel

from llamalog_sql import catalog
from llamalog_sql.adoption import indexes, locks, proof, state, steps, undo
from llamalog_sql.adoption.examine import shape_of
from llamalog_sql.adoption.locks import Patience, Report
from llamalog_sql.adoption.shape import Shape
from llamalog_sql.adoption.steps import Step
from llamalog_sql.connection import Connection, own_path, owner_of_the_log
from llamalog_sql.errors import CannotAdopt, LlamaLogError
from llamalog_sql.render import ident

logger = logging.getLogger(__name__)


def plan(
    conn: Connection,
    name: str,
    *,
    mapping: dict[str, str] | None = None,
    extend_enums: bool = False,
) -> list[Step]:
    """Return what `adopt` would do; changes nothing.  Raises CannotAdopt (LL015), 42501, 42P01."""
    table = catalog.find_table(conn, name).qualified
    with own_path(conn):
        shape = shape_of(conn, table, mapping or {}, extend_enums)
        return steps.steps(conn, shape, extend_enums=extend_enums)


def adopt(
    conn: Connection,
    name: str,
    *,
    mapping: dict[str, str] | None = None,
    extend_enums: bool = False,
    drop_indexes: bool = False,
    patience: Patience | None = None,
) -> Report:
    """Make a log of the application's the log, its rows untouched; return what was done and the proof.

    name: the table.  mapping: its columns by ours where they are called otherwise.  extend_enums: give the application's
    enums the values they lack, instead of the nearest.  drop_indexes: drop those that nothing needs.

    Interrupted, it goes on where it was. Raises CannotAdopt (LL015), and 55P03 when a lock cannot be had.
    """
    patience = patience or Patience()
    table = catalog.find_table(conn, name).qualified
    with locks.alone(conn), own_path(conn):
        if repaired := _repaired(conn, table, patience):
            return repaired
        shape = shape_of(conn, table, mapping or {}, extend_enums)
        report = Report(shape.shown)
        _do(conn, shape, extend_enums, patience, report)
        indexes.build(conn, shape)
        proof.store(conn, shape)
        report.unneeded = indexes.unneeded(conn, shape)
        if drop_indexes:
            for index in report.unneeded:
                conn.execute(f"DROP INDEX CONCURRENTLY {index}".encode())
                report.dropped.append(index)
        conn.execute("UPDATE llamalog.adoptions SET step = 'done' WHERE undone_at IS NULL")
    return report


def _do(
    conn: Connection, shape: Shape, extend_enums: bool, patience: Patience, report: Report
) -> None:
    """Take the steps that are left, and compare what the table holds before and after them."""
    with _one_snapshot(conn) as snapshot:
        before = proof.proof(snapshot, shape, proof.standing(conn, shape))
        for step in steps.steps(conn, shape, extend_enums=extend_enums):
            if step.name in {"indexes", "done"} or steps.is_done(conn, step.name):
                continue
            logger.debug("%s", step.title)
            try:
                locks.exclusively(conn, steps.recorded(step), patience, report)
            except psycopg.Error as error:
                if "llamalog.try_writes()" not in (error.diag.context or ""):
                    raise
                # the foreign keys are gone already
                undo.give_back(conn, patience)
                raise CannotAdopt(
                    f"{shape.shown}: captured rows cannot be written into the log:"
                    f" {error.diag.message_primary} ({error.sqlstate})",
                    hint="Change what refuses them; each refusal would fail the write that it tells of.",
                ) from error
        after = proof.proof(snapshot, shape, proof.standing(conn, shape))
    report.row_count, report.before, report.after = (
        before.row_count,
        before.checksum,
        after.checksum,
    )
    if (before.row_count, before.checksum) != (after.row_count, after.checksum):
        raise LlamaLogError(
            f"{shape.shown} is not what it was: {before.checksum} before, {after.checksum} after",
            sqlstate="XX001",
            hint="Run: llamalog adopt --undo",
        )


def _repaired(conn: Connection, name: str, patience: Patience) -> Report | None:
    """Hang the triggers of the adopted log again where somebody has taken them off; None where nothing is missing."""
    found = state.current(conn)
    if found is None or found.step != "done":
        return None
    asked = catalog.oid_of(conn, name)
    known = {catalog.oid_of(conn, table) for table in (found.shape.table, found.shape.old_table)}
    if asked not in known or not steps.missing_triggers(conn, found.shape):
        return None
    report = Report(
        found.shape.shown, found.row_count or 0, found.checksum or "", found.checksum or ""
    )
    owner = owner_of_the_log(conn)
    locks.exclusively(
        conn,
        [
            f"LOCK TABLE {found.shape.table} IN SHARE ROW EXCLUSIVE MODE",
            *steps.filling(found.shape, owner),
            # the others are enabled by that, always
            f"ALTER TABLE {found.shape.table} ENABLE TRIGGER {ident(steps.AGAIN)}",
        ],
        patience,
        report,
    )
    return report


@contextmanager
def _one_snapshot(conn: Connection) -> Iterator[Connection]:
    """Another session whose questions all see this moment, and which holds no lock between them."""
    address: dict[str, Any] = {**conn.info.get_parameters()}
    if conn.info.password:
        address["password"] = conn.info.password
    with psycopg.connect(**address) as snapshot:
        snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
        snapshot.execute("SET search_path = pg_catalog, pg_temp")
        snapshot.commit()
        snapshot.execute("SELECT 1")
        yield snapshot
