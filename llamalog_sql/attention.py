"""What needs a person, and what failed: the questions, and how their answers read on a terminal."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from llamalog_sql.connection import Connection, ask, rows
from llamalog_sql.output import badge, clean, moment, plural

#: The kinds of rules, the gravest first.
RULES = ("no_parts", "failed", "value", "missing", "unknown_provenance")


@dataclass(frozen=True)
class Finding:
    """An entity that needs a person.  detail: what the rule says of it.  From since on: of the change that made it so.

    entity_id: None where the rule was not asked: it does not fit what is watched, or the caller may not read the parts.
    since: None where the log does not have that change.  because: the same change as the end of a sentence.
    """

    entity_type: str
    entity_id: str | None
    label: str | None
    rule: str
    detail: str
    since: datetime | None
    because: str | None
    seq: int | None
    change_type: str | None
    category: str | None
    source: str | None
    job_id: str | None
    root_job_id: str | None
    user_id: str | None

    def commands(self) -> Iterator[str]:
        """Yield what to type next: how it came to that, then what would take the change back."""
        if self.entity_id is None:
            return
        # an id like -3 is no option
        end_of_options = ["--"] if self.entity_id.startswith("-") else []
        yield shlex.join(["llamalog", "why", *end_of_options, self.entity_type, self.entity_id])
        if self.change_type not in {None, self.entity_type} and self.job_id is not None:
            # whatever took the last part took the others too
            yield shlex.join(["llamalog", "revert", "--job", self.job_id])
        elif self.rule in {"value", "missing"} and self.category not in {None, "CREATED"}:
            yield f"llamalog revert --change {self.seq}"


@dataclass(frozen=True)
class Rule:
    """A rule by which entities need a person.  id: in llamalog.attention_rules, None where the catalogue gives it.

    misfit: in what it does not fit what is watched, so that it is not asked; else None.
    """

    id: int | None
    entity_type: str
    rule: str
    part_type: str | None
    columns: list[str] | None
    bad_values: list[str] | None
    period: timedelta | None
    is_enabled: bool
    misfit: str | None

    def cells(self) -> list[str]:
        looked_at = [self.part_type or "", ", ".join(self.columns or [])]
        return [
            self.entity_type,
            self.rule,
            "".join(looked_at),
            ", ".join(self.bad_values or []),
            plural(self.period.days, "day") if self.period else "",
            "catalogue" if self.id is None else f"attention_rules {self.id}",
        ]


@dataclass(frozen=True)
class Failure:
    """A failed attempt.  resolved_at: when a later one of the same path succeeded, or the entity went; else None."""

    seq: int
    created_at: datetime
    entity_type: str | None
    entity_id: str | None
    label: str | None
    operation: str
    source: str | None
    error_code: str | None
    error_message: str | None
    reason: str | None
    retry_count: int
    job_id: str | None
    parent_job_id: str | None
    root_job_id: str | None
    user_id: str | None
    resolved_at: datetime | None


def attention(
    conn: Connection, entity_type: str | None = None, *, rule: str | None = None, limit: int = 50
) -> list[Finding]:
    """Return the entities of a type, or of all that may be read, that need a person; the gravest rules first.

    rule: only this kind.  limit: most of each rule.

    Raises UnknownEntityType (LL003), NotWatched (LL002) for a type that is no longer watched, Misuse (22023).
    Source: sql/functions/attention.sql
    """
    return ask(
        conn,
        Finding,
        "SELECT * FROM llamalog.attention(%s, %s, %s::integer)",
        [entity_type, rule, limit],
    )


def unreadable_types(conn: Connection) -> list[str]:
    """Return the types whose tables the caller may not read: attention leaves them out.

    Source: sql/functions/unreadable_types.sql
    """
    ((types,),) = rows(conn, "SELECT llamalog.unreadable_types()")
    return list(types)


def rules(conn: Connection, entity_type: str | None = None) -> list[Rule]:
    """Return the rules in force.

    Source: sql/functions/rules_in_force.sql, sql/functions/misfit.sql
    """
    return ask(
        conn,
        Rule,
        "SELECT known.*, llamalog.misfit(known) AS misfit FROM llamalog.rules_in_force(%s) AS known",
        [entity_type],
    )


def failures(
    conn: Connection,
    entity_type: str | None = None,
    entity_id: str | None = None,
    *,
    days: int = 7,
    unresolved_only: bool = False,
    limit: int = 50,
) -> list[Failure]:
    """Return what failed in the last days, newest first: of an entity, of a type, or all.

    Raises UnknownEntityType (LL003), Misuse (22023).
    Source: sql/functions/recent_failures.sql
    """
    return ask(
        conn,
        Failure,
        "SELECT * FROM llamalog.recent_failures(%s, %s, make_interval(days => %s::integer), %s, %s::integer)",
        [entity_type, entity_id, days, unresolved_only, limit],
    )


def page(findings: Sequence[Finding], limit: int) -> tuple[list[Finding], list[str]]:
    """Return the first `limit` findings of each type and rule, and of which of them there are more."""
    shown: list[Finding] = []
    counts: dict[tuple[str, str], int] = {}
    for finding in findings:
        of = (finding.entity_type, finding.rule)
        counts[of] = counts.get(of, 0) + 1
        if counts[of] <= limit:
            shown.append(finding)
    return shown, [f"{kind} {rule}" for (kind, rule), n in counts.items() if n > limit]


def findings_lines(findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """Yield each finding as a paragraph that ends in what to type next."""
    for finding in findings:
        if finding.entity_id is None:
            yield Text(f"{clean(finding.entity_type)} {clean(finding.rule)}", style="bold yellow")
            yield Padding(Text(clean(finding.detail)), (0, 0, 0, 4), expand=False)
            continue
        head = Text(_name(finding.entity_type, finding.entity_id, finding.label), style="bold")
        head.append(f"  {clean(finding.detail)}", style="not bold")
        since = (
            f"since {moment(finding.since)}" if finding.since else "since when is not in the log"
        )
        head.append(f"  {since}", style="not bold dim")
        yield head
        if finding.because is not None:
            yield Padding(Text(clean(finding.because)), (0, 0, 0, 4), expand=False)
        for command in finding.commands():
            # whole, to be copied
            yield Text(f"    {clean(command)}", style="cyan", no_wrap=True, overflow="ignore")


def failures_lines(failures: Sequence[Failure]) -> Iterator[RenderableType]:
    """Yield each failure as a paragraph: what failed, then on which path, by which job, and what became of it."""
    for failure in failures:
        head = Text(moment(failure.created_at) + "  ", style="dim")
        head.append_text(badge("FAILED", "FAILED")).append(" ")
        if failure.entity_type is not None:
            head.append(_name(failure.entity_type, failure.entity_id, failure.label) + "  ")
        code = f" ({failure.error_code})" if failure.error_code else ""
        said = failure.error_message or failure.reason or failure.operation
        yield head.append(clean(said + code))
        trail = [
            failure.source,
            f"job {failure.job_id}" if failure.job_id else None,
            f"root job {failure.root_job_id}" if failure.root_job_id != failure.job_id else None,
            f"tried {failure.retry_count + 1} times" if failure.retry_count else None,
            f"made good {moment(failure.resolved_at)}" if failure.resolved_at else "unresolved",
        ]
        yield Padding(
            Text(clean(" · ".join(filter(None, trail))), style="dim"), (0, 0, 0, 4), expand=False
        )


def _name(entity_type: str | None, entity_id: str | None, label: str | None) -> str:
    return f"{clean(entity_type)} {f'“{clean(label)}”' if label is not None else clean(entity_id)}"
