"""The questions about jobs, sources and users: what caused what, and what it touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import class_row, tuple_row

from llamalog_sql.connection import Connection, ask, rows
from llamalog_sql.errors import translate


@dataclass(frozen=True)
class JobNode:
    """A job among its kin.  depth: 0 the one asked about, ancestors below.  categories: number of its own changes by category.

    started_at, ended_at: its first and last sign of life; None of a job of which only the name is known.
    """

    job_id: str
    parent_job_id: str | None
    depth: int
    source: str | None
    user_id: str | None
    triggered_by: str | None
    db_user: str | None
    started_at: datetime | None
    ended_at: datetime | None
    change_count: int
    failure_count: int
    categories: dict[str, int]


@dataclass(frozen=True)
class Impact:
    """What was touched of one type.  entity_type: a watched type or link type; None of changes about no entity.

    entity_count: entities, or links.  categories: number of changes by category.
    """

    entity_type: str | None
    entity_count: int
    change_count: int
    categories: dict[str, int]
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class ImpactEntity:
    """An entity or link that was touched.  touched_type: its type; of a link, entity and related are its ends.

    is_alive: None of a link, and where the caller may not read the table.  next_cursor: on the last of a page with more behind it.
    """

    touched_type: str
    entity_type: str
    entity_id: str
    label: str | None
    related_type: str | None
    related_id: str | None
    related_label: str | None
    is_alive: bool | None
    change_count: int
    categories: dict[str, int]
    first_at: datetime
    last_at: datetime
    next_cursor: str | None


@dataclass(frozen=True)
class Criteria:
    """Whose impact is asked for; what is given narrows it down.  start_date, end_date: from, and before.

    job_id: with whatever it caused.  source, user_id: as the changes name them.
    """

    job_id: str | None = None
    source: str | None = None
    user_id: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None

    def parameters(self) -> list[Any]:
        return [self.job_id, self.source, self.user_id, self.start_date, self.end_date]


def job(conn: Connection, job_id: str) -> list[JobNode]:
    """Return the ancestors of a job, the job, and its descendants, by depth and start.

    Raises UnknownJob (LL017).
    Source: sql/functions/job.sql
    """
    return ask(conn, JobNode, "SELECT * FROM llamalog.job(%s)", [job_id])


def require(conn: Connection, job_id: str) -> None:
    """Raise UnknownJob (LL017) for a job that never was.

    Source: sql/functions/check_job.sql
    """
    try:
        rows(conn, "SELECT llamalog.check_job(%s)", [job_id])
    except psycopg.Error as error:
        raise translate(error) from error


def impact(conn: Connection, criteria: Criteria) -> list[Impact]:
    """Return what was touched, a row for each type, the most changed first.

    Without job and time it reads the whole log.

    Raises UnknownJob (LL017), Misuse (22023) for no criterion, or a start after the end.
    Source: sql/functions/impact.sql
    """
    return ask(
        conn,
        Impact,
        "SELECT * FROM llamalog.impact(%s, %s, %s, %s, %s)",
        criteria.parameters(),
    )


def impact_entities(
    conn: Connection, criteria: Criteria, *, limit: int = 50, cursor: str | None = None
) -> Iterator[ImpactEntity]:
    """Yield the entities and links that impact() counts, by type and id, as the server gives them.

    limit: rows of a page, at least 1; memory does not grow with it.  cursor: next_cursor of the page before, with the
    same criteria.

    Raises what impact() does, and BadCursor (LL006).
    Source: sql/functions/impact_entities.sql
    """
    try:
        # a cursor of the server lives in a transaction
        with (
            conn.transaction(),
            conn.cursor("llamalog_impact", row_factory=class_row(ImpactEntity)) as found,
        ):
            found.execute(
                "SELECT * FROM llamalog.impact_entities(%s, %s, %s, %s, %s, %s::integer, %s)",
                [*criteria.parameters(), limit, cursor],
            )
            yield from found
    except psycopg.Error as error:
        raise translate(error) from error


def archived_before(conn: Connection) -> datetime | None:
    """Return the instant before which changes are archived, None where none is.

    Source: sql/functions/archived_before.sql
    """
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT llamalog.archived_before()").fetchone()
    return row[0] if row else None
