"""What several examinations ask."""

from __future__ import annotations

from collections.abc import Sequence

from llamalog_sql.adoption import state
from llamalog_sql.connection import Connection, rows

#: So many names are written out.
_FEW = 3


def several(names: Sequence[str]) -> str:
    """Return the first of the names, and how many there are besides."""
    shown = ", ".join(names[:_FEW])
    return shown + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


def member_of(conn: Connection, role: str) -> list[str]:
    """Return the roles that log in and have the rights of `role`, superusers apart: those have every right."""
    return [
        str(name)
        for (name,) in rows(
            conn,
            "SELECT member.rolname::text FROM pg_roles AS member WHERE member.rolcanlogin AND NOT member.rolsuper"
            " AND member.rolname <> %(role)s AND pg_has_role(member.oid, %(role)s, 'MEMBER') ORDER BY 1",
            {"role": role},
        )
    ]


def keeper(conn: Connection) -> str:
    """Return the role that owns the tables of the log, whoever the schema was given to."""
    ((name,),) = rows(
        conn,
        "SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = 'llamalog._yoyo_migration'::regclass",
    )
    return str(name)


def log_tables(conn: Connection) -> list[int]:
    """Return the tables that hold the log: partitions and parents of ours, the jobs, and the adopted one."""
    shape = state.adopted(conn)
    return [
        int(oid)
        for (oid,) in rows(
            conn,
            "SELECT class.oid::bigint FROM pg_class AS class WHERE class.relkind IN ('r', 'p')"
            " AND (class.relnamespace = 'llamalog'::regnamespace OR class.oid = to_regclass(%s)) ORDER BY class.oid",
            [shape.table if shape else None],
        )
    ]
