"""migrate is all or nothing, idempotent and polite to strangers; rollback leaves the application as it was."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from conftest import default
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row, tuple_row

from llamalog_sql import (
    access,
    connection,
    embedded,
    errors,
    files,
    migrate,
    queries,
    render,
    watching,
)
from llamalog_sql.connection import require_installation
from llamalog_sql.errors import (
    LlamaLogError,
    LogNotEmpty,
    MigrationEdited,
    MigrationFailed,
    Misuse,
)
from llamalog_sql.watching import Options

MUSIC = Path(__file__).parents[1] / "llamalog_sql" / "demo" / "music_schema.sql"
MUSIC_TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]
MIGRATIONS = sorted(
    path.stem
    for path in (files.sql_directory() / "migrations").glob("*.sql")
    if not path.stem.endswith(".rollback")
)

#: What else an application may have: whatever hangs on it must come off without a trace.
SHOP = """
CREATE SCHEMA "Shop";
GRANT USAGE ON SCHEMA "Shop" TO reporting;
CREATE TABLE "Shop"."Order's 100%" (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    note     text NOT NULL,
    total    numeric GENERATED ALWAYS AS (1) STORED
);
GRANT SELECT, INSERT (note) ON "Shop"."Order's 100%" TO reporting;
ALTER TABLE "Shop"."Order's 100%" ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON "Shop"."Order's 100%" USING (true);
CREATE TABLE measurements (at date, sensor integer, value real, PRIMARY KEY (at, sensor)) PARTITION BY RANGE (at);
CREATE TABLE measurements_2026 PARTITION OF measurements FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')
    PARTITION BY HASH (sensor);
CREATE TABLE measurements_2026_0 PARTITION OF measurements_2026 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE animals (id integer PRIMARY KEY, name text);
CREATE TABLE llamas (wool real, PRIMARY KEY (id)) INHERITS (animals);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.name := upper(NEW.name); RETURN NEW; END';
CREATE TRIGGER touch BEFORE INSERT ON animals FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE animals DISABLE TRIGGER touch;
"""
SHOP_TABLES = ['"Shop"."Order\'s 100%"', "measurements", "animals"]


def rows(conn, query, parameters=None):
    """Plain tuples, whatever the connection makes of rows."""
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def values(conn, query, parameters=None):
    return [row[0] for row in rows(conn, query, parameters)]


def value(conn, query, parameters=None):
    return values(conn, query, parameters)[0]


def footprint(conn):
    """{object: version} of everything in the schema llamalog and of all that hangs on other tables."""
    found = rows(
        conn,
        """
        WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname = 'llamalog')
        SELECT 'schema ' || nspname || coalesce(nspacl::text, ''), xmin::text FROM pg_namespace
        UNION ALL
        SELECT 'function ' || oid::regprocedure, xmin::text FROM pg_proc WHERE pronamespace IN (TABLE ours)
        UNION ALL
        SELECT 'relation ' || oid::regclass, xmin::text FROM pg_class WHERE relnamespace IN (TABLE ours)
        UNION ALL
        SELECT 'type ' || oid::regtype, xmin::text FROM pg_type WHERE typnamespace IN (TABLE ours)
        UNION ALL
        SELECT 'column ' || attrelid::regclass || '.' || attname, a.xmin::text
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = attrelid
        WHERE relnamespace IN (TABLE ours)
        UNION ALL
        SELECT 'constraint ' || conname || ' on ' || conrelid::regclass, xmin::text
        FROM pg_constraint WHERE connamespace IN (TABLE ours)
        UNION ALL
        SELECT 'trigger ' || tgname || ' on ' || tgrelid::regclass, xmin::text
        FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT 'event trigger ' || evtname, xmin::text FROM pg_event_trigger
        UNION ALL
        SELECT 'description ' || classoid::regclass || ' ' || objoid || ' ' || objsubid, xmin::text
        FROM pg_description WHERE objoid >= 16384
        UNION ALL
        SELECT 'privileges ' || oid::regclass, relacl::text FROM pg_class WHERE oid >= 16384
        UNION ALL
        SELECT 'role ' || rolname, xmin::text FROM pg_authid
        """,
    )
    for table in ("_yoyo_migration", "repeatables", "watches", "source_paths", "clusters"):
        if value(conn, "SELECT to_regclass(%s)", [f"llamalog.{table}"]):
            found += rows(
                conn,
                f"SELECT 'row of {table} ' || to_jsonb(t)::text, xmin::text FROM llamalog.{table} AS t",
            )
    return dict(found)


def albums_logged(conn):
    return values(
        conn,
        "SELECT count(*) FROM llamalog.log WHERE entity_type = 'ALBUM' AND category = 'CREATED'",
    )[0]


def add_album(conn, title="OK Computer"):
    conn.execute("INSERT INTO albums (title, updated_at) VALUES (%s, '2026-01-01')", [title])


def music_database(conn):
    """Make of an empty database what most tests want: the music tables, watched."""
    conn.execute(MUSIC.read_bytes())
    report = migrate.migrate(conn)
    watching.watch(conn, MUSIC_TABLES)
    return report


def refusal_of(work, *arguments, **more):
    """What a caller of the command line would read of the error that comes."""
    with pytest.raises((psycopg.Error, LlamaLogError)) as caught:
        work(*arguments, **more)
    error = caught.value
    return errors.translate(error) if isinstance(error, psycopg.Error) else error


def until_blocked(conn, pid):
    """Wait until the session of that pid waits for a lock."""
    for _ in range(2000):
        if value(conn, "SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid]):
            return
        time.sleep(0.005)
    raise AssertionError("it never waited for a lock")


@pytest.fixture
def empty(empty):
    empty.row_factory = tuple_row
    return empty


@pytest.fixture
def database(database):
    database.row_factory = tuple_row
    return database


@pytest.fixture
def reporting(server):
    """The role that SHOP grants to. Name it before the database, which must go first."""
    address = {"host": server.host, "port": server.port, "user": server.user}
    with psycopg.connect(
        **address, password=server.password, dbname="postgres", autocommit=True
    ) as admin:
        admin.execute("CREATE ROLE reporting")
        yield
        admin.execute("DROP ROLE reporting")


@pytest.fixture
def twin(empty):
    """A second empty database, to compare with."""
    empty.execute("CREATE DATABASE own_twin TEMPLATE template0")
    dsn = make_conninfo(empty.info.dsn, password=empty.info.password or None, dbname="own_twin")
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield conn
    empty.execute("DROP DATABASE own_twin WITH (FORCE)")


@pytest.fixture
def meanwhile():
    """meanwhile(work, *arguments) does it in a thread, for another session; .result(60) is what came of it."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        yield pool.submit


@pytest.fixture
def sql_files(tmp_path, monkeypatch):
    """A copy of sql/ that the test may change, and that migrate reads."""
    copy = tmp_path / "sql"
    shutil.copytree(files.sql_directory(), copy)
    for module in (files, migrate, render):
        monkeypatch.setattr(module, "sql_directory", lambda: copy)
    render._environment.cache_clear()
    yield copy
    render._environment.cache_clear()


@pytest.fixture
def own_server():
    """A server of the test's own: roles belong to a whole server."""
    version = int(os.environ.get("LLAMALOG_TEST_PG", 0)) or None
    with embedded.start(version=version) as started:
        yield started


# -- again, at once, killed -------------------------------------------------------------------------------------------


def test_migrating_twice_changes_nothing(reporting, database):
    database.execute(SHOP)
    watching.watch(database, SHOP_TABLES)
    migrate.migrate(database)
    before = footprint(database)
    report = migrate.migrate(database)
    assert report == migrate.Report()
    assert report.is_empty
    assert footprint(database) == before


def test_the_first_migrate_reports_all_it_made(empty):
    report = migrate.migrate(empty)
    assert report.migrations == [
        f"migrations/{path.name}"
        for path in sorted((files.sql_directory() / "migrations").glob("*.sql"))
        if not path.name.endswith(".rollback.sql")
    ]
    assert report.repeatables[0] == "views/log.sql"
    assert len(report.repeatables) == len(migrate.repeatables())
    assert len(report.partitions) == 4
    assert report.roles == list(access.ROLES)
    assert (report.watches, report.notes) == ([], [])


def test_planning_changes_nothing(empty):
    before = footprint(empty)
    todo = migrate.plan(empty)
    list(migrate.script(empty))
    assert (todo.is_installed, todo.applied, todo.is_empty) == (False, [], False)
    assert access.coming(empty) == list(access.ROLES)
    assert footprint(empty) == before


@pytest.mark.parametrize("isolation", ["read\\ committed", "serializable"])
def test_of_two_migrates_at_once_one_waits_and_finds_nothing_to_do(
    empty, connect, meanwhile, caplog, isolation
):
    caplog.set_level(logging.WARNING, logger="llamalog_sql.migrate")
    first = connect(empty)
    second = connect(empty, options=f"-c default_transaction_isolation={isolation}")
    first.row_factory = second.row_factory = tuple_row
    with first.transaction():
        assert not migrate.migrate(first).is_empty
        waiting = meanwhile(migrate.migrate, second)
        until_blocked(empty, second.info.backend_pid)
    assert waiting.result(60).is_empty
    assert caplog.messages == [
        "another llamalog migrate is at work in this database; waiting for it"
    ]


def test_of_two_migrates_at_once_the_second_does_what_the_first_gave_up(empty, connect, meanwhile):
    first, second = connect(empty), connect(empty)
    first.row_factory = second.row_factory = tuple_row
    with first.transaction(force_rollback=True):
        migrate.migrate(first)
        waiting = meanwhile(migrate.migrate, second)
        until_blocked(empty, second.info.backend_pid)
    assert len(waiting.result(60).migrations) == len(MIGRATIONS)
    require_installation(empty)


MIGRATE = """
import pathlib, sys
import psycopg
from llamalog_sql import files, migrate, render
for module in (files, migrate, render):
    module.sql_directory = lambda: pathlib.Path(sys.argv[2])
with psycopg.connect(sys.argv[1], autocommit=True) as conn:
    migrate.migrate(conn)
"""


def test_migrate_that_is_killed_leaves_nothing_and_the_next_one_works(empty, sql_files):
    before = footprint(empty)
    last = sql_files / "views" / "watched_tables.sql"
    text = last.read_text()
    last.write_text(f"{text}\nSELECT pg_sleep(60);\n")
    dsn = make_conninfo(
        empty.info.dsn,
        password=empty.info.password or None,
        application_name="to be killed",
        # otherwise the server would notice its client's end when the sleep is over
        options="-c client_connection_check_interval=20ms",
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", MIGRATE, dsn, sql_files], env=environment)
    try:
        is_there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'to be killed'"
        for _ in range(4000):
            assert process.poll() is None
            if value(empty, f"{is_there} AND wait_event = 'PgSleep'"):
                break
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    while value(empty, is_there):
        time.sleep(0.005)
    assert footprint(empty) == before

    last.write_text(text)
    music_database(empty)
    add_album(empty)
    assert albums_logged(empty) == 1


# -- failing ----------------------------------------------------------------------------------------------------------


def append(path, text):
    """Append to a file; return the number of the first line appended."""
    before = path.read_text()
    path.write_text(before + text)
    return before.count("\n") + 1


def test_a_syntax_error_in_a_migration_is_named_and_leaves_nothing(empty, sql_files):
    before = footprint(empty)
    line = append(
        sql_files / "migrations" / "0002_registry.sql",
        "\n-- ¿ a comment with é and 🦙: positions are characters\nCREATE TABLE llamalog.extra (\n    id bigin\n    name text\n);\n",
    )
    refusal = refusal_of(migrate.migrate, empty)
    assert isinstance(refusal, MigrationFailed)
    assert (str(refusal), refusal.sqlstate, refusal.hint) == (
        f'sql/migrations/0002_registry.sql, line {line + 4}: syntax error at or near "name"',
        "42601",
        "Nothing was changed.",
    )
    assert footprint(empty) == before


def test_a_statement_that_fails_when_it_runs_is_named_by_its_own_line(empty, sql_files):
    """Such an error has no position: the line is where the statement begins, not the comment above it."""
    before = footprint(empty)
    line = append(
        sql_files / "migrations" / "0002_registry.sql",
        "SELECT 1;\n\n-- Fails.\n-- Always.\nSELECT\n    1 / 0;\nSELECT 2;\n",
    )
    refusal = refusal_of(migrate.migrate, empty)
    assert (str(refusal), refusal.sqlstate) == (
        f"sql/migrations/0002_registry.sql, line {line + 4}: division by zero",
        "22012",
    )
    assert footprint(empty) == before


def test_a_new_migration_that_fails_leaves_the_installation_as_it_was(database, sql_files):
    add_album(database)
    before = footprint(database)
    (sql_files / "migrations" / "0099_more.sql").write_text(
        "CREATE TABLE llamalog.more (id bigint);\nDROP TABLE llamalog.nowhere;\n"
    )
    (sql_files / "migrations" / "0099_more.rollback.sql").write_text("DROP TABLE llamalog.more;\n")
    refusal = refusal_of(migrate.migrate, database)
    assert (str(refusal), refusal.sqlstate) == (
        'sql/migrations/0099_more.sql, line 2: table "nowhere" does not exist',
        "42P01",
    )
    assert footprint(database) == before
    add_album(database)
    assert albums_logged(database) == 2


def test_a_syntax_error_in_a_function_file_is_named_and_leaves_nothing(empty, sql_files):
    before = footprint(empty)
    path = sql_files / "functions" / "history.sql"
    text = path.read_text()
    path.write_text(text.replace("LANGUAGE", "LANGUISH", 1))
    line = text[: text.index("LANGUAGE")].count("\n") + 1
    refusal = refusal_of(migrate.migrate, empty)
    assert (str(refusal), refusal.sqlstate) == (
        f'sql/functions/history.sql, line {line}: syntax error at or near "LANGUISH"',
        "42601",
    )
    assert footprint(empty) == before


BODIES = {
    "sql": (
        "SELECT 1;\n    SELECT id\n    FROM llamalog.nowhere;",
        5,
        'relation "llamalog.nowhere" does not exist',
        "42P01",
    ),
    "plpgsql": (
        "BEGIN\n    PERFORM 1;\n    REFORM 2;\nEND;",
        5,
        'syntax error at or near "REFORM"',
        "42601",
    ),
}


@pytest.mark.parametrize("language", BODIES)
def test_an_error_in_the_body_of_a_function_is_named_and_leaves_nothing(
    database, sql_files, language
):
    """Bodies are looked into when every function is there; the error names the file all the same."""
    before = footprint(database)
    body, line, message, sqlstate = BODIES[language]
    (sql_files / "functions" / "lost.sql").write_text(
        "-- Looks for a table that is not there.\nCREATE OR REPLACE FUNCTION llamalog.lost() RETURNS bigint\n"
        f"LANGUAGE {language} AS $function$ {body}\n$function$;\n"
    )
    refusal = refusal_of(migrate.migrate, database)
    assert isinstance(refusal, MigrationFailed)
    assert (str(refusal), refusal.sqlstate) == (
        f"sql/functions/lost.sql, line {line}: {message}",
        sqlstate,
    )
    assert footprint(database) == before


def test_an_error_in_a_trigger_template_is_named_and_leaves_nothing(empty, sql_files):
    before = footprint(empty)
    path = sql_files / "triggers" / "capture_row.sql.j2"
    path.write_text(path.read_text().replace("SECURITY DEFINER", "SECURITY DEFINITELY", 1))
    refusal = refusal_of(migrate.migrate, empty)
    assert str(refusal).startswith("sql/triggers/capture_row.sql.j2, line ")
    assert refusal.sqlstate == "42601"
    assert footprint(empty) == before


def test_a_rollback_that_fails_is_named_and_undoes_nothing(database, sql_files):
    path = sql_files / "migrations" / f"{MIGRATIONS[-1]}.rollback.sql"
    path.write_text("-- Undoes the answers.\nDROP TABLE llamalog.nowhere;\n")
    before = footprint(database)
    refusal = refusal_of(migrate.rollback, database)
    assert isinstance(refusal, MigrationFailed)
    assert (str(refusal), refusal.sqlstate) == (
        f'sql/migrations/{MIGRATIONS[-1]}.rollback.sql, line 2: table "nowhere" does not exist',
        "42P01",
    )
    assert footprint(database) == before


# -- what changed since -----------------------------------------------------------------------------------------------


def test_a_migration_edited_after_its_release_is_reported_and_nothing_is_applied(
    database, sql_files
):
    before = footprint(database)
    append(sql_files / "migrations" / "0001_log.sql", "\n-- An afterthought.\n")
    append(sql_files / "migrations" / "0004_adoption.sql", "\n-- Another.\n")
    append(sql_files / "functions" / "history.sql", "\n-- A change that is allowed.\n")
    refusal = refusal_of(migrate.migrate, database)
    assert isinstance(refusal, MigrationEdited)
    assert (str(refusal), refusal.sqlstate, refusal.detail, refusal.hint) == (
        "migration 0001_log was edited after it had been applied",
        "LL011",
        "Edited: 0001_log, 0004_adoption.",
        "Restore the file; make the change in a new migration.",
    )
    assert migrate.plan(database).edited == ["0001_log", "0004_adoption"]
    assert footprint(database) == before


def test_a_changed_function_file_is_applied_again_and_alone(database, sql_files):
    before = footprint(database)
    path = sql_files / "functions" / "history.sql"
    path.write_text(path.read_text().replace("COMMENT ON", "-- Changed.\nCOMMENT ON"))
    report = migrate.migrate(database)
    assert report == migrate.Report(repeatables=["functions/history.sql"])
    after = footprint(database)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert {re.sub(r" \d.*| \{.*|\(.*", "", name) for name in changed} == {
        "function llamalog.history",
        "description pg_proc",
        "row of repeatables",
    }
    assert migrate.migrate(database).is_empty


def test_a_new_migration_is_applied_to_a_running_installation(database, sql_files):
    """Also what a splitter of statements stumbles over: blocks, bodies, and marks inside comments and strings."""
    add_album(database)
    (sql_files / "migrations" / "0099_more.sql").write_text(
        "-- Don't stumble; it's only a comment.\n"
        "CREATE TABLE llamalog.more (note text DEFAULT 'a;b -- c');\n"
        "DO $do$\nDECLARE\n    v_n integer;\nBEGIN\n    IF true THEN\n"
        "        INSERT INTO llamalog.more VALUES ('from a block; $$');\n    END IF;\nEND;\n$do$;\n"
        "CREATE FUNCTION llamalog.more_notes() RETURNS bigint LANGUAGE sql BEGIN ATOMIC\n"
        "    SELECT 1;\n    SELECT CASE WHEN true THEN count(*) END FROM llamalog.more;\nEND;\n"
        "INSERT INTO llamalog.more DEFAULT VALUES;\n"
    )
    (sql_files / "migrations" / "0099_more.rollback.sql").write_text(
        "DROP FUNCTION llamalog.more_notes();\nDROP TABLE llamalog.more;\n"
    )
    assert migrate.migrate(database).migrations == ["migrations/0099_more.sql"]
    assert values(database, "SELECT note FROM llamalog.more ORDER BY note") == [
        "a;b -- c",
        "from a block; $$",
    ]
    assert value(database, "SELECT llamalog.more_notes()") == 2
    add_album(database)
    assert albums_logged(database) == 2


def test_migrate_beside_a_writing_transaction_fails_neither(
    database, connect, meanwhile, sql_files
):
    """The log and the application's tables are locked in the order in which every writer locks them."""
    add_album(database)
    for month in values(
        database,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'llamalog.llama_logs'::regclass",
    ):
        if not month.endswith("_default"):
            database.execute(f"DROP TABLE {month}")
    template = sql_files / "triggers" / "update.sql.j2"
    template.write_text(template.read_text().replace("DECLARE\n", "DECLARE\n    -- Changed.\n", 1))
    migrator, writer = connect(database), connect(database)
    with writer.transaction():
        # locks albums, and not yet the log: nothing changes
        writer.execute("UPDATE albums SET title = title")
        migrating = meanwhile(migrate.migrate, migrator)
        until_blocked(database, migrator.info.backend_pid)
        writer.execute("UPDATE albums SET title = 'Kid A'")
    report = migrating.result(60)
    assert (len(report.partitions), len(report.watches)) == (4, 5)
    assert values(database, "SELECT after ->> 'title' FROM llamalog.log WHERE op = 'U'") == [
        "Kid A"
    ]


# -- whoever installs -------------------------------------------------------------------------------------------------

NO_EVENT_TRIGGERS = (
    "may not create event triggers: tables are captured by the tolerant capture,"
    " which any change of a table leaves working"
)


def owned_database(server, role, attributes=""):
    """A connection of a new role, that owns a new database of the same name and nothing else."""
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute(f'CREATE ROLE "{role}" LOGIN {attributes}')
        admin.execute(f'CREATE DATABASE "{role}" OWNER "{role}"')
    return psycopg.connect(make_conninfo(server.dsn, user=role, dbname=role), autocommit=True)


@default("image")
def test_a_role_that_may_create_roles_installs_under_an_owner_that_cannot_log_in(own_server):
    with owned_database(own_server, "in-staller", "CREATEROLE") as conn:
        report = music_database(conn)
        assert report.notes == [NO_EVENT_TRIGGERS]
        assert value(
            conn, "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'llamalog'"
        ) == ("llamalog_owner")
        assert rows(
            conn,
            "SELECT rolcanlogin, rolsuper, rolbypassrls FROM pg_roles WHERE rolname = 'llamalog_owner'",
        ) == [(False, False, False)]
        add_album(conn)
        conn.execute("ALTER TABLE albums ADD COLUMN rating integer")
        conn.execute("UPDATE albums SET rating = 5")
        conn.execute("TRUNCATE albums CASCADE")
        assert rows(
            conn,
            "SELECT category, after FROM llamalog.log WHERE entity_type = 'ALBUM' ORDER BY seq",
        ) == [("CREATED", None), ("UPDATED", {"rating": 5}), ("TRUNCATED", None)]
        assert migrate.migrate(conn).watches == ["public.albums"]
        assert migrate.migrate(conn).is_empty


@default("image")
def test_a_role_that_may_not_create_roles_owns_what_it_installs(own_server):
    with owned_database(own_server, "plain") as conn:
        report = music_database(conn)
        assert report.notes == [
            "may not create the role llamalog_owner: plain owns the log, and can change it",
            "may not create llamalog_reader, llamalog_writer, llamalog_admin: let somebody run CREATE ROLE llamalog_reader"
            " NOLOGIN; CREATE ROLE llamalog_writer NOLOGIN; CREATE ROLE llamalog_admin NOLOGIN, then llamalog migrate again;"
            " or give a role of yours the same rights: SELECT llamalog.grant_access('your_role', 'reader')",
            NO_EVENT_TRIGGERS,
        ]
        add_album(conn)
        conn.execute("ALTER TABLE albums ADD COLUMN rating integer")
        conn.execute("UPDATE albums SET rating = 5")
        conn.execute("TRUNCATE albums CASCADE")
        assert rows(
            conn,
            "SELECT category, after FROM llamalog.log WHERE entity_type = 'ALBUM' ORDER BY seq",
        ) == [("CREATED", None), ("UPDATED", {"rating": 5}), ("TRUNCATED", None)]
        assert migrate.migrate(conn).watches == ["public.albums"]
        assert migrate.migrate(conn).is_empty
        with psycopg.connect(own_server.dsn, autocommit=True) as admin:
            admin.execute("CREATE ROLE llamalog_reader; CREATE ROLE llamalog_admin")
        report = migrate.migrate(conn)
        assert (report.roles, report.migrations) == (["llamalog_reader", "llamalog_admin"], [])
        assert access.lacking(conn) == {"llamalog_writer": False}
        assert migrate.migrate(conn).is_empty
        assert migrate.rollback(conn, everything=True, drop_log=True) == [*reversed(MIGRATIONS)]
        assert access.left(conn) == ["llamalog_admin", "llamalog_reader"]
        assert value(conn, "SELECT to_regnamespace('llamalog')") is None


def test_a_role_that_is_no_member_of_the_owner_made_by_others_owns_what_it_installs(own_server):
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        migrate.migrate(admin)
    with owned_database(own_server, "late", "CREATEROLE") as conn:
        report = music_database(conn)
        assert report.notes == [
            "may not create the role llamalog_owner: late owns the log, and can change it",
            NO_EVENT_TRIGGERS,
        ]
        add_album(conn)
        assert albums_logged(conn) == 1
        # the roles are the cluster's, and have their rights in this database too
        assert access.lacking(conn) == {}
        migrate.rollback(conn, everything=True, drop_log=True)
    with psycopg.connect(own_server.dsn, autocommit=True) as admin:
        assert access.lacking(admin) == {}
        migrate.rollback(admin, everything=True)
        assert access.left(admin) == [*sorted([*access.ROLES, access.OWNER])]
        assert value(
            admin, "SELECT has_table_privilege('llamalog_reader', 'llamalog.llama_logs', 'SELECT')"
        )
        migrate.migrate(admin)
        assert access.lacking(admin) == {}
        migrate.rollback(admin, everything=True, drop_log=True)
        assert access.left(admin) == []


def test_a_role_without_privileges_is_told_what_it_lacks(empty, connect):
    empty.execute("CREATE ROLE nobody LOGIN")
    try:
        nobody = connect(empty, user="nobody")
        nobody.row_factory = tuple_row
        refusal = refusal_of(migrate.migrate, nobody)
        assert (str(refusal), refusal.sqlstate, refusal.hint) == (
            "permission denied for database own_empty",
            "42501",
            "Connect as the owner of the table, or ask for the privilege.",
        )
        migrate.migrate(empty)
        refusal = refusal_of(migrate.migrate, nobody)
        assert (refusal.sqlstate, refusal.hint) == (
            "42501",
            "Connect as the role that installed llamalog; to watch a table it must own that too, or hold TRIGGER on it.",
        )
    finally:
        empty.execute("DROP ROLE nobody")


def test_a_read_only_server_is_named_as_such(empty, connect):
    before = footprint(empty)
    reader = connect(empty, options="-c default_transaction_read_only=on")
    reader.row_factory = tuple_row
    refusal = refusal_of(migrate.migrate, reader)
    assert (str(refusal), refusal.sqlstate, refusal.hint) == (
        "cannot execute CREATE SCHEMA in a read-only transaction",
        "25006",
        "The server or the session is read-only: connect to the primary.",
    )
    assert footprint(empty) == before


STRANGERS = {
    "table": ("CREATE TABLE llamalog.diary (day date)", "diary"),
    "view": ("CREATE VIEW llamalog.diary AS SELECT current_date AS day", "diary"),
    "materialized view": ("CREATE MATERIALIZED VIEW llamalog.diary AS SELECT 1 AS day", "diary"),
    "sequence": ("CREATE SEQUENCE llamalog.diary", "diary"),
    "function": (
        "CREATE FUNCTION llamalog.diary() RETURNS integer LANGUAGE sql RETURN 1",
        "diary()",
    ),
    "type": ("CREATE TYPE llamalog.diary AS ENUM ('spit')", "diary"),
}


@pytest.mark.parametrize("kind", STRANGERS)
def test_a_schema_of_the_same_name_with_somebody_elses_things_is_refused(empty, kind):
    """Uninstalling would drop the schema, and them with it."""
    create, name = STRANGERS[kind]
    empty.execute("CREATE SCHEMA llamalog")
    empty.execute(create)
    before = footprint(empty)
    refusal = refusal_of(migrate.migrate, empty)
    assert refusal.sqlstate == "LL001"
    assert name in refusal.detail
    assert refusal.hint.startswith("Rename that schema, or drop it")
    assert footprint(empty) == before


def test_an_empty_schema_of_the_same_name_is_taken_over(empty):
    empty.execute("CREATE SCHEMA llamalog")
    music_database(empty)
    # whoever owns it owns the functions that capture, and they have his rights
    owner = "SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'llamalog'"
    assert value(empty, owner) == "llamalog_owner"
    add_album(empty)
    assert albums_logged(empty) == 1


@pytest.mark.parametrize("row_factory", [tuple_row, namedtuple_row])
def test_whatever_rows_the_connection_makes_it_installs(empty, row_factory):
    empty.row_factory = row_factory
    music_database(empty)
    add_album(empty)
    assert migrate.migrate(empty).is_empty
    assert albums_logged(empty) == 1


def test_the_session_keeps_its_role_and_settings(empty):
    """As where an administrator connects as himself and takes the role that may install."""
    empty.execute("CREATE ROLE deployer SUPERUSER")
    try:
        empty.execute("SET ROLE deployer; SET lock_timeout = '7s'; SET TimeZone = 'Asia/Tokyo'")
        shown = (
            "SELECT current_user, current_setting('lock_timeout'), current_setting('TimeZone'),"
            " current_setting('search_path'), current_setting('check_function_bodies')"
        )
        before = rows(empty, shown)
        with empty.transaction():
            music_database(empty)
            within = rows(empty, shown)
        assert (within, rows(empty, shown)) == (before, before)
    finally:
        empty.execute("RESET ROLE; DROP OWNED BY deployer CASCADE; DROP ROLE deployer")


def test_whatever_the_session_is_set_to_it_installs(empty, connect):
    empty.execute(MUSIC.read_bytes())
    settings = {
        "search_path": "nowhere",
        "default_transaction_isolation": "serializable",
        "DateStyle": "German",
        "IntervalStyle": "sql_standard",
        "TimeZone": "Asia/Kathmandu",
        "client_min_messages": "debug1",
        "row_security": "off",
        "check_function_bodies": "off",
    }
    odd = connect(empty, options=" ".join(f"-c {name}={value}" for name, value in settings.items()))
    odd.row_factory = tuple_row
    migrate.migrate(odd)
    watching.watch(odd, ["public.albums"])
    add_album(empty)
    assert migrate.migrate(empty).is_empty
    assert albums_logged(empty) == 1


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_whatever_the_encoding_of_the_database_it_installs(empty, encoding):
    name = f"own_{encoding.lower()}"
    empty.execute(f"CREATE DATABASE {name} ENCODING {encoding} LOCALE 'C' TEMPLATE template0")
    try:
        dsn = make_conninfo(empty.info.dsn, password=empty.info.password or None, dbname=name)
        with connection.connect(dsn) as conn:
            conn.autocommit = True
            music_database(conn)
            add_album(conn)
            assert migrate.migrate(conn).is_empty
            assert len(rows(conn, "SELECT llamalog.why('ALBUM', id::text) FROM albums")) == 1
            # texts are those of the files, not what another encoding makes of their bytes
            assert migrate.plan(conn).is_empty
            ours = "SELECT prosrc FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
            assert [body for body in values(conn, ours) if not body.isascii()] == []
            if encoding == "SQL_ASCII":
                conn.execute("UPDATE albums SET label = convert_from('\\xe9', 'SQL_ASCII')")
                with pytest.raises(LlamaLogError, match="invalid byte sequence") as error:
                    queries.history(conn, "ALBUM", values(conn, "SELECT id::text FROM albums")[0])
                assert error.value.sqlstate == "22021"
                assert "no text in UTF-8" in error.value.hint
    finally:
        empty.execute(f"DROP DATABASE {name} WITH (FORCE)")


# -- by hand ----------------------------------------------------------------------------------------------------------


def server_program(conn, program, *arguments, **more):
    """Run a program that comes with the server, on the database of the connection; return its output."""
    binary = embedded.find_binaries(conn.info.server_version // 10000) / program
    info = conn.info
    address = {"HOST": info.host, "PORT": info.port, "USER": info.user, "PASSWORD": info.password}
    run = subprocess.run(
        [binary, f"--dbname={info.dbname}", *arguments],
        env=os.environ | {f"PG{name}": str(value) for name, value in address.items() if value},
        capture_output=True,
        text=True,
        **more,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


def run_by_hand(conn, script):
    server_program(
        conn,
        "psql",
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--output=/dev/null",
        input=script,
    )


def test_the_script_run_by_hand_makes_a_working_installation(empty):
    run_by_hand(empty, "".join(migrate.script(empty)))
    require_installation(empty)
    # migrate recognises it, and finds nothing left to do
    assert migrate.plan(empty) == migrate.Plan(
        is_installed=True,
        applied=MIGRATIONS,
    )
    assert migrate.migrate(empty) == migrate.Report()
    assert list(migrate.script(empty)) == []
    music_database(empty)
    add_album(empty)
    assert albums_logged(empty) == 1


def test_the_script_makes_what_migrate_makes(empty, twin):
    """Owners, privileges, comments: the dumps of both are the same."""
    run_by_hand(empty, "".join(migrate.script(empty)))
    migrate.migrate(twin)
    assert dump(empty) == dump(twin)


def test_the_script_of_an_upgrade_run_by_hand_is_the_upgrade(database, sql_files):
    path = sql_files / "functions" / "history.sql"
    path.write_text(path.read_text().replace("COMMENT ON", "-- Changed.\nCOMMENT ON"))
    (sql_files / "migrations" / "0099_more.sql").write_text(
        "CREATE TABLE llamalog.more (id bigint);\n"
    )
    (sql_files / "migrations" / "0099_more.rollback.sql").write_text("DROP TABLE llamalog.more;\n")
    # as an earlier version had them
    database.execute(
        "DROP FUNCTION llamalog.top_seq(); CREATE FUNCTION llamalog.top_seq() RETURNS text LANGUAGE sql RETURN NULL;"
        " ALTER FUNCTION llamalog.top_seq() OWNER TO llamalog_owner;"
        " DELETE FROM llamalog.repeatables WHERE name = 'functions/top_seq.sql'"
    )
    run_by_hand(database, "".join(migrate.script(database)))
    assert migrate.plan(database).is_empty
    assert migrate.migrate(database) == migrate.Report()
    assert database.execute("SELECT pg_typeof(llamalog.top_seq())::text").fetchone() == ("bigint",)
    add_album(database)
    assert albums_logged(database) == 1


def test_a_function_that_no_version_has_any_more_is_dropped_once_unless_somebody_needs_it(db):
    db.execute(
        "CREATE FUNCTION llamalog.gone(text) RETURNS text LANGUAGE sql RETURN $1;"
        " CREATE FUNCTION llamalog.needed() RETURNS integer LANGUAGE sql RETURN 1;"
        " ALTER FUNCTION llamalog.gone(text) OWNER TO llamalog_owner;"
        " ALTER FUNCTION llamalog.needed() OWNER TO llamalog_owner;"
        " CREATE VIEW public.theirs AS SELECT llamalog.needed();"
        " INSERT INTO llamalog.repeatables VALUES ('functions/gone.sql', 'old'), ('functions/needed.sql', 'old')"
    )
    report = migrate.migrate(db)
    assert report.repeatables == ["functions/gone.sql", "functions/needed.sql"]
    assert db.execute(
        "SELECT proname FROM pg_proc WHERE proname IN ('gone', 'needed')"
    ).fetchall() == [("needed",)]
    assert migrate.migrate(db) == migrate.Report()


# -- taken out --------------------------------------------------------------------------------------------------------


def dump(conn):
    """The schema as the server's own pg_dump writes it, without the key that pg_dump makes up for each run."""
    text = server_program(conn, "pg_dump", "--schema-only")
    return [
        line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    ]


def what_is_logged(conn):
    return {
        table: rows(conn, f"SELECT * FROM llamalog.{table} ORDER BY 1")
        for table in ("llama_logs", "jobs", "source_paths", "watches")
    }


def on_the_tables(conn):
    """Triggers and privileges of every table of the application's."""
    return rows(
        conn,
        "SELECT oid::regclass::text, relacl::text, (SELECT array_agg(pg_get_triggerdef(t.oid) ORDER BY tgname)"
        " FROM pg_trigger AS t WHERE tgrelid = c.oid AND NOT tgisinternal) FROM pg_class AS c"
        " WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text IN ('public', '\"Shop\"') ORDER BY 1",
    )


CAPTURE = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '00\\_llamalog\\_%'"


def test_rolling_back_the_newest_takes_capture_off_and_migrate_puts_it_back(reporting, database):
    database.execute(SHOP)
    watching.watch(database, SHOP_TABLES)
    database.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add-1')")
    add_album(database)
    before, hung = what_is_logged(database), on_the_tables(database)

    assert migrate.rollback(database) == MIGRATIONS[-1:]
    assert value(database, CAPTURE) == 0
    add_album(database, "unseen")
    assert rows(database, "SELECT category FROM llamalog.llama_logs") == [("CREATED",)]

    report = migrate.migrate(database)
    assert report.migrations == [f"migrations/{MIGRATIONS[-1]}.sql"]
    assert sorted(report.watches) == [
        '"Shop"."Order\'s 100%"',
        "public.album_artists",
        "public.albums",
        "public.animals",
        "public.artists",
        "public.measurements",
        "public.track_artists",
        "public.tracks",
    ]
    assert what_is_logged(database) == before
    assert on_the_tables(database) == hung
    add_album(database, "seen")
    assert albums_logged(database) == 2


def test_rolling_back_everything_keeps_the_log_and_migrate_goes_on_with_it(database):
    add_album(database, "before")
    before = rows(database, "SELECT * FROM llamalog.llama_logs")
    assert migrate.rollback(database, everything=True) == [*reversed(MIGRATIONS[1:])]
    assert value(database, CAPTURE) == 0
    assert rows(database, "SELECT * FROM llamalog.llama_logs") == before
    add_album(database, "unseen")

    report = migrate.migrate(database)
    assert report.migrations == [f"migrations/{name}.sql" for name in MIGRATIONS[1:]]
    watching.watch(database, MUSIC_TABLES)
    add_album(database, "after")
    assert rows(
        database,
        "SELECT title, category FROM llamalog.log JOIN albums ON albums.id::text = entity_id ORDER BY seq",
    ) == [("before", "CREATED"), ("after", "CREATED")]


def test_rolling_back_everything_keeps_which_job_caused_which(database):
    database.execute(
        "SELECT llamalog.start_job('check', parent_job_id => 'add', source => 'enrichment_check')"
    )
    before = rows(database, "SELECT * FROM llamalog.jobs")
    migrate.rollback(database, everything=True)
    assert rows(database, "SELECT * FROM llamalog.jobs") == before
    migrate.migrate(database)
    assert rows(database, "SELECT job_id, parent_job_id, source FROM llamalog.jobs") == [
        ("check", "add", "enrichment_check")
    ]
    migrate.rollback(database, everything=True, drop_log=True)
    assert value(database, "SELECT to_regclass('llamalog.jobs')") is None


def test_the_log_is_never_erased_unasked(database):
    add_album(database)
    migrate.rollback(database, everything=True)
    refusal = refusal_of(migrate.rollback, database)
    assert isinstance(refusal, LogNotEmpty)
    assert (str(refusal), refusal.sqlstate, refusal.hint) == (
        "rolling back 0001_log would erase the log, 1 row",
        "LL013",
        "Add --drop-log if that is meant.",
    )
    assert migrate.rollback(database, everything=True) == []
    assert value(database, "SELECT count(*) FROM llamalog.llama_logs") == 1
    assert migrate.rollback(database, drop_log=True) == ["0001_log"]
    assert value(database, "SELECT to_regnamespace('llamalog')") is None


def test_a_database_without_installation_has_nothing_to_roll_back(empty):
    refusal = refusal_of(migrate.rollback, empty)
    assert (str(refusal), refusal.sqlstate, refusal.hint) == (
        "llamalog is not installed in this database",
        "LL001",
        "Run: llamalog migrate",
    )


@pytest.mark.parametrize("options", [Options(), Options(capture="tolerant", image="full")])
def test_uninstalling_leaves_the_application_exactly_as_it_was(reporting, empty, options):
    empty.execute(MUSIC.read_bytes())
    empty.execute(SHOP)
    before = dump(empty)
    migrate.migrate(empty)
    watching.watch(empty, MUSIC_TABLES + SHOP_TABLES, options)
    add_album(empty)
    empty.execute("INSERT INTO measurements VALUES ('2026-05-01', 1, 0.5)")
    empty.execute("CREATE TABLE measurements_later PARTITION OF measurements DEFAULT")
    empty.execute("DROP TABLE measurements_later")
    empty.execute("TRUNCATE animals")
    assert value(empty, CAPTURE) > 4 * len(MUSIC_TABLES + SHOP_TABLES)
    assert dump(empty) != before
    migrate.rollback(empty, everything=True, drop_log=True)
    assert dump(empty) == before
    assert value(empty, "SELECT count(*) FROM albums") == 1


def test_uninstalling_leaves_the_application_as_it_was_after_renames_and_drops(
    reporting, empty, twin
):
    for conn in (empty, twin):
        conn.execute(MUSIC.read_bytes())
        conn.execute(SHOP)
    changes = (
        'ALTER SCHEMA "Shop" RENAME TO store; ALTER TABLE albums RENAME TO records;'
        "DROP TABLE measurements_2026, artists CASCADE; ALTER TABLE llamas RENAME TO alpacas;"
    )
    migrate.migrate(empty)
    watching.watch(empty, MUSIC_TABLES + SHOP_TABLES)
    for conn in (empty, twin):
        conn.execute(changes)
    migrate.rollback(empty, everything=True, drop_log=True)
    assert dump(empty) == dump(twin)


def test_unwatching_one_table_of_a_schema_leaves_the_others_captured(empty):
    empty.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.orders (id integer PRIMARY KEY);"
        " CREATE TABLE shop.parcels (id integer PRIMARY KEY); INSERT INTO shop.parcels VALUES (1)"
    )
    migrate.migrate(empty)
    watching.watch(empty, ["shop.orders", "shop.parcels"])
    watching.unwatch(empty, ["shop.orders"])
    empty.execute("TRUNCATE shop.parcels")
    assert rows(empty, "SELECT entity_type, category FROM llamalog.log") == [
        ("PARCEL", "TRUNCATED")
    ]
    watching.unwatch(empty, ["shop.parcels"])
    usage = "SELECT nspacl::text LIKE '%llamalog_owner%' FROM pg_namespace WHERE nspname = 'shop'"
    assert value(empty, usage) is False


def test_uninstalling_and_installing_again_works(database):
    add_album(database)
    migrate.rollback(database, everything=True, drop_log=True)
    migrate.migrate(database)
    watching.watch(database, MUSIC_TABLES)
    add_album(database)
    assert albums_logged(database) == 1


def test_a_view_of_the_applications_own_on_the_log_is_not_dropped_unasked(database):
    """Say a dashboard: taking the code out must not take it along in silence."""
    database.execute(
        "CREATE VIEW dashboard AS SELECT category, count(*) FROM llamalog.log GROUP BY 1"
    )
    before = footprint(database)
    refusal = refusal_of(migrate.rollback, database)
    assert refusal.sqlstate == "2BP01"
    assert value(database, "SELECT to_regclass('dashboard')") == "dashboard"
    assert footprint(database) == before


def test_there_must_be_something_to_roll_back(db):
    db.execute("DELETE FROM llamalog._yoyo_migration")
    with pytest.raises(Misuse, match="no migration is applied"):
        migrate.rollback_plan(db)


def test_a_function_that_no_file_makes_is_looked_into_too(db):
    """Such as a rendered capture: there is no line of a file to name."""
    db.execute("SET LOCAL check_function_bodies = off")
    db.execute(
        "CREATE FUNCTION llamalog.capture_song_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEU END'"
    )
    db.execute("SET LOCAL check_function_bodies = on")
    said = r"function llamalog\.capture_song_insert\(\): .*end of"
    with pytest.raises(MigrationFailed, match=said) as caught:
        migrate._check_bodies(db)
    assert caught.value.sqlstate == "42601"


#: Indexes of the log and what it keeps beside, with the class of operators of their first column where that is text.
LEADING_TEXT = """
    SELECT class.relname, operators.opcname
    FROM pg_index AS index
    JOIN pg_class AS class ON class.oid = index.indexrelid
    JOIN pg_opclass AS operators ON operators.oid = index.indclass[0]
    WHERE index.indrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'llamalog.llama_logs'::regclass)
            AND operators.opcname LIKE 'text%'
        OR index.indrelid IN ('llamalog.llama_logs'::regclass, 'llamalog.jobs'::regclass, 'llamalog.renamings'::regclass)
            AND operators.opcname LIKE 'text%'
"""


def test_keys_are_compared_by_bytes_and_never_by_a_language(database):
    """en_US.UTF-8 made each lookup half as dear again; types, which are few, may be in any order."""
    found = dict(rows(database, LEADING_TEXT))
    by_language = {name for name, operators in found.items() if operators != "text_pattern_ops"}
    assert by_language == {name for name in found if "entity_type_id" in name or "removed" in name}
    assert len(found) - len(by_language) > 15


def test_indexes_that_were_built_beside_the_writers_are_taken_as_they_are(database):
    migrate.rollback(database)
    build = (
        "CREATE INDEX llama_logs_job_id_bytes_idx ON ONLY llamalog.llama_logs (job_id text_pattern_ops, id)"
        " WHERE job_id IS NOT NULL"
    )
    database.execute(build)
    partitions = [
        name
        for (name,) in rows(
            database,
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'llamalog.llama_logs'::regclass",
        )
    ]
    for number, name in enumerate(partitions):
        database.execute(
            f"CREATE INDEX CONCURRENTLY beside_{number} ON {name} (job_id text_pattern_ops, id) WHERE job_id IS NOT NULL"
        )
        database.execute(
            f"ALTER INDEX llamalog.llama_logs_job_id_bytes_idx ATTACH PARTITION llamalog.beside_{number}"
        )
    oids = "SELECT array_agg(inhrelid ORDER BY 1) FROM pg_inherits WHERE inhparent = 'llamalog.llama_logs_job_id_bytes_idx'::regclass"
    before = value(database, oids)

    migrate.migrate(database)
    assert value(database, oids) == before
    assert len(before) == len(partitions)
    assert value(database, "SELECT to_regclass('llamalog.llama_logs_job_id_idx') IS NULL")
