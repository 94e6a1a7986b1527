"""The doctor finds each thing that was really broken, puts right what is safe to, and is silent about a healthy database."""

from __future__ import annotations

import csv
import io
import json
import re
import tempfile
from pathlib import Path

import legacy
import psycopg
import pytest
from click.testing import CliRunner
from conftest import MUSIC, MUSIC_TABLES
from pytest_postgresql import factories

from llamalog_sql import doctor, embedded, installation, migrate, watching
from llamalog_sql.adoption import adopt
from llamalog_sql.cli import main
from llamalog_sql.doctor import repairs
from llamalog_sql.errors import NotInstalled
from llamalog_sql.findings import KINDS, Finding
from llamalog_sql.watching import Options

#: The server of the tests has no autovacuum; that is found in every database of it.
OF_THE_SERVER = {"autovacuum-off"}


#: The examination that renders every capture anew.
COSTLY = "files, functions and triggers"


def named(findings: list[Finding]) -> list[tuple[str, str]]:
    """(id, what) of the errors and warnings but those of the server."""
    return [(f.id, f.what) for f in findings if f.is_fault and f.id not in OF_THE_SERVER]


def faults(conn: psycopg.Connection) -> list[tuple[str, str]]:
    return named(doctor.examine(conn))


def the(conn: psycopg.Connection, kind: str) -> Finding:
    (found,) = (found for found in doctor.examine(conn) if found.id == kind)
    return found


def fix(
    conn: psycopg.Connection, findings: list[Finding] | None = None
) -> list[repairs.Repair | repairs.Refusal]:
    return list(repairs.repair(conn, repairs.plan(findings or doctor.examine(conn))))


@pytest.fixture
def quick(monkeypatch):
    """Leave out what is costly, where it has nothing to say."""
    cheap = {name: look for name, look in doctor.EXAMINATIONS.items() if name != COSTLY}
    monkeypatch.setattr(doctor, "EXAMINATIONS", cheap)


def test_a_healthy_database_gives_no_finding_but_information(db):
    found = {f.id: f.problem for f in doctor.examine(db) if f.id not in OF_THE_SERVER}
    assert set(found) == {"versions", "coverage", "last-write", "wal-level"}
    assert found["coverage"] == "5 of 6 are watched"
    assert found["last-write"].startswith("not written in 30 days; watched since ")
    assert f"migrations up to {migrate.plan(db).applied[-1]}" in found["versions"]


# -- each kind, by really breaking the thing ---------------------------------------------------------------------------

#: What is broken, and what is found then: (id, what). --fix puts it right.
CAPTURES = {
    "a view is dropped": (
        "DROP VIEW llamalog.recent_activity",
        ("object-missing", "llamalog.recent_activity"),
    ),
    "a function is dropped": (
        "DROP FUNCTION llamalog.category_of(text, text, text)",
        ("object-missing", "llamalog.category_of"),
    ),
    "a capture is replaced by one that does nothing": (
        "CREATE OR REPLACE FUNCTION llamalog.capture_album_update() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
        " SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'",
        ("function-edited", "llamalog.capture_album_update()"),
    ),
    "a function runs with other rights": (
        "ALTER FUNCTION llamalog.captured_tables() SECURITY DEFINER",
        ("function-edited", "llamalog.captured_tables()"),
    ),
    "a function has another setting": (
        "ALTER FUNCTION llamalog.captured_tables() SET work_mem = '64kB'",
        ("function-edited", "llamalog.captured_tables()"),
    ),
    "a capture loses its search_path": (
        "ALTER FUNCTION llamalog.capture_row() RESET search_path",
        ("function-search-path", "llamalog.capture_row()"),
    ),
    "a capture has another search_path": (
        "ALTER FUNCTION llamalog.capture_track_insert() SET search_path = public",
        ("function-search-path", "llamalog.capture_track_insert()"),
    ),
    "a function is given away": (
        "CREATE ROLE taker; ALTER FUNCTION llamalog.capture_row() OWNER TO taker",
        ("function-owner", "llamalog.capture_row()"),
    ),
    "a capture is dropped": (
        'DROP TRIGGER "00_llamalog_insert" ON albums',
        ("trigger-missing", "public.albums"),
    ),
    "a capture is disabled": (
        'ALTER TABLE albums DISABLE TRIGGER "00_llamalog_update"',
        ("trigger-disabled", "public.albums"),
    ),
    "a capture fires for the replica role alone": (
        'ALTER TABLE albums ENABLE REPLICA TRIGGER "00_llamalog_delete"',
        ("trigger-disabled", "public.albums"),
    ),
    "a capture has a condition": (
        'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER UPDATE ON albums FOR EACH ROW WHEN (OLD.label IS NULL)'
        " EXECUTE FUNCTION llamalog.capture_album_update('ALBUM')",
        ("trigger-edited", "public.albums"),
    ),
    "a capture fires for one column": (
        'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER UPDATE OF label ON albums FOR EACH ROW'
        " EXECUTE FUNCTION llamalog.capture_album_update('ALBUM')",
        ("trigger-edited", "public.albums"),
    ),
    "a capture calls that of another table": (
        'CREATE OR REPLACE TRIGGER "00_llamalog_delete" AFTER DELETE ON albums FOR EACH ROW'
        " EXECUTE FUNCTION llamalog.capture_row('ALBUM')",
        ("trigger-edited", "public.albums"),
    ),
    "one capture of several is demoted": (
        'ALTER TABLE albums ENABLE ALWAYS TRIGGER "00_llamalog_insert", ENABLE ALWAYS TRIGGER "00_llamalog_update",'
        ' ENABLE ALWAYS TRIGGER "00_llamalog_delete"',
        ("trigger-demoted", "public.albums"),
    ),
    "a column is added unseen": (
        "ALTER EVENT TRIGGER llamalog_ddl DISABLE; ALTER TABLE albums ADD COLUMN cover text;"
        " ALTER EVENT TRIGGER llamalog_ddl ENABLE",
        ("capture-outdated", "public.albums"),
    ),
    "a column is added": (
        "ALTER TABLE albums ADD COLUMN cover text",
        ("capture-fallen-back", "public.albums"),
    ),
    "the owner of the log may not read a table": (
        "REVOKE SELECT ON albums FROM llamalog_owner",
        ("capture-cannot-read", "public.albums"),
    ),
    "a table is dropped unseen": (
        "ALTER EVENT TRIGGER llamalog_drop DISABLE; DROP TABLE track_artists; ALTER EVENT TRIGGER llamalog_drop ENABLE",
        ("table-gone", "public.track_artists"),
    ),
    "rows of last year wait": (
        "INSERT INTO llamalog.llama_logs (created_at, operation, category)"
        " VALUES (now() - interval '400 days', 'import', 'CREATED')",
        ("rows-in-default", "llamalog.llama_logs_default"),
    ),
}

#: Likewise, of what is around them.
MENDED = {
    "one event trigger is dropped": (
        "DROP EVENT TRIGGER llamalog_drop",
        ("event-trigger-missing", "event trigger llamalog_drop"),
    ),
    "an event trigger fires for the replica role alone": (
        "ALTER EVENT TRIGGER llamalog_drop ENABLE REPLICA",
        ("event-trigger-disabled", "event trigger llamalog_drop"),
    ),
    "an event trigger listens to less": (
        "DROP EVENT TRIGGER llamalog_ddl; CREATE EVENT TRIGGER llamalog_ddl ON ddl_command_end WHEN TAG IN ('ALTER TYPE')"
        " EXECUTE FUNCTION llamalog.follow_schema_change()",
        ("event-trigger-edited", "event trigger llamalog_ddl"),
    ),
    "an event trigger belongs to who was a superuser": (
        "CREATE ROLE demoted SUPERUSER; ALTER EVENT TRIGGER llamalog_ddl OWNER TO demoted; ALTER ROLE demoted NOSUPERUSER",
        ("event-trigger-owner", "event trigger llamalog_ddl"),
    ),
    "what the event triggers run is no superuser's": (
        "ALTER FUNCTION llamalog.follow_schema_change() OWNER TO llamalog_owner",
        ("event-trigger-owner", "llamalog.follow_schema_change()"),
    ),
    "a table of the log is given away": (
        "CREATE ROLE taker; ALTER TABLE llamalog.llama_logs OWNER TO taker",
        ("table-owner", "llamalog.llama_logs"),
    ),
    "the schema is given away": (
        "CREATE ROLE taker; ALTER SCHEMA llamalog OWNER TO taker",
        ("table-owner", "schema llamalog"),
    ),
    "the view of the log is given away": (
        "CREATE ROLE taker; ALTER VIEW llamalog.log OWNER TO taker",
        ("table-owner", "llamalog.log"),
    ),
    "an application may change the log": (
        "CREATE ROLE app; GRANT SELECT, INSERT, UPDATE ON llamalog.llama_logs TO app",
        ("log-writable", "role app"),
    ),
    "an application may change a column of the log": (
        "CREATE ROLE app; GRANT UPDATE (reason) ON llamalog.llama_logs TO app",
        ("log-writable", "role app"),
    ),
    "an application may change the log through a view": (
        "CREATE ROLE app; GRANT DELETE ON llamalog.log TO app",
        ("log-writable", "role app"),
    ),
    "an application may write what capture runs": (
        "CREATE ROLE app; GRANT INSERT ON llamalog.row_queries TO app",
        ("log-writable", "role app"),
    ),
    "everybody may empty the log": (
        "GRANT TRUNCATE, TRIGGER ON llamalog.jobs TO PUBLIC",
        ("log-writable", "everybody"),
    ),
    "months to come are open": (
        "CREATE ROLE app; ALTER DEFAULT PRIVILEGES FOR ROLE llamalog_owner GRANT DELETE ON TABLES TO app",
        ("default-grants", "role app"),
    ),
    "an application may hang a capture": (
        "CREATE ROLE app; GRANT EXECUTE ON FUNCTION llamalog.capture_row() TO app",
        ("capture-executable", "role app"),
    ),
    "everybody may make months": (
        "GRANT EXECUTE ON FUNCTION llamalog.maintain(integer, interval, integer, timestamptz) TO PUBLIC",
        ("capture-executable", "everybody"),
    ),
    "an application may create objects beside ours": (
        "CREATE ROLE app; GRANT CREATE ON SCHEMA llamalog TO app",
        ("schema-open", "role app"),
    ),
    "the jobs are not vacuumed": (
        "ALTER TABLE llamalog.jobs SET (autovacuum_enabled = false)",
        ("log-autovacuum-off", "llamalog.jobs"),
    ),
}

#: Likewise, and a person has to decide.
TOLD = {
    "a role writes unlogged": (
        "CREATE ROLE loader; ALTER ROLE loader SET session_replication_role = replica",
        ("role-bypasses-capture", "role loader"),
    ),
    "a role may switch capture off for itself": (
        "CREATE ROLE loader; GRANT SET ON PARAMETER session_replication_role TO loader",
        ("role-may-bypass", "role loader"),
    ),
    "a trigger eats what is logged": (
        "CREATE TRIGGER eats BEFORE INSERT ON llamalog.llama_logs FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        ("log-altered", "llamalog.llama_logs"),
    ),
    "a rule eats what is logged": (
        "CREATE RULE eats AS ON INSERT TO llamalog.llama_logs DO INSTEAD NOTHING",
        ("log-altered", "llamalog.llama_logs"),
    ),
    "a policy hides the log": (
        "ALTER TABLE llamalog.llama_logs ENABLE ROW LEVEL SECURITY",
        ("log-altered", "llamalog.llama_logs"),
    ),
    "a crash would empty the jobs": (
        "ALTER TABLE llamalog.jobs SET UNLOGGED",
        ("log-altered", "llamalog.jobs"),
    ),
    "a month is detached": (
        "DO $$ BEGIN EXECUTE 'ALTER TABLE llamalog.llama_logs DETACH PARTITION '"
        " || llamalog.month_partition(now() + interval '2 months');"
        " EXECUTE format('ALTER TABLE %s RENAME TO llama_logs_2031_12',"
        " llamalog.month_partition(now() + interval '2 months')); END $$",
        ("month-detached", "llamalog.llama_logs_2031_12"),
    ),
    "a role may write every table": (
        "CREATE ROLE loader LOGIN; GRANT pg_write_all_data TO loader",
        ("writes-all-data", "role loader"),
    ),
    "the owner of the log may log in": (
        "ALTER ROLE llamalog_owner LOGIN",
        ("owner-can-log-in", "role llamalog_owner"),
    ),
    "the log refers to the application": (
        "CREATE TABLE reasons (reason text PRIMARY KEY);"
        " ALTER TABLE llamalog.llama_logs ADD FOREIGN KEY (reason) REFERENCES reasons ON DELETE CASCADE",
        ("log-foreign-key", "llamalog.llama_logs"),
    ),
    "the numbers run out": (
        "ALTER TABLE llamalog.jobs ALTER COLUMN id RESTART WITH 8000000000000000000;"
        " SELECT nextval('llamalog.jobs_id_seq')",
        ("sequence-ending", "llamalog.jobs_id_seq"),
    ),
    "a month was being archived": (
        "INSERT INTO llamalog.archived_months (month, partition) VALUES ('2020-01-01', 'llamalog.llama_logs_2020_01')",
        ("archiving-unfinished", "2020-01"),
    ),
    "a session was left with a context": (
        "SET LOCAL llamalog.job_id = 'left'",
        ("context-in-session", "this session"),
    ),
    "a role begins in a job": (
        "CREATE ROLE worker; ALTER ROLE worker SET llamalog.parent_job_id = 'nightly-7'",
        ("job-of-role", "role worker"),
    ),
}

#: Likewise, by the looks that llamalog check has too.
CHECKED = {
    "a subscription writes a watched table": (
        "CREATE SUBSCRIPTION copies CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE);"
        " INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
        " SELECT oid, 'public.albums'::regclass, 'r' FROM pg_subscription WHERE subname = 'copies'",
        ("subscription-unlogged", "public.albums"),
    ),
    "a policy hides rows from the capture of TRUNCATE": (
        "ALTER TABLE albums ENABLE ROW LEVEL SECURITY; ALTER ROLE llamalog_owner NOBYPASSRLS",
        ("truncate-hidden", "public.albums"),
    ),
    "a function of the owner of a table could run as the owner of the log": (
        "CREATE ROLE owner; GRANT CREATE ON SCHEMA public TO owner; CREATE FUNCTION half(integer) RETURNS integer"
        " LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2'; ALTER FUNCTION half(integer) OWNER TO owner;"
        " CREATE INDEX ON albums (half(track_count))",
        ("truncate-unsafe", "public.albums"),
    ),
    "capture is paused": (
        "SELECT llamalog.pause('ALBUM', 'a large load')",
        ("capture-paused", "public.albums"),
    ),
}

#: Likewise, and no fault.
FACTS = {
    "a role may act as the owner of the log": (
        "CREATE ROLE installer LOGIN; GRANT llamalog_owner TO installer",
        ("owner-members", "role llamalog_owner"),
    ),
    "a role has a source of its own": (
        "CREATE ROLE worker; ALTER ROLE worker SET llamalog.source = 'worker'",
        ("context-of-role", "role worker"),
    ),
    "an application made up a time": (
        "INSERT INTO llamalog.llama_logs (created_at, operation, category) VALUES ('1999-01-01', 'import', 'CREATED')",
        ("rows-out-of-range", "llamalog.llama_logs_default"),
    ),
    "the room of a month is not given back": (
        "INSERT INTO llamalog.archived_months (month, partition, row_count, removed_count, checksum, archived_at)"
        " VALUES ('2020-01-01', 'llamalog.llama_logs_default', 1, 1, '', now())",
        ("room-not-given-back", "llamalog.llama_logs_default"),
    ),
}


#: Other ways to break the same.
AGAIN = {
    "the view of the log is given away",
    "a rule eats what is logged",
    "a policy hides the log",
    "a function is dropped",
    "a function runs with other rights",
    "a function has another setting",
    "a capture has another search_path",
    "a capture fires for the replica role alone",
    "a capture fires for one column",
    "a capture calls that of another table",
}


def cases(table: dict[str, tuple[str, tuple[str, str]]]) -> pytest.MarkDecorator:
    params = [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] if name in AGAIN else [])
        for name, case in table.items()
    ]
    return pytest.mark.parametrize(("broken", "found"), params)


@cases(CAPTURES)
def test_a_broken_capture_is_found_and_put_right(db, broken, found):
    db.execute(broken.encode())
    findings = doctor.examine(db)
    assert named(findings) == [found]
    assert [done for done in fix(db, findings) if isinstance(done, repairs.Refusal)] == []
    assert faults(db) == []


@cases(MENDED)
def test_what_is_broken_is_found_and_put_right(db, quick, broken, found):
    db.execute(broken.encode())
    findings = doctor.examine(db)
    assert named(findings) == [found]
    assert [done for done in fix(db, findings) if isinstance(done, repairs.Refusal)] == []
    assert faults(db) == []


@cases(TOLD)
def test_what_a_person_must_decide_is_told_and_left_alone(db, quick, broken, found):
    db.execute(broken.encode())
    (fault,) = (f for f in doctor.examine(db) if f.is_fault and f.id not in OF_THE_SERVER)
    assert (fault.id, fault.what) == found
    assert fault.hint
    assert repairs.plan([fault]) == []


@cases(CHECKED)
def test_what_check_tells_for_a_person_to_decide_the_doctor_tells(db, broken, found):
    db.execute(broken.encode())
    (fault,) = (f for f in doctor.examine(db) if f.is_fault and f.id not in OF_THE_SERVER)
    assert (fault.id, fault.what) == found
    assert fault.hint
    assert repairs.plan([fault]) == []


def test_row_security_that_the_log_lacks_is_put_right_and_one_that_the_table_lacks_is_told(db):
    db.execute(
        "ALTER TABLE albums ENABLE ROW LEVEL SECURITY; CREATE POLICY titled ON albums USING (title <> '')"
    )
    watching.watch(db, ["albums"], Options(row_security=True))
    db.execute("DROP POLICY sees_album ON llamalog.llama_logs")
    findings = doctor.examine(db)
    assert named(findings) == [("row-security-missing", "llamalog.llama_logs")]
    assert [done for done in fix(db, findings) if isinstance(done, repairs.Refusal)] == []
    assert faults(db) == []
    db.execute("ALTER TABLE albums DISABLE ROW LEVEL SECURITY")
    findings = doctor.examine(db)
    assert named(findings) == [("row-security-off", "public.albums")]
    assert repairs.plan(findings) == []


@cases(FACTS)
def test_what_is_no_fault_is_told_as_information(db, quick, broken, found):
    db.execute(broken.encode())
    findings = doctor.examine(db)
    assert named(findings) == []
    assert found in [(f.id, f.what) for f in findings]


def test_a_view_of_ours_that_reads_itself_is_found_and_made_anew(db):
    db.execute("CREATE OR REPLACE VIEW llamalog.log AS SELECT * FROM llamalog.log")
    findings = doctor.examine(db)
    assert {f.id for f in findings if f.is_fault} - OF_THE_SERVER == {"function-edited"}
    fix(db, findings)
    assert faults(db) == []


def test_a_function_or_a_key_of_somebody_elses_making_is_told_and_left_alone(db):
    db.execute(
        "CREATE FUNCTION llamalog.mine(n int) RETURNS int LANGUAGE sql RETURN n;"
        " ALTER TABLE track_artists DROP CONSTRAINT track_artists_pkey"
    )
    findings = doctor.examine(db)
    assert named(findings) == [
        ("function-unknown", "llamalog.mine(integer)"),
        ("key-missing", "public.track_artists"),
    ]
    assert repairs.plan(findings) == []


@pytest.mark.parametrize(
    ("broken", "found"),
    [
        (
            "DROP EVENT TRIGGER llamalog_drop; DROP EVENT TRIGGER llamalog_ddl",
            ("event-trigger-missing", "event triggers"),
        ),
        (
            "ALTER EVENT TRIGGER llamalog_ddl DISABLE",
            ("event-trigger-disabled", "event trigger llamalog_ddl"),
        ),
    ],
)
def test_rendered_captures_without_event_triggers_are_outdated(db, broken, found):
    db.execute(broken.encode())
    findings = doctor.examine(db)
    assert {kind for kind, _ in named(findings)} == {"capture-outdated", found[0]}
    assert found in named(findings)
    assert all(isinstance(done, repairs.Repair) for done in fix(db, findings))
    assert faults(db) == []


def test_a_table_that_took_the_place_of_a_watched_one_is_found(db):
    db.execute(
        "CREATE TABLE labels (id int PRIMARY KEY); CREATE TABLE labels_new (id int PRIMARY KEY)"
    )
    watching.watch(db, ["labels"])
    db.execute("DROP TABLE labels; ALTER TABLE labels_new RENAME TO labels")
    assert faults(db) == [("table-replaced", "public.labels")]
    watching.watch(db, ["labels"])
    assert faults(db) == []


def test_a_month_that_is_lacking_is_found_and_made(db):
    ((month,),) = db.execute("SELECT llamalog.month_partition(now() + interval '1 month')")
    db.execute(f"DROP TABLE {month}".encode())
    assert faults(db) == [("month-missing", month)]
    fix(db)
    assert faults(db) == []


def test_rows_of_this_month_without_a_month_are_found_and_moved(db):
    ((month,),) = db.execute("SELECT llamalog.month_partition(now())")
    db.execute(f"DROP TABLE {month}".encode())
    db.execute("INSERT INTO llamalog.llama_logs (operation, category) VALUES ('import', 'CREATED')")
    assert faults(db) == [
        ("month-missing", month),
        ("rows-in-default", "llamalog.llama_logs_default"),
    ]
    assert len(fix(db)) == 1
    assert faults(db) == []


def test_files_that_are_not_those_of_the_database_are_found(db):
    db.execute(
        "UPDATE llamalog._yoyo_migration SET content_hash = '' WHERE migration_id = '0001_log'"
    )
    db.execute("INSERT INTO llamalog._yoyo_migration VALUES ('x', '9999_later', now(), '')")
    db.execute("UPDATE llamalog.repeatables SET checksum = '' WHERE name = 'functions/why.sql'")
    assert faults(db) == [
        ("migration-edited", "migration 0001_log"),
        ("migration-unknown", "migration 9999_later"),
        ("not-applied", "sql/functions/why.sql"),
    ]


def test_a_table_of_ours_that_was_dropped_is_an_error_and_no_excuse(db):
    db.execute("DROP TABLE llamalog.archived_months CASCADE")
    assert ("object-missing", "what waits") in faults(db)
    assert the(db, "versions").what == "versions"


def test_an_empty_database_is_told_to_install(empty):
    with pytest.raises(NotInstalled):
        doctor.examine(empty)


def test_a_migrate_with_one_event_trigger_left_makes_the_other(db):
    db.execute("DROP EVENT TRIGGER llamalog_ddl")
    migrate.migrate(db)
    assert faults(db) == []


def test_without_event_triggers_a_chosen_capture_is_no_fault(db):
    db.execute("DROP EVENT TRIGGER llamalog_drop; DROP EVENT TRIGGER llamalog_ddl")
    watching.watch(db, MUSIC_TABLES, Options(capture="tolerant"))
    assert faults(db) == []
    assert the(db, "event-triggers-absent").what == "event triggers"


def test_where_the_installer_may_make_no_role_the_doctor_says_what_that_means(empty, connect):
    ((name,),) = empty.execute("SELECT current_database()")
    empty.execute(
        f"DROP ROLE IF EXISTS tenant; CREATE ROLE tenant LOGIN PASSWORD 'x'; GRANT ALL ON DATABASE {name} TO tenant;"
        " GRANT ALL ON SCHEMA public TO tenant".encode()
    )
    tenant = connect(empty, user="tenant", password="x")
    try:
        tenant.execute("CREATE TABLE notes (id int PRIMARY KEY, note text)")
        migrate.migrate(tenant)
        watching.watch(tenant, ["notes"])
        findings = doctor.examine(tenant)
        assert named(findings) == [("owner-can-log-in", "role tenant")]
        assert "event-triggers-absent" in {f.id for f in findings}
        assert doctor.examine(tenant, ignored=[f.id for f in findings]) == []
        tenant.execute("ALTER TABLE notes DISABLE TRIGGER USER")
        assert [type(done) for done in fix(tenant)] == [repairs.Repair]
        assert named(doctor.examine(tenant)) == [("owner-can-log-in", "role tenant")]
    finally:
        tenant.close()
        empty.execute("DROP OWNED BY tenant; DROP ROLE tenant")


def test_last_writes_tell_when_each_table_was_written_and_how_much(db, new, quick):
    album = new.album(db)
    new.link(db, album, new.artist(db))
    seen = db.execute(
        "SELECT entity_type, table_name, change_count, last_written_at >= transaction_timestamp()"
        " FROM llamalog.last_writes ORDER BY entity_type"
    ).fetchall()
    assert [tuple(row) for row in seen] == [
        ("ALBUM", "public.albums", 1, True),
        ("ALBUM_ARTIST", "public.album_artists", 1, True),
        ("ARTIST", "public.artists", 1, True),
        ("TRACK", "public.tracks", 0, None),
        ("TRACK_ARTIST", "public.track_artists", 0, None),
    ]
    found = {f.what: f.problem for f in doctor.examine(db) if f.id == "last-write"}
    assert re.fullmatch(
        r"last written \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, 1 change in 30 days",
        found["public.albums"],
    )


def test_every_table_that_a_publication_for_all_carries_can_be_changed(db, quick):
    db.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    found = [f for f in doctor.examine(db) if f.id == "publication-identity"]
    assert "llamalog.adoption_days" in {f.what for f in found}
    assert not {f.what for f in found} & {"llamalog.llama_logs_default", "llamalog.jobs"}
    fix(db)
    assert faults(db) == []
    assert the(db, "published").what == "publication everything"


def test_odd_tables_of_every_kind_are_healthy_and_found_when_broken(db):
    db.execute(
        """
        CREATE SCHEMA "Odd Schema";
        CREATE DOMAIN "Odd Schema".code AS text;
        CREATE TABLE "Odd Schema"."Line Items" (
            "Order" int, pos "Odd Schema".code, tags text[], total int GENERATED ALWAYS AS ("Order" * 2) STORED,
            PRIMARY KEY ("Order", pos)
        );
        CREATE TABLE measured (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
        CREATE TABLE measured_1 PARTITION OF measured FOR VALUES FROM (0) TO (10);
        """
    )
    watching.watch(db, ['"Odd Schema"."Line Items"'], Options(capture="statement"))
    watching.watch(db, ["measured"])
    assert faults(db) == []
    db.execute(
        'ALTER TABLE "Odd Schema"."Line Items" DISABLE TRIGGER USER;'
        ' ALTER TABLE measured_1 DISABLE TRIGGER "00_llamalog_update"'
    )
    assert sorted(faults(db)) == [
        ("trigger-disabled", '"Odd Schema"."Line Items"'),
        ("trigger-disabled", "public.measured"),
    ]
    fix(db)
    assert faults(db) == []
    db.execute(
        'CREATE OR REPLACE TRIGGER "00_llamalog_truncate" BEFORE TRUNCATE ON measured_1'
        " FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION llamalog.capture_truncate('MEASURED')"
    )
    assert faults(db) == [("trigger-edited", "public.measured")]


# -- tables that are not watched ---------------------------------------------------------------------------------------


def test_tables_that_look_as_if_they_should_be_watched(database, quick):
    database.execute(
        """
        CREATE TABLE covers (id int PRIMARY KEY, album_id uuid REFERENCES albums);
        CREATE TABLE reviews (id int PRIMARY KEY, album_id uuid REFERENCES albums);
        CREATE TABLE old_artists (LIKE artists INCLUDING ALL);
        CREATE TABLE charts (id int PRIMARY KEY, place int);
        CREATE TABLE declined (id int PRIMARY KEY, album_id uuid REFERENCES albums);
        INSERT INTO covers VALUES (1), (2);
        INSERT INTO declined VALUES (1);
        INSERT INTO charts VALUES (1);
        """
    )
    watching.watch(database, ["declined"])
    watching.unwatch(database, ["declined"])
    database.execute("SELECT pg_stat_force_next_flush()")
    told = {
        f.what: (f.id, f.problem.split("; ")[0])
        for f in doctor.examine(database)
        if f.id in {"table-unwatched", "table-related"}
    }
    assert told == {
        "public.covers": (
            "table-unwatched",
            "is not watched: it refers to public.albums, which is",
        ),
        "public.reviews": ("table-related", "is not watched: it refers to public.albums, which is"),
        "public.old_artists": (
            "table-related",
            "is not watched: it looks like public.artists, which is",
        ),
    }
    assert the(database, "coverage").problem == "5 of 11 are watched"
    watching.watch(database, ["covers"])
    assert faults(database) == []


def test_of_very_many_related_tables_some_are_told_and_the_rest_counted(db, quick):
    db.execute(
        "DO $$ BEGIN FOR n IN 1..23 LOOP EXECUTE format('CREATE TABLE artists_%s (LIKE artists)', n); END LOOP; END $$"
    )
    related = [f for f in doctor.examine(db) if f.id == "table-related"]
    assert len(related) == 21
    assert related[-1].problem == "3 more are related to watched ones"


# -- contexts that are nobody's ----------------------------------------------------------------------------------------


def test_a_context_left_in_a_pooled_connection_shows_in_what_others_write(database, new, quick):
    # who has the connection first sets a context for the session; the next ones say only who they are
    database.execute("SET llamalog.job_id = 'add-1'")
    for user in ("ann", "ben"):
        with database.transaction():
            database.execute("SELECT set_config('llamalog.user_id', %s, true)", [user])
            new.album(database)
    database.execute("RESET llamalog.job_id")
    found = the(database, "context-left-in-pool")
    assert (found.what, found.problem.split(":")[0]) == (
        "job add-1",
        "wrote for 2 users, in 2 transactions within 0 hours",
    )


def test_a_job_of_many_transactions_and_paths_is_no_fault_and_a_long_one_is_told(
    database, new, quick
):
    album = new.album(database)
    for number in range(100):
        with database.transaction():
            database.execute(
                "SELECT llamalog.set_context(source => %s, job_id => 'nightly-7', user_id => 'ann')",
                ["enrichment" if number else "cache"],
            )
            database.execute("UPDATE albums SET track_count = %s WHERE id = %s", [number, album])
    assert faults(database) == []
    database.execute(
        "UPDATE llamalog.llama_logs SET created_at = created_at - interval '26 hours', source = 'enrichment'"
        " WHERE source = 'cache'"
    )
    assert faults(database) == []
    assert the(database, "job-goes-on").problem == "has written for 26 hours, in 100 transactions"


# -- the log's indexes, its archives, an adopted one -------------------------------------------------------------------


def test_an_invalid_index_is_built_anew_unless_it_is_none_of_ours(database, new, quick):
    ((month,),) = database.execute("SELECT llamalog.month_partition(now())")
    new.album(database)
    with pytest.raises(psycopg.errors.DivisionByZero):
        database.execute(
            f"CREATE INDEX CONCURRENTLY theirs ON {month} ((1 / retry_count))".encode()
        )
    database.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'llamalog.jobs_job_id_idx'::regclass"
    )
    assert faults(database) == [
        ("index-invalid", "llamalog.jobs_job_id_idx"),
        ("index-invalid", "llamalog.theirs"),
    ]
    fix(database)
    assert faults(database) == [("index-invalid", "llamalog.theirs")]
    database.execute(the(database, "index-invalid").hint.encode())
    assert faults(database) == []


def test_archiving_that_is_at_work_is_not_unfinished(db, quick):
    db.execute("INSERT INTO llamalog.archived_months (month, partition) VALUES ('2020-01-01', 'x')")
    db.execute("SELECT pg_advisory_xact_lock(hashtext('llamalog.maintain'))")
    assert faults(db) == []


def test_dead_rows_of_the_log_are_told(database, quick):
    database.execute(
        "INSERT INTO llamalog.jobs (job_id) SELECT n FROM generate_series(1, 10001) AS n; DELETE FROM llamalog.jobs"
    )
    database.execute("SELECT pg_stat_force_next_flush()")
    assert the(database, "log-bloat").problem == "has 10,001 dead rows beside 0"


def _adopted(**address) -> None:
    with psycopg.connect(**{**address, "autocommit": True}) as conn:
        conn.execute(MUSIC.read_bytes())
        legacy.make(conn)
        migrate.migrate(conn)
        watching.watch(conn, MUSIC_TABLES)
        adopt.adopt(conn, "public.enrichment_logs")


doctor_adopted_template = factories.postgresql_noproc(
    dbname="doctor_adopted", depends_on="server", load=[_adopted]
)


def test_an_adopted_log_is_looked_at_in_its_place(clone, doctor_adopted_template):
    with clone(doctor_adopted_template) as conn, conn.transaction(force_rollback=True):
        # what backfill ends with
        assert faults(conn) == [("backfill-unfinished", "public.llama_logs")]
        conn.execute("ALTER TABLE llama_logs ALTER COLUMN seq DROP DEFAULT")
        conn.execute(
            "UPDATE llama_logs SET seq = 1; ALTER TABLE llama_logs ALTER COLUMN seq SET NOT NULL"
        )
        assert faults(conn) == []
        # the application's migrations bring a foreign key back, a restore takes ENABLE ALWAYS away
        conn.execute(
            "ALTER TABLE llama_logs ADD FOREIGN KEY (album_id) REFERENCES albums ON DELETE CASCADE;"
            " ALTER TABLE llama_logs DISABLE TRIGGER USER; ALTER TABLE llama_logs ENABLE TRIGGER USER"
        )
        assert faults(conn) == [
            ("log-foreign-key", "public.llama_logs"),
            ("adoption-triggers", "public.llama_logs"),
        ]
        assert the(conn, "log-foreign-key").problem == (
            "refers to public.albums by llama_logs_album_id_fkey: to delete a row there deletes its history"
        )
        conn.execute(the(conn, "log-foreign-key").hint.encode())
        conn.execute(
            'ALTER TABLE llama_logs ENABLE ALWAYS TRIGGER "00_llamalog_fill",'
            ' ENABLE ALWAYS TRIGGER "00_llamalog_fill_captured"'
        )
        assert faults(conn) == []
        conn.execute('ALTER TABLE llama_logs ENABLE REPLICA TRIGGER "00_llamalog_fill"')
        assert faults(conn) == [("adoption-triggers", "public.llama_logs")]
        conn.execute("UPDATE llamalog.adoptions SET step = 'columns'")
        assert faults(conn) == [("adoption-unfinished", "public.llama_logs")]


# -- how it looks ------------------------------------------------------------------------------------------------------


def test_it_only_reads_and_locks_nothing_that_a_writer_waits_for(database, connect):
    reader = connect(database, options="-c default_transaction_read_only=on")
    assert [f.id for f in doctor.examine(reader)] == [f.id for f in doctor.examine(database)]
    reader.autocommit = False
    for look in doctor.EXAMINATIONS.values():
        list(look(reader))
    held = reader.execute(
        # of a sequence, its last number
        "SELECT DISTINCT held.mode FROM pg_locks AS held JOIN pg_class AS class ON class.oid = held.relation"
        " WHERE held.pid = pg_backend_pid() AND class.relkind <> 'S'"
    ).fetchall()
    assert [mode for (mode,) in held] == ["AccessShareLock"]


def test_a_mere_reader_is_told_what_he_may_not_look_at(database, connect):
    database.execute(
        "DROP ROLE IF EXISTS analyst; CREATE ROLE analyst LOGIN PASSWORD 'x'; GRANT SELECT ON llamalog.log TO analyst"
    )
    try:
        seen = doctor.examine(connect(database, user="analyst", password="x"))
        blind = {f.what: (f.problem, f.hint) for f in seen if f.id == "not-looked-at"}
        assert "grants" not in blind
        assert blind["files, functions and triggers"] == (
            "not looked at: permission denied for table _yoyo_migration",
            "GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst",
        )
        database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst")
        seen = doctor.examine(connect(database, user="analyst", password="x"))
        assert [f.what for f in seen if f.id == "not-looked-at"] == []
        assert {f.id for f in seen if f.is_fault} == OF_THE_SERVER
    finally:
        database.execute("DROP OWNED BY analyst; DROP ROLE analyst")


def test_who_may_not_put_it_right_is_told_what_he_lacks(database, connect):
    database.execute(
        "DROP ROLE IF EXISTS helper; CREATE ROLE helper LOGIN PASSWORD 'x';"
        " GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO helper;"
        " ALTER EVENT TRIGGER llamalog_ddl DISABLE; ALTER TABLE llamalog.jobs SET (autovacuum_enabled = off);"
        ' ALTER TABLE albums DISABLE TRIGGER "00_llamalog_update"'
    )
    try:
        done = fix(connect(database, user="helper", password="x"))
        assert [(d.problem, d.hint) for d in done if isinstance(d, repairs.Refusal)] == [
            ("must be owner of event trigger llamalog_ddl", "Connect as a superuser."),
            (
                "must be owner of table jobs",
                'GRANT "llamalog_owner" TO "helper", or connect as a superuser.',
            ),
            (
                "permission denied to change what is installed or watched",
                'Connect as a superuser, or as the owner of the table with: GRANT "llamalog_owner" TO "helper"',
            ),
        ]
        assert {d.sqlstate for d in done if isinstance(d, repairs.Refusal)} == {"42501"}
        assert len(done) == 3
    finally:
        database.execute("DROP OWNED BY helper; DROP ROLE helper")


def test_what_somebody_holds_is_told_and_the_rest_looked_at(database, connect, quick):
    holder = connect(database)
    holder.autocommit = False
    holder.execute("LOCK TABLE llamalog.archived_months")
    seen = doctor.examine(database, timeout=1)
    assert [f.what for f in seen if f.id == "not-looked-at"] == ["what waits"]
    assert "coverage" in {f.id for f in seen}
    holder.rollback()


def test_a_lock_that_cannot_be_had_is_told_and_nothing_changed(database, connect, quick):
    database.execute("ALTER TABLE llamalog.jobs SET (autovacuum_enabled = off)")
    holder = connect(database)
    holder.autocommit = False
    holder.execute("LOCK TABLE llamalog.jobs IN ROW EXCLUSIVE MODE")
    holder.execute("LOCK TABLE llamalog.jobs IN SHARE MODE")
    database.execute("SET lock_timeout = '50ms'")
    (refused,) = fix(database)
    assert isinstance(refused, repairs.Refusal)
    assert (refused.problem, refused.sqlstate, refused.hint) == (
        "canceling statement due to lock timeout",
        "55P03",
        "Run it again: somebody else is at work there.",
    )
    holder.rollback()


def test_nothing_of_somebody_elses_is_called(database):
    """The doctor is often a superuser: a function that shadows one of PostgreSQL's must not run with his rights."""
    database.execute(
        "CREATE FUNCTION public.count(anyelement) RETURNS bigint LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'called'; END $$;"
        " CREATE FUNCTION public.format(text, name, name) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$;"
        " SET search_path = public, pg_catalog"
    )
    assert faults(database) == []


@pytest.mark.slow
def test_it_works_on_a_standby():
    """A server that recovers for ever."""
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        kept = Path(base, "kept")
        settings = {"wal_level": "replica"}
        with (
            embedded.start(keep_in=kept, settings=settings) as server,
            psycopg.connect(server.dsn, autocommit=True) as conn,
        ):
            migrate.migrate(conn)
        Path(kept, "data", "standby.signal").touch()
        with (
            embedded.start(keep_in=kept, settings=settings) as server,
            psycopg.connect(server.dsn, autocommit=True) as conn,
        ):
            seen = doctor.examine(conn)
            assert {f.id for f in seen} == {"coverage", "standby", "versions", "wal-level"}


# -- at the terminal ---------------------------------------------------------------------------------------------------


@pytest.fixture
def llamalog(database):
    """llamalog("doctor", ...) runs the command on the test's own database."""

    def run(*arguments: str):
        address = {**database.info.get_parameters(), "password": database.info.password}
        own = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
        runner = CliRunner(env={"LLAMALOG_DSN": own, "COLUMNS": "60"})
        ignored = [f"--ignore={kind}" for kind in OF_THE_SERVER]
        return runner.invoke(main, ["doctor", *ignored, *arguments], catch_exceptions=False)

    return run


def test_findings_stand_worst_first_each_with_what_to_do_in_one_piece(llamalog, database):
    database.execute(
        'ALTER TABLE albums DISABLE TRIGGER "00_llamalog_update";'
        " DROP ROLE IF EXISTS reporter; CREATE ROLE reporter; GRANT ALL ON llamalog.jobs TO reporter;"
        " ALTER TABLE llamalog.jobs SET (autovacuum_enabled = off)"
    )
    try:
        result = llamalog()
        assert result.exit_code == 1
        lines = result.stdout.splitlines()
        assert lines[:9] == [
            "2 errors",
            "  public.albums: missing or disabled: 00_llamalog_update  [trigger-disabled]",
            "      Run: llamalog migrate",
            "  role reporter: has DELETE, TRIGGER, TRUNCATE, UPDATE on llamalog.jobs  [log-writable]",
            "      REVOKE DELETE, TRIGGER, TRUNCATE, UPDATE ON llamalog.jobs FROM reporter",
            "1 warning",
            "  llamalog.jobs: has autovacuum off  [log-autovacuum-off]",
            "      ALTER TABLE llamalog.jobs RESET (autovacuum_enabled)",
            "information",
        ]
        assert "  tables: 5 of 6 are watched  [coverage]" in lines[9:]
        assert result.stderr == "[🦙 LlamaLog] 3 of 3 can be put right by: llamalog doctor --fix\n"
    finally:
        database.execute("DROP OWNED BY reporter; DROP ROLE reporter")


def test_a_healthy_database_is_said_to_be(llamalog, quick):
    for arguments, said in (
        ((), ""),
        (("--fix",), "[🦙 LlamaLog] nothing that --fix could put right\n"),
    ):
        result = llamalog(*arguments)
        assert (result.exit_code, result.stderr) == (0, f"{said}[🦙 LlamaLog] nothing is wrong\n")
        assert result.stdout.splitlines()[0] == "information"


def test_fix_shows_its_steps_asks_and_looks_again(llamalog, database):
    database.execute(
        'ALTER TABLE albums DISABLE TRIGGER "00_llamalog_update"; ALTER TABLE llamalog.jobs SET (autovacuum_enabled = off)'
    )
    dry = llamalog("--fix", "--dry-run")
    assert (dry.exit_code, dry.stdout.splitlines()) == (
        0,
        [
            "llamalog.jobs: has autovacuum off",
            "    would run: ALTER TABLE llamalog.jobs RESET (autovacuum_enabled)",
            "public.albums: missing or disabled: 00_llamalog_update",
            "    would run: llamalog migrate",
        ],
    )
    assert llamalog("--fix", "--sql").stdout.splitlines() == [
        "ALTER TABLE llamalog.jobs RESET (autovacuum_enabled);",
        "",
        "-- then run: llamalog migrate",
        "",
    ]
    refused = llamalog("--fix")
    assert refused.exit_code == 2
    assert "a yes is needed: Run these 2 steps?" in refused.stderr
    done = llamalog("--fix", "--yes")
    assert done.exit_code == 0, done.stderr
    assert "[🦙 LlamaLog] done: llamalog migrate" in done.stderr.splitlines()
    assert done.stdout.splitlines()[0] == "information"


def test_monitoring_gets_ids_severities_and_the_sql(llamalog, database, quick):
    database.execute("ALTER TABLE llamalog.jobs SET (autovacuum_enabled = off)")
    found = json.loads(llamalog("--format", "json").stdout)
    assert found[0] == {
        "what": "llamalog.jobs",
        "problem": "has autovacuum off",
        "hint": "ALTER TABLE llamalog.jobs RESET (autovacuum_enabled)",
        "id": "log-autovacuum-off",
        "severity": "warning",
        "fix": ["ALTER TABLE llamalog.jobs RESET (autovacuum_enabled)"],
    }
    rows = list(csv.DictReader(io.StringIO(llamalog("--format", "csv").stdout)))
    assert {row["id"]: row["severity"] for row in rows} == {f["id"]: f["severity"] for f in found}
    for name in ("log-autovacuum-off", "log-autovacuum-off:llamalog.jobs"):
        assert llamalog("--ignore", name).exit_code == 0
    assert llamalog("--ignore", "log-autovacuum-off:llamalog.llama_logs").exit_code == 1


def test_what_was_not_looked_at_is_not_said_to_be_well(llamalog, database, connect, quick):
    holder = connect(database)
    holder.autocommit = False
    holder.execute("LOCK TABLE llamalog.archived_months")
    result = llamalog("--timeout", "0.2")
    assert "  what waits: not looked at: canceling statement due to" in result.stdout
    assert result.stderr == "[🦙 LlamaLog] nothing is wrong in what could be looked at\n"
    holder.rollback()


def test_misuse_is_told(llamalog, quick):
    for wrong, said in (
        (["--sql"], "--yes, --sql and --dry-run go with --fix"),
        (["--ignore", "nothing"], '"nothing" is no id of a finding'),
    ):
        result = llamalog(*wrong)
        assert result.exit_code == 2
        assert said in result.stderr


def test_what_is_stored_cannot_speak_to_the_terminal(llamalog, database, quick):
    database.execute(
        'CREATE TABLE "evil\x1b[31m" (id int PRIMARY KEY, album_id uuid REFERENCES albums)'
    )
    assert "\x1b" not in llamalog().stdout
    assert "evil\\x1b[31m" in llamalog().stdout


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_has_cause_and_remedy_of_each_kind():
    page = (Path(__file__).parents[1] / "docs" / "doctor.md").read_text()
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in page.splitlines()
        if re.match(r"\| [a-z-]+ \| (error|warning|information) \|", line)
    ]
    assert [(name, severity) for name, severity, *_ in lines] == [
        (name, kind.severity) for name, kind in KINDS.items()
    ]
    assert [name for name, _, cause, *_ in lines if not cause] == []
    assert [
        n for n, severity, _, remedy, _ in lines if severity != "information" and not remedy
    ] == []
    migrated = {name for name, *_, fixed in lines if fixed == "migrate"}
    assert migrated == {name for name, kind in KINDS.items() if kind.migrates}


def test_check_is_part_of_it(db):
    db.execute('ALTER TABLE albums DISABLE TRIGGER "00_llamalog_update"')
    found = installation.check(db)
    assert [f.id for f in found] == ["trigger-disabled"]
    assert [f for f in doctor.examine(db) if f in found] == found
