"""From the first release to this one while writers write, and out again without a trace."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import legacy
import psycopg
import pytest
from conftest import MUSIC, MUSIC_TABLES
from crashing import Writer, prove
from psycopg.rows import tuple_row
from released import MIGRATIONS, install_first

from llamalog_sql import embedded, installation, migrate, queries, watching
from llamalog_sql.adoption import adopt, undo
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]


def rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def value(conn: Connection, query: str) -> Any:
    return rows(conn, query)[0][0]


# -- upgrade ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def first(empty: Connection) -> Connection:
    """A database at the first release, its music tables watched."""
    empty.execute(MUSIC.read_bytes())
    empty.execute(Writer.MARKS)
    install_first(empty)
    return empty


def test_what_the_first_release_logged_is_answered_by_this_one(first, new):
    assert migrate.plan(first).applied == MIGRATIONS
    with first.transaction():
        first.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add-1')")
        album = new.album(first)
        track = new.track(first, album)
    first.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album])
    first.execute("UPDATE tracks SET id = gen_random_uuid() WHERE id = %s", [track])
    moved = value(first, "SELECT id FROM tracks")
    first.execute("DELETE FROM tracks")
    before = rows(first, "SELECT to_jsonb(log) FROM llamalog.log ORDER BY seq")
    report = migrate.migrate(first)
    assert report.migrations[0] == "migrations/0005_retention.sql"
    assert sorted(report.watches) == sorted(f"public.{name}" for name in MUSIC_TABLES)
    assert rows(first, "SELECT to_jsonb(log) FROM llamalog.log ORDER BY seq") == before
    assert installation.check(first) == []
    assert [change.category for change in queries.history(first, "ALBUM", album)] == [
        "UPDATED",
        "CREATED",
    ]
    assert [
        (b.field, b.value) for b in queries.blame(first, "ALBUM", album) if b.field == "label"
    ] == [("label", "Parlophone")]
    # also of a row whose key had changed
    assert [change.category for change in queries.history(first, "TRACK", str(moved))] == [
        "DELETED",
        "UPDATED",
        "CREATED",
    ]
    assert migrate.migrate(first).is_empty


def test_upgrading_beside_writers_loses_nothing_and_fails_nobody(first, connect):
    """Writers who read other tables, too: whoever locks the log and tables in another order than they would stop them."""
    writers = [Writer(f"writer {n}", n) for n in range(3)]
    stop, patient = threading.Event(), "-c lock_timeout=20s"
    with ThreadPoolExecutor(4) as pool:
        working = [
            pool.submit(writer.write_until, stop, connect(first, options=patient))
            for writer in writers
        ]
        try:
            while min(writer.count for writer in writers) < 20:
                time.sleep(0.01)
            migrate.migrate(first)
            then = [writer.count for writer in writers]
            while any(w.count < n + 20 for w, n in zip(writers, then, strict=True)):
                assert [writer.failures for writer in writers] == [[], [], []]
                time.sleep(0.01)
        finally:
            stop.set()
        for work in working:
            work.result(60)
    assert prove(first, writers) > 100
    assert installation.check(first) == []


def test_an_upgrade_that_cannot_have_a_table_is_given_up_and_changes_nothing(
    first, connect, new, monkeypatch
):
    monkeypatch.setattr(watching, "LOCK_TIMEOUT", "100ms")
    reader, writer = connect(first), connect(first, options="-c lock_timeout=10s")
    with writer.transaction():
        new.album(writer)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migrate.migrate(first)
        # what it had of the others is given back
        new.artist(reader)
        with pytest.raises(psycopg.errors.LockNotAvailable):
            migrate.rollback(first, everything=True)
    assert migrate.plan(first).applied == MIGRATIONS
    assert value(first, "SELECT count(*) FROM llamalog.log") == 2
    assert migrate.migrate(first).migrations != []


# -- uninstall --------------------------------------------------------------------------------------------------------

#: Owners who are no superusers, partitions, heirs, names in quotes, rights and triggers of the application's own.
SHOP = """
CREATE SCHEMA "Shop" AUTHORIZATION shopkeeper;
SET ROLE shopkeeper;
CREATE TABLE "Shop"."Order's 100%" ("Id" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "Note" text, secret text);
CREATE TABLE "Shop".stock (at date, item integer, amount integer, PRIMARY KEY (at, item)) PARTITION BY RANGE (at);
CREATE TABLE "Shop".stock_2026 PARTITION OF "Shop".stock FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE "Shop".animals (id integer, name text UNIQUE NOT NULL);
CREATE TABLE "Shop".llamas (wool real) INHERITS ("Shop".animals);
CREATE TABLE "Shop".tags (order_id bigint REFERENCES "Shop"."Order's 100%" ON DELETE CASCADE, tag text, PRIMARY KEY (order_id, tag));
ALTER TABLE "Shop".tags ENABLE ROW LEVEL SECURITY;
CREATE POLICY short ON "Shop".tags USING (length(tag) < 10);
GRANT SELECT ON "Shop".animals TO PUBLIC;
RESET ROLE;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER a_touch BEFORE UPDATE ON "Shop".animals FOR EACH ROW EXECUTE FUNCTION touch();
CREATE EVENT TRIGGER own ON ddl_command_end EXECUTE FUNCTION own();
"""


@pytest.fixture
def shop(server: Any, empty: Connection) -> Iterator[Connection]:
    """A database whose tables are of several owners."""
    empty.execute("CREATE ROLE shopkeeper")
    try:
        empty.execute("CREATE FUNCTION own() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        empty.execute(MUSIC.read_bytes())
        empty.execute(SHOP.encode())
        yield empty
    finally:
        empty.execute("DROP OWNED BY shopkeeper CASCADE; DROP ROLE shopkeeper")


def dump(conn: Connection, *arguments: str) -> str:
    """What pg_dump writes, without the key that it makes up for each run."""
    info = conn.info
    address = {"HOST": info.host, "PORT": info.port, "USER": info.user, "PASSWORD": info.password}
    text = subprocess.run(
        [
            str(embedded.find_binaries(info.server_version // 10000) / "pg_dump"),
            f"--dbname={info.dbname}",
            *arguments,
        ],
        env=os.environ | {f"PG{name}": str(given) for name, given in address.items() if given},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return "".join(
        line
        for line in text.splitlines(keepends=True)
        if not line.startswith(("\\restrict", "\\unrestrict"))
    )


WATCHED = {
    '"Shop"."Order\'s 100%"': Options(
        entity_type="ORDER", redact=["secret"], label="Note", image="full", capture="statement"
    ),
    '"Shop".stock': Options(on_truncate="refuse", ignore=["amount"]),
    '"Shop".animals': Options(key=["name"], capture="tolerant"),
    '"Shop".tags': Options(kind="entity", part_of="order_id", row_security=True),
}


@pytest.mark.parametrize(
    "way",
    [
        "rollback",
        pytest.param("unwatch, then rollback", marks=pytest.mark.slow),
        pytest.param("rollback --sql", marks=pytest.mark.slow),
    ],
)
def test_after_watch_with_every_option_uninstalling_leaves_no_trace(shop, way):
    before = dump(shop)
    migrate.migrate(shop)
    for table, options in WATCHED.items():
        watching.watch(shop, [table], options)
    watching.watch(shop, MUSIC_TABLES)
    # what event triggers and owners do meanwhile
    with shop.transaction(force_rollback=True):
        shop.execute("SET ROLE shopkeeper")
        shop.execute("INSERT INTO \"Shop\".animals VALUES (1, 'Tina')")
    shop.execute(
        "SET ROLE shopkeeper;"
        ' CREATE TABLE "Shop".stock_later PARTITION OF "Shop".stock DEFAULT;'
        ' ALTER TABLE "Shop".stock DETACH PARTITION "Shop".stock_later; DROP TABLE "Shop".stock_later;'
        ' ALTER TABLE "Shop".tags ADD COLUMN extra text; ALTER TABLE "Shop".tags DROP COLUMN extra;'
        ' ALTER TABLE "Shop".animals RENAME TO beasts; ALTER TABLE "Shop".beasts RENAME TO animals; RESET ROLE'
    )
    migrate.migrate(shop)
    assert dump(shop, "--exclude-schema=llamalog") != before
    if way == "unwatch, then rollback":
        watching.unwatch(
            shop,
            [
                "ORDER",
                "STOCK",
                "ANIMAL",
                "TAG",
                "ALBUM",
                "ARTIST",
                "TRACK",
                "ALBUM_ARTIST",
                "TRACK_ARTIST",
            ],
        )
        event_triggers = [
            line
            for line in dump(shop, "--exclude-schema=llamalog").splitlines()
            if "llamalog" not in line
        ]
        assert set(before.splitlines()) <= set(event_triggers)
    if way == "rollback --sql":
        victims = migrate.rollback_plan(shop, everything=True, drop_log=True)
        for statement in list(migrate.rollback_script(shop, victims)):
            shop.execute(statement.encode())
    else:
        migrate.rollback(shop, everything=True, drop_log=True)
    assert dump(shop) == before


def test_after_adopt_and_undo_uninstalling_leaves_no_trace(empty):
    empty.execute(MUSIC.read_bytes())
    legacy.make(empty, albums=3)
    before = dump(empty, "--schema-only")
    content = sorted(dump(empty, "--data-only", "--inserts").splitlines())
    migrate.migrate(empty)
    watching.watch(empty, MUSIC_TABLES)
    adopt.adopt(empty, "public.enrichment_logs")
    undo.undo(empty)
    migrate.rollback(empty, everything=True, drop_log=True)
    assert dump(empty, "--schema-only") == before
    assert sorted(dump(empty, "--data-only", "--inserts").splitlines()) == content
