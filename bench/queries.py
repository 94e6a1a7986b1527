"""How long each question takes in a large log: `make bench-queries`.

    make bench-queries                     20,000,000 rows
    make bench-queries ROWS=2000000
    python bench/queries.py --keep-in DIR  keeps the database there, and finds it again
    python bench/queries.py --keep-plans   writes the plans anew that later runs are compared with

Every question is asked as its command asks it, about entities chosen at random, over 36 monthly partitions and over one that
holds the same rows. An entity's time is the median of three askings (one, where it takes over a second), so that
what else the machine does is not counted as cost; p50 and p99 are over the entities. `cold` is the first asking of a session, which every command pays. A benchmark: the exit
code says whether a budget was missed or a plan has changed, and no test asks it.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import random
import re
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import generate
import psycopg
from rich.console import Console
from rich.table import Table

from llamalog_sql import (
    attention,
    embedded,
    installation,
    jobs,
    migrate,
    queries,
    reverting,
    sizes,
    stats,
    tailing,
)
from llamalog_sql.connection import Connection, connect
from llamalog_sql.errors import LlamaLogError

PLANS = Path(__file__).parent / "plans"
SETTINGS = {
    "shared_buffers": "2GB",
    "max_wal_size": "2GB",
    "maintenance_work_mem": "512MB",
    "autovacuum": "off",
}
MONTHLY, SINGLE = "36 months", "one partition"

Entity = tuple[str, str]
#: Kinds of entities, in the order of the table.
KINDS = ("typical", "deleted", "never was", "busiest")


@dataclass(frozen=True)
class Question:
    """A question as its command asks it.

    ask: with a connection, an entity and what prepare returned; for a question about the whole log the entity is None.
    budget: milliseconds of p99 on the server.  kinds: of entities it is asked about.  prepare: what must be known first, not timed.
    has_plan: False where its statements are made anew for each row.
    """

    name: str
    ask: Callable[[Connection, Any, Any], object]
    budget: float | None = None
    of_entity: bool = True
    kinds: tuple[str, ...] = KINDS
    prepare: Callable[[Connection, Any], Any] = field(default=lambda conn, entity: None)
    has_plan: bool = True


def _second_page(conn: Connection, entity: Entity) -> str | None:
    """The cursor to it; None, where there is no second page or finding it takes too long."""
    with contextlib.suppress(LlamaLogError):
        return queries.chain(conn, *entity).cursor
    return None


def _execute(statement: str, *parameters: Any) -> Callable[[Connection, Any, Any], object]:
    return lambda conn, *_: conn.execute(statement.encode(), list(parameters)).fetchall()


def _keys_of_chain(conn: Connection, entity: Entity) -> tuple[list[str], list[str]]:
    """The keys that a chain must look up: the entity and its parts; the jobs all of whose rows are in it."""
    ((ids, job_ids),) = conn.execute(
        """
        WITH found AS MATERIALIZED (SELECT * FROM llamalog.chain_changes(%(type)s, %(id)s)),
        job AS MATERIALIZED (SELECT job_id, count(*) AS rows FROM found WHERE job_id IS NOT NULL GROUP BY job_id)
        SELECT
            ARRAY(
                SELECT %(id)s
                UNION
                SELECT entity_id FROM found WHERE related_id = %(id)s AND link_type IS NULL
            ),
            ARRAY(
                SELECT job_id FROM job
                WHERE rows = (SELECT count(*) FROM llamalog.llama_logs AS log WHERE log.job_id = job.job_id)
            )
        """,
        {"type": entity[0], "id": entity[1]},
    ).fetchall()
    return ids, job_ids


#: What no chain can do without, as bare as can be: each key looked up once in each of four indexes, no column read.
_LOOKUPS = """
CREATE OR REPLACE FUNCTION bench.lookups(ids text[], job_ids text[]) RETURNS bigint LANGUAGE plpgsql
    SET plan_cache_mode = force_generic_plan SET jit = off SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN (SELECT count(*) FROM llamalog.llama_logs AS log WHERE log.entity_id = ANY (ids))
        + (SELECT count(*) FROM llamalog.llama_logs AS log WHERE log.related_id = ANY (ids))
        + (SELECT count(*) FROM llamalog.llama_logs AS log WHERE log.job_id = ANY (job_ids))
        + (SELECT count(*) FROM llamalog.llama_logs AS log WHERE log.parent_job_id = ANY (job_ids));
END $$
"""


def _with_lookups(conn: Connection, entity: Entity) -> tuple[list[str], list[str]]:
    conn.execute(_LOOKUPS.encode())
    return _keys_of_chain(conn, entity)


def _last_job(conn: Connection, entity: Entity) -> str:
    """The job of the last change of an entity, or the one above it."""
    return next(c.job_id or c.parent_job_id or "" for c in queries.history(conn, *entity))


def _last_change(conn: Connection, entity: Entity) -> int:
    return next((c.seq for c in queries.history(conn, *entity) if c.op), 0)


#: Instants to be asked about, with half a year of changes after each.
_DAYS = (generate.END - timedelta(days=365), generate.END - timedelta(days=182))
_WEEK = (generate.END - timedelta(days=7), generate.END)

QUESTIONS = [
    Question("history", lambda conn, e, _: queries.history(conn, *e, limit=51), budget=1),
    Question("chain", lambda conn, e, _: queries.chain(conn, *e), budget=5),
    Question(
        "chain, a later page",
        lambda conn, e, cursor: queries.chain(conn, *e, cursor=cursor),
        budget=5,
        prepare=_second_page,
    ),
    Question(
        "chain, filtered",
        lambda conn, e, _: queries.chain(
            conn,
            *e,
            categories=["CREATED", "FAILED"],
            start_date=generate.END - timedelta(days=365),
            end_date=generate.END,
        ),
        budget=5,
    ),
    Question(
        "the lookups of a chain alone",
        lambda conn, e, keys: conn.execute("SELECT bench.lookups(%s, %s)", list(keys)),
        kinds=("typical", "deleted"),
        prepare=_with_lookups,
    ),
    Question("tree", lambda conn, e, _: queries.tree(conn, *e), budget=5),
    Question("why", lambda conn, e, _: queries.why(conn, *e)),
    Question("as-of", lambda conn, e, _: queries.as_of(conn, *e, _DAYS[1]), budget=1),
    Question("blame", lambda conn, e, _: queries.blame(conn, *e), budget=1),
    Question("diff", lambda conn, e, _: queries.diff(conn, *e, *_DAYS)),
    Question(
        "job",
        lambda conn, e, job_id: jobs.job(conn, job_id),
        kinds=("typical", "deleted"),
        prepare=_last_job,
    ),
    Question(
        "impact of a job",
        lambda conn, e, job_id: jobs.impact(conn, jobs.Criteria(job_id=job_id)),
        kinds=("typical", "deleted"),
        prepare=_last_job,
    ),
    Question(
        "plan to revert a change",
        lambda conn, e, change: reverting.plan(conn, reverting.Target(change=change)),
        kinds=("typical", "deleted"),
        prepare=_last_change,
    ),
    Question(
        "plan to revert a job",
        lambda conn, e, job_id: reverting.plan(conn, reverting.Target(job_id=job_id)),
        kinds=("deleted",),
        prepare=_last_job,
        has_plan=False,
    ),
    Question(
        "failures of an entity",
        lambda conn, e, _: attention.failures(conn, *e),
        kinds=("typical", "deleted"),
    ),
    Question(
        "resolve an id",
        lambda conn, e, _: queries.resolve(conn, *e),
        kinds=("typical", "deleted", "busiest"),
    ),
    Question("label", lambda conn, e, _: queries.label(conn, *e)),
    Question("detail_since", lambda conn, e, _: queries.detail_since(conn, *e)),
    Question(
        "find",
        lambda conn, *_: queries.find(conn, "river 100", limit=21),
        of_entity=False,
    ),
    Question(
        "find a title",
        lambda conn, *_: queries.find(conn, "Golden River 9", entity_type="ALBUM", is_exact=True),
        of_entity=False,
    ),
    Question(
        "find nothing",
        lambda conn, *_: queries.find(conn, "no such title", limit=21),
        of_entity=False,
    ),
    Question(
        "changes by category, 7 days",
        _execute(
            "SELECT category, count(*) FROM llamalog.log WHERE created_at >= %s AND created_at < %s GROUP BY 1",
            *_WEEK,
        ),
        budget=50,
        of_entity=False,
    ),
    Question(
        "newest 50 changes",
        _execute("SELECT * FROM llamalog.log ORDER BY seq DESC LIMIT 50"),
        of_entity=False,
    ),
    Question(
        "tail, a look that finds nothing",
        lambda conn, _, cursor: tailing.tail(conn, tailing.Filter(), cursor=cursor),
        of_entity=False,
        prepare=lambda conn, _: tailing.tail(conn, tailing.Filter()).cursor,
    ),
    Question(
        "impact of a source, 7 days",
        lambda conn, *_: jobs.impact(
            conn, jobs.Criteria(source="enrichment", start_date=_WEEK[0], end_date=_WEEK[1])
        ),
        of_entity=False,
    ),
    Question(
        "stats by category, 7 days",
        lambda conn, *_: stats.counts(conn, "category", *_WEEK),
        budget=50,
        of_entity=False,
    ),
    Question("attention", lambda conn, *_: attention.attention(conn, "ALBUM"), of_entity=False),
    Question("failures", lambda conn, *_: attention.failures(conn), of_entity=False),
    Question(
        "recent_activity, 50 rows",
        _execute("SELECT * FROM llamalog.recent_activity LIMIT 50"),
        of_entity=False,
    ),
    Question(
        "unknown_provenance",
        _execute("SELECT * FROM llamalog.unknown_provenance"),
        of_entity=False,
    ),
    Question("watched_tables", _execute("SELECT * FROM llamalog.watched_tables"), of_entity=False),
    Question("status", lambda conn, *_: installation.status(conn), of_entity=False),
    Question("stats --size", lambda conn, *_: sizes.sizes(conn), of_entity=False),
]

#: Seconds after which a question is given up; they stand for its time then.
PATIENCE = 30

#: Commands whose memory is looked at, and what each may take in MiB, whatever the size of the log.
COMMANDS = ["history", "chain", "tree", "why"]
MEMORY = 100


@dataclass(frozen=True)
class Figures:
    """Milliseconds.  client: with what the library does.  server: as the server counts.  cold: first asking of a session."""

    client_p50: float
    client_p99: float
    server_p50: float
    server_p99: float
    cold: float | None


def chosen(conn: Connection, seed: int = 7) -> dict[str, list[Entity]]:
    """Return entities of each kind: albums, tracks and artists at random."""
    rng = random.Random(seed)  # noqa: S311
    living = _albums(conn, "(dies < %(end)s) IS NOT TRUE AND n > 1", rng, 60)
    gone = _albums(conn, "dies < %(end)s", rng, 20)

    def id_of(kind: str, n: int) -> str:
        row = conn.execute("SELECT bench.id(%s, %s)", [kind, n]).fetchone()
        assert row is not None
        return str(row[0])

    return {
        "typical": [
            ("ALBUM", id_of("album", n))
            if turn % 2
            else ("ARTIST", id_of("artist", artist))
            if turn % 4
            else ("TRACK", id_of("track", n * 100 + 1 + rng.randrange(tracks)))
            for turn, (n, tracks, artist) in enumerate(living)
            if artist != generate.BUSIEST
        ],
        "deleted": [
            ("ALBUM", id_of("album", n)) if turn % 2 else ("TRACK", id_of("track", n * 100 + 1))
            for turn, (n, _, _) in enumerate(gone)
        ],
        "never was": [("ALBUM", str(uuid.UUID(int=rng.getrandbits(128)))) for _ in range(3)],
        "busiest": [
            ("ALBUM", id_of("album", generate.BUSIEST)),
            ("ARTIST", id_of("artist", generate.BUSIEST)),
        ],
    }


def _albums(
    conn: Connection, condition: str, rng: random.Random, count: int
) -> list[tuple[int, int, int]]:
    found = conn.execute(
        f"SELECT n, tracks, artist FROM bench.album WHERE {condition} ORDER BY n".encode(),
        {"end": generate.END},
    ).fetchall()
    return rng.sample(found, min(count, len(found)))


@contextlib.contextmanager
def told_durations(conn: Connection) -> Iterator[list[float]]:
    """The milliseconds that the server says each message took, while it lasts."""
    told: list[float] = []

    def hear(diagnostic: psycopg.errors.Diagnostic) -> None:
        if found := re.match(r"duration: ([0-9.]+) ms", diagnostic.message_primary or ""):
            told.append(float(found[1]))

    conn.execute(
        "SET client_min_messages = log; SET log_min_messages = fatal; SET log_duration = on"
    )
    conn.add_notice_handler(hear)
    yield told
    conn.remove_notice_handler(hear)
    conn.execute("RESET log_duration; RESET client_min_messages")


def measure(dsn: str, question: Question, entities: list[Any], rounds: int) -> Figures:
    """Ask about each entity once, to fill caches, then `rounds` times for the client and as often for the server.

    One that takes more than a second is asked once.
    """
    with connect(dsn) as conn:
        conn.autocommit = True
        conn.prepare_threshold = None  # a command asks once
        conn.execute(f"SET statement_timeout = '{PATIENCE}s'".encode())
        known = [question.prepare(conn, entity) for entity in entities]
        client: list[list[float]] = [[] for _ in entities]
        server: list[list[float]] = [[] for _ in entities]
        slow = {}
        given_up = set()

        def ask(n: int) -> float:
            began = time.perf_counter()
            try:
                question.ask(conn, entities[n], known[n])
            except LlamaLogError as error:
                if error.sqlstate != "57014":
                    raise
                given_up.add(n)
            return (time.perf_counter() - began) * 1000

        with told_durations(conn) as told:
            for n in range(len(entities)):
                told.clear()
                if (took := ask(n)) > 1000:
                    slow[n] = took
                    client[n], server[n] = [took], [took if n in given_up else sum(told)]
        quick = [n for n in range(len(entities)) if n not in slow]
        for _ in range(rounds):
            for n in quick:
                client[n].append(ask(n))
        with told_durations(conn) as told:
            for _ in range(rounds):
                for n in quick:
                    told.clear()
                    ask(n)
                    server[n].append(sum(told))
    cold = []
    for n in quick[:3]:
        with connect(dsn) as conn:
            cold.append(ask(n))
    by_client = [statistics.median(times) for times in client]
    by_server = [statistics.median(times) for times in server]
    return Figures(
        statistics.median(by_client),
        _p99(by_client),
        statistics.median(by_server),
        _p99(by_server),
        statistics.median(cold) if cold else None,
    )


def _p99(times: list[float]) -> float:
    return sorted(times)[max(0, -(-len(times) * 99 // 100) - 1)]


# -- plans ------------------------------------------------------------------------------------------------------------


def plans(dsn: str, question: Question, entity: Any) -> str | None:
    """Return the plans of every statement that a question runs, nested ones too; None where the server cannot tell them."""
    told: list[str] = []
    with connect(dsn) as conn:
        conn.autocommit = True
        prepared = question.prepare(conn, entity)
        try:
            conn.execute("LOAD 'auto_explain'")
        except psycopg.errors.UndefinedFile:
            return None
        conn.execute(
            "SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on;"
            " SET auto_explain.log_format = json; SET auto_explain.log_level = notice; SET log_min_messages = fatal"
        )
        conn.add_notice_handler(lambda said: told.append(said.message_primary or ""))
        question.ask(conn, entity, prepared)
    shown: dict[str, None] = {}
    for message in told:
        if "plan:" in message:
            explained = json.loads(message.partition("plan:")[2])
            statement = " ".join(explained["Query Text"].split())
            shown["\n".join([f"-- {statement[:150]}", *_drawn(explained["Plan"])])] = None
    return "\n\n".join(shown) + "\n"


_CONDITIONS = (
    *(
        "Index Cond",
        "Recheck Cond",
        "Hash Cond",
        "Merge Cond",
        "Join Filter",
        "Filter",
        "One-Time Filter",
    ),
    *("Sort Key", "Group Key"),
)


def _drawn(node: dict[str, Any], depth: int = 0) -> list[str]:
    """A node and what is below it, without what varies; months that are read alike stand there once."""
    line = " ".join(
        str(node[key])
        for key in ("Parent Relationship", "Subplan Name", "Strategy", "Partial Mode", "Join Type")
        if key in node
    )
    name = f"[{line}] {node['Node Type']}" if line else node["Node Type"]
    if node.get("Scan Direction") == "Backward":
        name += " backward"
    for key, word in (
        ("Index Name", "using"),
        ("Relation Name", "on"),
        ("Function Name", "of"),
        ("CTE Name", "of"),
    ):
        if key in node:
            name += f" {word} {node[key]}"
    lines = ["  " * depth + _without_month(name)]
    for key in _CONDITIONS:
        if key in node:
            lines.append("  " * (depth + 2) + _without_month(f"{key}: {node[key]}"))
    below: dict[tuple[str, ...], None] = {}
    for child in node.get("Plans", []):
        below[tuple(_drawn(child, depth + 1))] = None
    return [*lines, *(line for child in below for line in child)]


def _without_month(text: str) -> str:
    text = re.sub(r"\bllama_logs_(\d{4}_\d\d|all|default)", "llama_logs_*", text)
    return re.sub(r"\bllama_logs_\d+\b", "llama_logs", text)


def flips(path: Path, header: str, found: str) -> list[str] | None:
    """Return how a plan differs from the kept one; None where none is kept for such a log and server."""
    if not path.exists():
        return None
    kept = path.read_text()
    if not kept.startswith(header):
        return None
    return list(
        difflib.unified_diff(
            kept.splitlines(), (header + found).splitlines(), "kept", "now", "", "", 1, ""
        )
    )


# -- the run ----------------------------------------------------------------------------------------------------------


#: Runs what follows and prints the KiB that it took at most; small itself, as a child counts what its parent had at the fork.
_WEIGH = (
    "import resource, subprocess, sys;"
    "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
)


def memory(dsn: str, words: list[str]) -> float:
    """Return the most memory that a command took, in MiB."""
    command = [sys.executable, "-m", "llamalog_sql", "--dsn", dsn, "-q", *words]
    weighed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _WEIGH, *command], check=True, capture_output=True, text=True
    )
    return int(weighed.stdout) / 1024


def find_server(asked: int | None) -> Path:
    """Return the binaries asked for, else the newest that can tell nested plans, else any."""
    for version in [asked] if asked else [18, 17, 16, 15]:
        with contextlib.suppress(embedded.ServerNotFound):
            found = embedded.find_binaries(version)
            if asked or any(found.parent.rglob("auto_explain.so")):
                return found
    return embedded.find_binaries(asked)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", type=int, nargs="?", default=20_000_000)
    parser.add_argument("--only", help="questions whose name contains this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgresql", type=int, metavar="MAJOR", help="which server")
    parser.add_argument("--keep-in", type=Path, metavar="DIR", help="keep the database there")
    parser.add_argument("--keep-plans", action="store_true", help="write bench/plans anew")
    parser.add_argument("--layout", choices=[MONTHLY, SINGLE], help="only this one")
    parser.add_argument("--json", type=Path, help="also write every figure there")
    asked = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 150)
    missed = 0
    with embedded.start(
        bin_dir=find_server(asked.postgresql), keep_in=asked.keep_in, settings=SETTINGS
    ) as server:
        layouts = [asked.layout] if asked.layout else [MONTHLY, SINGLE]
        everything: dict[str, Any] = {}
        for layout in layouts:
            console.print(arrange(server.dsn, asked.rows, layout))
            header = f"-- {asked.rows:,} rows, {layout}, PostgreSQL {server.version}\n\n"
            missed += run(server.dsn, layout, header, asked, console, everything)
        if not asked.only:
            missed += look_at_memory(server.dsn, console)
    if asked.json:
        asked.json.write_text(json.dumps(everything, indent=1))
    print(
        f"{missed} budgets missed or plans changed"
        if missed
        else "every budget met, every plan as kept"
    )
    return 1 if missed else 0


def arrange(dsn: str, rows: int, layout: str) -> str:
    """Make the log, or the other layout of one that is there, and say what there is."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        ((is_there, is_single),) = conn.execute(
            "SELECT to_regclass('bench.album') IS NOT NULL, to_regclass('llamalog.llama_logs_all') IS NOT NULL"
        ).fetchall()
        began = time.monotonic()
        if not is_there:
            generate.generate(dsn, rows)
        elif not migrate.migrate(conn).is_empty:
            print("the functions of the kept database are renewed", file=sys.stderr)
        if layout == SINGLE and not is_single:
            generate.in_one_partition(conn)
        ((count, size, parts),) = conn.execute(
            "SELECT sum(class.reltuples)::bigint, sum(pg_total_relation_size(class.oid)) / 1048576, count(*)"
            " FROM pg_partition_tree('llamalog.llama_logs') AS tree JOIN pg_class AS class ON class.oid = tree.relid WHERE tree.isleaf"
        ).fetchall()
    return (
        f"[bold]{layout}[/bold]: {count:,} rows in {parts} partitions with those to come and DEFAULT,"
        f" {size:,.0f} MiB, made in {time.monotonic() - began:.0f} s"
    )


def run(
    dsn: str,
    layout: str,
    header: str,
    asked: argparse.Namespace,
    console: Console,
    everything: dict[str, Any],
) -> int:
    """Ask everything in one layout; print the table and the plans that changed; return how much is amiss."""
    with connect(dsn) as conn:
        entities = chosen(conn)
    table = Table(title_justify="left")
    for name in ("question", "about"):
        table.add_column(name)
    for name in ("server p50", "server p99", "client p50", "client p99", "cold", "budget p99"):
        table.add_column(name, justify="right")
    missed = 0
    changed: list[str] = []
    for question in QUESTIONS:
        if asked.only and asked.only not in question.name:
            continue
        for kind in question.kinds if question.of_entity else ("the log",):
            about = entities[kind] if question.of_entity else [None]
            found = measure(dsn, question, about, asked.rounds)
            is_over = question.budget is not None and found.server_p99 >= question.budget
            missed += is_over
            times = (found.server_p50, found.server_p99, found.client_p50, found.client_p99)
            budget = f"{question.budget:g}" if question.budget else ""
            table.add_row(
                question.name,
                kind,
                *(f"{value:,.2f}" for value in times),
                "" if found.cold is None else f"{found.cold:,.0f}",
                f"[red]{budget}[/red]" if is_over else budget,
            )
            everything[f"{layout}: {question.name}, {kind}"] = vars(found)
        print(f"{layout}: {question.name} done", file=sys.stderr)
        if not question.has_plan:
            continue
        seen = plans(dsn, question, entities["typical"][1] if question.of_entity else None)
        if seen is None:
            continue
        path = (
            PLANS
            / layout.replace(" ", "-")
            / (re.sub(r"\W+", "-", question.name).strip("-") + ".txt")
        )
        if asked.keep_plans:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(header + seen)
        elif difference := flips(path, header, seen):
            changed += [f"{question.name}: the plan has changed", *difference, ""]
            missed += 1
        elif difference is None:
            changed.append(f"{question.name}: no plan is kept for such a log and server")
    console.print(table)
    for line in changed:
        console.print(line, markup=False, highlight=False)
    return missed


def look_at_memory(dsn: str, console: Console) -> int:
    """Print the memory of each command about a typical and the busiest entity; return how many take more than they may."""
    with connect(dsn) as conn:
        entities = chosen(conn)
    table = Table(title="memory of a command, MiB", title_justify="left")
    for name in ("command", "typical", "busiest", "budget"):
        table.add_column(name, justify="right" if name != "command" else "left")
    over = 0
    for command in COMMANDS:
        took = [memory(dsn, [command, *entities[kind][0]]) for kind in ("typical", "busiest")]
        over += max(took) >= MEMORY
        table.add_row(command, *(f"{value:.0f}" for value in took), f"{MEMORY}")
    for words in (["find", "river 100"], ["status"], ["stats", "--size"]):
        took = [memory(dsn, words)]
        over += max(took) >= MEMORY
        table.add_row(" ".join(words), f"{took[0]:.0f}", "", f"{MEMORY}")
    console.print(table)
    return over


if __name__ == "__main__":
    sys.exit(main())
