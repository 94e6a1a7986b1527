"""Taking changes back: what it would do and what stands in the way, and doing it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import psycopg
from psycopg import sql

from llamalog_sql.connection import Connection, ask, rows
from llamalog_sql.errors import translate

Winner = Literal["theirs", "ours"]


@dataclass(frozen=True)
class Target:
    """What is to be reverted: one change, or one job with its descendants, or one entity to an instant."""

    change: int | None = None
    job_id: str | None = None
    entity_type: str | None = None
    entity_id: str | None = None
    to_at: datetime | None = None


@dataclass(frozen=True)
class Step:
    """A write of a revert (update, insert, delete), in its turn; or what stands in its way, whose turn is None.

    In the way are conflict, reference, hidden, masked, column and lost; is_refused: nothing is written because of it.
    before, after: images; of an update the changed fields, of a reference those that refer, else the row.  seq, job_id, user_id: of the change in the way.
    """

    turn: int | None
    action: str
    entity_type: str
    entity_id: str
    related_id: str | None
    field: str | None
    before: Any
    after: Any
    is_refused: bool
    detail: str | None
    seq: int | None
    job_id: str | None
    user_id: str | None
    found: str | None
    found_after: str | None
    statement: str | None


@dataclass(frozen=True)
class Plan:
    """What a revert would do.  planned: the snapshot that it saw, so that what comes later counts as a later writer's."""

    target: Target
    steps: list[Step]
    planned: str
    wins: Winner | None
    is_partial: bool

    @property
    def writes(self) -> list[Step]:
        return [step for step in self.steps if step.turn is not None]

    @property
    def obstacles(self) -> list[Step]:
        return [step for step in self.steps if step.turn is None]

    @property
    def is_refused(self) -> bool:
        return any(step.is_refused for step in self.steps)


def plan(
    conn: Connection,
    target: Target,
    *,
    wins: Winner | None = None,
    is_partial: bool = False,
) -> Plan:
    """Return what reverting would write, in order, and what stands in the way; nothing is changed or locked.

    wins: whether later writers keep what they set (theirs) or the revert does (ours); None: where that makes a
    difference, it is refused.  is_partial: leave what the log does not have, redacted values and dropped columns.

    Raises UnknownChange (LL018), UnknownJob (LL017), CannotRevert (LL019), NotKnown (LL016), NotWatched (LL002).
    Source: sql/functions/revert_plan.sql
    """
    ((planned,),) = rows(conn, "SELECT pg_current_snapshot()::text")
    steps = ask(
        conn,
        Step,
        "SELECT * FROM llamalog.revert_plan(%s, %s, %s, %s, %s, %s, %s, %s::pg_snapshot)",
        _arguments(target, wins, is_partial, planned),
    )
    return Plan(target, steps, planned, wins, is_partial)


def refuse(conn: Connection, planned: Plan) -> None:
    """Raise what stands in the way of the plan, as revert would.

    Raises RevertConflict (LL020), RevertReferences (LL021), RevertUnseen (LL028), RevertIncomplete (LL022).
    Source: sql/functions/refuse_revert.sql
    """
    if not planned.is_refused:
        return
    try:
        rows(
            conn,
            "SELECT llamalog.refuse_revert(ARRAY(SELECT step FROM llamalog.revert_plan("
            "%s, %s, %s, %s, %s, %s, %s, %s::pg_snapshot) AS step))",
            _arguments(planned.target, planned.wins, planned.is_partial, planned.planned),
        )
    except psycopg.Error as error:
        raise translate(error) from error


def revert(
    conn: Connection, planned: Plan, *, user_id: str | None = None, reason: str | None = None
) -> str | None:
    """Do what was planned, in one transaction; return the id of the job that did it, None when there was nothing to do.

    What others have committed since the plan was made is kept: it is a conflict, as in the plan.

    Raises what plan does, and RevertConflict (LL020), RevertReferences (LL021), RevertUnseen (LL028),
    RevertIncomplete (LL022), RevertHindered (LL023), RevertTaken (LL026), and whatever the tables refuse.
    Source: sql/functions/revert.sql
    """
    try:
        with conn.transaction():
            ((job_id,),) = rows(conn, _call(planned, user_id, reason))
    except psycopg.Error as error:
        raise translate(error) from error
    return None if job_id is None else str(job_id)


def labels(conn: Connection, steps: Sequence[Step]) -> dict[tuple[str, str], str]:
    """Return the names that people know the entities by, of those that have one.

    Source: sql/functions/labels.sql
    """
    ids: dict[str, list[str]] = {}
    for step in steps:
        if step.related_id is None:
            ids.setdefault(step.entity_type, []).append(step.entity_id)
    return {
        (entity_type, entity_id): label
        for entity_type, some in ids.items()
        for entity_id, label in rows(
            conn,
            "SELECT entity_id, label FROM llamalog.labels(%s, %s::text[])",
            [entity_type, some],
        )
        if label is not None
    }


def script(
    planned: Plan, *, user_id: str | None = None, reason: str | None = None
) -> Iterator[str]:
    """Yield the SQL that does it, and as comments the statements that this comes to."""
    yield _call(planned, user_id, reason).as_string(None)
    for step in planned.writes:
        yield "\n".join(f"-- {line}" for line in f"{step.statement};".splitlines())


def _call(planned: Plan, user_id: str | None, reason: str | None) -> sql.Composed:
    given = {
        **dict(zip(_NAMES, _values(planned.target), strict=True)),
        "wins": planned.wins,
        "is_partial": planned.is_partial or None,
        "planned": planned.planned,
        "user_id": user_id,
        "reason": reason,
    }
    return sql.SQL("SELECT llamalog.revert({})").format(
        sql.SQL(", ").join(
            sql.SQL("{} => {}").format(sql.SQL(name), sql.Literal(value))
            for name, value in given.items()
            if value is not None
        )
    )


_NAMES = ("change", "job_id", "entity_type", "entity_id", "to_at")


def _values(target: Target) -> list[Any]:
    return [target.change, target.job_id, target.entity_type, target.entity_id, target.to_at]


def _arguments(
    target: Target, wins: Winner | None, is_partial: bool, planned: str | None
) -> list[Any]:
    return [*_values(target), wins, is_partial, planned]
