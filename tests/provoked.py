"""What a whole run has provoked: every error message, every function in SQL, every kind of finding.

The tests of one part cannot know what those of another do. So each process of a whole `make test` notes what it saw, and what
none of them saw fails the run in the end: a new message comes with a test.

errors in SQL      the server's log tells function and line of each RAISE
functions in SQL   the server counts their calls in each database, which are read before it is dropped
errors in Python   the calls that make an exception of ours or of click, by file and line
findings           their ids, as check and doctor make them

Not seen are an error that SQL itself catches, and what happens on a server without these settings or in a process that a test
starts: a message that comes from there alone is known by its words, where they came back to the test, or stands in ELSEWHERE.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from psycopg.rows import tuple_row

from llamalog_sql import errors, migrate
from llamalog_sql.findings import KINDS, Finding

PACKAGE = Path(errors.__file__).parent

#: A directory for the notes of all processes; empty where the run is not a whole one.
PLACE = "LLAMALOG_TEST_PROVOKED"

#: Provoked where none of the processes can see it, by these tests.
ELSEWHERE = {
    "a standby cannot follow the log": "test_a_standby_is_refused",  # a server of its own, slow
    "standby": "test_it_works_on_a_standby",
    "the cursor belongs to another state of the database": "test_cursors_of_before_the_dump_are_refused",
    "a demonstration is kept already": "test_kept_demo_answers_until_it_is_stopped",  # processes
    "no demonstration is kept": "test_kept_demo_answers_until_it_is_stopped",
    'the server runs as user "x", who cannot enter /y': "test_root_is_told_which_directory_the_servers_user_cannot_enter",
    'user "x", who runs the server, cannot use /y': "test_root_is_told_which_directory_the_servers_user_cannot_enter",
}

_servers = count()
calls: set[tuple[str, int, str]] = set()
functions: set[str] = set()
kinds: set[str] = set()


# -- what there is ----------------------------------------------------------------------------------------------------


def bodies() -> Iterator[tuple[str, str]]:
    """Name and body of the functions that are installed for all tables, as the server has them, and counts their calls.

    Not those in SQL without settings of their own: the server puts what they say in the place of the call.
    """
    for piece in migrate.repeatables():
        for name, head, _, body in re.findall(
            r"(?s)CREATE OR REPLACE FUNCTION llamalog\.(\w+)\((.*?)\nAS (\$\w*\$)(.*?)\3;",
            piece.text,
        ):
            if "LANGUAGE plpgsql" in head or "\n    SET " in head:
                yield name, body


def raised_in_sql() -> dict[tuple[str, int], str]:
    """The messages by function and line; a RAISE without words is caught where it is."""
    return {
        (name, body.count("\n", 0, found.start()) + 1): found[1]
        for name, body in bodies()
        for found in re.finditer(r"\bRAISE (?:EXCEPTION|WARNING|NOTICE)\s+'((?:[^']|'')*)'", body)
    }


def raised_in_python() -> dict[tuple[str, int], str]:
    """The calls that make an exception, by file and line, with their words as a regular expression."""
    names = {kind.__name__ for kind in _kinds_of(errors.LlamaLogError)}
    names |= {kind.__name__ for kind in _kinds_of(click.ClickException)}
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _name(node.func) in names:
                words = _words(node.args[0]) if node.args else ".*"
                found[path.relative_to(PACKAGE).as_posix(), node.lineno] = words
    return found


def _kinds_of(kind: type) -> Iterator[type]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds_of(below)


def _name(function: ast.expr) -> str | None:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def _words(argument: ast.expr) -> str:
    if isinstance(argument, ast.Constant):
        return re.escape(str(argument.value))
    if isinstance(argument, ast.JoinedStr):
        return "".join(_words(part) for part in argument.values)
    return ".*"


# -- what was seen ----------------------------------------------------------------------------------------------------


def settings() -> dict[str, str]:
    """How a server of the tests is to tell what happens in it."""
    if not (place := os.environ.get(PLACE)):
        return {}
    return {
        "logging_collector": "on",
        "log_destination": "jsonlog",
        "log_directory": place,
        "log_filename": f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{next(_servers)}.log",
        "log_min_messages": "notice",
        "log_min_error_statement": "panic",
        "track_functions": "all",
    }


def note_functions(conn: psycopg.Connection[Any]) -> None:
    """Note which functions ran in the database, which is about to be dropped."""
    if os.environ.get(PLACE):
        # a test may have left the connection closed, or without the right to read
        with suppress(psycopg.Error):
            conn.rollback()
            conn.execute("SELECT pg_stat_force_next_flush()")
            conn.rollback()
            functions.update(
                row[0]
                for row in conn.cursor(row_factory=tuple_row).execute(
                    "SELECT proname FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
                    " AND proname <> ALL (%s) AND pg_stat_get_function_calls(oid) > 0",
                    [list(functions)],
                )
            )


def _note_calls(kind: type) -> None:
    made = kind.__init__

    def noted(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_name == "__init__":
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        if PACKAGE in file.parents:
            if isinstance(self, Finding):
                kinds.add(self.id)
            else:
                calls.add((file.relative_to(PACKAGE).as_posix(), frame.f_lineno, str(self)))

    kind.__init__ = noted


def _logged(place: Path) -> Iterator[tuple[str, int]]:
    for log in place.glob("*.json"):
        for line in log.read_bytes().splitlines():
            try:
                said = json.loads(line).get("context", "")
            except ValueError:
                continue  # the last one of a server that was killed
            if found := re.match(
                r"PL/pgSQL function (?:llamalog\.)?(\w+)\(.*\) line (\d+) at RAISE", said
            ):
                yield found[1], int(found[2])


def unseen(place: Path) -> list[str]:
    """What none of the processes that left their notes in `place` saw."""
    notes = [json.loads(note.read_text()) for note in place.glob("*.seen")]
    lines = {(file, line) for note in notes for file, line, _ in note["calls"]}
    words = {(file, said) for note in notes for file, _, said in note["calls"]}
    logged = set(_logged(place))
    run = {name for note in notes for name in note["functions"]}
    found = {kind for note in notes for kind in note["kinds"]} | ELSEWHERE.keys()
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))

    def is_relayed(file: str, pattern: str) -> bool:
        """Whether the words came back from another process, or do so in a test of ELSEWHERE."""
        return bool(re.search("[a-z]{3}", pattern)) and any(
            re.fullmatch(pattern, said, re.DOTALL)
            for where, said in [*words, *((file, said) for said in ELSEWHERE)]
            if where == file
        )

    return [
        *(
            f"sql/functions/{name}: {message}"
            for (name, line), message in raised_in_sql().items()
            if (name, line) not in logged and message not in ELSEWHERE
        ),
        *(
            f"{file}:{line}: " + re.sub(r"\\(.)", r"\1", pattern.replace(".*", "%"))
            for (file, line), pattern in raised_in_python().items()
            if (file, line) not in lines and not is_relayed(file, pattern)
        ),
        *(f"sql/functions/{name}: not run" for name in sorted({n for n, _ in bodies()} - run)),
        *(f"finding: {kind}" for kind in KINDS if kind not in found),
        *(f"no such test: {name}" for name in ELSEWHERE.values() if f"def {name}(" not in tests),
    ]


# -- the run ----------------------------------------------------------------------------------------------------------


def _is_whole(config: pytest.Config) -> bool:
    return (
        config.args_source is pytest.Config.ArgsSource.TESTPATHS
        and config.option.markexpr == "not slow"
        and not config.option.keyword
        and not config.option.lf
        and not config.option.collectonly
        # which leave out what shows another default
        and not any(name.startswith("LLAMALOG_TEST_") for name in os.environ)
    )


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        os.environ.pop(PLACE, None)
        if _is_whole(config):
            os.environ[PLACE] = tempfile.mkdtemp(prefix="llamalog-provoked-")
            os.chmod(os.environ[PLACE], 0o777)  # for the server's user
    if os.environ.get(PLACE):
        for kind in (errors.LlamaLogError, click.ClickException, Finding):
            _note_calls(kind)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not (place := os.environ.get(PLACE)):
        return
    who = os.environ.get("PYTEST_XDIST_WORKER", "main")
    Path(place, f"{who}.seen").write_text(
        json.dumps({"calls": list(calls), "functions": list(functions), "kinds": list(kinds)})
    )
    if not hasattr(session.config, "workerinput"):
        # a test that failed has not provoked what it could
        if exitstatus == pytest.ExitCode.OK and (missing := unseen(Path(place))):
            session.config.stash[_UNSEEN] = missing
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        shutil.rmtree(place)


_UNSEEN = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if missing := config.stash.get(_UNSEEN, []):
        terminalreporter.section("never provoked by a test", red=True)
        for line in missing:
            terminalreporter.write_line(line)
