"""What is installed, and whether it is as it should be; reads only."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamalog_sql import __version__, migrate, watching
from llamalog_sql.adoption import state, steps
from llamalog_sql.adoption.lens import OWN_LOG
from llamalog_sql.connection import Connection, first_row, owner_of_the_log, rows
from llamalog_sql.errors import NotInstalled

#: So many functions that are to be applied are named.
_FEW = 5

#: Up to here rows are counted.
_EXACT = 10_000


@dataclass(frozen=True)
class Watched:
    """A watched table, as llamalog.watched_tables shows it."""

    entity_type: str
    table: str
    kind: str
    capture: str

    def cells(self) -> list[str]:
        return [self.entity_type, self.table, self.kind, self.capture]


@dataclass(frozen=True)
class Status:
    """The state of an installation.

    rows: of the log, counted up to 10,000, else as the planner estimates.  size: bytes, indexes too.
    registered: tables in llamalog.watches; where functions are to be applied, they are not captured.
    adopted: the application's own log, where that is the log.
    """

    version: str
    server: str
    database: str
    owner: str
    applied: list[str]
    pending: list[str]
    partitions: int
    rows: int
    size: int
    registered: int
    adopted: str | None
    watched: list[Watched] = field(default_factory=list)

    def lines(self) -> list[tuple[str, str]]:
        """Return (name, value) for a person."""
        return [
            (
                "llamalog",
                self.version
                + (f"; {len(self.pending)} to apply: llamalog migrate" if self.pending else ""),
            ),
            ("server", f"PostgreSQL {self.server}, database {self.database}"),
            ("migrations", ", ".join(self.applied)),
            ("owner", self.owner),
            (
                "log",
                f"{'about ' * (self.rows >= _EXACT)}{self.rows:,} rows, {self.size / 1048576:,.1f} MiB,"
                + (
                    f" {self.adopted}, the application's own"
                    if self.adopted
                    else f" {self.partitions} partitions"
                ),
            ),
            ("watched", self._watched()),
        ]

    def _watched(self) -> str:
        tables = f"{self.registered} table{'s' * (self.registered > 1)}"
        if self.watched:
            return tables
        if self.registered:
            return f"{tables}, none captured now: llamalog migrate"
        return "nothing yet: llamalog watch TABLE..."


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.  what: the table or object.  hint: what to do."""

    what: str
    problem: str
    hint: str


def status(conn: Connection) -> Status:
    """Return what is installed.  Raises NotInstalled (LL001)."""
    plan = migrate.plan(conn)
    if not plan.is_installed:
        raise NotInstalled("llamalog is not installed in this database")
    shape = state.adopted(conn)
    row = first_row(
        conn,
        "SELECT current_setting('server_version'), current_database(),"
        " (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'llamalog'),"
        " count(*), coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint"
        " FROM (SELECT t.relid FROM pg_partition_tree(to_regclass(%(own)s)) AS t WHERE t.isleaf"
        " UNION ALL SELECT to_regclass(%(adopted)s) WHERE %(adopted)s IS NOT NULL) AS t"
        " JOIN pg_class AS c ON c.oid = t.relid",
        {
            "own": f"llamalog.{OWN_LOG}" if shape else "llamalog.llama_logs",
            "adopted": shape.table if shape else None,
        },
    )
    assert row is not None
    watched = (
        [
            Watched(*cells)
            for cells in rows(
                conn,
                "SELECT entity_type, table_name, kind, capture FROM llamalog.watched_tables ORDER BY entity_type",
            )
        ]
        if "views/watched_tables.sql" not in {piece.name for piece in plan.changed}
        else []
    )
    return Status(
        version=__version__,
        server=row[0],
        database=row[1],
        owner=row[2],
        applied=plan.applied,
        pending=[piece.name for piece in [*plan.pending, *plan.changed]],
        partitions=row[3],
        rows=_row_count(conn, row[4]),
        size=row[5],
        registered=_registered(conn),
        adopted=shape.shown if shape else None,
        watched=watched,
    )


def _row_count(conn: Connection, estimated: int) -> int:
    """Return how many rows the log has: exactly while they are few."""
    counted = first_row(
        conn, "SELECT count(*) FROM (SELECT FROM llamalog.llama_logs LIMIT %s) AS counted", [_EXACT]
    )
    assert counted is not None
    return int(counted[0]) if counted[0] < _EXACT else max(estimated, _EXACT)


def _registered(conn: Connection) -> int:
    """Return how many tables are to be watched."""
    exists = first_row(conn, "SELECT to_regclass('llamalog.watches')")
    if exists is None or exists[0] is None:
        return 0
    counted = first_row(conn, "SELECT count(*) FROM llamalog.watches WHERE unwatched_at IS NULL")
    return int(counted[0]) if counted else 0


def check(conn: Connection) -> list[Finding]:
    """Return what should be put right, worst first; an empty list when all is well.

    Raises NotInstalled (LL001).
    """
    plan = migrate.plan(conn)
    if not plan.is_installed:
        raise NotInstalled("llamalog is not installed in this database")
    findings = [
        Finding(
            f"migration {name}",
            "was edited after it had been applied",
            "Restore the file; add a new migration.",
        )
        for name in plan.edited
    ]
    findings += [
        Finding(f"sql/{piece.name}", "is not applied", "Run: llamalog migrate")
        for piece in [*plan.pending, *plan.changed[:_FEW]]
    ]
    if len(plan.changed) > _FEW:
        others = f"{len(plan.changed) - _FEW} more functions and views"
        findings.append(Finding(others, "are not applied", "Run: llamalog migrate"))
    findings += [
        Finding(
            f"migration {name}",
            "is applied, but not known to this version",
            "Upgrade llamalog-sql.",
        )
        for name in plan.unknown
    ]
    if plan.pending or plan.changed:
        return findings
    findings += [
        Finding(
            table,
            problem,
            f"Run: llamalog watch {table}, or llamalog unwatch {entity_type} if that is meant"
            if "took the place" in problem
            else "Run: llamalog migrate",
        )
        for entity_type, table, problem in watching.drifted(conn)
    ]
    findings += [
        Finding(
            table,
            f"what subscription {subscription} writes to it goes unlogged",
            f"Run: llamalog watch {table} --always, or with --no-always if that is meant",
        )
        for table, subscription in watching.bypassed(conn)
    ]
    findings += [
        Finding(
            table,
            "TRUNCATE of it fails: row security hides its rows from the owner of the log",
            f"Run: ALTER ROLE {owner_of_the_log(conn)} BYPASSRLS, or watch it with --on-truncate refuse",
        )
        for table in watching.hidden(conn)
    ]
    findings += _of_adoption(conn)
    findings += [
        Finding(
            name, "is missing: rows of that month will wait in DEFAULT", "Run: llamalog maintain"
        )
        for name in missing_months(conn, 1)
    ]
    waiting = first_row(
        conn, "SELECT count(*) FROM (SELECT FROM llamalog.llama_logs_default LIMIT 1) AS row"
    )
    if waiting and waiting[0] and missing_months(conn, 0):
        findings.append(
            Finding("llamalog.llama_logs_default", "holds rows", "Run: llamalog maintain")
        )
    return findings


def _of_adoption(conn: Connection) -> list[Finding]:
    """Return what is unfinished or broken of an adoption."""
    found = state.current(conn)
    if found is None:
        return []
    table = found.shape.shown
    if found.step in {"returning", "copied", "undoing"}:
        return [Finding(table, "is being given back, and not yet", "Run: llamalog adopt --undo")]
    if found.step != "done":
        return [
            Finding(table, "is not adopted to the end", f"Run: llamalog adopt {table}, or --undo")
        ]
    findings = []
    if missing := steps.missing_triggers(conn, found.shape):
        findings.append(
            Finding(
                table, f"missing or disabled: {', '.join(missing)}", f"Run: llamalog adopt {table}"
            )
        )
    if rows(
        conn,
        "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'seq' AND NOT attnotnull",
        [found.shape.table],
    ):
        findings.append(
            Finding(
                table, "its old rows are not numbered and classified yet", "Run: llamalog backfill"
            )
        )
    return findings


def missing_months(conn: Connection, months_ahead: int) -> list[str]:
    """Return the names of the partitions that `maintain` would make for the months from now on."""
    if state.adopted(conn) is not None:
        return []
    return [
        str(name)
        for (name,) in rows(
            conn,
            "SELECT name FROM generate_series(0, %s) AS month (ahead)"
            " CROSS JOIN LATERAL llamalog.month_partition(now() + make_interval(months => month.ahead)) AS name"
            " WHERE to_regclass(name) IS NULL ORDER BY month.ahead",
            [months_ahead],
        )
    ]
