"""The files of sql/ keep their own rules, and an installed database explains itself."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from llamalog_sql import errors
from llamalog_sql.files import sql_directory

SQL = sql_directory()
ROOT = Path(__file__).parents[1]
FUNCTIONS = sorted((SQL / "functions").glob("*.sql"))
VIEWS = sorted((SQL / "views").glob("*.sql"))
MIGRATIONS = sorted((SQL / "migrations").glob("*.sql"))
TEMPLATES = sorted((SQL / "triggers").glob("*.j2"))
EVERY_FILE = [*MIGRATIONS, *FUNCTIONS, *VIEWS, *TEMPLATES]

#: Words that can be nothing but keywords; those that are also functions, types or values are left out.
RESERVED = """
    all and any array as asc case cast check collate column constraint create cross default desc distinct do else end
    except for foreign from full grant group having in inner intersect into is isnull join lateral leading limit
    natural not null offset on only or order outer primary references returning select some symmetric table then to
    trailing union unique using variadic when where window with
    alter begin by conflict cycle declare delete drop elsif exception execute exists foreach function if immutable
    insert language loop perform raise return returns revoke rows set stable strict update values view volatile
"""
KEYWORDS = set(RESERVED.split())


def named(paths):
    return pytest.mark.parametrize(
        "path", list(paths), ids=lambda path: path.relative_to(SQL).as_posix()
    )


def without_comments(text):
    return re.sub(r"--[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def bare(text):
    """The SQL without what people read (comments, strings, quoted names) and without the template's own language."""
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}|\{\{.*?\}\}", " ", text, flags=re.DOTALL)
    return re.sub(
        r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"", " ", text, flags=re.DOTALL
    )


def created(path):
    """(kind, schema, name) of every object that a file creates."""
    return re.findall(
        r"(?mi)^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(\w+)\s+(?:(\w+)\.)?(\w+)",
        without_comments(path.read_text()),
    )


# -- one object a file ------------------------------------------------------------------------------------------------


@named(FUNCTIONS)
def test_a_function_file_defines_the_function_it_is_named_after(path):
    assert created(path) == [("FUNCTION", "llamalog", path.stem)]
    assert path.read_text().count(f"CREATE OR REPLACE FUNCTION llamalog.{path.stem}(") == 1


@named(VIEWS)
def test_a_view_file_defines_the_view_it_is_named_after(path):
    assert created(path) == [("VIEW", "llamalog", path.stem)]
    assert path.read_text().count(f"CREATE OR REPLACE VIEW llamalog.{path.stem} ") == 1


@named(VIEWS)
def test_every_view_is_read_by_a_test(path):
    """That every function runs, a whole run shows: provoked.py."""
    tests = "".join(test.read_text() for test in Path(__file__).parent.glob("test_*.py"))
    assert re.search(rf"(FROM|JOIN|TABLE) llamalog\.{path.stem}\b", tests)


@named(FUNCTIONS + VIEWS)
def test_every_object_has_a_comment_in_its_file(path):
    kind = "FUNCTION" if path in FUNCTIONS else "VIEW"
    ending = r"\([^)]*\)" if path in FUNCTIONS else ""
    assert re.findall(rf"(?m)^COMMENT ON (\w+) llamalog\.(\w+){ending} IS$", path.read_text()) == [
        (kind, path.stem)
    ]


@named(FUNCTIONS)
def test_every_function_sets_its_search_path_or_says_why_not(path):
    text = path.read_text()
    comments = "\n".join(re.findall(r"--[^\n]*", text))
    assert "\n    SET search_path = pg_catalog, pg_temp\n" in text or "search_path" in comments


@named(path for path in EVERY_FILE if "capture_" in path.name)
def test_the_generic_captures_set_their_search_path(path):
    assert path.read_text().count("\n    SET search_path = pg_catalog, pg_temp\n") == 1


@named(EVERY_FILE)
def test_a_file_opens_with_what_it_gives(path):
    opening = path.read_text().splitlines()[0]
    if path in TEMPLATES and opening.startswith("{%"):
        opening = next(line for line in path.read_text().splitlines() if not line.startswith("{%"))
    assert re.match(r"(-- |\{#- )[A-Z].*[.;:]", opening)


# -- how it is written ------------------------------------------------------------------------------------------------


@named(EVERY_FILE)
def test_no_error_is_caught_unseen(path):
    assert re.search(r"\bWHEN\s+OTHERS\b", bare(path.read_text()), re.IGNORECASE) is None


@named(EVERY_FILE)
def test_keywords_are_upper_case(path):
    words = re.findall(r"(?<![\w.$%:])[a-z_]+\b(?!\s*\()", bare(path.read_text()))
    assert [word for word in words if word in KEYWORDS] == []


@named(EVERY_FILE)
def test_a_file_ends_with_one_newline_and_has_no_stray_space(path):
    text = path.read_text()
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "\t" not in text
    assert re.findall(r"(?m)^.*[ \r]+$", text) == []


@named(EVERY_FILE)
def test_a_file_is_plain_ascii(path):
    """Any database can hold it, whatever its encoding: LATIN1 has no arrow."""
    assert re.findall(r"[^\x00-\x7f]", path.read_text(encoding="utf-8")) == []


@named(path for path in MIGRATIONS if not path.name.endswith(".rollback.sql"))
def test_every_migration_can_be_rolled_back(path):
    assert path.with_suffix(".rollback.sql").is_file()


def test_migrations_are_numbered_one_by_one():
    numbers = [path.name[:4] for path in MIGRATIONS if not path.name.endswith(".rollback.sql")]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


@named(MIGRATIONS)
def test_a_migration_depends_on_those_before_it_and_need_not_say_so(path):
    assert re.findall(r"^\s*-- depends:.*", path.read_text(encoding="utf-8"), re.M) == []


def test_every_rollback_belongs_to_a_migration():
    rollbacks = {
        path.name.removesuffix(".rollback.sql") for path in MIGRATIONS if ".rollback" in path.name
    }
    assert rollbacks == {path.stem for path in MIGRATIONS if ".rollback" not in path.name}


# -- errors -----------------------------------------------------------------------------------------------------------


def codes_in(paths):
    return {code for path in paths for code in re.findall(r"\bLL\d\d\d\b", path.read_text())}


CODES = {
    error.code: error
    for error in vars(errors).values()
    if isinstance(error, type) and (getattr(error, "code", None) or "").startswith("LL")
}
PYTHON = sorted((ROOT / "llamalog_sql").rglob("*.py"))


def test_every_sqlstate_of_ours_has_a_class_of_its_own():
    assert codes_in(EVERY_FILE + PYTHON) == set(CODES)
    assert [code for code, n in Counter(e.code for e in CODES.values()).items() if n > 1] == []
    assert sorted(CODES) == [f"LL{number:03}" for number in range(1, len(CODES) + 1)]


def test_every_sqlstate_of_ours_is_documented_once():
    page = (ROOT / "docs" / "errors.md").read_text()
    documented = re.findall(r"(?m)^\| (LL\d\d\d) \|", page)
    assert documented == sorted(CODES)


def test_every_error_of_the_commands_has_a_sqlstate_that_is_documented():
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"(?m)^\| ((?:[0-9A-Z]{5}(?:, )?)+) \|", page)
    given = {
        code
        for path in PYTHON
        for code in re.findall(r'(?:sqlstate|code(?:: .*)?) ?= ?"(\w{5})"', path.read_text())
    }
    assert given - {code for row in rows for code in row.split(", ")} == set()
    # what says nothing of it, as an error of a client that never came to the server, has one too
    assert errors.LlamaLogError("x").sqlstate == "58000"
    assert errors.translate(psycopg.InterfaceError("the connection is closed")).sqlstate == "58000"


@pytest.mark.parametrize("code", CODES)
def test_every_error_class_says_what_went_wrong(code):
    assert re.fullmatch(r"[A-Z][^\n]*\.", (CODES[code].__doc__ or "").strip().splitlines()[0])


@named(EVERY_FILE)
def test_every_error_raised_has_a_sqlstate_and_says_what_to_do(path):
    """Also one that is caught and raised again in other words carries its code."""
    for statement in re.findall(
        r"\bRAISE\s+EXCEPTION\b.*?;\n", without_comments(path.read_text()), re.DOTALL
    ):
        assert "ERRCODE" in statement
        assert "HINT" in statement or re.fullmatch(
            r"RAISE EXCEPTION USING ERRCODE = '\w+';\n", statement
        )


@named(EVERY_FILE)
def test_every_message_is_lower_case_and_without_full_stop(path):
    messages = re.findall(r"\bRAISE\s+EXCEPTION\s+'((?:[^']|'')*)'", path.read_text())
    assert [m for m in messages if not re.fullmatch(r"(?![A-Z][a-z]).*[^.]", m)] == []


# -- the database explains itself -------------------------------------------------------------------------------------

UNCOMMENTED = {
    "schema": "SELECT nspname FROM pg_namespace"
    " WHERE nspname = 'llamalog' AND obj_description(oid, 'pg_namespace') IS NULL",
    # partitions of the log among them
    "table or view": "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'llamalog'::regnamespace"
    " AND relkind IN ('r', 'p', 'v', 'm', 'f') AND obj_description(oid, 'pg_class') IS NULL",
    # the columns of a view are those of its tables
    "column": "SELECT attrelid::regclass || '.' || attname FROM pg_attribute JOIN pg_class AS c ON c.oid = attrelid"
    " WHERE relnamespace = 'llamalog'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition"
    " AND attnum > 0 AND NOT attisdropped AND col_description(attrelid, attnum) IS NULL",
    "function": "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
    " AND obj_description(oid, 'pg_proc') IS NULL",
    "type": "SELECT oid::regtype::text FROM pg_type AS t WHERE typnamespace = 'llamalog'::regnamespace"
    " AND typelem = 0 AND obj_description(oid, 'pg_type') IS NULL AND NOT EXISTS"
    " (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind <> 'c')",
}


@pytest.mark.parametrize("kind", UNCOMMENTED)
def test_everything_in_an_installed_database_has_a_comment(db, kind):
    assert [row[0] for row in db.execute(UNCOMMENTED[kind].encode())] == []


def test_a_month_made_later_has_a_comment_too(db):
    db.execute("SELECT llamalog.maintain(0, clock => '2031-05-15')")
    assert [row[0] for row in db.execute(UNCOMMENTED["table or view"].encode())] == []


def test_what_is_installed_is_what_the_files_define(db):
    """Nothing is left in the schema that no file makes, what is rendered and the two tables of the installer apart."""
    functions = {
        row[0]
        for row in db.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
        )
    }
    rendered = {
        name
        for name in functions
        if re.fullmatch(r"capture_.*_(insert|update|delete)|(read|labels)_.*", name)
    }
    assert functions - rendered == {path.stem for path in FUNCTIONS} | {
        "capture_row",
        "capture_truncate",
    }
    views = db.execute("SELECT viewname FROM pg_views WHERE schemaname = 'llamalog'")
    assert {row[0] for row in views} == {path.stem for path in VIEWS}
