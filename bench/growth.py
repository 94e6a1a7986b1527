"""How the cost of a captured write grows, and with what: `make bench-growth`.

Every point is measured with capture and without, all points of a plot in turn, round by round, so that noise of the machine
meets all alike. The plots show medians and the middle half of the rounds; every measurement is kept beside them.

    make bench-growth                          all plots, into docs/plots
    make bench-growth BENCH=--quick            fewer rounds, a log of up to 100,000 rows
    make bench-growth BENCH='--only clients'   one of them, the others as they were
    make bench-growth BENCH=--plot-only        drawn anew from the measurements that are there
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from retention import FILL
from rig import Bench, prepare
from systems import System, systems

from llamalog_sql import embedded, migrate, watching
from llamalog_sql.describe import Options

PLOTS = Path(__file__).parents[1] / "docs" / "plots"
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "autovacuum": "off",
    "maintenance_work_mem": "256MB",
}

#: The columns of a table of any width, in turn: their type, and a value of it made from a seed.
TYPES = [
    ("integer", "seed::integer"),
    ("text", "'value ' || seed"),
    ("timestamptz", "timestamptz '2026-01-01' + seed * interval '1 second'"),
    ("numeric", "seed / 100.0"),
    ("double precision", "seed / 7.0::float8"),
]
ROWS = 1_000

#: Options of `llamalog watch` that change what a write costs.
OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "--image full": {"image": "full"},
    "--capture statement": {"capture": "statement"},
    "--capture tolerant": {"capture": "tolerant"},
}

NONE, CAPTURED = "no log", "captured"

#: (panel, series, x) to what measures it: the number of the round in, microseconds of a row out.
Tasks = dict[tuple[str, str, str], Callable[[int], float]]
#: panel, series, x, a measurement for each round.
Measured = dict[str, dict[str, dict[str, list[float]]]]


@dataclass(frozen=True)
class Plot:
    """What is plotted, and how it is measured.

    tasks: makes the databases and returns what to measure, from the bench and what was asked on the command line.
    is_y_shared: the panels have one scale.  is_rate: shown as writes a second, not as microseconds.
    """

    name: str
    title: str
    x: str
    y: str
    tasks: Callable[[Bench, argparse.Namespace], Tasks]
    is_log_x: bool = False
    is_log_y: bool = False
    is_y_shared: bool = True
    is_rate: bool = False


# -- tables and databases ---------------------------------------------------------------------------------------------


def _columns(count: int) -> list[str]:
    """The names of all columns but the key, when there are `count` with it."""
    return [f"c{n}" for n in range(1, count)]


def _values(count: int) -> str:
    return ", ".join(TYPES[n % len(TYPES)][1] for n in range(count - 1))


def _make(table: str, count: int, rows: int) -> str:
    """The SQL that makes a table of `count` columns and fills it."""
    typed = ", ".join(
        f"{name} {TYPES[n % len(TYPES)][0]}" for n, name in enumerate(_columns(count))
    )
    return (
        f"CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {typed});"
        + _insert(table, count, f"generate_series(1, {rows})")
    )


def _insert(table: str, count: int, seeds: str) -> str:
    names = ", ".join(_columns(count))
    return f"INSERT INTO {table} ({names}) SELECT {_values(count)} FROM {seeds} AS given (seed)"


def _update(table: str, changed: int, where: str = "id = :n") -> str:
    """An UPDATE that gives new values to the first columns."""
    names = ", ".join(_columns(changed + 1))
    assigned = (
        f"{names} = {_values(2)}" if changed == 1 else f"({names}) = ROW({_values(changed + 1)})"
    )
    return f"UPDATE {table} SET {assigned} FROM (VALUES (:r::bigint)) AS given (seed) WHERE {where}"


def _database(
    bench: Bench,
    name: str,
    setup: str,
    watched: Iterable[str],
    options: dict[str, Any] | None = None,
) -> System:
    """Make a database; options: those of the watch, None for no log."""
    system = System(name)
    with psycopg.connect(bench.server.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
        conn.execute(setup.encode())
        if options is not None:
            migrate.migrate(conn)
            watching.watch(conn, list(watched), Options(**options))
        conn.execute("VACUUM ANALYZE")
    return system


def _both(bench: Bench, name: str, setup: str, watched: Iterable[str]) -> dict[str, System]:
    return {
        NONE: _database(bench, f"{name}_none", setup, watched),
        CAPTURED: _database(bench, f"{name}_captured", setup, watched, {}),
    }


# -- what is measured -------------------------------------------------------------------------------------------------


def changed_columns(bench: Bench, asked: argparse.Namespace) -> Tasks:
    del asked
    both = _both(bench, "changed", _make("wide", 50, ROWS), ["wide"])
    return {
        ("UPDATE", series, str(changed)): lambda _, system=system, changed=changed: bench.single(
            system, [_update("wide", changed)]
        )
        for changed in (1, 2, 5, 10, 20, 35, 49)
        for series, system in both.items()
    }


def table_columns(bench: Bench, asked: argparse.Namespace) -> Tasks:
    del asked
    widths = (5, 25, 50, 100, 150, 200)
    deleted = bench.transactions // 2
    room = ROWS + deleted * (bench.rounds + 1)
    setup = ";".join(_make(f"wide_{width}", width, room) for width in widths)
    both = _both(bench, "columns", setup, [f"wide_{width}" for width in widths])
    tasks: Tasks = {}
    for width in widths:
        table = f"wide_{width}"
        insert = _insert(table, width, "(VALUES (:r::bigint))")
        for series, system in both.items():
            deleting = replace(system, delete=[f"DELETE FROM {table} WHERE id = :d"])
            tasks["INSERT", series, str(width)] = lambda _, system=system, insert=insert: (
                bench.single(system, [insert])
            )
            tasks["UPDATE of one column", series, str(width)] = (
                lambda _, system=system, table=table: bench.single(system, [_update(table, 1)])
            )
            tasks["DELETE", series, str(width)] = lambda turn, deleting=deleting: bench.delete(
                deleting, ROWS + turn * deleted, deleted
            )
    return tasks


def rows_of_statement(bench: Bench, asked: argparse.Namespace) -> Tasks:
    sizes = (1, 10, 100, 1_000, 10_000) if asked.quick else (1, 10, 100, 1_000, 10_000, 100_000)
    setup = ";".join(_make(f"rows_{size}", 20, 0) for size in sizes)
    both = _both(bench, "rows", setup, [f"rows_{size}" for size in sizes])
    tasks: Tasks = {}
    for size in sizes:
        table = f"rows_{size}"
        count = max(1, min(bench.transactions, 3_000 // size))
        fewer = replace(bench, transactions=count)
        # the rows inserted are the rows updated and deleted: each round begins with an empty table
        insert = _insert(table, 20, f"generate_series(1, {size})")
        update = _update(table, 2, f"id <= {size}")
        delete = f"DELETE FROM {table} WHERE id > (:d - 1)::bigint * {size} AND id <= :d * {size}"
        for series, system in both.items():

            def inserting(
                _: int, system=system, insert=insert, table=table, size=size, fewer=fewer
            ) -> float:
                _empty(fewer, system, table)
                return fewer.single(system, [insert]) / size

            def updating(_: int, system=system, update=update, size=size, fewer=fewer) -> float:
                return fewer.single(system, [update]) / size

            def deleting(_: int, system=system, delete=delete, size=size, fewer=fewer) -> float:
                return fewer.delete(replace(system, delete=[delete]), 0, fewer.transactions) / size

            tasks["INSERT", series, str(size)] = inserting
            tasks["UPDATE of two columns", series, str(size)] = updating
            tasks["DELETE", series, str(size)] = deleting
    return tasks


def _empty(bench: Bench, system: System, table: str) -> None:
    """Empty a table and the log, unlogged."""
    with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(f"TRUNCATE {table} RESTART IDENTITY".encode())
        if conn.execute("SELECT to_regclass('llamalog.llama_logs')").fetchone() != (None,):
            conn.execute("TRUNCATE llamalog.llama_logs")


def clients(bench: Bench, asked: argparse.Namespace) -> Tasks:
    del asked
    both = _both(bench, "clients", _make("shared", 20, ROWS), ["shared"])
    statements = {
        "INSERT": _insert("shared", 20, "(VALUES (:r::bigint))"),
        "UPDATE of two columns": _update("shared", 2),
    }
    tasks: Tasks = {}
    for panel, statement in statements.items():
        for count in (1, 2, 4, 8, 16):
            # as many for each client: a session pays for its first write once
            more = replace(bench, transactions=bench.transactions // 2 * count)
            for series, system in both.items():
                tasks[panel, series, str(count)] = (
                    lambda _, system=system, statement=statement, count=count, more=more: (
                        more.single(system, [statement], count)
                    )
                )
    return tasks


def months(bench: Bench, asked: argparse.Namespace) -> Tasks:
    del asked
    setup = _make("dated", 20, ROWS)
    none = _database(bench, "months_none", setup, [])
    tasks: Tasks = {}
    for count in (1, 12, 36, 120):
        system = _database(bench, f"months_{count}", setup, ["dated"], {})
        with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
            _keep_months(conn, count)
        for series, measured in ((NONE, none), (CAPTURED, system)):
            tasks["UPDATE", series, str(count)] = lambda _, measured=measured: bench.single(
                measured, [_update("dated", 2)]
            )
            tasks["first UPDATE of a session", series, str(count)] = lambda _, measured=measured: (
                _first(bench, measured)
            )
    return tasks


def _keep_months(conn: psycopg.Connection[Any], count: int) -> None:
    """Leave the log this month and those before it, `count` in all."""
    for before in range(count):
        conn.execute(
            "SELECT llamalog.maintain(0, clock => now() - make_interval(months => %s))", [before]
        )
    months = conn.execute(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'llamalog.llama_logs'::regclass"
        " AND inhrelid <> 'llamalog.llama_logs_default'::regclass AND inhrelid::regclass::text > llamalog.month_partition(now())"
    ).fetchall()
    for (name,) in months:
        conn.execute(f"DROP TABLE {name}".encode())
    found = conn.execute(
        "SELECT count(*) - 1 FROM pg_inherits WHERE inhparent = 'llamalog.llama_logs'::regclass"
    ).fetchone()
    assert found == (count,), found


def _first(bench: Bench, system: System) -> float:
    """Microseconds of the first UPDATE of a session: the median of nine sessions."""
    statement = _update("dated", 2).replace(":r::bigint", "7").replace(":n", "7")
    times = []
    for _ in range(9):
        with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
            began = time.perf_counter()
            conn.execute(statement.encode())
            times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def log_rows(bench: Bench, asked: argparse.Namespace) -> Tasks:
    largest = 100_000 if asked.quick else asked.largest
    sizes = (0, *(size for size in (10**power for power in range(4, 9)) if size <= largest))
    # keys that fall anywhere among those of the log, as they do in its indexes
    bench = replace(bench, albums=100_000)
    setup = _make("held", 20, bench.albums).replace(
        "bigint GENERATED ALWAYS AS IDENTITY", "uuid DEFAULT gen_random_uuid()"
    )
    setup += ";UPDATE held SET id = md5(c1::text)::uuid"
    none = _database(bench, "log_none", setup, [])
    statements = {
        "INSERT": _insert("held", 20, "(VALUES (:r::bigint))"),
        "UPDATE of two columns": _update("held", 2, "id = md5(:n::text)::uuid"),
    }
    tasks: Tasks = {}
    for size in sizes:
        system = _database(bench, f"log_{size}", setup, ["held"], {})
        with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
            _fill(conn, size)
        for panel, statement in statements.items():
            for series, measured in ((NONE, none), (CAPTURED, system)):
                tasks[panel, series, str(size)] = lambda _, measured=measured, statement=statement: (
                    bench.single(measured, [statement])
                )
    return tasks


def _fill(conn: psycopg.Connection[Any], size: int) -> None:
    """Write rows into this month of the log, those of an album side by side, as the retention bench does."""
    step = 1_000_000
    for begin in range(0, size, step):
        # `month` numbers the albums: those of one batch are not those of another
        conn.execute(
            FILL.replace("%(begin)s::timestamptz", "date_trunc('month', now(), 'UTC')"),
            {"rows": min(step, size), "month": begin // step},
        )
    conn.execute("VACUUM ANALYZE")
    conn.execute("CHECKPOINT")


def options(bench: Bench, asked: argparse.Namespace) -> Tasks:
    del asked
    music = replace(bench, albums=2_000)
    none, *_, plain, _ = systems()
    chosen = {NONE: none} | {
        name: replace(plain, name=f"options_{n}", watch=more)
        for n, (name, more) in enumerate(OPTIONS.items())
    }
    prepare(music, list(chosen.values()))
    deleted = 50
    tasks: Tasks = {}
    for series, system in chosen.items():
        tasks["INSERT", series, ""] = lambda _, system=system: music.single(system, system.insert)
        tasks["UPDATE", series, ""] = lambda _, system=system: music.single(system, system.update)
        tasks["no-op UPDATE", series, ""] = lambda _, system=system: music.single(
            system, system.noop
        )
        tasks["DELETE with tracks", series, ""] = lambda turn, system=system: music.delete(
            system, deleted * turn, deleted
        )
    return tasks


COST = "time of one write, µs"

ALL = [
    Plot(
        "changed-columns",
        "Columns changed, of 50",
        "columns changed by the UPDATE",
        COST,
        changed_columns,
    ),
    Plot("table-columns", "Columns of the table", "columns of the table", COST, table_columns),
    Plot(
        "rows",
        "Rows of one statement",
        "rows of the statement (logarithmic)",
        "time of a row, µs (logarithmic)",
        rows_of_statement,
        is_log_x=True,
        is_log_y=True,
    ),
    Plot(
        "clients",
        "Clients that write at once",
        "clients (logarithmic)",
        "writes a second, of all",
        clients,
        is_log_x=True,
        is_rate=True,
    ),
    Plot(
        "months",
        "Months of the log",
        "months that the log is partitioned into",
        COST,
        months,
        is_y_shared=False,
    ),
    Plot(
        "log-rows",
        "Rows in the log",
        "rows in the month written to (logarithmic)",
        COST,
        log_rows,
        is_log_x=True,
    ),
    Plot(
        "options",
        "Options of llamalog watch",
        "time of one write to an album of 31 columns, × the same without a log (logarithmic)",
        "",
        options,
    ),
]


def in_turn(tasks: Tasks, rounds: int) -> Measured:
    """Measure every task once a round; the first round fills caches and is not counted."""
    found: Measured = {}
    for turn in range(rounds + 1):
        for (panel, series, x), task in tasks.items():
            took = task(turn)
            times = found.setdefault(panel, {}).setdefault(series, {}).setdefault(x, [])
            if turn:
                times.append(round(took, 3))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds, a smaller log")
    parser.add_argument("--plot-only", action="store_true", help="measure nothing, draw anew")
    parser.add_argument("--only", choices=[plot.name for plot in ALL], action="append")
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--largest", type=int, default=10_000_000, metavar="ROWS", help="of the logs filled before"
    )
    parser.add_argument("--postgresql", type=int, metavar="MAJOR", help="which server")
    parser.add_argument(
        "--to", type=Path, default=PLOTS, help="directory of plots and measurements"
    )
    parser.add_argument("--png", action="store_true", help="PNG beside each SVG")
    asked = parser.parse_args()
    chosen = [plot for plot in ALL if not asked.only or plot.name in asked.only]
    asked.to.mkdir(parents=True, exist_ok=True)
    from drawing import draw  # here: without matplotlib, fail before anything is measured

    for plot in chosen:
        if not asked.plot_only:
            measure(plot, asked)
        kept = asked.to / f"{plot.name}.json"
        if kept.exists():
            draw(plot, json.loads(kept.read_text()), asked.to / plot.name, png=asked.png)
        else:
            print(f"{plot.name}: not measured yet", file=sys.stderr)
    return 0


def measure(plot: Plot, asked: argparse.Namespace) -> None:
    """Measure one plot on a server of its own, and keep the measurements: what follows cannot lose them."""
    began = time.monotonic()
    with embedded.start(version=asked.postgresql, settings=SETTINGS) as server:
        bench = Bench(
            server,
            embedded.find_binaries(asked.postgresql) / "pgbench",
            albums=ROWS,
            rounds=asked.rounds or (3 if asked.quick else 5),
            transactions=200 if asked.quick else 1_000,
        )
        measured = in_turn(plot.tasks(bench, asked), bench.rounds)
        kept = {
            "postgresql": server.version,
            "cores": os.cpu_count(),
            "rounds": bench.rounds,
            "settings": SETTINGS | {"fsync": "off"},
            "unit": "microseconds",
            "measured": measured,
        }
    text = json.dumps(kept, indent=1)
    # a series of numbers on one line
    text = re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text)
    (asked.to / f"{plot.name}.json").write_text(text + "\n")
    print(f"{plot.name}: {time.monotonic() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
