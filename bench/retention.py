"""What archiving a third of the log costs those who write and ask meanwhile.

    make bench-retention                    10,000,000 rows in 36 months
    make bench-retention ROWS=1000000

Prints the longest writes and questions before, while twelve months are archived, and while one is brought back, with how much of
each write was waiting for a processor, and what the server logged of waits for locks; and, of the way not taken, while a month is swapped for a small one by DETACH and ATTACH. No test: nothing here can fail.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import psycopg
from rich.console import Console

from llamalog_sql import embedded, migrate, watching

ROOT = Path(__file__).parents[1]
SCHEMA = ROOT / "llamalog_sql" / "demo" / "music_schema.sql"
TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]
MONTHS = 36
LOCK_WAIT = "20ms"
SETTINGS = {
    "max_wal_size": "4GB",
    "shared_buffers": "512MB",
    "log_lock_waits": "on",
    "deadlock_timeout": LOCK_WAIT,  # waits longer than this are logged
    "log_line_prefix": "%a ",
}

#: A month: albums of ten changes each, of which every tenth is deleted at last.
FILL = """
INSERT INTO llamalog.llama_logs (op, category, entity_type, entity_id, operation, created_at, transaction_at, is_root_job,
    source, job_id, root_job_id, fields_enriched, before, after, data_quality_before, data_quality_after)
SELECT kind.op, kind.category, 'ALBUM', md5(kind.album::text)::uuid, lower('album:' || kind.category), kind.at, kind.at,
    kind.op = 'I', 'spotify_sync', 'job-' || kind.album || '-' || n %% 10, 'job-' || kind.album, '{label,genres,metadata}',
    CASE WHEN kind.op <> 'I' THEN jsonb_build_object('label', md5(n::text), 'genres', '["rock"]', 'metadata', md5('b' || n)) END,
    CASE WHEN kind.op = 'U' THEN jsonb_build_object('label', md5('a' || n), 'genres', '["jazz"]', 'metadata', md5('c' || n)) END,
    'LOW', 'HIGH'
FROM generate_series(0, %(rows)s::integer - 1) AS n
CROSS JOIN LATERAL (
    SELECT
        %(month)s::bigint * %(rows)s::bigint + n / 10 AS album,
        %(begin)s::timestamptz + n * (interval '28 days' / %(rows)s::float8) AS at,
        CASE WHEN n %% 10 = 0 THEN 'I' WHEN n %% 100 = 99 THEN 'D' ELSE 'U' END AS op,
        CASE WHEN n %% 10 = 0 THEN 'CREATED' WHEN n %% 100 = 99 THEN 'DELETED' ELSE 'ENRICHED' END AS category
) AS kind
"""


def without_core(*pids: int) -> float:
    """Return the milliseconds that processes have waited for a processor, where the system tells."""
    with suppress(OSError):
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) for pid in pids) / 1e6
    return 0


def write(dsn: str, seed: int, stop: Event, said: Any) -> None:
    """Insert and update albums, all the while; say the longest waits, and how much of each was for a processor."""
    waits = []
    album = None
    with psycopg.connect(dsn, autocommit=True, application_name="writer") as conn:
        both = (conn.info.backend_pid, os.getpid())
        while not stop.is_set():
            for statement in (
                "INSERT INTO albums (title, updated_at) VALUES ('w', now()) RETURNING id",
                "UPDATE albums SET label = md5(random()::text) WHERE id = %s",
            ):
                queued, began = without_core(*both), time.monotonic()
                found = conn.execute(
                    statement.encode(), [album] if statement.startswith("U") else None
                )
                if found.description:
                    (album,) = found.fetchone()  # type: ignore[misc]
                took = (time.monotonic() - began) * 1000
                waits.append((took, without_core(*both) - queued))
            time.sleep(0.002)
    said.put(("writer", len(waits), sorted(waits)[-3:]))


def ask(dsn: str, per_month: int, stop: Event, said: Any) -> None:
    """Ask about albums of any age; say the longest waits, and how many stories did not begin at the beginning."""
    waits, wrong = [], 0
    chosen = random.Random(7)  # noqa: S311
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not stop.is_set():
            album = chosen.randrange(MONTHS) * per_month + chosen.randrange(per_month // 10)
            if album % 10 == 9:
                continue  # deleted
            for question in ("history", "chain", "why"):
                began = time.monotonic()
                answer = conn.execute(
                    f"SELECT * FROM llamalog.{question}('ALBUM', md5(%s::text)::uuid::text)".encode(),
                    [album],
                ).fetchall()
                waits.append(((time.monotonic() - began) * 1000, 0.0))
                wrong += not any("created" in str(row).lower() for row in answer)
            time.sleep(0.01)
    said.put(("question", len(waits), sorted(waits)[-3:], wrong))


def look(dsn: str, stop: Event, said: Any) -> None:
    """Look every few milliseconds for what a write of more than 10 ms waits; say how often for what."""
    looks = 0
    seen = Counter[str]()
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not stop.is_set():
            seen.update(
                event
                for (event,) in conn.execute(
                    "SELECT coalesce(wait_event_type || ' ' || wait_event, 'nothing but a processor') FROM pg_stat_activity"
                    " WHERE application_name = 'writer' AND state = 'active' AND query_start < clock_timestamp() - interval '10 ms'"
                )
            )
            looks += 1
            time.sleep(0.005)
    said.put(("writes of more than 10 ms seen", looks, seen.most_common()))


@contextmanager
def company(
    server: embedded.Server, per_month: int, title: str, console: Console
) -> Iterator[None]:
    """Two writers and someone who asks, beside what happens inside."""
    dsn, log = server.dsn, server.directory / "log"
    start = log.stat().st_size
    stop, said = multiprocessing.Event(), multiprocessing.Queue()
    people = [
        *(multiprocessing.Process(target=write, args=(dsn, n, stop, said)) for n in range(2)),
        multiprocessing.Process(target=ask, args=(dsn, per_month, stop, said)),
        multiprocessing.Process(target=look, args=(dsn, stop, said)),
    ]
    for person in people:
        person.start()
    time.sleep(1)
    began = time.monotonic()
    yield
    seconds = time.monotonic() - began
    stop.set()
    told = [said.get() for _ in people]
    for person in people:
        person.join()
    console.print(f"[bold]{title}[/bold]: {seconds:.1f} s")
    console.print(f"  writers' waits for locks of more than {LOCK_WAIT}: {lock_waits(log, start)}")
    for who, count, longest, *wrong in sorted(told):
        if who.startswith("writes of"):
            waited = ", ".join(f"{times} waiting for {event}" for event, times in longest)
            console.print(f"  {who} in {count:,} looks: {waited or 'none'}")
            continue
        shown = ", ".join(
            f"{took:.0f}" + (f" ({queued:.0f} for a processor)" if queued else "")
            for took, queued in reversed(longest)
        )
        note = f"; {wrong[0]} did not begin at the beginning" if wrong else ""
        console.print(f"  {who}: {count:,} statements, longest {shown} ms{note}")


def lock_waits(log: Path, start: int) -> str:
    """Say how long writers waited for which locks, the longest first, by what the server has logged since."""
    told = log.read_bytes()[start:].decode(errors="replace")
    waits = re.findall(
        r"^writer LOG: .* acquired (\w+ on [a-z ]+).* after ([\d.]+) ms$", told, re.M
    )
    longest = sorted(((float(ms), lock) for lock, ms in waits), reverse=True)
    return ", ".join(f"{ms:.0f} ms for {lock.strip()}" for ms, lock in longest[:3]) or "none"


def size(conn: psycopg.Connection[Any]) -> str:
    row = conn.execute(
        "SELECT sum(pg_total_relation_size(relid)) / 1048576 FROM pg_partition_tree('llamalog.llama_logs')"
    ).fetchone()
    assert row is not None
    return f"{row[0]:,.0f} MiB"


def swap(conn: psycopg.Connection[Any], partition: str, bounds: tuple[Any, Any]) -> None:
    """The way not taken: a month is detached, and a small one with what stays attached, under one lock of the log."""
    small = f"{partition}_small"
    conn.execute(
        f"CREATE TABLE {small} (LIKE llamalog.llama_logs INCLUDING ALL EXCLUDING IDENTITY)".encode()
    )
    conn.execute(
        f"INSERT INTO {small} SELECT * FROM {partition} WHERE category = 'CREATED'".encode()
    )
    between = "created_at >= '{}' AND created_at < '{}'".format(*bounds)
    conn.execute(f"ALTER TABLE {small} ADD CONSTRAINT in_month CHECK ({between})".encode())
    for _ in range(200):
        try:
            with conn.transaction():
                conn.execute("SET LOCAL lock_timeout = '30ms'")
                conn.execute("LOCK TABLE ONLY llamalog.llama_logs IN ACCESS EXCLUSIVE MODE")
                conn.execute(
                    f"ALTER TABLE llamalog.llama_logs DETACH PARTITION {partition}".encode()
                )
                conn.execute(
                    f"ALTER TABLE llamalog.llama_logs ATTACH PARTITION {small} FOR VALUES FROM ('{bounds[0]}') TO ('{bounds[1]}')".encode()
                )
        except psycopg.errors.LockNotAvailable:
            time.sleep(0.05)
        else:
            break
    conn.execute(f"DROP TABLE {partition}".encode())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="?", type=int, default=10_000_000)
    total = parser.parse_args().rows
    per_month = total // MONTHS // 10 * 10
    console = Console(width=120)
    with embedded.start(settings=SETTINGS) as server:
        conn = psycopg.connect(server.dsn, autocommit=True)
        conn.execute(SCHEMA.read_bytes())
        migrate.migrate(conn)
        watching.watch(conn, TABLES)
        began = time.monotonic()
        bounds = {}
        for month in range(MONTHS):
            row = conn.execute(
                "SELECT date_trunc('month', now(), 'UTC') - make_interval(months => %s),"
                " date_trunc('month', now(), 'UTC') - make_interval(months => %s - 1)",
                [MONTHS - month, MONTHS - month],
            ).fetchone()
            assert row is not None
            ((name,),) = conn.execute(
                "SELECT partition FROM llamalog.maintain(0, clock => %s)", [row[0]]
            ).fetchall()
            bounds[name] = row
            conn.execute(FILL, {"rows": per_month, "month": month, "begin": row[0]})
        conn.execute("VACUUM ANALYZE")
        console.print(
            f"{per_month * MONTHS:,} rows in {MONTHS} months, {size(conn)}, written in {time.monotonic() - began:.0f} s"
        )
        with company(server, per_month, "nothing else", console):
            time.sleep(60)
        with tempfile.TemporaryDirectory() as directory:
            command = [sys.executable, "-m", "llamalog_sql", "--dsn", server.dsn, "-q"]
            keeping = ["maintain", "--keep", "24 months", "--archive", directory, "--yes"]
            with company(server, per_month, "maintain --keep '24 months'", console):
                subprocess.run(  # noqa: S603
                    [*command, *keeping], check=True, env=os.environ, stderr=subprocess.DEVNULL
                )
            memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            files = sorted(Path(directory).iterdir())
            held = sum(file.stat().st_size for file in files) / 1048576
            console.print(
                f"  {len(files)} files of {held:,.0f} MiB in all; the log now {size(conn)};"
                f" the process took {memory:,.0f} MiB at most"
            )
            with company(server, per_month, "restore-archive of one month", console):
                restoring = [*command, "restore-archive", str(files[-1])]
                subprocess.run(restoring, check=True, env=os.environ)  # noqa: S603
        newer = sorted(bounds)[-4:]
        with company(server, per_month, "four months by DETACH and ATTACH instead", console):
            for name in newer:
                swap(conn, name, bounds[name])


if __name__ == "__main__":
    main()
