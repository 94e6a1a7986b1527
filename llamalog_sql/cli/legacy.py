"""Commands for a log of the application's own: adopt, backfill."""

from __future__ import annotations

import shutil
import sys
import textwrap

import click

from llamalog_sql import backfill, output
from llamalog_sql.adoption import adopt, proof, undo
from llamalog_sql.adoption.locks import Patience
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
from llamalog_sql.errors import Misuse

_lock_timeout_option = click.option(
    "--lock-timeout",
    default=100,
    show_default=True,
    type=click.IntRange(1, 60_000),
    help="Milliseconds to wait for a lock, each time.",
)


@main.command("adopt")
@click.argument("table", required=False, metavar="[SCHEMA.]TABLE")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="COLUMN=OURS",
    help="Which column is which, where it is called otherwise. Repeatable.",
)
@click.option(
    "--extend-enums", is_flag=True, help="Add the values that its enums lack, not the nearest."
)
@click.option("--drop-indexes", is_flag=True, help="Drop the indexes that nothing needs.")
@click.option("--verify", is_flag=True, help="Compare the rows of that day with what they were.")
@click.option(
    "--undo", "giving_back", is_flag=True, help="Give the table back, with every row in it."
)
@_lock_timeout_option
@yes_option
@sql_option
@dry_run_option
@format_option
@dsn_option
def adopt_command(
    table: str | None,
    mapping: tuple[str, ...],
    extend_enums: bool,
    drop_indexes: bool,
    verify: bool,
    giving_back: bool,
    lock_timeout: int,
    yes: bool,
    show_sql: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Make a log that the application keeps itself the log: renamed in place, its rows untouched.

    It shows the plan and what it locks. The application goes on meanwhile, and afterwards under both names. Interrupted,
    the same command goes on.

    \b
    Example:
      llamalog adopt public.enrichment_logs --dry-run
      llamalog adopt public.enrichment_logs
      llamalog adopt --verify
    """
    if (verify and giving_back) or (table is not None and (verify or giving_back)):
        raise Misuse(
            "--verify and --undo stand alone",
            hint="There is one adopted log: llamalog adopt --verify, or llamalog adopt --undo",
        )
    patience = Patience(lock_timeout)
    with session(as_caller=True) as conn:
        if verify:
            _tell_verified(*proof.verify(conn), form)
            return
        if giving_back:
            if show_sql:
                for transaction in undo.script(conn):
                    print_sql(["BEGIN", *transaction, "COMMIT"])
                return
            _undo_adoption(conn, patience, yes, dry_run)
            return
        if table is None:
            raise Misuse("which table?", hint="Name it: llamalog adopt public.enrichment_logs")
        pairs = [pair.partition("=") for pair in mapping]
        if any(not (column and ours) for column, _, ours in pairs):
            raise Misuse("--map needs COLUMN=OURS", hint="As in: --map happened_at=created_at")
        names = {column: ours for column, _, ours in pairs}
        steps = adopt.plan(conn, table, mapping=names, extend_enums=extend_enums)
        if show_sql:
            for step in steps:
                click.echo(f"-- {step.title}\n-- locks: {step.lock}")
                # indexes are built outside of transactions
                is_apart = step.name == "indexes"
                print_sql(step.statements if is_apart else ["BEGIN", *step.statements, "COMMIT"])
            return
        if dry_run and form != "table":
            output.write_rows(steps, form)
            return
        for step in steps:
            _wrapped(step.title, err=not dry_run)
            for line in (f"locks: {step.lock}", *step.details):
                _wrapped(f"    {line}", err=not dry_run)
        if dry_run:
            return
        confirm(f"Adopt {table}?", yes)
        report = adopt.adopt(
            conn,
            table,
            mapping=names,
            extend_enums=extend_enums,
            drop_indexes=drop_indexes,
            patience=patience,
        )
    if form != "table":
        output.write_rows([report], form)
        return
    click.echo(f"{output.plural(report.row_count, 'row')}, checksum {report.before} before")
    click.echo(
        f"{output.plural(report.row_count, 'row')}, checksum {report.after} after: nothing was changed"
    )
    click.echo(
        f"locked exclusively for {report.locked_ms:.0f} ms in all, {report.longest_lock_ms:.0f} ms at most"
    )
    for index in report.unneeded:
        done = (
            "dropped"
            if index in report.dropped
            else "finds whole arrays only, nothing in them: --drop-indexes drops it"
        )
        click.echo(f"index {index}: {done}")
    say(f"{report.table} is the log now; next: llamalog watch TABLE..., then llamalog backfill")


def _wrapped(line: str, *, err: bool = False) -> None:
    """Print a line, broken between words where the terminal ends."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else 10_000
    click.echo(
        textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False), err=err
    )


def _tell_verified(then: proof.Proof, now: proof.Proof, form: str) -> None:
    """Say whether the rows of the day of adoption are what they were; exit 1 when not."""
    is_same = (then.row_count, then.checksum) == (now.row_count, now.checksum)
    if form != "table":
        output.write_rows([then, now], form)
    else:
        click.echo(
            f"{output.plural(then.row_count, 'row')}, checksum {then.checksum} when it was adopted"
        )
        click.echo(f"{output.plural(now.row_count, 'row')}, checksum {now.checksum} now")
        known = {day: held for day, *held in then.days}
        for day, *held in now.days:
            before = known.pop(day, None)
            if before != held:
                was = f"{before[0]:,}" if before else "none"
                click.echo(
                    f"different: {day or 'rows without created_at'}, {was} rows then, {held[0]:,} now"
                )
        for day in known:
            click.echo(f"gone: {day or 'rows without created_at'}")
        if is_same:
            click.echo("the same")
    if not is_same:
        say(
            "rows were changed or deleted since; llamalog itself writes only into columns of its own"
        )
        click.get_current_context().exit(FAILED)


def _undo_adoption(conn: Connection, patience: Patience, yes: bool, dry_run: bool) -> None:
    planned = undo.plan(conn)
    for line in (
        f"give {planned.table} its name, columns, indexes and foreign keys back",
        *(
            f"foreign key {name}: NOT VALID, rows written since refer to nothing"
            for name in planned.invalid
        ),
        *(
            f"foreign key {name}: it cannot come back, a table or column of it is gone"
            for name in planned.lost
        ),
        f"{planned.captured:,} captured rows stay there, and whole in llamalog's own log",
    ):
        click.echo(line, err=not dry_run)
    if dry_run:
        return
    confirm(f"Give {planned.table} back?", yes)
    done = undo.undo(conn, patience=patience)
    for name in sorted({*done.invalid} - {*planned.invalid}):
        say(f"foreign key {name}: NOT VALID, what rows refer to went meanwhile")
    say(f"{planned.table} is the application's again")


@main.command("backfill")
@click.option(
    "--batch-size",
    default=10_000,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="Most rows of a transaction.",
)
@click.option(
    "--sleep",
    default=0.0,
    show_default=True,
    type=Seconds(0, 60),
    help="Seconds between transactions.",
)
@_lock_timeout_option
@sql_option
@dry_run_option
@format_option
@dsn_option
def backfill_command(
    batch_size: int, sleep: float, lock_timeout: int, show_sql: bool, dry_run: bool, form: str
) -> None:
    """Number and classify the old rows of an adopted log, and infer how entities came that nobody saw come.

    In short transactions beside writers; progress on stderr. Interrupted, the same command goes on; a second time it
    changes nothing. No column of the application's is touched.

    \b
    Example:
      llamalog backfill --dry-run
      llamalog backfill --format json
    """
    with session() as conn:
        if show_sql:
            print_sql(backfill.script(conn))
            return
        if dry_run:
            result = backfill.preview(conn)
        else:
            pace = backfill.Pace(batch_size, sleep, lock_timeout)
            result = backfill.backfill(conn, pace=pace, progress=_progress)
    if form != "table":
        output.write_rows([result], form)
        return
    would = "would be " if dry_run else ""
    click.echo(f"{output.plural(result.rows, 'row')} {would}numbered and classified")
    for category, count in sorted(result.categories.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"  {category:<12} {count:>12,}")
    for count, one, what in (
        (result.corrected_categories, "row", "whose category the application has otherwise"),
        (result.corrected_roots, "row", "whose is_root_job the application has otherwise"),
        (result.orphans, "parent job", "of which the log knows nothing: taken for a root"),
        (result.in_circles, "job", "in a circle of causes, or caused from there: without a root"),
        (result.self_parents, "job", "that would be its own parent"),
        (result.several_parents, "job", "with several parents; the first counts"),
    ):
        if count:
            click.echo(f"{output.plural(count, one)} {what}")
    if result.judged_again:
        click.echo(
            f"{output.plural(result.judged_again, 'row')} {would}judged anew, since the rules have changed"
        )
    for operation, count in result.unknown_operations.items():
        click.echo(
            f"{output.plural(count, 'row')} of {output.clean(operation)}, which no rule knows:"
            " as the application has them, else UPDATED"
        )
    if result.unknown_operations:
        say("add a rule to llamalog.category_rules, then run llamalog backfill again")
    for kind, count in result.inferred.items():
        click.echo(f"{count:,} {kind}: {would}inferred, nobody saw them come")


def _progress(done: int, total: int, seconds: float) -> None:
    rate = done / max(seconds, 0.001)
    left = (total - done) / max(rate, 1)
    say(f"{done:,} of {output.plural(total, 'row')}, {rate:,.0f} rows/s, {left:,.0f} s to go")
