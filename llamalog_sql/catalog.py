"""Reads what PostgreSQL knows of a table: its key, its columns, its foreign keys. Decides nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg.rows import class_row

from llamalog_sql.connection import Connection, first_row, rows
from llamalog_sql.errors import CannotWatch
from llamalog_sql.render import ident


@dataclass(frozen=True)
class Column:
    """A column, with the SQL that llamalog.table_columns() gives for it ("%s" or "%1$s" stands for the value)."""

    name: str
    type_name: str
    is_generated: bool
    has_value: str
    compare: str
    image: str
    member: str
    is_plain: bool
    is_builtin: bool
    key: str
    key_is_safe: bool
    settings: list[str]
    base_type: str

    @property
    def array_type(self) -> str:
        """The type of an array that compares such columns as they are compared themselves; '' where none does.

        No type of somebody's own: it may get another name, or an order of its own that tells less.
        """
        if self.compare != "distinct" or self.base_type.endswith("[]"):
            return ""
        return "text[]" if self.base_type == "character varying" else f"{self.base_type}[]"

    def member_of(self, row: str) -> str:
        """Return the SQL of the image of this column in the row variable `row`, as jsonb_build_object() takes it."""
        return self._of(row, self.member)

    def image_of(self, row: str) -> str:
        """Return the SQL of that image as jsonb."""
        return self._of(row, self.image)

    def _of(self, row: str, expression: str) -> str:
        value = f"{row}.{ident(self.name)}"
        return re.sub(r"%(1\$)?s", lambda _: value, expression)


@dataclass(frozen=True)
class ForeignKey:
    """A reference to another table.  columns and references pair up.  is_cascading: rows go with what they refer to."""

    columns: list[str]
    target: int
    references: list[str]
    is_not_null: bool
    is_cascading: bool


@dataclass(frozen=True)
class Table:
    """A relation as the catalogue has it.  oid: in this database, now.  keys: unique keys, the primary one first."""

    oid: int
    schema_name: str
    table_name: str
    owner: str
    kind: str
    is_partition: bool
    is_temporary: bool
    is_family: bool
    insert_is_by_row: bool
    has_deferrable_key: bool
    fingerprint: str

    @property
    def qualified(self) -> str:
        """Its name for SQL, whatever the search_path."""
        return f"{ident(self.schema_name)}.{ident(self.table_name)}"

    @property
    def shown(self) -> str:
        return f"{_as_sql(self.schema_name)}.{_as_sql(self.table_name)}"


def _as_sql(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else ident(name)


def find_table(conn: Connection, name: str) -> Table:
    """Return the relation that a person calls `name`: as SQL spells it, or with its capitals and spaces as they are.

    Raises CannotWatch (LL009, or 42P01 when there is none).
    """
    oid = oid_of(conn, name)
    if oid is None:
        schema, _, bare = name.rpartition(".")
        near = rows(
            conn,
            "SELECT format('%%I.%%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE c.relkind IN ('r', 'p')"
            " AND (lower(c.relname) = lower(%(name)s) OR %(name)s <> '' AND lower(left(c.relname, 3)) = lower(left(%(name)s, 3)))"
            " AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'llamalog') ORDER BY 1 LIMIT 3",
            {"name": (bare or schema).strip('"')},
        )
        raise CannotWatch(
            f'table "{name}" does not exist',
            sqlstate="42P01",
            hint=f"Perhaps you mean {', '.join(str(row[0]) for row in near)}."
            if near
            else "Name the table with its schema, as shop.orders.",
        )
    return table(conn, oid)


def oid_of(conn: Connection, name: str) -> int | None:
    """Return the oid of a relation: the name to the letter first, then as an SQL name."""
    schema, _, bare = name.rpartition(".")
    row = first_row(
        conn,
        "SELECT c.oid::bigint FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE (c.relname = %(name)s AND pg_table_is_visible(c.oid)) OR (n.nspname = %(schema)s AND c.relname = %(bare)s)"
        " ORDER BY c.relname = %(name)s DESC LIMIT 1",
        {"name": name, "schema": schema, "bare": bare},
    )
    if row is None:
        # to_regclass() raises on what is no SQL name at all
        row = first_row(
            conn,
            'SELECT CASE WHEN %(name)s ~ \'^([a-zA-Z_][a-zA-Z0-9_$]*|"([^"]|"")+")'
            '(\\.([a-zA-Z_][a-zA-Z0-9_$]*|"([^"]|"")+"))?$\' THEN to_regclass(%(name)s)::oid::bigint END',
            {"name": name},
        )
    assert row is not None
    return None if row[0] is None else int(str(row[0]))


def table(conn: Connection, oid: int) -> Table:
    """Return what the catalogue says of one relation."""
    with conn.cursor(row_factory=class_row(Table)) as cursor:
        found = cursor.execute(
            "SELECT c.oid::bigint AS oid, n.nspname AS schema_name, c.relname AS table_name,"
            " pg_get_userbyid(c.relowner) AS owner, c.relkind::text AS kind,"
            " c.relispartition AS is_partition, c.relpersistence = 't' AS is_temporary,"
            " t.is_family, t.insert_is_by_row, t.has_deferrable_key, t.fingerprint"
            " FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " CROSS JOIN LATERAL llamalog.table_traits(c.oid) AS t WHERE c.oid = %s",
            [oid],
        ).fetchone()
    assert found is not None
    return found


def columns(conn: Connection, oid: int, redacted: list[str]) -> list[Column]:
    """Return the columns of a table in order."""
    with conn.cursor(row_factory=class_row(Column)) as cursor:
        return cursor.execute(
            "SELECT * FROM llamalog.table_columns(%s, %s)", [oid, redacted]
        ).fetchall()


def column_numbers(conn: Connection, oid: int) -> dict[str, int]:
    """Return the number of each column, which it keeps when it is renamed."""
    return dict(
        rows(
            conn,
            "SELECT attname::text, attnum FROM pg_attribute"
            " WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [oid],
        )
    )


def made_from(conn: Connection, oid: int, names: set[str]) -> set[str]:
    """Return the columns that generated ones of these are made from."""
    found = rows(
        conn,
        "SELECT base.attname::text FROM pg_attrdef AS made"
        " JOIN pg_attribute AS generated ON generated.attrelid = made.adrelid AND generated.attnum = made.adnum"
        " JOIN pg_depend AS needed ON needed.classid = 'pg_attrdef'::regclass AND needed.objid = made.oid"
        " AND needed.refclassid = 'pg_class'::regclass AND needed.refobjid = made.adrelid"
        " JOIN pg_attribute AS base ON base.attrelid = made.adrelid AND base.attnum = needed.refobjsubid"
        " WHERE made.adrelid = %s AND generated.attgenerated <> '' AND generated.attname = ANY (%s::text[])"
        " AND base.attnum > 0 AND base.attnum <> made.adnum",
        [oid, sorted(names)],
    )
    return {str(name) for (name,) in found}


def unique_keys(conn: Connection, oid: int) -> list[list[str]]:
    """Return the columns of each key that names every row: the primary key first, then unique indexes without nulls."""
    found = rows(
        conn,
        "SELECT array_agg(a.attname::text ORDER BY part.position) FROM pg_index AS i"
        " CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS part (attnum, position)"
        " LEFT JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = part.attnum"
        " WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL"
        " AND part.position <= i.indnkeyatts"
        " GROUP BY i.indexrelid, i.indisprimary, i.indisreplident HAVING bool_and(coalesce(a.attnotnull, false))"
        " ORDER BY i.indisprimary DESC, i.indisreplident DESC, count(*), i.indexrelid",
        [oid],
    )
    return [list(names) for (names,) in found if isinstance(names, list)]


def foreign_keys(conn: Connection, oid: int) -> list[ForeignKey]:
    """Return the references of a table to others, in the order of their columns."""
    with conn.cursor(row_factory=class_row(ForeignKey)) as cursor:
        return cursor.execute(
            "SELECT array_agg(a.attname::text ORDER BY pair.position) AS columns, f.confrelid::bigint AS target,"
            ' array_agg(b.attname::text ORDER BY pair.position) AS "references", bool_and(a.attnotnull) AS is_not_null,'
            " f.confdeltype = 'c' AS is_cascading"
            " FROM pg_constraint AS f"
            " CROSS JOIN LATERAL unnest(f.conkey, f.confkey) WITH ORDINALITY AS pair (attnum, refnum, position)"
            " JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = pair.attnum"
            " JOIN pg_attribute AS b ON b.attrelid = f.confrelid AND b.attnum = pair.refnum"
            " WHERE f.conrelid = %s AND f.contype = 'f' AND f.conparentid = 0"
            " GROUP BY f.oid, f.confrelid, f.confdeltype ORDER BY min(a.attnum), f.oid",
            [oid],
        ).fetchall()


def referenced_oids(conn: Connection) -> set[int]:
    """Return the tables that some foreign key refers to."""
    return {
        int(str(oid))
        for (oid,) in rows(
            conn, "SELECT DISTINCT confrelid::bigint FROM pg_constraint WHERE contype = 'f'"
        )
    }
