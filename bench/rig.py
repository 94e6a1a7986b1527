"""A server with a database for each system, and how the systems are made to write: what all benches of writes stand on."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from systems import System

from llamalog_sql import embedded

SCHEMA = Path(__file__).parents[1] / "llamalog_sql" / "demo" / "music_schema.sql"

_DATA = """
INSERT INTO artists (id, name, updated_at)
SELECT md5('artist' || n)::uuid, 'Artist ' || n, '2025-01-01' FROM generate_series(1, %(artists)s) AS n;
INSERT INTO albums (id, title, release_date, track_count, label, genres, cover_art_url, metadata, updated_at)
SELECT md5('album' || n)::uuid, 'Album ' || n, date '1990-01-01' + n, 12, 'Label ' || n %% 100, '{rock,jazz}',
    'https://covers.example/' || n, jsonb_build_object('n', n), '2025-01-01'
FROM generate_series(1, %(albums)s) AS n;
INSERT INTO tracks (id, album_id, title, track_number, duration_ms, isrc, energy, updated_at)
SELECT md5('track' || n || '.' || t)::uuid, md5('album' || n)::uuid, 'Track ' || t, t, 200000 + t, left(md5('i' || n || t), 12),
    0.5, '2025-01-01'
FROM generate_series(1, %(albums)s) AS n, generate_series(1, 10) AS t;
INSERT INTO album_artists (album_id, artist_id)
SELECT md5('album' || n)::uuid, md5('artist' || 1 + n %% %(artists)s)::uuid FROM generate_series(1, %(albums)s) AS n;
"""


@dataclass
class Bench:
    """A server, its databases, and how large everything is."""

    server: embedded.Server
    pgbench: Path
    albums: int
    rounds: int
    transactions: int

    def dsn(self, system: System) -> str:
        return make_conninfo(self.server.dsn, dbname=_database(system))

    def single(self, system: System, statements: list[str], clients: int = 1) -> float:
        """Return microseconds of one transaction, as pgbench measures them."""
        lines = [
            f"\\set n random(1, {self.albums})",
            "\\set r random(1, 1000000000)",
            "\\set s random(1, 1000000000)",
            *(["BEGIN;"] if len(statements) > 1 else []),
            *(f"{statement};" for statement in statements),
            *(["COMMIT;"] if len(statements) > 1 else []),
        ]
        return self._pgbench(system, lines, clients, self.transactions)

    def delete(self, system: System, first: int, count: int) -> float:
        """Return microseconds of the deletion of one album with its tracks."""
        lines = ["\\set d :d + 1", *(f"{statement};" for statement in system.delete)]
        return self._pgbench(system, lines, 1, count, "-D", f"d={first}")

    def _pgbench(
        self, system: System, lines: list[str], clients: int, count: int, *options: str
    ) -> float:
        address = conninfo_to_dict(self.server.dsn)
        names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
        environment = {names[key]: str(value) for key, value in address.items() if key in names}
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write("\n".join(lines))
            script.flush()
            done = subprocess.run(  # noqa: S603
                [
                    str(self.pgbench),
                    *("-n", "-M", "prepared", "-c", str(clients), "-j", "1"),
                    *("-t", str(max(1, count // clients)), "-f", script.name, *options),
                    _database(system),
                ],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        found = re.search(r"latency average = ([0-9.]+) ms", done.stdout)
        if done.returncode or not found:
            raise SystemExit(f"{system.name}: pgbench failed\n{done.stderr}\n" + "\n".join(lines))
        # without the time that it takes to connect
        tps = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
        return clients * 1e6 / float(tps[1]) if tps else float(found[1]) * 1000

    def many(self, system: System, statements: list[str], **sizes: int) -> float:
        """Return microseconds of statements that are then rolled back."""
        with psycopg.connect(self.dsn(system)) as conn:
            conn.execute(
                "SELECT set_config('llamalog.source', 'sync', true), set_config('llamalog.job_id', 'j', true)"
            )
            began = time.perf_counter()
            for statement in statements:
                for name, size in sizes.items():
                    statement = statement.replace(f"{{{name}}}", str(size))
                conn.execute(statement.encode())
            took = time.perf_counter() - began
            conn.rollback()
        return took * 1e6

    def many_fresh(self, system: System, statements: list[str], **sizes: int) -> float:
        """Return the same on a copy of the database, whose pages are as full as an UPDATE of many rows finds them."""
        fresh = replace(system, name="fresh")
        with psycopg.connect(self.server.dsn, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {_database(fresh)}".encode())
            conn.execute(
                f"CREATE DATABASE {_database(fresh)} TEMPLATE {_database(system)} STRATEGY file_copy".encode()
            )
        with psycopg.connect(self.dsn(fresh)) as conn:
            conn.execute("SELECT count(*), max(title) FROM tracks")
        return self.many(fresh, statements, **sizes)

    def copy(self, system: System, rows: int) -> float:
        """Return microseconds of a COPY that is then rolled back."""
        with psycopg.connect(self.dsn(system)) as conn:
            ids = [
                row[0]
                for row in conn.execute("SELECT id FROM albums ORDER BY id LIMIT 1000").fetchall()
            ]
            conn.execute(
                "SELECT set_config('llamalog.source', 'sync', true), set_config('llamalog.job_id', 'j', true)"
            )
            began = time.perf_counter()
            columns = "album_id, title, track_number, duration_ms, updated_at"
            with (
                conn.cursor() as cursor,
                cursor.copy(f"COPY tracks ({columns}) FROM STDIN".encode()) as copy,
            ):
                for n in range(rows):
                    copy.write_row((ids[n % 1000], f"Track {n}", 101 + n, 1, "2025-01-01"))
            for statement in system.copy_then:
                conn.execute(statement.encode())
            took = time.perf_counter() - began
            conn.rollback()
        return took * 1e6


def numbered(statement: str) -> str:
    """Return a statement of a system as PREPARE takes it, with $1 to $4 for :n, :r, :s and :d."""
    for number, name in enumerate("nrsd", 1):
        statement = re.sub(rf"(?<!:):{name}\b", f"${number}", statement)
    return statement


def _database(system: System) -> str:
    return re.sub(r"\W+", "_", system.name)


def prepare(bench: Bench, all_systems: list[System]) -> None:
    """Make a database for each system, from one that holds the music schema with its rows."""
    with psycopg.connect(bench.server.dsn, autocommit=True) as conn:
        conn.execute("CREATE DATABASE music")
    with psycopg.connect(make_conninfo(bench.server.dsn, dbname="music"), autocommit=True) as conn:
        conn.execute(SCHEMA.read_bytes())
        with psycopg.ClientCursor(conn) as cursor:
            cursor.execute(_DATA, {"artists": bench.albums // 2, "albums": bench.albums})
    for system in all_systems:
        with psycopg.connect(bench.server.dsn, autocommit=True) as conn:
            conn.execute(f"CREATE DATABASE {_database(system)} TEMPLATE music".encode())
        with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
            system.install(conn)
            conn.execute("VACUUM ANALYZE")
