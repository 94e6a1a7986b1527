"""The command that takes changes back."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import IO, Any

import click
from psycopg.errors import Diagnostic
from rich.table import Table

from llamalog_sql import output, queries, reverting
from llamalog_sql.cli.group import FAILED, main
from llamalog_sql.cli.shared import (
    SEQ,
    Moment,
    confirm,
    dry_run_option,
    dsn_option,
    format_option,
    print_sql,
    say,
    session,
    sql_option,
    yes_option,
)
from llamalog_sql.connection import Connection
from llamalog_sql.errors import Misuse
from llamalog_sql.reverting import Plan, Step, Target, Winner

logger = logging.getLogger("llamalog_sql")

#: Lines of a plan that a terminal is shown.
_LINES = 100


@main.command()
@click.argument("entity_type", metavar="[TYPE", required=False)
@click.argument("entity", metavar='ID|"TITLE"]', required=False)
@click.option("--change", type=SEQ, metavar="SEQ", help="Take back this change.")
@click.option(
    "--job", "job_id", metavar="JOB", help="Take back what a job and its descendants changed."
)
@click.option(
    "--to", "to_at", type=Moment(), help="Take the entity back to this time; without offset UTC."
)
@click.option("--theirs", is_flag=True, help="Later writers keep what they set.")
@click.option("--ours", is_flag=True, help="The revert wins over later writers.")
@click.option("--partial", "is_partial", is_flag=True, help="Leave what the log does not have.")
@click.option("--user", "user_id", help="For whom; logged as user_id.")
@click.option("--reason", help="Why; logged.")
@yes_option
@sql_option
@dry_run_option
@format_option
@dsn_option
def revert(
    entity_type: str | None,
    entity: str | None,
    change: int | None,
    job_id: str | None,
    to_at: datetime | None,
    theirs: bool,
    ours: bool,
    is_partial: bool,
    user_id: str | None,
    reason: str | None,
    yes: bool,
    show_sql: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Take back a change, what a job changed, or what became of an entity since a time.

    It shows the plan and what stands in its way, asks, and writes in one transaction, with your rights and through
    every trigger. The changes are logged as CORRECTED, by a job of their own, which can be reverted like any other.

    \b
    Example:
      llamalog revert --change 4711
      llamalog revert --job spotify-sync-7 --theirs --reason "wrong market"
      llamalog revert ALBUM "OK Computer" --to 2026-11-22T18:30
    """
    is_entity = entity_type is not None and entity is not None and to_at is not None
    given = [change is not None, job_id is not None, is_entity]
    if given.count(True) != 1 or (not is_entity and (entity_type or to_at)):
        raise Misuse(
            "revert what?",
            hint='Run: llamalog revert --change SEQ, or --job JOB, or TYPE ID|"TITLE" --to TIME',
        )
    if theirs and ours:
        raise Misuse(
            "--theirs or --ours?",
            hint="Either later writers keep what they set, or the revert wins: leave one out.",
        )
    wins: Winner | None = "theirs" if theirs else "ours" if ours else None
    with session(as_caller=True) as conn:
        conn.add_notice_handler(_pass_on)
        target = Target(change, job_id)
        if entity_type is not None and entity is not None:
            entity_id = queries.resolve(conn, entity_type, entity)
            target = Target(entity_type=entity_type, entity_id=entity_id, to_at=to_at)
        plan = reverting.plan(conn, target, wins=wins, is_partial=is_partial)
        if show_sql:
            print_sql(reverting.script(plan, user_id=user_id, reason=reason))
            return
        if form == "table":
            _print(conn, plan, sys.stdout)
        elif not (yes or dry_run):
            _print(conn, plan, sys.stderr)  # nobody says yes to what he has not seen
        if dry_run:
            _write(plan, None, form)
            if not plan.steps:
                say("nothing to undo")
            click.get_current_context().exit(FAILED if plan.is_refused else 0)
        reverting.refuse(conn, plan)
        job = None
        if plan.writes:
            todo = _counted(plan, "change", "bring back", "remove")
            confirm(f"{todo[0].upper()}{todo[1:]}?", yes)
            job = reverting.revert(conn, plan, user_id=user_id, reason=reason)
    _write(plan, job, form)
    if job is not None:
        say(
            f"job {job}: {_counted(plan, 'changed', 'brought back', 'removed')};"
            f" to take that back: llamalog revert --job {job}"
        )
    elif not plan.obstacles:
        say("nothing to undo")


def _pass_on(notice: Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING":
        logger.warning(output.clean(notice.message_primary))


def _counted(plan: Plan, changed: str, restored: str, removed: str) -> str:
    """Return how many rows there are of each kind; one that is written in two halves comes back, or goes, once."""
    done: dict[str | None, str] = {}
    for step in plan.writes:
        done[step.found] = "insert" if done.get(step.found) == "insert" else step.action
    counts = [
        (word, list(done.values()).count(action))
        for word, action in ((changed, "update"), (restored, "insert"), (removed, "delete"))
    ]
    return ", ".join(f"{word} {output.plural(count, 'row')}" for word, count in counts if count)


def _write(plan: Plan, job_id: str | None, form: str) -> None:
    if form == "json":
        steps = [output.as_dict(step, without=("found", "found_after")) for step in plan.steps]
        click.echo(output.as_json({"job_id": job_id, "plan": steps}, indent=2))
    elif form != "table":
        output.write_rows(plan.steps, form, Step)


def _print(conn: Connection, plan: Plan, stream: IO[str]) -> None:
    target = output.console(stream)
    labels = reverting.labels(conn, plan.steps[:_LINES])
    if plan.writes:
        lines = [line for step in plan.writes[:_LINES] for line in _lines(step, labels)]
        target.print(_grid(["", "entity", "field", "now", "then"], lines[:_LINES]))
        if len(lines) > _LINES or len(plan.writes) > _LINES:
            say(f"only {_LINES} lines; --dry-run --format jsonl has all of it")
    if plan.obstacles:
        target.print(
            _grid(
                ["in the way", "entity", "field", "now", "then", "why"],
                [
                    [
                        step.action,
                        _name(step, labels),
                        step.field or "",
                        # what is not known is not nothing
                        ""
                        if step.before is None and step.action == "column"
                        else _shown(step, step.before),
                        "" if step.action == "masked" else _shown(step, step.after),
                        _why(step),
                    ]
                    for step in plan.obstacles[:_LINES]
                ],
            )
        )
        if len(plan.obstacles) > _LINES:
            say(f"{len(plan.obstacles) - _LINES:,} more are in the way")


def _grid(header: list[str], lines: list[list[str]]) -> Table:
    """Return a table without the columns in which nothing stands, and whose names make room for what is said of them."""
    kept = [number for number in range(len(header)) if any(line[number] for line in lines)]
    table = output.grid(
        [header[number] for number in kept], [[line[number] for number in kept] for line in lines]
    )
    table.columns[1].no_wrap = False
    return table


def _lines(step: Step, labels: dict[tuple[str, str], str]) -> Iterator[list[str]]:
    """Yield a line for each field of an update, one for a row that comes back or goes."""
    name = _name(step, labels)
    if step.action == "update":
        for number, field in enumerate(sorted(step.after)):
            yield [
                "" if number else "change",
                "" if number else name,
                field,
                output.short_value(step.before[field]),
                output.short_value(step.after[field]),
            ]
    elif step.action == "insert":
        yield ["bring back", name, "", "", ""]
    else:
        yield ["remove", name, "", "", ""]


def _name(step: Step, labels: dict[tuple[str, str], str]) -> str:
    label = labels.get((step.entity_type, step.entity_id))
    parts = [step.entity_type, f"“{output.short_value(label)}”" if label else "", step.entity_id]
    return " ".join(filter(None, [*parts, f"– {step.related_id}" if step.related_id else ""]))


def _shown(step: Step, value: Any) -> str:
    if step.field is None:
        return ""
    if step.action not in ("reference", "hidden") or value is None:
        return output.short_value(value)
    return ", ".join(
        output.short_value(one) if name == step.field else f"{name}: {output.short_value(one)}"
        for name, one in value.items()
    )


def _why(step: Step) -> str:
    parts = [step.detail or ""]
    if step.seq is not None:
        parts[0] += f" by change {step.seq}"
    parts += [f"job {step.job_id}"] if step.job_id else []
    parts += [f"user {step.user_id}"] if step.user_id else []
    return ", ".join(parts)
