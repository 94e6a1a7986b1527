"""Rows of the log, for an export: all of them in their order, or those of one story."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, tuple_row
from psycopg.types.json import set_json_loads

from llamalog_sql.connection import Connection, exact_json, first_row, rows
from llamalog_sql.errors import LlamaLogError, translate
from llamalog_sql.jobs import require
from llamalog_sql.queries import Change
from llamalog_sql.tailing import Filter

#: Rows fetched at a time.
_BATCH = 2000


@dataclass(frozen=True)
class Job:
    """A job as far as it is known.  started_at: None where neither a record nor a row of it says."""

    job_id: str
    parent_job_id: str | None
    source: str | None
    user_id: str | None
    triggered_by: str | None
    started_at: datetime | None


def log(
    conn: Connection,
    wanted: Filter,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    after: int | None = None,
) -> Iterator[list[Change]]:
    """Yield the rows of the log in batches by seq, as one snapshot sees them; memory is that of a batch.

    since, until: from, and before.  after: only rows of a higher seq.

    Raises UnknownEntityType (LL003), UnknownJob (LL017), Misuse (22023).
    """
    if wanted.job_id is not None:
        require(conn, wanted.job_id)
    with _translated():
        rows(conn, "SELECT llamalog.check_span(%s, %s)", [since, until])
        spelled = first_row(
            conn,
            "SELECT CASE WHEN %s::text IS NOT NULL THEN llamalog.entity_type(%s) END,"
            " llamalog.checked_categories(%s::text[])",
            [wanted.entity_type, wanted.entity_type, list(wanted.categories or []) or None],
        )
    assert spelled is not None
    query = (
        "SELECT log.* FROM llamalog.log AS log"
        " WHERE llamalog.is_wanted(log, %s, NULL, %s::text[], %s, %s, %s, %s, NULL)"
    )
    parameters: list[Any] = [
        *spelled,
        wanted.status,
        wanted.source,
        wanted.user_id,
        wanted.job_id,
    ]
    for condition, value in (
        ("log.created_at >= %s", since),
        ("log.created_at < %s", until),
        ("log.seq > %s", after),
    ):
        if value is not None:
            query += f" AND {condition}"
            parameters.append(value)
    yield from _stream(conn, f"{query} ORDER BY log.seq", parameters)


def of_entity(conn: Connection, entity_type: str, entity_id: str) -> list[Change]:
    """Return the changes of an entity's chain by seq.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/chain_changes.sql
    """
    query = (
        "SELECT * FROM llamalog.chain_changes(llamalog.entity_type(%s), llamalog.entity_id(llamalog.entity_type(%s), %s))"
        " ORDER BY seq, id"
    )
    found = _stream(conn, query, [entity_type, entity_type, entity_id])
    return [change for batch in found for change in batch]


def of_job(conn: Connection, job_id: str) -> list[Change]:
    """Return the changes of a job, and of the jobs that it caused, by seq.

    Raises UnknownJob (LL017), and LlamaLogError (P0002) where the job has written nothing.
    Source: sql/functions/job_changes.sql
    """
    require(conn, job_id)
    query = "SELECT * FROM llamalog.job_changes(%s) ORDER BY seq, id"
    found = [change for batch in _stream(conn, query, [job_id]) for change in batch]
    if not found:
        raise LlamaLogError(
            f'no change of a job "{job_id}" is recorded',
            sqlstate="P0002",
            hint=f"It is known, but wrote nothing: see llamalog job {job_id}",
        )
    return found


def jobs_of(changes: Iterable[Change]) -> list[str]:
    """Return the jobs that made these changes, the one that wrote first before what it caused."""
    makers = (job_of(change) for change in sorted(changes, key=lambda change: change.seq))
    return list(dict.fromkeys(job for job in makers if job))


def jobs_since(conn: Connection, since: datetime) -> Iterator[str]:
    """Yield the jobs that wrote from that time on, by id; memory is that of a batch.

    Raises Misuse (22023) for a time in the future.
    """
    query = (
        "SELECT DISTINCT coalesce(nullif(log.job_id, ''), log.parent_job_id) FROM llamalog.log AS log"
        " WHERE log.created_at >= %s AND coalesce(log.job_id, log.parent_job_id) <> '' ORDER BY 1"
    )
    with (
        _translated(),
        conn.transaction(),
        conn.cursor("llamalog_export_jobs", row_factory=tuple_row) as cursor,
    ):
        rows(conn, "SELECT llamalog.check_span(%s, NULL)", [since])
        cursor.execute(query, [since])
        while batch := cursor.fetchmany(_BATCH):
            for (job_id,) in batch:
                yield job_id


def of_jobs(conn: Connection, job_ids: list[str]) -> Iterator[Change]:
    """Yield all that these jobs made, without images, job by job in their order; memory is that of a batch.

    Source: sql/functions/changes_of_jobs.sql
    """
    columns = ", ".join(
        f"NULL::jsonb AS {field.name}"
        if field.name in {"before", "after", "metadata"}
        else f"change.{field.name}"
        for field in fields(Change)
    )
    query = (
        f"SELECT {columns} FROM llamalog.changes_of_jobs(%s::text[]) AS change"
        " JOIN unnest(%s::text[]) WITH ORDINALITY AS job (id, place)"
        " ON job.id = coalesce(nullif(change.job_id, ''), change.parent_job_id)"
        " ORDER BY job.place, change.seq, change.id"
    )
    for batch in _stream(conn, query, [job_ids, job_ids]):
        yield from batch


def jobs(conn: Connection, job_ids: list[str]) -> dict[str, Job]:
    """Return jobs with all their ancestors, by id.

    Source: sql/functions/job_ancestry.sql
    """
    found = rows(
        conn,
        "SELECT job_id, parent_job_id, source, user_id, triggered_by, started_at"
        " FROM llamalog.job_ancestry(%s::text[])",
        [job_ids],
    )
    return {row[0]: Job(*row) for row in found}


def job_of(change: Change) -> str | None:
    """Return the job that made a change; of a creation without one of its own, the one that caused it."""
    return change.job_id or change.parent_job_id or None


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


def _stream(conn: Connection, query: str, parameters: list[Any]) -> Iterator[list[Change]]:
    # a cursor on the server, which ends with its transaction
    with (
        _translated(),
        conn.transaction(),
        conn.cursor("llamalog_export", row_factory=class_row(Change)) as cursor,
    ):
        set_json_loads(exact_json, cursor)
        cursor.execute(query.encode(), parameters)
        while batch := cursor.fetchmany(_BATCH):
            yield batch
