"""Who follows the log sees each change once, when it is committed: also of slow transactions, across lost connections."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from conftest import MUSIC, MUSIC_TABLES
from legacy import make
from psycopg.rows import namedtuple_row
from pytest_postgresql import factories

from llamalog_sql import embedded, migrate, tailing, watching
from llamalog_sql.adoption import adopt, undo
from llamalog_sql.cli import main
from llamalog_sql.errors import BadCursor, Unreachable
from llamalog_sql.tailing import Filter


def _with_legacy_log(**address):
    with psycopg.connect(**{**address, "autocommit": True}) as conn:
        conn.execute(MUSIC.read_bytes())
        make(conn, albums=3)
        migrate.migrate(conn)
        watching.watch(conn, MUSIC_TABLES)


tailed_legacy = factories.postgresql_noproc(
    dbname="tailed_legacy", depends_on="server", load=[_with_legacy_log]
)
_own_legacy = factories.postgresql("tailed_legacy", dbname="own_tailed_legacy")


@pytest.fixture
def legacy(_own_legacy):
    _own_legacy.autocommit = True
    _own_legacy.row_factory = namedtuple_row
    return _own_legacy


@pytest.fixture
def adopted(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    return legacy


class Follower:
    """Asks again and again, as any client can, and remembers the titles and labels that came."""

    def __init__(self, conn, wanted=None, limit=10):
        self.conn, self.wanted, self.limit = tailing.ready(conn), wanted or Filter(), limit
        self.cursor = tailing.tail(conn, self.wanted).cursor

    def look(self):
        seen, has_more = [], True
        while has_more:
            news = tailing.tail(self.conn, self.wanted, cursor=self.cursor, limit=self.limit)
            assert len(news.changes) <= self.limit
            self.cursor, has_more = news.cursor, news.has_more
            seen += [change.entity_id for change in news.changes]
        return seen


def test_the_newest_changes_come_first_in_the_order_of_the_log(database, new):
    for number in range(12):
        new.album(database, f"Album {number}")
    seqs = [change.seq for change in tailing.tail(database, Filter(), limit=5).changes]
    assert seqs == [8, 9, 10, 11, 12]


def test_an_empty_log_gives_a_cursor_to_what_will_come(database, new):
    first = tailing.tail(database, Filter())
    assert (first.changes, first.has_more) == ([], False)
    album = new.album(database)
    assert [c.entity_id for c in tailing.tail(database, Filter(), cursor=first.cursor).changes] == [
        album
    ]


@pytest.mark.parametrize("limit", [1, 2, 1000])
def test_a_transaction_that_commits_late_is_shown_once_with_its_lower_seq(
    database, new, connect, limit
):
    slow = connect(database)
    follower = Follower(connect(database), limit=limit)
    slow.execute("BEGIN")
    early = [new.album(slow, f"Slow {number}") for number in range(3)]
    quick = [new.album(database, f"Quick {number}") for number in range(3)]
    assert follower.look() == quick
    assert follower.look() == []
    # as long as it is open, others come and go
    for _ in range(3):
        assert follower.look() == []
        assert [new.album(database, "Between")] == follower.look()
    late = new.album(slow, "Slow, last")
    slow.execute("COMMIT")
    assert follower.look() == [*early, late]
    assert follower.look() == []


def test_a_transaction_open_when_the_reader_began_is_shown_when_it_commits(database, new, connect):
    slow = connect(database)
    slow.execute("BEGIN")
    early = new.album(slow, "Slow")
    new.album(database, "Quick")
    follower = Follower(connect(database))
    assert follower.look() == []
    slow.execute("COMMIT")
    assert follower.look() == [early]
    assert follower.look() == []


def test_what_is_committed_between_two_pages_of_one_look_comes_with_the_next(
    database, new, connect
):
    slow, reader = connect(database), connect(database)
    cursor = tailing.tail(reader, Filter()).cursor
    slow.execute("BEGIN")
    low = new.album(slow, "Slow")
    quick = [new.album(database, f"Quick {number}") for number in range(3)]
    page = tailing.tail(reader, Filter(), cursor=cursor, limit=2)
    assert ([c.entity_id for c in page.changes], page.has_more) == (quick[:2], True)
    slow.execute("COMMIT")
    later = new.album(database, "Later")
    page = tailing.tail(reader, Filter(), cursor=page.cursor, limit=2)
    assert ([c.entity_id for c in page.changes], page.has_more) == (quick[2:], False)
    page = tailing.tail(reader, Filter(), cursor=page.cursor, limit=2)
    assert ([c.entity_id for c in page.changes], page.has_more) == ([low, later], False)


def test_what_is_rolled_back_is_never_shown(database, new, connect):
    other = connect(database)
    follower = Follower(connect(database))
    other.execute("BEGIN")
    new.album(other, "Never")
    other.execute("SAVEPOINT a")
    other.execute("ROLLBACK")
    kept = new.album(database, "Kept")
    assert follower.look() == [kept]


def test_rows_of_subtransactions_and_prepared_transactions_are_shown(database, new, connect):
    follower = Follower(connect(database))
    other = connect(database)
    other.execute("BEGIN")
    with contextlib.suppress(psycopg.Error), other.transaction():
        new.album(other, "Undone")
        raise psycopg.Error
    with other.transaction():
        album = new.album(other, "In a savepoint")
    other.execute("PREPARE TRANSACTION 'tail'")
    assert follower.look() == []
    database.execute("COMMIT PREPARED 'tail'")
    assert follower.look() == [album]


@pytest.mark.parametrize("kind", ["fresh", pytest.param("adopted", marks=pytest.mark.slow)])
def test_writers_at_random_are_all_seen_once_in_the_order_of_commits(request, new, connect, kind):
    """Six writers, transactions of all lengths, a reader that looks meanwhile: nothing is missed, nothing shown twice."""
    database = request.getfixturevalue({"fresh": "database", "adopted": "adopted"}[kind])
    written: list[str] = []

    def write(number):
        with contextlib.closing(connect(database)) as conn:
            for turn in range(8):
                with conn.transaction():
                    ids = [new.album(conn, f"{number}.{turn}.{i}") for i in range(1 + number % 3)]
                    time.sleep(0.002 * number * (turn % 3))
                written.extend(ids)

    follower = Follower(connect(database), limit=7)
    writers = [threading.Thread(target=write, args=[number]) for number in range(6)]
    for writer in writers:
        writer.start()
    seen = []
    while any(writer.is_alive() for writer in writers):
        seen += follower.look()
    seen += follower.look()
    assert len(written) == 96
    assert sorted(seen) == sorted(written)


def test_an_adopted_log_is_followed_with_the_rows_that_the_application_writes(
    adopted, new, connect
):
    (old,) = adopted.execute("SELECT count(*) FROM llamalog.log").fetchone()
    slow, follower = connect(adopted), Follower(connect(adopted))
    assert len(tailing.tail(adopted, Filter(), limit=1000).changes) == old
    slow.execute("BEGIN")
    late = new.album(slow, "Slow")
    album = new.album(adopted, "Quick")
    adopted.execute(
        "INSERT INTO public.llama_logs (entity_type, entity_id, operation, status)"
        " VALUES ('ALBUM', %s, 'check:album', 'SKIPPED')",
        [album],
    )
    assert follower.look() == [album, album]
    slow.execute("COMMIT")
    assert follower.look() == [late]


def test_a_log_is_followed_while_another_table_becomes_the_log_and_gives_it_back(
    legacy, new, connect
):
    follower = Follower(connect(legacy))
    before = new.album(legacy, "Before")
    adopt.adopt(legacy, "public.enrichment_logs")
    assert follower.look() == [before]
    during = new.album(legacy, "During")
    assert follower.look() == [during]
    undo.undo(legacy)
    after = [new.album(legacy, f"After {number}") for number in range(2)]
    assert follower.look() == after
    assert follower.look() == []


def test_of_rows_moved_between_partitions_one_change_is_shown(database, connect):
    database.execute(
        "CREATE TABLE moved (id int, part int, PRIMARY KEY (id, part)) PARTITION BY LIST (part)"
    )
    for part in (1, 2):
        database.execute(f"CREATE TABLE moved_{part} PARTITION OF moved FOR VALUES IN ({part})")
    watching.watch(database, ["moved"])
    database.execute("INSERT INTO moved VALUES (1, 1)")
    reader = connect(database)
    wanted = Filter(categories=["updated"])
    cursor = tailing.tail(reader, wanted).cursor
    database.execute("UPDATE moved SET part = 2")
    news = tailing.tail(reader, wanted, cursor=cursor)
    assert [(c.op, c.category, c.entity_id) for c in news.changes] == [("U", "UPDATED", "1,2")]
    assert [c.op for c in tailing.tail(reader, wanted).changes] == ["U"]


def test_a_part_that_leaves_is_told_to_whoever_follows_its_whole(database, new, connect):
    album, other = new.album(database), new.album(database, "Kid A")
    track = new.track(database, album)
    reader = connect(database)
    followed = {key: Filter(entity_type="album", entity_id=key) for key in (album, other)}
    cursors = {key: tailing.tail(reader, wanted).cursor for key, wanted in followed.items()}
    database.execute("UPDATE tracks SET album_id = %s", [other])
    database.execute("UPDATE tracks SET title = 'Everything'")
    for key, count in ((album, 1), (other, 2)):
        news = tailing.tail(reader, followed[key], cursor=cursors[key]).changes
        assert [(c.op, c.entity_id) for c in news] == [("U", track)] * count
        assert tailing.tail(reader, followed[key]).changes[-count:] == news


def test_filters_pass_what_they_name(database, new, connect):
    def titles(**wanted):
        changes = tailing.tail(database, Filter(**wanted), limit=100).changes
        return [(change.entity_type, change.category) for change in changes]

    with database.transaction():
        database.execute(
            "SELECT llamalog.set_context(source => 'enrichment', job_id => 'e-1', parent_job_id => 'c-1', user_id => 'ann')"
        )
        album = new.album(database)
    artist = new.artist(database)
    new.link(database, album, artist)
    new.track(database, album)
    database.execute(
        "SELECT llamalog.record_failure(entity_type => 'ALBUM', entity_id => %s, job_id => 'e-2',"
        " error_message => 'gone', error_code => '58000')",
        [album],
    )
    created, failed = ("ALBUM", "CREATED"), ("ALBUM", "FAILED")
    linked, track = ("ALBUM", "LINKED"), ("TRACK", "CREATED")
    assert titles() == [created, ("ARTIST", "CREATED"), linked, track, failed]
    assert titles(entity_type="track") == [track]
    assert titles(entity_type="album", entity_id=album) == [created, linked, track, failed]
    assert titles(entity_type="artist", entity_id=artist) == [("ARTIST", "CREATED"), linked]
    assert titles(categories=["failed", "Linked"]) == [linked, failed]
    assert titles(status="failed") == [failed]
    assert titles(source="enrichment") == [created]
    assert titles(user_id="ann") == [created]
    assert titles(user_id="postgres", entity_type="TRACK") == [track]
    assert titles(job_id="e-1") == titles(job_id="c-1") == [created]


def test_a_look_touches_few_pages_however_long_the_log(database, new, connect):
    def buffers(conn, cursor):
        conn.execute("SELECT count(*) FROM llamalog.tail(%s)", [cursor])
        (plan,) = conn.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM llamalog.tail('{cursor}')"
        ).fetchone()
        return plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"]

    reader = tailing.ready(connect(database))
    idle = connect(database)
    idle.execute("BEGIN")
    idle.execute("SELECT pg_current_xact_id()")  # open from the beginning to the end
    for _ in range(2):
        new.album(database)
    cursor = tailing.tail(reader, Filter()).cursor
    new.album(database)
    few = buffers(reader, cursor)
    database.execute(
        "INSERT INTO llamalog.llama_logs (operation, category)"
        " SELECT 'noise', 'UPDATED' FROM generate_series(1, 20000)"
    )
    database.execute("VACUUM ANALYZE llamalog.llama_logs")
    for _ in range(2):
        new.album(database)
        cursor = tailing.tail(reader, Filter(), cursor=cursor, limit=100_000).cursor
    new.album(database)
    assert buffers(reader, cursor) < few + 20


def test_an_adopted_log_is_looked_into_by_its_index(adopted):
    adopted.execute("SET enable_seqscan = off")
    adopted.execute("SET enable_bitmapscan = off")
    plan = adopted.execute(
        "EXPLAIN SELECT seq FROM llamalog.log WHERE seq > 10000000000000 ORDER BY seq LIMIT 10"
    ).fetchall()
    assert any("using llama_logs_lens_seq_idx" in row[0] for row in plan)


# -- what it refuses --------------------------------------------------------------------------------------------------


def refused(conn, kind, message, **arguments):
    names = ", ".join(f"{name} => %s" for name in arguments)
    with pytest.raises(psycopg.Error) as caught:
        conn.execute(f"SELECT * FROM llamalog.tail({names})".encode(), list(arguments.values()))
    assert caught.value.sqlstate == kind
    assert caught.value.diag.message_primary.startswith(message)
    assert caught.value.diag.message_hint


def test_what_makes_no_sense_is_refused_with_a_hint(database):
    refused(database, "22023", "row_limit 0 is not positive", row_limit=0)
    refused(database, "22023", 'unknown category "NEW"', categories=["new"])
    refused(database, "22023", 'of which type "7" is, is not said', entity_id="7")
    refused(database, "LL003", 'unknown entity type "ALBM"', entity_type="ALBM")
    for cursor in ("", "x", "e30=", "bnVsbA==", "4pyT", "eyJjbHVzdGVyIjogMX0="):
        refused(database, "LL006", f'malformed cursor "{cursor}"', cursor=cursor)
    with pytest.raises(BadCursor):
        tailing.tail(database, Filter(), cursor="x")


def test_a_cursor_of_another_cluster_or_of_the_future_is_refused(database):
    cursor = tailing.tail(database, Filter()).cursor
    changed = (
        "SELECT translate(encode(convert_to((convert_from(decode(%s, 'base64'), 'UTF8')::jsonb || %s::jsonb)::text,"
        " 'UTF8'), 'base64'), E'\\n', '')"
    )
    for change in ({"cluster": 1}, {"seen": "9000000000:9000000000:"}):
        (other,) = database.execute(changed, [cursor, json.dumps(change)]).fetchone()
        refused(database, "LL006", "the cursor belongs to another state", cursor=other)


@pytest.mark.parametrize("way", ["has written", "keeps one snapshot", "has asked before"])
def test_a_transaction_that_would_miss_changes_is_refused(database, new, way):
    isolation = "REPEATABLE READ" if way == "keeps one snapshot" else "READ COMMITTED"
    database.execute(f"BEGIN ISOLATION LEVEL {isolation}")
    if way == "has written":
        new.album(database)
    if way == "has asked before":
        database.execute("SELECT llamalog.tail()")
    refused(database, "25000", "this transaction cannot follow the log")
    database.execute("ROLLBACK")


def test_a_database_whose_default_is_serializable_can_be_followed(database, new):
    database.execute("SET default_transaction_isolation = 'serializable'")
    album = new.album(database)
    tailing.ready(database)
    assert [c.entity_id for c in tailing.tail(database, Filter()).changes] == [album]


# -- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dsn(database):
    address = {**database.info.get_parameters(), "password": database.info.password}
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})


@pytest.fixture
def llamalog(dsn):
    def run(*arguments):
        runner = CliRunner(env={"LLAMALOG_DSN": dsn, "COLUMNS": "200"})
        return runner.invoke(main, list(arguments), catch_exceptions=False)

    return run


def test_tail_shows_a_line_for_each_change_and_obeys_nothing_that_is_stored(
    llamalog, database, new
):
    album = new.album(database)
    database.execute("UPDATE albums SET label = E'evil\\x1b[2J\\nlabel'")
    lines = llamalog("tail").stdout.splitlines()
    assert len(lines) == 2
    assert f"🦙 CREATED  ALBUM {album}" in lines[0]
    assert f"UPDATED     ALBUM {album}  label: nothing → evil\\x1b[2J⏎label" in lines[1]


def test_tail_writes_rows_for_programs(llamalog, database, new):
    album = new.album(database)
    new.album(database, "Kid A")
    rows = [json.loads(line) for line in llamalog("tail", "--format", "jsonl").stdout.splitlines()]
    assert [row["seq"] for row in rows] == [1, 2]
    header, only = llamalog("tail", "--format", "csv", "-n", "1").stdout.splitlines()
    assert header.startswith("seq,op,entity_type,entity_id,")
    assert only.startswith("2,I,ALBUM,")
    by_title = llamalog("tail", "--type", "album", "--entity", "OK Computer", "--format", "json")
    assert [row["entity_id"] for row in json.loads(by_title.stdout)] == [album]


def test_tail_says_what_is_misused(llamalog):
    for arguments, message in (
        (["--entity", "x"], "error: --entity goes with --type (22023)"),
        (["-f", "--format", "json"], "error: an array that grows never ends (22023)"),
    ):
        result = llamalog("tail", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.splitlines()[0] == message
        assert result.stderr.splitlines()[1].startswith("hint: ")


@contextlib.contextmanager
def following(dsn, *arguments):
    """The command in a process of its own, which follows; its lines can be read."""
    with subprocess.Popen(
        [sys.executable, "-m", "llamalog_sql", "tail", "-f", "--interval", "0.05", *arguments],
        env={**os.environ, "LLAMALOG_DSN": dsn, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def sessions(conn):
    return conn.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'llamalog' AND datname = current_database()"
    ).fetchall()


def test_a_job_to_come_can_be_waited_for(dsn, database):
    with following(dsn, "--job", "sync-8") as process:
        assert process.stderr.readline() == '[🦙 LlamaLog] unknown job "sync-8" yet\n'
        assert process.stderr.readline().endswith("among the last million yet\n")
        with database.transaction():
            database.execute("SELECT llamalog.set_context(job_id => 'sync-8')")
            database.execute("INSERT INTO artists (name, updated_at) VALUES ('Björk', now())")
        assert "CREATED  ARTIST" in process.stdout.readline()


def test_tail_goes_on_after_a_lost_connection_without_gap_or_repeat_until_ctrl_c(
    dsn, database, new
):
    first = new.album(database)
    with following(dsn, "--format", "csv") as process:
        assert process.stdout.readline().startswith("seq,")
        assert process.stdout.readline().startswith(f"1,I,ALBUM,{first},")
        for number in (2, 3):
            (pid,) = sessions(database)[0]
            database.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            album = new.album(database, f"Album {number}")
            assert process.stdout.readline().startswith(f"{number},I,ALBUM,{album},")
        process.send_signal(signal.SIGINT)
        rest, said = process.communicate(timeout=20)
    assert (rest, process.returncode) == ("", 0)
    lost, again = said.splitlines()[:2]
    # as libpq tells it, which may read the server's last word or find the door shut
    assert lost.removeprefix("[🦙 LlamaLog] the connection is lost: ").startswith(
        ("terminating connection", "consuming input failed: server closed the connection")
    )
    assert again == "[🦙 LlamaLog] connected again; nothing is left out"
    assert "Traceback" not in said
    assert sessions(database) == []


def test_what_stands_before_postgresqls_own_is_not_found_after_a_lost_connection_either(
    dsn, database, new
):
    # whoever finds this type takes it for the one that the question names
    database.execute("CREATE SCHEMA trap; CREATE DOMAIN trap.text AS pg_catalog.text CHECK (false)")
    name = psycopg.sql.Identifier(database.info.dbname)
    database.execute(
        psycopg.sql.SQL("ALTER DATABASE {} SET search_path = trap, pg_catalog").format(name)
    )
    new.album(database)
    with following(dsn, "--format", "csv", "--category", "CREATED") as process:
        assert process.stdout.readline().startswith("seq,")
        assert process.stdout.readline().startswith("1,I,ALBUM,")
        (pid,) = sessions(database)[0]
        database.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        new.album(database, "Kid A")
        assert process.stdout.readline().startswith("2,I,ALBUM,")


def test_tail_ends_quietly_when_nobody_reads_it_any_more(dsn, database, new):
    new.album(database)
    with following(dsn) as process:
        assert "CREATED" in process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""
    assert sessions(database) == []


def test_a_server_that_is_away_is_tried_again_with_growing_patience(
    database, new, connect, monkeypatch
):
    album, pauses, refusals = new.album(database), [], [Unreachable("no server")] * 7

    def reconnect():
        if refusals:
            raise refusals.pop()
        return connect(database)

    monkeypatch.setattr(tailing.time, "sleep", pauses.append)
    lost = connect(database)
    cursor = tailing.tail(lost, Filter()).cursor
    database.execute("SELECT pg_terminate_backend(%s, 5000)", [lost.info.backend_pid])
    later = new.album(database, "Meanwhile")
    coming = tailing.follow(lost, reconnect, Filter(), cursor)
    assert [change.entity_id for change in next(coming)] == [later] != [album]
    assert pauses == [1, 2, 4, 8, 16, 30, 30]


def test_an_error_that_no_connection_mends_ends_it(database, connect):
    coming = tailing.follow(connect(database), lambda: connect(database), Filter(), "x")
    with pytest.raises(BadCursor):
        next(coming)


@pytest.mark.slow
def test_a_standby_is_refused():
    """A server that recovers for ever may be asked, but does not know what is open."""
    settings = {"wal_level": "replica"}
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        kept = Path(base, "kept")
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
            refused(conn, "55000", "a standby cannot follow the log")
