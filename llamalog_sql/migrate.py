"""Puts our SQL into the database: plan by yoyo, apply and record in one transaction, and take it out again.

Migrations run once and are never edited after release; functions, views and the generic captures are re-applied
whenever their text changes. Everything happens in one transaction under an advisory lock: it is all there, or nothing.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import psycopg
import sqlparse
from psycopg.pq import TransactionStatus
from yoyo import read_migrations
from yoyo.migrations import Migration

from llamalog_sql import access, row_security, watching
from llamalog_sql.adoption import lens, state
from llamalog_sql.adoption.shape import Shape
from llamalog_sql.connection import Connection, first_row, rows
from llamalog_sql.errors import (
    LogNotEmpty,
    MigrationEdited,
    MigrationFailed,
    Misuse,
    NewerInstalled,
    NotInstalled,
)
from llamalog_sql.files import sql_directory
from llamalog_sql.holding import REMOVING
from llamalog_sql.output import plural
from llamalog_sql.render import IMAGE_SETTINGS, ident, literal, render

logger = logging.getLogger(__name__)

_EVENT_FUNCTION = "functions/follow_schema_change.sql"

#: Until there is a table of ours to lock.
_FIRST_LOCK = "pg_advisory_xact_lock(hashtextextended('llamalog.migrate', 0))"

_AT_WORK = "another llamalog migrate is at work in this database; waiting for it"

_COMMENT = "LlamaLog: what changed, who or what did it, which job caused it."

_BOOTSTRAP = """\
CREATE TABLE llamalog._yoyo_migration (
    migration_hash varchar(64) PRIMARY KEY,
    migration_id   varchar(255),
    applied_at_utc timestamp,
    content_hash   text NOT NULL
);
COMMENT ON TABLE llamalog._yoyo_migration IS
    'Migrations that have been applied, in the form of yoyo, each with the hash of its file.';
COMMENT ON COLUMN llamalog._yoyo_migration.migration_hash IS
    'Hash of the id, as yoyo makes it.';
COMMENT ON COLUMN llamalog._yoyo_migration.migration_id IS
    'Name of the file, without its ending.';
COMMENT ON COLUMN llamalog._yoyo_migration.applied_at_utc IS
    'When it was applied, in UTC.';
COMMENT ON COLUMN llamalog._yoyo_migration.content_hash IS
    'SHA-256 of the file as it was applied; another one now means that it was edited.';
CREATE TABLE llamalog.repeatables (
    name       text PRIMARY KEY,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE llamalog.repeatables IS
    'Functions, views and generic captures as they were last applied.';
COMMENT ON COLUMN llamalog.repeatables.name IS
    'Path of the file, below sql/.';
COMMENT ON COLUMN llamalog.repeatables.checksum IS
    'SHA-256 of the text that was applied.';
COMMENT ON COLUMN llamalog.repeatables.applied_at IS
    'When it was applied.';
"""

_CLOSE_TO_PUBLIC = """\
DO $do$
DECLARE
    v_function regprocedure;
BEGIN
    -- nobody hangs a capture on a table of his own: that would forge the log
    FOR v_function IN
        SELECT function.oid
        FROM pg_proc AS function
        WHERE function.pronamespace = 'llamalog'::regnamespace
            AND (
                function.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype)
                OR function.proname IN ('maintain', 'pause', 'resume', 'try_writes')
            )
            AND pg_has_role(function.proowner, 'USAGE')
            AND has_function_privilege('public', function.oid, 'EXECUTE')
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', v_function);
    END LOOP;
    FOR v_function IN
        SELECT function.oid
        FROM pg_proc AS function
        WHERE function.pronamespace = 'llamalog'::regnamespace
            AND function.proname IN ('pause', 'resume')
            AND pg_has_role(function.proowner, 'USAGE')
            AND NOT has_function_privilege(to_regrole('llamalog_admin')::oid, function.oid, 'EXECUTE')
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO llamalog_admin', v_function);
    END LOOP;
END;
$do$;
"""

#: Whether a restore has left out what is granted: it opens what was closed, and closes what was open.
_LACKS_PRIVILEGES = """\
SELECT bool_or(namespace.nspacl IS NULL) OR count(function.oid) > 0
FROM pg_namespace AS namespace
LEFT JOIN pg_proc AS function
    ON function.pronamespace = namespace.oid
    AND function.prorettype = 'trigger'::regtype
    AND function.proacl IS NULL
    AND pg_has_role(function.proowner, 'USAGE')
WHERE namespace.nspname = 'llamalog'
    AND pg_has_role(namespace.nspowner, 'USAGE')
"""

_OPEN_SCHEMA = "GRANT USAGE ON SCHEMA llamalog TO PUBLIC;\n"

#: The event triggers by name; who creates them is a superuser, and owns the function that they run.
EVENT_TRIGGERS = {
    "llamalog_ddl": """\
CREATE EVENT TRIGGER llamalog_ddl ON ddl_command_end
    WHEN TAG IN (
        'ALTER DOMAIN', 'ALTER SCHEMA', 'ALTER TABLE', 'ALTER TRIGGER', 'ALTER TYPE',
        -- they rename a table too
        'ALTER FOREIGN TABLE', 'ALTER INDEX', 'ALTER MATERIALIZED VIEW', 'ALTER SEQUENCE', 'ALTER VIEW',
        'CREATE SCHEMA', 'CREATE TABLE', 'CREATE TABLE AS', 'CREATE TRIGGER', 'SELECT INTO'
    )
    EXECUTE FUNCTION llamalog.follow_schema_change();
""",
    "llamalog_drop": """\
CREATE EVENT TRIGGER llamalog_drop ON sql_drop
    EXECUTE FUNCTION llamalog.follow_schema_change();
""",
}

#: What they run is a superuser's too.
OWN_EVENT_FUNCTION = "ALTER FUNCTION llamalog.follow_schema_change() OWNER TO CURRENT_USER;\n"


@dataclass(frozen=True)
class Piece:
    """A file to apply.  name: its path below sql/, or empty for the SQL between the files.  text: its SQL."""

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
    """What `migrate` did: names of pieces applied, roles made or given rights, partitions made, tables whose capture was renewed."""

    migrations: list[str] = field(default_factory=list)
    repeatables: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    watches: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not (
            self.migrations or self.repeatables or self.roles or self.partitions or self.watches
        )


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
    pieces = repeatables(state.adopted(conn))
    gone = {name for name in checksums if name.startswith("functions/")}.difference(
        piece.name for piece in pieces
    )
    result.changed = [
        piece
        for piece in [*pieces, *map(_dropping, sorted(gone))]
        if checksums.get(piece.name) != piece.checksum
    ]
    return result


def migrate(conn: Connection) -> Report:
    """Bring the database to the version of these files, in one transaction; a second run changes nothing.

    The months are made in a transaction of their own: they lock the log, and the capture the application's tables, and
    who holds the one while he waits for the other may meet a writer who does so the other way round.

    Raises MigrationEdited (LL011), MigrationFailed with file, line and SQLSTATE.
    """
    report = Report()
    with _transaction(conn):
        _lock(conn)
        todo = _checked_plan(conn)
        lacking = access.lacking(conn)
        if todo.is_installed and todo.pending:
            for piece in todo.pending:
                _statements(piece.text)  # takes longer than to run them: not while others wait
            # a migration may lock the log; who writes has locked the table by then
            watching.hold_captured(conn)
        for step in _steps(conn, todo, report.notes):
            _execute_file(conn, step)
        if todo.changed:
            _check_bodies(conn)
        report.roles = [name for name in lacking if name not in access.lacking(conn)]
        report.migrations = [piece.name for piece in todo.pending]
        report.repeatables = [piece.name for piece in todo.changed]
        report.watches = watching.refresh(conn)
    report.partitions = maintain(conn)
    return report


def maintain(conn: Connection, months_ahead: int = 3) -> list[str]:
    """Make missing monthly partitions and return their names."""
    return [
        f"{name} ({plural(moved, 'row')} moved)" if moved else str(name)
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
    if (shape := state.adopted(conn)) is not None:
        raise Misuse(
            f"the log is {shape.shown}, the application's own",
            hint="Give it back first: llamalog adopt --undo",
        )
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
            ((count,),) = rows(conn, "SELECT count(*) FROM llamalog.llama_logs")
            raise LogNotEmpty(
                f"rolling back {log} would erase the log, {plural(count, 'row')}",
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
        watching.hold_captured(conn, REMOVING)
        for step in _undoing(conn, victims):
            _execute_file(conn, step)
    return victims


def rollback_script(conn: Connection, victims: list[str]) -> Iterator[str]:
    """Yield the SQL that undoes these migrations, newest first."""
    return (step.text for step in _undoing(conn, victims))


def _undoing(conn: Connection, victims: list[str]) -> Iterator[Piece]:
    for name in EVENT_TRIGGERS:
        if _value(conn, "SELECT count(*) FROM pg_event_trigger WHERE evtname = %s", [name]):
            yield Piece("", f"DROP EVENT TRIGGER {name};\n")
    if _exists(conn, "llamalog.watches") and _exists(conn, "llamalog.log"):
        for statement in watching.take_down_script(conn):
            yield Piece("", statement)
    # the views, then the functions that return rows of the lens, then the lens; never with CASCADE, which would take
    # along in silence what the application has built on them
    for kind, names in rows(
        conn,
        "SELECT 'VIEW', string_agg(c.oid::regclass::text, ', ') FROM pg_class AS c"
        " WHERE c.relnamespace = to_regnamespace('llamalog') AND c.relkind = 'v' AND c.relname <> 'log'"
        " UNION ALL SELECT 'FUNCTION', string_agg(p.oid::regprocedure::text, ', ') FROM pg_proc AS p"
        " WHERE p.pronamespace = to_regnamespace('llamalog') "
        # what hangs on a table still, in a script not yet run, is dropped when it is taken off
        " AND (NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgfoid = p.oid)"
        " OR p.proname IN ('capture_row', 'capture_truncate', 'mark_update'))"
        " UNION ALL SELECT 'VIEW', to_regclass('llamalog.log')::text",
    ):
        if names:
            # a script has dropped readers with their captures by then
            yield Piece("", f"DROP {kind} IF EXISTS {names};\n")
    yield Piece("", "DELETE FROM llamalog.repeatables;\n")
    files = {migration.id: Path(migration.path) for migration in _migrations()}
    for name in victims:
        yield _piece(files[name].with_suffix(".rollback.sql"))
        yield Piece("", f"DELETE FROM llamalog._yoyo_migration WHERE migration_id = '{name}';\n")
    if next(iter(files)) in victims:
        yield Piece("", "DROP TABLE llamalog._yoyo_migration, llamalog.repeatables;\n")
        yield Piece("", "DROP SCHEMA llamalog;\n")
        yield Piece("", access.DROPPING)


def script(conn: Connection) -> Iterator[str]:
    """Yield the SQL that `migrate` would run, file by file; psql runs it, by hand, as the role connected here.

    What follows from new code for tables already watched is left to the next `llamalog migrate`.
    """
    todo = _checked_plan(conn)
    steps = list(_steps(conn, todo, []))
    if steps:
        first_lock = f"DO $do$ BEGIN PERFORM {_FIRST_LOCK}; END $do$"
        yield f"BEGIN;\n{access.ALONE if todo.is_installed else first_lock};\n"
        for step in steps:
            text = _replacing(step) if todo.is_installed else step.text
            yield f"-- {step.name}\n{text}" if step.name else text
        yield "COMMIT;\nSELECT * FROM llamalog.maintain();\n"


def repeatables(adopted: Shape | None = None) -> list[Piece]:
    """Return the pieces that are re-applied when they change, in the order in which they can be created.

    adopted: the log that the lens shows, where it is not our own.
    """
    directory = sql_directory()
    own = directory / "views" / "log.sql"
    seen = _piece(own)
    # the event triggers' function first: it knows what the others' replacement drops
    functions = sorted(
        (directory / "functions").glob("*.sql"),
        key=lambda path: (path.name != Path(_EVENT_FUNCTION).name, _level(path), path.name),
    )
    views = sorted(path for path in (directory / "views").glob("*.sql") if path != own)
    return [
        seen if adopted is None else Piece(seen.name, lens.reader(adopted)),
        *(_piece(path) for path in functions),
        *(
            Piece(
                f"triggers/{name}.sql.j2",
                render(f"{name}.sql.j2", settings=IMAGE_SETTINGS, version=_version("made_queries")),
            )
            for name in ("capture_row", "capture_truncate")
        ),
        *(_piece(path) for path in views),
    ]


def _level(path: Path) -> int:
    """Return how many functions in SQL stand on each other below this one, which needs them to be there: PL/pgSQL asks when it runs."""
    text = path.read_text(encoding="utf-8")
    if "LANGUAGE sql" not in text:
        return 0
    called = {path.with_stem(name) for name in re.findall(r"\bllamalog\.(\w+)\(", text)} - {path}
    return 1 + max((_level(other) for other in called if other.is_file()), default=0)


def _dropping(name: str) -> Piece:
    """Return what drops a function of an earlier version; one that a view of somebody's own needs stays.

    It is recorded like any other piece, so it is run once.
    """
    return Piece(
        name,
        f"""\
DO $do$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT function.oid
        FROM pg_proc AS function
        WHERE function.pronamespace = 'llamalog'::regnamespace
            AND function.proname = {literal(Path(name).stem)}
            AND pg_has_role(function.proowner, 'USAGE')
            AND NOT EXISTS (
                SELECT
                FROM pg_depend AS needed
                WHERE needed.refclassid = 'pg_proc'::regclass
                    AND needed.refobjid = function.oid
            )
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END;
$do$;
""",
    )


def _version(function: str) -> str:
    """Return a checksum of a function and all those that it calls: what it made is of use while it stays the same."""
    directory = sql_directory() / "functions"
    texts: dict[str, str] = {}
    todo = [function]
    while todo:
        name = todo.pop()
        path = directory / f"{name}.sql"
        if name not in texts and path.is_file():
            texts[name] = path.read_text(encoding="utf-8")
            todo += re.findall(r"\bllamalog\.(\w+)\(", texts[name])
    digest = "\n".join(text for _, text in sorted(texts.items()))
    return hashlib.md5(digest.encode(), usedforsecurity=False).hexdigest()


def _migrations() -> list[Migration]:
    # in the order of their numbers: to ask yoyo what each depends on is to have every file taken apart into statements
    found: list[Migration] = list(read_migrations(str(sql_directory() / "migrations")))
    return sorted(found, key=lambda migration: migration.id)


def _piece(path: Path) -> Piece:
    return Piece(f"{path.parent.name}/{path.name}", path.read_text(encoding="utf-8"))


def _lock(conn: Connection) -> None:
    if not _exists(conn, "llamalog._yoyo_migration") and not _value(
        conn, f"SELECT {_FIRST_LOCK.replace('pg_advisory', 'pg_try_advisory')}"
    ):
        logger.warning(_AT_WORK)
        conn.execute(f"SELECT {_FIRST_LOCK}".encode())
    # also where the other one has made it meanwhile
    if _exists(conn, "llamalog._yoyo_migration"):
        try:
            with conn.transaction():
                access.stand_alone(conn, "NOWAIT")
        except psycopg.errors.LockNotAvailable:
            logger.warning(_AT_WORK)
            access.stand_alone(conn)


@contextmanager
def _transaction(conn: Connection) -> Iterator[None]:
    """A transaction that sees what another migrate did while this one waited for it."""
    is_outermost = conn.info.transaction_status == TransactionStatus.IDLE
    with conn.transaction():
        if is_outermost:
            conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        yield


def _checked_plan(conn: Connection) -> Plan:
    """Return the plan, unless what is there cannot be built upon.  Raises MigrationEdited, NewerInstalled, NotInstalled."""
    todo = plan(conn)
    if todo.edited:
        raise MigrationEdited(
            f"migration {todo.edited[0]} was edited after it had been applied",
            detail=f"Edited: {', '.join(todo.edited)}.",
        )
    if todo.unknown:
        raise NewerInstalled(
            f"the database has migration {todo.unknown[-1]}, which this version does not know"
        )
    if not todo.is_installed:
        strangers = rows(
            conn,
            "SELECT pg_describe_object(classid, objid, 0) FROM pg_depend"
            " WHERE refclassid = 'pg_namespace'::regclass AND refobjid = to_regnamespace('llamalog') AND deptype = 'n'"
            " ORDER BY 1 LIMIT 5",
        )
        if strangers:
            raise NotInstalled(
                "the schema llamalog holds something, but no record of migrations",
                detail=f"Found: {', '.join(name for (name,) in strangers)}.",
                hint="Rename that schema, or drop it if it is what is left of an installation; then run llamalog migrate.",
            )
    return todo


def _steps(conn: Connection, todo: Plan, notes: list[str]) -> Iterator[Piece]:
    """Yield all that is to be run, in order: the files, and between them who runs them and the record of it.

    notes: what the role connected here may not do is appended to it.
    """
    ((role, is_superuser),) = rows(
        conn,
        "SELECT current_setting('role'), rolsuper FROM pg_roles WHERE rolname = current_user",
    )
    present = {
        name
        for (name,) in rows(
            conn,
            "SELECT evtname::text FROM pg_event_trigger WHERE evtname = ANY (%s)",
            [list(EVENT_TRIGGERS)],
        )
    }
    if todo.is_installed:
        owner, making = (
            _value(conn, "SELECT nspowner::regrole FROM pg_namespace WHERE nspname = 'llamalog'"),
            "",
        )
    else:
        owner, making = _owner_role(conn, notes)
    roles = access.coming(conn)
    missing = [name for name, exists in access.lacking(conn).items() if not exists]
    for name in missing:
        if name in roles:
            yield Piece("", access.making(name, access.ROLES[name]))
    if not {*missing} <= {*roles}:
        notes.append(access.advice(missing))
    as_owner = Piece("", f"SET LOCAL ROLE {owner};\n")
    as_before = Piece("", f"SET LOCAL ROLE {'NONE' if role == 'none' else ident(str(role))};\n")
    if not todo.is_installed:
        yield Piece(
            "",
            f"{making}CREATE SCHEMA IF NOT EXISTS llamalog;\nALTER SCHEMA llamalog OWNER TO {owner};\n"
            f"COMMENT ON SCHEMA llamalog IS {literal(_COMMENT)};\n{_OPEN_SCHEMA}",
        )
        yield as_owner
        yield Piece("", _BOOTSTRAP)
        yield as_before
    if todo.pending:
        hashes = {migration.id: migration.hash for migration in _migrations()}
        yield as_owner
        for piece in todo.pending:
            name = Path(piece.name).stem
            yield piece
            yield Piece(
                "",
                "INSERT INTO llamalog._yoyo_migration VALUES ("
                f"'{hashes[name]}', '{name}', clock_timestamp() AT TIME ZONE 'UTC', '{piece.checksum}');\n",
            )
        yield as_before
    lacks_privileges = False
    if todo.changed:
        # they call each other: bodies are looked into when all are there
        yield Piece("", "SET LOCAL check_function_bodies = off;\n")
        yield as_owner
        for piece in todo.changed:
            # an event trigger's function belongs to the superuser who made it, everything else to the owner
            is_of_superuser = piece.name == _EVENT_FUNCTION
            if is_of_superuser:
                yield as_before
            yield piece
            yield Piece(
                "",
                f"INSERT INTO llamalog.repeatables (name, checksum) VALUES ('{piece.name}', '{piece.checksum}')"
                " ON CONFLICT (name) DO UPDATE SET checksum = excluded.checksum, applied_at = clock_timestamp();\n",
            )
            if is_of_superuser:
                yield as_owner
        # those of an earlier version and of shapes long gone; the next write makes its own
        yield Piece("", "DELETE FROM llamalog.row_queries;\n")
        # a lens made anew reads for everybody again
        yield Piece("", row_security.FITTING)
        yield as_before
        yield Piece("", "SET LOCAL check_function_bodies = on;\n")
        yield Piece("", _CLOSE_TO_PUBLIC)
    elif lacks_privileges := bool(_value(conn, _LACKS_PRIVILEGES)):
        yield Piece("", _OPEN_SCHEMA)
        yield Piece("", _CLOSE_TO_PUBLIC)
    if todo.pending or todo.changed or roles or lacks_privileges:
        yield as_owner
        yield Piece("", access.GRANTING)
        yield as_before
    if absent := [text for name, text in EVENT_TRIGGERS.items() if name not in present]:
        if is_superuser:
            for text in (OWN_EVENT_FUNCTION, *absent):
                yield Piece("", text)
        else:
            notes.append(
                "may not create event triggers: tables are captured by the tolerant capture, which any change of a table leaves working"
            )


def _owner_role(conn: Connection, notes: list[str]) -> tuple[str, str]:
    """Return the role that is to own the installation, one that cannot log in where we may make it, and the SQL to make it."""
    ((may_create, is_superuser, me, exists, is_member),) = rows(
        conn,
        "SELECT rolcreaterole OR rolsuper, rolsuper, rolname, to_regrole(%s) IS NOT NULL,"
        " CASE WHEN to_regrole(%s) IS NOT NULL THEN pg_has_role(to_regrole(%s), 'MEMBER') END"
        " FROM pg_catalog.pg_roles WHERE rolname = current_user",
        [access.OWNER, access.OWNER, access.OWNER],
    )
    if exists and (is_superuser or is_member):
        return access.OWNER, ""
    if not exists and may_create:
        # a policy must not hide rows from the capture of TRUNCATE
        making = access.making(
            access.OWNER, "Owns the log of LlamaLog.", " BYPASSRLS" if is_superuser else ""
        )
        if not is_superuser:
            with_set = " WITH SET TRUE, INHERIT TRUE" if conn.info.server_version >= 160000 else ""
            making += f"GRANT {access.OWNER} TO CURRENT_USER{with_set};\n"
        return access.OWNER, making
    notes.append(f"may not create the role {access.OWNER}: {me} owns the log, and can change it")
    return ident(str(me)), ""


def _check_bodies(conn: Connection) -> None:
    """Look into the bodies of all functions.  Raises MigrationFailed naming file and line."""
    files = {Path(piece.name).name.split(".")[0]: piece for piece in repeatables()}
    for oid, name, signature, body, validator in rows(
        conn,
        "SELECT function.oid, function.proname, function.oid::regprocedure::text, function.prosrc,"
        " language.lanvalidator::regproc::text"
        " FROM pg_proc AS function JOIN pg_language AS language ON language.oid = function.prolang"
        " WHERE function.pronamespace = 'llamalog'::regnamespace AND language.lanvalidator <> 0"
        " AND language.lanname IN ('sql', 'plpgsql')",
    ):
        try:
            conn.execute(f"SELECT {validator}({oid})".encode())
        except psycopg.Error as error:
            piece = files.get(name)
            if (
                piece is None or body not in piece.text
            ):  # a rendered capture, or a body that is no text
                raise MigrationFailed(
                    f"function {signature}: {error.diag.message_primary}", sqlstate=error.sqlstate
                ) from error
            begin = piece.text.index(body)
            raise _failure(
                piece, begin + int(error.diag.internal_position or 1) - 1, error
            ) from error


def _execute_file(conn: Connection, piece: Piece) -> None:
    """Run a file.  Raises MigrationFailed naming file and line."""
    # a function file is one statement and its comment
    is_migration = piece.name.startswith("migrations/")
    statements = _statements(piece.text) if is_migration else [piece.text]
    start = 0
    for statement in statements:
        start = piece.text.index(statement, start)
        try:
            if piece.name.startswith("functions/"):
                _replace_function(conn, Path(piece.name).stem, statement)
            else:
                conn.execute(statement.encode())
        except psycopg.Error as error:
            if not piece.name:
                raise
            # an error without a position is one of the statement, not of the comment above it
            opening = re.match(r"(\s|--[^\n]*\n)*", statement)
            position = error.diag.statement_position
            offset = int(position) - 1 if position else opening.end() if opening else 0
            raise _failure(piece, start + offset, error) from error
        start += len(statement)


def _replace_function(conn: Connection, name: str, text: str) -> None:
    """Run a function's file; one of an earlier version whose result or parameters are others is dropped first."""
    try:
        with conn.transaction():
            conn.execute(text.encode())
    except psycopg.errors.InvalidFunctionDefinition:
        for (function,) in rows(
            conn,
            "SELECT oid::regprocedure::text FROM pg_proc"
            " WHERE pronamespace = 'llamalog'::regnamespace AND proname = %s",
            [name],
        ):
            conn.execute(f"DROP FUNCTION {function}".encode())
        conn.execute(text.encode())


def _replacing(piece: Piece) -> str:
    """Return the SQL of a piece that does by itself what `_replace_function` does for a function."""
    if not piece.name.startswith("functions/") or piece.text.startswith("DO "):
        return piece.text
    return f"""\
DO $replacing$
DECLARE
    v_file     text := $piece$
{piece.text}$piece$;
    v_function regprocedure;
BEGIN
    EXECUTE v_file;
EXCEPTION
    WHEN invalid_function_definition THEN
        FOR v_function IN
            SELECT function.oid
            FROM pg_proc AS function
            WHERE function.pronamespace = 'llamalog'::regnamespace
                AND function.proname = {literal(Path(piece.name).stem)}
        LOOP
            EXECUTE format('DROP FUNCTION %s', v_function);
        END LOOP;
        EXECUTE v_file;
END;
$replacing$;
"""


@cache
def _statements(text: str) -> list[str]:
    """Take a migration apart as yoyo does; once in a process, since it takes longer than to run them."""
    return sqlparse.split(text)


def _failure(piece: Piece, position: int, error: psycopg.Error) -> MigrationFailed:
    line = piece.text.count("\n", 0, position) + 1
    return MigrationFailed(
        f"sql/{piece.name}, line {line}: {error.diag.message_primary}",
        sqlstate=error.sqlstate,
        detail=error.diag.message_detail,
        hint=error.diag.message_hint or "Nothing was changed.",
    )


def _exists(conn: Connection, name: str) -> bool:
    return _value(conn, "SELECT to_regclass(%s)", [name]) is not None


def _value(conn: Connection, query: str, parameters: list[object] | None = None) -> object:
    row = first_row(conn, query, parameters)
    assert row is not None
    return row[0]
