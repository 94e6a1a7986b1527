"""How long one write keeps a processor busy in its backend, system by system: `python bench/processor.py [WORKLOAD]`.

Each system has one session, which writes row after row, systems in turn, round by round; what its backend took of a processor is
read from /proc/PID/schedstat before and after. Unlike the time that a client sees, that does not count the way to the server and back,
which a machine lengthens as it likes; unlike instructions (bench/profile.py) it counts what each of them takes. Needs Linux, and what
`make bench` needs. WORKLOAD: insert, update (by default) or noop.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
from pathlib import Path

import psycopg
from rich.console import Console
from rich.table import Table
from rig import Bench, numbered, prepare
from systems import System, systems

from llamalog_sql import embedded

#: How many writes come before those that are measured: the first of a session makes its plans.
_WARM = 300
_NAMES = ("none", "floor", "the key alone", "the fields told", "llamalog", "llamalog, by statement")


def _taken(pid: int) -> int:
    """Return the nanoseconds of a processor that a process has had."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def _write(conn: psycopg.Connection, albums: int, count: int) -> None:
    for _ in range(count):
        values = (random.randint(1, albums), random.randrange(10**9), random.randrange(10**9), 1)  # noqa: S311
        conn.execute(f"EXECUTE write {values}".encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "workload", nargs="?", choices=("insert", "update", "noop"), default="update"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--writes", type=int, default=4_000, help="in each round")
    asked = parser.parse_args()
    settings = {
        "fsync": "off",
        "autovacuum": "off",
        "shared_buffers": "512MB",
        "max_wal_size": "8GB",
        "jit": "off",
    }
    with embedded.start(settings=settings) as server:
        bench = Bench(server, Path(), albums=20_000, rounds=asked.rounds, transactions=asked.writes)
        known: dict[str, System] = {system.name: system for system in systems()}
        prepare(bench, [known[name] for name in _NAMES])
        sessions = {}
        for name in _NAMES:
            sessions[name] = psycopg.connect(bench.dsn(known[name]), autocommit=True)
            (statement,) = getattr(known[name], asked.workload)
            sessions[name].execute(
                f"PREPARE write (integer, integer, integer, integer) AS {numbered(statement)}".encode()
            )
        taken: dict[str, list[float]] = {name: [] for name in _NAMES}
        for _ in range(asked.rounds):
            for name, conn in sessions.items():
                _write(conn, bench.albums, _WARM)
                before = _taken(conn.info.backend_pid)
                _write(conn, bench.albums, asked.writes)
                taken[name].append((_taken(conn.info.backend_pid) - before) / asked.writes / 1000)
        for conn in sessions.values():
            conn.close()
    table = Table(
        "system", "µs of a processor", "least and most", "added", "times what the floor adds"
    )
    middle = {name: statistics.median(found) for name, found in taken.items()}
    floor = middle["floor"] - middle["none"]
    for name, found in taken.items():
        added = middle[name] - middle["none"]
        table.add_row(
            name,
            f"{middle[name]:.1f}",
            f"{min(found):.1f} to {max(found):.1f}",
            *(("", "") if name == "none" else (f"{added:+.1f}", f"{added / floor:.2f}")),
        )
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
