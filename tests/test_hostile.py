"""A hostile role has every right that an application needs, owns a schema and watched tables: what it tries fails or leaves a trace."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from conftest import sampled

from llamalog_sql import migrate, watching
from llamalog_sql.cli import main
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]

#: What mallory owns, and what she may do with what she does not.
SCENE = """
CREATE ROLE mallory LOGIN;
CREATE ROLE ann LOGIN;
GRANT llamalog_reader, llamalog_writer TO mallory;
GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES ON ALL TABLES IN SCHEMA public TO mallory;
CREATE SCHEMA mallory AUTHORIZATION mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
SET SESSION AUTHORIZATION mallory;
CREATE TABLE mallory.things (id integer PRIMARY KEY, v text, price numeric DEFAULT 1);
CREATE TABLE mallory.wares (id integer PRIMARY KEY, v text, price numeric DEFAULT 1);
CREATE TABLE mallory.events (id integer PRIMARY KEY, v text, price numeric DEFAULT 1) PARTITION BY RANGE (id);
CREATE TABLE mallory.events_low PARTITION OF mallory.events FOR VALUES FROM (0) TO (100);
CREATE TABLE mallory.events_high PARTITION OF mallory.events FOR VALUES FROM (100) TO (200);
CREATE TABLE mallory.seen (who text);
GRANT ALL ON mallory.seen, mallory.things TO PUBLIC;
CREATE FUNCTION mallory.look() RETURNS boolean LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO mallory.seen VALUES (current_user); RETURN true; END $$;
CREATE FUNCTION mallory.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
RESET SESSION AUTHORIZATION;
"""

#: What she owns is captured in each of the ways there are.
WATCHED = {"things": "rendered", "wares": "tolerant", "events": "rendered"}
each_table = pytest.mark.parametrize("table", WATCHED)


@pytest.fixture(scope="module")
def shared(clone: Any) -> Iterator[Connection]:
    with clone("music_template", "hostile") as conn:
        conn.execute(SCENE)
        for table, kind in WATCHED.items():
            watching.watch(conn, [f"mallory.{table}"], Options(capture=kind, image="none"))
        try:
            conn.autocommit = False
            yield conn
        finally:
            conn.rollback()
            conn.autocommit = True
            conn.execute("RESET SESSION AUTHORIZATION; DROP SCHEMA mallory CASCADE")
            conn.execute("DROP OWNED BY mallory, ann; DROP ROLE mallory, ann")


@pytest.fixture
def dba(shared: Connection) -> Iterator[Connection]:
    """A superuser in the scene; what a test does is rolled back."""
    with shared.transaction(force_rollback=True):
        yield shared


@pytest.fixture
def mallory(dba: Connection) -> Connection:
    """The same connection, logged in as mallory."""
    dba.execute("SET SESSION AUTHORIZATION mallory")
    return dba


def back(conn: Connection) -> Connection:
    conn.execute("RESET SESSION AUTHORIZATION")
    return conn


def refusal(conn: Connection, statement: str) -> str | None:
    """The SQLSTATE that the statement fails with, None when it does not."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


def write(conn: Connection, table: str) -> None:
    conn.execute(f"INSERT INTO mallory.{table} VALUES (7, 'a')".encode())
    conn.execute(f"UPDATE mallory.{table} SET v = 'b'".encode())
    conn.execute(f"DELETE FROM mallory.{table}".encode())
    conn.execute(f"INSERT INTO mallory.{table} VALUES (8, 'c')".encode())
    conn.execute(f"TRUNCATE mallory.{table}".encode())


#: What write() leaves in the log.
WRITTEN = [
    ("I", "7", None, None),
    ("U", "7", "a", "b"),
    ("D", "7", "b", None),
    ("I", "8", None, None),
    ("T", "8", "c", None),
]


def written(conn: Connection, table: str) -> list[Any]:
    """The rows of the log about one table, as capture wrote them; and they are mallory's, and of this transaction."""
    found = conn.execute(
        "SELECT op, entity_id, before ->> 'v' AS old, after ->> 'v' AS new, db_user, txid = pg_current_xact_id() AS is_mine"
        " FROM llamalog.log"
        " WHERE entity_type = %s AND op IS NOT NULL ORDER BY seq",
        [table.upper().removesuffix("S")],
    ).fetchall()
    assert {tuple(row[4:]) for row in found} <= {("mallory", True)}
    return [tuple(row[:4]) for row in found]


def findings(conn: Connection, table: str) -> list[str]:
    """What `llamalog check` says of a table."""
    return [drift.problem for drift in watching.drifted(conn) if drift.table == f"mallory.{table}"]


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        # the log
        "UPDATE llamalog.llama_logs SET db_user = 'ann'",
        "UPDATE llamalog.log SET user_id = 'ann'",
        "DELETE FROM llamalog.llama_logs",
        "DELETE FROM llamalog.log",
        "DELETE FROM llamalog.llama_logs_default",
        "TRUNCATE llamalog.llama_logs",
        "TRUNCATE llamalog.jobs, llamalog.watches",
        "DROP TABLE llamalog.llama_logs",
        "DROP SCHEMA llamalog CASCADE",
        "ALTER SCHEMA llamalog RENAME TO gone",
        "ALTER TABLE llamalog.llama_logs DISABLE TRIGGER ALL",
        "ALTER TABLE llamalog.llama_logs ALTER COLUMN db_user SET DEFAULT 'ann'",
        "ALTER TABLE llamalog.llama_logs DETACH PARTITION llamalog.llama_logs_default",
        "ALTER TABLE llamalog.llama_logs ENABLE ROW LEVEL SECURITY",
        "ALTER DOMAIN llamalog.op ADD CHECK (false)",
        "CREATE POLICY nothing ON llamalog.llama_logs USING (false)",
        "CREATE RULE swallow AS ON INSERT TO llamalog.llama_logs DO INSTEAD NOTHING",
        "CREATE TRIGGER swallow BEFORE INSERT ON llamalog.llama_logs FOR EACH ROW EXECUTE FUNCTION mallory.nothing()",
        "CREATE TABLE mallory.mine PARTITION OF llamalog.llama_logs FOR VALUES FROM ('1999-01-01') TO ('1999-02-01')",
        "CREATE TABLE mallory.mine () INHERITS (llamalog.jobs)",
        "CREATE TABLE mallory.mine (id bigint REFERENCES llamalog.jobs)",
        "CREATE INDEX ON llamalog.jobs ((mallory.look()))",
        "CREATE STATISTICS mallory.mine ON job_id, id FROM llamalog.jobs",
        "COMMENT ON TABLE llamalog.llama_logs IS 'mine'",
        "LOCK TABLE llamalog.llama_logs IN ROW SHARE MODE",
        "LOCK TABLE llamalog.watches IN ACCESS EXCLUSIVE MODE",
        "REINDEX TABLE llamalog.jobs",
        "SELECT setval('llamalog.llama_logs_id_seq', 1)",
        "SELECT nextval('llamalog.last_move')",
        "DROP OWNED BY llamalog_owner",
        "REASSIGN OWNED BY llamalog_owner TO mallory",
        # what runs in it
        "CREATE FUNCTION llamalog.entity_id(text) RETURNS text LANGUAGE sql RETURN 'x'",
        "CREATE TABLE llamalog.mine (a integer)",
        "ALTER FUNCTION llamalog.capture_row() SECURITY INVOKER",
        "ALTER FUNCTION llamalog.capture_thing_update() RESET search_path",
        "ALTER FUNCTION llamalog.set_context OWNER TO mallory",
        "DROP FUNCTION llamalog.capture_thing_update() CASCADE",
        "ALTER EVENT TRIGGER llamalog_ddl DISABLE",
        "DROP EVENT TRIGGER llamalog_drop",
        "UPDATE llamalog.watches SET redacted_columns = '{}'",
        "UPDATE llamalog.source_paths SET category = 'CREATED'",
        "SELECT llamalog.maintain()",
        "SELECT llamalog.try_writes()",
        "SELECT llamalog.hang_tolerant_capture('public.albums'::regclass, 'THING')",
        # tables that are not hers
        "ALTER TABLE albums DISABLE TRIGGER ALL",
        'DROP TRIGGER "00_llamalog_update" ON albums',
        "ALTER TABLE albums RENAME TO gone",
        "CREATE TRIGGER forge AFTER INSERT ON mallory.seen FOR EACH ROW EXECUTE FUNCTION llamalog.capture_album_update('ALBUM')",
        # who she is
        "SET session_replication_role = replica",
        "ALTER ROLE mallory SET session_replication_role = replica",
        "SET ROLE llamalog_owner",
        "SET ROLE llamalog_admin",
        "GRANT llamalog_owner TO mallory",
        "ALTER ROLE mallory SUPERUSER",
        # the server
        "COPY llamalog.jobs FROM PROGRAM 'true'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "COPY llamalog.jobs (job_id) FROM '/etc/hostname'",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION llamalog.follow_schema_change()",
        "CREATE CAST (text AS llamalog.category) WITH INOUT AS IMPLICIT",
    ],
)
def test_what_is_not_for_an_application_is_refused(mallory, statement):
    assert refusal(mallory, statement) == "42501"


def test_what_she_grants_of_the_log_is_nothing(mallory):
    mallory.execute("GRANT ALL ON llamalog.log, llamalog.llama_logs TO ann")
    assert back(mallory).execute(
        "SELECT has_table_privilege('ann', 'llamalog.log', 'SELECT')"
    ).fetchone() == (False,)


def test_who_logged_in_stays_who_logged_in(shared, connect):
    shared.rollback()
    assert refusal(connect(shared, user="mallory"), "SET SESSION AUTHORIZATION ann") == "42501"


# -- settings ---------------------------------------------------------------------------------------------------------

OURS = [
    *(
        "source",
        "job_id",
        "parent_job_id",
        "root_job_id",
        "user_id",
        "category",
        "operation",
        "reason",
    ),
    *(
        "triggered_by",
        "sources",
        "metadata",
        "path",
        "head",
        "judged",
        "judgement",
        "moved",
        "updates",
    ),
]

SETTINGS = [
    *[
        (f"llamalog.{name}", value)
        for name in OURS
        for value in ("DELETED", "'\"\\\n🦙", '{"llamalog": {"moved": true}}')
    ],
    ("row_security", "off"),
    ("search_path", "mallory, pg_temp, pg_catalog"),
    ("TimeZone", "Asia/Kathmandu"),
    ("DateStyle", "German"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("quote_all_identifiers", "on"),
    ("array_nulls", "off"),
    ("check_function_bodies", "off"),
    ("plpgsql.extra_errors", "all"),
    ("plan_cache_mode", "force_custom_plan"),
    ("client_min_messages", "error"),
    ("application_name", "'\"\\; DROP TABLE albums"),
]


@pytest.mark.parametrize(
    "name", sorted({name for name, _ in SETTINGS}), ids=lambda name: name.replace(".", " ")
)
def test_no_setting_changes_what_capture_says_of_a_write(mallory, name):
    for table in WATCHED:
        for value in [value for given, value in SETTINGS if given == name]:
            with mallory.transaction(force_rollback=True):
                mallory.execute("SELECT set_config(%s, %s, false)", [name, value])
                write(mallory, table)
                mallory.execute("SET LOCAL search_path = ''")
                assert written(mallory, table) == WRITTEN


@pytest.mark.parametrize("table", ["events", "wares"])
def test_a_new_row_cannot_be_passed_off_as_another_one_that_moved(mallory, table):
    """Settings tell the second half of a move between partitions what the first one was; anybody can make them up."""
    mallory.execute(f"INSERT INTO mallory.{table} VALUES (1)".encode())
    # after a move that she has made, so that there is one to be remembered
    mallory.execute("INSERT INTO mallory.events VALUES (50)")
    mallory.execute("UPDATE mallory.events SET id = 150 WHERE id = 50")
    forged = (
        "SELECT set_config('llamalog.moved', concat_ws(E'\\n', pg_current_xact_id() || ' '"
        " || (extract(epoch FROM statement_timestamp()) * 1000000)::bigint || ' 1', '{type}', '1'), true);"
        "INSERT INTO mallory.{table} VALUES (2)"
    ).format(type=table.upper().removesuffix("S"), table=table)
    mallory.execute(forged.encode())
    assert mallory.execute(
        "SELECT entity_id, previous_id, metadata FROM llamalog.log WHERE entity_id IN ('150', '2') ORDER BY seq"
    ).fetchall() == [("150", "50", {"llamalog": {"moved": True}}), ("2", None, None)]


def test_who_wrote_is_who_logged_in_whatever_is_claimed(mallory, dba):
    mallory.execute(
        "CREATE FUNCTION mallory.write_as_me() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN SET LOCAL llamalog.user_id = 'mallory'; INSERT INTO mallory.things VALUES (1); END $$"
    )
    back(mallory).execute("SET SESSION AUTHORIZATION ann")
    dba.execute("SELECT mallory.write_as_me()")
    assert back(dba).execute(
        "SELECT db_user, user_id FROM llamalog.log WHERE entity_type = 'THING'"
    ).fetchall() == [("ann", "mallory")]


# -- what she owns is captured, and stays so --------------------------------------------------------------------------

SWITCHES = {
    "all off": "ALTER TABLE {t} DISABLE TRIGGER ALL",
    "user off": "ALTER TABLE {t} DISABLE TRIGGER USER",
    "one off": 'ALTER TABLE {t} DISABLE TRIGGER "00_llamalog_update"',
    "for replicas only": 'ALTER TABLE {t} ENABLE REPLICA TRIGGER "00_llamalog_delete"',
    "dropped": 'DROP TRIGGER "00_llamalog_insert" ON {t}',
    "all dropped": 'DROP TRIGGER "00_llamalog_insert" ON {t}; DROP TRIGGER "00_llamalog_update" ON {t};'
    ' DROP TRIGGER "00_llamalog_delete" ON {t}; DROP TRIGGER "00_llamalog_truncate" ON {t}',
    "renamed": 'ALTER TRIGGER "00_llamalog_update" ON {t} RENAME TO mine',
    "never true": 'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER UPDATE ON {t} FOR EACH ROW WHEN (false)'
    " EXECUTE FUNCTION llamalog.capture_row('{e}')",
    "of one column": 'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER UPDATE OF id ON {t} FOR EACH ROW'
    " EXECUTE FUNCTION llamalog.capture_row('{e}')",
    "of another event": 'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER INSERT ON {t} FOR EACH ROW'
    " EXECUTE FUNCTION llamalog.capture_row('{e}')",
    "of another function": 'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER UPDATE ON {t} FOR EACH ROW'
    " EXECUTE FUNCTION mallory.nothing()",
    "of another type": 'CREATE OR REPLACE TRIGGER "00_llamalog_update" AFTER UPDATE ON {t} FOR EACH ROW'
    " EXECUTE FUNCTION llamalog.capture_row('ALBUM')",
    "of no row": 'CREATE OR REPLACE TRIGGER "00_llamalog_truncate" BEFORE TRUNCATE ON {t} FOR EACH STATEMENT'
    " EXECUTE FUNCTION mallory.nothing()",
}
STANDS_IN = "the table has changed; the tolerant capture stands in"
each_switch = pytest.mark.parametrize("switch", SWITCHES)


def switch_off(conn: Connection, table: str, switch: str) -> None:
    conn.execute(
        SWITCHES[switch].format(t=f"mallory.{table}", e=table.upper().removesuffix("S")).encode()
    )


@pytest.mark.parametrize(
    ("table", "switch"),
    [
        *product(["things"], SWITCHES),
        *sampled((pytest.param(*pair) for pair in product(["wares", "events"], SWITCHES)), every=5),
    ],
)
def test_an_owner_does_not_switch_the_capture_of_his_table_off(mallory, table, switch):
    switch_off(mallory, table, switch)
    write(mallory, table)
    assert written(back(mallory), table) == WRITTEN
    assert findings(mallory, table) in ([], [STANDS_IN])


def test_a_write_while_one_command_has_a_trigger_off_leaves_a_trace(mallory, changes):
    mallory.execute(
        "INSERT INTO mallory.wares VALUES (7, 'a');"
        " CREATE FUNCTION mallory.slip(text) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN IF $1 = 'a' THEN UPDATE mallory.wares SET v = 'slipped'; END IF; RETURN true; END $$;"
        ' ALTER TABLE mallory.wares DISABLE TRIGGER "00_llamalog_update", ADD CHECK (mallory.slip(v))'
    )
    assert written(back(mallory), "wares") == [("I", "7", None, None)]
    assert changes(mallory, "entity_type, db_user, reason", operation="llamalog:kept") == [
        (
            "WARE",
            "mallory",
            'trigger "00_llamalog_update" of mallory.wares was off, and is on again',
        )
    ]


def test_capture_that_an_owner_has_replaced_is_told_until_migrate_renders_it_anew(mallory):
    switch_off(mallory, "things", "never true")
    assert findings(back(mallory), "things") == [STANDS_IN]
    migrate.migrate(mallory)
    assert findings(mallory, "things") == []


@pytest.mark.parametrize("partition", ["events_low"])
def test_an_owner_does_not_switch_the_capture_of_a_partition_off(mallory, partition):
    mallory.execute(f"ALTER TABLE mallory.{partition} DISABLE TRIGGER ALL".encode())
    write(mallory, "events")
    assert written(back(mallory), "events") == WRITTEN


@each_switch
def test_where_there_are_no_event_triggers_check_says_what_is_off(dba, switch):
    dba.execute("DROP EVENT TRIGGER llamalog_ddl; DROP EVENT TRIGGER llamalog_drop")
    dba.execute("SET SESSION AUTHORIZATION mallory")
    switch_off(dba, "wares", switch)
    (problem,) = findings(back(dba), "wares")
    is_edited = switch in ("never true", "of one column", "of another event", "of another type")
    fault = "edited" if is_edited else "missing or disabled"
    assert problem.startswith(f"{fault}: 00_llamalog_")


def test_who_administers_the_log_may_switch_a_trigger_off_and_check_says_so(dba):
    """As who restores a dump does; and only who logged in so, not who owns a function that is called."""
    switch_off(dba, "things", "one off")
    assert findings(dba, "things") == ["missing or disabled: 00_llamalog_update"]
    dba.execute("ALTER TABLE mallory.things ENABLE TRIGGER ALL; GRANT llamalog_admin TO mallory")
    dba.execute("SET SESSION AUTHORIZATION mallory")
    switch_off(dba, "things", "one off")
    assert findings(back(dba), "things") == ["missing or disabled: 00_llamalog_update"]


def test_a_function_of_a_superuser_makes_nobody_who_calls_it_trusted(dba):
    dba.execute(
        "CREATE FUNCTION public.fixtures() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$ BEGIN ALTER TABLE mallory.things DISABLE TRIGGER ALL; END $$"
    )
    dba.execute("SET SESSION AUTHORIZATION mallory; SELECT public.fixtures()")
    write(dba, "things")
    assert written(back(dba), "things") == WRITTEN


@pytest.mark.parametrize("name", ["again", "00_llamalog_again"])
def test_a_capture_that_an_owner_hangs_twice_logs_once(mallory, name):
    for function in ("capture_thing_update", "capture_row"):
        mallory.execute(
            f'CREATE TRIGGER "{name}" AFTER UPDATE ON mallory.things FOR EACH ROW'
            f" EXECUTE FUNCTION llamalog.{function}('THING')".encode()
        )
    write(mallory, "things")
    assert written(back(mallory), "things") == WRITTEN


@pytest.mark.parametrize("name", ["forge", "00_llamalog_update"])
def test_a_capture_that_an_owner_hangs_on_another_table_of_his_forges_nothing(mallory, name):
    mallory.execute("CREATE TABLE mallory.fake (LIKE mallory.things)")
    for function in ("capture_thing_update", "capture_row"):
        mallory.execute(
            f'CREATE OR REPLACE TRIGGER "{name}" AFTER UPDATE ON mallory.fake FOR EACH ROW'
            f" EXECUTE FUNCTION llamalog.{function}('THING')".encode()
        )
        mallory.execute("INSERT INTO mallory.fake VALUES (1); UPDATE mallory.fake SET v = 'forged'")
    assert written(back(mallory), "things") == []


@each_table
def test_a_rule_or_a_view_between_her_and_the_table_hides_no_write(mallory, table):
    mallory.execute(
        f"""
        CREATE VIEW mallory.facade AS SELECT * FROM mallory.{table};
        CREATE FUNCTION mallory.through() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO mallory.{table} VALUES (NEW.id, NEW.v); RETURN NEW; END $$;
        CREATE TRIGGER through INSTEAD OF INSERT ON mallory.facade FOR EACH ROW EXECUTE FUNCTION mallory.through();
        CREATE RULE aside AS ON UPDATE TO mallory.facade DO INSTEAD UPDATE mallory.{table} SET v = NEW.v WHERE id = OLD.id;
        INSERT INTO mallory.facade VALUES (7, 'a'); UPDATE mallory.facade SET v = 'b'; DELETE FROM mallory.facade;
        CREATE RULE none AS ON INSERT TO mallory.seen DO INSTEAD INSERT INTO mallory.{table} VALUES (8, 'c');
        INSERT INTO mallory.seen VALUES ('x');
        TRUNCATE mallory.{table}
        """.encode()
    )
    assert written(back(mallory), table) == WRITTEN


# -- what she makes does not run with the rights of others ------------------------------------------------------------

SHADOWS = """
SET search_path = mallory, pg_catalog;
CREATE FUNCTION to_jsonb(text) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE FUNCTION to_jsonb(numeric) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE FUNCTION concat(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE FUNCTION current_setting(text, boolean) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE FUNCTION same(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN true; END';
CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
CREATE OPERATOR <> (LEFTARG = text, RIGHTARG = text, FUNCTION = same);
CREATE FUNCTION same(numeric, numeric) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN true; END';
CREATE OPERATOR = (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = same);
CREATE FUNCTION glued(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE OPERATOR || (LEFTARG = text, RIGHTARG = text, FUNCTION = glued);
CREATE TEMP TABLE llama_logs (LIKE llamalog.llama_logs);
CREATE TEMP TABLE watches (LIKE llamalog.watches);
CREATE TEMP TABLE source_paths (LIKE llamalog.source_paths);
CREATE TEMP TABLE pg_class (oid oid);
CREATE TEMP TABLE jobs (job_id text);
CREATE VIEW pg_temp.log AS SELECT mallory.look();
"""


def ask(conn: Connection, entity_type: str, entity_id: str) -> None:
    """What a superuser may ask of an entity."""
    for question in (
        "SELECT llamalog.history(%(type)s, %(id)s)",
        "SELECT llamalog.chain(%(type)s, %(id)s)",
        "SELECT llamalog.why(%(type)s, %(id)s)",
        "SELECT llamalog.as_of(%(type)s, %(id)s, pg_catalog.clock_timestamp())",
        "SELECT llamalog.as_of_all(%(type)s, pg_catalog.clock_timestamp())",
        "SELECT llamalog.blame(%(type)s, %(id)s)",
        "SELECT llamalog.breaks(%(type)s, %(id)s)",
        "SELECT llamalog.find('a')",
        "SELECT llamalog.resolve(%(type)s, %(id)s)",
        "SELECT llamalog.attention(%(type)s)",
    ):
        conn.execute(question.encode(), {"type": entity_type, "id": entity_id})


@each_table
def test_functions_operators_and_tables_that_she_puts_before_ours_are_never_used(mallory, table):
    mallory.execute(SHADOWS)
    for path in ("mallory, pg_catalog", "pg_temp, mallory, pg_catalog, llamalog"):
        with mallory.transaction(force_rollback=True):
            mallory.execute(f"SET LOCAL search_path = {path}".encode())
            mallory.execute("SELECT llamalog.set_context(source => 'x', job_id => 'J')")
            write(mallory, table)
            back(mallory).execute(f"INSERT INTO mallory.{table} VALUES (9, 'a')".encode())
            ask(mallory, table.upper().removesuffix("S"), "9")
            mallory.execute("SET LOCAL search_path = ''; SET SESSION AUTHORIZATION mallory")
            assert mallory.execute("SELECT who FROM mallory.seen").fetchall() == []


def test_a_revert_runs_nothing_of_hers(dba):
    dba.execute(
        "CREATE TABLE public.codes (area integer, code varchar(9), v text, PRIMARY KEY (area, code))"
    )
    watching.watch(dba, ["public.codes"])
    dba.execute("INSERT INTO public.codes VALUES (1, 'a', 'old'), (2, 'b', 'old')")
    dba.execute("SELECT llamalog.set_context(job_id => 'J')")
    dba.execute("UPDATE public.codes SET v = 'new' WHERE area = 1")
    dba.execute("UPDATE public.codes SET code = 'c' WHERE area = 2")
    dba.execute("SET SESSION AUTHORIZATION mallory")
    dba.execute(
        SHADOWS
        + """
        CREATE FUNCTION same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN true; END';
        CREATE OPERATOR = (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = same);
        CREATE FUNCTION format(text, text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN $1; END';
        """
    )
    back(dba)
    for path in ('"$user", public, mallory', "mallory, pg_catalog", "pg_temp, mallory, pg_catalog"):
        with dba.transaction(force_rollback=True):
            dba.execute(f"SET LOCAL search_path = {path}".encode())
            dba.execute("SELECT llamalog.revert(job_id => 'J')")
            assert dba.execute("SHOW search_path").fetchone() == (path,)
            dba.execute("SET LOCAL search_path = ''")
            left = [(1, "a", "old"), (2, "b", "old")]
            assert dba.execute("SELECT * FROM public.codes ORDER BY area").fetchall() == left
            assert dba.execute("SELECT who FROM mallory.seen").fetchall() == []


def test_a_revert_runs_nothing_that_is_made_for_types_of_the_applications(dba):
    """A function for the very type of a key comes before PostgreSQL's own, which are for any type."""
    dba.execute(
        """
        CREATE TYPE public.mark AS ENUM ('a', 'b');
        CREATE DOMAIN public.amount AS numeric;
        CREATE DOMAIN public.day AS date;
        CREATE TABLE public.marks (k mark, amount amount, day day, v text, marks mark[], id uuid, PRIMARY KEY (k, amount, day));
        CREATE TABLE public.wholes (id text PRIMARY KEY);
        CREATE TABLE public.linked (whole text REFERENCES wholes, other text REFERENCES wholes, role mark, day day,
            v text, PRIMARY KEY (whole, other, role, day));
        """
    )
    watching.watch(dba, ["public.wholes", "public.linked", "public.marks"])
    dba.execute(
        """
        INSERT INTO public.wholes VALUES ('w'), (repeat('o', 1200));
        INSERT INTO public.marks VALUES ('a', 1.50, '2020-01-01', 'old', '{a,b}', gen_random_uuid()), ('b', 2, '2020-01-01', 'old', NULL, NULL);
        INSERT INTO public.linked SELECT 'w', repeat('o', 1200), 'a', '2020-01-01', 'old';
        SELECT llamalog.set_context(job_id => 'J');
        UPDATE public.marks SET v = 'new', marks = NULL, id = NULL WHERE k = 'a';
        UPDATE public.marks SET k = 'a', day = '2021-01-01' WHERE k = 'b';
        UPDATE public.linked SET v = 'new';
        """
    )
    dba.execute("SET SESSION AUTHORIZATION mallory")
    dba.execute(
        SHADOWS
        + """
        CREATE FUNCTION concat(public.mark) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN $1; END';
        CREATE FUNCTION trim_scale(public.amount) RETURNS numeric LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN $1; END';
        CREATE FUNCTION to_jsonb(public.day) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
        CREATE FUNCTION to_jsonb(public.mark) RETURNS jsonb LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
        CREATE FUNCTION dug(jsonb, jsonb) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN NULL; END';
        CREATE OPERATOR #>> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = dug);
        CREATE FUNCTION seen_by(pg_catalog.text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM mallory.look(); RETURN true; END';
        CREATE DOMAIN mallory.text AS pg_catalog.text CHECK (mallory.seen_by(VALUE));
        CREATE DOMAIN mallory.uuid AS pg_catalog.uuid CHECK (mallory.seen_by(VALUE::pg_catalog.text));
        """
    )
    back(dba)
    for path in ('"$user", public, mallory', "mallory, pg_catalog, public"):
        with dba.transaction(force_rollback=True):
            dba.execute("SET LOCAL standard_conforming_strings = off")
            dba.execute(f"SET LOCAL search_path = {path}".encode())
            dba.execute("SELECT llamalog.revert(job_id => 'J')")
            dba.execute("SET LOCAL search_path = ''")
            assert dba.execute(
                "SELECT k::text, amount, v, marks::text, id IS NULL FROM public.marks ORDER BY k"
            ).fetchall() == [
                ("a", Decimal("1.50"), "old", "{a,b}", False),
                ("b", 2, "old", None, True),
            ]
            assert dba.execute("SELECT v FROM public.linked").fetchall() == [("old",)]
            assert dba.execute("SELECT who FROM mallory.seen").fetchall() == []


COMMANDS = [
    *(
        ["status"],
        ["stats"],
        ["stats", "--size"],
        ["check"],
        ["doctor"],
        ["maintain"],
        ["migrate"],
        ["report", "-o", "-"],
    ),
    *(
        ["history", "WARE", "1"],
        ["blame", "WARE", "1"],
        ["attention"],
        ["reconcile"],
        ["pause", "wares", "--reason", "x", "--dry-run"],
    ),
    *(
        ["bench", "wares", "--rounds", "1"],
        ["watch", "wares", "--dry-run"],
        ["unwatch", "wares", "--dry-run"],
    ),
    *(
        ["revert", "--job", "J", "--dry-run"],
        ["export", "log"],
        ["tail"],
        ["rollback", "--dry-run"],
    ),
]


def test_no_command_runs_an_operator_that_stands_before_ours(shared, clone):
    """An operator for just these types comes before PostgreSQL's own, which are for what they can be taken for."""
    with clone("music_template", "hostile_commands") as conn:
        conn.execute(
            """
            CREATE TABLE public.wares (id integer PRIMARY KEY, title text);
            GRANT CREATE ON SCHEMA public TO mallory;
            CREATE SCHEMA mallory AUTHORIZATION mallory;
            GRANT USAGE ON SCHEMA mallory TO PUBLIC;
            CREATE TABLE mallory.seen (who text, left_type text, right_type text);
            GRANT ALL ON mallory.seen TO PUBLIC;
            """
        )
        watching.watch(conn, ["public.wares"])
        conn.execute(
            "SELECT llamalog.set_context(job_id => 'J'); INSERT INTO public.wares SELECT n, 'x' || n FROM generate_series(1, 9) AS n"
        )
        conn.execute("SET SESSION AUTHORIZATION mallory; SET search_path = public")
        for left, right in (("oid", "regclass"), ("regclass", "regclass"), ("regclass", "oid")):
            conn.execute(
                f"""
                CREATE FUNCTION public.met({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS
                    'BEGIN INSERT INTO mallory.seen VALUES (current_user, ''{left}'', ''{right}'');
                    RETURN $1::pg_catalog.oid OPERATOR(pg_catalog.=) $2::pg_catalog.oid; END';
                CREATE OPERATOR public.= (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.met);
                """.encode()
            )
        conn.execute("RESET SESSION AUTHORIZATION")
        address = {**conn.info.get_parameters(), "password": conn.info.password}
        own = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
        for words in COMMANDS:
            answered = CliRunner(env={"LLAMALOG_DSN": own}).invoke(
                main, words, catch_exceptions=False
            )
            assert answered.exit_code in (0, 1), (words, answered.stderr)
            seen = conn.execute("SELECT DISTINCT * FROM mallory.seen").fetchall()
            assert (words, seen) == (words, [])
        # the operators do stand before PostgreSQL's
        conn.execute("SELECT 1::oid = 'pg_class'::regclass")
        assert conn.execute("SELECT count(*) FROM mallory.seen").fetchone() == (1,)


HOSTILE_TYPES = """
CREATE FUNCTION mallory.looks(text) RETURNS boolean LANGUAGE sql AS 'SELECT mallory.look()';
CREATE DOMAIN mallory.code AS text CHECK (mallory.looks(VALUE));
CREATE TYPE mallory.mood AS ENUM ('sad', E'o''k"\\n\\\\');
CREATE TYPE mallory.pair AS (a mallory.code, b mallory.mood);
CREATE FUNCTION mallory.apart(text, text) RETURNS double precision LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN PERFORM mallory.look(); RETURN 1; END';
CREATE TYPE mallory.span AS RANGE (subtype = text, subtype_diff = mallory.apart);
CREATE FUNCTION mallory.told(mallory.pair) RETURNS jsonb LANGUAGE plpgsql AS
    'BEGIN PERFORM mallory.look(); RETURN NULL; END';
CREATE CAST (mallory.pair AS jsonb) WITH FUNCTION mallory.told(mallory.pair);
CREATE FUNCTION mallory.doubled(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
    'BEGIN PERFORM mallory.look(); RETURN $1 || $1; END';
CREATE TABLE mallory.oddities (
    id mallory.code PRIMARY KEY,
    name mallory.pair,
    mood mallory.mood DEFAULT 'sad',
    span mallory.span,
    codes mallory.code[],
    seen boolean DEFAULT mallory.look(),
    twice text GENERATED ALWAYS AS (mallory.doubled('x')) STORED,
    -- wide enough for the early end of a comparison, which puts hers into a row of ours
    n1 integer, n2 integer, n3 integer, n4 integer, n5 integer, n6 integer, n7 integer, n8 integer, n9 integer, n10 integer,
    CONSTRAINT looks CHECK (mallory.look())
);
ALTER TABLE mallory.oddities ENABLE ROW LEVEL SECURITY;
CREATE POLICY looks ON mallory.oddities USING (mallory.look());
"""


@pytest.mark.parametrize("kind", ["rendered", "statement", "tolerant"])
def test_what_hangs_on_her_types_and_columns_runs_as_whoever_writes_never_as_the_log_or_who_asks(
    mallory, kind
):
    mallory.execute(HOSTILE_TYPES)
    watching.watch(back(mallory), ["mallory.oddities"], Options(capture=kind, image="full"))
    mallory.execute("SET SESSION AUTHORIZATION mallory")
    row = "INSERT INTO mallory.oddities VALUES ('{}', '(x,sad)', E'o''k\"\\n\\\\', '[a,b)', '{{p,q}}')"
    mallory.execute(row.format("gone").encode())
    mallory.execute(
        "UPDATE mallory.oddities SET id = 'other', name = '(y,sad)', span = '[a,c)', codes = '{r}'"
    )
    mallory.execute("DELETE FROM mallory.oddities")
    mallory.execute(row.format("cut").encode())
    mallory.execute("TRUNCATE mallory.oddities")
    mallory.execute(row.format("kept").encode())
    ask(back(mallory), "ODDITY", "kept")
    assert mallory.execute("SELECT DISTINCT who FROM mallory.seen").fetchall() == [("mallory",)]
    assert mallory.execute(
        "SELECT array_agg(op ORDER BY seq) FROM llamalog.log WHERE entity_type = 'ODDITY'"
    ).fetchone() == (["I", "U", "D", "I", "T", "I"],)
    assert mallory.execute(
        "SELECT before ->> 'mood' FROM llamalog.log WHERE entity_type = 'ODDITY' AND op = 'T'"
    ).fetchone() == ("o'k\"\n\\",)


#: What PostgreSQL computes when it plans any read of a table.
PLANNED = {
    "an index of some rows": "CREATE INDEX ON mallory.things (id) WHERE mallory.sly(1)",
    "an index of an expression": "CREATE INDEX ON mallory.things ((v = 'x' AND mallory.sly(1)))",
    "an operator": "CREATE INDEX ON mallory.things (id) WHERE 1 OPERATOR(mallory.==) 1",
    "statistics": "CREATE STATISTICS mallory.counts ON (mallory.sly(1) AND id > 0), v FROM mallory.things",
    "an index of a partition": "CREATE INDEX ON mallory.events_low (id) WHERE mallory.sly(1)",
}


@pytest.mark.parametrize("what", PLANNED)
def test_truncate_runs_no_function_of_an_owner_as_the_log(mallory, what):
    mallory.execute(
        """
        CREATE FUNCTION mallory.sly(integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN
                IF current_user <> session_user THEN RAISE 'the log runs it'; END IF;
                RETURN true;
            END $$;
        CREATE FUNCTION mallory.same(integer, integer) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
            $$ BEGIN RETURN mallory.sly($1); END $$;
        CREATE OPERATOR mallory.== (FUNCTION = mallory.same, LEFTARG = integer, RIGHTARG = integer);
        """
    )
    mallory.execute(PLANNED[what].encode())
    table = "events" if what == "an index of a partition" else "things"
    assert refusal(mallory, f"TRUNCATE mallory.{table}") == "LL008"


def test_truncate_is_logged_where_the_function_has_been_given_to_whom_the_log_trusts(mallory):
    mallory.execute(
        "CREATE FUNCTION mallory.half(integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT $1 / 2';"
        "CREATE INDEX ON mallory.things (mallory.half(id))"
    )
    assert refusal(mallory, "TRUNCATE mallory.things") == "LL008"
    back(mallory).execute("ALTER FUNCTION mallory.half(integer) OWNER TO llamalog_owner")
    mallory.execute("SET SESSION AUTHORIZATION mallory")
    write(mallory, "things")
    assert written(back(mallory), "things") == WRITTEN


@pytest.mark.parametrize("kind", ["rendered", "tolerant"])
def test_casts_that_give_an_enum_more_operators_break_no_write(mallory, kind):
    mallory.execute(
        "CREATE TYPE mallory.mood AS ENUM ('glad', 'sad');"
        " CREATE TABLE mallory.cats (id integer PRIMARY KEY, mood mallory.mood)"
    )
    watching.watch(back(mallory), ["mallory.cats"], Options(capture=kind))
    mallory.execute(
        "SET SESSION AUTHORIZATION mallory;"
        " CREATE FUNCTION mallory.told(mallory.mood) RETURNS text LANGUAGE sql AS 'SELECT ''x''::text';"
        " CREATE CAST (mallory.mood AS text) WITH FUNCTION mallory.told(mallory.mood) AS IMPLICIT;"
        " CREATE CAST (mallory.mood AS json) WITH INOUT AS IMPLICIT"
    )
    mallory.execute("INSERT INTO mallory.cats VALUES (1, 'glad'), (2, NULL)")
    mallory.execute("UPDATE mallory.cats SET mood = 'sad'")
    mallory.execute("UPDATE mallory.cats SET mood = 'sad'")
    mallory.execute("UPDATE mallory.cats SET mood = NULL WHERE id = 1")
    assert back(mallory).execute(
        "SELECT entity_id, before ->> 'mood' AS old, after ->> 'mood' AS new FROM llamalog.log"
        " WHERE entity_type = 'CAT' AND op = 'U' ORDER BY seq"
    ).fetchall() == [("1", "glad", "sad"), ("2", None, "sad"), ("1", "sad", None)]


@pytest.mark.parametrize(
    "question",
    [
        "history('THING', '7')",
        "why('THING', '7')",
        "as_of('THING', '7', clock_timestamp())",
        "blame('THING', '7')",
        "find('x')",
        "attention('THING')",
    ],
)
def test_a_view_that_takes_the_name_of_a_watched_table_is_not_asked(dba, question):
    """Without event triggers nobody follows the rename."""
    dba.execute("DROP EVENT TRIGGER llamalog_ddl; DROP EVENT TRIGGER llamalog_drop")
    dba.execute("INSERT INTO mallory.things VALUES (7, 'a')")
    dba.execute("SET SESSION AUTHORIZATION mallory")
    dba.execute(
        "CREATE FUNCTION mallory.asked() RETURNS integer LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'asked' USING ERRCODE = 'XX999'; END $$;"
        "ALTER TABLE mallory.things RENAME TO hidden;"
        "CREATE VIEW mallory.things AS SELECT mallory.asked() AS id, 'x' AS v, 1 AS price"
    )
    assert refusal(back(dba), "SELECT * FROM mallory.things") == "XX999"
    assert refusal(dba, f"SELECT llamalog.{question}") != "XX999"


# -- names and sizes --------------------------------------------------------------------------------------------------

ODD_NAME = "x\"'; DROP TABLE mallory.things; --\n$function$\\🦙 %s {{ 7 * 7 }}"


@pytest.mark.parametrize("kind", ["rendered", "tolerant"])
def test_names_are_names_whatever_stands_in_them(mallory, kind):
    quoted = '"' + ODD_NAME[:40].replace('"', '""') + '"'
    mallory.execute(
        f"CREATE TABLE mallory.{quoted} ({quoted} integer PRIMARY KEY, v text)".encode()
    )
    back(mallory)
    watching.watch(
        mallory, [f"mallory.{quoted}"], Options(capture=kind, image="none", entity_type=ODD_NAME)
    )
    mallory.execute("SET SESSION AUTHORIZATION mallory")
    mallory.execute(f"INSERT INTO mallory.{quoted} VALUES (1, 'a')".encode())
    mallory.execute(f"UPDATE mallory.{quoted} SET {quoted} = 2, v = 'b'".encode())
    mallory.execute(f"DELETE FROM mallory.{quoted}".encode())
    assert back(mallory).execute(
        "SELECT op, entity_id, after FROM llamalog.log WHERE entity_type NOT IN ('THING', 'WARE') ORDER BY seq"
    ).fetchall() == [("I", "1", None), ("U", "2", {ODD_NAME[:40]: 2, "v": "b"}), ("D", "2", None)]
    assert mallory.execute("SELECT to_regclass('mallory.things')").fetchone() != (None,)


@each_table
def test_a_huge_value_is_logged_or_its_write_fails(mallory, table):
    mallory.execute(f"INSERT INTO mallory.{table} VALUES (7, 'a')".encode())
    mallory.execute(f"UPDATE mallory.{table} SET v = repeat('x', 10000000)".encode())
    assert mallory.execute(
        "SELECT length(after ->> 'v') FROM llamalog.log WHERE op = 'U'"
    ).fetchall() == [(10_000_000,)]


# -- locks ------------------------------------------------------------------------------------------------------------


def test_nobody_who_only_reads_and_writes_keeps_others_from_migrating_watching_or_writing(
    shared, connect
):
    """Advisory locks are anybody's."""
    shared.rollback()
    other = connect(shared, user="mallory")
    for key in (
        "hashtextextended('llamalog.migrate', 0)",
        "hashtextextended('llamalog.watch', 0)",
        "hashtextextended('llamalog.row_queries WARE', 0)",
        "hashtext('llamalog.maintain')",
    ):
        other.execute(f"SELECT pg_advisory_lock({key})".encode())
    with other.transaction():
        other.execute("LOCK TABLE llamalog.log, llamalog._yoyo_migration IN ACCESS SHARE MODE")
        with shared.transaction(force_rollback=True):
            shared.execute("SET LOCAL lock_timeout = '300ms'")
            shared.execute("CREATE TABLE mallory.more (id integer PRIMARY KEY)")
            watching.watch(shared, ["mallory.more"], Options(image="none"))
            shared.execute("UPDATE llamalog.watches SET rendered = ''")
            watching.refresh(shared)
            write(shared, "wares")
            # this one she does keep, until somebody ends her session: meanwhile rows wait in DEFAULT, and check says so
            assert refusal(shared, "SELECT llamalog.maintain()") == "55P03"
    other.execute("SELECT pg_advisory_unlock_all()")


# -- what goes round capture leaves a trace ---------------------------------------------------------------------------

BYPASSES = {
    "by the role of a replica, where she was granted it": (
        "GRANT SET ON PARAMETER session_replication_role TO mallory",
        "SET LOCAL session_replication_role = replica; UPDATE mallory.things SET v = 'unseen';"
        " SET LOCAL session_replication_role = origin",
    ),
    "by a change of the type": (
        "SELECT",
        "ALTER TABLE mallory.things ALTER v TYPE varchar USING 'unseen'",
    ),
    "while a trigger was off, without event triggers": (
        "DROP EVENT TRIGGER llamalog_ddl; DROP EVENT TRIGGER llamalog_drop",
        "ALTER TABLE mallory.things DISABLE TRIGGER ALL; UPDATE mallory.things SET v = 'unseen';"
        " ALTER TABLE mallory.things ENABLE TRIGGER ALL",
    ),
}


@pytest.mark.parametrize("way", BYPASSES)
def test_a_write_that_no_capture_saw_is_found_where_images_do_not_meet(dba, way):
    before, bypass = BYPASSES[way]
    dba.execute(before.encode())
    dba.execute("SET SESSION AUTHORIZATION mallory")
    dba.execute("INSERT INTO mallory.things VALUES (7, 'a'); UPDATE mallory.things SET v = 'b'")
    dba.execute(bypass.encode())
    back(dba)
    assert dba.execute("SELECT v FROM mallory.things").fetchall() == [("unseen",)]
    (found,) = dba.execute("SELECT field FROM llamalog.breaks('THING', '7')").fetchall()
    assert found == ("v",)


def test_a_table_that_is_dropped_and_made_again_is_told(mallory):
    mallory.execute("INSERT INTO mallory.things VALUES (7, 'a')")
    mallory.execute(
        "CREATE TABLE mallory.copy (LIKE mallory.things INCLUDING ALL); INSERT INTO mallory.copy SELECT * FROM mallory.things;"
        "DROP TABLE mallory.things; ALTER TABLE mallory.copy RENAME TO things"
    )
    assert findings(back(mallory), "things") == [
        "took the place of the one watched as THING, and is not"
    ]
