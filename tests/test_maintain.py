"""Months are made ahead, rows that had to wait in DEFAULT move to theirs, and nobody who writes or reads is disturbed."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import psycopg
import pytest

from llamalog_sql import embedded, errors, migrate

PARTITIONS = (
    "SELECT child.relname FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid"
    " WHERE inhparent = 'llamalog.llama_logs'::regclass ORDER BY child.relname"
)


def values(conn, query, parameters=None):
    return [row[0] for row in conn.execute(query, parameters).fetchall()]


def value(conn, query, parameters=None):
    return values(conn, query, parameters)[0]


def maintain(conn, months_ahead=0, clock="2031-05-15 12:00+00", **more):
    """What llamalog.maintain() says it made, as plain tuples."""
    given = {"months_ahead": months_ahead, "clock": clock, **more}
    named = ", ".join(f"{name} => %({name})s" for name in given)
    return [tuple(row) for row in conn.execute(f"SELECT * FROM llamalog.maintain({named})", given)]


def wait_in_default(conn, created_at, count=1, operation="test:waiting"):
    """Rows of an instant, put where the log puts what has no month yet."""
    conn.execute(
        "INSERT INTO llamalog.llama_logs (operation, category, created_at)"
        " SELECT %s, 'UPDATED', %s::timestamptz FROM generate_series(1, %s)",
        [operation, created_at, count],
    )


def drop_months(conn):
    """Leave only DEFAULT, as where nobody ever ran maintain."""
    for name in values(conn, PARTITIONS):
        if name != "llama_logs_default":
            conn.execute(f"DROP TABLE llamalog.{name}")


def places(conn, condition="true"):
    """(partition, rows) of the rows of the log."""
    return [
        tuple(row)
        for row in conn.execute(
            "SELECT tableoid::regclass::text, count(*) FROM llamalog.llama_logs"
            f" WHERE {condition} GROUP BY 1 ORDER BY 1"
        )
    ]


def catalogue(conn):
    """The version of everything that the catalogue keeps about the schema."""
    return conn.execute(
        "SELECT 'class', oid::bigint, xmin::text FROM pg_class WHERE relnamespace = 'llamalog'::regnamespace"
        " UNION ALL SELECT 'attribute', attrelid::bigint * 2000 + attnum, a.xmin::text FROM pg_attribute AS a"
        " JOIN pg_class AS c ON c.oid = attrelid WHERE relnamespace = 'llamalog'::regnamespace"
        " UNION ALL SELECT 'constraint', oid::bigint, xmin::text FROM pg_constraint"
        " WHERE connamespace = 'llamalog'::regnamespace"
        " UNION ALL SELECT 'inherits', inhrelid::bigint, i.xmin::text FROM pg_inherits AS i"
        " JOIN pg_class AS c ON c.oid = inhrelid WHERE relnamespace = 'llamalog'::regnamespace"
        " ORDER BY 1, 2"
    ).fetchall()


@pytest.fixture
def meanwhile():
    """meanwhile(work, *arguments) does it in a thread, for another session; .result(60) is what came of it."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        yield pool.submit


def until_blocked(conn, pid):
    """Wait until the session of that pid waits for a lock."""
    for _ in range(2000):
        if value(conn, "SELECT cardinality(pg_blocking_pids(%s)) > 0", [pid]):
            return
        time.sleep(0.005)
    raise AssertionError("it never waited for a lock")


# -- months -----------------------------------------------------------------------------------------------------------


def test_months_are_made_ahead_of_the_clock(db):
    assert maintain(db, months_ahead=2) == [
        ("llamalog.llama_logs_2031_05", date(2031, 5, 1), 0),
        ("llamalog.llama_logs_2031_06", date(2031, 6, 1), 0),
        ("llamalog.llama_logs_2031_07", date(2031, 7, 1), 0),
    ]


def test_an_installation_has_this_month_and_three_more(db):
    drop_months(db)
    made = value(db, "SELECT count(*) FROM llamalog.maintain()")
    this_month = value(db, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY_MM')")
    assert made == 4
    assert values(db, PARTITIONS)[0] == f"llama_logs_{this_month}"


def test_maintaining_twice_changes_nothing(database):
    maintain(database, months_ahead=2)
    before = catalogue(database)
    assert maintain(database, months_ahead=2) == []
    assert catalogue(database) == before


def test_months_are_those_of_utc_wherever_the_session_is(db):
    db.execute("SET LOCAL TimeZone = 'Pacific/Auckland'")
    wait_in_default(db, "2031-05-31 23:59:59.999999+00")
    wait_in_default(db, "2031-06-01 00:00:00+00")
    # in Auckland it is June already
    maintain(db, clock="2031-05-31 23:00+00")
    maintain(db, clock="2031-06-01 00:00+00")
    assert places(db, "operation = 'test:waiting'") == [
        ("llamalog.llama_logs_2031_05", 1),
        ("llamalog.llama_logs_2031_06", 1),
    ]


def test_a_write_without_a_month_lands_in_default(db, new):
    drop_months(db)
    new.album(db)
    assert places(db) == [("llamalog.llama_logs_default", 1)]


def test_rows_move_from_default_to_their_months_unchanged(db):
    for instant in ("2031-03-01 00:00+00", "2031-03-31 23:59+00", "2031-05-02 00:00+00"):
        wait_in_default(db, instant)
    before = db.execute(
        "SELECT * FROM llamalog.log WHERE operation = 'test:waiting' ORDER BY seq"
    ).fetchall()
    assert maintain(db) == [
        ("llamalog.llama_logs_2031_03", date(2031, 3, 1), 2),
        ("llamalog.llama_logs_2031_05", date(2031, 5, 1), 1),
    ]
    after = db.execute(
        "SELECT * FROM llamalog.log WHERE operation = 'test:waiting' ORDER BY seq"
    ).fetchall()
    assert after == before
    assert places(db, "operation = 'test:waiting'") == [
        ("llamalog.llama_logs_2031_03", 2),
        ("llamalog.llama_logs_2031_05", 1),
    ]


def test_rows_of_the_far_past_and_future_stay_in_default(db):
    for instant in (
        "0044-03-15 00:00+00 BC",
        "2021-04-30 23:59+00",
        "2021-05-01 00:00+00",
        "2031-06-30 23:59+00",
        "2031-07-01 00:00+00",
        "9999-12-31 00:00+00",
        "infinity",
    ):
        wait_in_default(db, instant)
    assert maintain(db, months_ahead=1) == [
        ("llamalog.llama_logs_2021_05", date(2021, 5, 1), 1),
        ("llamalog.llama_logs_2031_05", date(2031, 5, 1), 0),
        ("llamalog.llama_logs_2031_06", date(2031, 6, 1), 1),
    ]
    assert places(db, "operation = 'test:waiting'") == [
        ("llamalog.llama_logs_2021_05", 1),
        ("llamalog.llama_logs_2031_06", 1),
        ("llamalog.llama_logs_default", 5),
    ]


def test_a_partition_is_like_the_log_in_every_way(db):
    maintain(db)
    shapes = {}
    for name in ("llama_logs", "llama_logs_default", "llama_logs_2031_05"):
        table = f"llamalog.{name}"
        shapes[name] = {
            # "ON ONLY" and the names of table and index are what must differ
            "indexes": sorted(
                definition.partition(" USING ")[2]
                for definition in values(
                    db,
                    "SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = %s::regclass",
                    [table],
                )
            ),
            "constraints": values(
                db,
                "SELECT contype::text || ' ' || pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conrelid = %s::regclass AND contype <> 'n' ORDER BY 1",
                [table],
            ),
            "columns": [
                tuple(row)
                for row in db.execute(
                    "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attstorage,"
                    " CASE WHEN attidentity = '' THEN pg_get_expr(adbin, adrelid) END,"
                    " col_description(attrelid, attnum)"
                    " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
                    " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attname",
                    [table],
                )
            ],
            "owner": value(
                db, "SELECT relowner::regrole::text FROM pg_class WHERE oid = %s::regclass", [table]
            ),
        }
    assert len(shapes["llama_logs"]["indexes"]) == 9
    assert shapes["llama_logs_2031_05"] == shapes["llama_logs"]
    # but for what is granted: a month is read and written through the log
    assert (
        value(db, "SELECT relacl FROM pg_class WHERE oid = 'llamalog.llama_logs_2031_05'::regclass")
        is None
    )
    # every index of the month is a part of one of the log's: a later DROP INDEX, or a new one, reaches it
    assert (
        value(
            db,
            "SELECT count(*) FROM pg_index JOIN pg_inherits ON inhrelid = indexrelid"
            " WHERE indrelid = 'llamalog.llama_logs_2031_05'::regclass",
        )
        == 9
    )
    assert (
        value(db, "SELECT obj_description('llamalog.llama_logs_2031_05'::regclass)")
        == "Changes of May 2031, UTC."
    )


@pytest.mark.parametrize("months_ahead", [-1, 121, None])
def test_months_ahead_that_make_no_sense_are_refused(db, months_ahead):
    with pytest.raises(psycopg.errors.InvalidParameterValue) as caught, db.transaction():
        db.execute("SELECT * FROM llamalog.maintain(%s::integer)", [months_ahead])
    refusal = errors.translate(caught.value)
    shown = "<NULL>" if months_ahead is None else months_ahead
    assert (str(refusal), refusal.hint) == (
        f"months_ahead {shown} is not between 0 and 120",
        "Three months are usual.",
    )


@pytest.mark.parametrize("lock_wait", ["0", "-1 second", "0.0004 seconds", None])
def test_a_wait_for_locks_that_would_never_end_is_refused(db, lock_wait):
    # a lock_timeout of 0 waits for ever, and every writer behind it
    with pytest.raises(psycopg.errors.InvalidParameterValue), db.transaction():
        db.execute("SELECT * FROM llamalog.maintain(0, %s::interval, 1, '2031-05-15')", [lock_wait])


@pytest.mark.parametrize("clock", ["infinity", None])
def test_a_clock_that_shows_no_instant_is_refused(db, clock):
    said = f"clock {clock or 'null'} is no instant"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=said), db.transaction():
        db.execute("SELECT * FROM llamalog.maintain(0, clock => %s::timestamptz)", [clock])


def test_maintain_leaves_the_lock_timeout_of_its_caller(db):
    db.execute("SET LOCAL lock_timeout = '7s'")
    maintain(db)
    assert value(db, "SHOW lock_timeout") == "7s"


def test_python_names_the_months_made_and_the_rows_moved(db):
    drop_months(db)
    wait_in_default(db, value(db, "SELECT clock_timestamp()"), count=2)
    this_month, next_month = values(
        db,
        "SELECT to_char(month, 'YYYY_MM') FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),"
        " now() AT TIME ZONE 'UTC' + interval '1 month', '1 month') AS month LIMIT 2",
    )
    assert migrate.maintain(db, months_ahead=1) == [
        f"llamalog.llama_logs_{this_month} (2 rows moved)",
        f"llamalog.llama_logs_{next_month}",
    ]


# -- beside others ----------------------------------------------------------------------------------------------------


def test_a_write_that_waits_for_maintain_is_written_to_the_new_month(
    database, connect, new, meanwhile
):
    drop_months(database)
    keeper, writer = connect(database), connect(database)
    with keeper.transaction():
        keeper.execute("SELECT * FROM llamalog.maintain()")
        writing = meanwhile(new.album, writer)
        until_blocked(database, writer.info.backend_pid)
    writing.result(60)
    this_month = value(database, "SELECT llamalog.month_partition(clock_timestamp())")
    assert places(database) == [(this_month, 1)]


def test_a_reader_that_waits_for_maintain_sees_every_row(database, connect, meanwhile):
    wait_in_default(database, "2031-05-02 00:00+00", count=7)
    keeper, reader = connect(database), connect(database)
    with keeper.transaction():
        maintain(keeper)
        reading = meanwhile(value, reader, "SELECT count(*) FROM llamalog.log")
        until_blocked(database, reader.info.backend_pid)
    assert reading.result(60) == 7


def test_a_question_that_waits_for_maintain_sees_every_row(database, connect, new, meanwhile):
    drop_months(database)
    album = new.album(database)
    keeper, reader = connect(database), connect(database)
    query = "SELECT count(*) FROM llamalog.history('ALBUM', %s)"
    assert value(reader, query, [album]) == 1
    with keeper.transaction():
        keeper.execute("SELECT * FROM llamalog.maintain()")
        reading = meanwhile(value, reader, query, [album])
        until_blocked(database, reader.info.backend_pid)
    assert reading.result(60) == 1


def test_a_snapshot_from_before_maintain_goes_on_seeing_every_row(database, connect):
    wait_in_default(database, "2031-05-02 00:00+00", count=7)
    reader = connect(database)
    reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with reader.transaction():
        value(reader, "SELECT count(*) FROM albums")
        maintain(database)
        assert value(reader, "SELECT count(*) FROM llamalog.log") == 7


def test_a_long_reader_makes_maintain_give_up_and_change_nothing(database, connect):
    wait_in_default(database, "2031-05-02 00:00+00", count=7)
    before = catalogue(database)
    reader = connect(database)
    with reader.transaction():
        value(reader, "SELECT count(*) FROM llamalog.log")
        with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
            maintain(database, lock_wait="20 milliseconds", attempts=2)
        refusal = errors.translate(caught.value)
        assert (refusal.sqlstate, refusal.detail, refusal.hint) == (
            "55P03",
            "Nothing was changed.",
            "A long transaction reads the log: see pg_stat_activity, then run llamalog maintain again.",
        )
        assert catalogue(database) == before
        assert places(database, "operation = 'test:waiting'") == [
            ("llamalog.llama_logs_default", 7)
        ]
    assert maintain(database) == [("llamalog.llama_logs_2031_05", date(2031, 5, 1), 7)]


def test_a_reader_that_ends_between_two_attempts_is_waited_for(database, connect, meanwhile):
    reader, keeper = connect(database), connect(database)
    reader.autocommit = False
    value(reader, "SELECT count(*) FROM llamalog.log")
    keeping = meanwhile(maintain, keeper, 0, "2031-05-15")
    until_blocked(database, keeper.info.backend_pid)
    reader.commit()
    assert keeping.result(60) == [("llamalog.llama_logs_2031_05", date(2031, 5, 1), 0)]


def test_of_two_maintains_at_once_one_waits_and_finds_nothing_to_do(database, connect, meanwhile):
    wait_in_default(database, "2031-05-02 00:00+00", count=7)
    first, second = connect(database), connect(database)
    with first.transaction():
        assert maintain(first) == [("llamalog.llama_logs_2031_05", date(2031, 5, 1), 7)]
        waiting = meanwhile(maintain, second)
        until_blocked(database, second.info.backend_pid)
    assert waiting.result(60) == []
    assert places(database, "operation = 'test:waiting'") == [("llamalog.llama_logs_2031_05", 7)]


def test_of_two_maintains_at_once_the_second_does_what_the_first_gave_up(
    database, connect, meanwhile
):
    wait_in_default(database, "2031-05-02 00:00+00", count=7)
    first, second = connect(database), connect(database)
    with first.transaction(force_rollback=True):
        maintain(first)
        waiting = meanwhile(maintain, second)
        until_blocked(database, second.info.backend_pid)
    assert waiting.result(60) == [("llamalog.llama_logs_2031_05", date(2031, 5, 1), 7)]


def test_a_clock_that_skipped_three_months_harms_no_writer_and_no_reader(
    database, connect, new, meanwhile
):
    """Nobody ran maintain for three months; then somebody does, while the application writes and reads."""
    drop_months(database)
    database.execute(
        "SELECT * FROM llamalog.maintain(0, clock => clock_timestamp() - interval '4 months')"
    )
    months = values(
        database,
        "SELECT date_trunc('month', now() AT TIME ZONE 'UTC') - make_interval(months => back)"
        " FROM generate_series(3, 0, -1) AS back",
    )
    for month in months:
        wait_in_default(database, f"{month:%Y-%m}-01 00:00+00", count=1)
        wait_in_default(database, f"{month:%Y-%m}-14 12:00+00", count=249)
    assert places(database) == [("llamalog.llama_logs_default", 1000)]

    done, started = threading.Event(), threading.Barrier(6, timeout=30)
    written = "SELECT count(*) FROM albums"
    waiting = "SELECT count(*) FROM llamalog.log WHERE operation = 'test:waiting'"

    def write(conn):
        titles = []
        while not done.is_set():
            title = f"{conn.info.backend_pid}-{len(titles)}"
            with conn.transaction():
                album = new.album(conn, title)
                conn.execute("UPDATE albums SET label = 'Warp' WHERE id = %s", [album])
            titles.append(title)
            if len(titles) == 3:
                started.wait()
        return titles

    def read(conn, isolation):
        conn.isolation_level = isolation
        counts = set()
        rounds = 0
        while not done.is_set():
            with conn.transaction():
                counts.add(("waiting", value(conn, waiting)))
                counts.add(("waiting", value(conn, waiting)))
                if isolation is psycopg.IsolationLevel.REPEATABLE_READ:
                    # one snapshot: every album has its creation and its update
                    logged = value(conn, "SELECT count(*) FROM llamalog.log WHERE op IS NOT NULL")
                    counts.add(("logged beyond written", logged - 2 * value(conn, written)))
            rounds += 1
            if rounds == 3:
                started.wait()
        return counts

    writers = [meanwhile(write, connect(database)) for _ in range(3)]
    committed = meanwhile(read, connect(database), psycopg.IsolationLevel.READ_COMMITTED)
    repeated = meanwhile(read, connect(database), psycopg.IsolationLevel.REPEATABLE_READ)
    try:
        started.wait()
        moved = values(database, "SELECT moved_rows FROM llamalog.maintain()")
    finally:
        done.set()

    titles = [title for writer in writers for title in writer.result(60)]
    assert committed.result(60) == {("waiting", 1000)}
    assert repeated.result(60) == {("waiting", 1000), ("logged beyond written", 0)}
    # this month's rows are the waiting ones and some of the writers'
    assert (moved[:3], moved[3] >= 250, moved[4:]) == ([250, 250, 250], True, [0, 0, 0])
    assert sorted(values(database, "SELECT title FROM albums")) == sorted(titles)
    assert value(database, "SELECT count(*) FROM llamalog.log WHERE category = 'CREATED'") == len(
        titles
    )
    assert value(
        database, "SELECT count(*) FROM llamalog.log WHERE category = 'UPDATED' AND op = 'U'"
    ) == len(titles)
    assert value(database, "SELECT count(*) - count(DISTINCT seq) FROM llamalog.log") == 0
    assert (
        value(
            database,
            "SELECT count(*) FROM llamalog.llama_logs"
            " WHERE tableoid <> llamalog.month_partition(created_at)::regclass",
        )
        == 0
    )


# -- killed -----------------------------------------------------------------------------------------------------------


def test_maintain_that_is_killed_leaves_everything_as_it_was(meanwhile):
    version = int(os.environ.get("LLAMALOG_TEST_PG", 0)) or None
    # a server of its own: a killed backend takes all the others with it
    with embedded.start(version=version, settings={"synchronous_commit": "on"}) as server:

        def connection():
            return psycopg.connect(server.dsn, autocommit=True)

        def connection_after_the_crash(before):
            with pytest.raises(psycopg.OperationalError):
                # every session ends with the one that was killed, and none begins meanwhile
                value(before, "SELECT pg_sleep(60)")
            for _ in range(2000):
                try:
                    return connection()
                except psycopg.OperationalError:
                    time.sleep(0.005)
            raise AssertionError("the server did not come back")

        conn, reader, keeper = connection(), connection(), connection()
        migrate.migrate(conn)
        wait_in_default(conn, "2031-05-02 00:00+00", count=7)
        before = catalogue(conn)
        reader.autocommit = False
        value(reader, "SELECT count(*) FROM llamalog.log")
        # the rows have moved, and the lock is missing
        keeping = meanwhile(maintain, keeper)
        until_blocked(conn, keeper.info.backend_pid)
        os.kill(keeper.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            keeping.result(60)

        with connection_after_the_crash(conn) as conn:
            assert catalogue(conn) == before
            assert places(conn) == [("llamalog.llama_logs_default", 7)]
            assert maintain(conn) == [("llamalog.llama_logs_2031_05", date(2031, 5, 1), 7)]
            assert places(conn) == [("llamalog.llama_logs_2031_05", 7)]
