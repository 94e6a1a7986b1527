"""Puts our SQL into the database: plan by yoyo, apply and record in one transaction, and take it out again.

Migrations run once and are never edited after release; functions, views and the generic captures are re-applied
whenever their text changes. Everything happens in one transaction under an advisory lock: it is all there, or nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import sqlparse
from psycopg import sql
from yoyo import read_migrations
from yoyo.migrations import Migration, topological_sort

from llamalog_sql import watching
from llamalog_sql.connection import Connection, as_owner, first_row, rows
from llamalog_sql.errors import (
    LogNotEmpty,
    MigrationEdited,
    MigrationFailed,
    Misuse,
    NotInstalled,
)
from llamalog_sql.files import sql_directory
from llamalog_sql.render import IMAGE_SETTINGS, render

logger = logging.getLogger(__name__)

OWNER = "llamalog_owner"

_EVENT_FUNCTION = "functions/follow_schema_change.sql"

_LOCK = "pg_advisory_xact_lock(hashtextextended('llamalog.migrate', 0))"

_BOOTSTRAP = """\
CREATE TABLE llamalog._yoyo_migration (
    migration_hash varchar(64) PRIMARY KEY,
    migration_id   varchar(255),
    applied_at_utc timestamp,
    content_hash   text NOT NULL
);
COMMENT ON TABLE llamalog._yoyo_migration IS
    'Migrations that have been applied, in the form of yoyo, each with the hash of its file.';
CREATE TABLE llamalog.repeatables (
    name       text PRIMARY KEY,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE llamalog.repeatables IS
    'Functions, views and generic captures as they were last applied.';
"""

_EVENT_TRIGGERS = """\
CREATE EVENT TRIGGER llamalog_ddl ON ddl_command_end
    WHEN TAG IN (
        'ALTER DOMAIN', 'ALTER SCHEMA', 'ALTER TABLE', 'ALTER TRIGGER', 'ALTER TYPE',
        'CREATE TABLE', 'CREATE TABLE AS', 'CREATE TRIGGER', 'SELECT INTO'
    )
    EXECUTE FUNCTION llamalog.follow_schema_change();
CREATE EVENT TRIGGER llamalog_drop ON sql_drop
    EXECUTE FUNCTION llamalog.follow_schema_change();
"""


@dataclass(frozen=True)
class Piece:
    """A file to apply.  name: its path below sql/.  text: its SQL."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass
class Plan:
    """What `migrate` would do.

    pending: migrations to apply, in order.  changed: repeatable pieces to apply, in order.
    edited: ids of applied migrations whose files have changed since.  unknown: applied ones that have no file here.
    """

    is_installed: bool = False
    applied: list[str] = field(default_factory=list)
    pending: list[Piece] = field(default_factory=list)
    changed: list[Piece] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.pending or self.changed or self.edited)


@dataclass
class Report:
    """What `migrate` did: names of pieces applied, partitions made, tables whose capture was renewed."""

    migrations: list[str] = field(default_factory=list)
    repeatables: list[str] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    watches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (self.migrations or self.repeatables or self.partitions or self.watches)


def plan(conn: Connection) -> Plan:
    """Compare the files with the database and return what is to be done; changes nothing."""
    result = Plan()
    applied: dict[str, str] = {}
    checksums: dict[str, str] = {}
    if _exists(conn, "llamalog._yoyo_migration"):
        result.is_installed = True
        applied = dict(
            rows(
                conn,
                "SELECT migration_id, content_hash FROM llamalog._yoyo_migration ORDER BY applied_at_utc, migration_id",
            )
        )
        checksums = dict(rows(conn, "SELECT name, checksum FROM llamalog.repeatables"))
    result.applied = list(applied)
    known = set()
    for migration in _migrations():
        piece = _piece(Path(migration.path))
        known.add(migration.id)
        if migration.id not in applied:
            result.pending.append(piece)
        elif applied[migration.id] != piece.checksum:
            result.edited.append(migration.id)
    result.unknown = sorted(set(applied) - known)
    result.changed = [
        piece for piece in repeatables() if checksums.get(piece.name) != piece.checksum
    ]
    return result


def migrate(conn: Connection) -> Report:
    """Bring the database to the version of these files, in one transaction; a second run changes nothing.

    Raises MigrationEdited (LL011), MigrationFailed with file, line and SQLSTATE.
    """
    report = Report()
    with conn.transaction():
        _lock(conn)
        _install_schema(conn, report)
        todo = plan(conn)
        if todo.edited:
            raise MigrationEdited(
                f"migration {todo.edited[0]} was edited after it had been applied",
                detail=f"Edited: {', '.join(todo.edited)}.",
            )
        with as_owner(conn):
            for piece in todo.pending:
                _apply_migration(conn, piece)
        report.migrations = [piece.name for piece in todo.pending]
        _apply_repeatables(conn, todo.changed)
        report.repeatables = [piece.name for piece in todo.changed]
        _close_to_public(conn)
        _hang_event_triggers(conn, report)
        report.partitions = maintain(conn)
        report.watches = watching.refresh(conn)
    return report


def maintain(conn: Connection, months_ahead: int = 3) -> list[str]:
    """Make missing monthly partitions and return their names."""
    return [
        f"{name} ({moved} rows moved)" if moved else str(name)
        for name, moved in rows(
            conn, "SELECT partition, moved_rows FROM llamalog.maintain(%s)", [months_ahead]
        )
    ]


def rollback_plan(
    conn: Connection, *, everything: bool = False, drop_log: bool = False
) -> list[str]:
    """Return the ids of the migrations that `rollback` would undo, in order; changes nothing.

    everything: all of them, but the log's own only with `drop_log`.

    Raises LogNotEmpty (LL013), NotInstalled (LL001), Misuse when there is nothing to undo.
    """
    current = plan(conn)
    if not current.is_installed:
        raise NotInstalled("llamalog is not installed in this database")
    known = [migration.id for migration in _migrations()]
    applied = [name for name in known if name in current.applied]
    if not applied:
        raise Misuse("no migration is applied", hint="There is nothing to roll back.")
    victims = applied[::-1] if everything else applied[-1:]
    log = known[0]
    if log in victims and not drop_log:
        if everything:
            victims.remove(log)
        else:
            count = _value(conn, "SELECT count(*) FROM llamalog.llama_logs")
            raise LogNotEmpty(
                f"rolling back {log} would erase the log, {count} rows",
                hint="Add --drop-log if that is meant.",
            )
    return victims


def rollback(conn: Connection, *, everything: bool = False, drop_log: bool = False) -> list[str]:
    """Undo the newest migration, or uninstall, and return the ids undone.

    Takes capture off every table first; the registry remembers it, so that `migrate` hangs it again. The log itself is
    dropped only with `drop_log`.

    Raises as `rollback_plan` does.
    """
    with conn.transaction():
        _lock(conn)
        victims = rollback_plan(conn, everything=everything, drop_log=drop_log)
        for statement in rollback_script(conn, victims):
            conn.execute(statement.encode())
    return victims


def rollback_script(conn: Connection, victims: list[str]) -> Iterator[str]:
    """Yield the SQL that undoes these migrations, newest first."""
    for name in ("llamalog_ddl", "llamalog_drop"):
        if _value(conn, "SELECT count(*) FROM pg_event_trigger WHERE evtname = %s", [name]):
            yield f"DROP EVENT TRIGGER {name};\n"
    if _exists(conn, "llamalog.watches") and _exists(conn, "llamalog.log"):
        yield from watching.take_down_script(conn)
    for kind, name in rows(
        conn,
        "SELECT 'VIEW', c.oid::regclass::text FROM pg_class AS c"
        " WHERE c.relnamespace = to_regnamespace('llamalog') AND c.relkind = 'v' AND c.relname <> 'log'"
        " UNION ALL SELECT 'FUNCTION', p.oid::regprocedure::text FROM pg_proc AS p"
        " WHERE p.pronamespace = to_regnamespace('llamalog') AND p.proname NOT LIKE 'capture\\_%\\_%'"
        " UNION ALL SELECT 'VIEW', c.oid::regclass::text FROM pg_class AS c WHERE c.oid = to_regclass('llamalog.log')",
    ):
        yield f"DROP {kind} IF EXISTS {name} CASCADE;\n"
    yield "DELETE FROM llamalog.repeatables;\n"
    files = {migration.id: Path(migration.path) for migration in _migrations()}
    for name in victims:
        piece = _piece(files[name].with_suffix(".rollback.sql"))
        yield f"-- {piece.name}\n{piece.text}"
        yield f"DELETE FROM llamalog._yoyo_migration WHERE migration_id = '{name}';\n"
    if next(iter(files)) in victims:
        yield "DROP SCHEMA llamalog CASCADE;\n"


def script(conn: Connection) -> Iterator[str]:
    """Yield the SQL that `migrate` would run, file by file."""
    todo = plan(conn)
    if not todo.is_installed:
        yield f"CREATE SCHEMA IF NOT EXISTS llamalog;\n{_BOOTSTRAP}"
    for piece in [*todo.pending, *todo.changed]:
        yield f"-- {piece.name}\n{piece.text}"
    if todo.pending or todo.changed:
        yield "SELECT * FROM llamalog.maintain();\n"


def repeatables() -> list[Piece]:
    """Return the pieces that are re-applied when they change, in the order in which they can be created."""
    directory = sql_directory()
    lens = directory / "views" / "log.sql"
    functions = sorted((directory / "functions").glob("*.sql"))
    views = sorted(path for path in (directory / "views").glob("*.sql") if path != lens)
    return [
        _piece(lens),
        *(_piece(path) for path in functions),
        *(
            Piece(f"triggers/{name}.sql.j2", render(f"{name}.sql.j2", settings=IMAGE_SETTINGS))
            for name in ("capture_row", "capture_truncate")
        ),
        *(_piece(path) for path in views),
    ]


def _migrations() -> list[Migration]:
    return list(topological_sort(read_migrations(str(sql_directory() / "migrations"))))


def _piece(path: Path) -> Piece:
    return Piece(f"{path.parent.name}/{path.name}", path.read_text(encoding="utf-8"))


def _lock(conn: Connection) -> None:
    if not _value(conn, f"SELECT {_LOCK.replace('pg_advisory', 'pg_try_advisory')}"):
        logger.warning("another llamalog migrate is at work in this database; waiting for it")
        conn.execute(f"SELECT {_LOCK}".encode())


def _install_schema(conn: Connection, report: Report) -> None:
    if _exists(conn, "llamalog._yoyo_migration"):
        return
    strangers = rows(
        conn,
        "SELECT relname FROM pg_catalog.pg_class WHERE relnamespace = to_regnamespace('llamalog') AND relkind IN ('r', 'p', 'v')",
    )
    if strangers:
        raise NotInstalled(
            "the schema llamalog holds tables, but no record of migrations",
            detail=f"Found: {', '.join(str(name) for (name,) in strangers[:5])}.",
            hint="Rename that schema, or drop it if it is what is left of an installation; then run llamalog migrate.",
        )
    owner = _owner_role(conn, report)
    conn.execute(
        sql.SQL("CREATE SCHEMA IF NOT EXISTS llamalog AUTHORIZATION {}").format(
            sql.Identifier(owner)
        )
    )
    conn.execute(
        "COMMENT ON SCHEMA llamalog IS 'LlamaLog: what changed, who or what did it, which job caused it.'"
    )
    conn.execute("GRANT USAGE ON SCHEMA llamalog TO PUBLIC")
    with as_owner(conn):
        conn.execute(_BOOTSTRAP.encode())


def _owner_role(conn: Connection, report: Report) -> str:
    """Return the role that is to own the installation: one that cannot log in, where we may make it."""
    found = first_row(
        conn,
        "SELECT rolcreaterole OR rolsuper, rolsuper, rolname, to_regrole(%s) IS NOT NULL,"
        " CASE WHEN to_regrole(%s) IS NOT NULL THEN pg_has_role(to_regrole(%s), 'MEMBER') END"
        " FROM pg_catalog.pg_roles WHERE rolname = current_user",
        [OWNER, OWNER, OWNER],
    )
    assert found is not None
    may_create, is_superuser, me, exists, is_member = found
    if exists and (is_superuser or is_member):
        return OWNER
    if not exists and may_create:
        # a policy must not hide rows from the capture of TRUNCATE
        conn.execute(f"CREATE ROLE {OWNER} NOLOGIN {'BYPASSRLS' if is_superuser else ''}".encode())
        if not is_superuser:
            with_set = "WITH SET TRUE, INHERIT TRUE" if conn.info.server_version >= 160000 else ""
            conn.execute(f"GRANT {OWNER} TO CURRENT_USER {with_set}".encode())
        return OWNER
    report.notes.append(f"may not create the role {OWNER}: {me} owns the log, and can change it")
    return str(me)


def _apply_migration(conn: Connection, piece: Piece) -> None:
    name = Path(piece.name).stem
    migration = next(m for m in _migrations() if m.id == name)
    _execute_file(conn, piece)
    conn.execute(
        "INSERT INTO llamalog._yoyo_migration VALUES (%s, %s, clock_timestamp() AT TIME ZONE 'UTC', %s)",
        [migration.hash, migration.id, piece.checksum],
    )


def _apply_repeatables(conn: Connection, pieces: list[Piece]) -> None:
    """Create functions without looking into their bodies, since they call each other; then check every one."""
    if not pieces:
        return
    conn.execute("SET LOCAL check_function_bodies = off")
    for piece in pieces:
        # an event trigger's function belongs to the superuser who made it, everything else to the owner
        with as_owner(conn) if piece.name != _EVENT_FUNCTION else nullcontext():
            _execute_file(conn, piece)
            conn.execute(
                "INSERT INTO llamalog.repeatables (name, checksum) VALUES (%s, %s)"
                " ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp()",
                [piece.name, piece.checksum],
            )
    conn.execute("SET LOCAL check_function_bodies = on")
    for oid, signature, validator in rows(
        conn,
        "SELECT function.oid, function.oid::regprocedure::text, language.lanvalidator::regproc::text"
        " FROM pg_proc AS function JOIN pg_language AS language ON language.oid = function.prolang"
        " WHERE function.pronamespace = 'llamalog'::regnamespace AND language.lanvalidator <> 0"
        " AND language.lanname IN ('sql', 'plpgsql')",
    ):
        try:
            conn.execute(f"SELECT {validator}({oid})".encode())
        except psycopg.Error as error:
            raise MigrationFailed(
                f"function {signature}: {error.diag.message_primary}", sqlstate=error.sqlstate
            ) from error


def _execute_file(conn: Connection, piece: Piece) -> None:
    """Run a file.  Raises MigrationFailed naming file and line."""
    # yoyo's own reading of a migration; a function file is one statement and its comment
    is_migration = piece.name.startswith("migrations/")
    statements = sqlparse.split(piece.text) if is_migration else [piece.text]
    start = 0
    for statement in statements:
        start = piece.text.index(statement, start)
        try:
            conn.execute(statement.encode())
        except psycopg.Error as error:
            position = start + int(error.diag.statement_position or 1) - 1
            line = piece.text.count("\n", 0, position) + 1
            raise MigrationFailed(
                f"sql/{piece.name}, line {line}: {error.diag.message_primary}",
                sqlstate=error.sqlstate,
                detail=error.diag.message_detail,
                hint=error.diag.message_hint or "Nothing was changed.",
            ) from error
        start += len(statement)


def _close_to_public(conn: Connection) -> None:
    """Nobody hangs a capture on a table of his own: that would forge the log."""
    with as_owner(conn):
        for (signature,) in rows(
            conn,
            "SELECT function.oid::regprocedure::text FROM pg_proc AS function"
            " WHERE function.pronamespace = 'llamalog'::regnamespace"
            " AND (function.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) OR function.proname = 'maintain')"
            " AND pg_get_userbyid(function.proowner) = current_user"
            " AND has_function_privilege('public', function.oid, 'EXECUTE')",
        ):
            conn.execute(f"REVOKE EXECUTE ON FUNCTION {signature} FROM PUBLIC".encode())


def _hang_event_triggers(conn: Connection, report: Report) -> None:
    if (
        _value(
            conn,
            "SELECT count(*) FROM pg_event_trigger WHERE evtname IN ('llamalog_ddl', 'llamalog_drop')",
        )
        == 2
    ):
        return
    if not _value(conn, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
        report.notes.append(
            "may not create event triggers: tables are captured by the tolerant capture, which any change of a table leaves working"
        )
        return
    conn.execute("ALTER FUNCTION llamalog.follow_schema_change() OWNER TO CURRENT_USER")
    conn.execute(_EVENT_TRIGGERS.encode())


def _exists(conn: Connection, name: str) -> bool:
    return _value(conn, "SELECT to_regclass(%s)", [name]) is not None


def _value(conn: Connection, query: str, parameters: list[object] | None = None) -> object:
    row = first_row(conn, query, parameters)
    assert row is not None
    return row[0]
