"""plpgsql_check reads every PL/pgSQL function, ours and those rendered for tables, on every path: also those no test takes.

It finds columns that are not there, values that are cast or lost, queries that text of a caller could break into. What it says
and is meant is named here with the reason; what is named and no longer said must go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from conftest import MUSIC, MUSIC_TABLES

from llamalog_sql import embedded, migrate, watching
from llamalog_sql.watching import Options

#: Debian's package, beside its server; the servers that tests bring along have no extensions.
INSTALLED = sorted(Path("/usr/share/postgresql").glob("*/extension/plpgsql_check.control"))

FINDINGS = """
SELECT DISTINCT
    found.level,
    function.proname,
    found.message,
    concat_ws(': ', found.statement, found.detail, found.query)
FROM pg_proc AS function
JOIN pg_language AS language
    ON language.oid = function.prolang
    AND language.lanname = 'plpgsql'
-- whether it is a capture: that is read with one of the tables on which it hangs
CROSS JOIN LATERAL (SELECT function.prorettype = 'trigger'::regtype) AS capture (is_meant)
LEFT JOIN LATERAL (
    SELECT trigger.*
    FROM pg_trigger AS trigger
    WHERE trigger.tgfoid = function.oid
    LIMIT 1
) AS hung
    ON capture.is_meant
CROSS JOIN LATERAL plpgsql_check_function_tb(
    function.oid,
    coalesce(hung.tgrelid, 0),
    fatal_errors => false,
    performance_warnings => true,
    security_warnings => true,
    compatibility_warnings => true,
    oldtable => hung.tgoldtable,
    newtable => hung.tgnewtable
) AS found
WHERE function.pronamespace = 'llamalog'::regnamespace
    AND (hung.tgrelid IS NOT NULL) = capture.is_meant
    AND capture.is_meant = %s
ORDER BY 1, 2, 3, 4
"""


class Finding(NamedTuple):
    """level: error, warning, warning extra, performance, security or compatibility.  more: the statement, and what of it."""

    level: str
    function: str
    message: str
    more: str


#: (level, pattern of the function, pattern of the message and the rest): why it is meant.
ACCEPTED = {
    (
        "warning|performance",
        ".*",
        'statement block: cast "(text|unknown|regclass)" value to "[^"]+" type',
    ): "a literal, or a table, that a variable begins with is read once",
    (
        "warning|performance",
        "impact_entities|revert_order|revert_references|known_category|let_owner_hang|capture_truncate",
        'target type is different.* cast "(numeric|bigint|numeric\\[\\]|text|oid|regclass\\[\\]|llamalog.category)"',
    ): "a count, a null or a name, few of which there are, in the type of the column that it is for",
    ("warning", "job", 'cast "record\\[\\]" value to "llamalog.family_job\\[\\]"'): (
        "rows with the members of that type, which the checker takes for any"
    ),
    ("warning extra", "as_of_all|stats", "OUT variable .* is maybe unmodified"): (
        "RETURN QUERY EXECUTE sets them"
    ),
    ("warning extra", "tail", "composite OUT variable"): "a row of the log, beside two columns",
    ("warning extra", "resolved_at", "without RETURN"): "its loop ends by RETURN only",
    ("warning extra", "capture_.*_(insert|delete)", 'never read variable "v_category"'): (
        "they are what they are; of the context that all captures read, UPDATE alone needs it"
    ),
    ("warning extra", "capture_row", 'never read variable "v_old_sources"'): (
        "the query gives as much of the old row as of the new one"
    ),
    ("performance", "move_out_of_default", "should be STABLE"): "its dynamic SQL writes",
    (
        "error|warning|warning extra",
        "reconciled_rows",
        "v_judged|result of dynamic SQL|until_seq",
    ): "its dynamic SQL gives the rows of v_judged, and uses the parameter, as the checker cannot know",
    (
        "warning extra",
        "touched_rows",
        "composite OUT variable",
    ): "a change, beside what else is of its row",
    ("performance", "with_present_columns", "should be IMMUTABLE"): "what it calls is STABLE",
    (
        "security",
        "fit_pause",
        "not sanitized",
    ): "what pg_get_functiondef() gives, with a block that is constant",
    ("security", "follow_schema_change|grant_access", "not sanitized"): (
        "made by format() of what the catalogue has, or of constants"
    ),
    (
        "security",
        "capture_row|carry_out_revert|carry_out_step|matching_keys|revert_drift|revert_holder|revert_references|reverted_rows|reconciled_rows|labels",
        "not sanitized|not SQL",
    ): ("queries that functions of ours made by format(), with %I and %L, from the catalogue"),
    ("security", "hang_truncate_capture|take_back_grants", "not sanitized"): (
        "v_grant is made by format() of names in the catalogue a line before"
    ),
    ("security", "fit_row_security", "not sanitized"): (
        "what row_security_steps() has made by format(), with %I and %L, from the catalogue"
    ),
    ("security", "maintain", "not SQL injection safe"): "format() with %L, of months",
}


@pytest.fixture(scope="module")
def checked() -> Iterator[psycopg.Connection[Any]]:
    """A database with the checker and llamalog in it, on a server of its own."""
    if not INSTALLED:
        pytest.skip("plpgsql_check is not installed (Debian: postgresql-15-plpgsql-check)")
    version = int(INSTALLED[-1].parts[-3])
    try:
        embedded.find_binaries(version)
    except embedded.ServerNotFound as error:
        pytest.skip(f"plpgsql_check has no server: {error}")
    with (
        embedded.start(version=version) as server,
        psycopg.connect(server.dsn, autocommit=True) as conn,
    ):
        conn.execute("CREATE EXTENSION plpgsql_check")
        conn.execute(MUSIC.read_bytes())
        migrate.migrate(conn)
        yield conn


def findings(conn: psycopg.Connection[Any], *, of_captures: bool) -> list[Finding]:
    return [Finding(*row) for row in conn.execute(FINDINGS.encode(), [of_captures]).fetchall()]


def accepted(finding: Finding) -> tuple[str, str, str] | None:
    said = f"{finding.message}: {finding.more}"
    return next(
        (
            (level, function, message)
            for level, function, message in ACCEPTED
            if re.fullmatch(level, finding.level)
            and re.fullmatch(function, finding.function)
            and re.search(message, said, re.DOTALL)
        ),
        None,
    )


SHAPES = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE plain (
    id integer PRIMARY KEY,
    name text,
    mood mood,
    moods mood[],
    note json,
    amount numeric,
    spot point,
    email text,
    twice integer GENERATED ALWAYS AS (id * 2) STORED,
    data_quality mood,
    source text,
    updated_at timestamptz
);
CREATE TABLE "Odd one's" (
    "a.b" text COLLATE "C",
    "NEW" date,
    "v_before" jsonb,
    "entity id" text,
    PRIMARY KEY ("a.b", "NEW") DEFERRABLE
);
CREATE TABLE parted (id integer, region text, note text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parted_north PARTITION OF parted FOR VALUES IN ('north');
CREATE TABLE parted_rest PARTITION OF parted DEFAULT PARTITION BY HASH (id);
CREATE TABLE parted_rest_1 PARTITION OF parted_rest FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE base (id integer PRIMARY KEY, note text);
CREATE TABLE heir (more text, PRIMARY KEY (id)) INHERITS (base);
CREATE TABLE noted (id integer PRIMARY KEY, note text);
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
"""
TABLES = [*MUSIC_TABLES, "plain", "Odd one's", "parted", "base", "noted"]
MODES = [
    Options(capture="rendered", image="full"),
    Options(capture="statement"),
    Options(capture="tolerant"),
]


def watched(conn: psycopg.Connection[Any], options: Options) -> None:
    """Watch tables of all shapes; by statement only where there is a choice."""
    conn.execute(SHAPES.encode())
    if options.capture != "statement":
        # or every INSERT would be captured by statement
        conn.execute(
            "CREATE TRIGGER theirs AFTER INSERT ON noted FOR EACH ROW EXECUTE FUNCTION nothing()"
        )
    families = ["parted", "base"]
    watching.watch(
        conn,
        [name for name in TABLES if options.capture != "statement" or name not in families],
        options,
    )
    watching.watch(conn, ["plain"], Options(redact=["email"]))


def test_nothing_is_found_in_any_function_or_capture_but_what_is_meant(checked):
    found = findings(checked, of_captures=False)
    for options in MODES:
        with checked.transaction(force_rollback=True):
            watched(checked, options)
            found += findings(checked, of_captures=True)
    assert [finding for finding in found if accepted(finding) is None] == []
    assert {accepted(finding) for finding in found} == set(ACCEPTED)


def test_the_checker_sees_what_it_is_there_for(checked):
    """Else all would be well where it does not look at all."""
    with checked.transaction(force_rollback=True):
        watched(checked, Options(capture="rendered"))
        # which would take it down again
        checked.execute("ALTER EVENT TRIGGER llamalog_ddl DISABLE")
        checked.execute(
            "CREATE FUNCTION llamalog.broken() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN NEW.nonsense := 1; RETURN NULL; END';"
            "CREATE TRIGGER broken AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION llamalog.broken()"
        )
        captures = checked.execute(
            "SELECT count(DISTINCT tgfoid) FROM pg_trigger JOIN pg_proc AS f ON f.oid = tgfoid"
            " WHERE f.pronamespace = 'llamalog'::regnamespace AND f.proname ~ '^capture'"
        ).fetchone()
        # three for each table but the one with an heir, which is captured tolerantly; TRUNCATE; the tolerant one
        assert captures == (3 * (len(TABLES) - 1) + 2,)
        errors = [f for f in findings(checked, of_captures=True) if f.level == "error"]
        assert [(f.function, f.message) for f in errors] == [
            ("broken", 'record "new" has no field "nonsense"')
        ]
