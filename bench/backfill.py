"""What adoption and backfill cost beside a writer, and what the application's own migration would have cost.

    make bench-backfill            1,000,000 rows
    make bench-backfill ROWS=50000

Prints, for both states of the legacy log: exclusive locks of adopt, rows a second of backfill, the longest wait of a writer
that inserts and updates all the while, growth of the table, memory of the process. No test: nothing here can fail.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import legacy

from llamalog_sql import backfill, embedded, migrate, watching
from llamalog_sql.adoption import adopt, proof

ROWS_OF_AN_ALBUM = 13
TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]
SCHEMA = Path(__file__).parents[1] / "llamalog_sql" / "demo" / "music_schema.sql"

#: One transaction over the whole table, as the application's own migration did it.
SEEDS_WAY = """
BEGIN;
ALTER TABLE enrichment_logs RENAME TO llama_logs;
CREATE TYPE "LlamaLogCategory" AS ENUM ('CREATED', 'ENRICHED', 'CORRECTED', 'CACHED', 'FAILED');
ALTER TABLE llama_logs ADD COLUMN category "LlamaLogCategory", ADD COLUMN root_job_id varchar(100);
UPDATE llama_logs SET category = (CASE
    WHEN operation LIKE '%created%' OR operation = 'MANUAL_CREATE' THEN 'CREATED'
    WHEN operation LIKE '%correction%' THEN 'CORRECTED'
    WHEN operation LIKE 'cache:%' THEN 'CACHED'
    WHEN status = 'FAILED' THEN 'FAILED'
    ELSE 'ENRICHED'
END)::"LlamaLogCategory";
WITH RECURSIVE walk AS (
    SELECT id, job_id, parent_job_id, job_id AS root, 0 AS depth FROM llama_logs WHERE parent_job_id IS NULL
    UNION ALL
    SELECT log.id, log.job_id, log.parent_job_id, walk.root, walk.depth + 1
    FROM llama_logs AS log JOIN walk ON log.parent_job_id = walk.job_id WHERE walk.depth < 10
)
UPDATE llama_logs SET root_job_id = walk.root FROM walk WHERE walk.id = llama_logs.id;
UPDATE llama_logs SET root_job_id = coalesce(parent_job_id, job_id) WHERE root_job_id IS NULL;
ALTER TABLE llama_logs ALTER COLUMN category SET NOT NULL;
CREATE INDEX llama_logs_category_idx ON llama_logs (category, created_at DESC);
CREATE INDEX llama_logs_root_job_id_idx ON llama_logs (root_job_id);
COMMIT;
"""


def write(
    dsn: str,
    albums: int,
    later: bool,
    stop: Event,
    said: multiprocessing.Queue[tuple[int, float, int]],
) -> None:
    """Insert a row and update an old one, again and again; say how often, and the longest wait in milliseconds."""
    longest, count, failed = 0.0, 0, 0
    columns, values = ("job_id, category", "'w', 'ENRICHED'") if later else ("job_id", "'w'")
    insert = f"INSERT INTO {{}} (operation, status, {columns}) VALUES ('enrichment:album', 'SUCCESS', {values})"
    with psycopg.connect(dsn, autocommit=True) as conn:
        while not stop.is_set():
            for statement in (
                insert,
                "UPDATE {} SET duration_ms = 1 WHERE id = md5('row' || %s || '.1')::uuid",
            ):
                # whichever name it has at the moment
                began = time.perf_counter()
                for name in ("enrichment_logs", "llama_logs"):
                    try:
                        conn.execute(
                            statement.format(name).encode(),
                            [str(random.randint(1, albums))] if "%s" in statement else None,  # noqa: S311
                        )
                    except psycopg.errors.UndefinedTable:
                        continue
                    except psycopg.errors.NotNullViolation:
                        failed += (
                            1  # the seed's way asks of every statement what the old ones do not say
                        )
                    longest = max(longest, (time.perf_counter() - began) * 1000)
                    count += 1
                    break
            time.sleep(0.002)
    said.put((count, longest, failed))


class Writer:
    """A writer in a process of its own."""

    def __init__(self, dsn: str, albums: int, *, later: bool = False) -> None:
        self.stop = multiprocessing.Event()
        self.said: multiprocessing.Queue[tuple[int, float, int]] = multiprocessing.Queue()
        self.process = multiprocessing.Process(
            target=write, args=(dsn, albums, later, self.stop, self.said)
        )
        self.process.start()
        time.sleep(0.5)

    def ended(self) -> str:
        self.stop.set()
        count, longest, failed = self.said.get(timeout=60)
        return f"{longest:,.0f} ms of {count:,} writes" + (f", {failed} failed" if failed else "")


def size_of(conn: psycopg.Connection, name: str) -> int:
    row = conn.execute("SELECT pg_relation_size(%s::regclass)", [name]).fetchone()
    assert row is not None
    return int(row[0])


def writers_own(conn: psycopg.Connection) -> int:
    """Return the bytes of the rows that the writer has inserted, which are no growth of the log's."""
    row = conn.execute(
        "SELECT coalesce(sum(pg_column_size(log) + 4), 0) FROM llama_logs AS log WHERE job_id = 'w'"
    ).fetchone()
    assert row is not None
    return int(row[0])


def ours(dsn: str, albums: int, later: bool) -> dict[str, str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA.read_bytes())
        legacy.make(conn, albums=albums, later=later)
        conn.execute("VACUUM ANALYZE")
        migrate.migrate(conn)
        before = size_of(conn, "enrichment_logs")
        writer = Writer(dsn, albums, later=later)
        report = adopt.adopt(conn, "enrichment_logs")
        waited_for_adoption = writer.ended()
        watching.watch(conn, TABLES)
        writer = Writer(dsn, albums, later=later)
        began = time.monotonic()
        result = backfill.backfill(conn)
        seconds = time.monotonic() - began
        waited = writer.ended()
        then, now = proof.verify(conn)
        return {
            "rows": f"{result.rows:,}",
            "exclusive locks of adopt, in all": f"{report.locked_ms:.0f} ms",
            "longest wait of a writer, adopt": waited_for_adoption,
            "rows/s of backfill": f"{result.rows_per_second:,}",
            "rows/s, everything": f"{result.rows / seconds:,.0f}",
            "seconds, everything": f"{seconds:.1f}",
            "longest wait of a writer, backfill": waited,
            "size of the table": f"{(size_of(conn, 'llama_logs') - writers_own(conn)) / before:.2f} ×",
            "rows of that day": "as they were"
            if then.row_count == now.row_count
            else "not as they were",
        }


def theirs(dsn: str, albums: int) -> dict[str, str]:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA.read_bytes())
        legacy.make(conn, albums=albums)
        conn.execute("VACUUM ANALYZE")
        before = size_of(conn, "enrichment_logs")
        writer = Writer(dsn, albums)
        began = time.monotonic()
        conn.execute(SEEDS_WAY.encode())
        seconds = time.monotonic() - began
        waited = writer.ended()
        rows = albums * ROWS_OF_AN_ALBUM
        return {
            "rows": f"{rows:,}",
            "exclusive locks of adopt, in all": f"{seconds * 1000:,.0f} ms",
            "rows/s of backfill": f"{rows / seconds:,.0f}",
            "seconds, everything": f"{seconds:.1f}",
            "longest wait of a writer, backfill": waited,
            "size of the table": f"{(size_of(conn, 'llama_logs') - writers_own(conn)) / before:.2f} ×",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    albums = max(1, rows // ROWS_OF_AN_ALBUM)
    settings = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    budget = {
        "exclusive locks of adopt, in all": "< 100 ms",
        "rows/s of backfill": "≥ 25,000",
        "longest wait of a writer, backfill": "< 50 ms",
        "size of the table": "≤ 1.3 ×",
    }
    columns: dict[str, dict[str, str]] = {"budget": budget}
    with embedded.start(settings=settings) as server:
        for name in ("first state", "second state", "the seed's way"):
            database = name.replace(" ", "_").replace("'", "")
            with psycopg.connect(server.dsn, autocommit=True) as conn:
                conn.execute(f"CREATE DATABASE {database}".encode())
            dsn = make_conninfo(server.dsn, dbname=database)
            columns[name] = (
                theirs(dsn, albums)
                if name == "the seed's way"
                else ours(dsn, albums, later=name == "second state")
            )
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            columns[name]["memory, peak so far"] = f"{peak:.0f} MB"
        version = server.version
    table = Table(
        "",
        *columns,
        title=f"PostgreSQL {version}, 512 MB of shared buffers, no fsync",
        title_justify="left",
    )
    names = dict.fromkeys(name for column in columns.values() for name in column)
    for name in names:
        table.add_row(name, *(column.get(name, "") for column in columns.values()))
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()
