"""Gives an adopted log back: old name, old shape, old keys, and every row in it still there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import psycopg

from llamalog_sql import migrate, watching
from llamalog_sql.adoption import indexes, locks, state
from llamalog_sql.adoption.lens import FIRST_SEQ, OWN_LOG, reader
from llamalog_sql.adoption.locks import Patience, Report, alone
from llamalog_sql.adoption.proof import standing
from llamalog_sql.adoption.shape import PINNED, Shape
from llamalog_sql.adoption.shape import as_people_write as plain
from llamalog_sql.adoption.state import Adoption
from llamalog_sql.adoption.steps import AGAIN, TRIGGERS, lens_locked, lens_replaced
from llamalog_sql.connection import Connection, first_row, own_path, owner_of_the_log, rows
from llamalog_sql.errors import CannotAdopt
from llamalog_sql.render import ident, literal

_NOT_VALID = " NOT VALID"
_NOT_ENFORCED = " NOT ENFORCED"


@dataclass
class Undoing:
    """What giving the log back would do, or did.

    invalid: foreign keys that rows written since would break; they come back NOT VALID.  lost: those whose columns are gone.  captured: rows that move to
    llamalog's own log.
    """

    table: str
    invalid: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    captured: int = 0


def plan(conn: Connection) -> Undoing:
    """Return what `undo` would do; changes nothing.  Raises CannotAdopt when nothing is adopted."""
    with own_path(conn):
        return _plan(conn)


def _plan(conn: Connection) -> Undoing:
    found = state.current(conn)
    if found is None:
        raise CannotAdopt("no log is adopted", hint="Run: llamalog adopt TABLE")
    result = Undoing(plain(found.shape.old_table))
    _refuse_dependents(conn, found)
    table = standing(conn, found.shape)
    for name, definition, target, columns, references in found.foreign_keys:
        if not _can_refer(conn, table, columns) or not _can_refer(conn, target, references):
            result.lost.append(name)
        elif not definition.endswith((_NOT_VALID, _NOT_ENFORCED)) and _breaks(
            conn, table, columns, target, references, "MATCH FULL" in definition
        ):
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
    with alone(conn), own_path(conn):
        result = give_back(conn, patience or Patience())
    watching.refresh(conn)
    return result


def give_back(conn: Connection, patience: Patience) -> Undoing:
    """Do what `undo` does, for whoever is alone already."""
    result = _plan(conn)
    found = state.current(conn)
    assert found is not None
    report = Report(result.table)
    for transaction in _undoing(conn, found, result.invalid, result.lost):
        try:
            locks.exclusively(conn, transaction, patience, report)
        except psycopg.errors.ForeignKeyViolation as error:
            # what a row refers to went between the plan and the key's return: it stays NOT VALID
            result.invalid.append(str(error.diag.constraint_name))
    return result


def script(conn: Connection) -> Iterator[list[str]]:
    """Yield the SQL of `undo`, a transaction at a time; changes nothing.  Raises as `plan` does."""
    with own_path(conn):
        planned = plan(conn)
        found = state.current(conn)
        assert found is not None
        for transaction in _undoing(conn, found, planned.invalid, planned.lost):
            yield ["SET LOCAL search_path = pg_catalog, pg_temp", *transaction]


def _undoing(
    conn: Connection, found: Adoption, invalid: list[str], lost: list[str]
) -> Iterator[list[str]]:
    """Yield the statements of each transaction that is to be done still."""
    owner = owner_of_the_log(conn)
    table = found.shape.old_table
    if found.is_adopted:
        if not found.shape.own_ids:
            found = replace(found, shape=_with_own_ids(conn, found.shape))
            yield _bounding(found.shape, owner)
        if found.step != "copied":
            yield [
                *_copying(conn, found, "<"),
                "UPDATE llamalog.adoptions SET step = 'copied' WHERE undone_at IS NULL",
            ]
        yield _switching_back(conn, found, owner)
    for name, definition, target, *_ in found.foreign_keys:
        if name in lost:
            continue
        is_proved = not definition.endswith((_NOT_VALID, _NOT_ENFORCED))
        if not _has_constraint(conn, table, name):
            unproved = definition if not is_proved else definition + _NOT_VALID
            yield [
                f"LOCK TABLE {table}, {target} IN SHARE ROW EXCLUSIVE MODE",
                f"ALTER TABLE {table} ADD CONSTRAINT {ident(name)} {unproved}",
            ]
        if name not in invalid and is_proved:
            yield [f"ALTER TABLE {table} VALIDATE CONSTRAINT {ident(name)}"]
    yield [
        "UPDATE llamalog.adoptions SET undone_at = clock_timestamp(), step = 'undone' WHERE undone_at IS NULL"
    ]


def _cleaning(shape: Shape, owner: str) -> list[str]:
    """Return the SQL that takes what is ours off the table, under its old name."""
    table = shape.old_table
    return [
        f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE",
        *(f"DROP TRIGGER IF EXISTS {ident(name)} ON {table}" for name in (*TRIGGERS, AGAIN)),
        "DROP FUNCTION IF EXISTS llamalog.fill_adopted(), llamalog.refill_adopted()",
        f"ALTER TABLE {table} "
        + ", ".join(f"DROP COLUMN IF EXISTS {ident(name)}" for name in shape.added),
        "DROP SEQUENCE IF EXISTS llamalog.adopted_seq",
        *(_taking_back(right, owner) for right in shape.granted),
    ]


def _taking_back(right: str, owner: str) -> str:
    """Return the SQL that revokes what was granted; a schema in which a watched table is stays open until that is unwatched."""
    revoking = f"REVOKE {right} FROM {ident(owner)}"
    schema = right.removeprefix("USAGE ON SCHEMA ")
    if schema == right:
        return revoking
    return (
        "DO $do$ DECLARE v_type text := (SELECT min(captured.entity_type) FROM llamalog.captured_tables() AS captured"
        " JOIN pg_class AS class ON class.oid = captured.relation"
        f" WHERE class.relnamespace = to_regnamespace({literal(schema)})); BEGIN"
        f" IF v_type IS NULL THEN {revoking}; ELSE"
        f" UPDATE llamalog.watches AS watch SET grants = watch.grants || {literal(right)}::text"
        " WHERE watch.entity_type = v_type; END IF; END $do$"
    )


def _with_own_ids(conn: Connection, shape: Shape) -> Shape:
    """Return the shape with what llamalog's own log holds, which nobody writes while another is adopted."""
    ((lowest, highest),) = rows(
        conn,
        f"SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM llamalog.{OWN_LOG}",
    )
    return replace(shape, own_ids=[lowest, highest])


def _bounding(shape: Shape, owner: str) -> list[str]:
    """Return the SQL after which the lens overlooks what is copied into llamalog's own log."""
    return [
        f"SET LOCAL ROLE {ident(owner)}",
        *lens_replaced(reader(shape)),
        "RESET ROLE",
        f"UPDATE llamalog.adoptions SET step = 'returning', shape = {literal(json.dumps(shape.as_json()))},"
        # whoever began before has ended by the time of the copy, which sees all of it
        " copied_below = pg_snapshot_xmin(pg_current_snapshot()) WHERE undone_at IS NULL",
    ]


def _copying(conn: Connection, found: Adoption, side: str) -> list[str]:
    """Return the SQL that copies what llamalog wrote, on one side of adoptions.copied_below, into its own log."""
    shape = found.shape
    own = [
        name
        for (name,) in rows(
            conn,
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0"
            " AND NOT attisdropped AND attname <> 'id' ORDER BY attnum",
            [f"llamalog.{OWN_LOG}"],
        )
    ]
    names = ", ".join(map(ident, own))
    copied = ", ".join(
        f"coalesce({shape.part(name).reading('log')}, {'0' if name.endswith('count') else 'false'})"
        if name in {"retry_count", "api_call_count", "is_root_job"}
        else shape.part(name).reading("log")
        for name in own
    )
    source = (
        f"FROM {shape.table} AS log JOIN llamalog.adoptions AS adoption"
        f" ON adoption.id = {found.id} WHERE {_written(shape)}"
        f" AND {shape.part('txid').reading('log')} {side} adoption.copied_below"
    )
    return [
        f"INSERT INTO llamalog.{OWN_LOG} ({names}) SELECT {copied} {source} AND log.seq > 0 ORDER BY log.seq",
        # what was inferred stays before all that was seen
        f"INSERT INTO llamalog.{OWN_LOG} (id, {names}) OVERRIDING SYSTEM VALUE"
        f" SELECT (SELECT least(min(id), 0) FROM llamalog.{OWN_LOG}) - row_number() OVER (ORDER BY log.seq DESC),"
        f" {copied} {source} AND log.seq < 0",
        *(f"SET LOCAL {name} = {literal(value)}" for name, value in PINNED.items()),
        "INSERT INTO llamalog.returned_rows (adoption_id, row_id, checksum)"
        f" SELECT {found.id}, log.{ident(shape.key)}::text, hashtextextended({shape.content('log')}, 0) {source}"
        " ON CONFLICT DO NOTHING",
    ]


def _switching_back(conn: Connection, found: Adoption, owner: str) -> list[str]:
    """Return the SQL that makes llamalog's own log the log again, with what was captured since."""
    shape = found.shape
    schema = ident(shape.schema_name)
    lens = next(piece for piece in migrate.repeatables() if piece.name == "views/log.sql")
    # in the order in which readers and writers take them, the views first: nobody meets the other half way
    statements = [
        f"{lens_locked(owner)}; DROP VIEW llamalog.llama_logs; RESET ROLE",
        *([f"DROP VIEW IF EXISTS {shape.old_table}"] if shape.old_name != shape.table_name else []),
        f"LOCK TABLE {shape.table}, llamalog.{OWN_LOG} IN ACCESS EXCLUSIVE MODE",
        *_copying(conn, found, ">="),
        f"SET LOCAL ROLE {ident(owner)}",
        f"ALTER TABLE llamalog.{OWN_LOG} RENAME TO llama_logs",
        *lens_replaced(lens.text),
        "RESET ROLE",
    ]
    statements += [
        f"DROP INDEX IF EXISTS {schema}.{ident(name)}" for name, _ in indexes.wanted(shape)
    ]
    # backwards: a name may have been free only after another had moved
    statements += [
        f"ALTER TABLE {shape.table} RENAME CONSTRAINT {ident(new)} TO {ident(old)}"
        if kind == "CONSTRAINT"
        else f"ALTER {kind} IF EXISTS {schema}.{ident(new)} RENAME TO {ident(old)}"
        for kind, old, new in reversed(found.renamed)
        if kind != "CONSTRAINT" or _has_constraint(conn, shape.table, new)
    ]
    if shape.old_name != shape.table_name:
        statements.append(f"ALTER TABLE {shape.table} RENAME TO {ident(shape.old_name)}")
    # in the same moment: nobody sees our columns under the old name
    return [
        *statements,
        *_cleaning(shape, owner),
        "UPDATE llamalog.adoptions SET adopted_at = NULL, step = 'undoing' WHERE undone_at IS NULL",
    ]


def _refuse_dependents(conn: Connection, found: Adoption) -> None:
    """Raise CannotAdopt where something was built on the view under the old name, which goes."""
    dependents = rows(
        conn,
        "SELECT DISTINCT coalesce(r.ev_class::regclass::text, pg_describe_object(d.classid, d.objid, 0))"
        " FROM pg_class AS c JOIN pg_depend AS d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid"
        " OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (c.reltype, (SELECT t.typarray FROM pg_type AS t WHERE t.oid = c.reltype))"
        " LEFT JOIN pg_rewrite AS r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid"
        " WHERE c.oid = to_regclass(%s) AND c.relkind = 'v' AND d.deptype = 'n' AND r.ev_class IS DISTINCT FROM c.oid"
        " ORDER BY 1",
        [found.shape.old_table],
    )
    if found.is_adopted and dependents:
        raise CannotAdopt(
            f"{plain(found.shape.old_table)} cannot give way to the table: others are built on it",
            detail=", ".join(name for (name,) in dependents),
            hint="Drop them first, and create them again after it.",
        )


def _written(shape: Shape) -> str:
    """Return the condition by which a row since the adoption is llamalog's, not the application's."""
    instant = shape.part("created_at").ours
    assert instant is not None
    return f"log.{ident(instant)} IS NOT NULL AND (log.seq >= {FIRST_SEQ} OR log.seq < 0)"


def _can_refer(conn: Connection, table: str, columns: list[str]) -> bool:
    """Return whether the table, and these columns of it, are still there."""
    return all(_has_column(conn, table, column) for column in columns)


def _breaks(
    conn: Connection,
    table: str,
    columns: list[str],
    target: str,
    references: list[str],
    is_full: bool,
) -> bool:
    """Return whether a row of the table refers to nothing.  is_full: MATCH FULL, where all columns are null or none."""
    pairs = " AND ".join(
        f"it.{ident(reference)} = log.{ident(column)}"
        for column, reference in zip(columns, references, strict=True)
    )
    known = " AND ".join(f"log.{ident(column)} IS NOT NULL" for column in columns)
    none = " AND ".join(f"log.{ident(column)} IS NULL" for column in columns)
    asked = f"NOT ({none})" if is_full else known
    query = f"SELECT 1 FROM {table} AS log WHERE {asked} AND NOT EXISTS (SELECT FROM {target} AS it WHERE {pairs}) LIMIT 1"
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
