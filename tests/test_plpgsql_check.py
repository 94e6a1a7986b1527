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
    function.proname || coalesce(' on ' || hung.tgrelid::regclass, '') AS place,
    found.message,
    concat_ws(': ', nullif(found.lineno, 0)::text, found.statement, found.detail, found.hint, found.query) AS more
FROM pg_proc AS function
JOIN pg_language AS language
    ON language.oid = function.prolang
    AND language.lanname = 'plpgsql'
LEFT JOIN pg_trigger AS hung
    ON hung.tgfoid = function.oid
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
    -- a trigger's without a trigger cannot be read
    AND (hung.tgrelid IS NOT NULL OR function.prorettype <> 'trigger'::regtype)
ORDER BY 1, 2, 3, 4
"""


class Finding(NamedTuple):
    """level: error, warning, warning extra, performance, security, compatibility.  place: function, and table of a trigger."""

    level: str
    place: str
    message: str
    more: str


#: (pattern of the place, pattern of the message): why it is meant.
ACCEPTED: dict[tuple[str, str], str] = {}


@pytest.fixture(scope="module")
def checked() -> Iterator[psycopg.Connection[Any]]:
    """A database with the checker and llamalog in it, on a server of its own."""
    if not INSTALLED:
        pytest.skip("plpgsql_check is not installed (Debian: postgresql-15-plpgsql-check)")
    version = int(INSTALLED[-1].parts[-3])
    with (
        embedded.start(version=version) as server,
        psycopg.connect(server.dsn, autocommit=True) as conn,
    ):
        conn.execute("CREATE EXTENSION plpgsql_check")
        conn.execute(MUSIC.read_bytes())
        migrate.migrate(conn)
        yield conn


def findings(conn: psycopg.Connection[Any]) -> list[Finding]:
    return [Finding(*row) for row in conn.execute(FINDINGS.encode()).fetchall()]


def accepted(finding: Finding) -> tuple[str, str] | None:
    return next(
        (
            (place, message)
            for place, message in ACCEPTED
            if re.fullmatch(place, finding.place) and re.search(message, finding.message)
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
    Options(capture="rendered"),
    Options(capture="rendered", image="full"),
    Options(capture="statement"),
    Options(capture="statement", image="full"),
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
    for name in TABLES:
        if options.capture != "statement" or name not in ("parted", "base"):
            watching.watch(conn, [name], options)
    watching.watch(conn, ["plain"], Options(redact=["email"]))


def test_nothing_is_found_in_any_function_or_capture_but_what_is_meant(checked):
    found: list[Finding] = []
    for options in MODES:
        with checked.transaction(force_rollback=True):
            watched(checked, options)
            hung = checked.execute(
                "SELECT count(DISTINCT tgfoid) FROM pg_trigger JOIN pg_proc AS f ON f.oid = tgfoid"
                " WHERE f.pronamespace = 'llamalog'::regnamespace"
            ).fetchone()[0]
            assert hung >= (2 if options.capture == "tolerant" else 3 * 8)
            found += findings(checked)
    assert [finding for finding in found if accepted(finding) is None] == []
    assert {accepted(finding) for finding in found} == set(ACCEPTED)


def test_the_checker_sees_what_it_is_there_for(checked):
    """Else all would be well where it does not run at all."""
    with checked.transaction(force_rollback=True):
        watched(checked, Options(capture="rendered"))
        checked.execute(
            "CREATE FUNCTION llamalog.broken() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN NEW.nonsense := 1; RETURN NULL; END';"
            "CREATE TRIGGER broken AFTER INSERT ON plain FOR EACH ROW EXECUTE FUNCTION llamalog.broken()"
        )
        assert [f.message for f in findings(checked) if f.level == "error"] == [
            'record "new" has no field "nonsense"'
        ]
