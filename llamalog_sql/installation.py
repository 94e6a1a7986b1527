"""What is installed, and whether it is as it should be; reads only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from llamalog_sql import __version__, attention, migrate, row_security, watching
from llamalog_sql.adoption import state, steps
from llamalog_sql.adoption.lens import OWN_LOG
from llamalog_sql.capture import Capture
from llamalog_sql.connection import Connection, first_row, owner_of_the_log, rows
from llamalog_sql.describe import Watch
from llamalog_sql.errors import NotInstalled
from llamalog_sql.findings import Finding
from llamalog_sql.output import clean, moment, plural

__all__ = ["Finding", "Status", "Watched", "check", "checked", "missing_months", "status"]

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
    paused_at: datetime | None
    paused_by: str | None
    pause_reason: str | None
    has_row_security: bool

    def cells(self) -> list[str]:
        protected = ", row security" if self.has_row_security else ""
        paused = f", {self.paused}" if self.paused_at else ""
        return [self.entity_type, self.table, self.kind, clean(self.capture + protected + paused)]

    @property
    def paused(self) -> str:
        """Since when capture is paused, by whom and why, where it is."""
        return f"paused since {moment(self.paused_at)} by {self.paused_by}: {self.pause_reason}"


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
                f"{'about ' * (self.rows >= _EXACT)}{plural(self.rows, 'row')}, {self.size / 1048576:,.1f} MiB,"
                + (
                    f" {self.adopted}, the application's own"
                    if self.adopted
                    else f" {plural(self.partitions, 'partition')}"
                ),
            ),
            ("watched", self._watched()),
        ]

    def _watched(self) -> str:
        tables = plural(self.registered, "table")
        if self.watched:
            return tables
        if self.registered:
            return f"{tables}, none captured now: llamalog migrate"
        return "nothing yet: llamalog watch TABLE..."


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
        _watched(conn)
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


def _watched(conn: Connection) -> list[Watched]:
    return [
        Watched(*cells)
        for cells in rows(
            conn,
            "SELECT entity_type, table_name, kind, capture, paused_at, paused_by, pause_reason, has_row_security"
            " FROM llamalog.watched_tables ORDER BY entity_type",
        )
    ]


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
    """Return what should be put right, worst first; an empty list when all is well.  `doctor` looks at more.

    Raises NotInstalled (LL001).
    """
    return checked(conn)[0]


def checked(conn: Connection) -> tuple[list[Finding], list[tuple[Watch, Capture]] | None]:
    """Return what `check` does, and the captures that it has rendered anew for that; None while the database is not at
    this version.
    """
    plan = migrate.plan(conn)
    if not plan.is_installed:
        raise NotInstalled("llamalog is not installed in this database")
    findings = [
        Finding(
            f"migration {name}",
            "was edited after it had been applied",
            "Restore the file; add a new migration.",
            "migration-edited",
        )
        for name in plan.edited
    ]
    findings += [
        Finding(f"sql/{piece.name}", "is not applied", "Run: llamalog migrate", "not-applied")
        for piece in [*plan.pending, *plan.changed[:_FEW]]
    ]
    if len(plan.changed) > _FEW:
        others = f"{len(plan.changed) - _FEW} more functions and views"
        findings.append(Finding(others, "are not applied", "Run: llamalog migrate", "not-applied"))
    findings += [
        Finding(
            f"migration {name}",
            "is applied, but not known to this version",
            "Upgrade llamalog-sql.",
            "migration-unknown",
        )
        for name in plan.unknown
    ]
    if plan.pending or plan.changed:
        return findings, None
    drifts, captures = watching.compared(conn)
    findings += [
        Finding(
            drift.table,
            drift.problem,
            f"Run: llamalog watch {drift.table}, or llamalog unwatch {drift.entity_type} if that is meant"
            if drift.id == "table-replaced"
            else "Run: llamalog migrate",
            drift.id,
        )
        for drift in drifts
    ]
    findings += [
        Finding(
            one.table,
            f"capture is {one.paused}",
            f"What is written to it is not logged. Run: llamalog resume {one.entity_type}",
            "capture-paused",
        )
        for one in _watched(conn)
        if one.paused_at
    ]
    findings += [
        Finding(
            table,
            f"what subscription {subscription} writes to it goes unlogged",
            f"Run: llamalog watch {table} --always, or with --no-always if that is meant",
            "subscription-unlogged",
        )
        for table, subscription in watching.bypassed(conn)
    ]
    findings += [
        Finding(
            table,
            "TRUNCATE of it fails: row security hides its rows from the owner of the log",
            f"Run: ALTER ROLE {owner_of_the_log(conn)} BYPASSRLS, or watch it with --on-truncate refuse",
            "truncate-hidden",
        )
        for table in watching.hidden(conn)
    ]
    if row_security.lacking(conn):
        findings.append(
            Finding(
                "llamalog.llama_logs",
                "lacks the row security that it should carry over: who may read it may read too much, or too little",
                "Run: llamalog migrate",
                "row-security-missing",
            )
        )
    findings += [
        Finding(
            table,
            "its row security is off: readers of the log see the changes of all its rows",
            f"Run: ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, or watch it with --no-row-security",
            "row-security-off",
        )
        for table in row_security.unprotected(conn)
    ]
    findings += [
        Finding(
            f"attention rule {rule.id}",
            rule.misfit,
            "Correct or delete it in llamalog.attention_rules.",
            "rule-misfit",
        )
        for rule in attention.rules(conn)
        if rule.misfit is not None
    ]
    findings += _of_adoption(conn)
    findings += [
        Finding(
            name,
            "is missing: rows of that month will wait in DEFAULT",
            "Run: llamalog maintain",
            "month-missing",
            ["SELECT * FROM llamalog.maintain()"],
        )
        for name in missing_months(conn, 1)
    ]
    if _rows_wait(conn):
        findings.append(
            Finding(
                "llamalog.llama_logs_default",
                "holds rows",
                "Run: llamalog maintain",
                "rows-in-default",
                ["SELECT * FROM llamalog.maintain()"],
            )
        )
    return findings, None if plan.unknown else captures


def _rows_wait(conn: Connection) -> bool:
    """Return whether DEFAULT holds rows of a month that `maintain` would make."""
    if state.adopted(conn) is not None:
        return False
    return bool(
        rows(
            conn,
            "SELECT FROM (SELECT date_trunc('month', now(), 'UTC') AS month) AS this"
            " WHERE EXISTS (SELECT FROM llamalog.llama_logs_default AS waiting"
            " WHERE waiting.created_at >= this.month - interval '10 years'"
            " AND waiting.created_at < this.month + interval '4 months')",
        )
    )


def _of_adoption(conn: Connection) -> list[Finding]:
    """Return what is unfinished or broken of an adoption."""
    found = state.current(conn)
    if found is None:
        return []
    table = found.shape.shown
    if found.step in {"returning", "copied", "undoing"}:
        return [
            Finding(
                table,
                "is being given back, and not yet",
                "Run: llamalog adopt --undo",
                "adoption-unfinished",
            )
        ]
    if found.step != "done":
        return [
            Finding(
                table,
                "is not adopted to the end",
                f"Run: llamalog adopt {table}, or --undo",
                "adoption-unfinished",
            )
        ]
    findings = []
    if missing := steps.missing_triggers(conn, found.shape):
        findings.append(
            Finding(
                table,
                f"missing or disabled: {', '.join(missing)}",
                f"Run: llamalog adopt {table}",
                "adoption-triggers",
            )
        )
    if rows(
        conn,
        "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = 'seq' AND NOT attnotnull",
        [found.shape.table],
    ):
        findings.append(
            Finding(
                table,
                "its old rows are not numbered and classified yet",
                "Run: llamalog backfill",
                "backfill-unfinished",
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
