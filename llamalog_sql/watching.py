"""Which tables are watched: keeps llamalog.watches and what hangs on the tables in step with each other."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from llamalog_sql import access, capture, catalog, row_security
from llamalog_sql.capture import Capture
from llamalog_sql.catalog import Table
from llamalog_sql.connection import Connection, first_row, owner_of_the_log, rows
from llamalog_sql.describe import (
    Options,
    Target,
    Watch,
    describe,
    has_event_triggers,
    refuse_unwatchable,
)
from llamalog_sql.errors import Misuse, NotWatched
from llamalog_sql.holding import HANGING, REMOVING, hold
from llamalog_sql.render import comment

__all__ = [
    "Drift",
    "Options",
    "Outcome",
    "bypassed",
    "compared",
    "described",
    "drifted",
    "hidden",
    "preview",
    "refresh",
    "script",
    "take_down",
    "unwatch",
    "watch",
]

logger = logging.getLogger(__name__)

#: How long to wait for tables, where the session does not say so itself.
LOCK_TIMEOUT = "5s"

#: The columns of llamalog.watches that describing a table fills.
_REGISTERED = (
    "entity_type",
    "schema_name",
    "table_name",
    "is_link",
    "key_columns",
    "key_types",
    "label_column",
    "subject_type",
    "subject_columns",
    "related_type",
    "related_columns",
    "quality_column",
    "source_column",
    "ignored_columns",
    "redacted_columns",
    "image",
    "on_truncate",
    "capture",
    "options",
    "fingerprint",
)

#: Filled with them, and no part of what the capture is: a restored table may number its columns anew.
_NUMBERS = "column_numbers"


@dataclass(frozen=True)
class Outcome:
    """What watching did to one table.  action: watched, changed, unchanged or unwatched."""

    entity_type: str
    table: str
    action: str
    description: str


@dataclass(frozen=True)
class Drift:
    """A watched table whose capture is not what it should be.  id: of llamalog_sql.findings.KINDS."""

    entity_type: str
    table: str
    problem: str
    id: str


@dataclass(frozen=True)
class _Wanted:
    """How one table should be watched.  rendered: hash of registry and capture.  is_asked: named by the caller."""

    watch: Watch
    capture: Capture
    rendered: str
    is_asked: bool


def watch(conn: Connection, names: list[str], options: Options | None = None) -> list[Outcome]:
    """Watch tables, and read anew what the tables watched before are to them; a second time changes nothing.

    names: tables as SQL or people spell them.  options: for exactly these tables.

    Returns an outcome for each of them, and for each other table whose capture changed.
    Raises CannotWatch (LL009), EntityTypeTaken (LL010), 42501 without the right to create triggers, and 55P03 when a
    table cannot be locked within `LOCK_TIMEOUT`, or the lock_timeout of the session.
    """
    with conn.transaction(), _locked(conn):
        _catch_up(conn)
        wanted = _wanted(conn, names, options)
        outcomes = _apply(conn, wanted)
        _fit_row_security(conn)
    for one in wanted:
        if one.is_asked and one.watch.capture != "tolerant" and not has_event_triggers(conn):
            logger.warning(
                "without event triggers nothing follows a change of %s: run llamalog migrate in the same deploy, or writes"
                " fail or go unlogged until then",
                one.watch.table.shown,
            )
        if one.is_asked and one.watch.is_protected and (parts := _open_parts(one, wanted)):
            logger.warning(
                "changes of %s, parts of %s, are shown to whoever may read the log: their tables have no row security there",
                ", ".join(parts),
                one.watch.entity_type,
            )
        if (
            one.is_asked
            and not one.watch.is_protected
            and row_security.has_policies(conn, one.watch.table)
        ):
            logger.warning(
                "table %s has row security, the log has not: who may read the log reads all its rows,"
                " unless it is watched with --row-security (docs/security.md)",
                one.watch.table.shown,
            )
        if one.is_asked and (heirs := _heirs(conn, one.watch.table)):
            logger.warning(
                "PostgreSQL checks keys of %s and of %s each by themselves: rows of two of these tables with the same key are one"
                " entity in the log",
                one.watch.table.shown,
                ", ".join(heirs),
            )
    return [
        o
        for o, one in zip(outcomes, wanted, strict=True)
        if one.is_asked or o.action != "unchanged"
    ]


def _heirs(conn: Connection, table: catalog.Table) -> list[str]:
    """Return the names of the tables that inherit from it; none of a partitioned one, whose key holds for all its partitions."""
    if table.kind == "p" or not table.is_family:
        return []
    found = rows(
        conn,
        "SELECT member.oid::regclass::text FROM llamalog.family(%(oid)s) AS member (oid) WHERE member.oid <> %(oid)s ORDER BY 1",
        {"oid": table.oid},
    )
    return [str(name) for (name,) in found]


def _open_parts(whole: _Wanted, wanted: list[_Wanted]) -> list[str]:
    """Return the types of the parts of a protected whole that are not protected themselves."""
    return sorted(
        one.watch.entity_type
        for one in wanted
        if one.watch.related_type == whole.watch.entity_type
        and not one.watch.is_link
        and not one.watch.is_protected
    )


def preview(conn: Connection, names: list[str], options: Options | None = None) -> list[Outcome]:
    """Return what `watch` would take these tables for; changes nothing.  Raises as `watch` does."""
    return [_outcome(one, "watched") for one in _wanted(conn, names, options) if one.is_asked]


def described(conn: Connection, name: str, options: Options | None = None) -> Watch:
    """Return how `watch` would watch one table; changes nothing.  Raises as `watch` does."""
    (one,) = (one for one in _wanted(conn, [name], options) if one.is_asked)
    return one.watch


def script(conn: Connection, names: list[str], options: Options | None = None) -> Iterator[str]:
    """Yield the SQL that `watch` would run for these tables; changes nothing.  Raises as `watch` does."""
    for one in _wanted(conn, names, options):
        if one.is_asked:
            yield f"-- {comment(f'{one.watch.table.shown} as {one.watch.entity_type}: {one.watch.description}')}\n"
            yield _registration(one).as_string(conn) + ";\n"
            if one.capture.functions:
                owner = sql.Identifier(owner_of_the_log(conn)).as_string(conn)
                yield f"SET ROLE {owner};\n"
                yield from one.capture.functions
                yield "RESET ROLE;\n"
            yield from one.capture.hanging
            yield f"SELECT llamalog.fit_pause({sql.Literal(one.watch.entity_type).as_string(conn)});\n"
            if "row_security" in one.watch.options:
                owner = sql.Identifier(owner_of_the_log(conn)).as_string(conn)
                yield f"SET ROLE {owner};\n{row_security.FITTING}RESET ROLE;\n"


def refresh(conn: Connection) -> list[str]:
    """Read every watched table anew and renew the capture of those that changed; return their names."""
    with conn.transaction(), _locked(conn):
        _catch_up(conn)
        for entity_type, table in _lost(conn):
            logger.warning(
                "table %s is gone: %s is no longer watched, its history stays", table, entity_type
            )
            conn.execute(
                "UPDATE llamalog.watches SET unwatched_at = clock_timestamp(), is_lost = true"
                " WHERE entity_type = %s",
                [entity_type],
            )
        outcomes = _apply(conn, _wanted(conn, []))
        _fit_row_security(conn)
    return [outcome.table for outcome in outcomes if outcome.action != "unchanged"]


def watched(conn: Connection, name: str) -> Target:
    """Return the watched table of that name or entity type.  Raises NotWatched (LL002)."""
    targets = _active(conn)
    for target in targets.values():
        if target.entity_type is not None and target.entity_type.lower() == name.lower():
            return target
    oid = catalog.oid_of(conn, name)
    if oid is None or oid not in targets:
        raise NotWatched(f'"{name}" is not watched', hint="Run llamalog status to see what is.")
    return targets[oid]


def unwatch(conn: Connection, names: list[str]) -> list[Outcome]:
    """Take the capture off tables, named as tables or as entity types; their history stays.

    Returns an outcome for each of them, and for each other table that is something else without them.
    Raises NotWatched (LL002).
    """
    outcomes = []
    with conn.transaction(), _locked(conn):
        targets = [watched(conn, name) for name in names]
        hold(conn, [target.table.oid for target in targets], REMOVING)
        for target in targets:
            for statement in _unwatching(conn, target):
                conn.execute(statement.encode())
            stays = "its history stays"
            if target.options.row_security:
                stays += ", for those who see its rows"
            outcomes.append(
                Outcome(str(target.entity_type), target.table.shown, "unwatched", stays)
            )
        # those whose part or whole it was are something else now
        others = _apply(conn, _wanted(conn, []))
    return [*outcomes, *(other for other in others if other.action != "unchanged")]


def unwatch_script(conn: Connection, names: list[str]) -> Iterator[str]:
    """Yield the SQL that `unwatch` would run; changes nothing.  Raises NotWatched (LL002)."""
    for name in names:
        yield from _unwatching(conn, watched(conn, name))


def hold_captured(conn: Connection, mode: str = HANGING) -> None:
    """Lock every captured table, as who writes does before he writes to the log: in this order nobody waits for the other.

    Raises 55P03 when they cannot be had within `LOCK_TIMEOUT`, or the lock_timeout of the session.
    """
    with _locked(conn):
        hold(
            conn,
            [
                oid
                for (oid,) in rows(
                    conn,
                    "SELECT DISTINCT hung.tgrelid::bigint FROM pg_trigger AS hung JOIN pg_proc AS called"
                    " ON called.oid = hung.tgfoid AND called.pronamespace = to_regnamespace('llamalog')"
                    # what fills an adopted log hangs on the log itself
                    " WHERE called.proname NOT IN ('fill_adopted', 'refill_adopted')",
                )
            ],
            mode,
        )


def take_down(conn: Connection) -> None:
    """Take the capture off every table, leaving the registry as it is, so that `migrate` can hang it again."""
    for statement in take_down_script(conn):
        conn.execute(statement.encode())


def take_down_script(conn: Connection) -> Iterator[str]:
    """Yield the SQL of `take_down`."""
    yield "UPDATE llamalog.watches SET rendered = '' WHERE unwatched_at IS NULL;\n"
    # they ask functions that are to go
    yield row_security.DROPPING
    for oid, target in _active(conn).items():
        yield from capture.removal(conn, oid, str(target.entity_type))


def drifted(conn: Connection) -> list[Drift]:
    """Return every watched table whose capture is not what it should be."""
    return compared(conn)[0]


def compared(conn: Connection) -> tuple[list[Drift], list[tuple[Watch, Capture]]]:
    """Return what `drifted` does, and the tables for which the capture that hangs there was rendered, with that capture."""
    drifts = [
        Drift(entity_type, table, "the table is gone", "table-gone")
        for entity_type, table in _lost(conn)
    ]
    drifts += [
        Drift(
            entity_type,
            table,
            f"took the place of the one watched as {entity_type}, and is not",
            "table-replaced",
        )
        for entity_type, table in _replaced(conn)
    ]
    captures = []
    # their captures do nothing, as they should
    paused = {
        str(entity_type)
        for (entity_type,) in rows(
            conn, "SELECT entity_type FROM llamalog.pauses WHERE resumed_at IS NULL"
        )
    }
    for one in _wanted(conn, []):
        stored, _ = _stored(conn, one.watch.entity_type)
        faults = capture.faulty_triggers(conn, one.watch)
        edited = faults.pop("edited", [])
        if stored == one.rendered and not edited and one.watch.entity_type not in paused:
            captures.append((one.watch, one.capture))
        if faults:
            problem = f"missing or disabled: {', '.join(sorted({*chain(*faults.values())}))}"
            kind = "trigger-missing" if "missing" in faults else "trigger-disabled"
        elif edited:
            problem = f"edited: {', '.join(edited)}: writes may go unlogged"
            kind = "trigger-edited"
        elif not one.watch.has_key:
            problem = "it has no key any more; add one, then run llamalog migrate"
            kind = "key-missing"
        elif stored == "fallen back":
            problem = "the table has changed; the tolerant capture stands in"
            kind = "capture-fallen-back"
        elif stored != one.rendered:
            problem = "the capture is not the one for this table"
            kind = "capture-outdated"
        else:
            continue
        drifts.append(Drift(one.watch.entity_type, one.watch.table.shown, problem, kind))
    return drifts, captures


def bypassed(conn: Connection) -> list[tuple[str, str]]:
    """Return (table, subscription) where replication writes to a watched table and nobody said whether to log that."""
    return [
        (target.table.shown, subscription)
        for oid, target in _active(conn).items()
        if target.options.always is None
        for subscription in capture.subscriptions(conn, oid)
    ]


def hidden(conn: Connection) -> list[str]:
    """Return the tables whose TRUNCATE fails, as row security hides from the owner of the log what it would have to log."""
    return [
        str(table)
        for (table,) in rows(
            conn,
            "SELECT captured.relation::regclass::text FROM llamalog.captured_tables() AS captured"
            " JOIN llamalog.watches AS watch ON watch.entity_type = captured.entity_type AND watch.on_truncate = 'log'"
            " JOIN pg_class AS class ON class.oid = captured.relation AND class.relrowsecurity"
            " JOIN pg_namespace AS ours ON ours.nspname = 'llamalog'"
            " JOIN pg_roles AS reader ON reader.oid = ours.nspowner AND NOT (reader.rolsuper OR reader.rolbypassrls)"
            " WHERE class.relforcerowsecurity OR NOT pg_has_role(reader.oid, class.relowner, 'USAGE') ORDER BY 1",
        )
    ]


def _wanted(conn: Connection, names: list[str], options: Options | None = None) -> list[_Wanted]:
    """Return how all watched tables, and these beside them, should be watched."""
    # or the same table would be rendered in another way
    with conn.transaction(), _setting(conn, "quote_all_identifiers", "off"):
        return _read_anew(conn, names, options)


def _read_anew(conn: Connection, names: list[str], options: Options | None) -> list[_Wanted]:
    options = options or Options()
    if options.entity_type is not None and len(names) > 1:
        raise Misuse("one entity type for several tables", hint="Watch them one at a time.")
    targets = _active(conn)
    asked: set[int] = set()
    for name in names:
        table = catalog.find_table(conn, name)
        refuse_unwatchable(conn, table)
        asked.add(table.oid)
        earlier = targets.get(table.oid)
        if earlier is None:
            targets[table.oid] = Target(table, options.over(_hidden_before(conn, table, options)))
        else:
            targets[table.oid] = replace(earlier, options=options.over(earlier.options.given()))
    result = []
    for oid, described in describe(conn, targets, asked):
        built = capture.build(conn, described)
        values = json.dumps([getattr(described, name) for name in _REGISTERED])
        digest = hashlib.md5("\n".join([values, *built.statements]).encode(), usedforsecurity=False)
        result.append(_Wanted(described, built, digest.hexdigest(), oid in asked))
    return result


def _hidden_before(conn: Connection, table: Table, options: Options) -> dict[str, Any]:
    """Return the options by which values were kept out of the log, or from readers, until the table was unwatched.

    Who takes over the type of another table takes over from whom its history is kept.
    """
    kept: dict[str, Any] = {}
    for option, taken in (("redact", None), ("row_security", options.entity_type)):
        found = first_row(
            conn,
            "SELECT options -> %(option)s FROM llamalog.watches"
            " WHERE ((schema_name, table_name) = (%(schema)s, %(table)s) OR entity_type = upper(%(taken)s))"
            " AND options -> %(option)s IS NOT NULL ORDER BY unwatched_at DESC LIMIT 1",
            {
                "option": option,
                "schema": table.schema_name,
                "table": table.table_name,
                "taken": taken,
            },
        )
        if found is not None:
            kept[option] = found[0]
    if "redact" in kept:
        existing = {column.name for column in catalog.columns(conn, table.oid, [])}
        kept["redact"] = [name for name in kept["redact"] if name in existing]
    return kept


def _fit_row_security(conn: Connection) -> None:
    """Protect in the log what is to be protected; locks the log only where it is not as it should be."""
    if row_security.lacking(conn):
        hold_captured(conn)
        row_security.fit(conn)


def _apply(conn: Connection, wanted: list[_Wanted]) -> list[Outcome]:
    """Make the registry and the triggers of tables what they should be, where they are not."""
    known = [
        (one, is_active, is_active and stored == one.rendered)
        for one in wanted
        for stored, is_active in [_stored(conn, one.watch.entity_type)]
    ]
    due = [
        (one, is_active)
        for one, is_active, is_current in known
        if not is_current or capture.faulty_triggers(conn, one.watch)
    ]
    hold(conn, [one.watch.table.oid for one, _ in due], HANGING)
    for one, _ in due:
        # first, since the event trigger compares the table with it
        conn.execute(_registration(one))
        capture.hang(conn, one.watch, one.capture)
    actions = {one.watch.table.oid: "changed" if is_active else "watched" for one, is_active in due}
    return [_outcome(one, actions.get(one.watch.table.oid, "unchanged")) for one in wanted]


def _outcome(one: _Wanted, action: str) -> Outcome:
    return Outcome(one.watch.entity_type, one.watch.table.shown, action, one.watch.description)


def _stored(conn: Connection, entity_type: str) -> tuple[str | None, bool]:
    """Return the hash of what hangs on the table, and whether it is watched."""
    row = first_row(
        conn,
        "SELECT rendered, unwatched_at IS NULL FROM llamalog.watches WHERE entity_type = %s",
        [entity_type],
    )
    return (None, False) if row is None else (row[0], row[1])


def _registration(one: _Wanted) -> sql.Composed:
    values: dict[str, Any] = {name: getattr(one.watch, name) for name in _REGISTERED}
    values["options"] = json.dumps(one.watch.options)
    values[_NUMBERS] = json.dumps(one.watch.column_numbers)
    values["rendered"] = one.rendered
    return sql.SQL(
        # a pause ends where the table was unwatched
        "WITH ended AS (\n    UPDATE llamalog.pauses AS pause SET resumed_at = watch.unwatched_at\n"
        "    FROM llamalog.watches AS watch\n    WHERE pause.entity_type = {entity_type} AND pause.resumed_at IS NULL\n"
        "        AND watch.entity_type = pause.entity_type AND watch.unwatched_at IS NOT NULL\n)\n"
        "INSERT INTO llamalog.watches ({names})\nVALUES ({values})\nON CONFLICT (entity_type) DO UPDATE SET\n"
        "    ({names}) = ROW({new}),\n"
        # under another key the ids of the log are other rows'
        "    watched_at = CASE\n"
        "        WHEN watches.unwatched_at IS NULL AND watches.key_columns = excluded.key_columns THEN watches.watched_at\n"
        "        ELSE clock_timestamp()\n    END,\n"
        "    unwatched_at = NULL,\n    is_lost = false"
    ).format(
        entity_type=sql.Literal(one.watch.entity_type),
        names=sql.SQL(", ").join(map(sql.Identifier, values)),
        values=sql.SQL(", ").join(map(sql.Literal, values.values())),
        new=sql.SQL(", ").join(
            sql.SQL("excluded.{}").format(sql.Identifier(name)) for name in values
        ),
    )


def _unwatching(conn: Connection, target: Target) -> Iterator[str]:
    # first, since from here on a missing trigger is meant
    yield (
        "UPDATE llamalog.watches SET unwatched_at = clock_timestamp() WHERE entity_type ="
        f" {sql.Literal(target.entity_type).as_string(conn)};\n"
    )
    yield from capture.removal(conn, target.table.oid, str(target.entity_type))


@dataclass(frozen=True)
class _Registered:
    entity_type: str
    options: dict[str, Any]
    key_columns: list[str]
    label_column: str | None
    quality_column: str | None
    source_column: str | None
    oid: int


def _active(conn: Connection) -> dict[int, Target]:
    """Return the watched tables that exist, by oid: found by their triggers, else by name."""
    with conn.cursor(row_factory=class_row(_Registered)) as cursor:
        known = cursor.execute(
            "SELECT watch.entity_type, watch.options, watch.key_columns, watch.label_column, watch.quality_column,"
            " watch.source_column, found.oid::bigint AS oid"
            " FROM llamalog.watches AS watch"
            " LEFT JOIN llamalog.captured_tables() AS captured"
            " ON captured.entity_type = watch.entity_type AND captured.is_top"
            " CROSS JOIN LATERAL (SELECT coalesce("
            "captured.relation, to_regclass(format('%I.%I', watch.schema_name, watch.table_name))) AS oid) AS found"
            " WHERE watch.unwatched_at IS NULL AND found.oid IS NOT NULL"
            " ORDER BY watch.watched_at, watch.entity_type"
        ).fetchall()
    return {
        row.oid: Target(
            catalog.table(conn, row.oid),
            Options().over(row.options),
            row.entity_type,
            row.key_columns,
            row.label_column,
            row.quality_column,
            row.source_column,
        )
        for row in known
    }


def _lost(conn: Connection) -> list[tuple[str, str]]:
    """Return (entity type, table) of what is watched and gone."""
    return [
        (str(entity_type), str(table))
        for entity_type, table in rows(
            conn,
            "SELECT watch.entity_type, format('%I.%I', watch.schema_name, watch.table_name)"
            " FROM llamalog.watches AS watch"
            " WHERE watch.unwatched_at IS NULL"
            " AND to_regclass(format('%I.%I', watch.schema_name, watch.table_name)) IS NULL"
            " AND watch.entity_type NOT IN (SELECT captured.entity_type FROM llamalog.captured_tables() AS captured)",
        )
    ]


def _replaced(conn: Connection) -> list[tuple[str, str]]:
    """Return (entity type, table) where a table stands unwatched in place of a watched one that was dropped."""
    return [
        (str(entity_type), str(table))
        for entity_type, table in rows(
            conn,
            "SELECT watch.entity_type, format('%I.%I', watch.schema_name, watch.table_name)"
            " FROM llamalog.watches AS watch WHERE watch.is_lost"
            " AND llamalog.table_of(watch) IS NOT NULL AND llamalog.table_of(watch) NOT IN"
            " (SELECT captured.relation FROM llamalog.captured_tables() AS captured)",
        )
    ]


def _catch_up(conn: Connection) -> None:
    """Do what the event triggers would have done, where there are none; and what a restore has left out."""
    rows(conn, "SELECT llamalog.take_back_names()")
    rows(conn, "SELECT llamalog.release_strays()")
    rows(
        conn,
        "SELECT llamalog.follow_columns(captured.entity_type, captured.relation, false)"
        " FROM llamalog.captured_tables() AS captured WHERE captured.is_top",
    )
    # a restore may leave out what was granted, or somebody have revoked it: TRUNCATE would fail
    rows(
        conn,
        "SELECT llamalog.hang_truncate_capture(captured.relation, captured.entity_type)"
        " FROM llamalog.captured_tables() AS captured JOIN pg_class AS class ON class.oid = captured.relation"
        " JOIN pg_namespace AS ours ON ours.nspname = 'llamalog'"
        " WHERE NOT captured.is_stray AND NOT (has_table_privilege(ours.nspowner, class.oid, 'SELECT')"
        " AND has_schema_privilege(ours.nspowner, class.relnamespace, 'USAGE'))",
    )


@contextmanager
def _locked(conn: Connection) -> Iterator[None]:
    """One at a time; and whoever waits for a table gives up before a queue of writers forms behind him."""
    access.stand_alone(conn)
    patience = first_row(conn, "SELECT current_setting('lock_timeout')")
    assert patience is not None
    with _setting(conn, "lock_timeout", LOCK_TIMEOUT if patience[0] == "0" else patience[0]):
        yield


@contextmanager
def _setting(conn: Connection, name: str, value: str) -> Iterator[None]:
    """Hold a setting inside; afterwards it is the caller's again, as it is after an error by the rollback."""
    before = first_row(conn, "SELECT current_setting(%s)", [name])
    assert before is not None
    conn.execute("SELECT set_config(%s, %s, true)", [name, value])
    yield
    conn.execute("SELECT set_config(%s, %s, true)", [name, before[0]])
