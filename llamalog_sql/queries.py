"""The questions, as Python functions: each calls the SQL function of its name and returns what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import tuple_row
from psycopg.types.json import set_json_loads

from llamalog_sql.connection import Connection, ask, exact_json
from llamalog_sql.errors import translate


@dataclass(frozen=True)
class Change:
    """One row of llamalog.log.  seq: order of the writes.  before, after: images of the changed columns.

    Numbers with a point or an exponent are Decimal in images and metadata: every digit counts, also 1.0 and 1.00.
    """

    seq: int
    op: str | None
    entity_type: str | None
    entity_id: str | None
    operation: str
    category: str
    sources: list[str] | None
    status: str
    reason: str | None
    fields_enriched: list[str] | None
    data_quality_before: str | None
    data_quality_after: str | None
    error_message: str | None
    error_code: str | None
    retry_count: int
    duration_ms: int | None
    api_call_count: int
    metadata: Any
    job_id: str | None
    parent_job_id: str | None
    root_job_id: str | None
    is_root_job: bool
    triggered_by: str | None
    user_id: str | None
    created_at: datetime
    source: str | None
    before: Any
    after: Any
    related_type: str | None
    related_id: str | None
    link_type: str | None
    previous_id: str | None
    db_user: str | None
    txid: int | None
    transaction_at: datetime | None
    id: str


@dataclass(frozen=True)
class ChainRow:
    """One row of llamalog.chain(): a change, and where it stands among all of them."""

    seq: int
    created_at: datetime
    op: str | None
    entity_type: str | None
    entity_id: str | None
    related_type: str | None
    related_id: str | None
    link_type: str | None
    operation: str
    category: str
    status: str
    source: str | None
    sources: list[str] | None
    reason: str | None
    fields_enriched: list[str] | None
    data_quality_before: str | None
    data_quality_after: str | None
    duration_ms: int | None
    error_code: str | None
    error_message: str | None
    job_id: str | None
    parent_job_id: str | None
    root_job_id: str | None
    is_root_job: bool
    triggered_by: str | None
    user_id: str | None
    db_user: str | None
    before: Any
    after: Any
    metadata: Any
    total_count: int
    has_more: bool
    next_cursor: str


@dataclass(frozen=True)
class ChainPage:
    """A page of a chain.  logs: by created_at.  total_count: on all pages.  cursor: of the next page, else None."""

    logs: list[ChainRow]
    total_count: int
    cursor: str | None
    has_more: bool


@dataclass(frozen=True)
class TreeNode:
    """A node of a tree: a change, or a job without a change of its own (seq is None then).  depth: 0 at the top."""

    depth: int
    node: str
    parent_node: str | None
    job_id: str | None
    seq: int | None
    created_at: datetime | None
    category: str | None
    status: str | None
    entity_type: str | None
    entity_id: str | None
    label: str | None
    related_type: str | None
    related_id: str | None
    related_label: str | None
    link_type: str | None
    operation: str | None
    source: str | None
    user_id: str | None
    triggered_by: str | None
    detail: str | None


@dataclass(frozen=True)
class Sentence:
    """A step of a story.  created_at, seq: of the change it tells; None when nothing was recorded."""

    created_at: datetime | None
    sentence: str
    seq: int | None


@dataclass(frozen=True)
class Found:
    """An entity found by its label.

    entity_id: None where the caller may not read the table of that type: its living entities were not looked at.
    is_alive: whether its row still exists; None where it came back after it was deleted, and the caller may not read the table.
    """

    entity_type: str
    entity_id: str | None
    label: str | None
    is_alive: bool | None


@dataclass(frozen=True)
class Blame:
    """A field of a row, and the change that set its value; all None but field and value where no change in the log did.

    value: image.  job_id: of a creation without a job of its own, the one that caused it.
    """

    field: str
    value: Any
    seq: int | None
    created_at: datetime | None
    category: str | None
    source: str | None
    job_id: str | None
    user_id: str | None
    db_user: str | None


@dataclass(frozen=True)
class Difference:
    """A field that differs between two instants, or changes.  before, after: images.

    change: changed; created, deleted where there was no row at the first, the second; added, dropped: no such column.
    """

    field: str
    change: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Break:
    """Where two changes of a row do not meet: a write between them was not captured.

    field: None where the row itself came or went unseen.  after_seq: of the change that left left_value.
    found_seq: of the change that found another value; None for the row as it is now.
    """

    field: str | None
    after_seq: int
    left_value: Any
    found_seq: int | None
    found: Any


def history(conn: Connection, entity_type: str, entity_id: str, *, limit: int = 50) -> list[Change]:
    """Return the recorded changes of one entity, newest first.

    entity_type: a watched type, any case.  limit: most rows to return, at least 1.

    Raises UnknownEntityType (LL003); 22P02 for an id that cannot be one of that type.
    Source: sql/functions/history.sql
    """
    return ask(
        conn,
        Change,
        "SELECT * FROM llamalog.history(%s, %s, %s::integer)",
        [entity_type, entity_id, limit],
    )


def chain(
    conn: Connection,
    entity_type: str,
    entity_id: str,
    *,
    categories: Sequence[str] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    limit: int = 20,
    cursor: str | None = None,
) -> ChainPage:
    """Return a page of the story of one entity: it, its parts and links, and what the jobs about it caused.

    categories: only these.  start_date, end_date: from, and before.  limit: rows of a page, at least 1.
    cursor: of the page before; it holds for the same entity and filters only, and shows what the first page could see.

    Raises UnknownEntityType (LL003), BadCursor (LL006), Misuse (22023).
    Source: sql/functions/chain.sql
    """
    rows = ask(
        conn,
        ChainRow,
        "SELECT * FROM llamalog.chain(%s, %s, %s::text[], %s, %s, %s::integer, %s)",
        [
            entity_type,
            entity_id,
            list(categories) if categories else None,
            start_date,
            end_date,
            limit,
            cursor,
        ],
    )
    if not rows:
        return ChainPage([], 0, None, False)
    last = rows[-1]
    return ChainPage(
        rows, last.total_count, last.next_cursor if last.has_more else None, last.has_more
    )


def tree(conn: Connection, entity_type: str, entity_id: str) -> list[TreeNode]:
    """Return the same changes nested, parents before their children, siblings by time.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/tree.sql
    """
    return ask(conn, TreeNode, "SELECT * FROM llamalog.tree(%s, %s)", [entity_type, entity_id])


def why(conn: Connection, entity_type: str, entity_id: str) -> list[Sentence]:
    """Return the story of one entity in sentences, by time.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/why.sql
    """
    return ask(conn, Sentence, "SELECT * FROM llamalog.why(%s, %s)", [entity_type, entity_id])


def as_of(
    conn: Connection, entity_type: str, entity_id: str, at: datetime
) -> dict[str, Any] | None:
    """Return the row as it was at an instant, by column, values as images; None when it did not exist.

    Ignored, redacted and generated columns are absent, and those that came later.

    Raises NotKnown (LL016) for an instant before the table was watched, or before what is archived, and where the log
    lacks a change; Misuse (22023) for one in the future; UnknownEntityType (LL003).
    Source: sql/functions/as_of.sql
    """
    try:
        with conn.cursor(row_factory=tuple_row) as cursor:
            set_json_loads(exact_json, cursor)
            row = cursor.execute(
                "SELECT llamalog.as_of(%s, %s, %s)", [entity_type, entity_id, at]
            ).fetchone()
    except psycopg.Error as error:
        raise translate(error) from error
    return row[0] if row else None


def blame(conn: Connection, entity_type: str, entity_id: str) -> list[Blame]:
    """Return the fields of a row, or of a deleted one as it was last, each with the change that set its value.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/blame.sql
    """
    return ask(conn, Blame, "SELECT * FROM llamalog.blame(%s, %s)", [entity_type, entity_id])


def diff(
    conn: Connection, entity_type: str, entity_id: str, from_at: datetime, to_at: datetime
) -> list[Difference]:
    """Return the fields in which a row differs between two instants; none where it existed at neither.

    Raises what as_of does, and Misuse (22023) when from_at is after to_at.
    Source: sql/functions/diff.sql
    """
    return ask(
        conn,
        Difference,
        "SELECT * FROM llamalog.diff(%s, %s, %s, %s)",
        [entity_type, entity_id, from_at, to_at],
    )


def breaks(conn: Connection, entity_type: str, entity_id: str) -> list[Break]:
    """Return where the changes of a row do not meet, in the order of the log.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/breaks.sql
    """
    return ask(conn, Break, "SELECT * FROM llamalog.breaks(%s, %s)", [entity_type, entity_id])


def find(
    conn: Connection,
    text: str,
    *,
    entity_type: str | None = None,
    is_exact: bool = False,
    limit: int = 20,
) -> list[Found]:
    """Return entities whose label contains the text in any case, living ones first.

    is_exact: the text is the whole label.  A type whose table the caller may not read is told by a row without entity_id.

    Raises UnknownEntityType (LL003).
    Source: sql/functions/find.sql
    """
    return ask(
        conn,
        Found,
        "SELECT * FROM llamalog.find(%s, %s, %s, %s::integer)",
        [text, entity_type, is_exact, limit],
    )


def resolve(conn: Connection, entity_type: str, given: str) -> str:
    """Return the id of the entity of this id, or else of this title.

    Raises UnknownEntity (LL004), AmbiguousTitle (LL005), UnknownEntityType (LL003).
    Source: sql/functions/resolve.sql
    """
    try:
        with conn.cursor(row_factory=tuple_row) as cursor:
            row = cursor.execute("SELECT llamalog.resolve(%s, %s)", [entity_type, given]).fetchone()
    except psycopg.Error as error:
        raise translate(error) from error
    assert row is not None
    return str(row[0])


def log_begins_at(conn: Connection) -> datetime | None:
    """Return when the first change was logged that the log still has, None where it is empty.

    Source: sql/functions/log_begins_at.sql
    """
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute("SELECT llamalog.log_begins_at()").fetchone()
    return row[0] if row else None


def label(conn: Connection, entity_type: str, entity_id: str) -> str | None:
    """Return the name that people know an entity by, None when it has none or the caller may not read it.

    entity_id: any key that it has had.
    Source: sql/functions/labels.sql
    """
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(
            "SELECT known.label FROM llamalog.entity_type(%s) AS type"
            " CROSS JOIN LATERAL llamalog.labels(type, ARRAY[llamalog.last_key(type, %s)]) AS known",
            [entity_type, entity_id],
        ).fetchone()
    return row[0] if row else None


def detail_since(conn: Connection, entity_type: str, entity_id: str) -> datetime | None:
    """Return the instant before which changes of an entity are archived, None where none of them is.

    Source: sql/functions/detail_since.sql
    """
    with conn.cursor(row_factory=tuple_row) as cursor:
        row = cursor.execute(
            "SELECT llamalog.detail_since(llamalog.entity_type(%s), %s)", [entity_type, entity_id]
        ).fetchone()
    return row[0] if row else None
