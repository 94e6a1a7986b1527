"""Row security of a watched table, carried over to the log where one asks for it.

A type is protected by `options` in llamalog.watches, until `watch --no-row-security`; llamalog.row_security_steps() says what
the log lacks of it.
"""

from __future__ import annotations

from llamalog_sql.adoption import state
from llamalog_sql.catalog import Table
from llamalog_sql.connection import Connection, as_owner, first_row, rows
from llamalog_sql.errors import CannotWatch

#: Gives the log what it lacks; runs as its owner.
FITTING = "SELECT llamalog.fit_row_security();\n"

#: Takes our policies off the log, whose months stay closed: it precedes the functions that they ask. Runs as the owner of the log.
DROPPING = """\
DO $do$
DECLARE
    v_policy name;
BEGIN
    FOR v_policy IN
        SELECT policy.polname
        FROM pg_catalog.pg_policy AS policy
        WHERE policy.polrelid = pg_catalog.to_regclass('llamalog.llama_logs')
            AND pg_catalog.obj_description(policy.oid, 'pg_policy') LIKE 'Carried over by llamalog watch%'
    LOOP
        EXECUTE pg_catalog.format('DROP POLICY %I ON llamalog.llama_logs', v_policy);
    END LOOP;
END;
$do$;
"""


def has_policies(conn: Connection, table: Table) -> bool:
    """Return whether the table hides rows from some."""
    found = first_row(
        conn, "SELECT relrowsecurity FROM pg_catalog.pg_class WHERE oid = %s", [table.oid]
    )
    return found == (True,)


def refuse_unprotectable(conn: Connection, table: Table) -> None:
    """Raise CannotWatch where there is nothing to carry over, or no log of ours to carry it to."""
    if not has_policies(conn, table):
        raise CannotWatch(
            f"{table.shown} has no row security",
            detail="There is nothing to carry over to the log.",
            hint=f"Run: ALTER TABLE {table.shown} ENABLE ROW LEVEL SECURITY, and create its policies; or watch it with --no-row-security.",
        )
    if first_row(conn, "SELECT FROM pg_catalog.pg_policy WHERE polrelid = %s", [table.oid]) is None:
        raise CannotWatch(
            f"{table.shown} has row security, and no policy",
            detail="Nobody but its owner would see a row of it, nor its changes.",
            hint=f"Run: CREATE POLICY ... ON {table.shown}; or watch it with --no-row-security.",
        )
    if (adopted := state.adopted(conn)) is not None:
        raise CannotWatch(
            f"row security cannot be carried over to {adopted.shown}, the application's own log",
            detail="Its policies would hit the application, which goes on writing and reading there.",
            hint="Show each reader a view of what he may see: docs/security.md has one.",
        )


def protected(conn: Connection) -> list[str]:
    """Return the types whose row security the log is to keep, those of tables unwatched since too."""
    return [
        str(entity_type)
        for (entity_type,) in rows(
            conn,
            """SELECT entity_type FROM llamalog.watches WHERE options @> '{"row_security": true}' ORDER BY 1""",
        )
    ]


def lacking(conn: Connection) -> list[str]:
    """Return the SQL that the log lacks to be as protected as it should be; [] when all is well."""
    return [
        str(step)
        for (step,) in rows(conn, "SELECT step FROM llamalog.row_security_steps() AS step")
    ]


def fit(conn: Connection) -> None:
    """Give the log what it lacks; the captured tables are locked by then, as by who writes."""
    with as_owner(conn):
        conn.execute(FITTING.encode())


def unprotected(conn: Connection) -> list[str]:
    """Return the watched tables whose row security is to hold in the log, and does no longer hold in the table."""
    return [
        str(table)
        for (table,) in rows(
            conn,
            "SELECT format('%I.%I', watch.schema_name, watch.table_name) FROM llamalog.watches AS watch"
            """ JOIN pg_class AS class ON class.oid = llamalog.table_of(watch) WHERE watch.options @> '{"row_security": true}'"""
            " AND watch.unwatched_at IS NULL AND NOT class.relrowsecurity ORDER BY 1",
        )
    ]
