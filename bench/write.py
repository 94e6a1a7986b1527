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
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bytes import BUDGET_LOG, BUDGET_WAL, Bytes, bytes_of
from rich.console import Console
from rich.table import Table
from rig import Bench, prepare
from systems import System, systems

from llamalog_sql import embedded


@dataclass(frozen=True)
class Workload:
    """A kind of write.

    part: what of a system is measured.  rows: rows it changes.  budget: system to (times none, times what the floor adds).
    """

    name: str
    part: str
    rows: int
    budget: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    clients: int = 1


WORKLOADS = [
    Workload(
        "one INSERT",
        "insert",
        1,
        {"llamalog": (1.30, None), "llamalog, full image": (1.65, None)},
    ),
    Workload("one UPDATE, 2 of 31 columns", "update", 1, {"llamalog": (2.0, 2.0)}),
    Workload("no-op UPDATE", "noop", 1, {"llamalog": (1.25, None)}),
    Workload(
        "addAlbum, 14 rows",
        "add_album",
        14,
        {"llamalog": (1.30, None), "llamalog, full image": (1.65, None)},
    ),
    Workload("10k INSERT", "many_inserts", 10_000, {"llamalog": (1.30, 0.4)}),
    Workload("10k COPY", "many_inserts", 10_000, {"llamalog": (1.30, 0.4)}),
    Workload(
        "UPDATE of half of the tracks",
        "many_updates",
        0,
        {"llamalog": (1.65, None), "llamalog, by statement": (1.50, None)},
    ),
    Workload("INSERT, 4 clients", "insert", 1, clients=4),
    Workload("UPDATE, 4 clients", "update", 1, clients=4),
    Workload("DELETE with 10 tracks", "delete", 12, {"llamalog": (None, 1.0)}),
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
                    if getattr(system, write.lower())
                }
                for write in ("INSERT", "UPDATE")
            }
        )
        for write, of_systems in sizes.items():
            for system in all_systems:
                if not system.shows(write.lower()):
                    del of_systems[system.name]
        found: dict[str, dict[str, list[float]]] = {}
        for workload in chosen:
            measured = [system for system in all_systems if getattr(system, workload.part)]
            times: dict[str, list[float]] = {system.name: [] for system in measured}
            for turn in range(bench.rounds + 1):
                for system in measured:
                    took = measure(bench, workload.name, system, turn)
                    if turn:  # the first fills caches
                        times[system.name].append(took)
            found[workload.name] = {
                system.name: times[system.name]
                for system in measured
                if system.shows(workload.part)
            }
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
            if system.name not in times:
                row.append("")
                continue
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
    names = [name for name in sizes["UPDATE"] if name != "none"]
    table = Table("bytes", *names, "budget", title_justify="left")
    missed = 0
    for write, found in sizes.items():
        none = found["none"].wal
        values = {name: (size.log, size.wal - none) for name, size in found.items()}
        for position, (label, budget) in enumerate(
            (("log, with all indexes", BUDGET_LOG), ("WAL, beyond that of the write", BUDGET_WAL))
        ):
            cells = []
            for name in names:
                if name not in values:
                    cells.append("")
                    continue
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
