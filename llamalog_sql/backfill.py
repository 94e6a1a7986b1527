"""Numbers and classifies the old rows of an adopted log, and infers how entities came that were there before the watch.

Short batches, each its own transaction: beside writers, and after an interruption it goes on with what is left. No column
of the application's is touched; what backfill corrects stands in ours.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import psycopg

from llamalog_sql.adoption import as_owner as as_owner_of_table
from llamalog_sql.adoption import indexes, state
from llamalog_sql.adoption.lens import FIRST_SEQ
from llamalog_sql.adoption.shape import Shape
from llamalog_sql.connection import (
    Connection,
    as_owner,
    first_row,
    own_path,
    owner_of_the_log,
    refuse_pooler,
    rows,
)
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.render import IMAGE_SETTINGS, ident, literal

logger = logging.getLogger(__name__)

#: How long a batch may take, seconds: whoever wants to write one of its rows waits as long.
_BATCH_SECONDS = 0.025

#: The rows are taken stretch by stretch, each in rounds: the first takes so many of _PARTS, every other one. What the first
#: leaves behind in a page is room in which the rows of the others are rewritten, where they stand, and no index notices.
_STRETCH = 32_768
_PARTS = 32
_FIRST_PARTS = 6

_T = TypeVar("_T")

#: The keys by which a part is looked up, and what a text must be like to be one.
_KEYS = {
    "text": "",
    "uuid": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "smallint": "^-?[0-9]{1,4}$",
    "integer": "^-?[0-9]{1,9}$",
    "bigint": "^-?[0-9]{1,18}$",
}


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
    unknown_operations: rows by operation that no rule knows; they count as what the application calls them, else as UPDATED.  orphans: parent jobs that are no jobs
    of the log's; they are roots.  in_circles: jobs that cause each other, or follow from such; they have no root.
    self_parents, several_parents: jobs.  corrected_roots: rows whose is_root_job was otherwise.
    judged_again: rows of operations that a rule knows by now.  inferred: rows by type.
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
    judged_again: int = 0
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
    with _alone(conn), own_path(conn):
        conn.execute("SELECT set_config('lock_timeout', %s, false)", [f"{pace.lock_timeout}ms"])
        result = _prepared(conn)
        shape = state.adopted(conn)
        if shape is not None:
            _number(conn, shape, result, pace, progress or (lambda *_: None))
            _judge_again(conn, shape, result)
            _forbid_nulls(conn, shape)
        result.inferred = _infer(conn, pace)
    return result


def preview(conn: Connection) -> Result:
    """Return the distribution that `backfill` would write; changes nothing but temporary tables."""
    with _alone(conn), own_path(conn):
        result = _prepared(conn)
        shape = state.adopted(conn)
        if shape is not None:
            result.judged_again = _misjudged(conn, shape)
            decided = (
                f"SELECT count(decided.is_root_job) FROM ({_decisions(conn, shape)}) AS decided"
            )
            ((result.corrected_roots,),) = rows(conn, decided)
        for kind in _types(conn):
            ((count,),) = rows(conn, f"SELECT count(*) FROM ({_unseen(conn, kind)}) AS unseen")
            if count:
                result.inferred[kind] = count
    return result


def script(conn: Connection) -> list[str]:
    """Return the SQL of a batch, and of an inference, as `backfill` runs them; changes nothing."""
    shape = state.adopted(conn)
    batches = [_update(shape, "stretch = 0 AND round = 0 AND seq > 0", 1000)] if shape else []
    decisions = [f"INSERT INTO llamalog.backfill_rows {_decisions(conn, shape)}"] if shape else []
    return [*decisions, *batches, *(_unseen(conn, kind) for kind in _types(conn))]


@contextmanager
def _alone(conn: Connection) -> Iterator[None]:
    refuse_pooler(conn, "locks and settings")
    got = first_row(conn, "SELECT pg_try_advisory_lock(hashtextextended('llamalog.backfill', 0))")
    if got != (True,):
        raise LlamaLogError(
            "another llamalog backfill is at work in this database",
            sqlstate="55006",
            hint="Wait for it, or stop it: what it has done stays done.",
        )
    try:
        yield
    finally:
        if not conn.closed:
            _cleared(conn)
            conn.execute("SELECT pg_advisory_unlock(hashtextextended('llamalog.backfill', 0))")
            conn.execute("RESET lock_timeout")


def _cleared(conn: Connection) -> None:
    conn.execute(
        "DROP TABLE IF EXISTS pg_temp.backfill_jobs, pg_temp.backfill_operations, pg_temp.backfill_unseen,"
        " pg_temp.backfill_judged"
    )
    as_owner_of_table.forget(conn)


# -- before the first batch -------------------------------------------------------------------------------------------


def _prepared(conn: Connection) -> Result:
    """Decide, in temporary tables, the place of each row, the category of each operation, the root of each job."""
    shape = state.adopted(conn)
    result = Result()
    _cleared(conn)
    if shape is None:
        return result
    read = {name: shape.part(name).reading("log") for name in ("operation", "status")}
    with conn.transaction():
        theirs = shape.part("category").legacy
        own = theirs.reading("log", "category") if theirs else "NULL::text"
        conn.execute(
            "CREATE TEMPORARY TABLE backfill_operations AS SELECT found.*,"
            " llamalog.known_category(found.operation, found.status) AS known FROM ("
            f"SELECT {read['operation']} AS operation, {read['status']} AS status, {own} AS own, count(*) AS rows"
            f" FROM {shape.table} AS log WHERE log.seq IS NULL GROUP BY 1, 2, 3) AS found".encode()
        )
        conn.execute("ANALYZE pg_temp.backfill_operations")
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
    result.rows = sum(result.categories.values())
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
    if result.rows:
        _write(conn, shape, result, pace, progress)
    elif not _is_decided(conn):
        return
    with _unhurried(conn):
        conn.execute(f"VACUUM (TRUNCATE false, ANALYZE) {shape.table}".encode())
        indexes.build(conn, shape)
    with conn.transaction(), as_owner(conn):
        conn.execute("DROP TABLE llamalog.backfill_rows")


def _write(
    conn: Connection,
    shape: Shape,
    result: Result,
    pace: Pace,
    progress: Callable[[int, int, float], None],
) -> None:
    with _unhurried(conn):
        for name in indexes.REBUILT:
            index = f"{ident(shape.schema_name)}.llama_logs_{name}_idx"
            conn.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {index}".encode())
    _decide(conn, shape)
    total = first_row(conn, "SELECT count(*) FROM llamalog.backfill_rows")
    assert total is not None
    began = said = time.monotonic()
    done, owner = 0, as_owner_of_table.owner_of(conn, shape)
    # rows of first rounds leave their pages, which takes several times as long
    sizes = {True: min(500, pace.batch_size), False: min(500, pace.batch_size)}
    # the plan is the same for each batch, and never by the whole table
    conn.execute("SELECT set_config('enable_seqscan', 'off', false)")
    try:
        for stretch, turn in rows(
            conn,
            "SELECT DISTINCT stretch, round FROM llamalog.backfill_rows ORDER BY stretch, round",
        ):
            at, is_last = 0, False
            while not is_last:
                size, started = sizes[turn == 0], time.monotonic()
                batch = _update(
                    shape, f"stretch = {stretch} AND round = {turn} AND seq > {at}", size
                )
                found, last, written, corrected = _patiently(
                    as_owner_of_table.counted, conn, owner, batch
                )
                took = time.monotonic() - started
                is_last, at, done = found < size, last or at, done + found
                result.corrected_roots += corrected
                if found >= 50:
                    fits = min(2 * size, int(found * _BATCH_SECONDS / took))
                    # the end of a round says how slow it was, not how fast it could be
                    fits = min(size, fits) if is_last and found < size / 2 else fits
                    sizes[turn == 0] = min(pace.batch_size, max(50, fits))
                if time.monotonic() - said > 1:
                    said = time.monotonic()
                    progress(done, total[0], said - began)
                # what an interrupted run has written is passed by quickly
                if pace.sleep and written:
                    time.sleep(pace.sleep)
    finally:
        conn.execute("RESET enable_seqscan")
    result.seconds = round(time.monotonic() - began, 3)
    result.rows_per_second = round(result.rows / max(result.seconds, 0.001))
    progress(done, total[0], result.seconds)


#: Pages of the table in a transaction that judges again.
_PAGES = 50


def _judge_again(conn: Connection, shape: Shape, result: Result) -> None:
    """Give the application's rows the category that the rules give them by now."""
    if not _misjudged(conn, shape):
        return
    owner = as_owner_of_table.owner_of(conn, shape)
    if owner not in {name for (name,) in rows(conn, "SELECT current_user")}:
        conn.execute(f"GRANT SELECT ON pg_temp.backfill_judged TO {ident(owner)}".encode())
    read = _read_for_judging(shape)
    ours = ident(shape.part("category").written)
    ((pages,),) = rows(conn, "SELECT pg_relation_size(%s::regclass) / 8192", [shape.table])
    for page in range(0, pages, _PAGES):
        batch = (
            f"WITH done AS (UPDATE {shape.table} AS log SET {ours} = judged.wanted"
            f" FROM pg_temp.backfill_judged AS judged"
            f" WHERE log.ctid >= '({page},0)' AND log.ctid < '({page + _PAGES},0)' AND {_judged_by_rules(shape)}"
            f" AND {' AND '.join(_same(f'judged.{name}', value) for name, value in read.items())}"
            " RETURNING 1) SELECT count(*), NULL::bigint, NULL::bigint, NULL::bigint FROM done"
        )
        done, *_ = _patiently(as_owner_of_table.counted, conn, owner, batch)
        result.judged_again += int(done)


def _misjudged(conn: Connection, shape: Shape) -> int:
    """Put down, by what it follows from, each category that is not what the rules say; return of how many rows."""
    read = _read_for_judging(shape)
    conn.execute("DROP TABLE IF EXISTS pg_temp.backfill_judged")
    conn.execute(
        "CREATE TEMPORARY TABLE backfill_judged AS SELECT * FROM (SELECT found.*, nullif(coalesce("
        "llamalog.known_category(found.operation, found.status), found.own, 'UPDATED'), found.own) AS wanted FROM ("
        f"SELECT {', '.join(f'{value} AS {name}' for name, value in read.items())}, count(*) AS rows"
        f" FROM {shape.table} AS log WHERE {_judged_by_rules(shape)} GROUP BY 1, 2, 3, 4) AS found) AS judged"
        " WHERE wanted IS DISTINCT FROM ours".encode()
    )
    ((count,),) = rows(conn, "SELECT coalesce(sum(rows), 0)::bigint FROM pg_temp.backfill_judged")
    return int(count)


def _read_for_judging(shape: Shape) -> dict[str, str]:
    """Return the SQL of what a category follows from, of what the application says, and of what we say."""
    category = shape.part("category")
    return {
        **{name: shape.part(name).reading("log") for name in ("operation", "status")},
        "own": category.legacy.reading("log", "category") if category.legacy else "NULL::text",
        "ours": f"log.{ident(category.written)}",
    }


def _judged_by_rules(shape: Shape) -> str:
    """Return the condition of rows that the application wrote, which have their place."""
    instant = shape.part("created_at").ours
    assert instant is not None
    return f"log.seq > 0 AND log.{ident(instant)} IS NULL AND log.{ident(shape.part('op').written)} IS NULL"


def _same(one: str, other: str) -> str:
    """Return the SQL of an equality that a hash join knows, of texts that may be null."""
    return f"coalesce({one}, '') = coalesce({other}, '')"


def _patiently(action: Callable[..., _T], *arguments: Any) -> _T:
    """Do it, again where a writer was in its way."""
    for attempt in range(200):
        try:
            return action(*arguments)
        except (
            psycopg.errors.LockNotAvailable,
            psycopg.errors.DeadlockDetected,
            psycopg.errors.SerializationFailure,
        ):
            time.sleep(min(0.01 * (attempt + 1), 0.5))
    return action(*arguments)


@contextmanager
def _unhurried(conn: Connection) -> Iterator[None]:
    """Wait as long as it takes: for what keeps nobody from reading or writing meanwhile."""
    ((before,),) = rows(conn, "SHOW lock_timeout")
    conn.execute("SET lock_timeout = 0")
    yield
    conn.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def _is_decided(conn: Connection) -> bool:
    return bool(rows(conn, "SELECT 1 WHERE to_regclass('llamalog.backfill_rows') IS NOT NULL"))


def _decide(conn: Connection, shape: Shape) -> None:
    """Put down, in a table that outlives an interruption, what becomes of each old row."""
    found = state.current(conn)
    assert found is not None
    if _is_decided(conn) and rows(
        conn, "SELECT 1 FROM llamalog.backfill_rows WHERE adoption_id = %s LIMIT 1", [found.id]
    ):
        return
    with conn.transaction():
        with as_owner(conn):
            # of an adoption that was undone
            conn.execute("DROP TABLE IF EXISTS llamalog.backfill_rows")
            conn.execute(
                "CREATE TABLE llamalog.backfill_rows"
                f" (seq bigint, id {shape.legacy_column(shape.key).type_name}, category text, judged text,"
                " root_job_id text, is_root_job boolean, related_type text, related_id text, stretch integer,"
                f" round smallint, adoption_id integer DEFAULT {found.id})".encode()
            )
            conn.execute(
                "COMMENT ON TABLE llamalog.backfill_rows IS"
                " 'What llamalog backfill is about to write; dropped when it is done.'"
            )
            conn.execute("GRANT SELECT, INSERT ON llamalog.backfill_rows TO SESSION_USER")
            owner = ident(as_owner_of_table.owner_of(conn, shape))
            conn.execute(f"GRANT USAGE ON SCHEMA llamalog TO {owner}".encode())
            conn.execute(f"GRANT SELECT ON llamalog.backfill_rows TO {owner}".encode())
        conn.execute(f"INSERT INTO llamalog.backfill_rows {_decisions(conn, shape)}".encode())
        with as_owner(conn):
            conn.execute("ALTER TABLE llamalog.backfill_rows ADD PRIMARY KEY (stretch, round, seq)")
            conn.execute("ANALYZE llamalog.backfill_rows")


def _decisions(conn: Connection, shape: Shape) -> str:
    """Return the SQL that makes backfill_rows: of each old row its place, and what is to be written beside it."""
    read = {part.name: part.reading("log") for part in shape.parts}
    heads = [
        str(kind)
        for (kind,) in rows(
            conn,
            "SELECT DISTINCT head_type FROM llamalog.source_paths WHERE makes = 'many' AND head_type IS NOT NULL",
        )
    ]
    theirs = {name: shape.part(name).legacy for name in ("category", "root_job_id", "is_root_job")}
    category = "coalesce(rule.known, rule.own, 'UPDATED')"
    # a row without a job of its own has the root of the job that caused it, which may be no job of the log's
    root = (
        f"CASE WHEN job.job_id IS NOT NULL THEN job.root_job_id"
        f" WHEN {read['job_id']} IS NULL THEN {read['parent_job_id']} END"
    )
    flag = (
        f"CASE WHEN {category} = 'CREATED' AND {read['entity_type']} = ANY ({literal(heads)}::text[]) THEN true"
        f" WHEN {category} IN ('CREATED', 'LINKED') AND {read['parent_job_id']} IS NOT NULL THEN false END"
    )

    def beside(value: str, name: str) -> str:
        """Return what is to stand in our column: nothing where the application's says it already."""
        column = theirs[name]
        return f"nullif({value}, {column.reading('log', name)})" if column else value

    # what corrects the application's category holds as long as what it follows from
    judged = (
        f"CASE WHEN {beside(category, 'category')} IS NOT NULL THEN {_grounds(shape)} END"
        if theirs["category"]
        else "NULL"
    )
    kind, whole = _related(conn, shape)
    return (
        "SELECT decided.seq, decided.id, decided.category, decided.judged, decided.root_job_id, decided.is_root_job,"
        " CASE WHEN decided.related_id IS NOT NULL THEN decided.related_type END, decided.related_id,"
        f" decided.seq / {_STRETCH}, greatest(decided.seq % {_PARTS} - {_FIRST_PARTS - 1}, 0) FROM (SELECT"
        f" row_number() OVER (ORDER BY {read['created_at']}, log.{ident(shape.key)})"
        f" + coalesce((SELECT max(seq) FROM {shape.table} WHERE seq BETWEEN 1 AND {FIRST_SEQ - 1}), 0) AS seq,"
        f" log.{ident(shape.key)} AS id,"
        f" {beside(category, 'category')} AS category,"
        f" {judged} AS judged,"
        f" {beside(root, 'root_job_id')} AS root_job_id,"
        f" {beside(flag, 'is_root_job') if theirs['is_root_job'] else f'nullif({flag}, false)'} AS is_root_job,"
        f" {kind} AS related_type, {whole} AS related_id"
        f" FROM {shape.table} AS log"
        f" LEFT JOIN pg_temp.backfill_operations AS rule ON {_same('rule.operation', read['operation'])}"
        f" AND {_same('rule.status', read['status'])}"
        + (
            f" AND {_same('rule.own', theirs['category'].reading('log', 'category'))}"
            if theirs["category"]
            else ""
        )
        + " LEFT JOIN pg_temp.backfill_jobs AS job"
        f" ON job.job_id = coalesce({read['job_id']}, {read['parent_job_id']})"
        " WHERE log.seq IS NULL) AS decided"
    )


def _update(shape: Shape, which: str, size: int) -> str:
    """Return the SQL of a batch: the next of those rows, by seq."""
    written = {
        name: ident(shape.part(name).written)
        for name in ("category", "root_job_id", "is_root_job", "related_type", "related_id")
    }
    # what the application has changed meanwhile, its trigger has judged
    values = {name: f"coalesce(log.{column}, decided.{name})" for name, column in written.items()}
    values["category"] = (
        f"CASE WHEN decided.judged IS NULL OR decided.judged = {_grounds(shape)} THEN {values['category']}"
        f" ELSE log.{written['category']} END"
    )
    sets = ", ".join(f"{column} = {values[name]}" for name, column in written.items())
    return (
        f"WITH batch AS MATERIALIZED (SELECT * FROM llamalog.backfill_rows WHERE {which} ORDER BY seq LIMIT {size}),"
        f" done AS (UPDATE {shape.table} AS log SET seq = decided.seq, {sets} FROM batch AS decided"
        f" WHERE log.{ident(shape.key)} = decided.id AND log.seq IS NULL RETURNING decided.is_root_job AS corrected)"
        " SELECT (SELECT count(*) FROM batch), (SELECT max(batch.seq) FROM batch),"
        " (SELECT count(*) FROM done), (SELECT count(done.corrected) FROM done)"
    )


def _grounds(shape: Shape) -> str:
    """Return the SQL of what a category follows from."""
    return f"concat_ws(' ', {shape.part('operation').reading('log')}, {shape.part('status').reading('log')})"


def _related(conn: Connection, shape: Shape) -> tuple[str, str]:
    """Return the SQL of type and id of the whole that a row's part belongs to: by the row itself, else by the live row."""
    entity_type = shape.part("entity_type").reading("log")
    entity_id = shape.part("entity_id").reading("log")
    # the application has written the key as it is
    ids = " ".join(
        f"WHEN {literal(kind)} THEN {literal(f'(CASE WHEN {entity_id} ~ {literal(like)} THEN {entity_id} END)::{kind}')}"
        for kind, like in _KEYS.items()
    )
    kinds, wholes = [], []
    for part, whole, live in rows(
        conn,
        "SELECT watch.entity_type, watch.related_type,"
        " format('(SELECT %s FROM %s AS live WHERE live.%I = %s)',"
        " llamalog.key_expression(llamalog.table_of(watch), watch.related_columns, 'live'),"
        f" llamalog.table_of(watch)::regclass, watch.key_columns[1], CASE watch.key_types[1] {ids} END)"
        " FROM llamalog.watches AS watch WHERE NOT watch.is_link AND watch.related_type IS NOT NULL"
        " AND watch.unwatched_at IS NULL AND llamalog.table_of(watch) IS NOT NULL AND cardinality(watch.key_columns) = 1"
        f" AND watch.key_types[1] = ANY ({literal(list(_KEYS))})",
    ):
        kinds.append(f"WHEN {literal(part)} THEN {literal(whole)}")
        column = shape.entity_ids.get(whole)
        known = f"log.{ident(column)}::text, " if column else ""
        wholes.append(f"WHEN {literal(part)} THEN coalesce({known}{live})")
    if not kinds:
        return "NULL::text", "NULL::text"
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
        name = f"{column}_is_known"
        ((is_known, has_check),) = rows(
            conn,
            "SELECT attnotnull, EXISTS (SELECT FROM pg_constraint WHERE conrelid = attrelid AND conname = %s)"
            " FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
            [name, shape.table, column],
        )
        statements = []
        if has_check:
            statements.append(f"ALTER TABLE {shape.table} DROP CONSTRAINT {ident(name)}")
        if not is_known and not rows(
            conn, f"SELECT 1 FROM {shape.table} WHERE {ident(column)} IS NULL LIMIT 1"
        ):
            statements += [
                f"ALTER TABLE {shape.table} ADD CONSTRAINT {ident(name)} CHECK ({ident(column)} IS NOT NULL) NOT VALID",
                f"ALTER TABLE {shape.table} VALIDATE CONSTRAINT {ident(name)}",
                # instant, by the check; which would cost every write, and has done its work
                f"ALTER TABLE {shape.table} ALTER COLUMN {ident(column)} SET NOT NULL",
                f"ALTER TABLE {shape.table} DROP CONSTRAINT {ident(name)}",
            ]
        for statement in statements:
            _patiently(conn.execute, statement.encode())


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


def _unseen(conn: Connection, kind: str) -> str:
    """Return the SQL of the live entities of a type whose creation nothing in the log tells."""
    ((query,),) = rows(conn, "SELECT llamalog.unseen_query(%s)", [kind])
    return str(query)


def _infer(conn: Connection, pace: Pace) -> dict[str, int]:
    """Write one creation for each entity that was there before it was watched; return how many by type."""
    result: dict[str, int] = {}
    overriding = "" if state.adopted(conn) else " OVERRIDING SYSTEM VALUE"
    insert = (
        "INSERT INTO llamalog.llama_logs (id, entity_type, entity_id, related_type, related_id, operation,"
        " category, status, source, sources, reason, user_id, created_at, metadata, is_root_job)"
        f"{overriding} SELECT %s - rank, entity_type, entity_id, related_type, related_id,"
        " lower(entity_type) || ':created:unknown', 'CREATED', 'SUCCESS', 'unknown', sources, reason,"
        " user_id, created_at, metadata, false FROM pg_temp.backfill_unseen"
        " WHERE rank > %s AND rank <= %s ORDER BY rank"
    )
    find = (
        "CREATE TEMPORARY TABLE backfill_unseen AS SELECT unseen.*, row_number() OVER (ORDER BY unseen.created_at DESC,"
        " unseen.entity_id DESC) AS rank FROM ({}) AS unseen"
    )

    def as_its_owner(statement: str, parameters: list[int] | None = None) -> None:
        with conn.transaction(), as_owner(conn):
            for name, value in IMAGE_SETTINGS.items():
                # or keys are spelled otherwise than capture spells them
                conn.execute("SELECT set_config(%s, %s, true)", [name, value])
            conn.execute(statement.encode(), parameters)

    # a role that is only set, what the log's own checks call could leave
    log_owner = owner_of_the_log(conn)
    is_restricted = as_owner_of_table.is_needed(conn, log_owner)
    as_owner_of_table.forget(conn)
    for kind in _types(conn):
        _patiently(as_its_owner, find.format(_unseen(conn, kind)))
        as_its_owner("ALTER TABLE pg_temp.backfill_unseen ADD PRIMARY KEY (rank)")
        ((count, lowest),) = rows(
            conn,
            "SELECT (SELECT count(*) FROM pg_temp.backfill_unseen), least((SELECT min(seq) FROM llamalog.log), 0)",
        )
        for at in range(0, count, pace.batch_size):
            # the newest first, each before the one after it: an interruption leaves no gap between them
            batch = insert % (lowest, at, at + pace.batch_size)
            if is_restricted:
                counts = f"WITH done AS ({batch} RETURNING 1) SELECT count(*), 0::bigint, 0::bigint, 0::bigint FROM done"
                _patiently(as_owner_of_table.counted, conn, log_owner, counts)
            else:
                _patiently(as_its_owner, batch)
            if pace.sleep:
                time.sleep(pace.sleep)
        conn.execute("DROP TABLE pg_temp.backfill_unseen")
        if count:
            result[kind] = count
    return result
