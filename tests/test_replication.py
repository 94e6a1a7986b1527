"""Logical replication: of the log into a hub, and of rows into watched tables, where they are logged if one asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from conftest import MUSIC, MUSIC_TABLES, default
from psycopg.conninfo import make_conninfo
from psycopg.rows import namedtuple_row
from test_drift_matrix import each_db, kind, lean, watch
from test_schema_drift import drifted, ids, story, write

import llamalog_sql
from llamalog_sql import embedded, installation, migrate, watching
from llamalog_sql.cli import main
from llamalog_sql.errors import CannotWatch
from llamalog_sql.watching import Options

# fixtures, and not only names
__all__ = ["each_db", "kind", "lean", "watch"]

Connection = psycopg.Connection[Any]


# -- session_replication_role -----------------------------------------------------------------------------------------

REPLICA = "SET LOCAL session_replication_role = replica"
ORIGIN = "SET LOCAL session_replication_role = origin"

PARTED = (
    "CREATE TABLE things (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);"
    "CREATE TABLE low PARTITION OF things FOR VALUES FROM (0) TO (10)"
)
TABLES = {
    "plain": "CREATE TABLE things (id integer PRIMARY KEY, v text)",
    "partitioned": PARTED,
    "inherited": "CREATE TABLE things (id integer PRIMARY KEY, v text);"
    "CREATE TABLE heirs (PRIMARY KEY (id)) INHERITS (things)",
}

each_table = pytest.mark.parametrize("table", list(TABLES.values()), ids=list(TABLES))


@each_table
def test_replica_role_writes_past_the_capture(each_db, watch, table):
    each_db.execute(table)
    watch("things")
    each_db.execute(REPLICA)
    write(each_db, "things", "v", 1)
    each_db.execute(ORIGIN)
    assert ids(each_db, "THING") == []


@each_table
def test_replica_role_is_captured_once_where_one_asked_for_it(each_db, watch, table):
    each_db.execute(table)
    watch("things", always=True)
    assert drifted(each_db) == {}
    each_db.execute(REPLICA)
    write(each_db, "things", "v", 1)
    each_db.execute(ORIGIN)
    write(each_db, "things", "v", 2)
    assert ids(each_db, "THING") == [*story(1), *story(2)]


@each_table
def test_capture_is_always_through_changes_of_the_table(each_db, watch, table):
    each_db.execute(table)
    watch("things", always=True)
    each_db.execute("ALTER TABLE things ADD extra text")
    for number in (1, 2):
        each_db.execute(REPLICA)
        write(each_db, "things", "extra", number)
        each_db.execute(ORIGIN)
        watching.refresh(each_db)
        assert drifted(each_db) == {}
    assert ids(each_db, "THING") == [*story(1), *story(2)]


@pytest.mark.parametrize(
    ("table", "ddl", "member"),
    [
        (PARTED, "CREATE TABLE high PARTITION OF things FOR VALUES FROM (10) TO (20)", "high"),
        (
            PARTED,
            "CREATE TABLE high (id integer PRIMARY KEY, v text);"
            "ALTER TABLE things ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
            "high",
        ),
        (TABLES["plain"], "CREATE TABLE heirs (PRIMARY KEY (id)) INHERITS (things)", "heirs"),
    ],
    ids=["partition", "attached", "heir"],
)
def test_new_member_of_the_family_is_captured_always_too(each_db, watch, table, ddl, member):
    each_db.execute(table)
    watch("things", always=True)
    each_db.execute(ddl)
    each_db.execute(REPLICA)
    write(each_db, member, "v", 11)
    each_db.execute(ORIGIN)
    assert ids(each_db, "THING") == story(11)


def test_always_that_was_demoted_is_told_and_mended(each_db, watch):
    """As pg_restore --disable-triggers does in the end."""
    each_db.execute(TABLES["plain"])
    watch("things", always=True)
    each_db.execute("ALTER TABLE things DISABLE TRIGGER ALL; ALTER TABLE things ENABLE TRIGGER ALL")
    assert drifted(each_db)["THING"].startswith("missing or disabled: ")
    watching.refresh(each_db)
    assert drifted(each_db) == {}
    each_db.execute(REPLICA)
    write(each_db, "things", "v", 1)
    each_db.execute(ORIGIN)
    assert ids(each_db, "THING") == story(1)


def test_always_ends_when_one_says_so_and_outlives_other_options(each_db, watch):
    each_db.execute(TABLES["plain"])
    watch("things", always=True)
    watch("things", ignore=["v"])
    hung = "SELECT DISTINCT tgenabled FROM pg_trigger WHERE tgrelid = 'things'::regclass"
    assert each_db.execute(hung).fetchall() == [("A",)]
    watch("things", always=False)
    assert each_db.execute(hung).fetchall() == [("O",)]
    assert drifted(each_db) == {}


@default("capture")
def test_always_goes_with_no_capture_by_statement(db):
    db.execute(TABLES["plain"])
    with pytest.raises(CannotWatch, match="by statement: replication fires no statement triggers"):
        watching.watch(db, ["things"], Options(capture="statement", always=True))


def test_always_needs_the_owner_of_the_table(db):
    db.execute(
        "CREATE TABLE things (id integer PRIMARY KEY); CREATE ROLE clerk;"
        "GRANT TRIGGER, SELECT ON things TO clerk; GRANT llamalog_owner TO clerk; SET LOCAL ROLE clerk"
    )
    with pytest.raises(CannotWatch, match="must be owner of table things") as refused:
        watching.watch(db, ["things"], Options(always=True, capture="tolerant"))
    assert refused.value.sqlstate == "42501"


# -- two servers ------------------------------------------------------------------------------------------------------

APPLICATION = """
CREATE TABLE things (id integer PRIMARY KEY, v text);
CREATE TABLE parted (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE TABLE untold (id integer PRIMARY KEY, v text);
"""

#: What a hub needs to answer from the log alone.
LOG = "llamalog.llama_logs, llamalog.jobs, llamalog.renamings, llamalog.watches, llamalog.column_changes"


@pytest.fixture(scope="module")
def servers(server: Any) -> Iterator[tuple[Connection, Connection, Connection, str]]:
    """(source, target, hub, the source as the others reach it): a server for the source, one for target and hub."""
    settings = {"wal_level": "logical", "max_wal_senders": "8", "max_replication_slots": "8"}
    # how soon a worker looks again for what there is to do
    settings["wal_retrieve_retry_interval"] = "20ms"
    with (
        embedded.start(version=server.version, settings=settings) as first,
        embedded.start(version=server.version, settings=settings) as second,
        psycopg.connect(first.dsn, autocommit=True, row_factory=namedtuple_row) as source,
        psycopg.connect(second.dsn, autocommit=True, row_factory=namedtuple_row) as target,
    ):
        target.execute("CREATE DATABASE hub")
        with psycopg.connect(
            second.dsn, dbname="hub", autocommit=True, row_factory=namedtuple_row
        ) as hub:
            for conn in (source, target, hub):
                conn.execute("CREATE TABLE marks (n integer)")
                migrate.migrate(conn)
            for conn in (source, target):
                conn.execute(APPLICATION)
            source.execute(MUSIC.read_bytes())
            yield source, target, hub, first.dsn


def replicated(
    source: Connection, target: Connection, address: str, name: str, tables: str
) -> Callable[[], None]:
    """Subscribe the target to tables of the source; return what waits until it has all that was written so far."""
    source.execute(
        f"CREATE PUBLICATION {name} FOR TABLE marks, {tables} WITH (publish_via_partition_root = true)".encode()
    )
    target.execute(
        f"CREATE SUBSCRIPTION {name} CONNECTION '{make_conninfo(address)}' PUBLICATION {name}".encode()
    )

    def catch_up() -> None:
        ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
        deadline = time.monotonic() + 60
        while target.execute(ready).fetchone() != (True,):
            assert time.monotonic() < deadline
        # transactions are applied in the order of their commits
        source.execute("INSERT INTO marks SELECT count(*) FROM marks")
        here = source.execute("SELECT count(*) FROM marks").fetchone()
        while target.execute("SELECT count(*) FROM marks").fetchone() != here:
            assert time.monotonic() < deadline

    return catch_up


def test_rows_that_a_subscription_applies_are_logged_where_one_asked_for_it(servers, changes):
    source, target, _, address = servers
    watching.watch(source, ["things", "parted", "untold"], Options(capture="rendered"))
    watching.watch(target, ["untold"])
    watching.watch(target, ["things", "parted"], Options(always=True))
    source.execute("INSERT INTO things VALUES (1, 'copied')")
    catch_up = replicated(source, target, address, "rows", "things, parted, untold")
    catch_up()
    with source.transaction():
        source.execute("SELECT llamalog.set_context(source => 'addThing', user_id => 'ann')")
        source.execute("INSERT INTO things VALUES (2, 'a'), (3, 'a')")
        source.execute("UPDATE things SET v = 'b' WHERE id = 2; DELETE FROM things WHERE id = 3")
    source.execute("INSERT INTO parted VALUES (1, 'a'); UPDATE parted SET v = 'b'")
    source.execute("UPDATE parted SET id = 11; DELETE FROM parted")
    source.execute("INSERT INTO untold VALUES (1, 'a')")
    source.execute("TRUNCATE things")
    catch_up()
    assert ids(target, "THING") == [
        ("I", "1"),
        ("I", "2"),
        ("I", "3"),
        ("U", "2"),
        ("D", "3"),
        ("T", "1"),
        ("T", "2"),
    ]
    # the context stays with the log of the source
    assert set(changes(target, "source, user_id, db_user", entity_type="THING")) == {
        (None, None, "postgres")
    }
    # a move between partitions reaches the triggers as two writes, and no statement trigger says that they are one
    assert ids(target, "PARTED") == [("I", "1"), ("U", "1"), ("D", "1"), ("I", "11"), ("D", "11")]
    assert target.execute("SELECT count(*) FROM untold").fetchone() == (1,)
    assert ids(target, "UNTOLD") == []
    finding = [f for f in installation.check(target) if f.what == "public.untold"]
    assert [(f.problem, f.hint) for f in finding] == [
        (
            "what subscription rows writes to it goes unlogged",
            "Run: llamalog watch public.untold --always, or with --no-always if that is meant",
        )
    ]
    told = CliRunner(env={"LLAMALOG_DSN": target.info.dsn}).invoke(
        main, ["watch", "untold", "--no-always"]
    )
    assert told.exit_code == 0, told.stderr
    assert [f for f in installation.check(target) if f.what == "public.untold"] == []


def test_hub_to_which_the_log_is_replicated_answers_as_its_source_does(servers, new):
    source, _, hub, address = servers
    watching.watch(source, MUSIC_TABLES)
    with source.transaction():
        source.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add-1')")
        album = new.album(source)
        new.track(source, album)
    hub.execute("UPDATE llamalog.clusters SET first_seq = 9223372036854775807")
    catch_up = replicated(source, hub, address, "log", LOG)
    catch_up()
    with source.transaction():
        source.execute(
            "SELECT llamalog.set_context(source => 'enrichment', parent_job_id => 'add-1')"
        )
        source.execute("UPDATE albums SET label = 'Parlophone'")
    source.execute("DELETE FROM albums")
    catch_up()
    for query in (
        "SELECT seq, op, before, after, db_user FROM llamalog.history('ALBUM', %s)",
        "SELECT sentence FROM llamalog.why('ALBUM', %s)",
        "SELECT seq, category FROM llamalog.chain('ALBUM', %s)",
        "SELECT depth, category, label FROM llamalog.tree('ALBUM', %s)",
    ):
        told = source.execute(query.encode(), [album]).fetchall()
        assert told != []
        assert hub.execute(query.encode(), [album]).fetchall() == told
    first = llamalog_sql.chain(hub, "ALBUM", album, limit=2)
    second = llamalog_sql.chain(hub, "ALBUM", album, limit=2, cursor=first.cursor)
    assert [c.category for c in (*first.logs, *second.logs)] == [
        "CREATED",
        "CREATED",
        "ENRICHED",
        "DELETED",
    ]
