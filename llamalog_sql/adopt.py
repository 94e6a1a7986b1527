"""Makes the application's own log the log, without losing a row; proves it; and gives it back.

Each step is one short transaction that records itself in llamalog.adoptions: whoever is interrupted goes on with the
same command. What locks exclusively waits for its locks only moments, gives up, and tries again.
"""

from __future__ import annotations

import json
import logging
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import IsolationLevel
from psycopg.rows import dict_row

from llamalog_sql import catalog, legacy, migrate, watching
from llamalog_sql.connection import Connection, first_row, owner_of_the_log, rows
from llamalog_sql.errors import CannotAdopt, LlamaLogError
from llamalog_sql.legacy import FIRST_SEQ, OWN_LOG, Shape
from llamalog_sql.legacy import as_people_write as plain
from llamalog_sql.render import ident, literal, render

logger = logging.getLogger(__name__)

TRIGGERS = {"00_llamalog_fill": False, "00_llamalog_fill_captured": True}
AGAIN = "00_llamalog_refill"

#: The index that backfill drops and builds anew.
RELATED = "lens_related_id"

#: The rows of before the adoption.
_OF_OLD = f"WHERE log.seq IS NULL OR log.seq BETWEEN 1 AND {FIRST_SEQ - 1}"

_NOT_VALID = " NOT VALID"

#: Under these every value has one text.
_PINNED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}


@dataclass(frozen=True)
class Patience:
    """How to wait for locks.  lock_timeout: milliseconds of one attempt.  attempts: at most."""

    lock_timeout: int = 100
    attempts: int = 100


@dataclass(frozen=True)
class Step:
    """A part of an adoption.  title: what it does.  lock: what it locks, and how long.  statements: its SQL."""

    name: str
    title: str
    lock: str
    statements: list[str]


@dataclass(frozen=True)
class Proof:
    """What the application's columns hold.  days: (day, rows, checksum), by day."""

    row_count: int
    checksum: str
    days: list[tuple[str | None, int, str]] = field(default_factory=list)


@dataclass
class Report:
    """What adopting did.  locked_ms: how long tables were locked exclusively, in all and at most.

    before, after: of the rows that were there before the first step, under one snapshot.
    unneeded: indexes that the log has no use for, and that hold nothing for the application's statements to find.
    """

    table: str
    row_count: int = 0
    before: str = ""
    after: str = ""
    locked_ms: float = 0.0
    longest_lock_ms: float = 0.0
    unneeded: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Adoption:
    """A row of llamalog.adoptions."""

    id: int
    step: str
    shape: Shape
    renamed: list[list[str]]
    foreign_keys: list[list[str]]
    row_count: int | None
    checksum: str | None
    is_adopted: bool


def current(conn: Connection) -> Adoption | None:
    """Return the adoption that holds, or has begun; None when there is none."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "SELECT id, step, shape, renamed, foreign_keys, row_count, checksum, adopted_at IS NOT NULL AS is_adopted"
            " FROM llamalog.adoptions WHERE undone_at IS NULL"
        ).fetchone()
    return Adoption(**{**row, "shape": Shape.from_json(row["shape"])}) if row else None


def plan(
    conn: Connection,
    name: str,
    *,
    mapping: dict[str, str] | None = None,
    extend_enums: bool = False,
) -> list[Step]:
    """Return what `adopt` would do; changes nothing.  Raises CannotAdopt (LL015), 42501, 42P01."""
    shape = _shape_of(conn, name, mapping or {}, extend_enums)
    return _steps(conn, shape, extend_enums=extend_enums)


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
    shape = _shape_of(conn, name, mapping or {}, extend_enums)
    report = Report(shape.shown)
    with _one_snapshot(conn) as snapshot:
        before = proof(snapshot, shape, _standing(conn, shape))
        for step in _steps(conn, shape, extend_enums=extend_enums):
            if step.name in {"indexes", "done"} or _is_done(conn, step.name):
                continue
            logger.info("%s", step.title)
            _exclusively(conn, _recorded(step), patience, report)
        after = proof(snapshot, shape, _standing(conn, shape))
    report.row_count, report.before, report.after = (
        before.row_count,
        before.checksum,
        after.checksum,
    )
    if (before.row_count, before.checksum) != (after.row_count, after.checksum):
        raise LlamaLogError(
            f"{shape.shown} is not what it was: {before.checksum} before, {after.checksum} after",
            hint="Run: llamalog adopt --undo",
        )
    build_indexes(conn, shape)
    _store_proof(conn, shape)
    report.unneeded = _unneeded(conn, shape)
    if drop_indexes:
        for index in report.unneeded:
            conn.execute(f"DROP INDEX CONCURRENTLY {index}".encode())
            report.dropped.append(index)
    conn.execute("UPDATE llamalog.adoptions SET step = 'done' WHERE undone_at IS NULL")
    return report


@dataclass
class Undoing:
    """What giving the log back would do, or did.

    invalid: foreign keys that rows written since would break; they come back NOT VALID.  captured: rows that move to
    llamalog's own log.
    """

    table: str
    invalid: list[str] = field(default_factory=list)
    captured: int = 0


def undo_plan(conn: Connection) -> Undoing:
    """Return what `undo` would do; changes nothing.  Raises CannotAdopt when nothing is adopted."""
    found = current(conn)
    if found is None:
        raise CannotAdopt("no log is adopted", hint="Run: llamalog adopt TABLE")
    result = Undoing(plain(found.shape.old_table))
    table = _standing(conn, found.shape)
    for name, definition, target in found.foreign_keys:
        if not definition.endswith(_NOT_VALID) and _breaks(conn, table, definition, target):
            result.invalid.append(name)
    if _has_column(conn, table, "seq"):
        count = first_row(
            conn, f"SELECT count(*) FROM {table} AS log WHERE {_written(found.shape)}"
        )
        result.captured = int(count[0]) if count else 0
    return result


def undo(conn: Connection, *, patience: Patience | None = None) -> Undoing:
    """Give the log back under its old name and in its old shape, every row in it still there.

    What capture wrote stays there as the application's columns have it, and whole in llamalog's own log.
    Interrupted, it goes on where it was. Raises CannotAdopt (LL015), and 55P03 when a lock cannot be had.
    """
    result = undo_plan(conn)
    found = current(conn)
    assert found is not None
    report = Report(result.table)
    for transaction in _undoing(conn, found, result.invalid):
        _exclusively(conn, transaction, patience or Patience(), report)
    watching.refresh(conn)
    return result


def undo_script(conn: Connection) -> Iterator[list[str]]:
    """Yield the SQL of `undo`, a transaction at a time; changes nothing.  Raises as `undo_plan` does."""
    invalid = undo_plan(conn).invalid
    found = current(conn)
    assert found is not None
    return _undoing(conn, found, invalid)


def _undoing(conn: Connection, found: Adoption, invalid: list[str]) -> Iterator[list[str]]:
    """Yield the statements of each transaction that is to be done still."""
    owner = owner_of_the_log(conn)
    table = found.shape.old_table
    if found.is_adopted:
        yield _switching_back(conn, found, owner)
    for name, definition, target in found.foreign_keys:
        if not _has_constraint(conn, table, name):
            unproved = definition.removesuffix(_NOT_VALID) + _NOT_VALID
            yield [
                f"LOCK TABLE {table}, {target} IN SHARE ROW EXCLUSIVE MODE",
                f"ALTER TABLE {table} ADD CONSTRAINT {ident(name)} {unproved}",
            ]
        if name not in invalid and not definition.endswith(_NOT_VALID):
            yield [f"ALTER TABLE {table} VALIDATE CONSTRAINT {ident(name)}"]
    yield [
        f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        *(f"DROP TRIGGER IF EXISTS {ident(name)} ON {table}" for name in (*TRIGGERS, AGAIN)),
        "DROP FUNCTION IF EXISTS llamalog.fill_adopted(), llamalog.refill_adopted()",
        f"ALTER TABLE {table} "
        + ", ".join(f"DROP COLUMN IF EXISTS {ident(name)}" for name in found.shape.added),
        "DROP SEQUENCE IF EXISTS llamalog.adopted_seq",
        *(f"REVOKE {right} FROM {ident(owner)}" for right in found.shape.granted),
        "UPDATE llamalog.adoptions SET undone_at = clock_timestamp(), step = 'undone' WHERE undone_at IS NULL",
    ]


def _switching_back(conn: Connection, found: Adoption, owner: str) -> list[str]:
    """Return the SQL that makes llamalog's own log the log again, with what was captured since."""
    shape = found.shape
    schema = ident(shape.schema_name)
    lens = next(piece for piece in migrate.repeatables() if piece.name == "views/log.sql")
    own = [
        name
        for (name,) in rows(
            conn,
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0"
            " AND NOT attisdropped AND attname <> 'id' ORDER BY attnum",
            [f"llamalog.{OWN_LOG}"],
        )
    ]
    copied = ", ".join(
        f"coalesce({shape.part(name).reading('log')}, {'0' if name.endswith('count') else 'false'})"
        if name in {"retry_count", "api_call_count", "is_root_job"}
        else shape.part(name).reading("log")
        for name in own
    )
    # in the order in which readers and writers take them, the views first: nobody meets the other half way
    statements = [
        f"{_lens_locked(owner)}; DROP VIEW llamalog.llama_logs; RESET ROLE",
        *([f"DROP VIEW {shape.old_table}"] if shape.old_name != shape.table_name else []),
        f"LOCK TABLE {shape.table}, llamalog.{OWN_LOG} IN ACCESS EXCLUSIVE MODE",
        f"INSERT INTO llamalog.{OWN_LOG} ({', '.join(map(ident, own))})"
        f" SELECT {copied} FROM {shape.table} AS log"
        f" WHERE {_written(shape)} ORDER BY log.seq",
    ]
    statements += [
        f"SET LOCAL ROLE {ident(owner)}",
        f"ALTER TABLE llamalog.{OWN_LOG} RENAME TO llama_logs",
        lens.text,
        f"UPDATE llamalog.repeatables SET checksum = {literal(lens.checksum)} WHERE name = 'views/log.sql'",
        "RESET ROLE",
    ]
    statements += [f"DROP INDEX IF EXISTS {schema}.{ident(name)}" for name, _ in indexes(shape)]
    statements += [
        f"ALTER TABLE {shape.table} RENAME CONSTRAINT {ident(new)} TO {ident(old)}"
        if kind == "CONSTRAINT"
        else f"ALTER {kind} IF EXISTS {schema}.{ident(new)} RENAME TO {ident(old)}"
        for kind, old, new in found.renamed
    ]
    if shape.old_name != shape.table_name:
        statements.append(f"ALTER TABLE {shape.table} RENAME TO {ident(shape.old_name)}")
    statements.append(
        "UPDATE llamalog.adoptions SET adopted_at = NULL, step = 'undoing' WHERE undone_at IS NULL"
    )
    return statements


def _written(shape: Shape) -> str:
    """Return the condition by which a row since the adoption is llamalog's, not the application's."""
    instant = shape.part("created_at").ours
    assert instant is not None
    return f"log.{ident(instant)} IS NOT NULL AND log.seq >= {FIRST_SEQ}"


def _breaks(conn: Connection, table: str, definition: str, target: str) -> bool:
    """Return whether a row of the table refers to nothing."""
    found = re.match(r"FOREIGN KEY \((.*?)\) REFERENCES .*?\((.*?)\)", definition)
    assert found is not None
    columns, references = found[1].split(", "), found[2].split(", ")
    pairs = " AND ".join(
        f"it.{reference} = log.{column}"
        for column, reference in zip(columns, references, strict=True)
    )
    known = " AND ".join(f"log.{column} IS NOT NULL" for column in columns)
    query = f"SELECT 1 FROM {table} AS log WHERE {known} AND NOT EXISTS (SELECT FROM {target} AS it WHERE {pairs}) LIMIT 1"
    return first_row(conn, query) is not None


def _has_column(conn: Connection, table: str, name: str) -> bool:
    return (
        first_row(
            conn,
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s AND NOT attisdropped",
            [table, name],
        )
        is not None
    )


def _has_constraint(conn: Connection, table: str, name: str) -> bool:
    return (
        first_row(
            conn,
            "SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(%s) AND conname = %s",
            [table, name],
        )
        is not None
    )


def verify(conn: Connection) -> tuple[Proof, Proof]:
    """Return what the rows of the day of adoption held then, and hold now.  Raises CannotAdopt when none is adopted."""
    found = _adopted(conn)
    stored = [
        (str(day) if day else None, int(count), str(checksum))
        for day, count, checksum in rows(
            conn,
            "SELECT day, row_count, checksum FROM llamalog.adoption_days WHERE adoption_id = %s ORDER BY day",
            [found.id],
        )
    ]
    then = Proof(found.row_count or 0, found.checksum or "", stored)
    return then, proof(conn, found.shape, found.shape.table, _OF_OLD)


# -- the steps --------------------------------------------------------------------------------------------------------


def _steps(conn: Connection, shape: Shape, *, extend_enums: bool = False) -> list[Step]:
    """Return what is to be done, in order."""
    owner = owner_of_the_log(conn)
    found = current(conn)
    renamed = found.renamed if found and found.renamed else _renames(conn, shape)
    foreign_keys = (
        found.foreign_keys if found and found.foreign_keys else _foreign_keys(conn, shape)
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
    if extend_enums:
        steps.append(
            Step(
                "enums",
                "give the application's enums the values they lack",
                "none of tables",
                _enum_values(conn, shape),
            )
        )
    judged = ", ".join(
        ident(part.legacy.name)
        for part in (shape.part("operation"), shape.part("status"))
        if part.legacy is not None
    )
    steps.append(
        Step(
            "columns",
            f"add {len(shape.added)} columns to {plain(shape.old_table)}, as metadata only, and the trigger that fills them",
            "ACCESS EXCLUSIVE on the table, milliseconds",
            [
                f"LOCK TABLE {shape.old_table} IN ACCESS EXCLUSIVE MODE",
                f"CREATE SEQUENCE llamalog.adopted_seq AS bigint START WITH {FIRST_SEQ}",
                "COMMENT ON SEQUENCE llamalog.adopted_seq IS 'Order of the rows written since the adoption.'",
                f"ALTER SEQUENCE llamalog.adopted_seq OWNER TO {ident(owner)}",
                f"ALTER TABLE {shape.old_table} "
                + ", ".join(
                    f"ADD COLUMN {ident(name)} {kind}" for name, kind in shape.added.items()
                ),
                f"GRANT USAGE ON SCHEMA {ident(shape.schema_name)} TO {ident(owner)}",
                *(f"GRANT {right} TO {ident(owner)}" for right in shape.granted),
                render("adopted.sql.j2", shape=shape, owner=owner),
                f"ALTER FUNCTION llamalog.fill_adopted() OWNER TO {ident(owner)}",
                *(
                    f"CREATE TRIGGER {ident(name)} BEFORE INSERT ON {shape.old_table} FOR EACH ROW"
                    f" WHEN (current_user {'=' if is_ours else '<>'} {literal(owner)})"
                    f" EXECUTE FUNCTION llamalog.fill_adopted({literal(str(is_ours).lower())})"
                    for name, is_ours in TRIGGERS.items()
                ),
                f"ALTER FUNCTION llamalog.refill_adopted() OWNER TO {ident(owner)}",
                f"CREATE TRIGGER {ident(AGAIN)} BEFORE UPDATE OF {judged} ON {shape.old_table}"
                " FOR EACH ROW EXECUTE FUNCTION llamalog.refill_adopted()",
            ],
        )
    )
    for name, definition, target in foreign_keys:
        steps.append(
            Step(
                f"key {name}",
                f"drop the foreign key {name}: {definition}; a cascade of it would erase or change history",
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
            f"make {shape.shown} the log"
            + (
                f"; a view goes on under the name {shape.old_name}"
                if shape.old_name != shape.table_name
                else ""
            ),
            "ACCESS EXCLUSIVE on the table and on llamalog's own log, milliseconds",
            _switch(conn, shape, renamed, owner),
        )
    )
    steps.append(
        Step(
            "indexes",
            f"build {len(indexes(shape))} indexes beside readers and writers",
            "SHARE UPDATE EXCLUSIVE, which no reader or writer notices, while the table is read",
            [f"CREATE INDEX CONCURRENTLY {definition}" for _, definition in indexes(shape)],
        )
    )
    return steps


def _switch(conn: Connection, shape: Shape, renamed: list[list[str]], owner: str) -> list[str]:
    schema = ident(shape.schema_name)
    statements = [
        f"{_lens_locked(owner)}; RESET ROLE",
        f"LOCK TABLE {shape.old_table}, llamalog.llama_logs IN ACCESS EXCLUSIVE MODE",
    ]
    if shape.old_name != shape.table_name:
        statements.append(f"ALTER TABLE {shape.old_table} RENAME TO {ident(shape.table_name)}")
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
        legacy.writer(shape),
        legacy.lens(shape),
        "INSERT INTO llamalog.repeatables (name, checksum) VALUES ('views/log.sql', "
        f"{literal(migrate.Piece('views/log.sql', legacy.lens(shape)).checksum)})"
        " ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()",
        "RESET ROLE",
        "UPDATE llamalog.adoptions SET adopted_at = clock_timestamp() WHERE undone_at IS NULL",
    ]
    return statements


def _lens_locked(owner: str) -> str:
    """Return the SQL that locks the lens alone, which LOCK cannot, and leaves the role of its owner set."""
    return f"SET LOCAL ROLE {ident(owner)}; ALTER VIEW llamalog.log RESET (security_barrier)"


def _recorded(step: Step) -> list[str]:
    """Return the statements of a step and the record of it."""
    if step.name == "begun":
        return step.statements
    return [
        *step.statements,
        f"UPDATE llamalog.adoptions SET step = {literal(step.name)} WHERE undone_at IS NULL",
    ]


def _is_done(conn: Connection, name: str) -> bool:
    """Return whether a step has been done: it is the last one recorded, or comes before it."""
    found = current(conn)
    if found is None:
        return False
    names = [step.name for step in _steps(conn, found.shape, extend_enums=True)]
    reached = names.index(found.step) if found.step in names else len(names)
    return name not in names or names.index(name) <= reached


def indexes(shape: Shape) -> list[tuple[str, str]]:
    """Return (name, definition) of the indexes that questions need."""

    def index(name: str, columns: list[str], where: str = "") -> tuple[str, str]:
        read = ", ".join(
            f"({shape.part(column).reading(shape.table_name).replace(f'{shape.table_name}.', '')})"
            for column in columns
        )
        full = f"llama_logs_{name}_idx"
        return full, f"{ident(full)} ON {shape.table} ({read}){where}"

    def known(column: str) -> str:
        part = shape.part(column).reading(shape.table_name).replace(f"{shape.table_name}.", "")
        return f" WHERE {part} IS NOT NULL"

    # none holds what backfill writes but the last: a row whose indexed columns stay is rewritten in its page
    return [
        index("lens_entity_id", ["entity_id"]),
        index("lens_job_id", ["job_id"], known("job_id")),
        index("lens_parent_job_id", ["parent_job_id"], known("parent_job_id")),
        index("lens_previous_id", ["previous_id"], known("previous_id")),
        (
            "llama_logs_lens_removed_idx",
            f"llama_logs_lens_removed_idx ON {shape.table} ({ident(shape.part('op').written)})"
            f" WHERE {ident(shape.part('op').written)} IN ('D', 'T')",
        ),
        index(RELATED, ["related_id"], known("related_id")),
    ]


def build_indexes(conn: Connection, shape: Shape) -> None:
    """Build the indexes that are not there yet; one that was left invalid by an interruption, anew."""
    for name, definition in indexes(shape):
        state = first_row(
            conn,
            "SELECT i.indisvalid FROM pg_index AS i WHERE i.indexrelid = to_regclass(%s)",
            [f"{ident(shape.schema_name)}.{ident(name)}"],
        )
        if state == (True,):
            continue
        if state is not None:
            conn.execute(
                f"DROP INDEX CONCURRENTLY {ident(shape.schema_name)}.{ident(name)}".encode()
            )
        logger.info("build %s", name)
        conn.execute(f"CREATE INDEX CONCURRENTLY {definition}".encode())
    conn.execute(f"ANALYZE {shape.table}".encode())


# -- what is found ----------------------------------------------------------------------------------------------------


def _shape_of(conn: Connection, name: str, mapping: dict[str, str], extend_enums: bool) -> Shape:
    """Return the shape of the table, as it was found when its adoption began.  Raises CannotAdopt."""
    found = current(conn)
    if found is None:
        return _examined(conn, name, mapping, extend_enums)
    if found.step == "undoing":
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


def _adopted(conn: Connection) -> Adoption:
    found = current(conn)
    if found is None or not found.is_adopted:
        raise CannotAdopt("no log is adopted", hint="Run: llamalog adopt TABLE")
    return found


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
    shape = legacy.recognise(conn, table.schema_name, table.table_name, table.oid, mapping)
    _refuse_entangled(conn, table.shown, table.oid, shape)
    if extend_enums:
        shape = _with_new_labels(conn, shape)
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
        " AND CASE WHEN s.relkind = 'S' THEN NOT has_sequence_privilege(%(owner)s::name, s.oid, 'USAGE') END ORDER BY 1",
        {"table": shape.old_table, "owner": owner, "oid": table.oid},
    )
    return replace(shape, granted=[str(right) for (right,) in lacking])


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
    wanted = [name for name, _ in indexes(shape)]
    if shape.old_name != shape.table_name:
        wanted += [shape.table_name, *(new for _, _, new in _renames(conn, shape))]
    taken = rows(
        conn,
        "SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = ANY (%s) ORDER BY 1",
        [shape.schema_name, wanted],
    )
    if taken:
        raise CannotAdopt(
            f"the name {taken[0][0]} is taken",
            sqlstate="42P07",
            hint="Rename what has it.",
        )
    if shape.old_name != shape.table_name and first_row(
        conn, "SELECT 1 WHERE NOT has_schema_privilege(%s, 'CREATE')", [shape.schema_name]
    ):
        raise CannotAdopt(
            f"{shown} cannot be renamed: you may not create in its schema",
            sqlstate="42501",
            hint=f"Run, as its owner: GRANT CREATE ON SCHEMA {ident(shape.schema_name)} TO you",
        )


def _renames(conn: Connection, shape: Shape) -> list[list[str]]:
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


def _foreign_keys(conn: Connection, shape: Shape) -> list[list[str]]:
    """Return [name, definition, table it leads to] of the foreign keys to the application's tables."""
    oid = catalog.oid_of(conn, shape.old_table)
    with conn.transaction(force_rollback=True):
        # each name with its schema, whoever reads it
        conn.execute("SET LOCAL search_path = pg_catalog")
        return [
            list(row)
            for row in rows(
                conn,
                "SELECT conname::text, pg_get_constraintdef(oid), confrelid::regclass::text FROM pg_constraint"
                " WHERE conrelid = %s AND contype = 'f' ORDER BY conname",
                [oid],
            )
        ]


def _lacking(conn: Connection, shape: Shape) -> dict[str, tuple[legacy.LegacyColumn, list[str]]]:
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
            lacking = [value for value in values if value not in column.labels]
            if lacking:
                result[name] = (column, lacking)
    return result


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


def _with_new_labels(conn: Connection, shape: Shape) -> Shape:
    """Return the shape as it is once the enums are extended."""
    more = {column.type_name: values for column, values in _lacking(conn, shape).values()}

    def extended(column: legacy.LegacyColumn) -> legacy.LegacyColumn:
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


def _unneeded(conn: Connection, shape: Shape) -> list[str]:
    """Return indexes that no statement has used since statistics began, and arrays indexed whole, which none can."""
    return [
        str(name)
        for (name,) in rows(
            conn,
            "SELECT i.indexrelid::regclass::text FROM pg_index AS i"
            " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " JOIN pg_type AS t ON t.oid = a.atttypid"
            " JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam"
            " WHERE i.indrelid = %s AND NOT i.indisunique AND t.typcategory = 'A' AND m.amname = 'btree' ORDER BY 1",
            [catalog.oid_of(conn, shape.table)],
        )
    ]


# -- the proof --------------------------------------------------------------------------------------------------------


def proof(conn: Connection, shape: Shape, table: str, where: str = "") -> Proof:
    """Return what the application's columns hold: counts and checksums that no order of rows changes.

    table: under the name that it has now.  where: which rows, of `log`.
    """
    columns = ", ".join(f"log.{ident(column.name)}" for column in shape.legacy)
    created = shape.part("created_at").legacy
    assert created is not None
    day = created.reading("log", "created_at")
    # rolled back, it lets go of the table
    with conn.transaction(force_rollback=True):
        for name, value in _PINNED.items():
            conn.execute("SELECT set_config(%s, %s, true)", [name, value])
        days = [
            (str(day) if day else None, int(count), int(first), int(second))
            for day, count, first, second in rows(
                conn,
                f"SELECT ({day})::date, count(*),"
                f" mod(sum(hashtextextended(whole.text, 0)::numeric), 18446744073709551616),"
                f" mod(sum(hashtextextended(whole.text, 1)::numeric), 18446744073709551616)"
                f" FROM {table} AS log CROSS JOIN LATERAL (SELECT ROW({columns})::text) AS whole (text)"
                f" {where} GROUP BY 1 ORDER BY 1",
            )
        ]
    return Proof(
        sum(count for _, count, _, _ in days),
        _hex(sum(first for *_, first, _ in days), sum(second for *_, second in days)),
        [(day, count, _hex(first, second)) for day, count, first, second in days],
    )


def _hex(first: int, second: int) -> str:
    return f"{first % 2**64:016x}{second % 2**64:016x}"


def _store_proof(conn: Connection, shape: Shape) -> None:
    """Store what the rows of before the adoption hold now, for `verify`."""
    with conn.transaction():
        found = _adopted(conn)
        held = proof(conn, shape, shape.table, _OF_OLD)
        conn.execute("DELETE FROM llamalog.adoption_days WHERE adoption_id = %s", [found.id])
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO llamalog.adoption_days (adoption_id, day, row_count, checksum) VALUES (%s, %s, %s, %s)",
                [(found.id, *day) for day in held.days],
            )
        conn.execute(
            "UPDATE llamalog.adoptions SET row_count = %s, checksum = %s WHERE id = %s",
            [held.row_count, held.checksum, found.id],
        )


def _standing(conn: Connection, shape: Shape) -> str:
    """Return the name under which the table stands now."""
    found = first_row(
        conn, "SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(%s)", [shape.old_table]
    )
    return shape.old_table if found == (True,) else shape.table


# -- how it is done ---------------------------------------------------------------------------------------------------


@contextmanager
def _one_snapshot(conn: Connection) -> Iterator[Connection]:
    """Another session whose questions all see this moment, and which holds no lock between them."""
    address: dict[str, Any] = {**conn.info.get_parameters()}
    if conn.info.password:
        address["password"] = conn.info.password
    with psycopg.connect(**address) as snapshot:
        snapshot.isolation_level = IsolationLevel.REPEATABLE_READ
        snapshot.execute("SELECT 1")
        yield snapshot


def _exclusively(
    conn: Connection, statements: list[str], patience: Patience, report: Report
) -> None:
    """Run a step in one transaction; give up waiting for a lock before writers queue behind it, and try again."""
    for attempt in range(patience.attempts):
        try:
            with conn.transaction():
                conn.execute(f"SET LOCAL lock_timeout = {patience.lock_timeout}")
                first, *others = statements
                conn.execute(first.encode())
                since = time.monotonic()
                if others:
                    conn.execute(";\n".join(s.rstrip().rstrip(";") for s in others).encode())
            held = (time.monotonic() - since) * 1000
            report.locked_ms += held
            report.longest_lock_ms = max(report.longest_lock_ms, held)
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if attempt + 1 == patience.attempts:
                raise
            time.sleep(random.uniform(0.5, 1.5) * min(0.05 * 1.5**attempt, 1))  # noqa: S311
        else:
            return
