"""kill -9, at any moment, of a backend or of the whole server, with fsync on: nothing committed is missing from the log, nothing
rolled back is in it, and whatever was at work can simply be run again.

A kill falls at a random moment of the work. LLAMALOG_KILLS=60 says how many there are of each kind in the long series.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import legacy
import psycopg
import pytest
from conftest import MUSIC, MUSIC_TABLES, fast_place
from crashing import Server, Writer, prove, writing
from released import install_first

from llamalog_sql import backfill, installation, migrate, retention, reverting, watching
from llamalog_sql.adoption import adopt, proof, state, undo
from llamalog_sql.watching import Options

KILLS = int(os.environ.get("LLAMALOG_KILLS", "6"))


# -- what may be at work when it is killed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Something that is killed.  before: the database that it finds.  run: the work.  after: what must hold in the end.

    seconds: about how long it takes; one kill falls within them.  findings: of `llamalog check` then.
    """

    before: Callable[[Any], object]
    run: Callable[[Any, Path], object]
    after: Callable[[Any, Path], object]
    seconds: float
    findings: tuple[str, ...] = ()


def watched(conn: Any) -> None:
    conn.execute(MUSIC.read_bytes())
    conn.execute(Writer.MARKS)
    migrate.migrate(conn)
    watching.watch(conn, MUSIC_TABLES)


def at_the_first_release(conn: Any) -> None:
    conn.execute(MUSIC.read_bytes())
    conn.execute(Writer.MARKS)
    install_first(conn)


def with_a_legacy_log(conn: Any) -> None:
    conn.execute(MUSIC.read_bytes())
    conn.execute(Writer.MARKS)
    legacy.make(conn, albums=60)
    migrate.migrate(conn)
    watching.watch(conn, MUSIC_TABLES)


def with_an_adopted_log(conn: Any) -> None:
    with_a_legacy_log(conn)
    adopt.adopt(conn, "public.enrichment_logs")


def with_rows_in_default(conn: Any) -> None:
    watched(conn)
    conn.execute(
        "INSERT INTO llamalog.llama_logs (operation, category, created_at)"
        " SELECT 'waits', 'UPDATED', date_trunc('month', now()) - make_interval(months => 1 + n / 2000)"
        " FROM generate_series(0, 9999) AS n"
    )


def with_old_months(conn: Any) -> None:
    watched(conn)
    conn.execute(
        "INSERT INTO llamalog.llama_logs (op, category, entity_type, entity_id, operation, created_at)"
        " SELECT 'U', 'UPDATED', 'ALBUM', md5(m || '-' || n)::uuid, 'old',"
        "  date_trunc('month', now(), 'UTC') - make_interval(months => m) + n * interval '1 minute'"
        " FROM generate_series(24, 30) AS m, generate_series(0, 299) AS n"
    )
    migrate.maintain(conn)


def with_a_job_to_revert(conn: Any) -> None:
    watched(conn)
    conn.execute(
        "INSERT INTO albums (title, updated_at) SELECT 'kept', now() FROM generate_series(1, 300)"
    )
    with conn.transaction():
        conn.execute("SET LOCAL llamalog.job_id = 'a mistake'")
        conn.execute("UPDATE albums SET title = 'mistaken' WHERE title = 'kept'")


def revert_the_job(conn: Any, _: Path) -> None:
    reverting.revert(
        conn, reverting.plan(conn, reverting.Target(job_id="a mistake"), wins="theirs")
    )


def nothing_of_the_job_is_left(conn: Any, _: Path) -> None:
    assert values(conn, "SELECT count(*) FROM albums WHERE title = 'kept'") == [300]
    # once, however often it was begun
    assert values(
        conn, "SELECT count(*) FROM llamalog.log WHERE source = 'revert' AND op IS NOT NULL"
    ) == [300]


def no_row_waits(conn: Any, _: Path) -> None:
    assert values(conn, "SELECT count(*) FROM llamalog.log WHERE operation = 'waits'") == [10_000]
    assert values(conn, "SELECT count(*) FROM llamalog.llama_logs_default") == [0]


def every_old_row_is_in_a_file(conn: Any, directory: Path) -> None:
    assert values(conn, "SELECT count(*) FROM llamalog.log WHERE operation = 'old'") == [0]
    for path in sorted(directory.iterdir()):
        if path.stat().st_size:  # or it was killed between a name's reservation and its note
            retention.restore(conn, path)
    assert values(conn, "SELECT count(*) FROM llamalog.log WHERE operation = 'old'") == [7 * 300]


def everything_is_applied(conn: Any, _: Path) -> None:
    assert migrate.plan(conn).is_empty


def the_tolerant_capture_hangs(conn: Any, _: Path) -> None:
    assert values(
        conn, "SELECT DISTINCT capture FROM llamalog.watches WHERE unwatched_at IS NULL"
    ) == ["tolerant"]


def the_legacy_rows_are_proved(conn: Any, _: Path) -> None:
    then, now = proof.verify(conn)
    assert then == now


def old_rows_are_numbered(conn: Any, _: Path) -> None:
    the_legacy_rows_are_proved(conn, _)
    assert values(conn, "SELECT count(*) FROM public.llama_logs WHERE seq IS NULL") == [0]


def the_application_has_its_log_back(conn: Any, _: Path) -> None:
    assert state.current(conn) is None
    assert values(
        conn, "SELECT count(*) FROM public.enrichment_logs WHERE created_at < '2026-01-01'"
    ) == [60 * 13]


def adopt_if_it_is_not_adopted(conn: Any, _: Path) -> None:
    found = state.current(conn)
    if found is None or found.step != "done":
        adopt.adopt(conn, "public.enrichment_logs")


def undo_if_it_is_not_undone(conn: Any, _: Path) -> None:
    if state.current(conn) is not None:
        undo.undo(conn)


def nothing(*_: Any) -> None:
    pass


WORK = {
    # nothing but the writers
    "writes": Work(watched, nothing, nothing, 0.5),
    # to this version, from the first one
    "migrate": Work(
        at_the_first_release, lambda conn, _: migrate.migrate(conn), everything_is_applied, 3
    ),
    "watch": Work(
        watched,
        lambda conn, _: watching.watch(conn, MUSIC_TABLES, Options(capture="tolerant")),
        the_tolerant_capture_hangs,
        0.5,
    ),
    "maintain": Work(with_rows_in_default, lambda conn, _: migrate.maintain(conn), no_row_waits, 1),
    "archive": Work(
        with_old_months,
        lambda conn, directory: retention.keep(conn, retention.Policy(23), directory),
        every_old_row_is_in_a_file,
        1.5,
    ),
    "revert": Work(with_a_job_to_revert, revert_the_job, nothing_of_the_job_is_left, 1.5),
    "adopt": Work(
        with_a_legacy_log,
        adopt_if_it_is_not_adopted,
        the_legacy_rows_are_proved,
        1.5,
        ("its old rows are not numbered and classified yet",),
    ),
    "backfill": Work(
        with_an_adopted_log, lambda conn, _: backfill.backfill(conn), old_rows_are_numbered, 1.5
    ),
    "undo": Work(
        with_an_adopted_log, undo_if_it_is_not_undone, the_application_has_its_log_back, 1.5
    ),
}


# -- the kill ---------------------------------------------------------------------------------------------------------


def values(conn: Any, query: str) -> list[Any]:
    with conn.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        return [row[0] for row in cursor.execute(query.encode()).fetchall()]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    home = Path(tempfile.mkdtemp(dir=fast_place()))
    home.chmod(0o755)
    found = Server(home / "server")
    yield found
    found.stop()
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def templates(server: Server) -> Callable[[str], str]:
    """The name of the database that a work finds, made the first time that it is asked for."""
    made: dict[Callable[[Any], object], str] = {}

    def template(name: str) -> str:
        work = WORK[name]
        if work.before not in made:
            with server.connect() as conn:
                conn.execute(f"CREATE DATABASE before_{name}".encode())
            with server.connect(f"before_{name}") as conn:
                work.before(conn)
            made[work.before] = f"before_{name}"
        return made[work.before]

    return template


def kill_once(
    server: Server, template: str, name: str, victim: str, chosen: random.Random, seconds: float
) -> tuple[bool, int]:
    """Kill the work within so many seconds and do it again.

    Returns whether the kill met it at work, and how many changes were compared.
    """
    work = WORK[name]
    writers = [Writer(f"writer {n}", chosen.getrandbits(30)) for n in range(2)]
    with (
        server.copy(template, "killed"),
        tempfile.TemporaryDirectory(dir=fast_place()) as directory,
        ThreadPoolExecutor(1) as pool,
    ):
        with writing(server, "killed", writers) as conns:
            worker, watcher = server.connect("killed"), server.connect()
            working = pool.submit(work.run, worker, Path(directory))
            time.sleep(chosen.uniform(0, seconds))
            if victim == "server":
                server.kill()
            else:
                # the writers' own where there is no other work
                victims = conns if name == "writes" else [worker]
                os.kill(chosen.choice(victims).info.backend_pid, signal.SIGKILL)
        was_at_work = working.exception() is not None or name == "writes"
        server.recover(watcher)
        with server.connect("killed") as conn:
            prove(conn, writers)
            with writing(server, "killed", writers):
                work.run(conn, Path(directory))
                while not all(writer.events or writer.failures for writer in writers):
                    time.sleep(0.01)
            count = prove(conn, writers)
            assert tuple(found.problem for found in installation.check(conn)) == work.findings
            work.after(conn, Path(directory))
    return was_at_work, count


def undisturbed(server: Server, template: str, name: str) -> float:
    """Seconds that the work takes beside writers when nobody is killed."""
    writers = [Writer(f"writer {n}", n) for n in range(2)]
    with (
        server.copy(template, "undisturbed"),
        server.connect("undisturbed") as conn,
        tempfile.TemporaryDirectory(dir=fast_place()) as directory,
        writing(server, "undisturbed", writers),
    ):
        began = time.monotonic()
        WORK[name].run(conn, Path(directory))
        return time.monotonic() - began


@pytest.mark.parametrize(
    ("name", "victim"),
    [("writes", "server"), ("migrate", "backend"), ("adopt", "server")],
)
def test_killed_at_a_random_moment(server, templates, name, victim):
    chosen = random.Random(f"{name} {victim}")
    _, count = kill_once(server, templates(name), name, victim, chosen, WORK[name].seconds)
    assert count > 0


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["backend", "server"])
@pytest.mark.parametrize("name", WORK)
def test_killed_many_times(server, templates, name, victim):
    chosen = random.Random(f"{name} {victim} many")
    template = templates(name)
    seconds = 0.5 if name == "writes" else undisturbed(server, template, name)
    met = compared = 0
    for _ in range(KILLS):
        was_at_work, count = kill_once(server, template, name, victim, chosen, seconds)
        # earlier, where it had ended before
        seconds *= 1.2 if was_at_work else 0.7
        met += was_at_work
        compared += count
    print(
        f"{name}, {victim}: {KILLS} kills, {met} while it was at work, {compared} changes compared"
    )
    assert met > 0
