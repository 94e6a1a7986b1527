"""What a write costs with each kind of logging: `make bench`.

Every workload runs under every system, round by round in turn, so that noise of the machine meets all alike; the table shows
the median of the ratios to the same write without logging, and their spread. Single rows go through pgbench with prepared
statements, one transaction each. A benchmark: the exit code says whether the budgets were met, and no test asks it.

    make bench                    the music schema, 20,000 albums and 200,000 tracks
    make bench BENCH=--quick      a tenth of it
    make bench BENCH=--durable    with real commits
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from bytes import BUDGET_LOG, BUDGET_WAL, Bytes, bytes_of
from systems import System, systems

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


@dataclass(frozen=True)
class Workload:
    """A kind of write.  rows: rows it changes.  budget: system to (times none, times what the floor adds)."""

    name: str
    rows: int
    budget: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    clients: int = 1


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


def _database(system: System) -> str:
    return re.sub(r"\W+", "_", system.name)


WORKLOADS = [
    Workload(
        "one INSERT",
        1,
        {"llamalog": (1.30, None), "llamalog, full image": (1.65, None)},
    ),
    Workload("one UPDATE, 2 of 31 columns", 1, {"llamalog": (2.0, 2.0)}),
    Workload("no-op UPDATE", 1, {"llamalog": (1.25, None)}),
    Workload(
        "addAlbum, 14 rows",
        14,
        {"llamalog": (1.30, None), "llamalog, full image": (1.65, None)},
    ),
    Workload("10k INSERT", 10_000, {"llamalog": (1.30, 0.4)}),
    Workload("10k COPY", 10_000, {"llamalog": (1.30, 0.4)}),
    Workload(
        "UPDATE of half of the tracks",
        0,
        {"llamalog": (1.65, None), "llamalog, by statement": (1.50, None)},
    ),
    Workload("INSERT, 4 clients", 1, clients=4),
    Workload("UPDATE, 4 clients", 1, clients=4),
    Workload("DELETE with 10 tracks", 12, {"llamalog": (None, 1.0)}),
]


def measure(bench: Bench, name: str, system: System, turn: int) -> float:
    """Return the microseconds of a workload under a system."""
    actions: dict[str, Callable[[], float]] = {
        "one INSERT": lambda: bench.single(system, system.insert),
        "one UPDATE, 2 of 31 columns": lambda: bench.single(system, system.update),
        "no-op UPDATE": lambda: bench.single(system, system.noop),
        "addAlbum, 14 rows": lambda: bench.single(system, system.add_album),
        "DELETE with 10 tracks": lambda: bench.delete(system, 100 * turn, 100),
        "10k INSERT": lambda: bench.many(
            system, system.many_inserts, rows=10_000, albums=bench.albums
        ),
        "10k COPY": lambda: bench.copy(system, 10_000),
        "UPDATE of half of the tracks": lambda: bench.many_fresh(
            system, system.many_updates, share=5
        ),
        "INSERT, 4 clients": lambda: bench.single(system, system.insert, 4),
        "UPDATE, 4 clients": lambda: bench.single(system, system.update, 4),
    }
    return actions[name]()


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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, fewer rounds")
    parser.add_argument("--durable", action="store_true", help="with real commits (fsync on)")
    parser.add_argument("--postgresql", type=int, metavar="MAJOR", help="which server")
    parser.add_argument("--only", help="workloads whose name contains this")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", type=Path, help="also write every measurement there")
    asked = parser.parse_args()
    chosen = [w for w in WORKLOADS if asked.only is None or asked.only.lower() in w.name.lower()]
    settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
    all_systems = systems()
    with embedded.start(
        version=asked.postgresql, settings=settings, durable=asked.durable
    ) as server:
        bench = Bench(
            server,
            embedded.find_binaries(asked.postgresql) / "pgbench",
            albums=2_000 if asked.quick else 20_000,
            rounds=asked.rounds or (3 if asked.quick else 9),
            transactions=400 if asked.quick else 1_000,
        )
        prepare(bench, all_systems)
        # while tables and log are as they were made
        count = 4_000 if asked.quick else 20_000
        sizes = (
            {}
            if asked.only
            else {
                write: {
                    system.name: bytes_of(bench, system, getattr(system, write.lower()), count)
                    for system in all_systems
                }
                for write in ("INSERT", "UPDATE")
            }
        )
        found: dict[str, dict[str, list[float]]] = {}
        for workload in chosen:
            times: dict[str, list[float]] = {system.name: [] for system in all_systems}
            for turn in range(bench.rounds + 1):
                for system in all_systems:
                    took = measure(bench, workload.name, system, turn)
                    if turn:  # the first fills caches
                        times[system.name].append(took)
            found[workload.name] = times
            print(f"{workload.name}: done", file=sys.stderr)
        version = server.version
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))
    kind = "real commits" if asked.durable else "no fsync"
    title = f"PostgreSQL {version}, {kind}, {bench.albums:,} albums"
    missed = show(found, chosen, all_systems, bench.albums, title)
    missed += show_bytes(sizes) if sizes else 0
    print(f"{missed} of the budgets missed" if missed else "every budget met")
    return 1 if missed else 0


def show(
    found: dict[str, dict[str, list[float]]],
    chosen: list[Workload],
    all_systems: list[System],
    albums: int,
    title: str,
) -> int:
    """Print what writes cost in time; return how many budgets are missed."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("none, µs a row", justify="right")
    for system in all_systems[1:]:
        table.add_column(system.name + "\n× none, + µs a row", justify="right")
    table.add_column("budget\n× none")
    missed = 0
    for workload in chosen:
        times = found[workload.name]
        none, floor = times["none"], times["floor"]
        rows = workload.rows or albums * 5
        row = [workload.name, f"{statistics.median(none) / rows:,.1f}"]
        budgets = []
        for system in all_systems[1:]:
            mine = times[system.name]
            ratios = sorted(a / b for a, b in zip(mine, none, strict=True))
            added = statistics.median(a - b for a, b in zip(mine, none, strict=True))
            of_floor = added / max(
                1e-9, statistics.median(a - b for a, b in zip(floor, none, strict=True))
            )
            text = f"{statistics.median(ratios):.2f} ({ratios[len(ratios) // 5]:.2f}–{ratios[-1 - len(ratios) // 5]:.2f})"
            text += f" +{added / rows:,.1f}"
            most, most_of_floor = workload.budget.get(system.name, (None, None))
            over = (most is not None and statistics.median(ratios) > most) or (
                most_of_floor is not None and of_floor > most_of_floor
            )
            missed += over
            row.append(f"[red]{text}[/red]" if over else text)
            if most is not None:
                budgets.append(f"{most:.2f}")
            if most_of_floor is not None:
                budgets.append(f"{most_of_floor} × floor (is {of_floor:.2f})")
        table.add_row(*row, ", ".join(budgets))
    Console(width=None if sys.stdout.isatty() else 210).print(table)
    return missed


def show_bytes(sizes: dict[str, dict[str, Bytes]]) -> int:
    """Print what writes cost in bytes; return how many budgets are missed."""
    names = list(next(iter(sizes.values())))[1:]
    table = Table("bytes", *names, "budget", title_justify="left")
    missed = 0
    for write, found in sizes.items():
        none = found["none"].wal
        values = {name: (found[name].log, found[name].wal - none) for name in names}
        for position, (label, budget) in enumerate(
            (("log, with all indexes", BUDGET_LOG), ("WAL, beyond that of the write", BUDGET_WAL))
        ):
            cells = []
            for name in names:
                is_held = write == "UPDATE" and name == "llamalog"
                over = is_held and values[name][position] > budget
                missed += over
                text = f"{values[name][position]:,.0f}"
                cells.append(f"[red]{text}[/red]" if over else text)
            table.add_row(f"one {write}: {label}", *cells, str(budget) if write == "UPDATE" else "")
    Console(width=None if sys.stdout.isatty() else 210).print(table)
    return missed


if __name__ == "__main__":
    sys.exit(main())
