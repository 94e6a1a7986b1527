"""What a report shows, read by the questions: bounded, and every value cut as it comes.

A page is read by people: of an entity with a hundred thousand changes it shows the first hundreds, and counts all. Rows are
streamed, so that large values are never in memory together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import class_row
from psycopg.types.json import set_json_loads

from llamalog_sql import attention, jobs, output, output_instants, pausing, queries
from llamalog_sql.connection import Connection, exact_json, first_row, rows
from llamalog_sql.errors import LlamaLogError, translate

Row = TypeVar("Row")

#: Most that a page holds of each.
STEPS, SENTENCES, JOBS, FIELD_CHANGES, FAILURES, FINDINGS, ENTITIES = (
    500,
    200,
    200,
    400,
    50,
    10,
    300,
)

#: Pauses that are told, the last ones.
PAUSES = 3

#: Characters of a value that are kept.
LENGTH = 300


@dataclass(frozen=True)
class Cut:
    """A stored text, no longer than LENGTH.  length: of the whole.  is_null: there was no value."""

    text: str
    length: int
    is_null: bool = False


def cut(value: Any, length: int = LENGTH) -> Cut:
    """Return an image or a text as a person reads it, cut."""
    if isinstance(value, dict) and "$json" in value:
        value = value["$json"]
        text = output.as_json(value)
    elif value is None:
        return Cut("nothing", 0, True)
    else:
        text = value if isinstance(value, str) else output.as_json(value)
    return Cut(text[:length], len(text))


@dataclass(frozen=True)
class Step:
    """A node of the timeline: a change, or a job without a change of its own (seq is None then).

    reason, error_message and the values of before and after (of an UPDATE, by field) are Cut, or None.
    """

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
    op: str | None
    sources: list[str] | None
    reason: Any
    fields_enriched: list[str] | None
    data_quality_before: str | None
    data_quality_after: str | None
    duration_ms: int | None
    api_call_count: int | None
    retry_count: int | None
    error_code: str | None
    error_message: Any
    db_user: str | None
    before: Any
    after: Any


@dataclass
class Job:
    """A job of the tree, and what it did.  depth: 0 at the top.  changes: how many of each (category, status)."""

    job_id: str
    depth: int
    parent: int | None
    source: str | None
    user_id: str | None
    started_at: datetime | None
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(frozen=True)
class FieldChange:
    """One change of one field."""

    created_at: datetime
    category: str
    status: str
    source: str | None
    by: str
    job_id: str | None
    before: Cut
    after: Cut


@dataclass(frozen=True)
class Entity:
    """All that the page of an entity shows.

    steps: parents before their children, siblings by time, the oldest first.  step_count, job_count, sentence_count: of all,
    shown or not.  changes_by_field: the newest first; is_whole says whether they are all.  blame: None where the caller may not
    read the row, blame_refused then says why.  pauses: the last of them, as they are told.
    """

    entity_type: str
    entity_id: str
    label: str | None
    is_alive: bool
    latest: queries.Change | None
    quality: str | None
    sentences: list[queries.Sentence]
    sentence_count: int
    steps: list[Step]
    step_count: int
    jobs: list[Job]
    job_count: int
    changes_by_field: dict[str, list[FieldChange]]
    is_whole: bool
    blame: list[queries.Blame] | None
    blame_refused: str | None
    break_count: int
    pauses: list[str]
    pause_count: int


@dataclass(frozen=True)
class JobReport:
    """All that the page of a job shows.

    own: the job itself.  kin: it and its kin, each behind the job that caused it.  job_count, change_count, failure_count: of
    the job and all that it caused, shown or not.  touched: a row for each type.  entities: the first of them; is_whole says
    whether they are all.
    """

    own: jobs.JobNode
    kin: list[Job]
    job_count: int
    change_count: int
    failure_count: int
    touched: list[jobs.Impact]
    entities: list[jobs.ImpactEntity]
    is_whole: bool
    failures: list[attention.Failure]


@dataclass(frozen=True)
class Count:
    """How many changes, and failures among them, fall under a name, in a period.  name: None where the change says none."""

    facet: str
    period: datetime | None
    name: str | None
    changes: int
    failures: int


@dataclass(frozen=True)
class Log:
    """All that the page of the log shows.  unit: day, week or month, what a period is.

    findings: the first of each rule; cut_rules says of which there are more.  unread: types whose tables may not be read.
    """

    since: datetime
    until: datetime
    database: str
    unit: str
    counts: list[Count]
    failures: list[attention.Failure]
    findings: list[attention.Finding]
    cut_rules: list[str]
    unread: list[str]
    unknown_count: int


@contextmanager
def one_snapshot(conn: Connection) -> Iterator[None]:
    """Let all questions of a page see the same log, in times of UTC whatever the session's zone, and write nothing."""
    if conn.info.transaction_status != TransactionStatus.IDLE:
        raise ValueError("the connection is in a transaction")
    before = conn.isolation_level, conn.read_only
    conn.isolation_level, conn.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    try:
        with conn.transaction():
            conn.execute("SET LOCAL TimeZone = 'UTC'")
            yield
    finally:
        conn.isolation_level, conn.read_only = before


def entity(conn: Connection, entity_type: str, entity_id: str) -> Entity:
    """Return what the page of an entity shows.

    Raises UnknownEntityType (LL003), UnknownEntity (LL004).
    """
    found = queries.resolve(conn, entity_type, entity_id)
    (spelled,) = rows(conn, "SELECT llamalog.entity_type(%s)", [entity_type])[0]
    key = {"type": spelled, "id": found}
    known = first_row(
        conn,
        "SELECT known.label, known.is_alive"
        " FROM llamalog.labels(%(type)s, ARRAY[llamalog.last_key(%(type)s, %(id)s)]) AS known",
        key,
    )
    label, is_alive = known or (None, False)
    steps, step_count, kept, job_count = _steps(conn, key)
    sentences, sentence_count = [], 0
    for sentence in _stream(
        conn, queries.Sentence, "SELECT * FROM llamalog.why(%(type)s, %(id)s)", key
    ):
        sentence_count += 1
        if sentence_count <= SENTENCES:
            # a title stands in every sentence, whatever its length
            short = cut(sentence.sentence, 1000)
            more = "…" * (short.length > len(short.text))
            sentences.append(queries.Sentence(sentence.created_at, short.text + more, sentence.seq))
    pauses = pausing.since(conn, spelled, sentences[0].created_at)
    latest, quality, changes_by_field, is_whole = _field_changes(conn, key)
    blame, blame_refused, break_count = None, None, 0
    try:
        # what is refused leaves the transaction as it was
        with conn.transaction():
            blame = queries.blame(conn, key["type"], key["id"])
            ((break_count,),) = rows(
                conn, "SELECT count(*) FROM llamalog.breaks(%(type)s, %(id)s)", key
            )
    except LlamaLogError as error:
        if error.sqlstate != "42501":
            raise
        blame_refused = str(error)
    return Entity(
        key["type"],
        key["id"],
        label,
        is_alive is not False,
        latest,
        quality,
        sentences,
        sentence_count,
        steps,
        step_count,
        kept,
        job_count,
        changes_by_field,
        is_whole,
        blame,
        blame_refused,
        break_count,
        [output_instants.pause(pause) for pause in pauses[-PAUSES:]],
        len(pauses),
    )


def _steps(conn: Connection, key: dict[str, str]) -> tuple[list[Step], int, list[Job], int]:
    """Return the first steps and how many there are, then likewise the jobs."""
    steps: list[Step] = []
    kept: list[Job] = []
    places: dict[str, int] = {}
    step_count = job_count = 0
    for step in _stream(
        conn,
        Step,
        """
        SELECT
            node.depth, node.node, node.parent_node, node.job_id, node.seq, node.created_at, node.category, node.status,
            node.entity_type, node.entity_id, left(node.label, 200) AS label, node.related_type, node.related_id,
            left(node.related_label, 200) AS related_label, node.link_type, node.operation, node.source, node.user_id,
            node.triggered_by, change.op, change.sources, change.reason, change.fields_enriched,
            change.data_quality_before, change.data_quality_after, change.duration_ms, change.api_call_count,
            change.retry_count, change.error_code, change.error_message, change.db_user, change.before, change.after
        FROM llamalog.tree(%(type)s, %(id)s) WITH ORDINALITY AS node
        LEFT JOIN llamalog.chain_changes(%(type)s, %(id)s) AS change
            ON change.seq = node.seq
            AND node.ordinality <= %(most)s
        ORDER BY node.ordinality
        """,
        {**key, "most": STEPS},
    ):
        step_count += step.seq is not None
        if len(steps) < STEPS:
            steps.append(_cut_step(step))
        if step.node.startswith("job "):
            job_count += 1
            if len(kept) < JOBS:
                parent = places.get(step.parent_node or "")
                depth = 0 if parent is None else kept[parent].depth + 1
                places[step.node] = len(kept)
                kept.append(
                    Job(str(step.job_id), depth, parent, step.source, step.user_id, step.created_at)
                )
        doer = step.node if step.node.startswith("job ") else step.parent_node
        if step.seq is not None and doer in places:
            kept[places[doer]].changes[step.category or "", step.status or ""] += 1
    return steps, step_count, kept, job_count


def _cut_step(step: Step) -> Step:
    """Return the step with short texts; of an UPDATE with its images, of other changes without."""
    is_update = step.op == "U"
    return replace(
        step,
        before=_cut_image(step.before) if is_update else None,
        after=_cut_image(step.after) if is_update else None,
        reason=None if step.reason is None else cut(step.reason),
        error_message=None if step.error_message is None else cut(step.error_message),
    )


def _cut_image(image: Any) -> dict[str, Cut] | None:
    return {name: cut(value) for name, value in image.items()} if isinstance(image, dict) else None


def _field_changes(
    conn: Connection, key: dict[str, str]
) -> tuple[queries.Change | None, str | None, dict[str, list[FieldChange]], bool]:
    """Return the latest change of the entity, its quality, its changes by field, and whether they are all."""
    latest: queries.Change | None = None
    quality: str | None = None
    by_field: dict[str, list[FieldChange]] = {}
    taken = 0
    for change in _stream(
        conn,
        queries.Change,
        "SELECT * FROM llamalog.history(%(type)s, %(id)s, %(most)s)",
        {**key, "most": FIELD_CHANGES + 1},
    ):
        if latest is None and change.link_type is None:
            latest = change
        quality = quality or change.data_quality_after
        if change.op != "U" or not isinstance(change.before, dict):
            continue
        after = change.after if isinstance(change.after, dict) else {}
        for name in sorted({*change.before, *after}):
            taken += 1
            if taken <= FIELD_CHANGES:
                by_field.setdefault(name, []).append(
                    FieldChange(
                        change.created_at,
                        change.category,
                        change.status,
                        change.source,
                        output.actor(change.user_id, change.db_user),
                        change.job_id,
                        cut(change.before.get(name)),
                        cut(after.get(name)),
                    )
                )
    return latest, quality, dict(sorted(by_field.items())), taken <= FIELD_CHANGES


def job(conn: Connection, job_id: str) -> JobReport:
    """Return what the page of a job shows.

    Raises UnknownJob (LL017).
    """
    own: jobs.JobNode
    kept: list[jobs.JobNode] = []
    job_count = change_count = failure_count = 0
    for node in _stream(conn, jobs.JobNode, "SELECT * FROM llamalog.job(%(id)s)", {"id": job_id}):
        # ancestors come first
        if node.depth >= 0:
            job_count += 1
            change_count += node.change_count
            failure_count += node.failure_count
        if node.depth == 0:
            own = node
        if len(kept) < JOBS or node.depth == 0:
            kept.append(node)
    criteria = jobs.Criteria(job_id=job_id)
    entities = list(jobs.impact_entities(conn, criteria, limit=ENTITIES))
    failures = _stream(
        conn,
        attention.Failure,
        """
        SELECT
            change.seq, change.created_at, change.entity_type, change.entity_id,
            (SELECT known.label FROM llamalog.labels(change.entity_type, ARRAY[change.entity_id]) AS known) AS label,
            change.operation, change.source, change.error_code, change.error_message, change.reason, change.retry_count,
            coalesce(change.job_id, change.parent_job_id) AS job_id, change.parent_job_id, change.root_job_id,
            change.user_id, llamalog.resolved_at(change) AS resolved_at
        FROM llamalog.job_changes(%(id)s) AS change
        WHERE change.category = 'FAILED'
        ORDER BY change.seq DESC
        LIMIT %(most)s
        """,
        {"id": job_id, "most": FAILURES},
    )
    return JobReport(
        own,
        _kin(kept),
        job_count,
        change_count,
        failure_count,
        jobs.impact(conn, criteria),
        entities,
        not entities or entities[-1].next_cursor is None,
        list(failures),
    )


def _kin(nodes: list[jobs.JobNode]) -> list[Job]:
    """Return jobs with each behind the one that caused it, and before the next one of that."""
    known = {node.job_id for node in nodes}
    below: dict[str | None, list[jobs.JobNode]] = {}
    for node in nodes:
        # what hangs below nothing that is shown, and the first of a circle, stands at the top
        is_top = node.parent_job_id not in known or node is nodes[0]
        below.setdefault(None if is_top else node.parent_job_id, []).append(node)
    placed: list[Job] = []
    left: list[tuple[jobs.JobNode, int | None]] = [(node, None) for node in below.get(None, [])]
    while left:
        node, parent = left.pop(0)
        made: Counter[tuple[str, str]] = Counter()
        for category, count in node.categories.items():
            made[category, "FAILED" if category == "FAILED" else "SUCCESS"] = count
        depth = 0 if parent is None else placed[parent].depth + 1
        placed.append(
            Job(node.job_id, depth, parent, node.source, node.user_id, node.started_at, made)
        )
        left[:0] = [(child, len(placed) - 1) for child in below.get(node.job_id, [])]
    return placed


def log(conn: Connection, since: datetime) -> Log:
    """Return what the page of the log shows from an instant until now.

    Raises Misuse (22023) when it is not yet.
    """
    until = datetime.now(UTC)
    days = (until - since).days
    unit = "day" if days <= 92 else "week" if days <= 730 else "month"
    interval = {"since": since, "until": until, "unit": unit, "most": FAILURES}
    counts = _stream(
        conn, Count, "SELECT * FROM llamalog.activity(%(since)s, %(until)s, %(unit)s)", interval
    )
    failures = _stream(
        conn,
        attention.Failure,
        "SELECT * FROM llamalog.recent_failures(NULL, NULL, %(until)s - %(since)s, false, %(most)s)",
        interval,
    )
    # one more tells whether there is more
    found = attention.attention(conn, limit=FINDINGS + 1)
    findings, cut_rules = attention.page(found, FINDINGS)
    unread = attention.unreadable_types(conn)
    ((database, unknown_count),) = rows(
        conn, "SELECT current_database(), (SELECT count(*) FROM llamalog.unknown_provenance)"
    )
    return Log(
        since,
        until,
        database,
        unit,
        list(counts),
        list(failures),
        findings,
        cut_rules,
        unread,
        unknown_count,
    )


def _stream(
    conn: Connection, kind: type[Row], query: str, parameters: dict[str, Any]
) -> Iterator[Row]:
    """Yield rows one by one, as they come."""
    try:
        with conn.cursor(row_factory=class_row(kind)) as cursor:
            set_json_loads(exact_json, cursor)
            yield from cursor.stream(query.encode(), parameters)
    except psycopg.Error as error:
        raise translate(error) from error
