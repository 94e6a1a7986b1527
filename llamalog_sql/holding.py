"""Locks the application's tables, all or none, without being in its way."""

from __future__ import annotations

import random
import time

import psycopg

from llamalog_sql.connection import Connection, first_row, rows

#: What it takes to hang a trigger, and to take one off.
HANGING, REMOVING = "SHARE ROW EXCLUSIVE", "ACCESS EXCLUSIVE"

#: Milliseconds that one attempt waits for a table, while writers queue behind it. Far less than deadlock_timeout: a writer who
#: has one table and wants the next is never the victim of a deadlock with us.
_ATTEMPT = 100


def hold(conn: Connection, tables: list[int], mode: str) -> None:
    """Lock tables until the transaction ends, their partitions and heirs with them.

    For as long as the lock_timeout of the session says, in attempts that give everything back where one table cannot be had.
    Tables that one may hang triggers on, and not write to, are left out: they are locked when the trigger is hung.

    Raises 55P03.
    """
    names = [
        name
        for (name,) in rows(
            conn,
            "SELECT class.oid::regclass::text FROM pg_class AS class WHERE class.oid = ANY (%s)"
            " AND has_table_privilege(class.oid, 'UPDATE, DELETE, TRUNCATE') ORDER BY class.oid",
            [tables],
        )
    ]
    if not names:
        return
    patience = first_row(
        conn, "SELECT setting::integer FROM pg_settings WHERE name = 'lock_timeout'"
    )
    assert patience is not None
    attempt = min(_ATTEMPT, patience[0]) or _ATTEMPT
    until = time.monotonic() + (patience[0] or _ATTEMPT) / 1000
    while True:
        try:
            with conn.transaction():
                conn.execute("SELECT set_config('lock_timeout', %s, true)", [f"{attempt}ms"])
                conn.execute(f"LOCK TABLE {', '.join(names)} IN {mode} MODE".encode())
                conn.execute("SELECT set_config('lock_timeout', %s, true)", [f"{patience[0]}ms"])
            return
        except psycopg.errors.LockNotAvailable:
            if time.monotonic() >= until:
                raise
        time.sleep(random.uniform(0.05, 0.15))  # noqa: S311
