"""Capture is paused by whoever may, loses nothing outside of the pause, and no question answers across it."""

from __future__ import annotations

import json
import random
import threading
from contextlib import contextmanager

import psycopg
import pytest
import test_cli
from conftest import default, sampled
from test_as_of import at, clock

from llamalog_sql import (
    errors,
    installation,
    instants,
    migrate,
    pausing,
    queries,
    reverting,
    watching,
)
from llamalog_sql.errors import AlreadyPaused, NotKnown, NotPaused, NotWatched
from llamalog_sql.reverting import Target
from llamalog_sql.watching import Options

llamalog = test_cli.llamalog


def shop(conn, **options):
    """Watch a table, with the kind of capture that the database has, and without image unless asked for one."""
    (kind,) = conn.execute(
        "SELECT capture FROM llamalog.watches WHERE entity_type = 'ALBUM'"
    ).fetchone()
    options = {"capture": kind, "image": "none", **options}
    conn.execute('CREATE TABLE "Goods" (id integer PRIMARY KEY, name text, "Price" numeric)')
    watching.watch(conn, ["Goods"], Options(entity_type="GOOD", **options))


@contextmanager
def paused(conn, kind="GOOD", reason="load"):
    pausing.pause(conn, [kind], reason)
    yield
    pausing.resume(conn, [kind])


def logged(conn, kind="GOOD"):
    """What was captured of a type: op and id, in order."""
    found = conn.execute(
        "SELECT op, entity_id FROM llamalog.log WHERE upper(coalesce(link_type, entity_type)) = upper(%s) AND op IS NOT NULL ORDER BY seq",
        [kind],
    )
    return [(row[0], row[1]) for row in found]


def bodies(conn):
    return conn.execute(
        "SELECT oid, prosrc, proowner, proconfig, prosecdef, proacl::text, obj_description(oid, 'pg_proc') FROM pg_proc"
        " WHERE pronamespace = 'llamalog'::regnamespace AND proname LIKE 'capture\\_%' ORDER BY oid"
    ).fetchall()


# -- what a pause is --------------------------------------------------------------------------------------------------

TABLES = {
    "plain": "CREATE TABLE t (id integer PRIMARY KEY, v text)",
    "odd names": 'CREATE TABLE t (id integer PRIMARY KEY, v text, "BEGIN\nEND;\n$function$" text)',
    "partitioned": "CREATE TABLE t (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);"
    "CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (2); CREATE TABLE t2 PARTITION OF t DEFAULT",
    "inherited": "CREATE TABLE t (id integer PRIMARY KEY, v text);"
    "CREATE TABLE t1 (PRIMARY KEY (id)) INHERITS (t)",
    "domain key": "CREATE DOMAIN number AS integer; CREATE TABLE t (id number, v text[], PRIMARY KEY (id))",
}


@pytest.mark.parametrize(
    ("capture", "table"),
    [
        ("rendered", "odd names"),
        ("rendered", "partitioned"),
        ("rendered", "inherited"),
        ("statement", "odd names"),
        ("tolerant", "partitioned"),
        *(
            pytest.param(*both, marks=pytest.mark.slow)
            for both in (
                *(("rendered", "plain"), ("rendered", "domain key")),
                *(("statement", "plain"), ("statement", "domain key")),
                *(("tolerant", name) for name in ("plain", "odd names", "inherited", "domain key")),
            )
        ),
    ],
)
def test_nothing_is_logged_while_paused_and_everything_before_and_after(db, table, capture):
    db.execute(TABLES[table].encode())
    watching.watch(db, ["t"], Options(entity_type="It's a T", capture=capture))
    before = bodies(db)
    db.execute("INSERT INTO t VALUES (1, NULL)")
    with paused(db, "it's a t"):
        db.execute("INSERT INTO t VALUES (2, NULL), (3, NULL)")
        db.execute(
            "UPDATE t SET v = '{x}'; UPDATE t SET id = 4 WHERE id = 1; DELETE FROM t WHERE id = 3"
        )
        db.execute("TRUNCATE t; INSERT INTO t VALUES (5, NULL)")
    db.execute("UPDATE t SET v = '{y}'; DELETE FROM t; INSERT INTO t VALUES (6, NULL); TRUNCATE t")
    assert logged(db, "It's a T") == [
        ("I", "1"), ("U", "5"), ("D", "5"), ("I", "6"), ("T", "6"),
    ]  # fmt: skip
    assert bodies(db) == before


def test_a_link_is_paused_by_its_own_type(db, new):
    album, artist = new.album(db), new.artist(db)
    with paused(db, "album_artists"):
        new.link(db, album, artist)
        db.execute("UPDATE albums SET label = 'x'")
    db.execute("DELETE FROM album_artists")
    assert logged(db, "ALBUM_ARTIST") == [("D", album)]
    assert logged(db, "ALBUM") == [("I", album), ("U", album)]


def test_start_and_end_are_rows_of_the_log_and_of_pauses(db):
    shop(db)
    db.execute(
        "SELECT llamalog.set_context(source => 'nightly', job_id => 'load-1', user_id => 'ann')"
    )
    begun = clock(db)
    with paused(db, '"Goods"', "load of 2019"):
        db.execute(
            "SELECT llamalog.set_context(source => 'nightly', job_id => 'load-2', user_id => 'bob')"
        )
        assert db.execute("SELECT paused_by, pause_reason, paused_at > %s FROM llamalog.watched_tables"
                          " WHERE entity_type = 'GOOD'", [begun]).fetchall() == [("postgres", "load of 2019", True)]  # fmt: skip
    rows = db.execute(
        "SELECT operation, category, op, entity_type, entity_id, reason, db_user, user_id, job_id, source, seq"
        " FROM llamalog.log WHERE operation LIKE 'llamalog:%' ORDER BY seq"
    ).fetchall()
    assert [row[:-1] for row in rows] == [
        ("llamalog:paused", "USER_ACTION", None, "GOOD", None, "load of 2019", "postgres", "ann", "load-1", "nightly"),
        ("llamalog:resumed", "USER_ACTION", None, "GOOD", None, "load of 2019", "postgres", "bob", "load-2", "nightly"),
    ]  # fmt: skip
    (kept,) = db.execute(
        "SELECT *, paused_at > %s AND resumed_at > paused_at AS is_in_order FROM llamalog.pauses",
        [begun],
    )
    assert (kept.entity_type, kept.reason, kept.paused_by, kept.resumed_by, kept.is_in_order) == (
        "GOOD", "load of 2019", "postgres", "postgres", True,
    )  # fmt: skip
    assert db.execute("SELECT current_setting('lock_timeout')").fetchone() == ("0",)
    assert [kept.paused_seq, kept.resumed_seq] == [row.seq for row in rows]


def test_a_table_is_named_by_its_type_or_as_sql_does(db):
    for name in ("ALBUM", "album", "albums", "Albums", "public.albums", '"albums"'):
        for call in ("llamalog.pause(%s, 'x')", "llamalog.resume(%s)"):
            found = db.execute(f"SELECT entity_type FROM {call}".encode(), [name]).fetchone()
            assert found == ("ALBUM",)


def test_what_cannot_be_paused_or_resumed_is_said(db):
    shop(db)
    db.execute("CREATE SCHEMA other; CREATE TABLE other.albums (id integer PRIMARY KEY)")
    watching.watch(db, ["other.albums"], Options(entity_type="OTHER"))

    def refused(kind, function, *arguments):
        marks = ", ".join(["%s"] * len(arguments))
        with pytest.raises(psycopg.Error) as error, db.transaction():
            db.execute(f"SELECT llamalog.{function}({marks})".encode(), arguments)
        told = errors.translate(error.value)
        assert type(told) is kind
        return f"{told}|{told.detail}|{told.hint}"

    assert refused(NotPaused, "resume", "GOOD").startswith(
        "capture of GOOD is not paused|It never was.|"
    )
    with paused(db):
        again = refused(AlreadyPaused, "pause", "GOOD", "another load")
        assert again.startswith("capture of GOOD is paused already|Since ")
        assert again.endswith(", by postgres: load|Who resumes it ends the pause for both.")
    assert "|The last time, capture was paused from " in refused(NotPaused, "resume", "GOOD")
    assert refused(NotWatched, "pause", "nothing", "x").startswith('"nothing" is not watched|')
    assert refused(errors.Misuse, "pause", "albums", "x").startswith(
        '2 watched tables are called "albums"|'
    )
    assert refused(errors.Misuse, "pause", "GOOD", " \n").startswith("a pause without reason|")
    assert refused(errors.Misuse, "pause", "GOOD", None).startswith("a pause without reason|")


def test_a_transaction_that_keeps_to_one_snapshot_cannot_pause(database):
    database.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    with pytest.raises(psycopg.Error, match="need READ COMMITTED") as error:
        database.execute("SELECT llamalog.pause('ALBUM', 'x')")
    assert error.value.sqlstate == "25000"


# -- who may ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def roles(db):
    """Logins: app, who owns albums and all that he needs; chief, of llamalog_admin; and functions by which others pause."""
    db.execute("""
        CREATE ROLE app LOGIN; CREATE ROLE chief LOGIN; GRANT llamalog_admin TO chief;
        CREATE ROLE keeper LOGIN NOINHERIT; GRANT llamalog_admin TO keeper;
        ALTER TABLE albums OWNER TO app;
        GRANT SELECT, INSERT ON llamalog.log, llamalog.pauses TO app;
        CREATE FUNCTION public.lent() RETURNS text LANGUAGE sql SECURITY DEFINER
            AS $$ SELECT (llamalog.pause('ALBUM', 'lent')).reason $$;
        CREATE FUNCTION public.lured() RETURNS text LANGUAGE sql SECURITY DEFINER
            AS $$ SELECT (llamalog.pause('ALBUM', 'lured')).reason $$;
        ALTER FUNCTION public.lured() OWNER TO app;
        CREATE FUNCTION public.load() RETURNS text LANGUAGE sql
            AS $$ SELECT (llamalog.pause('ALBUM', 'load')).reason $$;
    """)
    db.execute(migrate._CLOSE_TO_PUBLIC)
    return db


def act_as(conn, login, role):
    conn.execute(f"SET LOCAL SESSION AUTHORIZATION {login}".encode())
    if role:
        conn.execute(f"SET LOCAL ROLE {role}".encode())


@pytest.mark.parametrize(
    ("login", "role", "asks"),
    [
        ("app", None, "llamalog.pause('ALBUM', 'x')"),
        ("app", None, "llamalog.resume('ALBUM')"),
        ("app", None, "public.lent()"),
        ("postgres", "app", "llamalog.pause('ALBUM', 'x')"),
        ("postgres", "app", "public.lent()"),
        ("postgres", None, "public.lured()"),
        ("keeper", None, "llamalog.pause('ALBUM', 'x')"),
    ],
)
def test_no_application_role_pauses_not_even_the_owner_of_the_table(roles, login, role, asks):
    act_as(roles, login, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege), roles.transaction():
        roles.execute(f"SELECT {asks}".encode())
    roles.execute("RESET SESSION AUTHORIZATION")
    assert roles.execute("SELECT count(*) FROM llamalog.pauses").fetchone() == (0,)


def test_who_borrows_the_rights_of_an_administrator_is_told_so(roles):
    act_as(roles, "app", None)
    with pytest.raises(psycopg.Error, match='role "app" may not pause or resume capture'):
        roles.execute("SELECT public.lent()")


@pytest.mark.parametrize(
    ("login", "role", "asks"),
    [
        ("postgres", None, "llamalog.pause('ALBUM', 'x')"),
        ("postgres", None, "public.lent()"),
        ("postgres", "llamalog_owner", "llamalog.pause('ALBUM', 'x')"),
        ("chief", None, "llamalog.pause('ALBUM', 'x')"),
        ("chief", None, "public.load()"),
        ("keeper", "llamalog_admin", "llamalog.pause('ALBUM', 'x')"),
    ],
)
def test_superusers_the_owner_and_administrators_pause(roles, login, role, asks):
    act_as(roles, login, role)
    roles.execute(f"SELECT {asks}".encode())
    roles.execute("RESET SESSION AUTHORIZATION")
    assert roles.execute("SELECT paused_by FROM llamalog.pauses").fetchall() == [(login,)]


def test_nobody_writes_pauses_but_their_owner_and_who_reads_the_log_reads_them(db):
    db.execute(
        "CREATE ROLE clerk; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO clerk; SET ROLE clerk"
    )
    assert db.execute("SELECT count(*) FROM llamalog.pauses").fetchone() == (0,)
    for statement in (
        "INSERT INTO llamalog.pauses (entity_type, reason, paused_at, paused_seq, paused_by) VALUES ('ALBUM', 'x', now(), 1, 'x')",
        "UPDATE llamalog.pauses SET resumed_at = NULL",
        "SELECT llamalog.note_pause('ALBUM', 'llamalog:paused', 'forged')",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute(statement.encode())
    db.execute("SELECT llamalog.fit_pause('ALBUM')")
    db.execute("RESET ROLE")


# -- writers beside it ------------------------------------------------------------------------------------------------

LEVELS = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


@pytest.fixture(params=["rendered", pytest.param("tolerant", marks=pytest.mark.slow)])
def writers(request, database, connect):
    """The database, with a table of two rows, and two sessions that write."""
    shop(database, capture=request.param)
    database.execute("""INSERT INTO "Goods" VALUES (1), (2)""")
    sessions = [connect(database), connect(database)]
    return database, *sessions


def update(conn, key):
    conn.execute("""UPDATE "Goods" SET name = concat(name, 'x') WHERE id = %s""", [key])


@pytest.mark.parametrize("level", LEVELS)
def test_what_was_written_before_the_pause_is_logged_whenever_it_commits(writers, level):
    database, first, second = writers
    first.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    update(first, 1)
    pausing.pause(database, ["GOOD"], "load")  # waits for nobody
    update(second, 2)
    first.execute("COMMIT")
    assert logged(database) == [("I", "1"), ("I", "2"), ("U", "1")]


@pytest.mark.parametrize("level", LEVELS)
def test_resume_waits_for_who_has_written_unlogged_and_names_him(writers, level):
    database, first, second = writers
    pausing.pause(database, ["GOOD"], "load")
    first.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    update(first, 1)
    database.execute("SET lock_timeout = '50ms'")
    with pytest.raises(
        errors.LlamaLogError, match="written to GOOD unlogged are still open"
    ) as error:
        pausing.resume(database, ["GOOD"])
    assert error.value.sqlstate == "55P03"
    assert error.value.detail == f"Sessions: {first.info.backend_pid}."
    update(second, 2)  # it is paused still
    first.execute("COMMIT")
    pausing.resume(database, ["GOOD"])
    update(first, 1)
    assert logged(database) == [("I", "1"), ("I", "2"), ("U", "1")]


def test_a_prepared_transaction_that_has_written_unlogged_is_waited_for(writers):
    database, first, _ = writers
    pausing.pause(database, ["GOOD"], "load")
    first.execute("BEGIN")
    update(first, 1)
    first.execute("PREPARE TRANSACTION 'load'")
    database.execute("SET lock_timeout = '50ms'")
    with pytest.raises(errors.LlamaLogError) as error:
        pausing.resume(database, ["GOOD"])
    assert error.value.detail == "Sessions: a prepared transaction."
    database.execute("COMMIT PREPARED 'load'")
    pausing.resume(database, ["GOOD"])


@pytest.mark.parametrize("level", LEVELS)
def test_a_snapshot_of_the_pause_does_not_outlive_it(writers, level):
    database, first, _ = writers
    pausing.pause(database, ["GOOD"], "load")
    first.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    first.execute("SELECT count(*) FROM albums")
    pausing.resume(database, ["GOOD"])
    update(first, 1)
    first.execute("COMMIT")
    assert logged(database)[2:] == [("U", "1")]


@pytest.mark.parametrize("level", LEVELS)
def test_who_comes_while_the_resume_is_at_work_waits_and_is_logged(writers, level):
    database, first, second = writers
    pausing.pause(database, ["GOOD"], "load")
    first.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    first.execute("""SELECT FROM "Goods" """)

    def write():
        update(first, 1)
        first.execute("COMMIT")

    with database.transaction():
        pausing.resume(database, ["GOOD"])
        thread = threading.Thread(target=write)
        thread.start()
        while not second.execute(
            "SELECT FROM pg_locks WHERE pid = %s AND NOT granted", [first.info.backend_pid]
        ).fetchall():
            assert thread.is_alive()
    thread.join(10)
    assert logged(database)[2:] == [("U", "1")]


def test_a_creation_logged_in_a_pause_is_no_creation_after_it(writers):
    database, first, _ = writers
    first.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM albums")
    pausing.pause(database, ["GOOD"], "load")
    before = clock(database)
    first.execute("""INSERT INTO "Goods" VALUES (3); COMMIT""")
    after = clock(database)
    database.execute("""UPDATE "Goods" SET name = 'unseen'""")
    pausing.resume(database, ["GOOD"])
    assert logged(database)[2:] == [("I", "3")]
    assert row(database, "3", before) is None
    assert "paused from" in refused(database, row, "3", after)


@pytest.mark.parametrize("level", LEVELS)
def test_a_snapshot_of_before_the_pause_is_logged_in_it(writers, level):
    database, first, _ = writers
    first.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
    first.execute("SELECT count(*) FROM albums")
    pausing.pause(database, ["GOOD"], "load")
    update(first, 1)
    first.execute("COMMIT")
    # at READ COMMITTED each statement sees that it is paused
    assert logged(database)[2:] == [("U", "1")] * (level != "READ COMMITTED")


def test_a_pause_that_is_rolled_back_never_was(writers):
    database, first, _ = writers
    with database.transaction(force_rollback=True):
        pausing.pause(database, ["GOOD"], "load")
        update(database, 1)
        update(first, 2)  # nobody else sees it
    update(database, 1)
    assert logged(database)[2:] == [("U", "2"), ("U", "1")]
    assert pausing.since(database, "GOOD") == []


def test_a_load_in_one_transaction_pauses_for_itself_alone(writers):
    database, first, _ = writers
    with database.transaction(), paused(database):
        update(database, 1)
        update(first, 2)
    update(database, 1)
    assert logged(database)[2:] == [("U", "2"), ("U", "1")]


def test_two_who_pause_at_once_pause_once(writers):
    database, first, second = writers
    failures = []

    def pause():
        try:
            pausing.pause(first, ["GOOD"], "second")
        except AlreadyPaused as error:
            failures.append(str(error))

    with database.transaction():
        pausing.pause(database, ["GOOD"], "first")
        thread = threading.Thread(target=pause)
        thread.start()
        while not second.execute(
            "SELECT FROM pg_locks WHERE pid = %s AND NOT granted", [first.info.backend_pid]
        ).fetchall():
            assert thread.is_alive()
    thread.join(10)
    assert failures == ["capture of GOOD is paused already"]
    assert [p.reason for p in pausing.since(database, "GOOD")] == ["first"]


# -- what must not end it ---------------------------------------------------------------------------------------------


def test_no_rendering_ends_a_pause_and_after_it_the_capture_fits(each_db):
    db = each_db
    shop(db)
    pausing.pause(db, ["GOOD"], "load")
    watching.watch(db, ["Goods"], Options(redact=["name"]))  # rendered anew
    watching.watch(db, ["Goods"], Options(capture="statement"))
    db.execute("""INSERT INTO "Goods" VALUES (1)""")
    db.execute("""ALTER TABLE "Goods" ADD stock integer""")  # the tolerant capture stands in
    db.execute("""INSERT INTO "Goods" VALUES (2)""")
    migrate.migrate(db)
    db.execute("""INSERT INTO "Goods" VALUES (3)""")
    db.execute(
        """ALTER TABLE "Goods" RENAME "Price" TO cost; ALTER TABLE "Goods" RENAME TO wares"""
    )
    db.execute("INSERT INTO wares VALUES (4)")
    assert logged(db) == []
    pausing.resume(db, ["wares"])
    db.execute("UPDATE wares SET cost = 1, stock = 2, name = 'x' WHERE id = 4")
    watching.refresh(db)
    db.execute("UPDATE wares SET cost = 2, stock = 3, name = 'y' WHERE id = 4")
    images = db.execute(
        "SELECT after FROM llamalog.log WHERE entity_type = 'GOOD' AND op = 'U' ORDER BY seq"
    ).fetchall()
    assert [row[0] for row in images] == [
        {"cost": 1, "name": "[redacted]", "stock": 2},
        {"cost": 2, "name": "[redacted]", "stock": 3},
    ]
    assert [c.change for c in instants.columns_changed_since(db, "GOOD")] == ["added", "renamed"]
    assert [drift for drift in watching.drifted(db) if drift.entity_type == "GOOD"] == []


def test_a_partition_that_comes_while_paused_is_paused_too(db):
    db.execute(TABLES["partitioned"])
    watching.watch(db, ["t"], Options(entity_type="T"))
    with paused(db, "T"):
        db.execute("DROP TABLE t2; CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (2) TO (9)")
        db.execute(
            "INSERT INTO t VALUES (1), (2); INSERT INTO t3 VALUES (3); UPDATE t SET id = 4 WHERE id = 1"
        )
        db.execute("TRUNCATE t3")
    db.execute("INSERT INTO t VALUES (5)")
    assert logged(db, "T") == [("I", "5")]


def test_unwatching_ends_a_pause(db):
    shop(db)
    pausing.pause(db, ["GOOD"], "load")
    watching.unwatch(db, ["GOOD"])
    assert [finding.what for finding in installation.check(db)] == []
    with pytest.raises(NotWatched):
        pausing.resume(db, ["GOOD"])
    watching.watch(db, ["Goods"], Options(entity_type="GOOD"))
    since = clock(db)
    db.execute("""INSERT INTO "Goods" VALUES (1)""")
    assert logged(db) == [("I", "1")]
    (ended,) = pausing.since(db, "GOOD")
    assert (ended.resumed_by, ended.resumed_at < since) == (None, True)
    assert queries.as_of(db, "GOOD", "1", since) is None


def test_a_table_dropped_while_paused_and_made_anew_is_captured(db):
    shop(db)
    pausing.pause(db, ["GOOD"], "load")
    db.execute('DROP TABLE "Goods"')
    shop(db)
    db.execute("""INSERT INTO "Goods" VALUES (1)""")
    assert logged(db) == [("I", "1")]


def test_a_pause_survives_taking_the_capture_off_and_hanging_it_again(db):
    shop(db)
    pausing.pause(db, ["GOOD"], "load")
    watching.take_down(db)
    watching.refresh(db)
    db.execute("""INSERT INTO "Goods" VALUES (1)""")
    assert logged(db) == []


@pytest.mark.slow
def test_rolling_back_what_keeps_pauses_ends_them(db):
    shop(db)
    pausing.pause(db, ["GOOD"], "load")
    while "0014_pauses" in migrate.plan(db).applied:
        migrate.rollback(db)
    migrate.migrate(db)
    db.execute("""INSERT INTO "Goods" VALUES (1)""")
    assert logged(db) == [("I", "1")]


# -- what is known across it ------------------------------------------------------------------------------------------


def refused(conn, ask, *arguments):
    with pytest.raises(NotKnown) as error, conn.transaction():
        ask(conn, *arguments)
    return error.value.detail


def row(conn, key, when):
    return queries.as_of(conn, "GOOD", key, when)


def test_as_of_does_not_cross_a_pause(each_db):
    db = each_db
    shop(db)
    first = at(
        db,
        """INSERT INTO "Goods" VALUES (1, 'tea', 1), (2, 'milk', 2), (3, 'gone', 3), (4, 'lost', 4)""",
    )
    second = at(
        db,
        """UPDATE "Goods" SET name = 'green tea' WHERE id = 1; DELETE FROM "Goods" WHERE id = 3""",
    )
    pausing.pause(db, ["GOOD"], "load")
    within = clock(db)
    db.execute(
        """UPDATE "Goods" SET name = 'unseen'; DELETE FROM "Goods" WHERE id = 4; INSERT INTO "Goods" VALUES (5)"""
    )
    pausing.resume(db, ["GOOD"])
    after = clock(db)
    db.execute("""UPDATE "Goods" SET "Price" = 9; INSERT INTO "Goods" VALUES (6)""")
    now = clock(db)

    # removed before it, created after it: the log proves that
    assert row(db, "3", first) == {"id": 3, "name": "gone", "Price": 3}
    assert [row(db, "3", when) for when in (second, within, after)] == [None, None, None]
    assert [row(db, "6", when) for when in (first, second, within, after)] == [None] * 4
    # nothing else of before
    for key in ("1", "2", "4", "5"):
        for when in (first, second, within):
            assert "capture was paused from" in refused(db, row, key, when)
    # all of since
    assert [row(db, "1", when)["Price"] for when in (after, now)] == [1, 9]
    assert row(db, "4", after) is None
    assert row(db, "5", after) == {"id": 5, "name": None, "Price": None}
    for when in (first, within):
        assert "paused from" in refused(db, lambda *a: [*instants.as_of_all(*a)], "GOOD", when)
    assert len([r for batch in instants.as_of_all(db, "GOOD", after) for r in batch]) == 3
    assert "paused from" in refused(db, queries.diff, "GOOD", "1", first, now)
    assert [(d.field, d.after) for d in queries.diff(db, "GOOD", "1", after, now)] == [("Price", 9)]


@pytest.mark.parametrize("seed", sampled(range(48), every=25))
def test_whatever_is_written_as_of_tells_what_was_or_that_it_is_not_known(db, seed):
    shop(db, image="full" if seed % 2 else "none")
    db.execute(
        """ALTER TABLE "Goods" ADD who integer; INSERT INTO "Goods" VALUES (0, 'of before', 0, 0)"""
    )
    watching.watch(db, ["Goods"])
    dice = random.Random(seed)
    fresh = iter(range(1, 1000))
    seen: list[tuple[object, dict[int, dict]]] = []  # the rows by whoever they are, at instants
    owner = {0: 0}  # who had a key last
    is_paused = False
    for _ in range(60):
        rows = {
            r.who: r._asdict()
            for r in db.execute("""SELECT id, name, "Price", who FROM "Goods" """)
        }
        act = dice.choice(
            ["insert", "insert", "update", "update", "key", "delete", "pause", "look", "look"]
        )
        one = dice.choice([*rows.values()]) if rows else None
        if act == "look":
            seen.append((clock(db), rows))
        elif act == "pause":
            is_paused = not is_paused
            (pausing.pause if is_paused else pausing.resume)(db, ["GOOD"], *["load"] * is_paused)
        elif act == "insert":
            key = next(fresh)
            owner[key] = key
            db.execute("""INSERT INTO "Goods" VALUES (%s, 'new', NULL, %s)""", [key, key])
        elif one and act == "key":
            key = next(fresh)
            owner[key] = one["who"]
            db.execute("""UPDATE "Goods" SET id = %s WHERE id = %s""", [key, one["id"]])
        elif one and act == "update":
            name = dice.choice(["tea", "milk", None])
            db.execute(
                """UPDATE "Goods" SET name = %s, "Price" = 1 WHERE id = %s""", [name, one["id"]]
            )
        elif one:
            db.execute("""DELETE FROM "Goods" WHERE id = %s""", [one["id"]])
    if is_paused:
        pausing.resume(db, ["GOOD"])
    db.execute("""INSERT INTO "Goods" VALUES (2000, 'last', 1, 2000)""")
    owner[2000] = 2000
    last = db.execute("""SELECT id, name, "Price", who FROM "Goods" """).fetchall()
    seen.append((clock(db), {r.who: r._asdict() for r in last}))
    known = 0
    for when, rows in seen:
        keys = {r["id"] for r in rows.values()}
        for key, who in owner.items():
            try:
                with db.transaction():
                    told = row(db, str(key), when)
            except NotKnown:
                continue
            known += told is not None
            # after a change of the key that nobody saw, the old one is nobody's
            assert told in ([rows.get(who)] if key in keys else [rows.get(who), None]), (key, when)
    assert known > 0


def test_while_it_lasts_nothing_since_its_beginning_is_known(db):
    shop(db)
    first = at(db, """INSERT INTO "Goods" VALUES (1, 'tea', 1), (2, 'gone', 2)""")
    db.execute("""DELETE FROM "Goods" WHERE id = 2""")
    pausing.pause(db, ["GOOD"], "load")
    now = clock(db)
    for when in (first, now):
        assert "capture is paused since" in refused(db, row, "1", when)
    assert row(db, "2", first)["name"] == "gone"
    assert row(db, "2", now) is None
    db.execute("""INSERT INTO "Goods" VALUES (2)""")
    assert "paused since" in refused(db, row, "2", now)


def test_a_row_stored_whole_is_known_up_to_the_pause(db):
    shop(db, image="full")
    first = at(db, """INSERT INTO "Goods" VALUES (1, 'tea', 1)""")
    second = at(db, """UPDATE "Goods" SET name = 'green tea'""")
    third = at(db, """UPDATE "Goods" SET "Price" = 2, id = 7""")
    with paused(db):
        within = clock(db)
        db.execute("""UPDATE "Goods" SET name = 'unseen'""")
    fourth = at(db, """INSERT INTO "Goods" VALUES (2, 'milk', 2)""")
    with paused(db):
        pass

    assert [row(db, "7", when) for when in (first, second, third)] == [
        {"id": 1, "name": "tea", "Price": 1},
        {"id": 1, "name": "green tea", "Price": 1},
        {"id": 7, "name": "green tea", "Price": 2},
    ]
    assert row(db, "2", fourth) == {"id": 2, "name": "milk", "Price": 2}
    assert "paused from" in refused(db, row, "7", within)
    assert "paused from" in refused(db, row, "7", fourth)  # between two pauses


def test_the_columns_of_a_stored_row_must_be_those_of_the_instant(db):
    shop(db, image="full")
    db.execute(
        """INSERT INTO "Goods" VALUES (1, 'tea', 1); ALTER TABLE "Goods" ADD stock integer DEFAULT 5"""
    )
    first = clock(db)
    with paused(db):
        pass
    assert "paused from" in refused(db, row, "1", first)


def test_blame_does_not_credit_across_a_pause_what_may_have_been_written_in_it(each_db):
    db = each_db
    shop(db)
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1), (2, NULL, 2), (3, 'gone', 3)""")
    db.execute("""UPDATE "Goods" SET "Price" = 5 WHERE id = 1; DELETE FROM "Goods" WHERE id = 3""")
    with paused(db):
        db.execute("""UPDATE "Goods" SET "Price" = 6 WHERE id = 2""")

    def blamed(key):
        return {b.field: b.category for b in queries.blame(db, "GOOD", key)}

    # what an update left is still there; what the creation gave, nobody knows, but that it left a field empty
    assert blamed("1") == {"id": None, "name": None, "Price": "UPDATED"}
    assert blamed("2") == {"id": None, "name": "CREATED", "Price": None}
    assert blamed("3") == {"id": "CREATED", "name": "CREATED", "Price": "CREATED"}
    with paused(db):
        db.execute("""UPDATE "Goods" SET "Price" = 7 WHERE id = 1""")
    assert blamed("1")["Price"] is None
    assert [(b.field, b.left_value, b.found) for b in queries.breaks(db, "GOOD", "1")] == [
        ("Price", 5, 7)
    ]
    db.execute(
        """UPDATE "Goods" SET name = 'milk' WHERE id = 1; INSERT INTO "Goods" VALUES (4, 'new', 4)"""
    )
    assert blamed("1")["name"] == "UPDATED"
    assert set(blamed("4").values()) == {"CREATED"}


def test_blame_of_a_row_stored_whole_crosses_a_pause_that_changed_nothing(db):
    shop(db, image="full")
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1)""")
    with paused(db):
        db.execute("""UPDATE "Goods" SET name = 'unseen'""")
    assert {b.field: b.category for b in queries.blame(db, "GOOD", "1")} == {
        "id": "CREATED", "name": None, "Price": "CREATED",
    }  # fmt: skip


def test_revert_says_what_may_have_been_written_while_paused(each_db):
    db = each_db
    shop(db)
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1)""")
    db.execute("""UPDATE "Goods" SET name = 'green tea', "Price" = 2""")
    created, changed = (row[0] for row in db.execute("SELECT seq FROM llamalog.log ORDER BY seq"))
    with paused(db):
        db.execute("""UPDATE "Goods" SET "Price" = 3""")

    def plan(seq, **options):
        steps = reverting.plan(db, Target(change=seq), **options).steps
        return [
            (s.action, s.field, s.is_refused, (s.detail or "").partition(" from ")[0])
            for s in steps
        ]

    # where the chain meets across the pause, nothing was missed
    assert plan(changed) == [
        ("conflict", "Price", True, "a write that was not captured: capture was paused"),
        ("update", None, False, ""),
    ]
    with paused(db):
        db.execute("""UPDATE "Goods" SET name = 'tea', "Price" = 1""")
    db.execute("""UPDATE "Goods" SET name = 'x'; UPDATE "Goods" SET name = 'tea'""")
    db.execute("""INSERT INTO "Goods" VALUES (2, 'milk', 2)""")
    milk = db.execute("SELECT max(seq) FROM llamalog.log").fetchone()[0]
    assert plan(milk) == [("delete", None, False, "")]
    with paused(db):
        pass
    assert plan(milk) == [("conflict", None, True, "perhaps written to since: capture was paused")]
    assert plan(milk, wins="theirs") == [
        ("conflict", None, False, "perhaps written to since: capture was paused")
    ]
    assert [step[0] for step in plan(milk, wins="ours")] == ["conflict", "delete"]
    assert created < changed


# -- where it shows ---------------------------------------------------------------------------------------------------


def test_every_view_and_question_bears_the_rows_of_a_pause(database, new, llamalog):
    album = new.album(database)
    database.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'load-1')")
    with database.transaction():
        database.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'load-1')")
        with paused(database, "ALBUM"):
            new.track(database, album)
    for command in (
        ["tail", "--limit", "20"],
        ["tail", "--format", "jsonl"],
        ["stats"],
        ["stats", "--silent"],
        ["job", "load-1"],
        ["impact", "--job", "load-1", "--list"],
        ["history", "ALBUM", album],
        ["chain", "ALBUM", album],
        ["tree", "ALBUM", album],
        ["why", "ALBUM", album],
        ["blame", "ALBUM", album],
        ["failures"],
        ["attention"],
        ["report", "ALBUM", album, "-o", "-"],
        ["report", "--job", "load-1", "-o", "-"],
        ["report", "-o", "-"],
        ["export", "log"],
        ["export", "openlineage", "--job", "load-1"],
        ["export", "prov", "ALBUM", album],
        ["export", "prov", "--job", "load-1"],
    ):
        result = llamalog(*command)
        assert "None" not in result.stdout, command
        assert result.exit_code in ({0, 1} if command[0] == "attention" else {0}), (
            command,
            result.stderr,
        )
    assert "llamalog:paused" in llamalog("export", "log").stdout
    for view in (
        "recent_activity",
        "job_summary",
        "source_summary",
        "unknown_provenance",
        "failures",
    ):
        database.execute(f"SELECT * FROM llamalog.{view}".encode()).fetchall()


def test_a_paused_table_is_not_said_to_be_silent(db):
    def silent():
        return {row[0] for row in db.execute("SELECT entity_type FROM llamalog.silent_tables()")}

    shop(db)
    assert "GOOD" in silent()
    with paused(db):
        assert "GOOD" not in silent()
    assert "GOOD" in silent()


@default("image")
def test_pause_and_resume_as_commands(database, new, llamalog):
    album = new.album(database)
    when = clock(database)
    assert llamalog("pause", "albums", "--reason", "load of 2019", "--dry-run").stdout == (
        "would pause capture of public.albums (ALBUM)\n"
    )
    assert llamalog("pause", "albums", "--reason", "it's", "--sql").stdout == (
        "SELECT * FROM llamalog.pause('ALBUM', 'it''s');\n\n"
    )
    test_cli.failed(
        llamalog("pause", "albums", "--reason", "x"),
        2,
        "error: a yes is needed: Let what is written to public.albums (ALBUM)",
        "--yes",
    )
    test_cli.failed(
        llamalog("pause", "albums", "--reason", " ", "--yes"),
        2,
        "error: --reason is empty",
        "Say why",
    )
    test_cli.failed(
        llamalog("pause", "x", "--reason", "y", "--yes"),
        1,
        'error: "x" is not watched (LL002)',
        "llamalog status",
    )
    done = llamalog("pause", "albums", "tracks", "--reason", "load\x1b of 2019", "--yes")
    assert (done.exit_code, done.stdout) == (0, "")
    assert (
        "capture of TRACK is paused: what is written to it is not logged until llamalog resume TRACK"
        in done.stderr
    )
    test_cli.failed(
        llamalog("pause", "artists", "ALBUM", "--reason", "y", "--yes"), 1, "error: capture of ALBUM is paused already (LL024)", "Who resumes"
    )  # fmt: skip
    assert pausing.since(database, "ARTIST") == []  # all of them, or none
    status = llamalog("status").stdout
    assert status.count("paused since 20") == 2
    assert "by postgres: load\\x1b of 2019" in status
    (told, *_) = json.loads(llamalog("status", "--format", "json").stdout)[0]["watched"]
    assert (told["entity_type"], told["paused_by"], told["pause_reason"]) == (
        "ALBUM",
        "postgres",
        "load\x1b of 2019",
    )
    check = llamalog("check")
    assert check.exit_code == 1
    assert "public.albums: capture is paused since 20" in check.stdout
    assert "hint: What is written to it is not logged. Run: llamalog resume ALBUM" in check.stdout
    asked = llamalog("as-of", "ALBUM", album, when.isoformat())
    test_cli.failed(asked, 1, f'error: what ALBUM "{album}" was at', "llamalog.history()")
    assert (
        "detail: What was written then is not in the log: capture is paused since" in asked.stderr
    )
    blamed = llamalog("blame", "ALBUM", album)
    assert "capture of ALBUM is paused since 20" in blamed.stderr
    assert (
        llamalog("resume", "albums", "--dry-run").stdout
        == "would resume capture of public.albums (ALBUM)\n"
    )
    assert (
        llamalog("resume", "albums", "--sql").stdout
        == "SELECT * FROM llamalog.resume('ALBUM');\n\n"
    )
    done = llamalog("resume", "albums", "tracks")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "capture of ALBUM is resumed; what was written to it from 20" in done.stderr
    assert llamalog("check").stdout == "ok\n"
    test_cli.failed(
        llamalog("resume", "albums"),
        1,
        "error: capture of ALBUM is not paused (LL025)",
        "is logged",
    )
    assert "paused from 20" in llamalog("blame", "ALBUM", album).stderr
    later = new.album(database, "Kid A")
    assert "paused from 20" in llamalog("history", "ALBUM", album).stderr
    assert "paused" not in llamalog("history", "ALBUM", later).stderr
    for reason in ("two", "three", "four"):
        with paused(database, "ALBUM", reason):
            pass
    told = llamalog("blame", "ALBUM", album).stderr.splitlines()
    assert told[0].endswith("1 earlier pause: llamalog.pauses_since(type) lists them")
    assert told[-1].endswith("by postgres: four; what was written then is not in the log")


def test_each_story_says_that_a_pause_may_have_left_something_out(database, new, llamalog):
    before = new.album(database)
    with paused(database, "ALBUM", "load"):
        pass
    after = new.album(database, "Kid A")
    for question in ("chain", "tree", "why"):
        assert "capture of ALBUM was paused from 20" in llamalog(question, "ALBUM", before).stderr
        assert llamalog(question, "ALBUM", after).stderr == ""


def test_a_role_without_the_right_is_told_what_to_do(database, llamalog):
    database.execute(
        "CREATE ROLE pausing_app LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO pausing_app"
    )
    own = database.info.get_parameters() | {"user": "pausing_app"}
    try:
        result = llamalog(
            "pause",
            "albums",
            "--reason",
            "x",
            "--yes",
            dsn=psycopg.conninfo.make_conninfo("", **own),
        )
    finally:
        database.execute("DROP OWNED BY pausing_app; DROP ROLE pausing_app")
    test_cli.failed(
        result,
        1,
        "error: permission denied for function pause (42501)",
        "the role that installed llamalog",
    )
