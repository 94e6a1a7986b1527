"""No change of a watched table breaks a write or lets one go unlogged; migrate renders the capture anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from conftest import default
from psycopg.rows import namedtuple_row

from llamalog_sql import access, embedded, migrate, watching
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]


@pytest.fixture
def watch(each_db) -> Callable[..., None]:
    """watch("t", redact=["email"]) watches more tables, with the kind of capture that the test runs for."""
    (kind,) = each_db.execute(
        "SELECT capture FROM llamalog.watches WHERE entity_type = 'ALBUM'"
    ).fetchone()

    def hang(*tables: str, **options: Any) -> None:
        watching.watch(each_db, list(tables), Options(capture=kind, **options))

    return hang


def ids(conn: Connection, entity_type: str) -> list[tuple[str, str]]:
    """What was logged of a type: op and id, in order."""
    rows = conn.execute(
        "SELECT op, entity_id FROM llamalog.log WHERE entity_type = %s ORDER BY seq", [entity_type]
    )
    return [(row.op, row.entity_id) for row in rows]


def drifted(conn: Connection) -> dict[str, str]:
    """What is wrong with the capture, by entity type."""
    return {drift.entity_type: drift.problem for drift in watching.drifted(conn)}


THINGS = """
CREATE SCHEMA shop;
CREATE TYPE shop.mood AS ENUM ('sad', 'ok');
CREATE DOMAIN shop.price AS numeric;
CREATE TABLE shop.things (
    id integer PRIMARY KEY,
    name text,
    price shop.price,
    mood shop.mood,
    base integer DEFAULT 1,
    doubled integer GENERATED ALWAYS AS (2 * base) STORED,
    updated_at timestamptz
);
"""

CHANGES = [
    # what is changed, the SQL, the table afterwards, the columns that are written afterwards
    ("add a column", "ALTER TABLE shop.things ADD extra text DEFAULT 'x'", "shop.things", "extra"),
    ("drop a column", "ALTER TABLE shop.things DROP name", "shop.things", "price"),
    ("rename a column", "ALTER TABLE shop.things RENAME name TO title", "shop.things", "title"),
    (
        "rename a column as if of a view",
        "ALTER VIEW shop.things RENAME COLUMN name TO title",
        "shop.things",
        "title",
    ),
    (
        "change a type",
        "ALTER TABLE shop.things ALTER price TYPE text USING price::text",
        "shop.things",
        "price",
    ),
    (
        "change a type to a wider one",
        "ALTER TABLE shop.things ALTER id TYPE bigint",
        "shop.things",
        "price",
    ),
    ("drop a type", "DROP TYPE shop.mood CASCADE", "shop.things", "price"),
    ("drop a domain", "DROP DOMAIN shop.price CASCADE", "shop.things", "name"),
    (
        "rename a value of an enum",
        "ALTER TYPE shop.mood RENAME VALUE 'ok' TO 'fine'",
        "shop.things",
        "price",
    ),
    (
        "restrict a domain",
        "ALTER DOMAIN shop.price ADD CHECK (VALUE < 1000)",
        "shop.things",
        "price",
    ),
    ("rename the type", "ALTER TYPE shop.mood RENAME TO feeling", "shop.things", "price"),
    ("move the type", "ALTER TYPE shop.mood SET SCHEMA public", "shop.things", "price"),
    (
        "keep a generated column",
        "ALTER TABLE shop.things ALTER doubled DROP EXPRESSION",
        "shop.things",
        "doubled",
    ),
    ("rename the key", "ALTER TABLE shop.things RENAME id TO number", "shop.things", "price"),
    ("rename the table", "ALTER TABLE shop.things RENAME TO items", "shop.items", "price"),
    (
        "rename it to what must be quoted",
        "ALTER TABLE shop.things RENAME TO \"No 'Thing'\"",
        "shop.\"No 'Thing'\"",
        "price",
    ),
    ("move the table", "ALTER TABLE shop.things SET SCHEMA public", "public.things", "price"),
    (
        "move the table to a closed schema",
        "CREATE SCHEMA store; ALTER TABLE shop.things SET SCHEMA store",
        "store.things",
        "price",
    ),
    ("rename the schema", "ALTER SCHEMA shop RENAME TO store", "store.things", "price"),
    (
        "hang a row trigger",
        "CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER a AFTER INSERT OR DELETE ON shop.things FOR EACH ROW"
        " EXECUTE FUNCTION shop.nothing()",
        "shop.things",
        "price",
    ),
    (
        "refer to it",
        "CREATE TABLE shop.parts (thing_id integer REFERENCES shop.things ON DELETE CASCADE)",
        "shop.things",
        "price",
    ),
    (
        "everything at once",
        "ALTER TABLE shop.things ADD a text, ADD b integer, DROP name, DROP mood,"
        " ALTER price TYPE text USING price::text; ALTER TABLE shop.things RENAME a TO name;"
        "ALTER TABLE shop.things RENAME TO items",
        "shop.items",
        "price",
    ),
]

each_change = pytest.mark.parametrize(
    ("ddl", "table", "column"),
    [change[1:] for change in CHANGES],
    ids=[change[0] for change in CHANGES],
)


def write(conn: Connection, table: str, column: str, number: int) -> None:
    """Every way to write one row, whatever the key column is called."""
    conn.execute(f"INSERT INTO {table} VALUES ({number})".encode())
    conn.execute(f"UPDATE {table} SET {column} = '7'".encode())
    conn.execute(f"DELETE FROM {table}".encode())
    conn.execute(f"INSERT INTO {table} VALUES ({number})".encode())
    conn.execute(f"TRUNCATE {table} CASCADE".encode())


def story(number: int) -> list[tuple[str, str]]:
    return [(op, str(number)) for op in ("I", "U", "D", "I", "T")]


@each_change
def test_change_of_a_table_breaks_no_write_and_hides_none(each_db, watch, ddl, table, column):
    each_db.execute(THINGS)
    watch("shop.things")
    write(each_db, "shop.things", "price", 1)
    each_db.execute(ddl)
    write(each_db, table, column, 2)
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    write(each_db, table, column, 3)
    assert ids(each_db, "THING") == [*story(1), *story(2), *story(3)]


@pytest.mark.parametrize(
    "ddl",
    [
        "ALTER TABLE shop.things ADD extra text; ALTER TABLE shop.things RENAME name TO title",
        "ALTER TABLE shop.things RENAME TO items; ALTER TABLE shop.items SET SCHEMA public",
        "DROP TYPE shop.mood CASCADE; DROP DOMAIN shop.price CASCADE",
        "DROP TABLE shop.things",
    ],
    ids=["columns", "name", "types", "table"],
)
def test_change_that_is_rolled_back_leaves_the_capture_as_it_was(each_db, watch, ddl):
    each_db.execute(THINGS)
    watch("shop.things")
    with each_db.transaction(force_rollback=True):
        each_db.execute(ddl)
    assert watching.drifted(each_db) == []
    write(each_db, "shop.things", "price", 1)
    assert ids(each_db, "THING") == story(1)


@pytest.mark.parametrize(
    "ddl",
    [
        "ALTER TABLE albums ADD extra text",
        "ALTER TABLE albums DROP barcode",
        "ALTER TABLE albums RENAME barcode TO code",
        "ALTER TABLE albums ALTER duration_ms TYPE bigint",
        'DROP TYPE "AlbumGameStatus" CASCADE',
    ],
)
def test_drift_is_told_until_migrate_renders_anew(db, ddl):
    assert drifted(db) == {}
    db.execute(ddl)
    assert drifted(db) == {"ALBUM": "the table has changed; the tolerant capture stands in"}
    report = migrate.migrate(db)
    assert report.watches == ["public.albums"]
    assert drifted(db) == {}
    hung = db.execute(
        "SELECT DISTINCT tgfoid::regproc::text AS function FROM pg_trigger"
        " WHERE tgrelid = 'albums'::regclass AND tgname LIKE '00%' ORDER BY 1"
    ).fetchall()
    assert [function for (function,) in hung] == [
        "llamalog.capture_album_delete",
        "llamalog.capture_album_insert",
        "llamalog.capture_album_update",
        "llamalog.capture_truncate",
    ]


@default("image")
def test_added_column_is_logged_at_once(each_db, new, changes):
    album = new.album(each_db)
    each_db.execute("ALTER TABLE albums ADD mood text DEFAULT 'calm'")
    each_db.execute("UPDATE albums SET mood = 'tense'")
    each_db.execute("INSERT INTO albums (title, updated_at) VALUES ('Kid A', now())")
    each_db.execute("DELETE FROM albums WHERE id = %s", [album])
    rows = changes(
        each_db,
        "op, after ->> 'mood' AS new, before ->> 'mood' AS old, 'mood' = ANY (fields_enriched) AS is_named",
    )[1:]
    assert rows == [
        ("U", "tense", "calm", True),
        ("I", None, None, True),
        ("D", None, "tense", None),
    ]


def test_renamed_column_is_logged_by_its_new_name(each_db, new, changes):
    new.album(each_db, barcode="1")
    each_db.execute("ALTER TABLE albums RENAME barcode TO code")
    each_db.execute("UPDATE albums SET code = '2'")
    assert changes(each_db, "before, after", op="U") == [({"code": "1"}, {"code": "2"})]


def test_renamed_column_that_is_redacted_stays_redacted(each_db, watch, changes):
    each_db.execute("CREATE TABLE people (id integer PRIMARY KEY, email text)")
    watch("people", redact=["email"], image="full")
    each_db.execute("INSERT INTO people VALUES (1, 'SECRET')")
    each_db.execute("ALTER TABLE people RENAME email TO mail")
    for _ in range(2):
        each_db.execute("UPDATE people SET mail = 'SECRET ' || gen_random_uuid()")
        each_db.execute("DELETE FROM people; INSERT INTO people VALUES (1, 'SECRET')")
        migrate.migrate(each_db)
    each_db.execute("TRUNCATE people")
    assert changes(each_db, "log::text", entity_type="PERSON") != []
    assert [row for row in changes(each_db, "log::text") if "SECRET" in row] == []


def test_renamed_column_that_is_the_label_stays_the_label(each_db, watch):
    each_db.execute("CREATE TABLE people (id integer PRIMARY KEY, name text)")
    watch("people")
    each_db.execute("INSERT INTO people VALUES (1, 'Ann')")
    each_db.execute("ALTER TABLE people RENAME name TO called")
    for _ in range(2):
        migrate.migrate(each_db)
        assert each_db.execute("SELECT * FROM llamalog.labels('PERSON', '{1}')").fetchall() == [
            ("1", "Ann", True)
        ]


def test_renamed_column_that_is_ignored_stays_ignored(each_db, watch, changes):
    each_db.execute("CREATE TABLE people (id integer PRIMARY KEY, visits integer)")
    watch("people", ignore=["visits"])
    each_db.execute("INSERT INTO people VALUES (1, 1)")
    each_db.execute("ALTER TABLE people RENAME visits TO calls")
    each_db.execute("UPDATE people SET calls = 2")
    migrate.migrate(each_db)
    each_db.execute("UPDATE people SET calls = 3")
    assert changes(each_db, "op") == ["I"]


def test_link_whose_columns_are_renamed_keeps_its_ends(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    each_db.execute("ALTER TABLE album_artists RENAME album_id TO record_id")
    each_db.execute("ALTER TABLE album_artists RENAME artist_id TO maker_id")
    each_db.execute("INSERT INTO album_artists VALUES (%s, %s, 'primary')", [album, artist])
    migrate.migrate(each_db)
    each_db.execute("DELETE FROM album_artists")
    columns = "category, entity_type, entity_id, related_type, related_id"
    assert changes(each_db, columns, link_type="ALBUM_ARTIST") == [
        ("LINKED", "ALBUM", album, "ARTIST", artist),
        ("UNLINKED", "ALBUM", album, "ARTIST", artist),
    ]


def test_link_that_lost_an_end_is_logged_for_itself(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    each_db.execute("ALTER TABLE album_artists DROP album_id CASCADE")
    each_db.execute("ALTER TABLE album_artists ADD PRIMARY KEY (artist_id)")
    each_db.execute("UPDATE album_artists SET role = 'producer'")
    migrate.migrate(each_db)
    each_db.execute("UPDATE album_artists SET role = 'composer'")
    columns = "entity_type, entity_id, related_type, related_id"
    assert changes(each_db, columns, op="U") == [("ALBUM_ARTIST", artist, "ARTIST", artist)] * 2


def test_part_whose_reference_is_renamed_keeps_its_whole(each_db, new, changes):
    album = new.album(each_db)
    each_db.execute("ALTER TABLE tracks RENAME album_id TO record_id")
    each_db.execute(
        "INSERT INTO tracks (record_id, title, track_number, updated_at) VALUES (%s, 'x', 1, now())",
        [album],
    )
    assert changes(each_db, "related_type, related_id", entity_type="TRACK") == [("ALBUM", album)]


def test_table_that_got_another_key_is_known_since_then_only(each_db, watch):
    each_db.execute(
        "CREATE TABLE moods (id integer PRIMARY KEY, code integer UNIQUE NOT NULL, v text)"
    )
    watch("moods")
    each_db.execute("INSERT INTO moods VALUES (1, 2, 'one'), (2, 3, 'two')")
    each_db.execute("UPDATE moods SET v = v || '!'")
    (before,) = each_db.execute("SELECT clock_timestamp()").fetchone()
    each_db.execute("ALTER TABLE moods DROP CONSTRAINT moods_pkey, ADD PRIMARY KEY (code)")
    migrate.migrate(each_db)
    # to the log "2" was the other row
    for question in ("as_of('MOOD', '2', %s)", "as_of_all('MOOD', %s)"):
        with pytest.raises(psycopg.Error) as error, each_db.transaction():
            each_db.execute(f"SELECT llamalog.{question}".encode(), [before])
        assert error.value.sqlstate == "LL016"
    assert each_db.execute("SELECT field, value FROM llamalog.blame('MOOD', '2') WHERE seq IS NULL").fetchall() == [
        ("code", 2), ("id", 1), ("v", "one!"),
    ]  # fmt: skip
    assert each_db.execute("SELECT llamalog.breaks('MOOD', '2')").fetchall() == []
    (after,) = each_db.execute("SELECT clock_timestamp()").fetchone()
    each_db.execute("UPDATE moods SET v = 'new' WHERE code = 2")
    assert each_db.execute(
        "SELECT llamalog.as_of('MOOD', '2', %s) ->> 'v'", [after]
    ).fetchone() == ("one!",)


def test_key_by_a_unique_index_keeps_its_name_when_its_column_is_renamed(each_db, watch, changes):
    each_db.execute("CREATE TABLE codes (code text NOT NULL UNIQUE, v text)")
    watch("codes")
    each_db.execute("INSERT INTO codes VALUES ('a', '1')")
    each_db.execute("ALTER TABLE codes RENAME code TO label")
    each_db.execute("UPDATE codes SET v = '2'")
    migrate.migrate(each_db)
    each_db.execute("UPDATE codes SET v = '3'")
    assert changes(each_db, "op, entity_id, previous_id") == [
        ("I", "a", None),
        ("U", "a", None),
        ("U", "a", None),
    ]


@pytest.mark.parametrize(
    ("options", "ddl"),
    [
        ({"part_of": "shop_id"}, "ALTER TABLE orders DROP CONSTRAINT orders_shop_id_fkey"),
        ({"part_of": "shop_id"}, "ALTER TABLE orders DROP shop_id"),
        ({"kind": "link"}, "ALTER TABLE orders DROP shop_id"),
        ({"key": ["code"]}, "ALTER TABLE orders DROP code"),
        ({"label": "note", "ignore": ["note"], "redact": ["note"]}, "ALTER TABLE orders DROP note"),
        ({"quality": "note", "source": "note"}, "ALTER TABLE orders DROP note"),
    ],
)
def test_option_about_a_column_that_is_gone_stops_neither_writes_nor_migrate(
    each_db, watch, changes, options, ddl
):
    each_db.execute(
        "CREATE TABLE shops (id integer PRIMARY KEY); CREATE TABLE clients (id integer PRIMARY KEY);"
        "CREATE TABLE orders (id integer PRIMARY KEY, code text NOT NULL UNIQUE DEFAULT gen_random_uuid(),"
        " shop_id integer REFERENCES shops, client_id integer REFERENCES clients, note text)"
    )
    watch("shops", "clients")
    watch("orders", **options)
    each_db.execute(ddl)
    each_db.execute("INSERT INTO orders (id) VALUES (1)")
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    each_db.execute("DELETE FROM orders")
    logged = changes(each_db, "op")
    assert logged == ["I", "D"]


@pytest.mark.parametrize(
    "ddl",
    [
        "ALTER TABLE codes DROP CONSTRAINT codes_code_key",
        "ALTER TABLE codes ALTER code DROP NOT NULL",
    ],
)
def test_table_that_lost_its_key_is_captured_on_and_told_of(each_db, watch, changes, ddl):
    each_db.execute("CREATE TABLE codes (code text NOT NULL UNIQUE, v text)")
    watch("codes")
    each_db.execute(ddl)
    each_db.execute("INSERT INTO codes VALUES ('a')")
    migrate.migrate(each_db)
    each_db.execute("UPDATE codes SET v = 'b'")
    each_db.execute("TRUNCATE codes")
    assert "key" in drifted(each_db)["CODE"]
    assert changes(each_db, "op, entity_id") == [("I", "a"), ("U", "a"), ("T", "a")]


@pytest.mark.parametrize(
    ("ddl", "insert", "row"),
    [
        (
            "ALTER TABLE codes DROP CONSTRAINT codes_code_key; ALTER TABLE codes ALTER code DROP NOT NULL",
            "INSERT INTO codes VALUES (NULL, 'a')",
            {"code": None, "v": "a"},
        ),
        (
            "ALTER TABLE codes DROP code; ALTER TABLE codes ADD w text",
            "INSERT INTO codes VALUES ('a', NULL)",
            {"v": "a", "w": None},
        ),
    ],
    ids=["key", "whole row"],
)
@pytest.mark.parametrize("is_migrated", [False, True], ids=["before migrate", "after migrate"])
def test_nulls_in_what_is_left_of_a_key_fail_no_write(
    each_db, watch, changes, ddl, insert, row, is_migrated
):
    each_db.execute("CREATE TABLE codes (code text NOT NULL UNIQUE, v text)")
    watch("codes", image="full")
    each_db.execute(ddl)
    if is_migrated:
        migrate.migrate(each_db)
    each_db.execute(insert)
    each_db.execute("DELETE FROM codes")
    each_db.execute(insert)
    each_db.execute("TRUNCATE codes")
    assert changes(each_db, "op, before, after") == [
        ("I", None, row),
        ("D", row, None),
        ("I", None, row),
        ("T", row, None),
    ]
    if is_migrated:
        assert changes(each_db, "entity_id") == ["\\N"] * 4


@pytest.mark.parametrize("statement", ["DELETE FROM codes", "TRUNCATE codes"])
def test_table_without_columns_can_be_emptied(each_db, watch, changes, statement):
    each_db.execute("CREATE TABLE codes (code text NOT NULL UNIQUE, v text)")
    watch("codes")
    each_db.execute("INSERT INTO codes VALUES ('a'), ('b')")
    each_db.execute("ALTER TABLE codes DROP code, DROP v")
    each_db.execute(statement)
    assert changes(each_db, "before")[2:] == [{}, {}]


def test_table_whose_key_is_gone_does_not_stop_migrate_for_the_others(each_db, watch, changes):
    each_db.execute("CREATE TABLE codes (code text NOT NULL UNIQUE, v text)")
    watch("codes")
    each_db.execute("ALTER TABLE codes DROP code")
    each_db.execute("ALTER TABLE albums ADD extra text")
    each_db.execute("INSERT INTO codes VALUES ('a')")
    migrate.migrate(each_db)
    each_db.execute("UPDATE codes SET v = 'b'")
    assert changes(each_db, "op", entity_type="CODE") == ["I", "U"]
    assert list(drifted(each_db)) == ["CODE"]


# -- other sessions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rendered", "tolerant"])
def test_session_that_wrote_before_the_change_writes_on_after_it(database, connect, changes, kind):
    database.execute("CREATE TABLE things (id integer PRIMARY KEY, v text)")
    watching.watch(database, ["things"], Options(capture=kind))
    session = connect(database)
    for number in range(8):
        session.execute("INSERT INTO things VALUES (%s, 'a')", [number])
        session.execute("UPDATE things SET v = v || 'b'")
    database.execute("ALTER TABLE things ADD extra text; ALTER TABLE things DROP v")
    session.execute("UPDATE things SET extra = 'x' WHERE id = 1")
    database.execute("ALTER TABLE things RENAME TO items")
    session.execute("DELETE FROM items WHERE id = 1")
    migrate.migrate(database)
    session.execute("UPDATE items SET extra = 'y' WHERE id = 2")
    assert changes(database, "op, entity_id, before")[-3:] == [
        ("U", "1", {"extra": None}),
        ("D", "1", {"id": 1, "extra": "x"}),
        ("U", "2", {"extra": None}),
    ]


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TRIGGER a AFTER INSERT ON shop.things FOR EACH ROW EXECUTE FUNCTION shop.nothing()",
        "CREATE TABLE shop.parts (thing_id integer REFERENCES shop.things ON DELETE CASCADE)",
    ],
    ids=["create a trigger", "refer to it"],
)
def test_change_that_lets_readers_read_on_still_does(database, connect, ddl):
    database.execute(THINGS)
    database.execute(
        "CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    watching.watch(database, ["shop.things"])
    reader = connect(database)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM shop.things")
    database.execute("SET lock_timeout = '2s'")
    database.execute(ddl)
    database.execute("INSERT INTO shop.things VALUES (1); DELETE FROM shop.things")
    reader.execute("COMMIT")
    assert ids(database, "THING") == [("I", "1"), ("D", "1")]


@default("capture")
def test_trigger_made_elsewhere_waits_for_no_writer_and_leaves_the_capture_fast(database, connect):
    database.execute(
        "CREATE TABLE notes (id integer PRIMARY KEY);"
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
    )
    fast = "SELECT DISTINCT capture, rendered <> 'fallen back' FROM llamalog.watches"
    writer = connect(database)
    writer.execute("BEGIN; INSERT INTO artists (name, updated_at) VALUES ('Björk', now())")
    database.execute("SET lock_timeout = '2s'; CREATE TEMPORARY TABLE scratch (id integer)")
    hang = "CREATE TRIGGER a AFTER INSERT ON {} FOR EACH ROW EXECUTE FUNCTION nothing()"
    database.execute(hang.format("scratch"))
    assert drifted(database) == {}
    database.execute(hang.format("notes"))
    assert database.execute(fast).fetchall() == [("rendered", True)]
    writer.execute("COMMIT")
    database.execute(hang.format("albums"))
    assert database.execute(
        "SELECT entity_type FROM llamalog.watches WHERE capture = 'tolerant'"
    ).fetchall() == [("ALBUM",)]


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_transaction_whose_snapshot_is_older_than_the_watch_is_to_be_tried_again(
    database, connect, changes, level
):
    database.execute("CREATE TABLE things (id integer PRIMARY KEY)")
    early = connect(database)
    early.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT FROM albums")
    watching.watch(database, ["things"], Options(capture="tolerant"))
    with pytest.raises(psycopg.errors.SerializationFailure):
        early.execute("INSERT INTO things VALUES (1)")
    early.execute("ROLLBACK")
    early.execute(f"BEGIN ISOLATION LEVEL {level}; INSERT INTO things VALUES (1); COMMIT")
    assert changes(database, "op, entity_id") == [("I", "1")]


def test_temporary_heir_stands_in_the_way_of_no_other_session(database, connect):
    database.execute("CREATE TABLE heads (id integer PRIMARY KEY, v text)")
    watching.watch(database, ["heads"])
    other = connect(database)
    other.execute("CREATE TEMPORARY TABLE scratch () INHERITS (heads)")
    database.execute("CREATE TABLE notes (id integer)")
    migrate.migrate(database)
    database.execute("CREATE TABLE heirs () INHERITS (heads)")
    database.execute("INSERT INTO heads VALUES (1); INSERT INTO heirs VALUES (2)")
    other.execute("INSERT INTO scratch VALUES (3)")
    assert ids(database, "HEAD") == [("I", "1"), ("I", "2")]
    assert other.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'scratch'::regclass"
    ).fetchone() == (0,)


# -- families ---------------------------------------------------------------------------------------------------------

EVENTS = """
CREATE TABLE events (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (10);
"""


def test_new_partition_is_captured_in_the_transaction_that_makes_it(each_db, watch):
    each_db.execute(EVENTS)
    watch("events")
    each_db.execute("CREATE TABLE events_mid PARTITION OF events FOR VALUES FROM (10) TO (20)")
    write(each_db, "events_mid", "v", 11)
    each_db.execute("CREATE TABLE events_high (id integer PRIMARY KEY, v text)")
    each_db.execute("ALTER TABLE events ATTACH PARTITION events_high FOR VALUES FROM (20) TO (30)")
    write(each_db, "events_high", "v", 21)
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    write(each_db, "events_high", "v", 22)
    assert ids(each_db, "EVENT") == [*story(11), *story(21), *story(22)]


def test_owner_adds_partitions_to_a_table_that_a_superuser_watches(each_db, watch):
    each_db.execute(
        "CREATE ROLE baker; CREATE SCHEMA bakery AUTHORIZATION baker; SET LOCAL ROLE baker;"
        "CREATE TABLE bakery.breads (id integer PRIMARY KEY, v text) PARTITION BY RANGE (id)"
    )
    each_db.execute("RESET ROLE")
    watch("bakery.breads")
    each_db.execute(
        "SET LOCAL ROLE baker;"
        "CREATE TABLE bakery.low PARTITION OF bakery.breads FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE bakery.rest PARTITION OF bakery.breads DEFAULT;"
        "CREATE TABLE bakery.high (id integer PRIMARY KEY, v text);"
        "ALTER TABLE bakery.breads ATTACH PARTITION bakery.high FOR VALUES FROM (20) TO (30)"
    )
    write(each_db, "bakery.low", "v", 1)
    write(each_db, "bakery.rest", "v", 11)
    write(each_db, "bakery.high", "v", 21)
    each_db.execute("RESET ROLE")
    assert ids(each_db, "BREAD") == [*story(1), *story(11), *story(21)]


def test_change_of_a_partitioned_table_breaks_no_write_and_hides_none(each_db, watch):
    each_db.execute(EVENTS)
    watch("events")
    each_db.execute("ALTER TABLE events ADD extra text; ALTER TABLE events DROP v")
    write(each_db, "events_low", "extra", 1)
    write(each_db, "events", "extra", 2)
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    write(each_db, "events_low", "extra", 3)
    write(each_db, "events", "extra", 4)
    assert ids(each_db, "EVENT") == [*story(1), *story(2), *story(3), *story(4)]


def test_partition_that_is_detached_goes_its_own_way_and_can_come_back(each_db, watch):
    each_db.execute(EVENTS)
    watch("events")
    each_db.execute("INSERT INTO events VALUES (1)")
    each_db.execute("ALTER TABLE events DETACH PARTITION events_low")
    assert drifted(each_db) == {}
    each_db.execute("INSERT INTO events_low VALUES (2); TRUNCATE events_low")
    migrate.migrate(each_db)
    each_db.execute("ALTER TABLE events ATTACH PARTITION events_low FOR VALUES FROM (0) TO (10)")
    write(each_db, "events", "v", 3)
    write(each_db, "events_low", "v", 4)
    assert ids(each_db, "EVENT") == [("I", "1"), *story(3), *story(4)]
    assert each_db.execute(
        "SELECT table_name FROM llamalog.watches WHERE entity_type = 'EVENT'"
    ).fetchone() == ("events",)


FAMILY = """
CREATE TABLE heads (id integer PRIMARY KEY, v text);
CREATE TABLE heads_more (extra text, PRIMARY KEY (id)) INHERITS (heads);
"""


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE heirs (extra text, PRIMARY KEY (id)) INHERITS (heads)",
        "CREATE TABLE heirs (id integer PRIMARY KEY, v text, extra text); ALTER TABLE heirs INHERIT heads",
        "CREATE SCHEMA late CREATE TABLE heirs (extra text, PRIMARY KEY (id)) INHERITS (public.heads);"
        "ALTER TABLE late.heirs SET SCHEMA public",
    ],
    ids=["create", "inherit", "create schema"],
)
@pytest.mark.parametrize("is_family", [False, True], ids=["first heir", "another heir"])
def test_new_heir_is_captured_in_the_transaction_that_makes_it(each_db, watch, ddl, is_family):
    each_db.execute(FAMILY if is_family else FAMILY.splitlines()[1])
    watch("heads")
    each_db.execute(ddl)
    write(each_db, "heirs", "extra", 1)
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    write(each_db, "heirs", "extra", 2)
    write(each_db, "heads", "v", 3)
    assert ids(each_db, "HEAD") == [*story(1), *story(2), *story(3)]


def test_watching_a_table_with_heirs_warns_that_their_keys_are_not_told_apart(
    each_db, watch, caplog
):
    each_db.execute(FAMILY)
    each_db.execute(
        "CREATE TABLE events (id integer PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (9)"
    )
    watch("heads")
    watch("heads_more")
    watch("events")
    assert [message for message in caplog.messages if "keys" in message] == [
        "PostgreSQL checks keys of public.heads and of heads_more each by themselves: rows of two of these tables with the same"
        " key are one entity in the log"
    ]


def test_heir_made_together_with_its_schema_is_captured_at_once(each_db, watch):
    each_db.execute(FAMILY)
    watch("heads")
    each_db.execute(
        "CREATE SCHEMA late CREATE TABLE heirs (PRIMARY KEY (id)) INHERITS (public.heads)"
    )
    write(each_db, "late.heirs", "v", 1)
    assert ids(each_db, "HEAD") == story(1)


def test_heir_that_leaves_the_family_does_not_take_the_watch_with_it(each_db, watch):
    each_db.execute(FAMILY)
    watch("heads")
    each_db.execute("ALTER TABLE heads_more NO INHERIT heads")
    assert each_db.execute(
        "SELECT table_name FROM llamalog.watches WHERE entity_type = 'HEAD'"
    ).fetchone() == ("heads",)
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    write(each_db, "heads", "v", 1)
    assert ids(each_db, "HEAD") == story(1)


# -- the end of a table -----------------------------------------------------------------------------------------------


def test_answers_are_given_when_the_type_of_the_key_has_another_name(each_db, watch):
    each_db.execute(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE feelings (mood mood PRIMARY KEY, name text)"
    )
    watch("feelings")
    each_db.execute("INSERT INTO feelings VALUES ('sad', 'sadness')")
    each_db.execute("ALTER TYPE mood RENAME TO feeling")
    (told,) = each_db.execute("SELECT sentence FROM llamalog.why('FEELING', 'sad')").fetchone()
    assert told.startswith("FEELING “sadness” was created by ")
    assert each_db.execute(
        "SELECT category, label FROM llamalog.tree('FEELING', 'sad') WHERE seq IS NOT NULL"
    ).fetchall() == [("CREATED", "sadness")]


@pytest.mark.parametrize("ddl", ["DROP TABLE shop.things", "DROP SCHEMA shop CASCADE"])
def test_dropped_table_keeps_its_history(each_db, watch, ddl):
    each_db.execute(THINGS)
    watch("shop.things")
    each_db.execute("INSERT INTO shop.things VALUES (1, 'a'); DELETE FROM shop.things")
    each_db.execute(ddl)
    assert drifted(each_db) == {}
    migrate.migrate(each_db)
    assert each_db.execute("SELECT op FROM llamalog.history('thing', '1')").fetchall() == [
        ("D",),
        ("I",),
    ]
    assert each_db.execute(
        "SELECT unwatched_at IS NOT NULL FROM llamalog.watches WHERE entity_type = 'THING'"
    ).fetchone() == (True,)


def test_table_that_is_dropped_made_again_and_watched_goes_on_with_its_history(each_db, watch):
    each_db.execute(THINGS)
    watch("shop.things")
    each_db.execute("INSERT INTO shop.things VALUES (1)")
    each_db.execute("DROP TABLE shop.things")
    each_db.execute("CREATE TABLE shop.things (id integer PRIMARY KEY)")
    each_db.execute("INSERT INTO shop.things VALUES (2)")
    watch("shop.things")
    each_db.execute("INSERT INTO shop.things VALUES (3)")
    assert ids(each_db, "THING") == [("I", "1"), ("I", "3")]


def test_parts_of_a_dropped_table_are_captured_on(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    each_db.execute("DROP TABLE artists CASCADE")
    each_db.execute("UPDATE album_artists SET role = 'producer'")
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    each_db.execute("DELETE FROM album_artists")
    assert changes(each_db, "op")[-2:] == ["U", "D"]


@pytest.mark.parametrize(
    ("scene", "ddl", "name"),
    [
        (None, "ALTER TABLE shop.things RENAME TO items", "shop.items"),
        (None, "ALTER SCHEMA shop RENAME TO store", "store.things"),
        (None, "ALTER TABLE shop.things SET SCHEMA public", "public.things"),
        ("partitioned", "DROP TABLE shop.low", "shop.things"),
        ("partitioned", "ALTER TABLE shop.things DETACH PARTITION shop.low", "shop.things"),
    ],
)
def test_changed_table_can_be_unwatched_without_a_trace(each_db, watch, scene, ddl, name):
    each_db.execute("CREATE SCHEMA shop")
    parted = " PARTITION BY RANGE (id)" if scene else ""
    each_db.execute(f"CREATE TABLE shop.things (id integer PRIMARY KEY){parted}")
    if scene:
        each_db.execute(
            "CREATE TABLE shop.low PARTITION OF shop.things FOR VALUES FROM (0) TO (10);"
            "CREATE TABLE shop.rest PARTITION OF shop.things DEFAULT"
        )
    watch("shop.things")
    each_db.execute(ddl)
    watching.unwatch(each_db, [name])
    traces = each_db.execute(
        "SELECT 'trigger' AS kind, tgrelid::regclass::text AS name FROM pg_trigger"
        " WHERE NOT tgisinternal AND tgname LIKE '00%%'"
        " AND tgrelid NOT IN (SELECT oid FROM pg_class WHERE relname LIKE ANY (%s))"
        " UNION ALL SELECT 'grant', class.oid::regclass::text FROM pg_class AS class"
        " CROSS JOIN LATERAL aclexplode(class.relacl) AS held"
        " WHERE held.grantee = 'llamalog_owner'::regrole AND class.relname IN ('things', 'items', 'low', 'rest')"
        " UNION ALL SELECT 'grant', namespace.nspname FROM pg_namespace AS namespace"
        " CROSS JOIN LATERAL aclexplode(namespace.nspacl) AS held"
        " WHERE held.grantee = 'llamalog_owner'::regrole AND namespace.nspname IN ('shop', 'store')",
        [["albums", "artists", "tracks", "%\\_artists"]],
    ).fetchall()
    assert traces == []


@pytest.mark.parametrize(
    ("ddl", "lost"),
    [
        ("ALTER TABLE shop.things DISABLE TRIGGER USER", "delete, insert, truncate, update"),
        ('ALTER TABLE shop.things DISABLE TRIGGER "00_llamalog_update"', "update"),
        ('DROP TRIGGER "00_llamalog_insert" ON shop.things', "insert"),
    ],
)
def test_capture_that_the_owner_of_the_table_switched_off_is_told_and_mended(
    each_db, watch, ddl, lost
):
    each_db.execute(THINGS)
    watch("shop.things")
    each_db.execute(ddl)
    problem = drifted(each_db)["THING"]
    named = sorted(part.removeprefix("00_llamalog_") for part in problem.split(": ")[1].split(", "))
    assert (problem.split(": ")[0], ", ".join(named)) == ("missing or disabled", lost)
    migrate.migrate(each_db)
    assert watching.drifted(each_db) == []
    write(each_db, "shop.things", "price", 1)
    assert ids(each_db, "THING") == story(1)


def test_capture_of_truncate_that_was_dropped_is_back_at_once(each_db, watch):
    each_db.execute(THINGS)
    watch("shop.things")
    hung = (
        "SELECT tgname, tgfoid::regproc::text AS function FROM pg_trigger"
        " WHERE tgrelid = 'shop.things'::regclass ORDER BY tgname"
    )
    before = each_db.execute(hung).fetchall()
    each_db.execute('DROP TRIGGER "00_llamalog_truncate" ON shop.things')
    assert each_db.execute(hung).fetchall() == before
    assert watching.drifted(each_db) == []


# -- without event triggers -------------------------------------------------------------------------------------------


@pytest.fixture(
    scope="module", params=["NOCREATEROLE", "CREATEROLE"], ids=["a plain role", "a role maker"]
)
def installed(
    another_server: embedded.Server, request: pytest.FixtureRequest
) -> Iterator[tuple[Connection, migrate.Report]]:
    role = f"owner_{request.param.lower()}"
    with psycopg.connect(another_server.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x' {request.param}".encode())
        admin.execute(f"CREATE DATABASE {role} OWNER {role}".encode())
    with psycopg.connect(another_server.dsn, dbname=role, user=role, password="x") as conn:
        report = migrate.migrate(conn)
        conn.commit()
        conn.row_factory = namedtuple_row
        yield conn, report


@pytest.fixture
def modest(installed: tuple[Connection, migrate.Report]) -> Iterator[Connection]:
    """A database installed by its owner, who is no superuser; what a test does is rolled back."""
    conn, _ = installed
    with conn.transaction(force_rollback=True):
        yield conn


def test_installer_who_is_no_superuser_is_told_what_is_missing(installed):
    conn, report = installed
    may_make_roles = conn.info.user == "owner_createrole"
    event_triggers = (
        "may not create event triggers: tables are captured by the tolerant capture,"
        " which any change of a table leaves working"
    )
    owner = (
        f"may not create the role llamalog_owner: {conn.info.user} owns the log, and can change it"
    )
    roles = access.advice(list(access.ROLES))
    assert report.notes == ([event_triggers] if may_make_roles else [owner, roles, event_triggers])


def test_capture_is_tolerant_where_event_triggers_are_missing(modest):
    modest.execute(THINGS)
    (outcome,) = watching.watch(modest, ["shop.things"])
    assert outcome.description.endswith("tolerant capture")
    assert watching.drifted(modest) == []


@each_change
@pytest.mark.parametrize("installed", ["NOCREATEROLE"], indirect=True)
def test_change_breaks_no_write_and_hides_none_without_event_triggers(modest, ddl, table, column):
    modest.execute(THINGS)
    watching.watch(modest, ["shop.things"])
    write(modest, "shop.things", "price", 1)
    modest.execute(ddl)
    write(modest, table, column, 2)
    migrate.migrate(modest)
    assert watching.drifted(modest) == []
    write(modest, table, column, 3)
    assert ids(modest, "THING") == [*story(1), *story(2), *story(3)]


def test_key_that_got_another_name_is_asked_for_once_migrate_has_noticed_without_event_triggers(
    modest,
):
    modest.execute(THINGS)
    modest.execute("CREATE TABLE shop.bins (site text, n text, v text, PRIMARY KEY (site, n))")
    watching.watch(modest, ["shop.things", "shop.bins"])
    modest.execute("INSERT INTO shop.bins VALUES ('a', '1', 'x'), ('a', '2', 'y')")
    modest.execute("ALTER TABLE shop.bins RENAME n TO number")
    for question in (
        "as_of('BIN', 'a,1', clock_timestamp())",
        "as_of_all('BIN', clock_timestamp())",
    ):
        with pytest.raises(psycopg.Error) as error, modest.transaction():
            modest.execute(f"SELECT llamalog.{question}".encode())
        assert (error.value.sqlstate, error.value.diag.message_detail, error.value.diag.message_hint) == (
            "42703", "It has no column n.", "Run: llamalog migrate",
        )  # fmt: skip
    # nor does it keep others from being found, or itself from being told of
    assert modest.execute("SELECT entity_id FROM llamalog.find('a')").fetchall() == []
    assert ids(modest, "BIN") == [("I", "a,1"), ("I", "a,2")]
    assert len(modest.execute("SELECT llamalog.why('BIN', 'a,1')").fetchall()) == 1
    migrate.migrate(modest)
    assert modest.execute("SELECT entity_id FROM llamalog.find('a')").fetchall() == [
        ("a,1",),
        ("a,2",),
    ]


def test_dropped_table_is_told_and_keeps_its_history_without_event_triggers(modest):
    modest.execute(THINGS)
    watching.watch(modest, ["shop.things"])
    modest.execute("INSERT INTO shop.things VALUES (1)")
    modest.execute("DROP TABLE shop.things")
    assert drifted(modest) == {"THING": "the table is gone"}
    migrate.migrate(modest)
    assert drifted(modest) == {}
    assert ids(modest, "THING") == [("I", "1")]


def test_redacted_column_whose_name_another_takes_hides_both_without_event_triggers(
    modest, changes
):
    modest.execute("CREATE TABLE people (id integer PRIMARY KEY, email text)")
    watching.watch(modest, ["people"], Options(redact=["email"], image="full"))
    modest.execute("ALTER TABLE people RENAME email TO mail; ALTER TABLE people ADD email text")
    for _ in range(2):
        modest.execute("INSERT INTO people VALUES (1, 'SECRET 1', 'SECRET 2')")
        modest.execute("UPDATE people SET mail = 'SECRET 3', email = 'SECRET 4'")
        modest.execute("DELETE FROM people; INSERT INTO people VALUES (1, 'SECRET 1', 'SECRET 2')")
        modest.execute("TRUNCATE people")
        migrate.migrate(modest)
    assert changes(modest, "op") == ["I", "U", "D", "I", "T"] * 2
    assert [row for row in changes(modest, "log::text") if "SECRET" in row] == []


@pytest.mark.parametrize(
    "renames",
    [
        "ALTER TABLE people RENAME email TO x; ALTER TABLE people RENAME phone TO email;"
        " ALTER TABLE people RENAME x TO phone",
        "ALTER TABLE people RENAME phone TO x; ALTER TABLE people RENAME email TO phone",
        "ALTER TABLE people DROP phone; ALTER TABLE people RENAME email TO phone",
    ],
    ids=["swapped", "moved on", "in place of a dropped one"],
)
def test_redacted_column_that_takes_the_name_of_another_stays_redacted_without_event_triggers(
    modest, changes, renames
):
    modest.execute(
        "CREATE TABLE people (id integer PRIMARY KEY, email text, phone text, city text)"
    )
    watching.watch(modest, ["people"], Options(redact=["email"], image="full"))
    modest.execute(renames)
    for _ in range(2):
        # email is phone now
        modest.execute("INSERT INTO people (id, phone, city) VALUES (1, 'SECRET 1', 'Rome')")
        modest.execute("UPDATE people SET phone = 'SECRET 2', city = 'Oslo'")
        modest.execute("DELETE FROM people")
        modest.execute("INSERT INTO people (id, phone, city) VALUES (1, 'SECRET 3', 'Rome')")
        modest.execute("TRUNCATE people")
        migrate.migrate(modest)
    assert (
        changes(modest, "op, before ->> 'city' AS old, after ->> 'city' AS new")
        == [
            ("I", None, "Rome"),
            ("U", "Rome", "Oslo"),
            ("D", "Oslo", None),
            ("I", None, "Rome"),
            ("T", "Rome", None),
        ]
        * 2
    )
    assert [row for row in changes(modest, "log::text") if "SECRET" in row] == []


def test_columns_of_a_restored_table_are_redacted_by_name_though_their_numbers_are_others(
    modest, changes
):
    modest.execute("CREATE TABLE people (gone text, id integer PRIMARY KEY, email text, city text)")
    modest.execute("ALTER TABLE people DROP gone")
    watching.watch(modest, ["people"], Options(redact=["email"], image="full"))
    # as pg_restore makes it: the same columns in their order, without the dropped one
    modest.execute("UPDATE llamalog.watches SET unwatched_at = now(); DROP TABLE people")
    modest.execute("CREATE TABLE people (id integer PRIMARY KEY, email text, city text)")
    modest.execute("UPDATE llamalog.watches SET unwatched_at = NULL")
    modest.execute("SELECT llamalog.hang_tolerant_capture('people'::regclass, 'PERSON')")
    modest.execute("INSERT INTO people VALUES (1, 'SECRET', 'Rome')")
    assert changes(modest, "after - 'id'") == [{"email": "[redacted]", "city": "Rome"}]


def test_fast_capture_by_choice_logs_the_renamed_as_it_was_told_until_migrate_without_event_triggers(
    modest, changes
):
    """The limit of docs/security.md: what is rendered knows its columns by name."""
    modest.execute("CREATE TABLE people (id integer PRIMARY KEY, email text, phone text)")
    watching.watch(modest, ["people"], Options(redact=["email"], capture="rendered"))
    modest.execute("INSERT INTO people VALUES (1, 'SECRET 1', '1')")
    modest.execute(
        "ALTER TABLE people RENAME email TO x; ALTER TABLE people RENAME phone TO email;"
        "ALTER TABLE people RENAME x TO phone"
    )
    assert drifted(modest) == {"PERSON": "the capture is not the one for this table"}
    modest.execute("UPDATE people SET phone = 'SECRET 2'")
    migrate.migrate(modest)
    modest.execute("UPDATE people SET phone = 'SECRET 3'")
    assert changes(modest, "after", op="U") == [{"phone": "SECRET 2"}, {"phone": "[redacted]"}]


def test_tables_that_swapped_names_are_both_captured_without_event_triggers(modest):
    modest.execute("CREATE TABLE things (id integer PRIMARY KEY, v text)")
    modest.execute("CREATE TABLE others (id integer PRIMARY KEY, w text)")
    watching.watch(modest, ["things", "others"])
    modest.execute(
        "ALTER TABLE things RENAME TO between; ALTER TABLE others RENAME TO things;"
        "ALTER TABLE between RENAME TO others"
    )
    write(modest, "others", "v", 1)
    migrate.migrate(modest)
    assert drifted(modest) == {}
    write(modest, "others", "v", 2)
    write(modest, "things", "w", 3)
    assert ids(modest, "THING") == [*story(1), *story(2)]
    assert ids(modest, "OTHER") == story(3)


def test_rows_of_a_new_partition_are_captured_without_event_triggers(modest):
    modest.execute(EVENTS)
    watching.watch(modest, ["events"])
    modest.execute("CREATE TABLE events_mid PARTITION OF events FOR VALUES FROM (10) TO (20)")
    modest.execute("INSERT INTO events_mid VALUES (11); UPDATE events_mid SET v = 'x'")
    modest.execute("DELETE FROM events_mid; INSERT INTO events VALUES (11); TRUNCATE events")
    assert ids(modest, "EVENT") == story(11)


@pytest.mark.parametrize(
    ("scene", "table", "ddl", "member", "column"),
    [
        (
            EVENTS,
            "events",
            "CREATE TABLE events_mid PARTITION OF events FOR VALUES FROM (10) TO (20)",
            "events_mid",
            "v",
        ),
        (FAMILY, "heads", "CREATE TABLE heirs () INHERITS (heads)", "heirs", "v"),
        (FAMILY.splitlines()[1], "heads", "CREATE TABLE heirs () INHERITS (heads)", "heirs", "v"),
    ],
    ids=["partition", "another heir", "first heir"],
)
def test_what_only_an_event_trigger_could_catch_is_told_until_migrate_mends_it(
    modest, scene, table, ddl, member, column
):
    modest.execute(scene)
    watching.watch(modest, [table])
    modest.execute(ddl)
    kind = {"events": "EVENT", "heads": "HEAD"}[table]
    assert list(drifted(modest)) == [kind]
    migrate.migrate(modest)
    assert drifted(modest) == {}
    write(modest, member, column, 11)
    assert ids(modest, kind) == story(11)


def test_fast_capture_by_choice_is_told_to_be_behind_without_event_triggers(modest):
    modest.execute(THINGS)
    watching.watch(modest, ["shop.things"], Options(capture="rendered"))
    modest.execute("ALTER TABLE shop.things ADD extra text")
    assert drifted(modest) == {"THING": "the capture is not the one for this table"}
    migrate.migrate(modest)
    assert drifted(modest) == {}
    write(modest, "shop.things", "extra", 1)
    assert ids(modest, "THING") == story(1)


def test_unwatch_leaves_nothing_behind_for_an_installer_who_is_no_superuser(modest):
    modest.execute(THINGS)
    watching.watch(modest, ["shop.things"])
    watching.unwatch(modest, ["shop.things"])
    write(modest, "shop.things", "price", 1)
    assert ids(modest, "THING") == []
    assert modest.execute(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'shop.things'::regclass"
    ).fetchone() == (0,)


def test_a_partition_of_a_partition_is_no_stray_while_what_is_between_has_no_capture_yet(db):
    """Two functions, one hanging its capture and one taking it off, would call each other without end."""
    db.execute("DROP EVENT TRIGGER llamalog_ddl; DROP EVENT TRIGGER llamalog_drop")
    db.execute(
        "CREATE TABLE readings (id integer PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF readings FOR VALUES FROM (0) TO (9) PARTITION BY HASH (id);"
        "CREATE TABLE lowest PARTITION OF low FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
    )
    db.execute("SELECT llamalog.hang_truncate_capture('readings'::regclass, 'READING')")
    db.execute("SELECT llamalog.hang_truncate_capture('lowest'::regclass, 'READING')")
    found = db.execute(
        "SELECT relation::regclass::text, is_top, is_stray FROM llamalog.captured_tables()"
        " WHERE entity_type = 'READING' ORDER BY 1"
    ).fetchall()
    assert [tuple(row) for row in found] == [("lowest", False, False), ("readings", True, False)]
