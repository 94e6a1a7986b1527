"""What is captured: tables, the triggers on them, and the functions those call."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from llamalog_sql import installation, migrate
from llamalog_sql.adoption import state
from llamalog_sql.capture import EVENTS, Capture, function_name, trigger_name
from llamalog_sql.connection import Connection, owner_of_the_log, rows
from llamalog_sql.describe import Watch
from llamalog_sql.doctor.facts import keeper
from llamalog_sql.findings import Finding
from llamalog_sql.output import plural
from llamalog_sql.render import ident, literal

_SEARCH_PATH = "search_path=pg_catalog, pg_temp"

#: Bits of pg_trigger.tgtype.
_ROW, _BEFORE = 1, 2
_EVENT_BITS = {"insert": 4, "delete": 8, "update": 16, "truncate": 32}

_FIX = "Run: llamalog doctor --fix"


def captures(conn: Connection) -> Iterator[Finding]:
    """What `check` finds; then what captures, where it is not as it was put there."""
    findings, rendered = installation.checked(conn)
    yield from findings
    # or all may differ, and that has been said
    if rendered is not None:
        yield from _functions(conn, rendered)
        yield from _triggers(conn, rendered)
    yield from _demoted(conn)
    yield from _unsafe(conn)


# -- functions and views ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Function:
    """A function as a file or a template defines it.  forget: the SQL after which migrate makes it again."""

    body: str
    is_definer: bool
    settings: set[str]
    has_search_path: bool
    forget: str


def _functions(conn: Connection, captures: list[tuple[Watch, Capture]]) -> Iterator[Finding]:
    """Functions and views of ours that are missing, changed, or in other hands."""
    pieces = migrate.repeatables()
    expected = _expected(pieces, captures)
    owner = keeper(conn)
    known = {*expected, *_rendered_names(conn)}
    found = rows(
        conn,
        "SELECT function.proname::text, function.oid::regprocedure::text, function.prosrc, function.prosecdef,"
        " coalesce(function.proconfig, '{}'), function.prorettype = 'event_trigger'::regtype,"
        " pg_get_userbyid(function.proowner)::text"
        " FROM pg_proc AS function WHERE function.pronamespace = 'llamalog'::regnamespace ORDER BY 2",
    )
    for name, signature, body, is_definer, settings, is_of_superuser, its_owner in found:
        if name not in known:
            yield Finding(
                signature,
                f"is none of LlamaLog's functions; it belongs to {its_owner}",
                f"Move it to a schema of the application's: ALTER FUNCTION {signature} SET SCHEMA public",
                "function-unknown",
            )
            continue
        if its_owner != owner and not is_of_superuser:
            change = f"ALTER FUNCTION {signature} OWNER TO {ident(owner)}"
            yield Finding(
                signature,
                f"belongs to {its_owner}, not to {owner}",
                change,
                "function-owner",
                [change],
            )
        wanted = expected.get(name)
        if wanted is None:
            continue
        if wanted.has_search_path and _SEARCH_PATH not in settings:
            yield Finding(
                signature,
                "has lost its search_path: whoever calls it decides what its names mean",
                _FIX,
                "function-search-path",
                [wanted.forget],
            )
        elif (
            body != wanted.body
            or is_definer != wanted.is_definer
            or {setting.split("=")[0].lower() for setting in settings} != wanted.settings
        ):
            yield Finding(
                signature,
                "was edited: it is not what this version put there",
                _FIX,
                "function-edited",
                [wanted.forget],
            )
    missing = {name: wanted.forget for name, wanted in expected.items()}
    for name, *_ in found:
        missing.pop(name, None)
    for piece in pieces:
        kind, _, file = piece.name.partition("/")
        if kind == "views" and not rows(
            conn, "SELECT 1 WHERE to_regclass(%s) IS NOT NULL", [f"llamalog.{file[:-4]}"]
        ):
            missing[file[:-4]] = _forgotten(piece.name)
    for name, forget in sorted(missing.items()):
        yield Finding(f"llamalog.{name}", "is missing", _FIX, "object-missing", [forget])


def _expected(
    pieces: list[migrate.Piece], captures: list[tuple[Watch, Capture]]
) -> dict[str, _Function]:
    """Return what this version puts there, by name."""
    found = {}
    for piece in pieces:
        if not piece.name.startswith("views/"):
            found.update(_defined(piece.text, _forgotten(piece.name)))
    for watch, capture in captures:
        for text in capture.functions:
            found.update(_defined(text, _unrendered(watch)))
    return found


def _rendered_names(conn: Connection) -> set[str]:
    """Return the names of functions rendered for tables, also for those that are gone, and for an adopted log."""
    names = {"fill_adopted", "refill_adopted"} if state.current(conn) else set()
    for entity_type, *readers in rows(
        conn,
        "SELECT watch.entity_type, llamalog.reader_name(watch.entity_type), llamalog.label_reader_name(watch.entity_type),"
        " llamalog.sight_name(watch.entity_type) FROM llamalog.watches AS watch",
    ):
        names |= {*readers, *(function_name(entity_type, event) for event in EVENTS)}
    return names


def _forgotten(piece: str) -> str:
    return f"DELETE FROM llamalog.repeatables WHERE name = {literal(piece)}"


def _unrendered(watch: Watch) -> str:
    return f"UPDATE llamalog.watches SET rendered = '' WHERE entity_type = {literal(watch.entity_type)}"


def _defined(text: str, forget: str) -> dict[str, _Function]:
    """Return the function that a statement creates, by name; nothing for another statement."""
    found = re.search(
        r'^CREATE OR REPLACE FUNCTION llamalog\.("(?:[^"]|"")+"|\w+)\((.*?)'
        r"^(?:AS (\$\w*\$)(.*?)\3|RETURN\b|BEGIN ATOMIC\b)",
        text,
        re.DOTALL | re.MULTILINE,
    )
    if found is None:
        return {}
    name = found[1][1:-1].replace('""', '"') if found[1].startswith('"') else found[1]
    settings = {word.lower() for word in re.findall(r"(?m)^    SET (\w+) ", found[2])}
    return {
        name: _Function(
            # of a standard SQL body PostgreSQL keeps no text
            found[4] or "",
            "\n    SECURITY DEFINER\n" in found[2],
            settings,
            "search_path" in settings,
            forget,
        )
    }


# -- triggers ---------------------------------------------------------------------------------------------------------


def _triggers(conn: Connection, captures: list[tuple[Watch, Capture]]) -> Iterator[Finding]:
    """Triggers that are there and fire, but not as they should."""
    for watch, capture in captures:
        wanted = _wanted_triggers(watch, capture)
        edited = [
            name
            for name, kind, function, entity_type, is_bare in rows(
                conn,
                "SELECT DISTINCT hung.tgname::text, hung.tgtype::int, called.proname::text, CASE hung.tgnargs WHEN 1 THEN"
                " convert_from(substring(hung.tgargs FROM 1 FOR length(hung.tgargs) - 1), getdatabaseencoding()) END,"
                " hung.tgqual IS NULL AND hung.tgattr::text = ''"
                " FROM pg_trigger AS hung JOIN pg_proc AS called ON called.oid = hung.tgfoid"
                # the row triggers of a partition are those of the whole; an heir may have others
                " WHERE (hung.tgrelid = %(table)s AND hung.tgname = ANY (%(names)s) OR hung.tgname = %(truncate)s"
                " AND hung.tgrelid IN (SELECT llamalog.family(%(table)s)))"
                " AND called.pronamespace = 'llamalog'::regnamespace ORDER BY 1",
                {
                    "table": watch.table.oid,
                    "names": list(wanted),
                    "truncate": trigger_name("truncate"),
                },
            )
            if (kind, function) != wanted[name] or not is_bare or entity_type != watch.entity_type
        ]
        if edited:
            yield Finding(
                watch.table.shown,
                f"edited: {', '.join(dict.fromkeys(edited))}: writes may go unlogged",
                _FIX,
                "trigger-edited",
                [_unrendered(watch)],
            )
        yield from _unreadable(conn, watch)


def _wanted_triggers(watch: Watch, capture: Capture) -> dict[str, tuple[int, str]]:
    """Return, by name, the kind of each trigger of a table, and the function that it calls."""
    wanted = {
        trigger_name("truncate"): (_BEFORE | _EVENT_BITS["truncate"], "capture_truncate"),
    }
    for event in EVENTS:
        if not capture.making:
            wanted[trigger_name(event)] = (_ROW | _EVENT_BITS[event], "capture_row")
            continue
        hanging = next(text for text in capture.hanging if f"AFTER {event.upper()} ON" in text)
        row = _ROW if "FOR EACH ROW" in hanging else 0
        wanted[trigger_name(event)] = (
            row | _EVENT_BITS[event],
            function_name(watch.entity_type, event),
        )
    return wanted


def _unreadable(conn: Connection, watch: Watch) -> Iterator[Finding]:
    """Tables that the owner of the log may not read: their TRUNCATE fails."""
    owner = owner_of_the_log(conn)
    ((may_enter, may_read),) = rows(
        conn,
        "SELECT has_schema_privilege(%(owner)s, class.relnamespace, 'USAGE'), has_table_privilege(%(owner)s, class.oid, 'SELECT')"
        " FROM pg_class AS class WHERE class.oid = %(table)s",
        {"owner": owner, "table": watch.table.oid},
    )
    if not (may_enter and may_read):
        right = (
            f"SELECT ON {watch.table.qualified}"
            if may_enter
            else f"USAGE ON SCHEMA {ident(watch.schema_name)}"
        )
        yield Finding(
            watch.table.shown,
            f"may not be read by {owner}: TRUNCATE of it fails",
            f"GRANT {right} TO {ident(owner)}",
            "capture-cannot-read",
            [_unrendered(watch)],
        )


def _unsafe(conn: Connection) -> Iterator[Finding]:
    """Tables whose TRUNCATE is refused, as to log it could run what somebody else has written as the owner of the log."""
    for table, function in rows(
        conn,
        "SELECT captured.relation::regclass::text, llamalog.untrusted_function(captured.relation)::text"
        " FROM llamalog.captured_tables() AS captured"
        " JOIN llamalog.watches AS watch ON watch.entity_type = captured.entity_type AND watch.on_truncate = 'log'"
        " WHERE llamalog.untrusted_function(captured.relation) IS NOT NULL ORDER BY 1",
    ):
        yield Finding(
            table,
            f"TRUNCATE of it is refused: it could call {function}, which is not in trusted hands",
            f"Run, if it may be trusted: ALTER FUNCTION {function} OWNER TO {ident(owner_of_the_log(conn))}",
            "truncate-unsafe",
        )


def _demoted(conn: Connection) -> Iterator[Finding]:
    """Triggers that no longer fire for the replica role, where others beside them do: pg_restore --disable-triggers leaves so."""
    for table, names in rows(
        conn,
        "SELECT hung.tgrelid::regclass::text, array_agg(hung.tgname::text ORDER BY hung.tgname)"
        " FROM pg_trigger AS hung JOIN pg_proc AS called ON called.oid = hung.tgfoid"
        " WHERE called.pronamespace = 'llamalog'::regnamespace AND hung.tgenabled = 'O'"
        " AND hung.tgname LIKE '00\\_llamalog\\_%' AND EXISTS (SELECT FROM pg_trigger AS other"
        " WHERE other.tgrelid = hung.tgrelid AND other.tgname LIKE '00\\_llamalog\\_%' AND other.tgenabled = 'A')"
        # of the adopted log check tells
        " AND called.proname NOT IN ('fill_adopted', 'refill_adopted')"
        " GROUP BY 1 ORDER BY 1",
    ):
        always = f"ALTER TABLE {table} " + ", ".join(
            f"ENABLE ALWAYS TRIGGER {ident(name)}" for name in names
        )
        yield Finding(
            table,
            f"demoted: {', '.join(names)}: what replication writes goes unlogged",
            always,
            "trigger-demoted",
            [always],
        )


# -- tables -----------------------------------------------------------------------------------------------------------

#: A table like a watched one has so many columns at least, and shares two thirds of them by name and type.
_ALIKE = 4

#: So many tables that are merely related are told, the busiest first.
_MOST = 20


def tables(conn: Connection) -> Iterator[Finding]:
    """Tables that look as if they should be watched, and are not; those that were unwatched on purpose apart."""
    shape = state.adopted(conn)
    found = rows(
        conn,
        """
        WITH RECURSIVE
        watched AS (
            SELECT captured.relation AS oid
            FROM llamalog.captured_tables() AS captured
            WHERE captured.is_top
        ),
        family AS (
            SELECT class.oid AS top, class.oid
            FROM pg_class AS class
            JOIN pg_namespace AS namespace
                ON namespace.oid = class.relnamespace
            WHERE class.relkind IN ('r', 'p')
                AND class.relpersistence <> 't'
                AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = class.oid)
                AND namespace.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'llamalog')
                AND class.oid IS DISTINCT FROM to_regclass(%(log)s)
                AND NOT EXISTS (
                    SELECT
                    FROM pg_depend AS part
                    WHERE part.classid = 'pg_class'::regclass
                        AND part.objid = class.oid
                        AND part.deptype = 'e'
                )
            UNION ALL
            SELECT family.top, inheritance.inhrelid
            FROM family
            JOIN pg_inherits AS inheritance
                ON inheritance.inhparent = family.oid
        ),
        written AS (
            SELECT
                family.top AS oid,
                sum(
                    pg_stat_get_tuples_inserted(family.oid)
                    + pg_stat_get_tuples_updated(family.oid)
                    + pg_stat_get_tuples_deleted(family.oid)
                )::bigint AS writes
            FROM family
            GROUP BY family.top
        ),
        column_of AS (
            SELECT attribute.attrelid AS oid, attribute.attname, attribute.atttypid
            FROM pg_attribute AS attribute
            WHERE attribute.attnum > 0
                AND NOT attribute.attisdropped
                AND attribute.attrelid IN (SELECT written.oid FROM written)
        ),
        counted AS (
            SELECT column_of.oid, count(*) AS columns
            FROM column_of
            GROUP BY column_of.oid
        ),
        -- few, or all columns would be joined with all
        watched_column AS MATERIALIZED (
            SELECT column_of.*
            FROM column_of
            JOIN watched
                ON watched.oid = column_of.oid
        ),
        alike AS (
            SELECT DISTINCT ON (mine.oid) mine.oid, theirs.oid AS model
            FROM column_of AS mine
            JOIN watched_column AS theirs
                ON theirs.attname = mine.attname
                AND theirs.atttypid = mine.atttypid
                AND theirs.oid <> mine.oid
            JOIN counted
                ON counted.oid = mine.oid
            GROUP BY mine.oid, theirs.oid
            HAVING count(*) >= %(alike)s
                AND 3 * count(*) >= 2 * min(counted.columns)
            ORDER BY mine.oid, count(*) DESC, theirs.oid
        ),
        refers AS (
            SELECT key.conrelid AS oid, min(key.confrelid::regclass::text) AS whole
            FROM pg_constraint AS key
            WHERE key.contype = 'f'
                AND key.confrelid IN (SELECT watched.oid FROM watched)
            GROUP BY key.conrelid
        ),
        referred AS (
            SELECT key.confrelid AS oid, min(key.conrelid::regclass::text) AS part
            FROM pg_constraint AS key
            WHERE key.contype = 'f'
                AND key.conrelid IN (SELECT watched.oid FROM watched)
            GROUP BY key.confrelid
        ),
        declined AS (
            SELECT to_regclass(format('%%I.%%I', watch.schema_name, watch.table_name)) AS oid
            FROM llamalog.watches AS watch
            WHERE watch.unwatched_at IS NOT NULL
                AND NOT watch.is_lost
        )
        SELECT
            written.oid::regclass::text,
            written.oid IN (SELECT watched.oid FROM watched),
            written.writes,
            refers.whole,
            referred.part,
            alike.model::regclass::text,
            EXISTS (SELECT FROM declined WHERE declined.oid = written.oid)
        FROM written
        LEFT JOIN refers
            ON refers.oid = written.oid
        LEFT JOIN referred
            ON referred.oid = written.oid
        LEFT JOIN alike
            ON alike.oid = written.oid
        ORDER BY written.writes DESC, 1
        """,
        {"log": shape.table if shape else None, "alike": _ALIKE},
    )
    told: Counter[str] = Counter()
    for table, is_watched, writes, whole, user, model, is_declined in found:
        if is_watched or is_declined:
            continue
        reasons = [
            *([f"refers to {whole}"] if whole else []),
            *([f"is referred to by {user}"] if user else []),
            *([f"looks like {model}"] if model else []),
        ]
        if not reasons:
            continue
        counted = f"{plural(writes, 'row')} written" if writes else "nothing written"
        kind = "table-unwatched" if whole and writes else "table-related"
        told[kind] += 1
        if kind == "table-related" and told[kind] > _MOST:
            continue
        yield Finding(
            table,
            f"is not watched: it {' and '.join(reasons)}, which is; {counted} since statistics began",
            f"Run: llamalog watch {_as_argument(table)}",
            kind,
        )
    if (more := told["table-related"] - _MOST) > 0:
        yield Finding("tables", f"{more:,} more are related to watched ones", "", "table-related")
    watched = sum(cells[1] for cells in found)
    yield Finding("tables", f"{watched} of {len(found)} are watched", "", "coverage")


def _as_argument(table: str) -> str:
    """Return the name as a shell takes it."""
    return f"'{table}'" if '"' in table else table


def last_writes(conn: Connection) -> Iterator[Finding]:
    """When each watched table was last written to, as far as capture saw."""
    for table, watched_at, last_at, count in rows(
        conn,
        "SELECT write.table_name, to_char(write.watched_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'),"
        " to_char(write.last_written_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'), write.change_count"
        " FROM llamalog.last_writes AS write ORDER BY write.last_written_at DESC NULLS LAST, write.table_name",
    ):
        yield Finding(
            table,
            f"last written {last_at} UTC, {plural(count, 'change')} in 30 days"
            if last_at
            else f"not written in 30 days; watched since {watched_at}",
            "",
            "last-write",
        )
