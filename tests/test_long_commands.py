"""Commands that take long on a large log: memory does not grow with it, and Ctrl-C leaves nothing running on the server."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import psycopg
import pytest
from test_as_of import clock

AS_OF = ["as-of", "ALBUM"]
LONG = [
    AS_OF,
    ["export", "log"],
    ["export", "openlineage", "--since", "2026-01-01"],
    ["impact", "--source", "x"],
    ["impact", "--source", "x", "--list", "--format", "jsonl"],
    ["find", "computer"],
    ["tail"],
    ["report", "-o", "-"],
    ["stats"],
    ["stats", "--silent"],
    ["failures"],
    ["attention"],
]


@pytest.fixture
def dsn(database):
    address = {**database.info.get_parameters(), "password": database.info.password}
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})


def sessions(conn):
    return conn.execute(
        "SELECT query FROM pg_stat_activity WHERE application_name = 'llamalog' AND datname = current_database()"
    ).fetchall()


def test_ctrl_c_leaves_nothing_running_on_the_server(database, connect, dsn, new):
    new.album(database)
    now = clock(database).isoformat()
    watcher = connect(database)
    with database.transaction(), contextlib.ExitStack() as running:
        # each waits for the log as it would wait for a disk
        database.execute("LOCK TABLE llamalog.llama_logs")
        processes = [
            running.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "llamalog_sql", *words, *([now] if words is AS_OF else [])],
                    env={**os.environ, "LLAMALOG_DSN": dsn},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for words in LONG
        ]  # fmt: skip
        waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 60
        while watcher.execute(waiting).fetchone()[0] < len(LONG):
            assert time.monotonic() < deadline, sessions(watcher)
            time.sleep(0.05)
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process, words in zip(processes, LONG, strict=True):
            said = process.communicate(timeout=20)[1]
            assert (process.returncode, "Traceback" in said) == (1, False), (words, said)
        while sessions(watcher):  # a session that has ended takes a moment to go
            assert time.monotonic() < deadline, sessions(watcher)
            time.sleep(0.05)


MEASURED = (
    "import resource, sys\n"
    "from llamalog_sql.cli import main\n"
    "try: main(sys.argv[1:])\n"
    "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)\n"
)


def measured(dsn, *words):
    """(lines of the answer, most memory that the command took in kB)"""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, *words],
        env={**os.environ, "LLAMALOG_DSN": dsn},
        capture_output=True,
        text=True,
        check=True,
    )
    return len(run.stdout.splitlines()), int(run.stderr.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_memory_of_as_of_a_whole_type_is_flat(database, dsn, form):
    add = (
        "INSERT INTO albums (title, label, updated_at)"
        " SELECT 'album ' || n, repeat('x', 200), now() FROM generate_series(1, %s) AS n"
    )
    taken = []
    for count in (3_000, 37_000):
        database.execute(add, [count])
        now = clock(database).isoformat()
        database.execute("UPDATE albums SET barcode = '1' WHERE title LIKE '%7'")  # to be replayed
        lines, memory = measured(dsn, *AS_OF, now, "--format", form)
        assert lines >= count
        taken.append(memory)
    # the rows of the second answer take thirty times as much: more than 40 MB
    assert taken[1] - taken[0] < 10_000
