"""Who may do what: the roles that migrate makes, and what is granted to them.

Roles belong to the cluster, rights on the log to its database: several databases share the roles, and each grants for itself.
"""

from __future__ import annotations

import psycopg

from llamalog_sql.connection import Connection, first_row, rows
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.render import literal

#: Owns the schema, the log and the captures.
OWNER = "llamalog_owner"

#: What people and applications are made members of, and what its members do.
ROLES = {
    "llamalog_reader": "Reads the log of LlamaLog and asks every question.",
    "llamalog_writer": "Writes rows of its own into the log of LlamaLog.",
    "llamalog_admin": "Reads the log of LlamaLog, declares its rules, makes its months.",
}

#: Takes the turn of whoever changes what is installed. An advisory lock anybody could take, and keep; this one nobody who
#: may only read.
ALONE = "LOCK TABLE llamalog._yoyo_migration IN SHARE ROW EXCLUSIVE MODE"

#: Grants the roles that there are what they need here; runs as the owner of the log.
GRANTING = f"""\
DO $do$
BEGIN
    PERFORM llamalog.grant_access(role.rolname, substr(role.rolname, length('llamalog_') + 1))
    FROM pg_roles AS role
    WHERE role.rolname IN ({", ".join(map(literal, ROLES))});
END;
$do$;
"""

#: Drops the roles that nothing in the cluster depends on any more.
DROPPING = f"""\
DO $do$
DECLARE
    v_role name;
BEGIN
    FOR v_role IN
        SELECT role.rolname
        FROM pg_roles AS role
        WHERE role.rolname IN ({", ".join(map(literal, [*ROLES, OWNER]))})
    LOOP
        BEGIN
            EXECUTE format('DROP ROLE %I', v_role);
        EXCEPTION
            WHEN dependent_objects_still_exist OR insufficient_privilege OR object_in_use THEN
                NULL;  -- another database uses it, or it is somebody else's
        END;
    END LOOP;
END;
$do$;
"""


def stand_alone(conn: Connection, wait: str = "") -> None:
    """Let nobody else change what is installed or watched until the transaction ends.

    Raises 42501 for whoever may not do so himself.
    """
    try:
        conn.execute(f"{ALONE} {wait}".encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise LlamaLogError(
            "permission denied to change what is installed or watched",
            sqlstate=error.sqlstate,
            hint="Connect as the role that installed llamalog; to watch a table it must own that too, or hold TRIGGER on it.",
        ) from error


def making(role: str, comment: str, attributes: str = "") -> str:
    """Return the SQL that makes a role which cannot log in, unless another database of the cluster has been first."""
    return f"""\
DO $do$
BEGIN
    CREATE ROLE {role} NOLOGIN{attributes};
    COMMENT ON ROLE {role} IS {literal(comment)};
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN
        NULL;  -- another database of the cluster was first
END;
$do$;
"""


def lacking(conn: Connection) -> dict[str, bool]:
    """Return the roles that are not there, or have no rights here, and of each whether it is there."""
    return dict(
        rows(
            conn,
            "SELECT wanted.name, role.oid IS NOT NULL"
            " FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (name, place)"
            " LEFT JOIN pg_catalog.pg_roles AS role ON role.rolname = wanted.name"
            " WHERE CASE wanted.name"
            " WHEN 'llamalog_writer' THEN has_column_privilege("
            "role.oid, to_regclass('llamalog.llama_logs')::oid, 'operation', 'INSERT')"
            " ELSE has_table_privilege(role.oid, to_regclass('llamalog.log')::oid, 'SELECT') END IS NOT TRUE"
            " ORDER BY wanted.place",
            [list(ROLES)],
        )
    )


def may_make_roles(conn: Connection) -> bool:
    """Return whether the role connected here may make others."""
    found = first_row(
        conn,
        "SELECT rolcreaterole OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user",
    )
    return found == (True,)


def coming(conn: Connection) -> list[str]:
    """Return the roles that `migrate` would make, or give their rights here."""
    may_make = may_make_roles(conn)
    return [name for name, exists in lacking(conn).items() if exists or may_make]


def left(conn: Connection) -> list[str]:
    """Return those of the roles that are there."""
    return [
        name
        for (name,) in rows(
            conn,
            "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname = ANY (%s) ORDER BY rolname",
            [[*ROLES, OWNER]],
        )
    ]


def advice(names: list[str]) -> str:
    """Return what to tell him who may not make these roles."""
    makings = "; ".join(f"CREATE ROLE {name} NOLOGIN" for name in names)
    return (
        f"may not create {', '.join(names)}: let somebody run {makings}, then llamalog migrate again;"
        " or give a role of yours the same rights: SELECT llamalog.grant_access('your_role', 'reader')"
    )
