"""The command `llamalog` itself, and how every error reaches the person at the terminal."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import traceback
from typing import Any, NoReturn

import click
import psycopg

from llamalog_sql import __version__, output
from llamalog_sql.connection_string import without_password
from llamalog_sql.errors import LlamaLogError, Misuse, translate

logger = logging.getLogger("llamalog_sql")

DONE, FAILED, MISUSE = 0, 1, 2


class Commands(click.Group):
    """Turns every error that a person can do something about into lines on stderr and an exit code."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except click.UsageError as error:
            give_up(misuse(error))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except (LlamaLogError, psycopg.Error, click.UsageError, UnicodeEncodeError) as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            if isinstance(error, click.UsageError):
                error = misuse(error)
            elif isinstance(error, UnicodeEncodeError):
                # bytes of the command line that the server cannot be told
                error = Misuse(
                    f"{error.object[:100]!a} is not UTF-8",
                    hint="Set the terminal, and what the word comes from, to UTF-8.",
                )
            give_up(error if isinstance(error, LlamaLogError) else translate(error))
        except BrokenPipeError:
            # the reader, as head, has enough
            _forget_answer()
            ctx.exit(DONE)
        except OSError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            _forget_answer()
            give_up(
                LlamaLogError(
                    f"cannot read or write: {error.strerror or error}",
                    sqlstate="58030",
                    hint="Make room, or write elsewhere."
                    if error.errno in {errno.ENOSPC, errno.EDQUOT}
                    else "Run it with --debug to see at what.",
                )
            )


def _forget_answer() -> None:
    """Let nothing that stdout still holds be written when the process ends: it would fail once more."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def misuse(error: click.UsageError) -> Misuse:
    """Return what click found wrong with the words of the command, as an error of ours."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error  # it prints the help
    message = error.format_message().rstrip(".")
    path = error.ctx.command_path if error.ctx else "llamalog"
    hint = f"Run: {path} --help"
    if isinstance(error, click.NoSuchOption):
        hint += "; an id or a title that begins with - goes behind --"
    return Misuse(message[:1].lower() + message[1:], hint=hint)


def give_up(error: LlamaLogError) -> NoReturn:
    complain(error)
    raise click.exceptions.Exit(MISUSE if isinstance(error, Misuse) else FAILED)


def complain(error: LlamaLogError) -> None:
    click.echo(f"error: {without_password(output.clean(error))} ({error.sqlstate})", err=True)
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
