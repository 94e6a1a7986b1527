"""What commands share: options, the connection, how they talk."""

from __future__ import annotations

import functools
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from llamalog_sql import output, queries
from llamalog_sql.connection import Connection, connect, require_installation
from llamalog_sql.errors import Misuse

logger = logging.getLogger("llamalog_sql")

COUNT = click.IntRange(1, 1_000_000_000)

#: The order of a change, a bigint.
SEQ = click.IntRange(-(2**63), 2**63 - 1)


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
        try:
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        except OverflowError:
            self.fail(f'"{value}" is before the year 1, or after 9999, in UTC', param, ctx)


def dsn_option(command: Callable[..., Any]) -> Callable[..., Any]:
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


def connected(dsn: str | None, *, as_caller: bool = False) -> Connection:
    """Return a connection in autocommit.

    as_caller: leave the search_path that the session has, by which the command finds what a person names, and its time zone, by
    which the application's own triggers and defaults may go. Else nothing is found there that somebody has put before
    PostgreSQL's own, and times are of UTC.
    """
    conn = connect(dsn)
    conn.autocommit = True
    if not as_caller:
        conn.execute("SET search_path = pg_catalog, pg_temp; SET TimeZone = 'UTC'")
    return conn


@contextmanager
def session(*, installed: bool = True, as_caller: bool = False) -> Iterator[Connection]:
    """A connection for one command; an interrupted one leaves nothing running on the server."""
    conn = connected(click.get_current_context().obj["dsn"], as_caller=as_caller)
    try:
        if installed:
            require_installation(conn)
        yield conn
    except KeyboardInterrupt:
        conn.cancel_safe()
        raise
    finally:
        conn.close()


class Seconds(click.FloatRange):
    """A number within its bounds: nan passes by click's, as it is neither below the one nor above the other."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


format_option = click.option(
    "--format",
    "form",
    type=click.Choice(output.FORMATS),
    default="table",
    show_default=True,
    help="How to write the answer.",
)
sql_option = click.option("--sql", "show_sql", is_flag=True, help="Print the SQL; change nothing.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done; change nothing."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Misuse(f"a yes is needed: {question}", hint="Without a terminal, add --yes.")
    click.confirm(question, abort=True, err=True)


def print_sql(statements: Iterable[str]) -> None:
    for statement in statements:
        click.echo(
            statement.rstrip().rstrip(";") + ";"
            if not statement.startswith("--")
            else statement.rstrip()
        )
        click.echo()


def say(message: str) -> None:
    logger.info(message)


def say_nothing(conn: Connection, what: str) -> None:
    """Say that nothing of a time was found, and since when anything could be: before that, nobody knows."""
    since = queries.log_begins_at(conn)
    say(f"{what}; " + (f"the log begins {output.moment(since)}" if since else "the log is empty"))


def say_unread(types: Sequence[str]) -> None:
    if types:
        say(f"left out, since you may not read their tables: {output.clean(', '.join(types))}")


def entity_arguments(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.argument("entity", metavar='ID|"TITLE"')(command)
    return click.argument("entity_type", metavar="TYPE")(command)
