"""Runs what fires an application's own code (checks, functions of indexes) with the rights of the table's owner, never more."""

from __future__ import annotations

from llamalog_sql.adoption.shape import Shape
from llamalog_sql.connection import Connection, rows
from llamalog_sql.render import ident, literal


def owner_of(conn: Connection, shape: Shape) -> str:
    """Return the role to which the table belongs, under either of its names."""
    ((owner,),) = rows(
        conn,
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relkind = 'r' AND oid IN (to_regclass(%s), to_regclass(%s))",
        [shape.table, shape.old_table],
    )
    return str(owner)


def counted(conn: Connection, owner: str, statement: str) -> tuple[int, ...]:
    """Run a statement that returns one row of four counts, as the owner, who cannot become anybody else meanwhile:
    only a function with the rights of its owner forbids RESET ROLE to what it calls.
    """
    if not is_needed(conn, owner):
        return tuple(rows(conn, statement)[0])
    if not rows(
        conn, "SELECT 1 WHERE to_regprocedure('pg_temp.llamalog_counted(text)') IS NOT NULL"
    ):
        for text in running_as(owner):
            conn.execute(text.encode())
    return tuple(rows(conn, f"SELECT * FROM pg_temp.llamalog_counted({literal(statement)})")[0])


def is_needed(conn: Connection, owner: str) -> bool:
    """Return whether who is connected has rights that the owner has not, for others to take."""
    found = rows(
        conn,
        "SELECT rolsuper AND rolname <> %s FROM pg_roles WHERE rolname = current_user",
        [owner],
    )
    return found == [(True,)]


def running_as(owner: str) -> list[str]:
    """Return the SQL that makes pg_temp.llamalog_counted(statement), which runs a statement as the owner."""
    return [
        "CREATE FUNCTION pg_temp.llamalog_counted(statement text)"
        " RETURNS TABLE (a bigint, b bigint, c bigint, d bigint) LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp SET enable_seqscan = off"
        " AS 'BEGIN RETURN QUERY EXECUTE statement; END'",
        f"ALTER FUNCTION pg_temp.llamalog_counted(text) OWNER TO {ident(owner)}",
    ]


def forget(conn: Connection) -> None:
    """Drop what `counted` has made."""
    conn.execute("DROP FUNCTION IF EXISTS pg_temp.llamalog_counted(text)")
