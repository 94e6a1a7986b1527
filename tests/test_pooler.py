"""Through PgBouncer in transaction mode: a context never reaches the next client; what does, docs/context.md says.

Its pool has one server connection, so that every client follows another on it. Without pgbouncer the tests are skipped (.ci/run
installs it).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from conftest import Clone
from legacy import make
from psycopg.conninfo import make_conninfo

from llamalog_sql import context, tailing, watching
from llamalog_sql.cli import main
from llamalog_sql.connection import connect as connect_as_command
from llamalog_sql.tailing import Filter

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = pytest.mark.skipif(not PGBOUNCER, reason="no pgbouncer (apt-get install pgbouncer)")

Connection = psycopg.Connection[Any]


def _version() -> tuple[int, ...]:
    said = subprocess.run([str(PGBOUNCER), "--version"], capture_output=True, text=True).stdout
    return tuple(map(int, re.findall(r"\d+", said)[:2]))


@pytest.fixture(scope="module")
def watched(clone: Clone) -> Iterator[Connection]:
    with clone("music_template", "pooled") as conn:
        yield conn


@pytest.fixture(scope="module")
def pooler(watched: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The connection string of the pooler."""
    home = tmp_path_factory.mktemp("pgbouncer")
    info = watched.info
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    server = f"host={info.host} port={info.port} user={info.user} dbname={info.dbname}"
    if info.password:
        server += f" password={info.password}"
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "admin_users": "anybody",
        "pool_mode": "transaction",
        "default_pool_size": 1,
        "max_client_conn": 50,
        "query_wait_timeout": 20,
        "server_check_delay": 0,
        "logfile": home / "log",
    }
    if _version() >= (1, 21):
        settings["max_prepared_statements"] = 100
    lines = [f"{name} = {value}" for name, value in settings.items()]
    config = home / "pgbouncer.ini"
    config.write_text("\n".join(["[databases]", f"pooled = {server}", "[pgbouncer]", *lines]))
    # as root it will not run; and the socket of the server is its user's
    place = Path(info.host) if info.host.startswith("/") else home
    owner = place.stat()
    for path in (home, config):
        os.chown(path, owner.st_uid, owner.st_gid)
    for directory in (home, *home.parents):
        if os.geteuid() == 0 and directory.stat().st_uid == 0 and directory != Path("/tmp"):
            directory.chmod(directory.stat().st_mode | 0o011)
    with subprocess.Popen(
        [str(PGBOUNCER), str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=owner.st_uid if os.geteuid() == 0 else None,
        group=owner.st_gid if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
    ) as process:
        dsn = make_conninfo(
            host="127.0.0.1",
            port=port,
            dbname="pooled",
            user="anybody",
            sslmode="disable",
            gssencmode="disable",
        )
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(dsn).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, (home / "log").read_text()
                assert time.monotonic() < deadline, (home / "log").read_text()
        try:
            yield dsn
        finally:
            process.terminate()


@pytest.fixture
def client(pooler: str) -> Iterator[Callable[..., Connection]]:
    """client() is another client of the pooler, with autocommit."""
    opened: list[Connection] = []

    def connect(**options: Any) -> Connection:
        opened.append(psycopg.connect(pooler, autocommit=True, **options))
        return opened[-1]

    yield connect
    for conn in opened:
        if not conn.closed:
            # nothing of one test is left to the next
            conn.execute("DISCARD ALL", prepare=False)
            conn.close()


@pytest.fixture
def logged(watched: Connection) -> Callable[[str], list[Any]]:
    """logged("source") is that of what has been logged since the test began."""
    (began,) = watched.execute("SELECT coalesce(max(seq), 0) FROM llamalog.log").fetchone()

    def read(columns: str) -> list[Any]:
        rows = watched.execute(
            f"SELECT {columns} FROM llamalog.log WHERE seq > %s ORDER BY seq".encode(), [began]
        ).fetchall()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    return read


ARTIST = "INSERT INTO artists (name, updated_at) VALUES ('Björk', now())"


def server_of(conn: Connection) -> int:
    row = conn.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


# -- the context ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK", "SELECT 1 / 0; COMMIT"])
@pytest.mark.parametrize(
    "setting",
    [
        "SELECT llamalog.set_context(source => 'addArtist', job_id => 'j', user_id => 'ann')",
        "SET LOCAL llamalog.source = 'addArtist'; SET LOCAL llamalog.user_id = 'ann'",
    ],
    ids=["set_context", "SET LOCAL"],
)
def test_context_of_a_transaction_never_reaches_the_next_client(client, logged, setting, end):
    ann, other = client(), client()
    assert server_of(ann) == server_of(other)
    ann.execute(f"BEGIN; {setting}; {ARTIST}".encode())
    try:
        ann.execute(end.encode())
    except psycopg.errors.DivisionByZero:
        ann.execute("ROLLBACK")
    other.execute(ARTIST)
    ann.execute(ARTIST)
    rows = logged("source, user_id")
    assert rows[-2:] == [(None, None)] * 2
    assert rows[:-2] == ([("addArtist", "ann")] if end == "COMMIT" else [])


def test_client_that_goes_in_the_middle_leaves_neither_rows_nor_context(client, logged):
    gone, other = client(), client()
    gone.execute(f"BEGIN; SELECT llamalog.set_context(source => 'addArtist'); {ARTIST}")
    gone.close()
    other.execute(ARTIST)
    assert logged("source") == [None]


def test_setting_of_the_session_reaches_the_next_client(client, logged):
    """The trap: SET without LOCAL, or set_config(…, false), is set on a server connection that is somebody else's next."""
    ann, other = client(), client()
    ann.execute("SET llamalog.user_id = 'ann'")
    other.execute(ARTIST)
    assert logged("user_id") == ["ann"]
    other.execute("DISCARD ALL")
    other.execute(ARTIST)
    assert logged("user_id") == ["ann", None]


def test_set_context_lets_nothing_shine_through_that_another_client_left(client, logged):
    ann, other = client(), client()
    ann.execute("SET llamalog.user_id = 'ann'; SET llamalog.reason = 'hers'")
    with other.transaction():
        other.execute("SELECT llamalog.set_context(source => 'addArtist')")
        other.execute(ARTIST)
    with other.transaction():
        other.execute("SET LOCAL llamalog.source = 'addArtist'")
        other.execute(ARTIST)
    assert logged("source, user_id, reason") == [
        ("addArtist", None, None),
        ("addArtist", "ann", "hers"),
    ]


def test_pooler_that_resets_at_every_handover_hands_no_setting_on(pooler, client, logged):
    with psycopg.connect(pooler, dbname="pgbouncer", autocommit=True) as console:
        # the console speaks the simple protocol alone
        console.cursor_factory = psycopg.ClientCursor
        console.execute("SET server_reset_query_always = 1")
        try:
            ann, other = client(), client()
            ann.execute("SET llamalog.user_id = 'ann'")
            other.execute(ARTIST)
        finally:
            console.execute("SET server_reset_query_always = 0")
    assert logged("user_id") == [None]


# -- context() --------------------------------------------------------------------------------------------------------


def test_block_carries_its_context_through_the_pooler_and_leaves_nothing_prepared(client, logged):
    ann, other = client(), client()
    for number in range(8):
        with context(ann, source="addArtist", job_id=f"a{number}", user_id="ann"):
            ann.execute(ARTIST, prepare=False)
        with context(other, source="enrichment", job_id=f"o{number}"):
            other.execute(ARTIST, prepare=False)
    assert logged("source, root_job_id, user_id") == [
        row
        for number in range(8)
        for row in (("addArtist", f"a{number}", "ann"), ("enrichment", f"o{number}", None))
    ]


def test_failure_is_recorded_by_a_second_connection_of_the_pooler(client, logged):
    conn = client()
    with (
        pytest.raises(psycopg.errors.UndefinedTable),
        context(conn, source="enrichment", job_id="e", user_id="ann"),
    ):
        conn.execute("DELETE FROM nothing")
    assert logged("category, job_id, user_id, error_code") == [("FAILED", "e", "ann", "42P01")]


def test_failure_inside_a_transaction_that_holds_the_last_connection_is_recorded_after_it(
    client, logged, caplog, monkeypatch
):
    """The block must not wait for a connection that only its own transaction can give back."""
    monkeypatch.setattr(sys.modules["llamalog_sql.context"], "PATIENCE", 0.2)
    monkeypatch.setattr(logging.getLogger("llamalog_sql"), "propagate", True)
    conn = client()
    before = set(threading.enumerate())
    with context(conn, source="addArtist", job_id="outer"):
        with pytest.raises(KeyError), context(conn, source="enrichment", job_id="inner"):
            raise KeyError("tracks")
        assert "the failure of job inner (KeyError: 'tracks') is not recorded yet" in caplog.text
        conn.execute(ARTIST)
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    assert logged("category, root_job_id, error_code") == [
        ("CREATED", "outer", None),
        ("FAILED", "outer", "KeyError"),
    ]


# -- prepared statements ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    bool(PGBOUNCER) and _version() < (1, 21), reason="PgBouncer before 1.21 passes none on"
)
def test_prepared_writes_of_many_clients_are_logged_each_under_its_own_context(
    client, watched, logged
):
    write = "UPDATE artists SET area = %s WHERE name = %s"
    watched.execute("INSERT INTO artists (name, updated_at) VALUES ('p', now())")
    clients = [client(prepare_threshold=0) for _ in range(3)]
    for turn in range(3):
        for number, conn in enumerate(clients):
            with context(conn, source="enrichment", job_id=f"{turn}-{number}"):
                conn.execute(write, [f"{turn} {number}", "p"])
        if turn == 1:
            watched.execute("ALTER TABLE artists ADD extra text")
            watching.refresh(watched)
    assert logged("job_id, after ->> 'area'")[1:] == [
        (f"{turn}-{number}", f"{turn} {number}") for turn in range(3) for number in range(3)
    ]


# -- commands ---------------------------------------------------------------------------------------------------------


def test_tail_follows_through_the_pooler_and_holds_no_connection_between_two_looks(
    pooler, client, watched
):
    conn = tailing.ready(connect_as_command(pooler))
    conn.autocommit = True
    cursor = tailing.tail(conn, Filter(), limit=1).cursor
    seen = []
    others = [client() for _ in range(10)]
    # psycopg prepares what it runs a sixth time: a pooler may not know it on the next server connection
    for number, other in enumerate(others):
        with other.transaction():
            other.execute(
                "SELECT llamalog.set_context(source => 'addArtist', job_id => %s)", [str(number)]
            )
            other.execute(ARTIST)
        news = tailing.tail(conn, Filter(), cursor=cursor)
        cursor = news.cursor
        seen += [change.job_id for change in news.changes]
    assert seen == [str(number) for number in range(10)]
    prepared = watched.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'PREPARE%'"
    ).fetchone()
    assert prepared == (0,)
    conn.close()


def test_command_leaves_nothing_prepared_on_the_connection_of_the_pooler(pooler, client):
    for _ in range(2):
        result = CliRunner().invoke(main, ["--dsn", pooler, "check"])
        assert result.stderr == ""
    assert (
        client()
        .execute(
            "SELECT name FROM pg_prepared_statements WHERE statement NOT LIKE '%pg_prepared_statements%'"
        )
        .fetchall()
        == []
    )


@pytest.mark.parametrize(
    "command",
    [
        ["bench", "albums", "--rounds", "1"],
        ["backfill"],
        ["adopt", "public.enrichment_logs", "--yes"],
        ["maintain", "--keep", "24 months", "--drop-rows", "--yes"],
    ],
    ids=lambda command: command[0],
)
def test_command_whose_session_the_pooler_would_hand_on_is_refused(
    pooler, client, watched, command
):
    if command[0] == "adopt":
        make(watched, albums=1)
    result = CliRunner().invoke(main, ["--dsn", pooler, *command])
    assert result.exit_code == 1, result.stderr
    assert "error: a connection pooler stands in between, and would hand on " in result.stderr
    assert "hint: Connect to the server itself." in result.stderr
    assert client().execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    ).fetchone() == (0,)
