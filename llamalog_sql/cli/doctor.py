"""The command that looks an installation over, and puts right what it safely can."""

from __future__ import annotations

import logging
from itertools import groupby

import click
from rich.text import Text

from llamalog_sql import doctor as examination
from llamalog_sql import output
from llamalog_sql.cli.group import FAILED, main
from llamalog_sql.cli.shared import (
    Seconds,
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
from llamalog_sql.doctor import repairs
from llamalog_sql.errors import Misuse
from llamalog_sql.findings import KINDS, SEVERITIES, Finding

logger = logging.getLogger("llamalog_sql")

_STYLES = {"error": "bold red", "warning": "bold yellow", "information": "bold"}


@main.command()
@click.option("--fix", is_flag=True, help="Put right what is safe to; asks first.")
@click.option(
    "--ignore",
    "ignored",
    multiple=True,
    metavar="ID[:WHAT]",
    help="Leave out a kind of finding, or one about one object. Repeatable.",
)
@click.option(
    "--timeout",
    default=10.0,
    show_default=True,
    type=Seconds(0.001, 86_400),
    help="How long each look may take.",
)
@yes_option
@sql_option
@dry_run_option
@format_option
@dsn_option
def doctor(
    fix: bool,
    ignored: tuple[str, ...],
    timeout: float,
    yes: bool,
    show_sql: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Find what is wrong, or will be, and what one should know; exit 1 on errors and warnings.

    Reads only, waits for nobody and lets nobody wait; without --fix. What is found has an id to filter by: docs/doctor.md
    lists them. llamalog check is the part for each deploy.

    \b
    Example:
      llamalog doctor
      llamalog doctor --fix --dry-run
      llamalog doctor --format json --ignore table-unwatched:public.sessions
    """
    if (yes or show_sql or dry_run) and not fix:
        raise Misuse(
            "--yes, --sql and --dry-run go with --fix", hint="Add --fix to put right what is found."
        )
    for name in ignored:
        if name.partition(":")[0] not in KINDS:
            raise Misuse(
                f'"{name}" is no id of a finding',
                hint="docs/doctor.md lists them; each finding shows its own.",
            )
    with session(installed=False) as conn:
        findings = examination.examine(conn, timeout=timeout, ignored=ignored)
        if fix:
            steps = repairs.plan(findings)
            if show_sql:
                print_sql(repairs.script(steps))
                return
            if dry_run:
                _tell_steps(steps, "would run: ")
                return
            if _fix(conn, steps, yes):
                findings = examination.examine(conn, timeout=timeout, ignored=ignored)
    if form == "table":
        _print(findings)
    else:
        output.write_rows(findings, form)
    if any(found.is_fault for found in findings):
        click.get_current_context().exit(FAILED)


def _fix(conn: Connection, steps: list[repairs.Repair], yes: bool) -> bool:
    """Take the steps, once they are agreed to, telling of each; return whether there were any."""
    if not steps:
        say("nothing that --fix could put right")
        return False
    _tell_steps(steps, "", to_stderr=True)
    confirm(f"Run {'this step' if len(steps) == 1 else f'these {len(steps)} steps'}?", yes)
    for done in repairs.repair(conn, steps):
        if isinstance(done, repairs.Refusal):
            logger.error(
                output.clean(f"not done: {done.repair.statement}: {done.problem} ({done.sqlstate})")
            )
            logger.error(output.clean(f"hint: {done.hint}"))
        else:
            say(output.clean(f"done: {done.statement}"))
    return True


def _tell_steps(steps: list[repairs.Repair], how: str, *, to_stderr: bool = False) -> None:
    """Say what is wrong, and below it the steps that put it right."""
    for reason, together in groupby(steps, key=lambda step: step.reason):
        click.echo(output.clean(reason), err=to_stderr)
        for step in together:
            click.echo(output.clean(f"    {how}{step.statement}"), err=to_stderr)
    if not steps:
        click.echo("nothing to do", err=to_stderr)


def _print(findings: list[Finding]) -> None:
    """Print the findings by severity, worst first: a line each, and below it what to do."""
    console = output.console()
    for severity in SEVERITIES:
        group = [found for found in findings if found.severity == severity]
        if not group:
            continue
        count = "" if severity == "information" else f"{len(group)} "
        console.print(
            Text(f"{count}{severity}{'s' * (bool(count) and len(group) > 1)}", _STYLES[severity])
        )
        for found in group:
            line = Text(f"  {output.clean(found.what)}: {output.clean(found.problem)}")
            line.append(f"  [{found.id}]", style="dim")
            console.print(line, soft_wrap=True)
            if found.hint:
                # in one piece, for copying
                console.print(
                    Text(f"      {output.clean(found.hint)}", style="dim"), soft_wrap=True
                )
    faults = [found for found in findings if found.is_fault]
    fixable = sum(found.is_fixable for found in faults)
    if not faults:
        is_blind = any(found.id == "not-looked-at" for found in findings)
        say(f"nothing is wrong{' in what could be looked at' if is_blind else ''}")
    elif fixable:
        say(f"{fixable} of {len(faults)} can be put right by: llamalog doctor --fix")
