"""A log that the application kept itself becomes the log: nothing is lost, nobody is kept waiting, and all can be undone."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from conftest import MUSIC, MUSIC_TABLES, sampled, until_alone
from legacy import make
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row, namedtuple_row, tuple_row
from pytest_postgresql import factories

from llamalog_sql import (
    access,
    attention,
    backfill,
    context,
    embedded,
    installation,
    jobs,
    migrate,
    pausing,
    queries,
    stats,
    watching,
)
from llamalog_sql.adoption import adopt, indexes, locks, proof, state, steps, undo
from llamalog_sql.cli import main
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.jobs import Criteria
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]


def _legacy(*, later: bool, adopting: bool) -> Callable[..., None]:
    def load(**address: Any) -> None:
        with psycopg.connect(**{**address, "autocommit": True}) as conn:
            conn.execute(MUSIC.read_bytes())
            make(conn, later=later)
            migrate.migrate(conn)
            watching.watch(conn, MUSIC_TABLES)
            if adopting:
                adopt.adopt(conn, "public.enrichment_logs")

    return load


def _template(name: str, *, later: bool, adopting: bool) -> Any:
    return factories.postgresql_noproc(
        dbname=name, depends_on="server", load=[_legacy(later=later, adopting=adopting)]
    )


first_legacy_template = _template("first_legacy", later=False, adopting=False)
later_legacy_template = _template("later_legacy", later=True, adopting=False)
first_adopted_template = _template("first_adopted", later=False, adopting=True)
later_adopted_template = _template("later_adopted", later=True, adopting=True)

STATES = ["first", "later"]


@pytest.fixture(params=STATES)
def legacy(request: pytest.FixtureRequest, clone: Any) -> Iterator[Connection]:
    """A watched music database with the application's log in it, in each of the two states that it had; nothing adopted."""
    with clone(request.getfixturevalue(f"{request.param}_legacy_template")) as conn:
        yield conn


@pytest.fixture
def first(request: pytest.FixtureRequest, clone: Any) -> Iterator[Connection]:
    """As legacy, in the first state only."""
    with clone(request.getfixturevalue("first_legacy_template")) as conn:
        yield conn


@pytest.fixture(params=STATES)
def adopted(request: pytest.FixtureRequest, clone: Any) -> Iterator[Connection]:
    """As legacy, the log adopted."""
    with clone(request.getfixturevalue(f"{request.param}_adopted_template")) as conn:
        yield conn


@pytest.fixture
def first_adopted(request: pytest.FixtureRequest, clone: Any) -> Iterator[Connection]:
    """As adopted, in the first state only."""
    with clone(request.getfixturevalue("first_adopted_template")) as conn:
        yield conn


@pytest.fixture
def later_adopted(request: pytest.FixtureRequest, clone: Any) -> Iterator[Connection]:
    """As adopted, in the later state only."""
    with clone(request.getfixturevalue("later_adopted_template")) as conn:
        yield conn


@pytest.fixture
def llamalog() -> Callable[..., Any]:
    """llamalog(conn, "adopt", ...) runs the command on the database of the connection."""

    def run(conn: Connection, *arguments: str) -> Any:
        runner = CliRunner(env={"LLAMALOG_DSN": dsn_of(conn), "COLUMNS": "200"})
        return runner.invoke(main, list(arguments), catch_exceptions=False)

    return run


@pytest.fixture
def role(server: SimpleNamespace) -> Iterator[Callable[..., str]]:
    """role(conn, "clerk") makes a role that may log in, and afterwards it and all its rights are gone."""
    made: list[tuple[str, str]] = []

    def make_role(conn: Connection, name: str, attributes: str = "") -> str:
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {attributes}".encode())
        made.append((name, dsn_of(conn)))
        return name

    yield make_role
    for name, dsn in made:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}".encode())
            conn.execute(f"DROP ROLE {name}".encode())


def dsn_of(conn: Connection) -> str:
    address = {**conn.info.get_parameters(), "password": conn.info.password}
    return make_conninfo("", **{key: value for key, value in address.items() if value})


def value(conn: Connection, query: str, *parameters: Any) -> Any:
    found = rows(conn, query, *parameters)
    return found[0][0] if found else None


def rows(conn: Connection, query: str, *parameters: Any) -> list[Any]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode(), parameters or None).fetchall()


def album(n: int) -> str:
    """The id of the n-th album that the fixture made, and of the rows about it."""
    return str(UUID(hashlib.md5(f"album{n}".encode(), usedforsecurity=False).hexdigest()))


def is_later(conn: Connection) -> bool:
    """Whether the log has the columns that the application's own migration had added."""
    return value(conn, "SELECT to_regtype('\"LlamaLogCategory\"')") is not None


OLD_COLUMNS = (
    "id, entity_type, entity_id, artist_id, album_id, track_id, operation, sources, status, reason, fields_enriched,"
    " data_quality_before, data_quality_after, error_message, error_code, retry_count, duration_ms, api_call_count,"
    " metadata, preview_data, job_id, parent_job_id, is_root_job, triggered_by, user_id, created_at"
)


def content(conn: Connection, table: str) -> list[Any]:
    """Every row as the application reads it, by id."""
    more = ", category, root_job_id" if is_later(conn) else ""
    return rows(conn, f"SELECT {OLD_COLUMNS}{more} FROM {table} ORDER BY id")


def insert(conn: Connection, table: str = "public.enrichment_logs", **values: Any) -> Any:
    """A row as the application writes it; in the later state it says a category, which the rules may correct."""
    given = {"operation": "enrichment:album", "status": "SUCCESS", **values}
    if is_later(conn):
        given.setdefault("category", "ENRICHED")
    names = ", ".join(given)
    marks = ", ".join(["%s"] * len(given))
    return value(
        conn, f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id", *given.values()
    )


def logged(conn: Connection, key: Any, columns: str = "category") -> Any:
    """What the lens says of the row of that key."""
    (row,) = rows(conn, f"SELECT {columns} FROM llamalog.log WHERE id = %s", str(key))
    return row[0] if len(row) == 1 else row


def shape_of(conn: Connection, name: str) -> dict[str, Any]:
    """All that the catalogue knows of a table, as SQL says it: what pg_dump would write."""
    oid = value(conn, "SELECT %s::regclass::oid", name)
    return {
        "relation": rows(
            conn,
            "SELECT relname, relkind, relowner::regrole::text, relrowsecurity, relreplident, reloptions, relpersistence,"
            " obj_description(oid, 'pg_class') FROM pg_class WHERE oid = %s",
            oid,
        ),
        "columns": rows(
            conn,
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),"
            " a.attidentity, a.attstorage, a.attcompression, a.attstattarget, a.attacl, col_description(a.attrelid, a.attnum)"
            " FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum"
            " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            oid,
        ),
        "constraints": rows(
            conn,
            "SELECT conname, contype, pg_get_constraintdef(oid), convalidated, obj_description(oid, 'pg_constraint')"
            " FROM pg_constraint WHERE conrelid = %s ORDER BY conname",
            oid,
        ),
        "indexes": rows(
            conn,
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid,"
            " obj_description(indexrelid, 'pg_class') FROM pg_index WHERE indrelid = %s ORDER BY 1",
            oid,
        ),
        "triggers": rows(
            conn,
            "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = %s AND NOT tgisinternal",
            oid,
        ),
        "sequences": rows(
            conn,
            "SELECT pg_get_serial_sequence(%s, a.attname) FROM pg_attribute AS a WHERE a.attrelid = %s AND a.attnum > 0"
            " AND NOT a.attisdropped AND pg_get_serial_sequence(%s, a.attname) IS NOT NULL",
            name,
            oid,
            name,
        ),
        "grants": rows(
            conn,
            "SELECT p.grantor::regrole::text, p.grantee::regrole::text, p.privilege_type, p.is_grantable FROM pg_class AS c"
            " CROSS JOIN aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS p WHERE c.oid = %s ORDER BY 1, 2, 3",
            oid,
        ),
    }


def refusal_of(act: Callable[[], object]) -> tuple[str, str | None, str | None]:
    """What is said, its SQLSTATE and the hint, of what must fail."""
    with pytest.raises(LlamaLogError) as caught:
        act()
    return str(caught.value), caught.value.sqlstate, caught.value.hint


# -- 1. adopting changes no row ---------------------------------------------------------------------------------------


def test_adopting_changes_no_row(legacy):
    before = content(legacy, "public.enrichment_logs")
    report = adopt.adopt(legacy, "public.enrichment_logs")
    assert report.row_count == 260
    assert report.before == report.after
    assert len(report.before) == 32
    assert content(legacy, "public.llama_logs") == before
    assert content(legacy, "public.enrichment_logs") == before


def test_everything_named_after_the_table_bears_the_new_name(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    left = rows(
        legacy,
        "SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relname LIKE '%%enrichment_logs%%'"
        " UNION ALL SELECT conname, 'c' FROM pg_constraint WHERE conname LIKE '%%enrichment_logs%%'",
    )
    assert left == [("enrichment_logs", "v")]
    names = [
        name
        for (name,) in rows(
            legacy,
            "SELECT conname FROM pg_constraint WHERE conrelid = 'public.llama_logs'::regclass",
        )
    ]
    assert "llama_logs_pkey" in names
    assert all(name.startswith("llama_logs_") for name in names)
    indexes = {
        name
        for (name,) in rows(
            legacy,
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'public.llama_logs'::regclass",
        )
    }
    assert {"llama_logs_album_id_created_at_idx", "llama_logs_sources_idx"} < indexes
    assert all(name.startswith("llama_logs_") for name in indexes)


def test_no_foreign_key_leads_from_the_log_to_the_application(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("DELETE FROM tracks; DELETE FROM albums")
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'public.llama_logs'::regclass",
        )
        == 0
    )
    assert value(legacy, "SELECT count(*) FROM public.llama_logs WHERE op IS NULL") == 260


def test_a_log_that_bears_the_name_already_is_adopted_without_a_view(legacy):
    legacy.execute("ALTER TABLE enrichment_logs RENAME TO llama_logs")
    before = content(legacy, "public.llama_logs")
    shape = shape_of(legacy, "public.llama_logs")
    report = adopt.adopt(legacy, "public.llama_logs")
    assert (report.row_count, report.before) == (260, report.after)
    assert content(legacy, "public.llama_logs") == before
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace",
        )
        == 0
    )
    assert insert(legacy, "public.llama_logs") is not None
    undo.undo(legacy)
    assert shape_of(legacy, "public.llama_logs") == shape
    assert value(legacy, "SELECT count(*) FROM public.llama_logs") == 261


def test_a_log_in_another_schema_with_names_that_need_quotes_is_adopted(legacy):
    legacy.execute('CREATE SCHEMA "My Logs"; ALTER TABLE enrichment_logs SET SCHEMA "My Logs"')
    legacy.execute('ALTER TABLE "My Logs".enrichment_logs RENAME TO "Enrichment Log"')
    report = adopt.adopt(legacy, '"My Logs"."Enrichment Log"')
    assert (report.row_count, report.before) == (260, report.after)
    legacy.execute("UPDATE albums SET title = 'New' WHERE id = %s", [album(1)])
    assert value(legacy, 'SELECT count(*) FROM "My Logs"."Enrichment Log"') == 261
    undo.undo(legacy)
    assert value(legacy, 'SELECT count(*) FROM "My Logs"."Enrichment Log"') == 261


# -- 2. the old application's statements ------------------------------------------------------------------------------


def write_as_before(conn: Connection, table: str) -> list[Any]:
    """Run what the application runs, and return what it gets to see."""
    later = is_later(conn)
    columns, values = (", category", ", 'CREATED'") if later else ("", "")
    key = "00000000-0000-4000-8000-000000000001"
    seen: list[Any] = []
    seen += rows(
        conn,
        f"INSERT INTO {table} (id, entity_type, entity_id, album_id, operation, sources, status, fields_enriched, job_id,"
        f" is_root_job, user_id, metadata, created_at{columns}) VALUES (%s, 'ALBUM', %s, %s, 'MANUAL_CREATE', '{{SPOTIFY}}',"
        f" 'SUCCESS', '{{title}}', 'job-1', true, 'cuid-ann', '{{\"a\": 1.0}}', '2026-02-03 04:05:06.789'{values})"
        " RETURNING id::text, status::text, retry_count, created_at::text",
        key,
        album(1),
        album(1),
    )
    (row,) = rows(
        conn,
        f"INSERT INTO {table} (operation, status{columns}) VALUES ('enrichment:album', 'IN_PROGRESS'{values})"
        " RETURNING id, retry_count, is_root_job, created_at > now() AT TIME ZONE current_setting('TimeZone') - interval '1 minute'",
    )
    seen.append(row[1:])
    seen += rows(
        conn,
        f"INSERT INTO {table} (id, operation, status{columns}) VALUES (%s, 'MANUAL_CREATE', 'SUCCESS'{values})"
        " ON CONFLICT (id) DO UPDATE SET status = 'PARTIAL_SUCCESS', retry_count = 3 RETURNING operation, status::text, retry_count",
        key,
    )
    seen += rows(
        conn,
        f"UPDATE {table} SET status = 'FAILED', error_code = 'E1' WHERE id = %s RETURNING operation, status::text, error_code",
        row[0],
    )
    seen += rows(
        conn,
        f"SELECT operation FROM {table} WHERE album_id = %s ORDER BY created_at DESC LIMIT 2",
        album(1),
    )
    seen += rows(
        conn,
        f"SELECT count(*) FROM {table} WHERE entity_type = 'ALBUM' AND entity_id = %s",
        album(1),
    )
    seen += rows(
        conn,
        f"SELECT operation FROM {table} WHERE status = 'FAILED' AND created_at > '2025-03-01' ORDER BY created_at DESC LIMIT 1",
    )
    seen += rows(conn, f"DELETE FROM {table} WHERE id = %s RETURNING user_id", key)
    return seen


SEEN = [
    ("00000000-0000-4000-8000-000000000001", "SUCCESS", 0, "2026-02-03 04:05:06.789"),
    (0, False, True),
    ("MANUAL_CREATE", "PARTIAL_SUCCESS", 3),
    ("enrichment:album", "FAILED", "E1"),
    ("MANUAL_CREATE",),
    ("enrichment:album",),
    (4,),
    ("enrichment:album",),
    ("cuid-ann",),
]


def test_the_applications_statements_pass_as_before_under_both_names(legacy):
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    adopt.adopt(legacy, "public.enrichment_logs")
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    assert write_as_before(legacy, "public.llama_logs") == SEEN


def test_they_pass_between_any_two_steps(legacy, connect, monkeypatch):
    application = connect(legacy)
    seen = []
    real = locks.exclusively

    def stepwise(*arguments):
        real(*arguments)
        seen.append(write_as_before(application, "public.enrichment_logs") == SEEN)

    monkeypatch.setattr(locks, "exclusively", stepwise)
    adopt.adopt(legacy, "public.enrichment_logs")
    assert seen == [True] * 6
    undo.undo(
        legacy
    )  # the four keys come back, and each is validated, in transactions of their own
    assert seen == [True] * 18


def plan_of(conn: Connection, query: str) -> str:
    return "\n".join(line for (line,) in rows(conn, f"EXPLAIN {query}"))


def test_they_use_the_index_that_they_used_before(first):
    first.execute('DROP TABLE enrichment_logs; TRUNCATE albums, tracks, "User" CASCADE')
    make(first, albums=1500)
    expected = {
        f"album_id = '{album(7)}' ORDER BY created_at DESC LIMIT 20": "album_id_created_at_idx",
        f"entity_type = 'ALBUM' AND entity_id = '{album(7)}'": "entity_type_entity_id_idx",
        "status = 'FAILED' AND created_at > '2025-03-01 00:00:00'": "status_created_at_idx",
        "parent_job_id = 'create-7'": "parent_job_id_idx",
        "id = '00000000-0000-4000-8000-000000000001'": "pkey",
    }

    def use(log: str, table: str) -> None:
        for condition, index in expected.items():
            assert f"{log}_{index}" in plan_of(first, f"SELECT * FROM {table} WHERE {condition}")

    use("enrichment_logs", "public.enrichment_logs")
    adopt.adopt(first, "public.enrichment_logs")
    use("llama_logs", "public.enrichment_logs")
    use("llama_logs", "public.llama_logs")


def rights(conn: Connection, who: str, table: str) -> list[str]:
    return [
        right
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
        if value(conn, "SELECT has_table_privilege(%s, %s, %s)", who, table, right)
    ]


def test_a_role_has_the_same_rights_under_both_names(legacy, role):
    writer, reader = role(legacy, "log_writer"), role(legacy, "log_reader")
    legacy.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON enrichment_logs TO {writer}")
    legacy.execute(f"GRANT SELECT ON enrichment_logs TO {reader} WITH GRANT OPTION")
    adopt.adopt(legacy, "public.enrichment_logs")
    for table in ("public.enrichment_logs", "public.llama_logs"):
        assert rights(legacy, writer, table) == ["SELECT", "INSERT", "UPDATE", "DELETE"]
        assert rights(legacy, reader, table) == ["SELECT"]
        assert value(
            legacy, "SELECT has_table_privilege(%s, %s, 'SELECT WITH GRANT OPTION')", reader, table
        )
        legacy.execute(f"SET ROLE {writer}")
        assert write_as_before(legacy, table) == SEEN
        legacy.execute(f"SET ROLE {reader}")
        assert value(legacy, f"SELECT count(*) >= 260 FROM {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            insert(legacy, table)
        legacy.execute("RESET ROLE")


def test_rights_on_single_columns_hold_under_both_names(legacy, role):
    clerk = role(legacy, "log_clerk")
    legacy.execute(f"GRANT SELECT (id, status), UPDATE (status) ON enrichment_logs TO {clerk}")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute(f"SET ROLE {clerk}")
    for table in ("public.enrichment_logs", "public.llama_logs"):
        assert value(legacy, f"SELECT count(*) FROM {table} WHERE status = 'SUCCESS'") == 259
        legacy.execute(f"UPDATE {table} SET status = 'SUCCESS'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            legacy.execute(f"SELECT operation FROM {table}")
        legacy.execute("RESET ROLE")
        legacy.execute("UPDATE llama_logs SET status = 'FAILED' WHERE error_code = 'TIMEOUT'")
        legacy.execute(f"SET ROLE {clerk}")
    legacy.execute("RESET ROLE")


def test_a_table_that_another_adopts_for_its_owner_stays_his_under_both_names(legacy, role):
    shopkeeper = role(legacy, "shopkeeper")
    legacy.execute(f"ALTER TABLE enrichment_logs OWNER TO {shopkeeper}")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute(f"SET ROLE {shopkeeper}")
    for table in ("public.enrichment_logs", "public.llama_logs"):
        assert write_as_before(legacy, table) == SEEN
    legacy.execute("RESET ROLE")
    undo.undo(legacy)
    legacy.execute(f"SET ROLE {shopkeeper}")
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    legacy.execute("RESET ROLE")


def test_a_writer_of_the_log_needs_no_right_on_the_schema_of_ours(legacy, role):
    writer = role(legacy, "log_writer")
    legacy.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON enrichment_logs TO {writer}")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("REVOKE ALL ON SCHEMA llamalog FROM PUBLIC")
    legacy.execute(f"SET ROLE {writer}")
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    assert write_as_before(legacy, "public.llama_logs") == SEEN
    legacy.execute("RESET ROLE")


# -- 3. a client generated from the old schema reads every row --------------------------------------------------------

ENUMS = {
    "entity_type": '"EnrichmentEntityType"',
    "status": '"EnrichmentStatus"',
    "data_quality_before": '"DataQuality"',
    "data_quality_after": '"DataQuality"',
    "category": '"LlamaLogCategory"',
}


def write_in_every_way(conn: Connection) -> SimpleNamespace:
    """Let capture write a row of each kind, and record_failure too."""
    conn.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY, label text);"
        "CREATE TABLE slots (shelf integer, place text, note text, PRIMARY KEY (shelf, place))"
    )
    watching.watch(conn, ["shelves", "slots"])
    long = "j" * 150
    ids = SimpleNamespace(long=long)
    ids.album = str(
        value(
            conn,
            "INSERT INTO albums (title, updated_at) VALUES ('Kid A', '2026-01-01') RETURNING id",
        )
    )
    ids.artist = str(
        value(
            conn,
            "INSERT INTO artists (name, updated_at) VALUES ('Radiohead', '2026-01-01') RETURNING id",
        )
    )
    with conn.transaction():
        conn.execute(
            "SELECT llamalog.set_context('spotify_sync', %s, 'p' || %s, 'ann', operation => repeat('o', 150),"
            " triggered_by => repeat('t', 120))",
            [long, long],
        )
        ids.track = str(
            value(
                conn,
                "INSERT INTO tracks (album_id, title, track_number, updated_at)"
                " VALUES (%s, 'Idioteque', 8, '2026-01-01') RETURNING id",
                ids.album,
            )
        )
    for n, category in enumerate(
        ["ENRICHED", "CORRECTED", "CACHED", "FAILED", "USER_ACTION", "UPDATED", "", "no category"]
    ):
        with conn.transaction():
            conn.execute("SELECT set_config('llamalog.category', %s, true)", [category])
            conn.execute("UPDATE albums SET track_count = %s WHERE id = %s", [n, ids.album])
    conn.execute("UPDATE albums SET data_quality = 'HIGH' WHERE id = %s", [ids.album])
    conn.execute(
        "INSERT INTO album_artists (album_id, artist_id) VALUES (%s, %s)", [ids.album, ids.artist]
    )
    conn.execute("DELETE FROM album_artists WHERE album_id = %s", [ids.album])
    conn.execute("INSERT INTO shelves VALUES (1, 'top')")
    conn.execute("UPDATE shelves SET label = 'bottom'")
    conn.execute("INSERT INTO slots VALUES (1, 'left,most', 'x')")
    conn.execute("UPDATE slots SET note = 'y'")
    conn.execute("TRUNCATE shelves")
    conn.execute("DELETE FROM tracks WHERE id = %s", [ids.track])
    conn.execute("DELETE FROM slots")
    conn.execute(
        "SELECT llamalog.record_failure('no answer', 'TIMEOUT' || repeat('!', 60), %s, 'ALBUM', %s, 'enrichment',"
        " retry_count => 2, duration_ms => 12, sources => '{SPOTIFY}')",
        [long, ids.album],
    )
    return ids


WRITTEN = [
    # category, entity type, link type, op
    ("CREATED", "ALBUM", None, "I"),
    ("CREATED", "ARTIST", None, "I"),
    ("CREATED", "TRACK", None, "I"),
    ("ENRICHED", "ALBUM", None, "U"),
    ("CORRECTED", "ALBUM", None, "U"),
    ("CACHED", "ALBUM", None, "U"),
    ("FAILED", "ALBUM", None, "U"),
    ("USER_ACTION", "ALBUM", None, "U"),
    ("UPDATED", "ALBUM", None, "U"),
    ("UPDATED", "ALBUM", None, "U"),
    ("UPDATED", "ALBUM", None, "U"),
    ("UPDATED", "ALBUM", None, "U"),
    ("LINKED", "ALBUM", "ALBUM_ARTIST", "I"),
    ("UNLINKED", "ALBUM", "ALBUM_ARTIST", "D"),
    ("CREATED", "SHELF", None, "I"),
    ("UPDATED", "SHELF", None, "U"),
    ("CREATED", "SLOT", None, "I"),
    ("UPDATED", "SLOT", None, "U"),
    ("TRUNCATED", "SHELF", None, "T"),
    ("DELETED", "TRACK", None, "D"),
    ("DELETED", "SLOT", None, "D"),
    ("FAILED", "ALBUM", None, None),
]


def test_a_client_of_the_old_schema_reads_every_row_that_capture_writes(adopted):
    before = {
        column: (kind, not_null)
        for column, kind, not_null, *_ in shape_of(adopted, "public.llama_logs")["columns"]
        if column in [*OLD_COLUMNS.split(", "), *ENUMS, "root_job_id"]
    }
    write_in_every_way(adopted)
    types = {c: k for c, k, *_ in shape_of(adopted, "public.enrichment_logs")["columns"]}
    assert {c: before[c][0] for c in types} == types
    known = {
        column: {
            label for (label,) in rows(adopted, f"SELECT unnest(enum_range(NULL::{kind}))::text")
        }
        for column, kind in ENUMS.items()
        if column in types
    }
    required = [column for column in types if before[column][1]]
    assert set(required) >= {
        "id",
        "operation",
        "status",
        "retry_count",
        "is_root_job",
        "created_at",
    }
    with adopted.cursor(row_factory=dict_row) as cursor:
        seen = cursor.execute("SELECT * FROM public.enrichment_logs").fetchall()
    assert len(seen) == 260 + len(WRITTEN)
    for row in seen:
        assert all(row[column] is not None for column in required)
        assert all(row[column] in known[column] | {None} for column in known)
        assert len(row["operation"]) <= 100
        assert isinstance(row["id"], UUID)
        assert isinstance(row["entity_id"], UUID | None)


def test_the_lens_shows_the_exact_values(adopted):
    ids = write_in_every_way(adopted)
    new = "seq >= 10000000000001 ORDER BY seq"
    assert (
        rows(adopted, f"SELECT category, entity_type, link_type, op FROM llamalog.log WHERE {new}")
        == WRITTEN
    )
    assert rows(
        adopted,
        "SELECT entity_id FROM llamalog.log WHERE entity_type = 'SLOT' AND op = 'D'",
    ) == [("1,left\\,most",)]
    (track,) = rows(
        adopted,
        "SELECT entity_id, operation, parent_job_id, triggered_by, user_id, source, job_id FROM llamalog.log"
        " WHERE entity_type = 'TRACK' AND op = 'I' AND seq >= 10000000000001",
    )
    assert track == (
        ids.track,
        "o" * 150,
        f"{ids.long}/ALBUM:{ids.album}",
        "t" * 120,
        "ann",
        "spotify_sync",
        None,
    )
    (failed,) = rows(
        adopted,
        "SELECT status, error_message, error_code, job_id, retry_count, duration_ms, sources FROM llamalog.log"
        " WHERE op IS NULL AND seq >= 10000000000001",
    )
    assert failed == (
        "FAILED",
        "no answer",
        ("TIMEOUT" + "!" * 60)[:50],
        ids.long,
        2,
        12,
        ["SPOTIFY"],
    )
    # an instant of ours has microseconds, the application's three digits
    assert value(
        adopted,
        "SELECT bool_or(extract(microseconds FROM created_at)::int % 1000 <> 0) FROM llamalog.log WHERE op IS NOT NULL",
    )
    assert value(
        adopted,
        "SELECT bool_and(abs(extract(epoch FROM log.created_at - theirs.created_at AT TIME ZONE 'UTC')) <= 0.0005)"
        " FROM llamalog.log AS log JOIN public.enrichment_logs AS theirs ON theirs.id::text = log.id",
    )


def test_the_applications_ids_name_what_is_there_and_nothing_that_was_deleted(adopted):
    ids = write_in_every_way(adopted)
    found = rows(
        adopted,
        "SELECT log.category, log.entity_type, theirs.album_id::text, theirs.artist_id::text, theirs.track_id::text"
        " FROM llamalog.log AS log JOIN public.enrichment_logs AS theirs ON theirs.id::text = log.id"
        " WHERE log.op IS NOT NULL AND log.category <> 'UPDATED' ORDER BY log.seq",
    )
    assert found == [
        ("CREATED", "ALBUM", ids.album, None, None),
        ("CREATED", "ARTIST", None, ids.artist, None),
        ("CREATED", "TRACK", ids.album, None, ids.track),
        ("ENRICHED", "ALBUM", ids.album, None, None),
        ("CORRECTED", "ALBUM", ids.album, None, None),
        ("CACHED", "ALBUM", ids.album, None, None),
        ("FAILED", "ALBUM", ids.album, None, None),
        ("USER_ACTION", "ALBUM", ids.album, None, None),
        ("LINKED", "ALBUM", ids.album, ids.artist, None),
        ("UNLINKED", "ALBUM", None, None, None),
        ("CREATED", "SHELF", None, None, None),
        ("CREATED", "SLOT", None, None, None),
        ("TRUNCATED", "SHELF", None, None, None),
        ("DELETED", "TRACK", None, None, None),
        ("DELETED", "SLOT", None, None, None),
    ]


def test_the_application_sees_the_nearest_category_that_it_knows(later_adopted):
    adopted = later_adopted
    write_in_every_way(adopted)
    assert rows(
        adopted,
        "SELECT DISTINCT log.category, theirs.category::text FROM llamalog.log AS log"
        " JOIN public.enrichment_logs AS theirs ON theirs.id::text = log.id WHERE log.seq >= 10000000000001 ORDER BY 1",
    ) == [
        ("CACHED", "CACHED"),
        ("CORRECTED", "CORRECTED"),
        ("CREATED", "CREATED"),
        ("DELETED", "CORRECTED"),
        ("ENRICHED", "ENRICHED"),
        ("FAILED", "FAILED"),
        ("LINKED", "LINKED"),
        ("TRUNCATED", "CORRECTED"),
        ("UNLINKED", "LINKED"),
        ("UPDATED", "ENRICHED"),
        ("USER_ACTION", "USER_ACTION"),
    ]


def test_enums_can_be_given_the_values_that_they_lack(legacy):
    legacy.execute("CREATE TABLE shelves (id uuid PRIMARY KEY DEFAULT gen_random_uuid())")
    watching.watch(legacy, ["shelves"])
    report = adopt.adopt(legacy, "public.enrichment_logs", extend_enums=True)
    assert (report.row_count, report.before) == (260, report.after)
    legacy.execute("INSERT INTO shelves DEFAULT VALUES; DELETE FROM shelves")
    columns = "entity_type::text" + (", category::text" if is_later(legacy) else "")
    seen = rows(
        legacy,
        f"SELECT {columns} FROM enrichment_logs WHERE entity_type = 'SHELF' ORDER BY created_at",
    )
    assert [row[1:] for row in seen] == (
        [("CREATED",), ("DELETED",)] if is_later(legacy) else [(), ()]
    )
    exact = "count(exact_entity_type)" + (", count(exact_category)" if is_later(legacy) else "")
    assert set(rows(legacy, f"SELECT {exact} FROM llama_logs")[0]) == {0}
    assert rows(
        legacy, "SELECT category FROM llamalog.log WHERE entity_type = 'SHELF' ORDER BY seq"
    ) == [
        ("CREATED",),
        ("DELETED",),
    ]


# -- 4. rows of the application's own ---------------------------------------------------------------------------------

OPERATIONS = {
    "MANUAL_CREATE": "CREATED",
    "collection:album-added": "USER_ACTION",
    "artist:created": "CREATED",
    "album:created:spotify-sync": "CREATED",
    "track:created:spotify-sync": "CREATED",
    "album:created:musicbrainz-sync": "CREATED",
    "album:created:deezer-import": "CREATED",
    "listenbrainz:sync-fresh-releases": "ENRICHED",
    "deezer:sync-editorial-releases": "ENRICHED",
    "check:album-enrichment": "ENRICHED",
    "enrichment:album": "ENRICHED",
    "track:created:enrichment": "CREATED",
    "artist:created:track-child": "CREATED",
    "cache:album-cover-art": "CACHED",
    "cache:artist-image": "CACHED",
    "admin_correction": "CORRECTED",
    "manual_correction": "CORRECTED",
    "track:failed:enrichment": "FAILED",
    "PREVIEW_ENRICHMENT": "ENRICHED",
    "SPOTIFY_TRACK_FALLBACK": "ENRICHED",
    "similar-artists-sync": "ENRICHED",
    "recommendation:created": "USER_ACTION",
    "game-pool:add": "USER_ACTION",
}


def test_the_rules_give_what_the_application_inserts_its_category(adopted):
    for operation, category in OPERATIONS.items():
        for table in ("public.enrichment_logs", "public.llama_logs"):
            key = insert(adopted, table, operation=operation)
            assert (operation, logged(adopted, key)) == (operation, category)
            key = insert(adopted, table, operation=operation, status="FAILED")
            assert (operation, logged(adopted, key)) == (operation, "FAILED")


def test_what_no_rule_knows_keeps_the_category_that_the_application_gives(
    first_adopted, later_adopted
):
    first, later = first_adopted, later_adopted
    assert logged(first, insert(first, operation="tidy up")) == "UPDATED"
    assert logged(later, insert(later, operation="tidy up", category="CACHED")) == "CACHED"


def test_the_application_reads_the_category_that_it_gave(later_adopted):
    later = later_adopted
    key = insert(later, operation="admin_correction", category="CREATED")
    assert logged(later, key) == "CORRECTED"
    assert value(later, "SELECT category FROM enrichment_logs WHERE id = %s", key) == "CREATED"


def test_a_row_that_fails_later_becomes_failed_in_the_lens(adopted):
    key = insert(adopted, operation="enrichment:album", status="IN_PROGRESS")
    assert logged(adopted, key) == "ENRICHED"
    adopted.execute("UPDATE enrichment_logs SET status = 'FAILED' WHERE id = %s", [key])
    assert logged(adopted, key) == "FAILED"
    adopted.execute("UPDATE llama_logs SET status = 'SUCCESS' WHERE id = %s", [key])
    assert logged(adopted, key) == "ENRICHED"
    # and one of those that were there before
    old = value(
        adopted,
        "SELECT id FROM enrichment_logs WHERE operation = 'enrichment:album' AND status = 'SUCCESS' LIMIT 1",
    )
    adopted.execute("UPDATE enrichment_logs SET status = 'FAILED' WHERE id = %s", [old])
    assert logged(adopted, old) == "FAILED"


def test_a_row_of_the_applications_keeps_its_id_and_its_instant_and_stands_after_the_old_ones(
    adopted,
):
    key = insert(
        adopted,
        id="00000000-0000-4000-8000-000000000001",
        created_at="2024-02-29 01:02:03.456",
        job_id="j",
        parent_job_id="p",
    )
    assert logged(adopted, key, "id, created_at, op, job_id, db_user") == (
        "00000000-0000-4000-8000-000000000001",
        datetime(2024, 2, 29, 1, 2, 3, 456000, tzinfo=UTC),
        None,
        "j",
        "postgres",
    )
    assert value(adopted, "SELECT max(seq) FROM llamalog.log") == logged(adopted, key, "seq")
    if not is_later(adopted):
        assert logged(adopted, key, "root_job_id") == "p"


def test_nobody_but_capture_says_that_something_was_captured(adopted, role):
    writer = role(adopted, "log_writer")
    adopted.execute(f"GRANT SELECT, INSERT ON llama_logs TO {writer}")
    adopted.execute(f"SET ROLE {writer}")
    claim = {
        "op": "D",
        "before": '{"a": 1}',
        "after": '{"a": 2}',
        "link_type": "ALBUM_ARTIST",
        "previous_id": "x",
        "seq": 1,
        "db_user": "somebody",
        "txid": "1",
        "transaction_at": "1999-01-01",
        "exact_created_at": "1999-01-01",
    }
    key = insert(adopted, "public.llama_logs", **claim)
    adopted.execute("RESET ROLE")
    assert logged(
        adopted,
        key,
        "op, before, after, link_type, previous_id, seq >= 10000000000001, db_user, txid = '1', transaction_at > '2020-01-01',"
        " created_at > '2020-01-01'",
    ) == (None, None, None, None, None, True, "postgres", False, True, True)


def test_roles_of_ours_keep_their_rights_and_a_writer_says_nothing_that_capture_says(
    first_adopted, role
):
    """What they had rights on gave way to a view; who writes rows of his own writes them into his own table."""
    assert access.lacking(first_adopted) == {}
    writer = role(first_adopted, "log_writer")
    first_adopted.execute(f"GRANT llamalog_writer TO {writer}; SET ROLE {writer}")
    first_adopted.execute("SELECT llamalog.record_failure('timeout', job_id => 'own')")
    for column, claim in {"op": "'D'", "id": "1", "before": "'{}'", "db_user": "'ann'"}.items():
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            first_adopted.execute(
                f"INSERT INTO llamalog.llama_logs (operation, category, {column}) VALUES ('own', 'ENRICHED', {claim})"
            )
    first_adopted.execute("RESET ROLE")
    assert first_adopted.execute(
        "SELECT op, category, db_user FROM llamalog.log WHERE job_id = 'own'"
    ).fetchall() == [(None, "FAILED", "postgres")]


# -- 5. questions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["rendered", "statement", "tolerant"])
def test_history_follows_a_change_of_the_key(first_adopted, capture):
    first_adopted.execute("CREATE TABLE pages (id integer PRIMARY KEY, name text)")
    watching.watch(first_adopted, ["pages"], Options(capture=capture))
    first_adopted.execute("INSERT INTO pages VALUES (1, 'a'), (2, 'b')")
    first_adopted.execute("UPDATE pages SET id = id + 10")
    assert [
        (change.category, change.previous_id, change.entity_id)
        for change in queries.history(first_adopted, "PAGE", "12")
    ] == [("UPDATED", "2", "12"), ("CREATED", None, "2")]


def test_jobs_and_their_impact_span_old_rows_and_new_ones(first_adopted):
    conn = first_adopted
    conn.execute(
        "UPDATE public.llama_logs SET parent_job_id = 'old-cron' WHERE job_id = 'create-3'"
    )
    with context(conn, source="spotify_sync", job_id="sync-7", parent_job_id="create-3"):
        conn.execute(
            "INSERT INTO tracks (album_id, title, track_number, updated_at) VALUES (%s, 'x', 99, now())",
            [album(3)],
        )
    assert jobs.job(conn, "sync-7")[0].job_id == "old-cron"
    assert jobs.job(conn, "sync-7")[-1].job_id == f"sync-7/ALBUM:{album(3)}"
    assert [(i.entity_type, i.categories) for i in jobs.impact(conn, Criteria("sync-7"))] == [
        ("TRACK", {"CREATED": 1})
    ]
    family = {node.job_id for node in jobs.job(conn, "create-3") if node.depth >= 0}
    assert {"create-3", "sync-7"} < family
    conn.execute("SET enable_seqscan = off")
    plan = plan_of(
        conn,
        "SELECT parent_job_id FROM llamalog.log WHERE parent_job_id ~>=~ 'sync-7/' AND parent_job_id ~<~ 'sync-70'",
    )
    assert "llama_logs_lens_parent_job_id_idx" in plan
    assert "llama_logs_default_parent_job_id_id_idx" in plan


def test_questions_answer_over_old_rows_before_any_backfill(adopted):
    told = queries.history(adopted, "ALBUM", album(3))
    assert [(change.operation, change.category) for change in told] == [
        ("enrichment:album", "ENRICHED"),
        ("check:album-enrichment", "ENRICHED"),
        ("album:created:spotify-sync", "CREATED"),
    ]
    assert told[-1].created_at == datetime(2025, 3, 1, 0, 3, 0, 100000, tzinfo=UTC)
    page = queries.chain(adopted, "ALBUM", album(3), limit=100)
    assert page.total_count == 13
    assert [row.entity_type for row in page.logs] == ["ALBUM"] * 3 + ["TRACK"] * 10
    tree = queries.tree(adopted, "ALBUM", album(3))
    assert [(node.depth, node.job_id, node.operation) for node in tree[:5]] == [
        (0, "sync-0", None),
        (1, "create-3", "album:created:spotify-sync"),
        (2, "check-3", None),
        (3, "check-3", "check:album-enrichment"),
        (3, "enrich-3", None),
    ]
    assert len(queries.why(adopted, "ALBUM", album(3))) == 3
    (found,) = [f for f in queries.find(adopted, "Album 3") if f.label == "Album 3"]
    assert found.entity_id == album(3)


def test_they_answer_over_old_and_captured_rows_together(adopted):
    adopted.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album(3)])
    key = insert(
        adopted, entity_type="ALBUM", entity_id=album(3), operation="cache:album-cover-art"
    )
    adopted.execute(
        "UPDATE tracks SET title = 'New' WHERE album_id = %s AND track_number = 1", [album(3)]
    )
    adopted.execute("DELETE FROM albums WHERE id = %s", [album(3)])
    told = queries.history(adopted, "ALBUM", album(3))
    assert [(change.op, change.category) for change in told] == [
        ("D", "DELETED"),
        (None, "CACHED"),
        ("U", "UPDATED"),
        (None, "ENRICHED"),
        (None, "ENRICHED"),
        (None, "CREATED"),
    ]
    assert told[1].id == str(key)
    assert told[2].after == {"label": "Parlophone"}
    page = queries.chain(adopted, "ALBUM", album(3), limit=100)
    assert page.total_count == 13 + 2 + 1 + 10 + 1
    assert [row.category for row in page.logs][13:16] == ["UPDATED", "CACHED", "UPDATED"]
    assert queries.why(adopted, "ALBUM", album(3))
    assert queries.tree(adopted, "ALBUM", album(3))


def test_pages_neither_skip_nor_repeat_rows_of_one_millisecond(adopted):
    adopted.execute("UPDATE enrichment_logs SET created_at = '2025-03-01 00:03:00.100'")
    adopted.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album(3)])
    seen, cursor = [], None
    while True:
        page = queries.chain(adopted, "ALBUM", album(3), limit=4, cursor=cursor)
        # what comes meanwhile is not on the pages that follow
        insert(
            adopted, entity_type="ALBUM", entity_id=album(3), created_at="2025-03-01 00:03:00.100"
        )
        seen += [(row.seq, row.operation, str(row.entity_id)) for row in page.logs]
        assert page.total_count == 14
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == 14
    everything = queries.chain(adopted, "ALBUM", album(3), limit=100)
    assert everything.total_count == 14 + 4


# -- 6. verify ---------------------------------------------------------------------------------------------------------


def test_verify_says_the_same_whatever_was_written_since(adopted, llamalog):
    write_in_every_way(adopted)
    insert(adopted)
    then, now = proof.verify(adopted)
    assert (then, then.row_count) == (now, 260)
    result = llamalog(adopted, "adopt", "--verify")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "the same")


@pytest.mark.parametrize(
    ("statement", "row_count"),
    [
        ("UPDATE enrichment_logs SET reason = 'other' WHERE id = {}", 260),
        ("DELETE FROM llama_logs WHERE id = {}", 259),
    ],
)
def test_verify_names_the_day_of_a_row_that_the_application_changed(
    first_adopted, llamalog, statement, row_count
):
    key = value(first_adopted, "SELECT id FROM enrichment_logs ORDER BY created_at LIMIT 1")
    first_adopted.execute(statement.format(f"'{key}'").encode())
    then, now = proof.verify(first_adopted)
    assert (then.row_count, now.row_count) == (260, row_count)
    assert then.checksum != now.checksum
    result = llamalog(first_adopted, "adopt", "--verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[2:] == [
        f"different: 2025-03-01, 260 rows then, {row_count} now"
    ]


def test_verify_names_the_one_day_of_several(legacy, llamalog):
    legacy.execute(
        "UPDATE enrichment_logs SET created_at = created_at + interval '1 day' WHERE album_id IS NULL"
    )
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("DELETE FROM enrichment_logs WHERE created_at >= '2025-03-02'")
    assert [day for day, *_ in proof.verify(legacy)[0].days] == ["2025-03-01", "2025-03-02"]
    result = llamalog(legacy, "adopt", "--verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[2:] == ["gone: 2025-03-02"]


def test_verify_of_nothing_adopted_is_refused(legacy, llamalog):
    result = llamalog(legacy, "adopt", "--verify")
    assert (result.exit_code, result.stderr.splitlines()) == (
        1,
        ["error: no log is adopted (LL015)", "hint: Run: llamalog adopt TABLE"],
    )


# -- 7. undo -----------------------------------------------------------------------------------------------------------

DECORATIONS = """
COMMENT ON TABLE enrichment_logs IS 'ours';
COMMENT ON COLUMN enrichment_logs.reason IS 'why';
COMMENT ON INDEX enrichment_logs_operation_idx IS 'by operation';
COMMENT ON CONSTRAINT enrichment_logs_pkey ON enrichment_logs IS 'the key';
GRANT SELECT ON enrichment_logs TO pg_monitor WITH GRANT OPTION;
GRANT UPDATE (status) ON enrichment_logs TO pg_monitor;
GRANT INSERT ON enrichment_logs TO PUBLIC;
ALTER TABLE enrichment_logs ADD CONSTRAINT enrichment_logs_retry_check CHECK (retry_count >= 0);
ALTER TABLE enrichment_logs ALTER COLUMN reason SET STATISTICS 50;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER enrichment_logs_note BEFORE UPDATE ON enrichment_logs FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE enrichment_logs DISABLE TRIGGER enrichment_logs_note;
"""


@pytest.mark.parametrize("decorated", [False, True])
def test_undo_gives_back_the_very_table(legacy, decorated):
    if decorated:
        legacy.execute(DECORATIONS.encode())
    shape, before = shape_of(legacy, "public.enrichment_logs"), content(legacy, "enrichment_logs")
    adopt.adopt(legacy, "public.enrichment_logs")
    result = undo.undo(legacy)
    assert (result.table, result.invalid, result.captured) == ("public.enrichment_logs", [], 0)
    assert shape_of(legacy, "public.enrichment_logs") == shape
    assert content(legacy, "enrichment_logs") == before
    assert (
        rows(
            legacy,
            "SELECT relname FROM pg_class WHERE relname LIKE '%llama_logs%' AND relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE '%adopted%'"
            " UNION ALL SELECT relname FROM pg_class WHERE relname LIKE '%adopted%' OR relname LIKE '%before_adoption%'",
        )
        == []
    )
    assert migrate.migrate(legacy).is_empty
    assert installation.check(legacy) == []


def test_undo_keeps_every_row_and_what_was_captured_goes_on_being_known(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    ids = write_in_every_way(legacy)
    insert(legacy, entity_type="ALBUM", entity_id=album(1))
    told = (
        "SELECT op, entity_type, entity_id, operation, category, sources, status, fields_enriched, error_message, error_code,"
        " job_id, parent_job_id, root_job_id, is_root_job, triggered_by, user_id, created_at, source, before, after,"
        " related_type, related_id, link_type, previous_id, db_user, txid, transaction_at, metadata, retry_count,"
        " duration_ms, api_call_count, data_quality_before, data_quality_after"
        " FROM llamalog.log WHERE {} ORDER BY seq"
    )
    captured = rows(
        legacy,
        told.format("seq >= 10000000000001 AND (op IS NOT NULL OR error_message = 'no answer')"),
    )
    assert len(captured) == len(WRITTEN)
    before = content(legacy, "enrichment_logs")
    result = undo.undo(legacy)
    assert result.captured == len(WRITTEN)
    assert content(legacy, "enrichment_logs") == before
    assert len(before) == 260 + len(WRITTEN) + 1
    assert rows(legacy, told.format("true")) == captured
    assert (
        next(change.category for change in queries.history(legacy, "ALBUM", ids.album)) == "FAILED"
    )
    # capture goes on in llamalog's own log
    legacy.execute("UPDATE albums SET label = 'x' WHERE id = %s", [ids.album])
    assert value(legacy, "SELECT after FROM llamalog.llama_logs ORDER BY id DESC LIMIT 1") == {
        "label": "x"
    }
    assert value(legacy, "SELECT count(*) FROM enrichment_logs") == len(before)


def test_foreign_keys_that_rows_written_since_would_break_come_back_not_valid(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("DELETE FROM tracks WHERE album_id = %s AND track_number = 1", [album(1)])
    legacy.execute("UPDATE enrichment_logs SET user_id = 'nobody' WHERE album_id = %s", [album(2)])
    names = ["enrichment_logs_track_id_fkey", "enrichment_logs_user_id_fkey"]
    planned = undo.plan(legacy)
    assert (planned.invalid, planned.captured) == (names, 1)
    assert undo.undo(legacy).invalid == names
    assert rows(
        legacy,
        "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'enrichment_logs'::regclass AND contype = 'f'"
        " ORDER BY 1",
    ) == [
        ("enrichment_logs_album_id_fkey", True),
        ("enrichment_logs_artist_id_fkey", True),
        ("enrichment_logs_track_id_fkey", False),
        ("enrichment_logs_user_id_fkey", False),
    ]
    assert value(legacy, "SELECT count(*) FROM enrichment_logs") == 261


def test_a_foreign_key_that_was_never_valid_comes_back_so(legacy):
    legacy.execute(
        "ALTER TABLE enrichment_logs DROP CONSTRAINT enrichment_logs_user_id_fkey;"
        'ALTER TABLE enrichment_logs ADD CONSTRAINT by_user FOREIGN KEY (user_id) REFERENCES "User" NOT VALID'
    )
    shape = shape_of(legacy, "public.enrichment_logs")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("SET search_path = pg_catalog")
    undo.undo(legacy)
    legacy.execute("RESET search_path")
    assert shape_of(legacy, "public.enrichment_logs") == shape


def test_a_log_can_be_adopted_again(legacy):
    shape = shape_of(legacy, "public.enrichment_logs")
    for n in (1, 2):
        report = adopt.adopt(legacy, "public.enrichment_logs")
        assert (report.row_count, report.before) == (260 + n - 1, report.after)
        assert insert(legacy) is not None
        assert proof.verify(legacy)[0] == proof.verify(legacy)[1]
        undo.undo(legacy)
        assert shape_of(legacy, "public.enrichment_logs") == shape
    assert rows(
        legacy, "SELECT step, undone_at IS NOT NULL FROM llamalog.adoptions ORDER BY id"
    ) == [
        ("undone", True),
        ("undone", True),
    ]


def captured_rows(conn: Connection) -> list[Any]:
    """What capture, record_failure and backfill wrote, as the questions see it, without its place in the log."""
    return rows(
        conn,
        "SELECT op, entity_type, entity_id, operation, category, status, fields_enriched, error_code, job_id,"
        " parent_job_id, root_job_id, user_id, created_at, source, before, after, related_type, related_id,"
        " link_type, previous_id, txid, metadata FROM llamalog.log"
        " WHERE op IS NOT NULL OR error_message = 'no answer' OR source = 'unknown' ORDER BY seq",
    )


def test_what_was_captured_before_undo_is_shown_once_after_another_adoption(legacy):
    legacy.execute(
        "ALTER TABLE albums DISABLE TRIGGER ALL;"
        "INSERT INTO albums (title, updated_at) SELECT 'unseen ' || n, '2026-01-01' FROM generate_series(1, 30) AS n;"
        "ALTER TABLE albums ENABLE TRIGGER ALL"
    )
    adopt.adopt(legacy, "public.enrichment_logs")
    ids = write_in_every_way(legacy)
    backfill.backfill(legacy)
    before, unknown = (
        captured_rows(legacy),
        rows(legacy, "SELECT * FROM llamalog.unknown_provenance ORDER BY 1, 2"),
    )
    inferred = len(before) - len(WRITTEN)
    assert inferred == 30
    assert undo.undo(legacy).captured == len(before)
    assert captured_rows(legacy) == before
    legacy.execute("UPDATE albums SET label = 'between' WHERE id = %s", [ids.album])
    insert(legacy, "public.enrichment_logs", entity_type="ALBUM", entity_id=ids.album)
    between = captured_rows(legacy)
    assert between[:-1] == before

    stands = content(legacy, "enrichment_logs")
    report = adopt.adopt(legacy, "public.enrichment_logs")
    assert (report.before, content(legacy, "enrichment_logs")) == (report.after, stands)
    assert proof.verify(legacy)[0] == proof.verify(legacy)[1]
    assert captured_rows(legacy) == between
    assert backfill.backfill(legacy).inferred == {}
    assert captured_rows(legacy) == between
    assert value(legacy, "SELECT count(*) FROM llamalog.log") == 260 + 1 + len(between)
    assert [change.category for change in queries.history(legacy, "ALBUM", ids.album, limit=3)] == [
        "UPDATED",
        "FAILED",
        "UNLINKED",
    ]
    assert rows(legacy, "SELECT * FROM llamalog.unknown_provenance ORDER BY 1, 2") == unknown
    legacy.execute("UPDATE albums SET label = 'again' WHERE id = %s", [ids.album])
    after = captured_rows(legacy)
    assert after[:-1] == between
    # and so on: only what is new is copied
    assert undo.undo(legacy).captured == 1
    assert captured_rows(legacy) == after
    adopt.adopt(legacy, "public.enrichment_logs")
    assert captured_rows(legacy) == after


@pytest.mark.parametrize("after", sampled(range(5)))
def test_nothing_is_shown_twice_while_it_is_given_back(first, killed, after):
    adopt.adopt(first, "public.enrichment_logs")
    first.execute("UPDATE albums SET label = 'a' WHERE id = %s", [album(2)])
    killed(after, undo.undo, first)
    first.execute("UPDATE albums SET label = 'b' WHERE id = %s", [album(2)])
    # a lens that is made again meanwhile shows the same
    first.execute("DELETE FROM llamalog.repeatables WHERE name = 'views/log.sql'")
    migrate.migrate(first)
    assert [row[15] for row in captured_rows(first)] == [{"label": "a"}, {"label": "b"}]
    undo.undo(first)
    assert [row[15] for row in captured_rows(first)] == [{"label": "a"}, {"label": "b"}]


def test_what_a_transaction_writes_that_began_before_undo_is_kept(first, connect, monkeypatch):
    adopt.adopt(first, "public.enrichment_logs")
    writer = connect(first)
    real = locks.exclusively

    def beside(*given: Any) -> None:
        if "copied_below =" in given[1][-1]:
            writer.execute("BEGIN; UPDATE albums SET label = 'slow'")
        real(*given)
        if "step = 'copied'" in given[1][-1]:
            writer.execute("COMMIT")

    monkeypatch.setattr(locks, "exclusively", beside)
    undo.undo(first)
    assert [row[15] for row in captured_rows(first)] == [{"label": "slow"}] * 20


def test_a_key_to_what_goes_while_the_log_is_given_back_stays_unproved(first, connect, monkeypatch):
    adopt.adopt(first, "public.enrichment_logs")
    writer, real = connect(first), locks.exclusively

    def beside(*given: Any) -> None:
        if "ADD CONSTRAINT" in given[1][-1]:
            writer.execute("DELETE FROM albums WHERE id = %s", [album(1)])
        real(*given)

    assert undo.plan(first).invalid == []
    monkeypatch.setattr(locks, "exclusively", beside)
    unproved = ["enrichment_logs_album_id_fkey", "enrichment_logs_track_id_fkey"]
    assert sorted(undo.undo(first).invalid) == unproved
    assert rows(
        first,
        "SELECT conname::text FROM pg_constraint WHERE conrelid = 'enrichment_logs'::regclass"
        " AND contype = 'f' AND NOT convalidated ORDER BY 1",
    ) == [(name,) for name in unproved]
    assert state.current(first) is None


def test_undo_by_the_command_says_what_it_does(legacy, llamalog):
    assert llamalog(legacy, "adopt", "public.enrichment_logs", "--yes").exit_code == 0
    legacy.execute("UPDATE albums SET label = 'x' WHERE id = %s", [album(1)])
    planned = llamalog(legacy, "adopt", "--undo", "--dry-run")
    assert planned.stdout.splitlines() == [
        "give public.enrichment_logs its name, columns, indexes and foreign keys back",
        "1 captured rows stay there, and whole in llamalog's own log",
    ]
    done = llamalog(legacy, "adopt", "--undo", "--yes")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        0,
        "[🦙 LlamaLog] public.enrichment_logs is the application's again",
    )
    again = llamalog(legacy, "adopt", "--undo", "--yes")
    assert (again.exit_code, again.stderr.splitlines()[0]) == (
        1,
        "error: no log is adopted (LL015)",
    )


# -- 8. interrupted ----------------------------------------------------------------------------------------------------


class Killed(Exception):
    """What happens to a process in the middle of its work."""


@pytest.fixture
def killed(monkeypatch) -> Callable[..., bool]:
    """killed(n, act, ...) calls act, which dies before its n-th step; false when it has ended before that."""
    real = locks.exclusively

    def run(after: int, act: Callable[..., object], *arguments: Any) -> bool:
        calls = iter(range(after))

        def stepwise(*given: Any) -> None:
            if next(calls, None) is None:
                raise Killed
            real(*given)

        monkeypatch.setattr(locks, "exclusively", stepwise)
        try:
            act(*arguments)
        except Killed:
            return True
        finally:
            monkeypatch.setattr(locks, "exclusively", real)
        return False

    return run


@pytest.mark.parametrize("after", sampled(range(6)))
def test_adopt_goes_on_where_it_was_killed(first, killed, after):
    before = content(first, "enrichment_logs")
    assert killed(after, adopt.adopt, first, "public.enrichment_logs")
    assert write_as_before(first, "public.enrichment_logs") == SEEN
    first.execute("UPDATE albums SET label = %s WHERE id = %s", [str(after), album(2)])
    first.execute("DELETE FROM enrichment_logs WHERE created_at > '2025-03-02'")
    report = adopt.adopt(first, "public.enrichment_logs")
    assert (report.row_count, report.before) == (260, report.after)
    assert content(first, "llama_logs") == before
    first.execute("UPDATE albums SET label = 'last' WHERE id = %s", [album(2)])
    assert [change.after for change in queries.history(first, "ALBUM", album(2), limit=2)] == [
        {"label": "last"},
        {"label": str(after)},
    ]
    proof.verify(first)
    undo.undo(first)


@pytest.mark.parametrize("after", sampled(range(6)))
def test_undo_takes_back_an_adoption_that_was_killed(first, killed, after):
    shape = shape_of(first, "public.enrichment_logs")
    assert killed(after, adopt.adopt, first, "public.enrichment_logs")
    if after:
        undo.undo(first)
    assert shape_of(first, "public.enrichment_logs") == shape
    assert migrate.migrate(first).is_empty


@pytest.mark.parametrize("after", sampled(range(8)))
def test_undo_goes_on_where_it_was_killed(first, killed, after):
    shape = shape_of(first, "public.enrichment_logs")
    adopt.adopt(first, "public.enrichment_logs")
    first.execute("UPDATE albums SET label = 'a' WHERE id = %s", [album(2)])
    assert killed(after, undo.undo, first)
    assert write_as_before(first, "public.enrichment_logs") == SEEN
    first.execute("UPDATE albums SET label = 'b' WHERE id = %s", [album(2)])
    if after:
        assert refusal_of(lambda: adopt.adopt(first, "public.enrichment_logs")) == (
            "public.enrichment_logs is being given back",
            "LL015",
            "Let that end first: llamalog adopt --undo",
        )
    undo.undo(first)
    assert shape_of(first, "public.enrichment_logs") == shape
    assert [change.after for change in queries.history(first, "ALBUM", album(2), limit=2)] == [
        {"label": "b"},
        {"label": "a"},
    ]
    assert state.current(first) is None


@pytest.mark.parametrize("seconds", sampled([0.6, 0.9, 1.2, 1.5]))
def test_a_killed_process_leaves_nothing_half_done(legacy, seconds):
    before = content(legacy, "enrichment_logs")
    command = "from llamalog_sql.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "adopt", "public.enrichment_logs", "--yes"],
        env={**os.environ, "LLAMALOG_DSN": dsn_of(legacy)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until_alone(legacy)
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    legacy.execute("DELETE FROM enrichment_logs WHERE created_at > '2025-03-02'")
    found = state.current(legacy)
    if found is None or found.step != "done":
        report = adopt.adopt(legacy, "public.enrichment_logs")
        assert (report.row_count, report.before) == (260, report.after)
    assert content(legacy, "llama_logs") == before
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_index WHERE indrelid = 'llama_logs'::regclass AND NOT indisvalid",
        )
        == 0
    )


def test_an_index_that_an_interruption_left_invalid_is_built_anew(first, monkeypatch):
    monkeypatch.setattr(indexes, "build", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        adopt.adopt(first, "public.enrichment_logs")
    monkeypatch.undo()
    first.execute("CREATE INDEX llama_logs_lens_job_id_idx ON llama_logs (job_id)")
    first.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'llama_logs_lens_job_id_idx'::regclass"
    )
    adopt.adopt(first, "public.enrichment_logs")
    assert "COALESCE" in value(
        first, "SELECT pg_get_indexdef('llama_logs_lens_job_id_idx'::regclass)"
    )


# -- 9. locks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locked", ["enrichment_logs", "albums", "tracks"])
def test_adopt_waits_for_whoever_holds_a_lock_and_keeps_nobody_waiting(first, connect, locked):
    holder, writer = connect(first), connect(first)
    holder.execute("BEGIN")
    holder.execute(f"LOCK TABLE {locked} IN ROW EXCLUSIVE MODE".encode())
    reports: list[adopt.Report] = []
    adopting = threading.Thread(
        target=lambda: reports.append(adopt.adopt(first, "public.enrichment_logs"))
    )
    adopting.start()
    # while adopt cannot go on, every write of the application ends
    for _ in range(20):
        writer.execute(
            "INSERT INTO enrichment_logs (operation, status) VALUES ('enrichment:album', 'SUCCESS')"
        )
        writer.execute("UPDATE albums SET label = 'x' WHERE id = %s", [album(1)])
        time.sleep(0.02)
    assert adopting.is_alive()
    holder.execute("COMMIT")
    adopting.join()
    (report,) = reports
    assert report.before == report.after
    undo.undo(first)


def test_a_lock_that_cannot_be_had_leaves_nothing_half_done(legacy, connect, llamalog):
    holder = connect(legacy)
    holder.execute("BEGIN; LOCK TABLE albums IN ROW EXCLUSIVE MODE")
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        adopt.adopt(legacy, "public.enrichment_logs", patience=locks.Patience(20, 3))
    assert caught.value.sqlstate == "55P03"
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'enrichment_logs_al%' AND contype = 'f'",
        )
        == 1
    )
    before = content(legacy, "enrichment_logs")
    holder.execute("COMMIT")
    assert llamalog(legacy, "adopt", "public.enrichment_logs", "--yes").exit_code == 0
    assert content(legacy, "llama_logs") == before
    holder.execute("BEGIN; LOCK TABLE llama_logs IN ROW EXCLUSIVE MODE")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        undo.undo(legacy, patience=locks.Patience(20, 3))
    holder.execute("COMMIT")
    undo.undo(legacy)
    assert content(legacy, "enrichment_logs") == before


@pytest.mark.parametrize("locked", ["llama_logs", "llamalog.log", "enrichment_logs"])
def test_undo_waits_too_and_keeps_nobody_waiting(first_adopted, connect, locked):
    holder, writer = connect(first_adopted), connect(first_adopted)
    holder.execute("BEGIN")
    holder.execute(f"SELECT count(*) FROM {locked}".encode())
    undoing = threading.Thread(target=lambda: undo.undo(first_adopted))
    undoing.start()
    # while undo cannot go on, every write of the application ends
    for turn in range(20):
        insert(writer)
        writer.execute("UPDATE albums SET track_count = %s", [turn])
        time.sleep(0.02)
    assert undoing.is_alive()
    holder.execute("COMMIT")
    undoing.join()
    assert state.current(first_adopted) is None


# -- 10. refusals ------------------------------------------------------------------------------------------------------

REFUSALS = {
    "a table that is no log": (
        "SELECT",
        ["albums"],
        (
            "public.albums is no log",
            "LL015",
            "Name its columns: --map COLUMN=operation --map COLUMN=created_at; llamalog adopt --help",
        ),
    ),
    "a table that is not there": (
        "SELECT",
        ["public.nothing"],
        (
            'table "public.nothing" does not exist',
            "42P01",
            "Name the table with its schema, as shop.orders.",
        ),
    ),
    "a table of llamalog": (
        "SELECT",
        ["llamalog.watches"],
        ("llamalog.watches is llamalog's own", "LL015", "Name the application's log."),
    ),
    "names that are one when they are cut": (
        "CREATE TABLE lg (id serial PRIMARY KEY, operation text, created_at timestamptz);"
        f"CREATE INDEX lg_{'x' * 59}1 ON lg (operation); CREATE INDEX lg_{'x' * 59}2 ON lg (operation)",
        ["lg"],
        (
            f"two indexes or constraints would be called llama_logs_{'x' * 52}",
            "42P07",
            "Names end after 63 bytes: rename one of those that begin alike.",
        ),
    ),
    "an enum without a word for it": (
        "CREATE TYPE mood AS ENUM ('GLAD', 'SAD'); CREATE TABLE moods"
        " (id serial PRIMARY KEY, operation text, created_at timestamptz, status mood NOT NULL)",
        ["moods"],
        (
            "the enum of column status of public.moods has nothing like SUCCESS",
            "LL015",
            "Let it be null, or add the values that it lacks: --extend-enums",
        ),
    ),
    "a generated column": (
        "CREATE TABLE told (id integer PRIMARY KEY, operation text, created_at timestamptz,"
        " reason text GENERATED ALWAYS AS ('said') STORED)",
        ["told"],
        (
            "column reason of public.told is generated, and captured rows have their own reason",
            "LL015",
            "Make it an ordinary column, or map another.",
        ),
    ),
    "the name is taken": (
        "CREATE TABLE llama_logs (id integer)",
        [],
        ("the name public.llama_logs is taken", "42P07", "Rename what has it."),
    ),
    "a name of an index is taken": (
        "CREATE INDEX llama_logs_operation_idx ON albums (label)",
        [],
        ("the name public.llama_logs_operation_idx is taken", "42P07", "Rename what has it."),
    ),
    "a name of an index of ours is taken": (
        "CREATE INDEX llama_logs_lens_job_id_idx ON albums (label)",
        [],
        ("the name public.llama_logs_lens_job_id_idx is taken", "42P07", "Rename what has it."),
    ),
    "a foreign key leads to it": (
        "CREATE TABLE notes (log_id uuid REFERENCES enrichment_logs)",
        [],
        (
            "a foreign key leads to public.enrichment_logs",
            "LL015",
            "Drop it first: a log that others refer to cannot be pruned, nor its key changed.",
        ),
    ),
    "it is published": (
        "CREATE PUBLICATION one FOR TABLE enrichment_logs",
        [],
        (
            "public.enrichment_logs is in publication one",
            "LL015",
            "Subscribers would miss its new name and columns: take it out of the publication first.",
        ),
    ),
    "everything is published": (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        [],
        (
            "public.enrichment_logs is in publication everything",
            "LL015",
            "Subscribers would miss its new name and columns: take it out of the publication first.",
        ),
    ),
    "its schema is published": (
        "CREATE PUBLICATION schemas FOR TABLES IN SCHEMA public",
        [],
        (
            "public.enrichment_logs is in publication schemas",
            "LL015",
            "Subscribers would miss its new name and columns: take it out of the publication first.",
        ),
    ),
    "views depend on it": (
        "CREATE VIEW failures AS SELECT * FROM enrichment_logs WHERE status = 'FAILED'",
        [],
        (
            "views depend on public.enrichment_logs",
            "LL015",
            "Drop them first, and create them again on the log after it.",
        ),
    ),
    "it is partitioned": (
        "CREATE TABLE parts (id integer, operation text, created_at timestamptz) PARTITION BY LIST (operation)",
        ["parts"],
        (
            "public.parts is a partitioned table",
            "LL015",
            "Only a plain table can be adopted; copy the rows into one.",
        ),
    ),
    "it is a view": (
        "CREATE VIEW seen AS SELECT 1 AS id, '' AS operation, now() AS created_at",
        ["seen"],
        (
            "public.seen is a view",
            "LL015",
            "Only a plain table can be adopted; copy the rows into one.",
        ),
    ),
    "rows must differ": (
        "CREATE UNIQUE INDEX once ON enrichment_logs (job_id, operation)",
        [],
        (
            "public.enrichment_logs wants rows to differ in what captured rows may share",
            "LL015",
            "Drop these unique indexes or exclusion constraints first, or make them ordinary indexes.",
        ),
    ),
    "rows must differ where only a constant would make them": (
        "ALTER TABLE enrichment_logs ADD kind text DEFAULT 'job', ADD CONSTRAINT once UNIQUE (kind, operation, created_at)",
        [],
        (
            "public.enrichment_logs wants rows to differ in what captured rows may share",
            "LL015",
            "Drop these unique indexes or exclusion constraints first, or make them ordinary indexes.",
        ),
    ),
    "it has a trigger": (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER noting BEFORE INSERT ON enrichment_logs FOR EACH ROW EXECUTE FUNCTION note()",
        [],
        (
            "public.enrichment_logs has triggers or rules of its own",
            "LL015",
            "Drop or disable them first: they would run at each captured write, with the rights of the log.",
        ),
    ),
    "it has a rule": (
        "CREATE RULE losing AS ON INSERT TO enrichment_logs DO INSTEAD NOTHING",
        [],
        (
            "public.enrichment_logs has triggers or rules of its own",
            "LL015",
            "Drop or disable them first: they would run at each captured write, with the rights of the log.",
        ),
    ),
    "it is watched": (
        "CREATE TABLE watched_log (id serial PRIMARY KEY, operation text, created_at timestamptz)",
        ["watched_log"],
        (
            "public.watched_log is watched as WATCHED_LOG: the log would log itself",
            "LL015",
            "Run first: llamalog unwatch WATCHED_LOG",
        ),
    ),
    "its row type is used": (
        "CREATE FUNCTION latest() RETURNS enrichment_logs LANGUAGE sql AS 'SELECT * FROM enrichment_logs LIMIT 1'",
        [],
        (
            "the row type of public.enrichment_logs is used elsewhere, and would change",
            "LL015",
            "Drop those first, and create them again after it; the view under the old name has the same row type.",
        ),
    ),
    "it has row-level security": (
        "ALTER TABLE enrichment_logs ENABLE ROW LEVEL SECURITY",
        [],
        (
            "public.enrichment_logs has row-level security, which would refuse what capture writes",
            "LL015",
            "Disable it first: ALTER TABLE public.enrichment_logs DISABLE ROW LEVEL SECURITY",
        ),
    ),
    "it has a column seq": (
        "ALTER TABLE enrichment_logs ADD COLUMN seq integer",
        [],
        (
            "public.enrichment_logs has a column seq, and ours of that name says the order of the writes",
            "LL015",
            "Rename it.",
        ),
    ),
    "a mapped column is not there": (
        "SELECT",
        ["public.enrichment_logs", "--map", "who=user_id"],
        (
            "public.enrichment_logs has no column who",
            "42703",
            "Its columns are id, entity_type, entity_id, artist_id, album_id, track_id, operation, sources,",
        ),
    ),
    "it is mapped to what is no column": (
        "SELECT",
        ["public.enrichment_logs", "--map", "user_id=who"],
        (
            "who is no column that an application's log may have",
            "LL015",
            "Those are entity_type, entity_id,",
        ),
    ),
    "it is mapped to what only capture knows": (
        "SELECT",
        ["public.enrichment_logs", "--map", "preview_data=before"],
        (
            "before is no column that an application's log may have",
            "LL015",
            "Those are entity_type, entity_id,",
        ),
    ),
    "two are mapped to one": (
        "SELECT",
        ["public.enrichment_logs", "--map", "reason=user_id", "--map", "error_code=user_id"],
        ("two columns are mapped to the same one", "LL015", "Name one for each."),
    ),
    "a mapped column is of another type": (
        "SELECT",
        ["public.enrichment_logs", "--map", "created_at=user_id", "--map", "reason=created_at"],
        (
            "column created_at of public.enrichment_logs is of type timestamp, no text",
            "LL015",
            "Rename it, or name another: --map COLUMN=user_id",
        ),
    ),
    "a column that is not known must be filled": (
        "ALTER TABLE enrichment_logs ADD COLUMN tenant integer; UPDATE enrichment_logs SET tenant = 1;"
        "ALTER TABLE enrichment_logs ALTER COLUMN tenant SET NOT NULL",
        [],
        (
            "column tenant of public.enrichment_logs is NOT NULL, and captured rows have no value for it",
            "LL015",
            "Give it a default, or let it be null.",
        ),
    ),
    "a column that is known must be filled": (
        "UPDATE enrichment_logs SET user_id = 'cuid-ann'; ALTER TABLE enrichment_logs ALTER COLUMN user_id SET NOT NULL",
        [],
        (
            "column user_id of public.enrichment_logs is NOT NULL, and captured rows have no value for it",
            "LL015",
            "Let it be null.",
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_is(first, llamalog, case):
    preparing, arguments, (message, sqlstate, hint) = REFUSALS[case]
    first.execute(preparing.encode())
    if "watched_log" in arguments:
        watching.watch(first, ["watched_log"])
    shape, before = shape_of(first, "enrichment_logs"), content(first, "enrichment_logs")
    result = llamalog(first, "adopt", *(arguments or ["public.enrichment_logs"]), "--yes")
    lines = result.stderr.splitlines()
    assert (result.exit_code, lines[0]) == (1, f"error: {message} ({sqlstate})")
    assert next(line for line in lines if line.startswith("hint: ")).startswith(f"hint: {hint}")
    assert shape_of(first, "enrichment_logs") == shape
    assert content(first, "enrichment_logs") == before
    assert value(first, "SELECT count(*) FROM llamalog.adoptions") == 0


def test_rules_that_no_captured_row_can_break_are_no_hindrance(first):
    first.execute(
        "ALTER TABLE enrichment_logs ADD request_id text UNIQUE, ADD ticket serial UNIQUE,"
        " ADD CHECK (retry_count >= 0), ADD CHECK (status <> 'PREVIEW') NOT VALID, ADD CHECK (duration_ms > 0) NOT VALID,"
        " ADD theirs text, ADD CHECK (theirs IS NULL OR reason <> ''), ALTER sources TYPE varchar(12)[]"
    )
    adopt.adopt(first, "enrichment_logs")
    for n in range(2):
        with first.transaction():
            first.execute("SELECT llamalog.set_context('api', sources => '{SPOTIFY_AND_OTHERS}')")
            first.execute("UPDATE albums SET label = %s WHERE id = %s", [str(n), album(1)])
    assert (
        rows(first, "SELECT sources FROM llamalog.log WHERE op = 'U' ORDER BY seq")
        == [(["SPOTIFY_AND_OTHERS"],)] * 2
    )
    assert (
        rows(first, "SELECT sources FROM enrichment_logs WHERE operation LIKE 'album:updated:api'")
        == [(["SPOTIFY_AND_"],)] * 2
    )


#: What a captured row would break; what PostgreSQL says of it.
RULES = {
    "a check on categories": (
        "ALTER TABLE enrichment_logs ADD category text CONSTRAINT known CHECK (category IN ('CREATED', 'UPDATED', 'FAILED'))",
        'violates check constraint "known" (23514)',
    ),
    "a check on jobs": (
        "ALTER TABLE enrichment_logs ADD CONSTRAINT known CHECK (job_id ~ '^[a-z]+-[0-9]+$') NOT VALID",
        'violates check constraint "known" (23514)',
    ),
    "a check that only a deletion breaks": (
        "ALTER TABLE enrichment_logs ADD CONSTRAINT known CHECK (is_root_job OR parent_job_id IS NOT NULL) NOT VALID",
        'violates check constraint "known" (23514)',
    ),
    "a domain that is not null": (
        "CREATE DOMAIN tenant AS text NOT NULL; ALTER TABLE enrichment_logs ADD tenant tenant DEFAULT 'x';"
        "ALTER TABLE enrichment_logs ALTER tenant DROP DEFAULT",
        "does not allow null values (23502)",
    ),
    "a default that needs a setting": (
        "ALTER TABLE enrichment_logs ADD tenant text DEFAULT 'x';"
        "ALTER TABLE enrichment_logs ALTER tenant SET DEFAULT current_setting('app.tenant')",
        'unrecognized configuration parameter "app.tenant" (42704)',
    ),
    "unique by a constant": (
        "ALTER TABLE enrichment_logs ADD rid uuid DEFAULT '00000000-0000-0000-0000-000000000000';"
        "CREATE UNIQUE INDEX once ON enrichment_logs (rid, status) WHERE created_at > '2026-01-01'",
        "(23505)",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_a_rule_that_captured_rows_break_is_found_by_trying_and_all_is_as_before(
    first, llamalog, case
):
    preparing, said = RULES[case]
    first.execute(preparing.encode())
    shape, before = shape_of(first, "enrichment_logs"), content(first, "enrichment_logs")
    result = llamalog(first, "adopt", "enrichment_logs", "--yes")
    assert result.exit_code == 1
    assert (
        "error: public.llama_logs: captured rows cannot be written into the log: " in result.stderr
    )
    assert said in result.stderr
    assert shape_of(first, "enrichment_logs") == shape
    assert content(first, "enrichment_logs") == before
    assert state.current(first) is None
    assert migrate.migrate(first).is_empty
    first.execute("UPDATE albums SET label = 'x'")
    assert value(first, "SELECT count(*) FROM llamalog.log WHERE op = 'U'") == 20


def test_a_log_that_loses_the_rows_of_a_trial_is_told_from_one_that_keeps_them(db):
    db.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER lose BEFORE INSERT ON llamalog.llama_logs FOR EACH ROW"
        " WHEN (NEW.category = 'FAILED' AND NEW.op IS NULL) EXECUTE FUNCTION lose()"
    )
    with pytest.raises(psycopg.Error, match="of 99 rows only 66 arrive") as refused:
        db.execute("SELECT llamalog.try_writes()")
    assert refused.value.sqlstate == "LL015"


def test_nobody_becomes_a_superuser_by_what_he_hangs_on_his_log(first, role):
    mallory = role(first, "mallory")
    first.execute(
        "CREATE FUNCTION public.rise() RETURNS boolean LANGUAGE plpgsql AS $$"
        " BEGIN BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;"
        " BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;"
        f" BEGIN EXECUTE 'ALTER ROLE {mallory} SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN true; END $$;"
    )
    first.execute(
        "CREATE FUNCTION public.same(varchar, varchar) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT public.rise() AND $1::text = $2::text';"
        "CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);"
        'CREATE FUNCTION public.told("EnrichmentStatus") RETURNS text LANGUAGE plpgsql'
        " AS 'BEGIN RETURN public.rise()::text; END';"
        'CREATE CAST ("EnrichmentStatus" AS text) WITH FUNCTION public.told("EnrichmentStatus");'
        "CREATE FUNCTION public.calm(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.rise(); END';"
        "CREATE INDEX enrichment_logs_risen_idx ON enrichment_logs (operation) WHERE public.calm(operation);"
        "ALTER TABLE enrichment_logs ADD CONSTRAINT risen CHECK (public.rise());"
        f"ALTER TABLE enrichment_logs OWNER TO {mallory}"
    )
    is_risen = f"SELECT rolsuper FROM pg_roles WHERE rolname = '{mallory}'"
    # what a superuser runs himself does it
    assert value(first, is_risen) is True
    first.execute(f"ALTER ROLE {mallory} NOSUPERUSER")
    adopt.plan(first, "enrichment_logs")
    adopt.adopt(first, "enrichment_logs")
    first.execute("UPDATE albums SET label = 'x'")
    backfill.backfill(first)
    first.execute("SELECT * FROM llamalog.log").fetchall()
    first.execute(
        "INSERT INTO llamalog.category_rules VALUES (1, '%', NULL, NULL, 'CACHED', 'all')"
    )
    assert backfill.backfill(first).judged_again == 260
    undo.undo(first)
    adopt.adopt(first, "enrichment_logs")
    assert value(first, is_risen) is False


def test_refused_are_views_each_by_its_name(first):
    first.execute(
        "CREATE VIEW failures AS SELECT * FROM enrichment_logs; CREATE VIEW others AS TABLE enrichment_logs"
    )
    with pytest.raises(LlamaLogError) as caught:
        adopt.plan(first, "public.enrichment_logs")
    assert caught.value.detail == "public.failures, public.others"


def test_refused_is_a_second_adoption_beside_the_first(first, connect):
    connect(first).execute("SELECT pg_advisory_lock(hashtextextended('llamalog.adopt', 0))")
    assert refusal_of(lambda: adopt.adopt(first, "enrichment_logs")) == (
        "another llamalog adopt is at work in this database",
        "55006",
        "Wait for it, or stop it: the same command goes on where it was.",
    )


def test_a_row_that_is_not_what_it_was_is_said(first, monkeypatch):
    """Nothing is known that would do it; hence the second checksum is another one here."""
    taken, checksums = proof.proof, iter(["abc", "def"])
    monkeypatch.setattr(
        proof, "proof", lambda *given: replace(taken(*given), checksum=next(checksums))
    )
    assert refusal_of(lambda: adopt.adopt(first, "enrichment_logs")) == (
        "public.llama_logs is not what it was: abc before, def after",
        None,
        "Run: llamalog adopt --undo",
    )


def test_an_adoption_that_was_killed_before_its_proof_cannot_be_compared(first, monkeypatch):
    def die(*_):
        raise Killed

    monkeypatch.setattr(indexes, "build", die)
    with pytest.raises(Killed):
        adopt.adopt(first, "enrichment_logs")
    assert refusal_of(lambda: proof.verify(first)) == (
        "no checksum was taken of public.llama_logs: its adoption is not finished",
        "LL015",
        "Run: llamalog adopt public.llama_logs",
    )


def test_the_view_under_the_old_name_goes_only_where_nothing_is_built_on_it(first_adopted):
    first_adopted.execute("CREATE VIEW late AS SELECT * FROM enrichment_logs")
    assert refusal_of(lambda: undo.undo(first_adopted)) == (
        "public.enrichment_logs cannot give way to the table: others are built on it",
        "LL015",
        "Drop them first, and create them again after it.",
    )


def test_to_adopt_again_hangs_the_triggers_that_somebody_took_off(first_adopted):
    hung = "SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'llama_logs'::regclass ORDER BY 1"
    before = first_adopted.execute(hung).fetchall()
    fill, *_ = steps.TRIGGERS
    first_adopted.execute(f'DROP TRIGGER "{fill}" ON llama_logs')
    first_adopted.execute(f'ALTER TABLE llama_logs DISABLE TRIGGER "{steps.AGAIN}"')
    assert steps.missing_triggers(first_adopted, state.current(first_adopted).shape) == sorted(
        [fill, steps.AGAIN]
    )
    report = adopt.adopt(first_adopted, "enrichment_logs")
    assert (report.table, report.row_count) == ("public.llama_logs", 260)
    assert first_adopted.execute(hung).fetchall() == before
    assert refusal_of(lambda: adopt.adopt(first_adopted, "enrichment_logs"))[1] == "LL015"


def test_the_adopted_log_is_not_watched(first_adopted):
    assert refusal_of(lambda: watching.watch(first_adopted, ["llama_logs"])) == (
        "public.llama_logs is the log: it would log itself",
        "LL009",
        "Watch the application's other tables.",
    )


def test_what_is_done_with_a_log_is_told_in_json_too(first, llamalog):
    def told(*arguments):
        return json.loads(llamalog(first, "adopt", *arguments, "--format", "json").stdout)

    assert "title" in told("enrichment_logs", "--dry-run")[0]
    (report,) = told("enrichment_logs", "--yes")
    assert (report["table"], report["row_count"]) == ("public.llama_logs", 260)
    assert report["before"] == report["after"]
    then, now = told("--verify")
    assert then == now
    assert "RENAME TO enrichment_logs" in llamalog(
        first, "adopt", "--undo", "--sql"
    ).stdout.replace('"', "")
    assert value(first, "SELECT count(*) FROM llamalog.adoptions WHERE undone_at IS NULL") == 1


def test_a_column_is_mapped_to_one_of_ours(first, llamalog):
    result = llamalog(first, "adopt", "enrichment_logs", "--map", "happened_at", "--yes")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --map needs COLUMN=OURS")


def test_refused_is_an_owner_who_cannot_rename_the_table(first, connect, role):
    role(first, "clerk")
    first.execute("ALTER TABLE enrichment_logs OWNER TO clerk")
    first.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO clerk")
    clerk = connect(first, user="clerk", password="x")
    assert refusal_of(lambda: adopt.adopt(clerk, "public.enrichment_logs")) == (
        "public.enrichment_logs cannot be renamed: you, or its owner, may not create in its schema",
        "42501",
        'Run, as its owner: GRANT CREATE ON SCHEMA "public" TO both',
    )


def test_refused_is_whoever_does_not_own_the_table(first, connect, role):
    role(first, "stranger")
    first.execute("GRANT ALL ON enrichment_logs TO stranger")
    first.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO stranger")
    stranger = connect(first, user="stranger", password="x")
    assert refusal_of(lambda: adopt.adopt(stranger, "public.enrichment_logs")) == (
        "public.enrichment_logs belongs to postgres",
        "42501",
        "Connect as its owner, or as a superuser.",
    )


def test_refused_is_a_second_adoption(adopted, llamalog):
    adopted.execute(
        "CREATE TABLE other (id integer PRIMARY KEY, operation text, created_at timestamptz)"
    )
    for table in ("public.enrichment_logs", "public.llama_logs", "public.other"):
        result = llamalog(adopted, "adopt", table, "--yes")
        assert (result.exit_code, result.stderr.splitlines()) == (
            1,
            [
                "error: public.llama_logs is the log already (LL015)",
                "hint: There is one log: llamalog adopt --verify compares it, --undo gives it back.",
            ],
        )


# -- 11. a log of another shape ----------------------------------------------------------------------------------------

AUDIT_TRAIL = """
CREATE TABLE audit_trail (
    id bigserial PRIMARY KEY,
    happened timestamptz NOT NULL DEFAULT now(),
    table_name text,
    record_pk text,
    action text NOT NULL,
    who text,
    job text,
    payload jsonb
);
CREATE INDEX audit_trail_record_idx ON audit_trail (table_name, record_pk);
INSERT INTO audit_trail (happened, table_name, record_pk, action, who, job, payload)
SELECT '2025-01-01'::timestamptz + n * interval '1 second', 'ALBUM', md5('album' || n)::uuid, 'album:created', 'ann', 'job-' || n,
    '{"n": 1.0}'
FROM generate_series(1, 10) AS n;
"""

MAPPING = {
    "happened": "created_at",
    "table_name": "entity_type",
    "record_pk": "entity_id",
    "action": "operation",
    "who": "user_id",
    "job": "job_id",
    "payload": "metadata",
}


def test_a_log_of_another_shape_is_adopted_by_naming_its_columns(first, llamalog):
    first.execute(AUDIT_TRAIL.encode())
    shape = shape_of(first, "audit_trail")
    pairs = [part for ours, theirs in MAPPING.items() for part in ("--map", f"{ours}={theirs}")]
    result = llamalog(first, "adopt", "audit_trail", *pairs, "--yes")
    assert result.exit_code == 0, result.stderr
    key = value(
        first,
        "INSERT INTO audit_trail (table_name, record_pk, action, who) VALUES ('ALBUM', %s, 'admin_correction', 'mia')"
        " RETURNING id",
        album(3),
    )
    assert key > 10
    first.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album(3)])
    told = queries.history(first, "ALBUM", album(3))
    assert [(c.id, c.op, c.category, c.operation, c.user_id, c.metadata) for c in told] == [
        (str(key + 1), "U", "UPDATED", "album:updated", None, None),
        (str(key), None, "CORRECTED", "admin_correction", "mia", None),
        ("3", None, "CREATED", "album:created", "ann", {"n": told[2].metadata["n"]}),
    ]
    assert told[2].created_at == datetime(2025, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert rows(
        first,
        "SELECT id, table_name, record_pk, action, who, payload FROM audit_trail WHERE id > 10 ORDER BY id",
    ) == [
        (key, "ALBUM", album(3), "admin_correction", "mia", None),
        (key + 1, "ALBUM", album(3), "album:updated", None, None),
    ]
    assert queries.why(first, "ALBUM", album(3))
    assert queries.chain(first, "ALBUM", album(3)).total_count == 3
    assert (
        value(first, "SELECT pg_get_serial_sequence('llama_logs', 'id')")
        == "public.llama_logs_id_seq"
    )
    assert llamalog(first, "adopt", "--verify").exit_code == 0
    assert llamalog(first, "adopt", "--undo", "--yes").exit_code == 0
    assert shape_of(first, "audit_trail") == shape
    assert value(first, "SELECT array_agg(id ORDER BY id) FROM audit_trail") == [
        *range(1, 11),
        key,
        key + 1,
    ]
    assert [c.after for c in queries.history(first, "ALBUM", album(3))] == [{"label": "Parlophone"}]


def test_what_the_types_of_another_log_cannot_hold_fails_no_write(first):
    first.execute(
        "CREATE TABLE tight (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz(0) NOT NULL,"
        " operation char(8) NOT NULL, entity_type varchar(3), entity_id integer, job_id uuid, user_id bigint,"
        " sources varchar, retry_count smallint, duration_ms bigint, metadata json, status char(2), error_code text)"
    )
    adopt.adopt(first, "tight")
    ids = write_in_every_way(first)
    assert (
        rows(first, "SELECT category, entity_type, link_type, op FROM llamalog.log ORDER BY seq")
        == WRITTEN
    )
    assert rows(
        first,
        "SELECT operation::text, entity_type, entity_id, retry_count, duration_ms, status FROM tight ORDER BY id DESC LIMIT 1",
    ) == [("album:fa", "ALB", None, 2, 12, "FA")]
    assert (
        value(first, "SELECT count(*) FROM tight WHERE entity_type = 'SHE' AND entity_id = 1") == 3
    )
    assert value(
        first, "SELECT bool_or(extract(microseconds FROM created_at) % 1000 <> 0) FROM llamalog.log"
    )
    (failed,) = rows(
        first, "SELECT status, sources, entity_id, job_id FROM llamalog.log WHERE op IS NULL"
    )
    assert failed == ("FAILED", ["SPOTIFY"], ids.album, ids.long)
    undo.undo(first)
    assert value(first, "SELECT count(*) FROM llamalog.log") == len(WRITTEN)


# -- 12. watched before ------------------------------------------------------------------------------------------------


def test_what_was_captured_before_the_adoption_stands_between_old_and_new(legacy):
    legacy.execute("UPDATE albums SET label = 'before' WHERE id = %s", [album(3)])
    adopt.adopt(legacy, "public.enrichment_logs")
    insert(legacy, entity_type="ALBUM", entity_id=album(3), operation="cache:album-cover-art")
    legacy.execute("UPDATE albums SET label = 'after' WHERE id = %s", [album(3)])
    told = queries.history(legacy, "ALBUM", album(3))
    assert [(change.category, change.after) for change in told] == [
        ("UPDATED", {"label": "after"}),
        ("CACHED", None),
        ("UPDATED", {"label": "before"}),
        ("ENRICHED", None),
        ("ENRICHED", None),
        ("CREATED", None),
    ]
    page = queries.chain(legacy, "ALBUM", album(3), limit=100)
    assert page.total_count == 13 + 3
    assert [row.category for row in page.logs][-3:] == ["UPDATED", "CACHED", "UPDATED"]
    undo.undo(legacy)
    assert [change.after for change in queries.history(legacy, "ALBUM", album(3))] == [
        {"label": "after"},
        {"label": "before"},
    ]


def test_what_is_captured_while_it_is_adopted_is_not_lost(first, connect):
    writer, ended = connect(first), threading.Event()
    written: list[int] = []

    def write() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            writer.execute("UPDATE albums SET track_count = %s WHERE id = %s", [n, album(3)])
            written.append(n)
            time.sleep(0.005)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        adopt.adopt(first, "public.enrichment_logs")
        undo.undo(first)
        adopt.adopt(first, "public.enrichment_logs")
        assert writing.is_alive()
    finally:
        ended.set()
        writing.join()
    told = rows(
        first,
        "SELECT (after ->> 'track_count')::int FROM llamalog.log WHERE entity_id = %s AND op = 'U' ORDER BY seq",
        album(3),
    )
    assert [n for (n,) in told] == written


# -- 13. whoever installs ----------------------------------------------------------------------------------------------


@pytest.fixture(params=["NOCREATEROLE", "CREATEROLE"], ids=["plain role", "role maker"])
def modest(another_server: embedded.Server, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A music database with its log, watched, whose owner is no superuser; everything in it is his."""
    name = f"shop_{request.param.lower()}"
    with psycopg.connect(another_server.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {request.param}".encode())
        admin.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
    address = {"dbname": name, "user": name, "password": "x", "autocommit": True}
    with psycopg.connect(another_server.dsn, **address, row_factory=namedtuple_row) as conn:
        conn.execute(MUSIC.read_bytes())
        make(conn)
        migrate.migrate(conn)
        watching.watch(conn, MUSIC_TABLES)
        yield conn
    with psycopg.connect(another_server.dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name}".encode())
        admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


def test_an_owner_who_is_no_superuser_adopts_writes_and_takes_back(modest):
    shape = shape_of(modest, "public.enrichment_logs")
    before = content(modest, "enrichment_logs")
    report = adopt.adopt(modest, "public.enrichment_logs")
    assert (report.row_count, report.before) == (260, report.after)
    assert content(modest, "enrichment_logs") == before
    assert write_as_before(modest, "public.enrichment_logs") == SEEN
    assert write_as_before(modest, "public.llama_logs") == SEEN
    write_in_every_way(modest)
    key = insert(modest, created_at="2024-02-29 01:02:03.456", operation="cache:artist-image")
    assert logged(modest, key, "category, created_at, op") == (
        "CACHED",
        datetime(2024, 2, 29, 1, 2, 3, 456000, tzinfo=UTC),
        None,
    )
    new = "seq >= 10000000000001 AND (op IS NOT NULL OR error_message IS NOT NULL) ORDER BY seq"
    assert (
        rows(modest, f"SELECT category, entity_type, link_type, op FROM llamalog.log WHERE {new}")
        == WRITTEN
    )
    assert migrate.migrate(modest).is_empty
    assert proof.verify(modest)[0] == proof.verify(modest)[1]
    assert undo.undo(modest).captured == len(WRITTEN)
    assert shape_of(modest, "public.enrichment_logs") | {"constraints": []} == shape | {
        "constraints": []
    }
    assert write_as_before(modest, "public.enrichment_logs") == SEEN
    assert value(modest, "SELECT count(*) FROM llamalog.log") == len(WRITTEN)
    assert installation.check(modest) == []


# -- and the rest of the commands --------------------------------------------------------------------------------------


def test_migrate_after_an_adoption_changes_nothing(adopted):
    assert migrate.migrate(adopted).is_empty
    lens = value(adopted, "SELECT pg_get_viewdef('llamalog.log'::regclass)")
    adopted.execute("UPDATE llamalog.repeatables SET checksum = '' WHERE name = 'views/log.sql'")
    assert migrate.migrate(adopted).repeatables == ["views/log.sql"]
    assert migrate.migrate(adopted).is_empty
    assert value(adopted, "SELECT pg_get_viewdef('llamalog.log'::regclass)") == lens


def test_status_check_and_maintain_know_the_adopted_log(adopted, llamalog):
    assert migrate.maintain(adopted) == []
    assert [(f.what, f.hint) for f in installation.check(adopted)] == [
        ("public.llama_logs", "Run: llamalog backfill")
    ]
    backfill.backfill(adopted)
    assert installation.check(adopted) == []
    status = installation.status(adopted)
    assert (status.adopted, status.rows) == ("public.llama_logs", 260)
    assert "260 rows, " in llamalog(adopted, "status").stdout
    assert llamalog(adopted, "check").exit_code == 0
    assert llamalog(adopted, "maintain").exit_code == 0
    result = llamalog(adopted, "rollback", "--all", "--yes")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "hint: Give it back first: llamalog adopt --undo",
    )


def test_the_plan_changes_nothing(legacy, llamalog):
    shape = shape_of(legacy, "enrichment_logs")
    for option in ("--dry-run", "--sql"):
        result = llamalog(legacy, "adopt", "public.enrichment_logs", option)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "drop the foreign key enrichment_logs_album_id_fkey" in result.stdout
    assert shape_of(legacy, "enrichment_logs") == shape
    assert value(legacy, "SELECT count(*) FROM llamalog.adoptions") == 0


def test_indexes_that_nothing_needs_are_named_and_dropped_when_asked(legacy, llamalog):
    result = llamalog(legacy, "adopt", "public.enrichment_logs", "--yes")
    assert result.stdout.splitlines()[3:] == [
        "index public.llama_logs_sources_idx: finds whole arrays only, nothing in them: --drop-indexes drops it"
    ]
    undo.undo(legacy)
    result = llamalog(legacy, "adopt", "public.enrichment_logs", "--yes", "--drop-indexes")
    assert result.stdout.splitlines()[3:] == ["index public.llama_logs_sources_idx: dropped"]
    undo.undo(legacy)


def test_nothing_is_asked_of_whoever_does_not_confirm(legacy, llamalog):
    result = llamalog(legacy, "adopt", "public.enrichment_logs")
    assert result.exit_code != 0
    assert value(legacy, "SELECT count(*) FROM llamalog.adoptions") == 0


def test_sql_of_undo_changes_nothing_and_run_by_hand_gives_the_log_back(database):
    make(database)
    adopt.adopt(database, "enrichment_logs")
    script = [statement for part in undo.script(database) for statement in part]
    assert state.current(database).is_adopted
    with database.transaction():
        for statement in script:
            database.execute(statement.encode())
    assert state.current(database) is None
    names = "SELECT to_regclass('enrichment_logs') AS old, to_regclass('llama_logs') AS new, count(*) FROM enrichment_logs"
    assert tuple(database.execute(names).fetchone()) == ("enrichment_logs", None, 260)


def test_what_failed_and_what_needs_a_person_is_told_of_an_adopted_log(first_adopted):
    conn = first_adopted
    insert(conn, entity_type="ALBUM", entity_id=album(1), status="FAILED", error_code="TIMEOUT")
    years = {"days": 36500}

    def told() -> tuple[Any, ...]:
        asked = attention.failures(conn, "ALBUM", album(20), **years)
        return [(f.label, f.error_code, f.resolved_at) for f in asked]

    assert told() == [("Album 20", "TIMEOUT", None)]
    (new,) = attention.failures(conn, "ALBUM", unresolved_only=True)
    assert (new.label, new.error_code) == ("Album 1", "TIMEOUT")
    backfill.backfill(conn)
    assert told() == [("Album 20", "TIMEOUT", None)]
    found = attention.attention(conn, "ALBUM", limit=1)
    assert [(f.rule, f.detail) for f in found] == [
        ("failed", "failed: enrichment:album (TIMEOUT)"),
        ("value", "data_quality is LOW"),
        ("missing", "none of deezer_id, musicbrainz_id, spotify_id"),
    ]
    assert {(f.category, str(f.job_id)[:7]) for f in found[1:]} == {("CREATED", "create-")}
    insert(conn, entity_type="ALBUM", entity_id=album(1))
    insert(conn, entity_type="ALBUM", entity_id=album(20))
    assert attention.failures(conn, unresolved_only=True, **years) == []
    counted = {c.name: c.change_count for c in stats.counts(conn, "status")}
    assert counted == {"SUCCESS": 2, "FAILED": 1}


def test_capture_into_an_adopted_log_is_paused_and_the_log_says_so(first_adopted):
    conn = first_adopted
    conn.execute("UPDATE albums SET label = 'logged'")
    pausing.pause(conn, ["albums"], "load")
    conn.execute("UPDATE albums SET label = 'unseen'")
    pausing.resume(conn, ["albums"])
    rows = conn.execute(
        "SELECT operation, category, op, entity_type, reason, seq FROM llamalog.log ORDER BY seq DESC LIMIT 3"
    ).fetchall()[::-1]
    assert [tuple(row[:-1]) for row in rows] == [
        ("album:updated", "UPDATED", "U", "ALBUM", None),
        ("llamalog:paused", "USER_ACTION", None, "ALBUM", "load"),
        ("llamalog:resumed", "USER_ACTION", None, "ALBUM", "load"),
    ]
    (kept,) = conn.execute("SELECT paused_seq, resumed_seq FROM llamalog.pauses").fetchall()
    assert tuple(kept) == (rows[1].seq, rows[2].seq)
    met = [(b.field, b.left_value, b.found) for b in queries.breaks(conn, "ALBUM", album(1))]
    assert met == [("label", "logged", "unseen")]
