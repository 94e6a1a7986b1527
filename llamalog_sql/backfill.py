"""Numbers and classifies the old rows of an adopted log, and infers how entities came that were there before the watch.

Short batches, each its own transaction: beside writers, and after an interruption it goes on with what is left. No column
of the application's is touched; what backfill corrects stands in ours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from llamalog_sql import legacy
from llamalog_sql.connection import Connection, as_owner, first_row, rows
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.legacy import FIRST_SEQ, Shape
from llamalog_sql.render import ident, literal

logger = logging.getLogger(__name__)

#: How long a batch may take, seconds: whoever wants to write one of its rows waits as long.
_BATCH_SECONDS = 0.025

#: Dead rows are cleared away each time that this part of the table has been rewritten.
_VACUUM_SHARE = 0.12

_INFERRED = '{"llamalog": {"inferred": true}}'


@dataclass(frozen=True)
class Pace:
    """How hard to work.  batch_size: most rows of a batch.  sleep: seconds between batches.  lock_timeout: milliseconds."""

    batch_size: int = 10_000
    sleep: float = 0.0
    lock_timeout: int = 100


@dataclass
class Result:
    """What backfill did, or would do.

    categories: rows by category.  corrected_categories: rows where the application's own says otherwise.
    unknown_operations: rows by operation that no rule knows; they count as UPDATED.  orphans: parent jobs that are no jobs
    of the log's; they are roots.  in_circles: jobs that cause each other, or follow from such; they have no root.
    self_parents, several_parents: jobs.  corrected_roots: rows whose is_root_job was otherwise.  inferred: rows by type.
    """

    rows: int = 0
    seconds: float = 0.0
    rows_per_second: int = 0
    categories: dict[str, int] = field(default_factory=dict)
    corrected_categories: int = 0
    unknown_operations: dict[str, int] = field(default_factory=dict)
    orphans: int = 0
    in_circles: int = 0
    self_parents: int = 0
    several_parents: int = 0
    corrected_roots: int = 0
    inferred: dict[str, int] = field(default_factory=dict)


def backfill(
    conn: Connection,
    *,
    pace: Pace | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Result:
    """Number and classify the old rows, and infer the creations that nobody saw; return what was done.

    progress: called now and then with rows done, rows in all, and seconds.

    Raises LlamaLogError (55006) while another backfill runs.
    """
    pace = pace or Pace()
    _alone(conn)
    try:
        conn.execute("SELECT set_config('lock_timeout', %s, false)", [f"{pace.lock_timeout}ms"])
        result = _prepared(conn)
        shape = legacy.adopted(conn)
        if shape is not None:
            _number(conn, shape, result, pace, progress or (lambda *_: None))
            _forbid_nulls(conn, shape)
        result.inferred = _infer(conn, pace)
    finally:
        _cleared(conn)
        conn.execute("SELECT pg_advisory_unlock(hashtextextended('llamalog.backfill', 0))")
        conn.execute("RESET lock_timeout")
    return result


def preview(conn: Connection) -> Result:
    """Return the distribution that `backfill` would write; changes nothing but temporary tables."""
    _alone(conn)
    try:
        result = _prepared(conn)
        with conn.transaction(force_rollback=True):
            result.inferred = {kind: len(_candidates(conn, kind)) for kind in _types(conn)}
        result.inferred = {kind: count for kind, count in result.inferred.items() if count}
    finally:
        _cleared(conn)
        conn.execute("SELECT pg_advisory_unlock(hashtextextended('llamalog.backfill', 0))")
    return result


def _alone(conn: Connection) -> None:
    got = first_row(conn, "SELECT pg_try_advisory_lock(hashtextextended('llamalog.backfill', 0))")
    if got != (True,):
        raise LlamaLogError(
            "another llamalog backfill is at work in this database",
            sqlstate="55006",
            hint="Wait for it, or stop it: what it has done stays done.",
        )


def _cleared(conn: Connection) -> None:
    conn.execute(
        "DROP TABLE IF EXISTS pg_temp.backfill_rows, pg_temp.backfill_jobs, pg_temp.backfill_operations"
    )


# -- before the first batch -------------------------------------------------------------------------------------------


def _prepared(conn: Connection) -> Result:
    """Decide, in temporary tables, the place of each row, the category of each operation, the root of each job."""
    shape = legacy.adopted(conn)
    result = Result()
    _cleared(conn)
    if shape is None:
        return result
    read = {
        name: shape.part(name).reading("log")
        for name in ("created_at", "operation", "status", "category", "is_root_job")
    }
    with conn.transaction():
        # whatever the day's rows are, in the order of their time
        conn.execute(
            "CREATE TEMPORARY TABLE backfill_rows AS SELECT"
            f" row_number() OVER (ORDER BY {read['created_at']}, log.{ident(shape.key)})"
            f" + coalesce((SELECT max(seq) FROM {shape.table} WHERE seq BETWEEN 1 AND {FIRST_SEQ - 1}), 0) AS seq,"
            f" log.{ident(shape.key)} AS id FROM {shape.table} AS log WHERE log.seq IS NULL".encode()
        )
        conn.execute("ALTER TABLE pg_temp.backfill_rows ADD PRIMARY KEY (seq)")
        theirs = shape.part("category").legacy
        own = theirs.reading("log", "category") if theirs else "NULL::text"
        conn.execute(
            "CREATE TEMPORARY TABLE backfill_operations AS SELECT found.*,"
            " llamalog.known_category(found.operation, found.status) AS known FROM ("
            f"SELECT {read['operation']} AS operation, {read['status']} AS status, {own} AS own, count(*) AS rows"
            f" FROM {shape.table} AS log WHERE log.seq IS NULL GROUP BY 1, 2, 3) AS found".encode()
        )
        conn.execute("CREATE INDEX ON pg_temp.backfill_operations (operation, status)")
        _find_roots(conn)
    for operation, own_category, known, count in rows(
        conn, "SELECT operation, own, known, rows FROM pg_temp.backfill_operations"
    ):
        category = known or own_category or "UPDATED"
        result.categories[category] = result.categories.get(category, 0) + count
        if known is None:
            seen = result.unknown_operations.get(operation, 0)
            result.unknown_operations[operation] = seen + count
        elif own_category is not None and own_category != known:
            result.corrected_categories += count
    ((result.orphans, result.in_circles, result.self_parents, result.several_parents),) = rows(
        conn,
        "SELECT count(DISTINCT job.parent_job_id) FILTER (WHERE job.is_orphan),"
        " count(*) FILTER (WHERE job.root_job_id IS NULL), count(*) FILTER (WHERE job.is_own_parent),"
        " count(*) FILTER (WHERE job.parents > 1) FROM pg_temp.backfill_jobs AS job",
    )
    ((result.rows,),) = rows(conn, "SELECT count(*) FROM pg_temp.backfill_rows")
    return result


def _find_roots(conn: Connection) -> None:
    """Walk from the first jobs down, over distinct jobs: what is not reached stands in a circle, or below one."""
    conn.execute(
        """
        CREATE TEMPORARY TABLE backfill_jobs AS
        WITH RECURSIVE
        pair AS (
            SELECT log.job_id, log.parent_job_id, min(log.created_at) AS first_at
            FROM llamalog.log AS log
            WHERE log.job_id IS NOT NULL
            GROUP BY log.job_id, log.parent_job_id
            UNION ALL
            SELECT job.job_id, job.parent_job_id, min(job.recorded_at)
            FROM llamalog.jobs AS job
            GROUP BY job.job_id, job.parent_job_id
        ),
        -- of several parents the first
        job AS MATERIALIZED (
            SELECT DISTINCT ON (pair.job_id)
                pair.job_id,
                nullif(pair.parent_job_id, pair.job_id) AS parent_job_id,
                bool_or(pair.parent_job_id = pair.job_id) OVER same_job AS is_own_parent
            FROM pair
            WINDOW same_job AS (PARTITION BY pair.job_id)
            ORDER BY pair.job_id, nullif(pair.parent_job_id, pair.job_id) IS NULL, pair.first_at, pair.parent_job_id
        ),
        parents AS (
            SELECT pair.job_id, count(DISTINCT pair.parent_job_id) FILTER (WHERE pair.parent_job_id <> pair.job_id) AS count
            FROM pair
            GROUP BY pair.job_id
        ),
        placed AS MATERIALIZED (
            SELECT
                job.*,
                parents.count AS parents,
                job.parent_job_id IS NOT NULL AND above.job_id IS NULL AS is_orphan
            FROM job
            JOIN parents
                ON parents.job_id = job.job_id
            LEFT JOIN job AS above
                ON above.job_id = job.parent_job_id
        ),
        walk (job_id, root_job_id) AS (
            SELECT placed.job_id, coalesce(placed.parent_job_id, placed.job_id)
            FROM placed
            WHERE placed.parent_job_id IS NULL
                OR placed.is_orphan
            UNION ALL
            SELECT placed.job_id, walk.root_job_id
            FROM walk
            JOIN placed
                ON placed.parent_job_id = walk.job_id
            WHERE NOT placed.is_orphan
        )
        SELECT placed.*, walk.root_job_id
        FROM placed
        LEFT JOIN walk
            ON walk.job_id = placed.job_id
        """
    )
    conn.execute("ALTER TABLE pg_temp.backfill_jobs ADD PRIMARY KEY (job_id)")
    conn.execute("ANALYZE pg_temp.backfill_jobs")


# -- the batches ------------------------------------------------------------------------------------------------------


def _number(
    conn: Connection,
    shape: Shape,
    result: Result,
    pace: Pace,
    progress: Callable[[int, int, float], None],
) -> None:
    """Write place, category, root and whole of each old row."""
    bounds = first_row(conn, "SELECT min(seq), max(seq) FROM pg_temp.backfill_rows")
    if bounds is None or bounds[0] is None:
        return
    # the plan is the same for each batch, and never by the whole table
    conn.execute("SELECT set_config('enable_seqscan', 'off', false)")
    try:
        update = _update(conn, shape)
        first, last = bounds
        began = said = time.monotonic()
        size, since_vacuum, at = min(1000, pace.batch_size), 0, first - 1
        while at < last:
            upto = min(at + size, last)
            started = time.monotonic()
            batch = update.replace("@after@", str(at)).replace("@upto@", str(upto))
            corrected = _patiently(conn, batch)
            took = time.monotonic() - started
            result.corrected_roots += corrected
            since_vacuum += upto - at
            at = upto
            size = max(50, min(pace.batch_size, int(size * min(2.0, _BATCH_SECONDS / took))))
            if since_vacuum > max(20_000, result.rows * _VACUUM_SHARE):
                conn.execute(f"VACUUM (TRUNCATE false) {shape.table}".encode())
                since_vacuum = 0
            if time.monotonic() - said > 1 or at == last:
                said = time.monotonic()
                progress(at - first + 1, result.rows, said - began)
            if pace.sleep:
                time.sleep(pace.sleep)
    finally:
        conn.execute("RESET enable_seqscan")
    conn.execute(f"VACUUM (TRUNCATE false, ANALYZE) {shape.table}".encode())
    result.seconds = round(time.monotonic() - began, 3)
    result.rows_per_second = round(result.rows / max(result.seconds, 0.001))


def _patiently(conn: Connection, update: str) -> int:
    """Run a batch, again where a writer was in its way; return how many is_root_job were corrected."""
    attempt = 0
    while True:
        try:
            ((corrected,),) = rows(conn, update)
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
        ):
            attempt += 1
            if attempt > 200:
                raise
            time.sleep(min(0.01 * attempt, 0.5))
        else:
            return int(corrected)


def _update(conn: Connection, shape: Shape) -> str:
    """Return the SQL of a batch; @after@ and @upto@ stand for the seq before it and its last."""
    read = {part.name: part.reading("log") for part in shape.parts}
    category = (
        f"(SELECT coalesce(rule.known, 'UPDATED') FROM pg_temp.backfill_operations AS rule"
        f" WHERE rule.operation = {read['operation']} AND rule.status IS NOT DISTINCT FROM {read['status']} LIMIT 1)"
    )
    theirs = shape.part("category").legacy
    ours = ident(shape.part("category").ours or "category")
    sets = [
        "seq = old.seq",
        f"{ours} = nullif({category.replace('coalesce(rule.known, ' + literal('UPDATED') + ')', 'rule.known')},"
        f" {theirs.reading('log', 'category')})"
        if theirs
        else f"{ours} = {category}",
    ]
    # a row without a job of its own has the root of the job that caused it
    root = (
        "(SELECT job.root_job_id FROM pg_temp.backfill_jobs AS job"
        f" WHERE job.job_id = coalesce({shape.part('job_id').reading('log')}, {shape.part('parent_job_id').reading('log')}))"
    )
    lone = (
        f"CASE WHEN {read['job_id']} IS NULL AND NOT EXISTS (SELECT FROM pg_temp.backfill_jobs AS job"
        f" WHERE job.job_id = {read['parent_job_id']}) THEN {read['parent_job_id']} END"
    )
    their_root = shape.part("root_job_id").legacy
    root_column = ident(shape.part("root_job_id").ours or "root_job_id")
    sets.append(
        f"{root_column} = nullif(coalesce({root}, {lone}), {their_root.reading('log', 'root_job_id')})"
        if their_root
        else f"{root_column} = coalesce({root}, {lone})"
    )
    heads = [
        str(kind)
        for (kind,) in rows(
            conn,
            "SELECT DISTINCT head_type FROM llamalog.source_paths WHERE makes = 'many' AND head_type IS NOT NULL",
        )
    ]
    flag = shape.part("is_root_job")
    wanted = (
        f"CASE WHEN {category} = 'CREATED' AND {read['entity_type']} = ANY ({literal(heads)}::text[]) THEN true"
        f" WHEN {category} IN ('CREATED', 'LINKED') AND {read['parent_job_id']} IS NOT NULL THEN false END"
    )
    flag_column = ident(flag.ours or "is_root_job")
    sets.append(
        f"{flag_column} = nullif({wanted}, {flag.legacy.reading('log', 'is_root_job')})"
        if flag.legacy
        else f"{flag_column} = coalesce({wanted}, false)"
    )
    related = _related(conn, shape)
    if related is not None:
        kind, whole = related
        sets += [
            f"{ident(shape.part('related_type').written)} = CASE WHEN {whole} IS NOT NULL THEN {kind} END",
            f"{ident(shape.part('related_id').written)} = {whole}",
        ]
    return (
        f"WITH done AS (UPDATE {shape.table} AS log SET {', '.join(sets)}"
        f" FROM (SELECT seq, id FROM pg_temp.backfill_rows WHERE seq > @after@ AND seq <= @upto@ ORDER BY seq) AS old"
        f" WHERE log.{ident(shape.key)} = old.id AND log.seq IS NULL RETURNING log.{flag_column} AS corrected)"
        " SELECT count(done.corrected) FROM done"
    )


def _related(conn: Connection, shape: Shape) -> tuple[str, str] | None:
    """Return the SQL of type and id of the whole that a row's part belongs to: by the row itself, else by the live row."""
    entity_type = shape.part("entity_type").reading("log")
    entity_id = shape.part("entity_id").reading("log")
    kinds, wholes = [], []
    for part, whole, live in rows(
        conn,
        "SELECT watch.entity_type, watch.related_type,"
        " format('(SELECT %s FROM %s AS live WHERE %s)',"
        " llamalog.key_expression(llamalog.table_of(watch), watch.related_columns, 'live'),"
        " llamalog.table_of(watch)::regclass,"
        f" llamalog.key_match(llamalog.table_of(watch), watch.key_columns, 'live', {literal(entity_id)}))"
        " FROM llamalog.watches AS watch WHERE NOT watch.is_link AND watch.related_type IS NOT NULL"
        " AND watch.unwatched_at IS NULL AND llamalog.table_of(watch) IS NOT NULL AND cardinality(watch.key_columns) = 1"
        " AND watch.key_types[1] IN ('uuid', 'text')",
    ):
        kinds.append(f"WHEN {literal(part)} THEN {literal(whole)}")
        column = shape.entity_ids.get(whole)
        known = f"log.{ident(column)}::text, " if column else ""
        wholes.append(f"WHEN {literal(part)} THEN coalesce({known}{live})")
    if not kinds:
        return None
    return (
        f"CASE {entity_type} {' '.join(kinds)} END",
        f"CASE {entity_type} {' '.join(wholes)} END",
    )


def _forbid_nulls(conn: Connection, shape: Shape) -> None:
    """Let seq, and a category of ours, be null no more: by a check that is validated beside writers, then dropped."""
    columns = ["seq"]
    if shape.part("category").legacy is None:
        columns.append(shape.part("category").written)
    for column in columns:
        state = first_row(
            conn,
            "SELECT attnotnull FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            [shape.table, column],
        )
        left = first_row(conn, f"SELECT 1 FROM {shape.table} WHERE {ident(column)} IS NULL LIMIT 1")
        if state == (True,) or left is not None:
            continue
        name = ident(f"{column}_is_known")
        for statement in (
            f"ALTER TABLE {shape.table} DROP CONSTRAINT IF EXISTS {name}",
            f"ALTER TABLE {shape.table} ADD CONSTRAINT {name} CHECK ({ident(column)} IS NOT NULL) NOT VALID",
            f"ALTER TABLE {shape.table} VALIDATE CONSTRAINT {name}",
            # instant, by the check; which would cost every write, and has done its work
            f"ALTER TABLE {shape.table} ALTER COLUMN {ident(column)} SET NOT NULL",
            f"ALTER TABLE {shape.table} DROP CONSTRAINT {name}",
        ):
            _until_locked(conn, statement)


def _until_locked(conn: Connection, statement: str) -> None:
    for attempt in range(200):
        try:
            conn.execute(statement.encode())
        except psycopg.errors.LockNotAvailable:
            time.sleep(min(0.01 * (attempt + 1), 0.5))
        else:
            return
    conn.execute(statement.encode())


# -- what nobody saw --------------------------------------------------------------------------------------------------


def _types(conn: Connection) -> list[str]:
    return [
        str(kind)
        for (kind,) in rows(
            conn,
            "SELECT watch.entity_type FROM llamalog.watches AS watch WHERE NOT watch.is_link"
            " AND watch.unwatched_at IS NULL AND llamalog.table_of(watch) IS NOT NULL"
            " ORDER BY watch.related_type IS NOT NULL, watch.entity_type",
        )
    ]


def _candidates(conn: Connection, kind: str) -> list[Any]:
    return rows(conn, f"SELECT 1 FROM ({_unseen(conn, kind)}) AS unseen")


def _unseen(conn: Connection, kind: str) -> str:
    """Return the SQL of the live entities of a type whose creation nothing in the log tells."""
    ((query,),) = rows(conn, "SELECT llamalog.unseen_query(%s)", [kind])
    return str(query)


def _infer(conn: Connection, pace: Pace) -> dict[str, int]:
    """Write one creation for each entity that was there before it was watched; return how many by type."""
    result: dict[str, int] = {}
    overriding = "" if legacy.adopted(conn) else " OVERRIDING SYSTEM VALUE"
    for kind in _types(conn):
        with conn.transaction(), as_owner(conn):
            conn.execute(
                f"CREATE TEMPORARY TABLE backfill_unseen AS SELECT unseen.*, row_number() OVER (ORDER BY unseen.created_at DESC,"
                f" unseen.entity_id DESC) AS rank FROM ({_unseen(conn, kind)}) AS unseen".encode()
            )
            conn.execute("ALTER TABLE pg_temp.backfill_unseen ADD PRIMARY KEY (rank)")
        ((count, lowest),) = rows(
            conn,
            "SELECT (SELECT count(*) FROM pg_temp.backfill_unseen), least((SELECT min(seq) FROM llamalog.log), 1)",
        )
        at = 0
        while at < count:
            # the newest first, each before the one after it: an interruption leaves no gap between them
            with conn.transaction(), as_owner(conn):
                conn.execute(
                    f"INSERT INTO llamalog.llama_logs (id, entity_type, entity_id, related_type, related_id, operation,"
                    " category, status, source, sources, reason, user_id, created_at, metadata, is_root_job)"
                    f"{overriding} SELECT %s - rank, entity_type, entity_id, related_type, related_id,"
                    " lower(entity_type) || ':created:unknown', 'CREATED', 'SUCCESS', 'unknown', sources, reason,"
                    " user_id, created_at, metadata, false FROM pg_temp.backfill_unseen"
                    " WHERE rank > %s AND rank <= %s ORDER BY rank".encode(),
                    [lowest, at, at + pace.batch_size],
                )
            at += pace.batch_size
            if pace.sleep:
                time.sleep(pace.sleep)
        conn.execute("DROP TABLE pg_temp.backfill_unseen")
        if count:
            result[kind] = count
    return result
