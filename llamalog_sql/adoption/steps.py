"""What adopting does, step by step, each with what it locks.

Each step is one short transaction that records itself in llamalog.adoptions: whoever is interrupted goes on with the
same command.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from llamalog_sql import access, catalog, migrate
from llamalog_sql.adoption import indexes, state
from llamalog_sql.adoption.as_owner import is_needed, owner_of, running_as
from llamalog_sql.adoption.lens import (
    FIRST_SEQ,
    OWN_LOG,
    RETURNED_SEQ,
    reader,
    returned_rows,
    writer,
)
from llamalog_sql.adoption.shape import NEAREST, PINNED, Shape
from llamalog_sql.adoption.shape import as_people_write as plain
from llamalog_sql.connection import Connection, owner_of_the_log, rows
from llamalog_sql.render import ident, literal, render


@dataclass(frozen=True)
class Step:
    """A part of an adoption.  title: what it does.  lock: what it locks, and how long.  statements: its SQL.

    details: which column was taken for what, and what becomes of values that it cannot hold.
    """

    name: str
    title: str
    lock: str
    statements: list[str]
    details: list[str] = field(default_factory=list)


TRIGGERS = {"00_llamalog_fill": False, "00_llamalog_fill_captured": True}

AGAIN = "00_llamalog_refill"


def steps(conn: Connection, shape: Shape, *, extend_enums: bool = False) -> list[Step]:
    """Return what is to be done, in order."""
    owner = owner_of_the_log(conn)
    found = state.current(conn)
    renamed = found.renamed if found and found.renamed else renames(conn, shape)
    foreign_keys = (
        found.foreign_keys if found and found.foreign_keys else foreign_keys_of(conn, shape)
    )
    steps = [
        Step(
            "begun",
            f"record the adoption of {plain(shape.old_table)}",
            "none",
            [
                "INSERT INTO llamalog.adoptions (schema_name, table_name, old_name, step, shape, renamed, foreign_keys)"
                f" VALUES ({literal(shape.schema_name)}, {literal(shape.table_name)}, {literal(shape.old_name)}, 'begun',"
                f" {literal(json.dumps(shape.as_json()))}, {literal(json.dumps(renamed))}, {literal(json.dumps(foreign_keys))})",
            ],
        )
    ]
    # also where an interrupted run was told to extend them
    values = _enum_values(conn, shape)
    if values or extend_enums:
        steps.append(
            Step(
                "enums",
                "give the application's enums the values they lack",
                "none of tables",
                values,
            )
        )
    for name, definition, target, *_ in foreign_keys:
        steps.append(
            Step(
                f"key {name}",
                f"drop the foreign key {plain(ident(name))}, which leads to {plain(target)}:"
                f" it would {'change or erase history' if ' ON ' in definition else 'fail the logging of a deletion'}",
                f"ACCESS EXCLUSIVE on the table and on {target}, milliseconds",
                [
                    f"LOCK TABLE {shape.old_table}, {target} IN ACCESS EXCLUSIVE MODE",
                    f"ALTER TABLE {shape.old_table} DROP CONSTRAINT IF EXISTS {ident(name)}",
                ],
            )
        )
    steps.append(
        Step(
            "switched",
            f"add {len(shape.added)} columns, as metadata only, and the triggers that fill them; make {shape.shown} the log"
            + (
                f", with a view under the name {shape.old_name} that shows the {len(shape.legacy)} columns of before"
                if shape.old_name != shape.table_name
                else "; it has that name already, so SELECT * shows the new columns too"
            ),
            "ACCESS EXCLUSIVE on the table and on llamalog's own log, milliseconds",
            _switch(conn, shape, renamed, owner),
            _translations(shape),
        )
    )
    if shape.returned:
        marked = replace(shape, returned="marked")
        steps.append(
            Step(
                "returned",
                "mark the rows that stand in llamalog's own log since the earlier adoption was undone",
                "rows that llamalog wrote",
                [
                    *(f"SET LOCAL {name} = {literal(value)}" for name, value in PINNED.items()),
                    *_marking(conn, shape),
                    f"UPDATE llamalog.adoptions SET shape = {literal(json.dumps(marked.as_json()))} WHERE undone_at IS NULL",
                    f"SET LOCAL ROLE {ident(owner)}",
                    *lens_replaced(reader(marked)),
                    "RESET ROLE",
                ],
            )
        )
    steps.append(
        Step(
            "indexes",
            f"build {len(indexes.wanted(shape))} indexes beside readers and writers",
            "SHARE UPDATE EXCLUSIVE, which no reader or writer notices, while the table is read",
            [f"CREATE INDEX CONCURRENTLY {definition}" for _, definition in indexes.wanted(shape)],
        )
    )
    return steps


def _marking(conn: Connection, shape: Shape) -> list[str]:
    """Return the SQL that marks the rows an earlier adoption left."""
    update = (
        f"UPDATE {shape.table} AS log SET seq = {RETURNED_SEQ} {returned_rows(shape)}"
        f" AND log.{ident(shape.key)} = returned.row_id::{shape.legacy_column(shape.key).type_name} AND log.seq IS NULL"
    )
    owner = owner_of(conn, shape)
    if not is_needed(conn, owner):
        return [update]
    counted = f"WITH done AS ({update} RETURNING 1) SELECT count(*), 0::bigint, 0::bigint, 0::bigint FROM done"
    return [
        f"GRANT USAGE ON SCHEMA llamalog TO {ident(owner)}",
        f"GRANT SELECT ON llamalog.returned_rows TO {ident(owner)}",
        *running_as(owner),
        f"SELECT * FROM pg_temp.llamalog_counted({literal(counted)})",
        "DROP FUNCTION pg_temp.llamalog_counted(text)",
    ]


def _translations(shape: Shape) -> list[str]:
    """Return, for people, what is read as what, and what is written as what."""
    lines = [
        f"{part.legacy.name} is read as {part.name}"
        for part in shape.parts
        if part.legacy is not None and part.legacy.name != part.name
    ]
    for part in shape.exact:
        assert part.legacy is not None
        changed = [
            f"{exact} as {part.legacy.nearest(exact, part.name) or ('null' if not part.legacy.is_not_null else part.legacy.labels[0])}"
            for exact in NEAREST.get(part.name, {})
            if part.legacy.labels and part.legacy.nearest(exact, part.name) != exact
        ]
        if changed:
            lines.append(
                f"{part.legacy.name} gets {', '.join(changed)}; {part.ours} has the exact value"
            )
    return lines


def missing_triggers(conn: Connection, shape: Shape) -> list[str]:
    """Return the names of the triggers that an adopted log lacks, or has disabled; or that no longer fire for replication.

    pg_restore --disable-triggers ends with ENABLE TRIGGER ALL, after which they do not.
    """
    return [
        name
        for (name,) in rows(
            conn,
            "SELECT wanted.name FROM unnest(%s::text[]) AS wanted (name) WHERE NOT EXISTS (SELECT FROM pg_trigger AS hung"
            " WHERE hung.tgrelid = to_regclass(%s) AND hung.tgname = wanted.name AND hung.tgenabled IN ('O', 'A')"
            " AND (hung.tgenabled = 'A' OR hung.tgname <> ALL (%s))) ORDER BY 1",
            [[*TRIGGERS, AGAIN], shape.table, [*TRIGGERS]],
        )
    ]


def filling(shape: Shape, owner: str) -> list[str]:
    """Return the SQL that makes the triggers by which a row of the adopted log gets what the application does not say."""
    judged = ", ".join(
        ident(part.legacy.name)
        for part in (shape.part("operation"), shape.part("status"))
        if part.legacy is not None
    )
    return [
        render("adopted.sql.j2", shape=shape, owner=owner),
        f"ALTER FUNCTION llamalog.fill_adopted() OWNER TO {ident(owner)}",
        f"ALTER FUNCTION llamalog.refill_adopted() OWNER TO {ident(owner)}",
        *(
            f"CREATE OR REPLACE TRIGGER {ident(name)} BEFORE INSERT ON {shape.table} FOR EACH ROW"
            f" WHEN (current_user {'=' if is_ours else '<>'} {literal(owner)})"
            f" EXECUTE FUNCTION llamalog.fill_adopted({literal(str(is_ours).lower())})"
            for name, is_ours in TRIGGERS.items()
        ),
        # rows that replication brings have a place in the log too
        *(f"ALTER TABLE {shape.table} ENABLE ALWAYS TRIGGER {ident(name)}" for name in TRIGGERS),
        f"CREATE OR REPLACE TRIGGER {ident(AGAIN)} BEFORE UPDATE OF {judged} ON {shape.table}"
        " FOR EACH ROW EXECUTE FUNCTION llamalog.refill_adopted()",
    ]


def _switch(conn: Connection, shape: Shape, renamed: list[list[str]], owner: str) -> list[str]:
    schema = ident(shape.schema_name)
    statements = [
        f"{lens_locked(owner)}; RESET ROLE",
        f"LOCK TABLE {shape.old_table}, llamalog.llama_logs IN ACCESS EXCLUSIVE MODE",
    ]
    if shape.old_name != shape.table_name:
        statements.append(f"ALTER TABLE {shape.old_table} RENAME TO {ident(shape.table_name)}")
    statements += [
        f"CREATE SEQUENCE llamalog.adopted_seq AS bigint START WITH {FIRST_SEQ}",
        "COMMENT ON SEQUENCE llamalog.adopted_seq IS 'Order of the rows written since the adoption.'",
        f"ALTER SEQUENCE llamalog.adopted_seq OWNER TO {ident(owner)}",
        f"ALTER TABLE {shape.table} "
        + ", ".join(f"ADD COLUMN {ident(name)} {kind}" for name, kind in shape.added.items()),
        *(f"GRANT {right} TO {ident(owner)}" for right in shape.granted_on(shape.table)),
        *filling(shape, owner),
    ]
    for kind, old, new in renamed:
        statements.append(
            f"ALTER TABLE {shape.table} RENAME CONSTRAINT {ident(old)} TO {ident(new)}"
            if kind == "CONSTRAINT"
            else f"ALTER {kind} {schema}.{ident(old)} RENAME TO {ident(new)}"
        )
    if shape.old_name != shape.table_name:
        names = ", ".join(f"log.{ident(column.name)}" for column in shape.legacy)
        by_column = rows(
            conn,
            "SELECT 1 FROM pg_attribute WHERE attrelid = %s AND attacl IS NOT NULL AND NOT attisdropped",
            [catalog.oid_of(conn, shape.old_table)],
        )
        statements += [
            # with the rights of the caller, as the table had it; but it reads every column, so where he has rights on some
            # only, those that he has on the view must do
            f"CREATE VIEW {shape.old_table} WITH (security_invoker = {str(not by_column).lower()})"
            f" AS SELECT {names} FROM {shape.table} AS log",
            f"COMMENT ON VIEW {shape.old_table} IS {literal(f'{shape.table} by its former name, for statements that still use it.')}",
            *_grants(conn, shape),
        ]
    statements += [
        f"ALTER TABLE llamalog.llama_logs RENAME TO {OWN_LOG}",
        f"SET LOCAL ROLE {ident(owner)}",
        writer(shape),
        *lens_replaced(reader(shape)),
        access.GRANTING,
        "RESET ROLE",
        "UPDATE llamalog.adoptions SET adopted_at = clock_timestamp() WHERE undone_at IS NULL",
        # nothing is adopted that would fail the writes of others
        "SELECT llamalog.try_writes()",
        "ALTER SEQUENCE llamalog.adopted_seq RESTART",
    ]
    return statements


def _grants(conn: Connection, shape: Shape) -> list[str]:
    """Return the SQL that makes the view his whose the table is, and lets everybody do with it what he may do with that."""
    view = shape.old_table
    oid = catalog.oid_of(conn, view)
    owner = rows(
        conn,
        "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = %s"
        " AND pg_get_userbyid(relowner) <> current_user",
        [oid],
    )
    granted = rows(
        conn,
        "SELECT p.privilege_type || coalesce(' (' || quote_ident(held.attname) || ')', ''),"
        " CASE WHEN p.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(p.grantee)) END,"
        " CASE WHEN p.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END"
        " FROM pg_class AS c CROSS JOIN LATERAL ("
        "SELECT NULL::name AS attname, c.relacl AS acl"
        " UNION ALL SELECT a.attname, a.attacl FROM pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped"
        ") AS held CROSS JOIN LATERAL aclexplode(held.acl) AS p"
        " WHERE c.oid = %s AND p.grantee <> c.relowner AND p.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')",
        [oid],
    )
    return [
        *(f"ALTER VIEW {view} OWNER TO {ident(name)}" for (name,) in owner),
        *(f"GRANT {right} ON {view} TO {grantee}{option}" for right, grantee, option in granted),
    ]


def _enum_values(conn: Connection, shape: Shape) -> list[str]:
    """Return the SQL that gives each enum of the shape what it lacks in the database."""
    return [
        f"ALTER TYPE {type_name} ADD VALUE IF NOT EXISTS {literal(label)}"
        for type_name, labels in {c.type_name: c.labels for c in shape.legacy if c.labels}.items()
        for (label,) in rows(
            conn,
            "SELECT wanted.label FROM unnest(%s::text[]) WITH ORDINALITY AS wanted (label, position) WHERE NOT EXISTS ("
            "SELECT FROM pg_enum AS e WHERE e.enumtypid = %s::regtype AND e.enumlabel = wanted.label) ORDER BY position",
            [labels, type_name],
        )
    ]


def renames(conn: Connection, shape: Shape) -> list[list[str]]:
    """Return [kind, old name, new name] of the constraints, indexes and sequences named after the table."""
    if shape.old_name == shape.table_name:
        return []
    found = rows(
        conn,
        "SELECT 'CONSTRAINT', c.conname::text FROM pg_constraint AS c WHERE c.conrelid = %(oid)s AND c.contype <> 'f'"
        " UNION ALL SELECT 'INDEX', x.relname::text FROM pg_index AS i JOIN pg_class AS x ON x.oid = i.indexrelid"
        " WHERE i.indrelid = %(oid)s AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)"
        " UNION ALL SELECT 'SEQUENCE', s.relname::text FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid"
        " WHERE d.refobjid = %(oid)s AND d.classid = 'pg_class'::regclass AND s.relkind = 'S' ORDER BY 1, 2",
        {"oid": catalog.oid_of(conn, shape.old_table)},
    )
    return [
        [kind, name, name.replace(shape.old_name, shape.table_name)[:63]]
        for kind, name in found
        if shape.old_name in name
    ]


def foreign_keys_of(conn: Connection, shape: Shape) -> list[list[Any]]:
    """Return [name, definition, table it leads to, columns, columns there] of the foreign keys to the application's tables."""
    oid = catalog.oid_of(conn, shape.old_table)
    with conn.transaction(force_rollback=True):
        # each name with its schema, whoever reads it
        conn.execute("SET LOCAL search_path = pg_catalog")
        return [
            list(row)
            for row in rows(
                conn,
                "SELECT conname::text, pg_get_constraintdef(oid), confrelid::regclass::text,"
                " ARRAY(SELECT a.attname::text FROM unnest(conkey) WITH ORDINALITY AS k (n, at)"
                " JOIN pg_attribute AS a ON a.attrelid = conrelid AND a.attnum = k.n ORDER BY k.at),"
                " ARRAY(SELECT a.attname::text FROM unnest(confkey) WITH ORDINALITY AS k (n, at)"
                " JOIN pg_attribute AS a ON a.attrelid = confrelid AND a.attnum = k.n ORDER BY k.at)"
                " FROM pg_constraint WHERE conrelid = %s AND contype = 'f' ORDER BY conname",
                [oid],
            )
        ]


def recorded(step: Step) -> list[str]:
    """Return the statements of a step and the record of it."""
    if step.name == "begun":
        return step.statements
    return [
        *step.statements,
        f"UPDATE llamalog.adoptions SET step = {literal(step.name)} WHERE undone_at IS NULL",
    ]


def is_done(conn: Connection, name: str) -> bool:
    """Return whether a step has been done: it is the last one recorded, or comes before it."""
    found = state.current(conn)
    if found is None:
        return False
    names = [step.name for step in steps(conn, found.shape, extend_enums=True)]
    reached = names.index(found.step) if found.step in names else len(names)
    return name not in names or names.index(name) <= reached


def lens_replaced(text: str) -> list[str]:
    """Return the SQL that makes a text the lens, and tells migrate so."""
    return [
        text,
        "INSERT INTO llamalog.repeatables (name, checksum) VALUES ('views/log.sql',"
        f" {literal(migrate.Piece('views/log.sql', text).checksum)})"
        " ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()",
    ]


def lens_locked(owner: str) -> str:
    """Return the SQL that locks the lens alone, which LOCK cannot, and leaves the role of its owner set."""
    return f"SET LOCAL ROLE {ident(owner)}; ALTER VIEW llamalog.log RESET (security_barrier)"
