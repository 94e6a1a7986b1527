"""Every file of SQL parses as PostgreSQL itself parses it, bodies of PL/pgSQL and rendered templates too, and no migration locks long."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llamalog_sql import migrate
from llamalog_sql.files import sql_directory

SQL = sql_directory()
MIGRATIONS = sorted((SQL / "migrations").glob("*.sql"))
GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.sql"))


@pytest.fixture(scope="module")
def pglast():
    return pytest.importorskip("pglast", reason="pglast is not installed (extra: dev)")


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.name)


@named(MIGRATIONS)
def test_every_migration_parses(pglast, path):
    assert pglast.parse_sql(path.read_text())


@pytest.mark.parametrize("piece", migrate.repeatables(), ids=lambda piece: piece.name)
def test_every_function_view_and_generic_capture_parses(pglast, piece):
    kinds = [type(statement.stmt).__name__ for statement in pglast.parse_sql(piece.text)]
    # a view has a comment on each column too
    shortened = kinds[:2] if set(kinds[1:]) == {"CommentStmt"} and kinds[0] == "ViewStmt" else kinds
    assert shortened in (["CreateFunctionStmt", "CommentStmt"], ["ViewStmt", "CommentStmt"])


def bodies(pglast, text):
    """The statements of a text that hold PL/pgSQL."""
    for statement in pglast.parse_sql(text):
        kind = type(statement.stmt).__name__
        words = text[statement.stmt_location :][: statement.stmt_len or None]
        if kind == "DoStmt" or (kind == "CreateFunctionStmt" and "LANGUAGE plpgsql" in words):
            yield words


TEXTS = {
    **{path.name: path.read_text() for path in MIGRATIONS},
    **{piece.name: piece.text for piece in migrate.repeatables()},
    **{f"golden/{path.name}": path.read_text() for path in GOLDEN},
}


@pytest.mark.parametrize(
    "name", [name for name, text in TEXTS.items() if re.search(r"plpgsql|\bDO \$", text)]
)
def test_every_body_of_plpgsql_parses(pglast, name):
    # it knows no schema but public, takes every type there for one of a row, and of those no arrays
    text = re.sub(r"\bllamalog\.\w+\[\]", "text[]", TEXTS[name]).replace("llamalog.", "public.")
    found = [pglast.parse_plpgsql(body) for body in bodies(pglast, text)]
    assert found
    assert all(parsed[0]["PLpgSQL_function"]["action"] for parsed in found)


# -- what migrations lock ---------------------------------------------------------------------------------------------

#: Rules that say nothing of locks, or nothing that is not so for all migrations: they are applied in one transaction, under the
#: lock_timeout of whoever applies them.
NOT_ASKED = "prefer-bigint-over-int,require-lock-timeout,require-statement-timeout"

#: (file, rule): why it is meant.
ACCEPTED = {
    ("0001_log.sql", "ban-create-domain-with-constraint"): "no table has them yet; see decision 3",
    ("0006_by_statement.sql", "ban-drop-constraint"): "a wider one takes its place at once",
    ("0006_by_statement.sql", "constraint-missing-not-valid"): "one row for each watched table",
    **{
        (name, rule): "said in the file, with the way by hand"
        for name in ("0010_jobs.sql", "0017_keys_by_bytes.sql")
        for rule in ("require-concurrent-index-creation", "require-concurrent-index-deletion")
    },
}


def squawk():
    beside = Path(sys.executable).with_name("squawk")
    return str(beside) if beside.exists() else shutil.which("squawk")


def test_no_migration_locks_an_application_out_but_where_it_is_meant():
    """Rollbacks drop what is theirs."""
    command = squawk()
    if command is None:
        pytest.skip("squawk is not installed (extra: dev)")
    files = [str(path) for path in MIGRATIONS if not path.name.endswith(".rollback.sql")]
    said = subprocess.run(
        [command, "--reporter=json", "--assume-in-transaction", f"--exclude={NOT_ASKED}", *files],
        capture_output=True,
        text=True,
    )
    found = {(Path(one["file"]).name, one["rule_name"]) for one in json.loads(said.stdout)}
    assert found == set(ACCEPTED)
