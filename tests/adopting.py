"""What the tests of adoption share: logs to adopt and adopted ones, and how an application writes to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from click.testing import CliRunner
from conftest import MUSIC, MUSIC_TABLES
from legacy import make
from psycopg.conninfo import make_conninfo
from psycopg.rows import tuple_row
from pytest_postgresql import factories

from llamalog_sql import (
    migrate,
    watching,
)
from llamalog_sql.adoption import adopt, locks
from llamalog_sql.cli import main
from llamalog_sql.errors import LlamaLogError

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


def plan_of(conn: Connection, query: str) -> str:
    return "\n".join(line for (line,) in rows(conn, f"EXPLAIN {query}"))


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
