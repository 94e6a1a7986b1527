"""Stand-ins for a watched table and for the log: copies of their shape, whose capture reads and writes nothing else.

The capture is the one that `llamalog watch` would hang, with other names in it: its functions stand in pg_temp, its log rows
go into a copy of the log, its registry is a copy of the table's row in llamalog.watches. So nobody else meets a lock, a
log row or a number of a sequence of it, and all of it goes with the session, or with the transaction.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace

from llamalog_sql import capture
from llamalog_sql.adoption import state
from llamalog_sql.adoption.lens import OWN_LOG
from llamalog_sql.catalog import Table
from llamalog_sql.connection import Connection, as_owner, first_row, rows
from llamalog_sql.describe import Watch
from llamalog_sql.render import ident, literal

#: What of llamalog's own a tolerant or partitioned capture calls that reads the registry or writes the log.
_GENERIC = (
    "capture_row",
    "current_queries",
    "current_watch",
    "is_head_by_default",
    "made_queries",
    "mark_update",
)

#: What of llamalog's own they read and write beside the log.
_REGISTRY = ("watches", "row_queries", "renamings")


@dataclass(frozen=True)
class StandIn:
    """A copy of the table and a log for it.  schema: pg_temp, or one where both live as long as the transaction."""

    schema: str
    table_name: str
    log_name: str

    @property
    def table(self) -> str:
        return f"{ident(self.schema)}.{ident(self.table_name)}"

    @property
    def log(self) -> str:
        return f"{ident(self.schema)}.{ident(self.log_name)}"


def log_table(conn: Connection) -> str:
    """Return the log whose shape is copied: llamalog's own, also where another one is adopted."""
    return f"llamalog.{OWN_LOG if state.adopted(conn) else 'llama_logs'}"


def make_table(conn: Connection, stand_in: StandIn, source: Table, like: str) -> None:
    """Copy the shape of a table: columns, checks, indexes, partitioning. Foreign keys and triggers stay behind."""
    ((partitioning, strategy, options),) = rows(
        conn,
        "SELECT pg_get_partkeydef(class.oid), partitioned.partstrat::text,"
        " (SELECT string_agg(format('%%s = %%s', o.option_name, o.option_value), ', ')"
        "  FROM pg_options_to_table(class.reloptions) AS o WHERE o.option_name = 'fillfactor')"
        " FROM pg_class AS class LEFT JOIN pg_partitioned_table AS partitioned ON partitioned.partrelid = class.oid"
        " WHERE class.oid = %s",
        [source.oid],
    )
    conn.execute(
        f"CREATE TABLE {stand_in.table} (LIKE {like} INCLUDING ALL)"
        f"{f' PARTITION BY {partitioning}' if partitioning else ''}"
        f"{f' WITH ({options})' if options else ''}".encode()
    )
    if partitioning:
        everything = "FOR VALUES WITH (MODULUS 1, REMAINDER 0)" if strategy == "h" else "DEFAULT"
        partition = f"{ident(stand_in.schema)}.{ident(stand_in.table_name + '_rows')}"
        conn.execute(
            f"CREATE TABLE {partition} PARTITION OF {stand_in.table} {everything}".encode()
        )


def make_log(conn: Connection, stand_in: StandIn, like: str) -> None:
    """Copy the shape of the log, with one partition for every month."""
    conn.execute(
        f"CREATE TABLE {stand_in.log} (LIKE {like} INCLUDING ALL) PARTITION BY RANGE (created_at)".encode()
    )
    months = f"{ident(stand_in.schema)}.{ident(stand_in.log_name + '_months')}"
    conn.execute(
        f"CREATE TABLE {months} PARTITION OF {stand_in.log}"
        " FOR VALUES FROM ('2000-01-01 00:00+00') TO ('2200-01-01 00:00+00')".encode()
    )


def hang(conn: Connection, stand_in: StandIn, watch: Watch) -> None:
    """Hang on the copy the capture by which `watch` describes the table: its functions as the owner of the log.

    Leaves TRUNCATE alone. Needs make_table() and make_log() before.
    """
    ((user, oid),) = rows(
        conn, "SELECT current_user::text, to_regclass(%s)::oid::bigint", [stand_in.table]
    )
    mine = replace(
        watch,
        schema_name=stand_in.schema,
        table_name=stand_in.table_name,
        table=replace(watch.table, oid=oid, owner=user),
    )
    built = capture.build(conn, mine)
    triggers = [text for text in built.hanging if text.startswith("CREATE OR REPLACE TRIGGER")]
    if watch.capture == "tolerant":
        triggers = [
            f"CREATE TRIGGER {ident(capture.trigger_name(event))} AFTER {event.upper()} ON {stand_in.table}"
            f" FOR EACH ROW EXECUTE FUNCTION llamalog.capture_row({literal(watch.entity_type)})"
            for event in capture.EVENTS
        ]
    if watch.table.kind == "p":
        triggers += [
            f"CREATE TRIGGER {ident(f'00_llamalog_{name}')} {event} ON {stand_in.table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION llamalog.mark_update({literal(watch.entity_type)})"
            for name, event in (
                ("begin_update", "BEFORE UPDATE OR DELETE"),
                ("end_update", "AFTER UPDATE"),
            )
        ]
    generic = [
        str(text)
        for (text,) in rows(
            conn,
            "SELECT pg_get_functiondef(oid) FROM pg_proc"
            " WHERE pronamespace = 'llamalog'::regnamespace AND proname = ANY (%s) ORDER BY proname",
            [list(_GENERIC)],
        )
    ]
    with as_owner(conn):
        for name in _REGISTRY:
            conn.execute(
                f"CREATE TABLE {_registry(stand_in, name)}"
                f" (LIKE llamalog.{name} INCLUDING DEFAULTS INCLUDING INDEXES)".encode()
            )
        conn.execute(
            f"INSERT INTO {_registry(stand_in, 'watches')} SELECT registered.* FROM jsonb_populate_record("
            "NULL::llamalog.watches, %s) AS registered".encode(),
            [json.dumps(_as_registered(conn, mine))],
        )
        for text in (*generic, *built.making):
            conn.execute(_renamed(text, stand_in).encode())
    for text in triggers:
        conn.execute(_renamed(text, stand_in).encode())


def _registry(stand_in: StandIn, name: str) -> str:
    return f"pg_temp.{ident(f'{stand_in.table_name}_{name}')}"


def _as_registered(conn: Connection, watch: Watch) -> dict[str, object]:
    """Return the row of llamalog.watches that watching would write."""
    columns = rows(
        conn,
        "SELECT attname::text FROM pg_attribute WHERE attrelid = 'llamalog.watches'::regclass"
        " AND attnum > 0 AND NOT attisdropped",
    )
    known = {field.name for field in fields(watch)}
    values: dict[str, object] = {name: getattr(watch, name) for (name,) in columns if name in known}
    now = first_row(conn, "SELECT clock_timestamp()::text")
    assert now is not None
    return {**values, "rendered": "", "grants": [], "watched_at": now[0], "is_lost": False}


def _renamed(text: str, stand_in: StandIn) -> str:
    """Return the SQL of a capture with the stand-in's log, registry and functions in it."""
    prefix = stand_in.table_name
    generic = "|".join(_GENERIC)
    text = re.sub(r'llamalog\."capture_(?:[^"]|"")*_(\w+)"', rf'pg_temp."{prefix}_\1"', text)
    text = re.sub(
        rf"llamalog\.({generic})\(", lambda m: f"pg_temp.{ident(f'{prefix}_{m[1]}')}(", text
    )
    # parameters are qualified by the name of their function
    text = re.sub(rf"(?<![.\w])({generic})\.", lambda m: f"{ident(f'{prefix}_{m[1]}')}.", text)
    text = re.sub(r"\bllamalog\.llama_logs\b", lambda _: stand_in.log, text)
    return re.sub(
        rf"\b(FROM|INSERT INTO) llamalog\.({'|'.join(_REGISTRY)})\b",
        lambda m: f"{m[1]} {_registry(stand_in, m[2])}",
        text,
    )
