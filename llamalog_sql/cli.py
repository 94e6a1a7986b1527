"""The command `llamalog`: carries questions in and rows out. Data on stdout, talk on stderr."""

from __future__ import annotations

import functools
import io
import logging
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click
import psycopg

from llamalog_sql import (
    __version__,
    backfill,
    bench,
    installation,
    migrate,
    output,
    queries,
    retention,
    sizes,
    watching,
)
from llamalog_sql.adoption import adopt, proof, undo
from llamalog_sql.adoption.locks import Patience
from llamalog_sql.connection import Connection, connect, require_installation
from llamalog_sql.connection_string import without_password
from llamalog_sql.errors import LlamaLogError, Misuse, translate
from llamalog_sql.watching import Options, Outcome

logger = logging.getLogger("llamalog_sql")

DONE, FAILED, MISUSE = 0, 1, 2

_COUNT = click.IntRange(1, 1_000_000_000)


class Moment(click.ParamType[datetime]):
    """An instant in ISO 8601; without offset it is UTC."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            at = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f'"{value}" is no time; write 2026-11-22, or 2026-11-22T18:30:00+01:00', param, ctx
            )
        return at if at.tzinfo else at.replace(tzinfo=UTC)


class Commands(click.Group):
    """Turns every error that a person can do something about into lines on stderr and an exit code."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except click.UsageError as error:
            _give_up(_misuse(error))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (LlamaLogError, psycopg.Error, click.UsageError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            if isinstance(error, click.UsageError):
                error = _misuse(error)
            _give_up(error if isinstance(error, LlamaLogError) else translate(error))
        except BrokenPipeError:
            # the reader, as head, has enough
            sys.stderr.close()
            ctx.exit(DONE)


def _misuse(error: click.UsageError) -> Misuse:
    """Return what click found wrong with the words of the command, as an error of ours."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error  # it prints the help
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "llamalog"
    return Misuse(message[:1].lower() + message[1:], hint=f"Run: {path} --help")


def _give_up(error: LlamaLogError) -> NoReturn:
    _complain(error)
    raise click.exceptions.Exit(MISUSE if isinstance(error, Misuse) else FAILED)


def _complain(error: LlamaLogError) -> None:
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    click.echo(f"error: {without_password(output.clean(error))}{code}", err=True)
    if error.detail:
        for line in error.detail.splitlines():
            click.echo(f"detail: {without_password(output.clean(line))}", err=True)
    if error.hint:
        click.echo(f"hint: {without_password(output.clean(error.hint))}", err=True)


class _Talk(logging.Handler):
    """Writes what the workshop says to whatever stderr is now."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage().removeprefix("[🦙 LlamaLog] ")
        click.echo(f"[🦙 LlamaLog] {message}", err=True)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="llamalog")
@click.option(
    "--dsn", help="Connection string or URL.  [env: LLAMALOG_DSN, then DATABASE_URL, then PG*]"
)
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("-q", "--quiet", is_flag=True, help="No talk on stderr but errors.")
@click.pass_context
def main(ctx: click.Context, dsn: str | None, debug: bool, quiet: bool) -> None:
    """Any PostgreSQL database explains itself: what changed, who did it, which job caused it.

    \b
    Example:
      llamalog demo
      llamalog migrate && llamalog watch albums artists tracks
      llamalog why ALBUM "OK Computer"
    """
    ctx.obj = {"dsn": dsn, "debug": debug}
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without 🦙
    logger.handlers[:] = [_Talk()]
    logger.setLevel(logging.ERROR if quiet else logging.INFO)
    logger.propagate = False


# -- what commands share ----------------------------------------------------------------------------------------------


def _dsn_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let --dsn stand behind the command's name too."""

    @click.option("--dsn", "own_dsn", help="Connection string or URL.  [env: LLAMALOG_DSN]")
    @click.pass_context
    @functools.wraps(command)
    def wrapper(ctx: click.Context, /, *args: Any, own_dsn: str | None, **kwargs: Any) -> Any:
        if own_dsn is not None:
            ctx.obj["dsn"] = own_dsn
        if ctx.obj["dsn"] == "":
            raise Misuse(
                "--dsn is empty",
                hint="Perhaps a variable is not set; leave --dsn out to use the environment.",
            )
        return command(*args, **kwargs)

    return wrapper


@contextmanager
def _session(*, installed: bool = True) -> Iterator[Connection]:
    """A connection for one command; an interrupted one leaves nothing running on the server."""
    conn = connect(click.get_current_context().obj["dsn"])
    conn.autocommit = True
    try:
        if installed:
            require_installation(conn)
        yield conn
    except KeyboardInterrupt:
        conn.cancel_safe()
        raise
    finally:
        conn.close()


_format_option = click.option(
    "--format",
    "form",
    type=click.Choice(output.FORMATS),
    default="table",
    show_default=True,
    help="How to write the answer.",
)
_sql_option = click.option("--sql", "show_sql", is_flag=True, help="Print the SQL; change nothing.")
_dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done; change nothing."
)
_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misuse(
            f"{question} needs a yes", sqlstate=None, hint="Without a terminal, add --yes."
        )
    click.confirm(question, abort=True, err=True)


def _print_sql(statements: Iterable[str]) -> None:
    for statement in statements:
        click.echo(
            statement.rstrip().rstrip(";") + ";"
            if not statement.startswith("--")
            else statement.rstrip()
        )
        click.echo()


def _say(message: str) -> None:
    logger.info(message)


def _entity_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.argument("entity", metavar='ID|"TITLE"')(command)
    return click.argument("entity_type", metavar="TYPE")(command)


# -- installation -----------------------------------------------------------------------------------------------------


@main.command("migrate")
@_sql_option
@_dry_run_option
@_dsn_option
def migrate_command(show_sql: bool, dry_run: bool) -> None:
    """Install LlamaLog in the database, or bring it to this version.

    Everything happens in one transaction; a second run changes nothing. Locks nothing of the application's but, for
    moments, the watched tables whose capture changes.

    \b
    Example:
      llamalog migrate --dry-run
    """
    with _session(installed=False) as conn:
        if show_sql:
            _print_sql(migrate.script(conn))
            return
        plan = migrate.plan(conn)
        if dry_run:
            for piece in plan.pending:
                click.echo(f"would apply {piece.name}")
            if plan.changed:
                click.echo(f"would apply {len(plan.changed)} functions and views")
            for name in plan.edited:
                click.echo(f"edited after it had been applied: {name}")
            if plan.is_empty:
                drifted = watching.drifted(conn)
                for _, table, problem in drifted:
                    click.echo(f"would renew the capture of {table}: {problem}")
                if not drifted:
                    click.echo("nothing to do")
            return
        report = migrate.migrate(conn)
    for note in report.notes:
        logger.warning(note)
    if report.is_empty:
        _say("up to date; nothing was changed")
        return
    for name in report.migrations:
        _say(f"applied {name}")
    if report.repeatables:
        _say(f"applied {len(report.repeatables)} functions and views")
    for name in report.partitions:
        _say(f"made partition {name}")
    for name in report.watches:
        _say(f"renewed the capture of {name}")


@main.command()
@_format_option
@_dsn_option
def status(form: str) -> None:
    """Show the installation, what is watched, and the size of the log.

    \b
    Example:
      llamalog status
    """
    with _session(installed=False) as conn:
        found = installation.status(conn)
    if form != "table":
        output.write_rows([found], form)
        return
    console = output.console()
    for name, value in found.lines():
        console.print(f"{name:<12} {value}", markup=False)
    if found.watched:
        console.print()
        console.print(
            output.grid(["type", "table", "", "capture"], [w.cells() for w in found.watched])
        )


@main.command()
@_format_option
@_dsn_option
def check(form: str) -> None:
    """Find what is not as it should be; exit 1 when there is something. For a deploy pipeline.

    \b
    Example:
      llamalog check && deploy
    """
    with _session(installed=False) as conn:
        findings = installation.check(conn)
    if form != "table":
        output.write_rows(findings, form)
    else:
        for finding in findings:
            click.echo(f"{finding.what}: {finding.problem}")
            click.echo(f"  hint: {finding.hint}")
        if not findings:
            click.echo("ok")
    if findings:
        click.get_current_context().exit(FAILED)


@main.command()
@click.option(
    "--all", "everything", is_flag=True, help="Uninstall: undo every migration; the log is kept."
)
@click.option("--drop-log", is_flag=True, help="Erase the log too.")
@_yes_option
@_sql_option
@_dry_run_option
@_dsn_option
def rollback(everything: bool, drop_log: bool, yes: bool, show_sql: bool, dry_run: bool) -> None:
    """Undo the newest migration, or with --all uninstall.

    Takes capture off every table first: until the next llamalog migrate nothing is logged.

    \b
    Example:
      llamalog rollback --all --yes
    """
    if drop_log and not everything:
        raise Misuse("--drop-log goes with --all", hint="Add --all to uninstall and erase the log.")
    with _session(installed=False) as conn:
        victims = migrate.rollback_plan(conn, everything=everything, drop_log=drop_log)
        if show_sql:
            _print_sql(migrate.rollback_script(conn, victims))
            return
        if dry_run:
            click.echo("would take capture off every table")
            for name in victims:
                click.echo(f"would undo {name}")
            if drop_log:
                click.echo("would erase the log")
            return
        _confirm(
            f"Take off capture{', erase the log' if drop_log else ''}"
            f" and undo {', '.join(victims) or 'nothing but that'}?",
            yes,
        )
        for name in migrate.rollback(conn, everything=everything, drop_log=drop_log):
            _say(f"undid {name}")
        if everything and not drop_log:
            _say(
                "the log is kept, with its jobs; llamalog migrate goes on with it, --drop-log erases it."
                " What was watched and redacted, and paths of your own, are forgotten."
            )


@main.command()
@click.option(
    "--months",
    default=3,
    show_default=True,
    type=click.IntRange(0, 120),
    help="Months to make ahead.",
)
@click.option("--keep", metavar="PERIOD", help="Archive what is older, as '24 months'.")
@click.option(
    "--keep-type",
    "keep_types",
    multiple=True,
    metavar="TYPE=PERIOD",
    help="A period of its own for a type, shorter or longer. Repeatable.",
)
@click.option(
    "--archive",
    "directory",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the Parquet files go.",
)
@click.option("--drop-rows", is_flag=True, help="Keep no archive: the rows are gone for good.")
@_yes_option
@_sql_option
@_dry_run_option
@_format_option
@_dsn_option
def maintain(
    months: int,
    keep: str | None,
    keep_types: tuple[str, ...],
    directory: Path | None,
    drop_rows: bool,
    yes: bool,
    show_sql: bool,
    dry_run: bool,
    form: str,
) -> None:
    """Make the monthly partitions to come, and with --keep archive the old ones. Safe in cron.

    Of what is archived, the log keeps how each living entity came. Killed anywhere, the same command goes on.

    \b
    Example:
      llamalog maintain --months 6
      llamalog maintain --keep '24 months' --keep-type TRACK='6 months' --archive /var/archive
    """
    policy = retention.policy_of(keep, keep_types)
    is_keeping = policy != retention.Policy()
    if is_keeping and (directory is None) == (not drop_rows):
        raise Misuse(
            "--keep takes rows out of the log: where to?",
            hint="Add --archive DIR, or else --drop-rows: then they are gone for good.",
        )
    if not is_keeping and (directory or drop_rows or form != "table"):
        raise Misuse(
            "--archive, --drop-rows and --format go with --keep",
            hint="Say how long: --keep '24 months'",
        )
    with _session() as conn:
        if show_sql:
            _print_sql([f"SELECT * FROM llamalog.maintain(months_ahead => {months})"])
            _print_sql(retention.script(conn, policy, directory) if is_keeping else [])
            return
        planned = retention.plan(conn, policy) if is_keeping else []
        if dry_run:
            missing = installation.missing_months(conn, months)
            if form != "table":
                output.write_rows(planned, form)
                return
            for name in missing:
                click.echo(f"would make {name}")
            for month in planned:
                click.echo(f"would archive {_told(month)}")
            if not (missing or planned):
                click.echo("nothing to do")
            return
        made = migrate.maintain(conn, months)
        for name in made:
            _say(f"made partition {name}")
        if not is_keeping:
            if not made:
                _say("every month has its partition")
            return
        retention.require_directory(directory)
        for month in planned:
            click.echo(_told(month), err=True)
        if planned:
            where = f"to {directory}" if directory else "NOWHERE, for good"
            _confirm(f"Archive {len(planned)} months {where}?", yes)
        done = retention.keep(conn, policy, directory, progress=_tell_archived)
    if form != "table":
        output.write_rows(done, form)
    elif not done:
        _say("no month is to be archived")


def _told(month: retention.Month) -> str:
    return (
        f"{month.month}{month.of_types}: {month.archived_rows:,} rows,"
        f" {month.removed_rows:,} leave the log, {month.kept_rows:,} stay"
    )


def _tell_archived(month: retention.Archived) -> None:
    where = f" to {month.file}" if month.file else ""
    _say(
        f"archived {month.month}{where}: {month.archived_rows:,} rows, checksum {month.checksum};"
        f" {month.removed_rows:,} left the log, {month.kept_rows:,} stay ({month.seconds} s)"
    )


@main.command("restore-archive")
@click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path)
)
@click.option("--foreign", is_flag=True, help="Also where nothing is known of that archive.")
@_dry_run_option
@_format_option
@_dsn_option
def restore_archive(files: tuple[Path, ...], foreign: bool, dry_run: bool, form: str) -> None:
    """Bring archived months back into the log: the rows that are not there, as they were.

    Each file is proved by count and checksum first. A second time changes nothing.

    \b
    Example:
      llamalog restore-archive /var/archive/llama_logs_2024_01.parquet
    """
    with _session() as conn:
        if dry_run:
            for path in files:
                click.echo(f"would bring back {retention.described(path)}")
            return
        done = [retention.restore(conn, path, is_foreign=foreign) for path in files]
    if form != "table":
        output.write_rows(done, form)
        return
    for file in done:
        _say(f"{file.month}: {file.restored_rows:,} of {file.archived_rows:,} rows brought back")


@main.command()
@click.option("--size", is_flag=True, help="What takes the room.")
@_format_option
@_dsn_option
def stats(size: bool, form: str) -> None:
    """Show figures about the log.

    \b
    Example:
      llamalog stats --size
    """
    if not size:
        raise Misuse("stats of what?", hint="Run: llamalog stats --size")
    with _session() as conn:
        found = sizes.sizes(conn)
    if form != "table":
        output.write_rows(found, form)
        return
    output.console().print(
        output.grid(
            ["what", "name", "rows", "heap", "toast", "indexes", "total", "share"],
            [line.cells() for line in found],
        )
    )


# -- watching ---------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE...")
@click.option(
    "--as", "entity_type", metavar="TYPE", help="Entity type; by default the singular of the name."
)
@click.option(
    "--key",
    metavar="COLUMNS",
    help="Columns of a unique key, with commas; by default the primary key.",
)
@click.option(
    "--kind",
    type=click.Choice(["entity", "link"]),
    help="What its rows are; by default by foreign keys.",
)
@click.option("--part-of", metavar="COLUMN", help="Column that refers to the whole, or none.")
@click.option(
    "--label", metavar="COLUMN", help="Column that people know it by; by default title or name."
)
@click.option("--quality", metavar="COLUMN", help="Quality column; by default data_quality.")
@click.option(
    "--source",
    metavar="COLUMN",
    help="Column that says where the data came from; by default source.",
)
@click.option(
    "--ignore",
    multiple=True,
    metavar="COLUMN",
    help="A change of it alone is no change. Repeatable.",
)
@click.option(
    "--redact", multiple=True, metavar="COLUMN", help="Never store its values. Repeatable."
)
@click.option(
    "--image", type=click.Choice(["none", "full"]), help="Store the row on INSERT.  [default: none]"
)
@click.option("--on-truncate", type=click.Choice(["log", "refuse"]), help="[default: log]")
@click.option(
    "--capture",
    type=click.Choice(["rendered", "statement", "tolerant"]),
    help="For this table; all rows of a statement at once; proof against any DDL.",
)
@_sql_option
@_dry_run_option
@_dsn_option
def watch(
    tables: tuple[str, ...],
    key: str | None,
    ignore: tuple[str, ...],
    redact: tuple[str, ...],
    show_sql: bool,
    dry_run: bool,
    **given: Any,
) -> None:
    """Log every change of these tables from now on.

    What each is (its key, its label, part of what, link between what) is read from the catalogue, and kept in
    llamalog.watches; options set it for these tables. A second time changes nothing. Blocks writers for moments.

    \b
    Example:
      llamalog watch albums artists tracks album_artists track_artists
      llamalog watch public."User" --redact email
    """
    options = Options(
        key=[name.strip() for name in key.split(",")] if key else None,
        ignore=list(ignore) or None,
        redact=list(redact) or None,
        **given,
    )
    with _session() as conn:
        if show_sql:
            _print_sql(watching.script(conn, list(tables), options))
            return
        if dry_run:
            for outcome in watching.preview(conn, list(tables), options):
                click.echo(
                    f"would watch {outcome.table} as {outcome.entity_type}: {outcome.description}"
                )
            return
        _tell(watching.watch(conn, list(tables), options))


@main.command()
@click.argument("tables", nargs=-1, required=True, metavar="TABLE|TYPE...")
@_sql_option
@_dry_run_option
@_dsn_option
def unwatch(tables: tuple[str, ...], show_sql: bool, dry_run: bool) -> None:
    """Stop logging these tables; they become as they were, and their history stays.

    \b
    Example:
      llamalog unwatch track_artists
    """
    with _session() as conn:
        if show_sql:
            _print_sql(watching.unwatch_script(conn, list(tables)))
            return
        if dry_run:
            for name in tables:
                target = watching.watched(conn, name)
                click.echo(f"would unwatch {target.table.shown} as {target.entity_type}")
            return
        _tell(watching.unwatch(conn, list(tables)))


def _tell(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        _say(f"{outcome.action} {outcome.table} as {outcome.entity_type}: {outcome.description}")


@main.command("bench")
@click.argument("tables", nargs=-1, required=True, metavar="[SCHEMA.]TABLE...")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Column that UPDATE changes; by default two, in no index if possible. Repeatable.",
)
@click.option(
    "--rows",
    "row_count",
    default=1000,
    show_default=True,
    type=click.IntRange(2, 100_000),
    help="Most rows to sample.",
)
@click.option(
    "--rounds",
    default=7,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Rounds to measure.",
)
@_format_option
@_dsn_option
def bench_command(
    tables: tuple[str, ...], columns: tuple[str, ...], row_count: int, rounds: int, form: str
) -> None:
    """Measure what logging would cost on tables of your own, with each kind of capture and without.

    On copies of a table's shape with a sample of its rows, in temporary tables: the table itself is read once (ACCESS SHARE,
    as any reader), nobody waits, no trigger of the application's fires, and nothing is left behind. Copies have no foreign
    keys and no triggers, so a ratio is rather too high than too low. Times are the server's, of prepared statements with
    their commit, without network and flush to disk. A minute or two a table; it keeps a processor busy.

    \b
    Example:
      llamalog bench albums tracks
      llamalog bench public."User" --column name --format json
    """
    costs = []
    with _session() as conn:
        for name in tables:
            measured = bench.bench(
                conn,
                name,
                columns=list(columns),
                row_count=row_count,
                rounds=rounds,
                progress=functools.partial(_say_of, name),
            )
            if form == "table":
                output.print_costs(measured)
            costs += measured
    if form != "table":
        output.write_rows(costs, form)


def _say_of(name: str, message: str) -> None:
    _say(f"{output.clean(name)}: {message}")


# -- a log of the application's own -----------------------------------------------------------------------------------


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
@_yes_option
@_sql_option
@_dry_run_option
@_format_option
@_dsn_option
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
    with _session() as conn:
        if verify:
            _tell_verified(*proof.verify(conn), form)
            return
        if giving_back:
            if show_sql:
                for transaction in undo.script(conn):
                    _print_sql(["BEGIN", *transaction, "COMMIT"])
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
                _print_sql(step.statements if is_apart else ["BEGIN", *step.statements, "COMMIT"])
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
        _confirm(f"Adopt {table}?", yes)
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
    click.echo(f"{report.row_count:,} rows, checksum {report.before} before")
    click.echo(f"{report.row_count:,} rows, checksum {report.after} after: nothing was changed")
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
    _say(f"{report.table} is the log now; next: llamalog watch TABLE..., then llamalog backfill")


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
        click.echo(f"{then.row_count:,} rows, checksum {then.checksum} when it was adopted")
        click.echo(f"{now.row_count:,} rows, checksum {now.checksum} now")
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
        _say(
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
    _confirm(f"Give {planned.table} back?", yes)
    undo.undo(conn, patience=patience)
    _say(f"{planned.table} is the application's again")


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
    type=click.FloatRange(0, 60),
    help="Seconds between transactions.",
)
@_lock_timeout_option
@_sql_option
@_dry_run_option
@_format_option
@_dsn_option
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
    with _session() as conn:
        if show_sql:
            _print_sql(backfill.script(conn))
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
    click.echo(f"{result.rows:,} rows {would}numbered and classified")
    for category, count in sorted(result.categories.items(), key=lambda item: (-item[1], item[0])):
        click.echo(f"  {category:<12} {count:>12,}")
    for count, what in (
        (result.corrected_categories, "rows whose category the application has otherwise"),
        (result.corrected_roots, "rows whose is_root_job the application has otherwise"),
        (result.orphans, "parent jobs of which the log knows nothing; they are roots"),
        (
            result.in_circles,
            "jobs that cause each other in a circle, or follow from such; they have no root",
        ),
        (result.self_parents, "jobs that name themselves as their parent"),
        (result.several_parents, "jobs with several parents; the first counts"),
    ):
        if count:
            click.echo(f"{count:,} {what}")
    if result.judged_again:
        click.echo(f"{result.judged_again:,} rows {would}judged anew, since the rules have changed")
    for operation, count in result.unknown_operations.items():
        click.echo(
            f"{count:,} rows of {output.clean(operation)}, which no rule knows:"
            " as the application has them, else UPDATED"
        )
    if result.unknown_operations:
        _say("add a rule to llamalog.category_rules, then run llamalog backfill again")
    for kind, count in result.inferred.items():
        click.echo(f"{count:,} {kind}: {would}inferred, nobody saw them come")


def _progress(done: int, total: int, seconds: float) -> None:
    rate = done / max(seconds, 0.001)
    left = (total - done) / max(rate, 1)
    _say(f"{done:,} of {total:,} rows, {rate:,.0f} rows/s, {left:,.0f} s to go")


def _say_archived(conn: Connection, entity_type: str, entity_id: str) -> None:
    since = queries.detail_since(conn, entity_type, entity_id)
    if since is not None:
        _say(
            f"changes before {since.astimezone(UTC):%Y-%m} are archived; see llamalog restore-archive"
        )


def _say_breaks(conn: Connection, entity_type: str, entity_id: str) -> None:
    found = queries.breaks(conn, entity_type, entity_id)
    if found:
        logger.warning(
            f"in {len(found)} place{'s' * (len(found) > 1)} its changes do not meet: a write was not captured;"
            " llamalog.breaks(type, id) lists them"
        )


# -- questions --------------------------------------------------------------------------------------------------------


@main.command()
@_entity_arguments
@click.option("--limit", default=50, show_default=True, type=_COUNT, help="Most rows to show.")
@_format_option
@_dsn_option
def history(entity_type: str, entity: str, limit: int, form: str) -> None:
    """Show the changes of one entity, newest first.

    \b
    Example:
      llamalog history ALBUM "OK Computer" --format jsonl
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        label = queries.label(conn, entity_type, entity_id)
        # one more tells whether there is more
        found = queries.history(conn, entity_type, entity_id, limit=limit + 1)
        _say_archived(conn, entity_type, entity_id)
    rows = found[:limit]
    if len(found) > limit:
        _say(f"only the newest {limit}; for more, --limit")
    if form != "table":
        output.write_rows(rows, form)
        return
    if not rows:
        _say("no change of it is recorded")
        return
    output.print_changes(rows, output.heading(entity_type, entity_id, label), with_entity=False)


@main.command()
@_entity_arguments
@click.option(
    "--category", "categories", multiple=True, metavar="CATEGORY", help="Only this one. Repeatable."
)
@click.option("--since", type=Moment(), help="From this time; without offset UTC.")
@click.option("--until", type=Moment(), help="Before this time; without offset UTC.")
@click.option("--limit", default=20, show_default=True, type=_COUNT, help="Rows of a page.")
@click.option("--cursor", help="Where the page before ended.")
@_format_option
@_dsn_option
def chain(
    entity_type: str,
    entity: str,
    categories: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
    form: str,
) -> None:
    """Show the whole story of an entity by time: its parts, its links, and what the jobs about it caused.

    \b
    Example:
      llamalog chain ALBUM "OK Computer" --category CREATED --category FAILED
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        label = queries.label(conn, entity_type, entity_id)
        page = queries.chain(
            conn,
            entity_type,
            entity_id,
            categories=categories,
            start_date=since,
            end_date=until,
            limit=limit,
            cursor=cursor,
        )
        _say_archived(conn, entity_type, entity_id)
    if form == "json":
        click.echo(
            output.as_json(
                {
                    "logs": [
                        output.as_dict(row, without=("total_count", "has_more", "next_cursor"))
                        for row in page.logs
                    ],
                    "total_count": page.total_count,
                    "cursor": page.cursor,
                    "has_more": page.has_more,
                },
                indent=2,
            )
        )
        return
    if form != "table":
        output.write_rows(page.logs, form)
        return
    if not page.logs:
        _say("no such change is recorded")
        return
    heading = output.heading(entity_type, entity_id, label)
    output.print_changes(
        page.logs,
        f"{heading}: {len(page.logs)} of {page.total_count} changes",
        with_entity=True,
    )
    if page.cursor:
        _say(f"more: add --cursor {page.cursor}")


@main.command()
@_entity_arguments
@click.option(
    "--children",
    default=output.CHILDREN,
    show_default=True,
    type=click.IntRange(min=1),
    help="Children of a node to draw.",
)
@_format_option
@_dsn_option
def tree(entity_type: str, entity: str, children: int, form: str) -> None:
    """Draw the story of an entity as a tree of jobs and changes.

    \b
    Example:
      llamalog tree ALBUM "OK Computer"
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        label = queries.label(conn, entity_type, entity_id)
        nodes = queries.tree(conn, entity_type, entity_id)
        _say_archived(conn, entity_type, entity_id)
    if form != "table":
        output.write_rows(nodes, form)
        return
    output.console().print(
        output.tree(nodes, output.heading(entity_type, entity_id, label), children)
    )


@main.command()
@_entity_arguments
@_format_option
@_dsn_option
def why(entity_type: str, entity: str, form: str) -> None:
    """Tell how an entity came here, and what happened to it since.

    \b
    Example:
      llamalog why ALBUM "OK Computer"
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        sentences = queries.why(conn, entity_type, entity_id)
    if form != "table":
        output.write_rows(sentences, form)
        return
    output.console().print(output.story(sentences), end="")


@main.command("as-of")
@_entity_arguments
@click.argument("at", metavar="TIME", type=Moment())
@_format_option
@_dsn_option
def as_of(entity_type: str, entity: str, at: datetime, form: str) -> None:
    """Show a row as it was at an instant (ISO 8601; without offset UTC).

    \b
    Example:
      llamalog as-of ALBUM "OK Computer" 2026-11-22T18:30:00
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        row = queries.as_of(conn, entity_type, entity_id, at)
        _say_breaks(conn, entity_type, entity_id)
    if form != "table":
        output.write_image(row, form)
    elif row is None:
        _say("it did not exist then")
    else:
        output.console().print(output.image_table(row))


@main.command()
@_entity_arguments
@_format_option
@_dsn_option
def blame(entity_type: str, entity: str, form: str) -> None:
    """Show for every field of a row which change set its value: when, through which path, by whom.

    \b
    Example:
      llamalog blame ALBUM "OK Computer"
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        rows = queries.blame(conn, entity_type, entity_id)
        _say_archived(conn, entity_type, entity_id)
        _say_breaks(conn, entity_type, entity_id)
    if form != "table":
        output.write_rows(rows, form)
    elif not rows:
        _say("neither the row nor the image of its removal is there")
    else:
        output.console().print(output.blame_table(rows))


@main.command()
@_entity_arguments
@click.argument("from_at", metavar="FROM", type=Moment())
@click.argument("to_at", metavar="TO", type=Moment())
@_format_option
@_dsn_option
def diff(entity_type: str, entity: str, from_at: datetime, to_at: datetime, form: str) -> None:
    """Show what became of a row from one instant to another (ISO 8601; without offset UTC).

    \b
    Example:
      llamalog diff ALBUM "OK Computer" 2026-11-22 2026-11-23
    """
    with _session() as conn:
        entity_id = queries.resolve(conn, entity_type, entity)
        rows = queries.diff(conn, entity_type, entity_id, from_at, to_at)
        _say_breaks(conn, entity_type, entity_id)
    if form != "table":
        output.write_rows(rows, form)
    elif not rows:
        _say("no difference")
    else:
        output.console().print(output.difference_table(rows))


@main.command()
@click.argument("text")
@click.option("--type", "entity_type", metavar="TYPE", help="Only entities of this type.")
@click.option("--limit", default=20, show_default=True, type=_COUNT, help="Most to show.")
@_format_option
@_dsn_option
def find(text: str, entity_type: str | None, limit: int, form: str) -> None:
    """Find entities by a part of their title or name; also deleted ones. Exit 1 when there is none.

    \b
    Example:
      llamalog find computer --type ALBUM
    """
    with _session() as conn:
        found = queries.find(conn, text, entity_type=entity_type, limit=limit + 1)
    rows = found[:limit]
    if len(found) > limit:
        _say(f"only {limit}; for more, --limit")
    if form != "table":
        output.write_rows(rows, form)
    elif rows:
        output.console().print(output.found_table(rows))
    if not rows:
        _say(f'nothing is called "{output.clean(text)}"')
        click.get_current_context().exit(FAILED)


@main.command()
@click.option("--keep", is_flag=True, help="Leave the database running, to try the commands on.")
@click.option("--stop", is_flag=True, help="Stop and remove a database that --keep left.")
@click.option("--pg", type=click.Choice(["16", "18"]), help="Major version of the embedded server.")
def demo(keep: bool, stop: bool, pg: str | None) -> None:
    """Show it all on a server of its own: a music application writes, and the story of an album is told.

    \b
    Example:
      llamalog demo --keep
    """
    from llamalog_sql.demo import show

    if stop:
        show.stop()
        return
    show.run(keep=keep, version=int(pg) if pg else None)


if __name__ == "__main__":
    main()
