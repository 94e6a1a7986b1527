"""Reports: one self-contained page of HTML, for people who have no psql.

gather: what a page shows, read by the questions. layout: where it stands. page: the page itself, from templates/.
"""

from __future__ import annotations

from datetime import UTC, datetime

from llamalog_sql.connection import Connection
from llamalog_sql.report import gather, page

__all__ = ["entity", "job", "log"]


def entity(conn: Connection, entity_type: str, entity_id: str) -> str:
    """Return the page of one entity, named by its id or title: story, timeline, jobs, field history, blame.

    The connection must not be in a transaction: all that the page shows is read from one snapshot.

    Raises UnknownEntityType (LL003), UnknownEntity (LL004), AmbiguousTitle (LL005).
    """
    with gather.one_snapshot(conn):
        found = gather.entity(conn, entity_type, entity_id)
    return page.entity(found, datetime.now(UTC))


def job(conn: Connection, job_id: str) -> str:
    """Return the page of a job: what caused it, what it caused, and everything that they touched.

    The connection must not be in a transaction.  Raises UnknownJob (LL017).
    """
    with gather.one_snapshot(conn):
        found = gather.job(conn, job_id)
    return page.job(found, datetime.now(UTC))


def log(conn: Connection, since: datetime) -> str:
    """Return the page of the whole log from an instant until now: activity, failures, what needs a person.

    The connection must not be in a transaction.  Raises Misuse (22023) when it is not yet.
    """
    with gather.one_snapshot(conn):
        found = gather.log(conn, since)
    return page.log(found, datetime.now(UTC))
