"""Finds out whether a table can be adopted, and as what; refuses, before anything is changed, what would not go well."""

from __future__ import annotations

from dataclasses import replace

from llamalog_sql import catalog, row_security
from llamalog_sql.adoption import indexes, state, steps
from llamalog_sql.adoption.shape import LegacyColumn, Shape, recognise
from llamalog_sql.adoption.shape import as_people_write as plain
from llamalog_sql.connection import Connection, first_row, owner_of_the_log, rows
from llamalog_sql.errors import CannotAdopt
from llamalog_sql.render import ident


def shape_of(conn: Connection, name: str, mapping: dict[str, str], extend_enums: bool) -> Shape:
    """Return the shape of the table, as it was found when its adoption began.  Raises CannotAdopt."""
    found = state.current(conn)
    if found is None:
        return _examined(conn, name, mapping, extend_enums)
    if found.step in {"returning", "copied", "undoing"}:
        raise CannotAdopt(
            f"{plain(found.shape.old_table)} is being given back",
            hint="Let that end first: llamalog adopt --undo",
        )
    asked = catalog.oid_of(conn, name)
    known = {
        catalog.oid_of(conn, table) for table in (found.shape.table, found.shape.old_table)
    } - {None}
    if asked not in known or found.step == "done":
        raise CannotAdopt(
            f"{found.shape.shown} is the log already",
            hint="There is one log: llamalog adopt --verify compares it, --undo gives it back.",
        )
    return found.shape


def _examined(conn: Connection, name: str, mapping: dict[str, str], extend_enums: bool) -> Shape:
    """Return the shape of a table that can be adopted.  Raises CannotAdopt (LL015) for any other."""
    table = catalog.find_table(conn, name)
    if table.kind != "r" or table.is_partition or table.is_family:
        what = {
            "p": "a partitioned table",
            "v": "a view",
            "m": "a materialized view",
            "f": "a foreign table",
        }
        raise CannotAdopt(
            f"{table.shown} is {what.get(table.kind, 'part of an inheritance tree')}",
            hint="Only a plain table can be adopted; copy the rows into one.",
        )
    if table.schema_name == "llamalog":
        raise CannotAdopt(f"{table.shown} is llamalog's own", hint="Name the application's log.")
    if first_row(
        conn,
        "SELECT 1 FROM pg_class AS c WHERE c.oid = %s AND NOT pg_has_role(c.relowner, 'USAGE')",
        [table.oid],
    ):
        raise CannotAdopt(
            f"{table.shown} belongs to {table.owner}",
            sqlstate="42501",
            hint="Connect as its owner, or as a superuser.",
        )
    if first_row(conn, "SELECT 1 FROM pg_class WHERE oid = %s AND relrowsecurity", [table.oid]):
        raise CannotAdopt(
            f"{table.shown} has row-level security, which would refuse what capture writes",
            hint=f"Disable it first: ALTER TABLE {table.shown} DISABLE ROW LEVEL SECURITY",
        )
    if protected := row_security.protected(conn):
        raise CannotAdopt(
            f"row security of {protected[0]} is carried over to the log, and could not be to {table.shown}",
            hint=f"Adopt it first, or watch the table of {protected[0]} with --no-row-security.",
        )
    shape = recognise(conn, table.schema_name, table.table_name, table.oid, mapping)
    watched = rows(
        conn,
        "SELECT entity_type FROM llamalog.watches AS watch"
        " WHERE llamalog.table_of(watch) = %s AND unwatched_at IS NULL",
        [table.oid],
    )
    if watched:
        raise CannotAdopt(
            f"{table.shown} is watched as {watched[0][0]}: the log would log itself",
            hint=f"Run first: llamalog unwatch {watched[0][0]}",
        )
    _refuse_entangled(conn, table.shown, table.oid, shape)
    _refuse_constraints(conn, table, shape)
    if extend_enums:
        shape = _with_new_labels(conn, shape)
    status = shape.part("status").legacy
    if status is not None and status.labels and status.is_not_null:
        for exact in ("SUCCESS", "FAILED"):
            if status.nearest(exact, "status") is None:
                raise CannotAdopt(
                    f"the enum of column {status.name} of {table.shown} has nothing like {exact}",
                    detail=f"Its values are {', '.join(status.labels)}.",
                    hint="Let it be null, or add the values that it lacks: --extend-enums",
                )
    owner = owner_of_the_log(conn)
    lacking = rows(
        conn,
        "SELECT wanted || ' ON ' || %(table)s FROM unnest(ARRAY['SELECT', 'INSERT']) AS wanted"
        " WHERE NOT has_table_privilege(%(owner)s::name, %(oid)s::oid, wanted)"
        " UNION SELECT format('USAGE ON SEQUENCE %%I.%%I', n.nspname, s.relname) FROM pg_attrdef AS a"
        " JOIN pg_depend AS d ON d.classid = 'pg_attrdef'::regclass AND d.objid = a.oid"
        " JOIN pg_class AS s ON d.refclassid = 'pg_class'::regclass AND s.oid = d.refobjid"
        " JOIN pg_namespace AS n ON n.oid = s.relnamespace"
        " WHERE a.adrelid = %(oid)s"
        " AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(%(owner)s::name, s.oid, 'USAGE') END"
        # that of the table, and those of its columns' types
        " UNION SELECT format('USAGE ON SCHEMA %%I', n.nspname) FROM pg_namespace AS n WHERE n.oid IN ("
        "SELECT c.relnamespace FROM pg_class AS c WHERE c.oid = %(oid)s UNION SELECT t.typnamespace FROM pg_attribute AS a"
        " JOIN pg_type AS t ON t.oid = a.atttypid WHERE a.attrelid = %(oid)s AND a.attnum > 0)"
        " AND NOT has_schema_privilege(%(owner)s::name, n.oid, 'USAGE') ORDER BY 1",
        {"table": shape.old_table, "owner": owner, "oid": table.oid},
    )
    return replace(
        shape,
        granted=[str(right) for (right,) in lacking],
        returned="unmarked" if rows(conn, "SELECT 1 FROM llamalog.returned_rows LIMIT 1") else "",
    )


def _refuse_entangled(conn: Connection, shown: str, oid: int, shape: Shape) -> None:
    """Raise CannotAdopt where renaming, new columns or dropped keys would break something else."""
    referring = rows(
        conn,
        "SELECT c.conname || ' of ' || c.conrelid::regclass::text FROM pg_constraint AS c"
        " WHERE c.confrelid = %s AND c.contype = 'f' ORDER BY 1",
        [oid],
    )
    if referring:
        raise CannotAdopt(
            f"a foreign key leads to {shown}",
            detail=", ".join(name for (name,) in referring),
            hint="Drop it first: a log that others refer to cannot be pruned, nor its key changed.",
        )
    published = rows(
        conn,
        "SELECT pubname FROM pg_publication_tables WHERE schemaname = %s AND tablename = %s ORDER BY 1",
        [shape.schema_name, shape.old_name],
    )
    if published:
        raise CannotAdopt(
            f"{shown} is in publication {', '.join(str(name) for (name,) in published)}",
            hint="Subscribers would miss its new name and columns: take it out of the publication first.",
        )
    dependent = rows(
        conn,
        "SELECT DISTINCT r.ev_class::regclass::text FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid"
        " WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = %s"
        " AND r.ev_class <> %s ORDER BY 1",
        [oid, oid],
    )
    if dependent:
        raise CannotAdopt(
            f"views depend on {shown}",
            detail=", ".join(name for (name,) in dependent),
            hint="Drop them first, and create them again on the log after it.",
        )
    typed = rows(
        conn,
        "SELECT pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_depend AS d JOIN pg_type AS t"
        " ON d.refclassid = 'pg_type'::regclass AND d.refobjid IN (t.oid, t.typarray) WHERE t.typrelid = %s"
        " AND d.deptype = 'n' ORDER BY 1",
        [oid],
    )
    if typed:
        raise CannotAdopt(
            f"the row type of {shown} is used elsewhere, and would change",
            detail=", ".join(name for (name,) in typed),
            hint="Drop those first, and create them again after it; the view under the old name has the same row type.",
        )
    wanted = [name for name, _ in indexes.wanted(shape)]
    if shape.old_name != shape.table_name:
        wanted += [shape.table_name, *(new for _, _, new in steps.renames(conn, shape))]
    taken = rows(
        conn,
        "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = ANY (%s) ORDER BY 1",
        [shape.schema_name, wanted],
    )
    new_names = [new for _, _, new in steps.renames(conn, shape)]
    twice = sorted({name for name in new_names if new_names.count(name) > 1})
    if twice:
        raise CannotAdopt(
            f"two indexes or constraints would be called {twice[0]}",
            sqlstate="42P07",
            hint="Names end after 63 bytes: rename one of those that begin alike.",
        )
    if taken:
        raise CannotAdopt(
            f"the name {taken[0][0]} is taken",
            sqlstate="42P07",
            hint="Rename what has it.",
        )
    if shape.old_name != shape.table_name and rows(
        conn,
        "SELECT 1 FROM pg_class AS c WHERE c.oid = %(oid)s AND (NOT has_schema_privilege(%(schema)s, 'CREATE')"
        " OR NOT has_schema_privilege(c.relowner, %(schema)s, 'CREATE')"
        " AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user))",
        {"oid": oid, "schema": shape.schema_name},
    ):
        raise CannotAdopt(
            f"{shown} cannot be renamed: you, or its owner, may not create in its schema",
            sqlstate="42501",
            hint=f"Run, as its owner: GRANT CREATE ON SCHEMA {ident(shape.schema_name)} TO both",
        )


def _refuse_constraints(conn: Connection, table: catalog.Table, shape: Shape) -> None:
    """Raise CannotAdopt where a captured row could break a rule of the table, and fail the write that it tells of."""
    captured = {part.legacy.name for part in shape.parts if part.legacy is not None}
    captured |= set(shape.entity_ids.values())
    strict = rows(
        conn,
        "SELECT i.indexrelid::regclass::text FROM pg_index AS i WHERE i.indrelid = %(oid)s AND NOT i.indisprimary"
        " AND (i.indisexclusion OR i.indisunique AND NOT EXISTS (SELECT FROM pg_attribute AS a"
        " LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
        " WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::smallint[])[:i.indnkeyatts - 1])"
        # one that is null in every captured row, or has a value of its own in each
        " AND a.attname <> ALL (%(captured)s) AND CASE WHEN a.atthasdef"
        " THEN pg_get_expr(d.adbin, d.adrelid) ~ 'nextval|uuid' ELSE a.attidentity <> '' OR NOT i.indnullsnotdistinct END"
        ")) ORDER BY 1",
        {"oid": table.oid, "captured": list(captured)},
    )
    if strict:
        raise CannotAdopt(
            f"{table.shown} wants rows to differ in what captured rows may share",
            detail=", ".join(name for (name,) in strict),
            hint="Drop these unique indexes or exclusion constraints first, or make them ordinary indexes.",
        )
    fired = rows(
        conn,
        "SELECT tgname::text FROM pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal AND tgenabled <> 'D'"
        # bits of INSERT and UPDATE
        " AND tgtype & 20 <> 0 UNION ALL SELECT rulename FROM pg_rewrite WHERE ev_class = %(oid)s ORDER BY 1",
        {"oid": table.oid},
    )
    if fired:
        raise CannotAdopt(
            f"{table.shown} has triggers or rules of its own",
            detail=", ".join(name for (name,) in fired),
            hint="Drop or disable them first: they would run at each captured write, with the rights of the log.",
        )


def _lacking(conn: Connection, shape: Shape) -> dict[str, tuple[LegacyColumn, list[str]]]:
    """Return, by column of the lens, the application's enum and the values of ours that it lacks."""
    wanted = {
        "category": [c for (c,) in rows(conn, "SELECT unnest(llamalog.categories())")],
        "entity_type": [
            str(t)
            for (t,) in rows(conn, "SELECT entity_type FROM llamalog.watches WHERE NOT is_link")
        ],
        "status": ["SUCCESS", "FAILED"],
    }
    result = {}
    for name, values in wanted.items():
        column = shape.part(name).legacy
        if column is not None and column.labels:
            lacking = [
                value for value in values if value not in {label.upper() for label in column.labels}
            ]
            if lacking:
                result[name] = (column, lacking)
    return result


def _with_new_labels(conn: Connection, shape: Shape) -> Shape:
    """Return the shape as it is once the enums are extended."""
    more = {column.type_name: values for column, values in _lacking(conn, shape).values()}

    def extended(column: LegacyColumn) -> LegacyColumn:
        new = [v for v in more.get(column.type_name, []) if v not in column.labels]
        return replace(column, labels=[*column.labels, *new])

    return replace(
        shape,
        legacy=[extended(column) for column in shape.legacy],
        parts=[
            replace(part, legacy=extended(part.legacy)) if part.legacy else part
            for part in shape.parts
        ],
    )
