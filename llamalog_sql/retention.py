"""Keeps the log for so long: older months go into Parquet files, but for how their living entities came.

Each month is one transaction: its rows are written to a file, the file is read back and proved, the rows are deleted, and
that is noted. Whatever interrupts it, a month is in the log or in its file. Nothing is locked but against DDL: deleted rows
are nobody's, and no writer touches an old partition. Then the partition gives its room back, which questions wait for, and
writers do not (docs/decisions/0006-retention.md).
"""

from __future__ import annotations

import itertools
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg
from psycopg.types.json import Jsonb

from llamalog_sql import archive
from llamalog_sql.adoption import state
from llamalog_sql.connection import (
    Connection,
    first_row,
    owner_of_the_log,
    refuse_pooler,
    rows,
)
from llamalog_sql.errors import LlamaLogError, Misuse, translate
from llamalog_sql.output import plural
from llamalog_sql.render import ident, literal

logger = logging.getLogger(__name__)

_LOCK = "hashtext('llamalog.maintain')"

#: Of an entity that lives, so much stays: how it came, whose it is, and under which keys it went. Half of a move between
#: partitions is no beginning, unless it changed the key; then the other half stays with it.
_BEGINS = """(
    log.previous_id IS NOT NULL
    OR (log.category IN ('CREATED', 'LINKED', 'UNLINKED') OR log.is_root_job)
        AND (log.link_type IS NULL AND log.metadata @> '{"llamalog": {"moved": true}}') IS NOT TRUE
    OR log.op = 'D' AND EXISTS (
        SELECT
        FROM {partition} AS moved
        WHERE moved.previous_id = log.entity_id
            AND moved.entity_type = log.entity_type
            AND moved.op = 'I'
            AND moved.txid = log.txid
            AND moved.id > log.id
    )
    OR log.entity_type IS NULL AND log.op IS NULL AND starts_with(log.operation, 'maintain:')
)"""

_LIVES = """NOT EXISTS (
    SELECT
    FROM pg_temp.gone_entities AS gone
    WHERE gone.entity_type = log.entity_type
        AND gone.entity_id = log.entity_id
)"""

#: The months of the log that are older than so many months, with their age; rows of the far past wait in DEFAULT for ever.
_MONTHS = """
    WITH
    this AS (
        SELECT date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC')::date AS month
    ),
    held AS (
        SELECT to_date(substr(class.relname, 12), 'YYYY_MM') AS month, class.relname AS partition
        FROM pg_inherits AS inheritance
        JOIN pg_class AS class
            ON class.oid = inheritance.inhrelid
        WHERE inheritance.inhparent = 'llamalog.llama_logs'::regclass
            AND class.relname ~ '^llama_logs_[0-9]{4}_[0-9]{2}$'
        UNION
        SELECT date_trunc('month', waiting.created_at AT TIME ZONE 'UTC')::date, 'llama_logs_default'
        FROM llamalog.llama_logs_default AS waiting
        WHERE waiting.created_at >= '0001-01-01 00:00+00'
            AND waiting.created_at < clock_timestamp()
    ),
    aged AS (
        SELECT
            held.*,
            (extract(year FROM this.month) * 12 + extract(month FROM this.month)
                - extract(year FROM held.month) * 12 - extract(month FROM held.month))::integer AS months
        FROM held
        CROSS JOIN this
    )
    SELECT to_char(aged.month, 'YYYY-MM'), 'llamalog.' || aged.partition, aged.months
    FROM aged
    WHERE aged.months > %s
    ORDER BY aged.month, aged.partition
"""

#: Of the files that may be removed again.
_NAME = re.compile(r"llama_logs_[0-9]{4}_[0-9]{2}(-[0-9]+)?\.parquet")

_PERIOD = re.compile(r"\s*(\d{1,4})\s*(month|year)s?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """How long rows stay, in months.  keep: of every type, None for ever.  types: of these, instead."""

    keep: int | None = None
    types: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Month:
    """A month with rows to archive, all of them or those of some types.

    month: as 2024-01.  archived_rows: that go into the file.  removed_rows: of them, those that leave the log.
    """

    month: str
    partition: str
    only_types: list[str] | None
    spared_types: list[str]
    archived_rows: int
    removed_rows: int

    @property
    def kept_rows(self) -> int:
        return self.archived_rows - self.removed_rows

    @property
    def of_types(self) -> str:
        """Which types, for people."""
        if self.only_types is not None:
            return f" of {', '.join(self.only_types)}"
        return f" but of {', '.join(self.spared_types)}" if self.spared_types else ""

    @property
    def rows(self) -> str:
        """SQL of the rows to archive, behind FROM."""
        begin = f"{self.month}-01 00:00+00"
        condition = f"log.created_at >= {literal(begin)} AND log.created_at < {literal(begin)}::timestamptz + interval '1 month'"
        if self.only_types is not None:
            condition += f" AND log.entity_type = ANY ({literal(self.only_types)})"
        elif self.spared_types:
            condition += f" AND (log.entity_type = ANY ({literal(self.spared_types)})) IS NOT TRUE"
        return f"{self.partition} AS log WHERE {condition}"

    @property
    def begins(self) -> str:
        """SQL of whether a row tells how its entity came."""
        return _BEGINS.replace("{partition}", self.partition)

    @property
    def removal(self) -> str:
        """The SQL that removes what does not stay."""
        return f"DELETE FROM {self.rows} AND NOT ({self.begins} AND {_LIVES})"


@dataclass(frozen=True)
class Archived:
    """A month as it was archived.  file: None when its rows were removed for good.  seconds: that it took."""

    month: str
    file: str | None
    archived_rows: int
    removed_rows: int
    kept_rows: int
    checksum: str
    seconds: float


@dataclass(frozen=True)
class Restored:
    """A file that was read.  restored_rows: those of its rows that were not in the log."""

    file: str
    month: str
    archived_rows: int
    restored_rows: int


def months_of(period: str) -> int:
    """Return the months of a period as '24 months' or '2 years'.  Raises Misuse for anything else, and for none."""
    found = _PERIOD.fullmatch(period)
    months = int(found[1]) * (12 if found[2].lower() == "year" else 1) if found else 0
    if not 1 <= months <= 12_000:
        raise Misuse(
            f'"{period}" is no period',
            hint="Write months or years, at least one: '24 months', '2 years'.",
        )
    return months


def policy_of(keep: str | None, types: Sequence[str]) -> Policy:
    """Return the policy that the options say.  types: as "TRACK=6 months".  Raises Misuse."""
    own: dict[str, int] = {}
    for given in types:
        name, _, period = given.partition("=")
        if not (name.strip() and period.strip()):
            raise Misuse(
                f'"{given}" is not TYPE=PERIOD', hint="As in: --keep-type TRACK='6 months'"
            )
        own[name.strip()] = months_of(period)
    return Policy(months_of(keep) if keep is not None else None, own)


def plan(conn: Connection, policy: Policy) -> list[Month]:
    """Return the months that `keep` would archive, oldest first; changes nothing but a temporary table.

    A month that was archived comes again only when it holds detail: rows that came late, or were brought back.

    Raises Misuse where the log is the application's own, UnknownEntityType (LL003).
    """
    _refuse_adopted(conn)
    types = {_spelled(conn, name): months for name, months in policy.types.items()}
    periods = [*types.values(), *([policy.keep] if policy.keep else [])]
    if not periods:
        return []
    conn.execute("DROP TABLE IF EXISTS pg_temp.gone_entities")
    conn.execute("CREATE TEMPORARY TABLE gone_entities AS SELECT * FROM llamalog.gone_entities()")
    conn.execute("CREATE INDEX ON pg_temp.gone_entities (entity_id, entity_type)")
    conn.execute("ANALYZE pg_temp.gone_entities")
    planned = []
    for month, partition, age in rows(conn, _MONTHS, [min(periods)]):
        due = sorted(name for name, months in types.items() if age > months)
        spared = sorted(name for name in types if name not in due)
        is_whole = policy.keep is not None and age > policy.keep
        if not (is_whole or due):
            continue
        found = Month(month, partition, None if is_whole else due, spared if is_whole else [], 0, 0)
        ((total, removed, detail, was_archived),) = rows(
            conn,
            f"SELECT count(*), count(*) FILTER (WHERE NOT ({found.begins} AND {_LIVES})),"
            f" count(*) FILTER (WHERE NOT {found.begins}), EXISTS ("
            "  SELECT FROM llamalog.archived_months AS archived"
            f"  WHERE archived.month = {literal(month + '-01')} AND archived.partition = {literal(partition)}"
            "   AND archived.archived_at IS NOT NULL"
            f"  AND (archived.only_types IS NULL OR archived.only_types @> {literal(found.only_types)}::text[])"
            f"  AND archived.spared_types <@ {literal(found.spared_types)}::text[]"
            f") FROM {found.rows}",
        )
        if detail or (removed and not was_archived):
            planned.append(replace(found, archived_rows=total, removed_rows=removed))
    return planned


def keep(
    conn: Connection,
    policy: Policy,
    directory: Path | None,
    *,
    progress: Callable[[Archived], None] | None = None,
    lock_timeout: int = 100,
) -> list[Archived]:
    """Archive what the policy does not keep, a month at a time, and return what was archived.

    conn: in autocommit.  directory: where the files go; None removes the rows for good.  progress: called after each month.
    lock_timeout: milliseconds that questions may queue behind a partition that waits to give its room back.

    Raises Misuse, LlamaLogError (42501) for who does not own the log, (55006) while it is maintained, (58030) for files.
    """
    require_directory(directory)
    _require_owner(conn)
    done: list[Archived] = []
    with _alone(conn):
        _tidy(conn)
        for month in plan(conn, policy):
            done.append(_archive(conn, month, directory))
            if progress:
                progress(done[-1])
        _compact(conn, lock_timeout)
    return done


def script(conn: Connection, policy: Policy, directory: Path | None) -> list[str]:
    """Return the SQL of each month, as `keep` runs it; changes nothing."""
    columns = archive.columns(conn)
    statements = ["CREATE TEMPORARY TABLE gone_entities AS SELECT * FROM llamalog.gone_entities()"]
    for month in plan(conn, policy):
        statements += [
            "BEGIN ISOLATION LEVEL REPEATABLE READ",
            *([archive.copy_out(columns, month.rows)] if directory else []),
            month.removal,
            "COMMIT",
            _compaction(month.partition),
        ]
    return statements


def restore(conn: Connection, path: Path, *, is_foreign: bool = False) -> Restored:
    """Bring the rows of an archive back, those that are not in the log; a second time changes nothing.

    is_foreign: also where nothing is known of such an archive here.

    Raises LlamaLogError (58030, XX001) for a file that is not whole, Misuse for one of another log.
    """
    _refuse_adopted(conn)
    _require_owner(conn)
    summary = archive.read(path)
    names = ", ".join(ident(column.name) for column in summary.columns)
    with _alone(conn), archive.pinned(conn):
        is_known = rows(
            conn,
            "UPDATE llamalog.archived_months SET restored_at = coalesce(restored_at, clock_timestamp())"
            " WHERE checksum = %s AND row_count = %s AND month = to_date(%s, 'YYYY-MM') AND archived_at IS NOT NULL"
            " RETURNING id",
            [summary.checksum, summary.row_count, summary.month],
        )
        if not (is_known or is_foreign):
            raise Misuse(
                f"{path} was not archived from this log",
                detail=f"It holds {plural(summary.row_count, 'row')} of {summary.month}, checksum {summary.checksum}.",
                hint="Where llamalog was uninstalled since, it has forgotten its archives: add --foreign.",
            )
        relation = archive.load(conn, path, summary)
        restored = conn.execute(
            f"INSERT INTO llamalog.llama_logs ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {relation}"
            " ON CONFLICT (id, created_at) DO NOTHING".encode()
        ).rowcount
        found = archive.proof(
            conn,
            summary.columns,
            "llamalog.llama_logs AS log JOIN pg_temp.archived_rows AS raw ON raw.id = log.id"
            f" AND log.created_at = {archive.Column('created_at', archive.TIME).coming_in()}"
            f" WHERE {_within(summary.month)}",
        )
        if found != (summary.row_count, summary.checksum):
            raise Misuse(
                f"the log has other rows where {path} has its own",
                detail="Nothing was brought back.",
                hint="It is the archive of another database.",
            )
        if restored:
            conn.execute("SELECT llamalog.fill_renamings()")
            _note(
                conn,
                "maintain:restored",
                summary.month,
                path,
                summary.row_count,
                summary.checksum,
                restored,
            )
    return Restored(str(path), summary.month, summary.row_count, restored)


def described(path: Path) -> str:
    """Return what the file says that it holds.  Raises LlamaLogError."""
    summary = archive.read(path)
    return (
        f"{path}: {summary.month}, {plural(summary.row_count, 'row')}, checksum {summary.checksum}"
    )


# -- a month ----------------------------------------------------------------------------------------------------------


def _archive(conn: Connection, month: Month, directory: Path | None) -> Archived:
    """Write, prove and remove the rows of one month, all in one transaction."""
    began = time.monotonic()
    columns = archive.columns(conn)
    path = _reserve(directory, month.month) if directory else None
    ((number,),) = rows(
        conn,
        "INSERT INTO llamalog.archived_months (month, partition, only_types, spared_types, file)"
        " VALUES (to_date(%s, 'YYYY-MM'), %s, %s, %s, %s) RETURNING id",
        [
            month.month,
            month.partition,
            month.only_types,
            month.spared_types,
            str(path) if path else None,
        ],
    )
    try:
        with archive.pinned(conn):
            count, checksum = archive.proof(conn, columns, month.rows)
            if path is not None:
                summary = archive.Summary(
                    month.month, month.only_types, month.spared_types, count, checksum, columns
                )
                part = _part(path)
                archive.write(conn, part, summary, month.rows)
                archive.load(conn, part, archive.read(part))
                archive.rename(part, path)
            removed = conn.execute(month.removal.encode()).rowcount
            conn.execute(
                "UPDATE llamalog.archived_months SET row_count = %s, removed_count = %s, checksum = %s,"
                " archived_at = clock_timestamp() WHERE id = %s",
                [count, removed, checksum, number],
            )
            _note(conn, "maintain:archived", month.month, path, count, checksum, removed)
    except BaseException:
        if not conn.closed:
            conn.cancel_safe()
            _tidy(conn)
        raise
    return Archived(
        month.month,
        str(path) if path else None,
        count,
        removed,
        count - removed,
        checksum,
        round(time.monotonic() - began, 1),
    )


def _within(month: str) -> str:
    """SQL of whether a row is of the month, with bounds that the planner knows."""
    begin = f"{month}-01 00:00+00"
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
    return (
        f"log.created_at >= '{begin}' AND log.created_at < '{year:04}-{number + 1:02}-01 00:00+00'"
    )


def _note(
    conn: Connection,
    operation: str,
    month: str,
    path: Path | None,
    row_count: int,
    checksum: str,
    changed: int,
) -> None:
    """Write into the log what was done to it."""
    metadata = {
        "month": month,
        "rows": row_count,
        "changed_rows": changed,
        "checksum": checksum,
        "file": str(path) if path else None,
    }
    conn.execute(
        "INSERT INTO llamalog.llama_logs (operation, category, triggered_by, metadata)"
        " VALUES (%s, 'UPDATED', 'llamalog', %s)",
        [operation, Jsonb(metadata)],
    )


def _compact(conn: Connection, lock_timeout: int) -> None:
    """Let partitions give back the room of the rows removed. Questions wait while one is written anew, writers do not."""
    waiting = rows(
        conn,
        "SELECT DISTINCT partition FROM llamalog.archived_months"
        " WHERE archived_at IS NOT NULL AND compacted_at IS NULL AND to_regclass(partition) IS NOT NULL"
        " ORDER BY partition",
    )
    for (partition,) in waiting:
        if not _compacted(conn, partition, lock_timeout):
            logger.warning("%s is being read: the next run gives its room back", partition)
            continue
        conn.execute(
            "UPDATE llamalog.archived_months SET compacted_at = clock_timestamp()"
            " WHERE partition = %s AND archived_at IS NOT NULL AND compacted_at IS NULL",
            [partition],
        )


#: Snapshots that may see rows removed from a partition: they would be written anew too. xmin is the transaction that removed.
#: Those of sessions in other databases see nothing of ours; a standby's session is in none.
_STILL_SEEN = """
    SELECT
    FROM llamalog.archived_months AS archived
    JOIN pg_stat_activity AS session
        ON age(session.backend_xmin) >= age(archived.xmin)
    WHERE archived.partition = %s
        AND archived.archived_at IS NOT NULL
        AND archived.compacted_at IS NULL
        AND session.pid <> pg_backend_pid()
        AND coalesce(session.datname, current_database()) = current_database()
"""


def _compacted(conn: Connection, partition: str, lock_timeout: int) -> bool:
    """Return whether the room of the removed rows is given back, in a few attempts."""
    if rows(conn, _STILL_SEEN, [partition]):
        return False
    for attempt in range(20):
        conn.execute("SELECT set_config('lock_timeout', %s, false)", [f"{lock_timeout}ms"])
        try:
            conn.execute(_compaction(partition).encode())
        except psycopg.errors.LockNotAvailable:
            time.sleep(min(0.05 * 1.5**attempt, 1))
        else:
            conn.execute(f"ANALYZE {partition}".encode())
            return True
        finally:
            conn.execute("RESET lock_timeout")
    return False


def _compaction(partition: str) -> str:
    # DEFAULT is written to: a rewrite would let writers wait
    how = "" if partition == "llamalog.llama_logs_default" else "(FULL) "
    return f"VACUUM {how}{partition}"


# -- files ------------------------------------------------------------------------------------------------------------


def require_directory(directory: Path | None) -> None:
    """Raise unless files can be written there, and pyarrow is installed."""
    if directory is None:
        return
    archive.arrow_modules()
    probe = directory / f".llamalog-{os.getpid()}"
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise Misuse(
            f"cannot write to {directory}: {os.strerror(error.errno or 0)}",
            hint="Name a directory that is there and may be written to: --archive DIR",
        ) from None


def _reserve(directory: Path, month: str) -> Path:
    """Return the path of a new file for the month, now empty: llama_logs_2024_01.parquet, or with -2 where that is taken."""
    for number in itertools.count(1):
        path = directory.resolve() / (
            f"llama_logs_{month.replace('-', '_')}{f'-{number}' if number > 1 else ''}.parquet"
        )
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            continue
        return path
    raise AssertionError  # pragma: no cover, since count() has no end, which mypy cannot know


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _tidy(conn: Connection) -> None:
    """Forget what an interrupted run had begun, and remove its files: the rows are all in the log."""
    for number, file in rows(
        conn, "SELECT id, file FROM llamalog.archived_months WHERE archived_at IS NULL"
    ):
        if file is not None and _NAME.fullmatch(Path(file).name):
            for path in (Path(file), _part(Path(file))):
                path.unlink(missing_ok=True)
        conn.execute("DELETE FROM llamalog.archived_months WHERE id = %s", [number])


# -- who may ----------------------------------------------------------------------------------------------------------


@contextmanager
def _alone(conn: Connection) -> Iterator[None]:
    """Keep llamalog.maintain() waiting meanwhile: it would lock the log, and wait for us with every writer behind it."""
    refuse_pooler(conn, "locks and settings")
    if rows(conn, f"SELECT pg_try_advisory_lock({_LOCK})") != [(True,)]:
        raise LlamaLogError(
            "another llamalog maintain is at work in this database",
            sqlstate="55006",
            hint="Wait for it, or stop it: what it has done stays done.",
        )
    conn.execute("SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute(f"SELECT pg_advisory_unlock({_LOCK})".encode())
            conn.execute("RESET statement_timeout; RESET idle_in_transaction_session_timeout")


def _require_owner(conn: Connection) -> None:
    owner = owner_of_the_log(conn)
    if first_row(conn, "SELECT pg_has_role(%s, 'USAGE')", [owner]) != (True,):
        raise LlamaLogError(
            f"only {owner}, which owns the log, may take rows out of it or bring them back",
            sqlstate="42501",
            hint="Connect as the role that installed llamalog.",
        )


def _refuse_adopted(conn: Connection) -> None:
    shape = state.adopted(conn)
    if shape is not None:
        raise Misuse(
            f"the log is {shape.shown}, the application's own, and has no months",
            hint="Its rows are the application's to keep or to delete.",
        )


def _spelled(conn: Connection, entity_type: str) -> str:
    try:
        ((name,),) = rows(conn, "SELECT llamalog.entity_type(%s)", [entity_type])
    except psycopg.Error as error:
        raise translate(error) from error
    return str(name)
