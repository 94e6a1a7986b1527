"""Every write to a watched table leaves exactly the rows that docs promise, whichever capture hangs on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from typing import Any

import psycopg
import pytest
from conftest import default

from llamalog_sql import watching
from llamalog_sql.watching import Options

EMPTY_ALBUM = ["id", "title", "created_at", "data_quality", "enrichment_status", "source"]
EMPTY_ALBUM += ["game_status"]
NEVER = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def watch(each_db) -> Callable[..., None]:
    """watch("t", redact=["email"]) watches more tables, with the kind of capture that the test runs for."""
    (kind,) = each_db.execute(
        "SELECT capture FROM llamalog.watches WHERE entity_type = 'ALBUM'"
    ).fetchone()

    def hang(*tables: str, **options: Any) -> None:
        watching.watch(each_db, list(tables), Options(capture=kind, **options))

    return hang


def copy(conn: psycopg.Connection[Any], statement: str, rows: list[tuple[Any, ...]]) -> None:
    with conn.cursor().copy(statement.encode()) as stream:
        for row in rows:
            stream.write_row(row)


def history(conn: psycopg.Connection[Any], kind: str, key: object) -> list[tuple[Any, ...]]:
    """The story of an entity, oldest first: category and previous key."""
    return [
        (row.category, row.previous_id)
        for row in conn.execute(
            "SELECT category, previous_id FROM llamalog.history(%s, %s) ORDER BY seq",
            [kind, str(key)],
        )
    ]


# -- INSERT -----------------------------------------------------------------------------------------------------------


@default("image")
def test_insert_is_created_with_the_fields_that_hold_a_value_and_no_image(each_db, new, changes):
    album = new.album(each_db, genres=["rock"], search_vector="ok", barcode=None)
    assert changes(
        each_db, "op, category, entity_type, entity_id, fields_enriched, before, after"
    ) == [
        (
            "I",
            "CREATED",
            "ALBUM",
            album,
            [*EMPTY_ALBUM[:5], "genres", *EMPTY_ALBUM[5:]],
            None,
            None,
        )
    ]


def test_insert_under_image_full_stores_the_row(each_db, watch, new, changes):
    watch("artists", image="full")
    artist = new.artist(each_db, formed_year=1985, created_at="2026-02-03 04:05:06.789")
    (image,) = changes(each_db, "after", entity_type="ARTIST")
    assert {name: value for name, value in image.items() if value is not None} == {
        "id": artist,
        "name": "Radiohead",
        "formed_year": 1985,
        "created_at": "2026-02-03T04:05:06.789",
        "updated_at": "2026-01-01T00:00:00",
        "data_quality": "LOW",
        "enrichment_status": "UNENRICHED",
        "source": "MUSICBRAINZ",
    }
    assert image["biography"] is None


def test_insert_of_several_rows_leaves_a_row_for_each(each_db, changes):
    each_db.execute(
        "INSERT INTO artists (name, updated_at) SELECT 'Artist ' || i, now() FROM generate_series(1, 100) AS i"
    )
    artists = each_db.execute("SELECT id::text FROM artists").fetchall()
    assert len(artists) == 100
    assert sorted(changes(each_db, "category, entity_id")) == sorted(
        ("CREATED", id) for (id,) in artists
    )


def test_insert_of_no_row_leaves_none(each_db, changes):
    each_db.execute("INSERT INTO artists (name, updated_at) SELECT 'nobody', now() WHERE false")
    assert changes(each_db) == []


def test_source_and_quality_of_the_row_are_logged_as_sources_and_quality(each_db, new, changes):
    artist = new.artist(each_db, source="SPOTIFY", data_quality="MEDIUM")
    each_db.execute("UPDATE artists SET data_quality = 'HIGH', source = 'DISCOGS'")
    each_db.execute("DELETE FROM artists")
    columns = "category, sources, data_quality_before, data_quality_after"
    assert changes(each_db, columns, entity_id=artist) == [
        ("CREATED", ["SPOTIFY"], None, "MEDIUM"),
        ("UPDATED", ["DISCOGS"], "MEDIUM", "HIGH"),
        ("DELETED", ["DISCOGS"], "HIGH", None),
    ]


# -- UPDATE -----------------------------------------------------------------------------------------------------------


def test_update_stores_the_changed_fields_before_and_after(each_db, new, changes):
    album = new.album(each_db, label="XL")
    each_db.execute("UPDATE albums SET label = 'Parlophone', track_count = 12, title = title")
    assert changes(each_db, "category, entity_id, fields_enriched, before, after", op="U") == [
        (
            "UPDATED",
            album,
            ["track_count", "label"],
            {"label": "XL", "track_count": None},
            {"label": "Parlophone", "track_count": 12},
        )
    ]


def test_columns_of_a_wide_row_are_found_wherever_they_stand(each_db, watch, changes):
    """All pairs, and every few that lie as far apart: the comparison ends early where nothing more can have changed."""
    kinds = ["integer", "text", "numeric(9, 2)", "jsonb", "text[]", "mood", "boolean", "varchar(9)"]
    values = ["1", "1", "1", "[1]", "{1}", "sad", "t", "1"], ["2", "2", "2", "[2]", "{2}", "glad", "f", "2"]  # fmt: skip
    columns = [f"c{n}" for n in range(24)]
    logged = [name for name in columns if name not in ("c2", "c20")]

    def of_all(position: int) -> str:
        return ", ".join(f"'{values[position][n % 8]}'" for n in range(24))

    each_db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad')")
    each_db.execute(
        f"CREATE TABLE wide (id integer PRIMARY KEY, {', '.join(f'{name} {kinds[n % 8]}' for n, name in enumerate(columns))},"
        " twice integer GENERATED ALWAYS AS (c0 * 2) STORED)".encode()
    )
    watch("wide", ignore=["c2", "c20"])
    each_db.execute(f"INSERT INTO wide VALUES (1, {of_all(0)})".encode())
    sets = [*combinations(range(24), 1), *combinations(range(24), 2)]
    sets += [tuple(range(first, 24, step)) for step in range(1, 12) for first in range(step)]
    for position, changed in enumerate(sets):
        now = ", ".join(f"c{n} = '{values[1][n % 8]}'" for n in changed)
        each_db.execute(f"INSERT INTO wide VALUES ({position + 2}, {of_all(0)})".encode())
        each_db.execute(f"UPDATE wide SET {now} WHERE id = {position + 2}".encode())
    found = dict(changes(each_db, "entity_id, fields_enriched", entity_type="WIDE", op="U"))
    assert found == {
        str(position + 2): fields
        for position, changed in enumerate(sets)
        if (fields := [f"c{n}" for n in changed if f"c{n}" in logged])
    }


def test_update_that_changes_nothing_is_not_logged(each_db, new, changes):
    new.album(each_db)
    each_db.execute("UPDATE albums SET title = title, genres = genres, metadata = NULL")
    assert changes(each_db) == ["CREATED"]


def test_update_of_ignored_columns_alone_is_not_logged(each_db, new, changes):
    new.album(each_db)
    each_db.execute("UPDATE albums SET updated_at = now(), search_vector = to_tsvector('radio')")
    assert changes(each_db) == ["CREATED"]


def test_ignored_columns_are_left_out_of_a_change(each_db, new, changes):
    new.album(each_db)
    each_db.execute("UPDATE albums SET updated_at = now(), search_vector = 'x', barcode = '1'")
    assert changes(each_db, "fields_enriched, before, after", op="U") == [
        (["barcode"], {"barcode": None}, {"barcode": "1"})
    ]


def test_generated_columns_are_no_fields_and_no_change(each_db, watch, changes):
    each_db.execute(
        "CREATE TABLE sums (id integer PRIMARY KEY, a integer, b integer,"
        " total integer GENERATED ALWAYS AS (a + b) STORED)"
    )
    watch("sums", image="full")
    each_db.execute("INSERT INTO sums VALUES (1, 2, 3)")
    each_db.execute("UPDATE sums SET a = 5")
    each_db.execute("DELETE FROM sums")
    assert changes(each_db, "fields_enriched, before, after", entity_type="SUM") == [
        (["id", "a", "b"], None, {"id": 1, "a": 2, "b": 3}),
        (["a"], {"a": 2}, {"a": 5}),
        (None, {"id": 1, "a": 5, "b": 3}, None),
    ]


@pytest.mark.parametrize(
    ("source", "category"),
    [
        ("addAlbum", "UPDATED"),
        ("enrichment", "ENRICHED"),
        ("cache", "CACHED"),
        ("admin_correction", "CORRECTED"),
        ("game_pool", "USER_ACTION"),
        ("a path nobody knows", "UPDATED"),
    ],
)
def test_update_takes_its_category_from_the_path(each_db, new, changes, source, category):
    new.album(each_db)
    each_db.execute("SELECT set_config('llamalog.source', %s, true)", [source])
    each_db.execute("UPDATE albums SET cloudflare_image_id = 'x'")
    assert changes(each_db, "category, source, operation", op="U") == [
        (category, source, f"album:{category.lower()}:{source}")
    ]


def test_category_of_the_context_wins_over_that_of_the_path(each_db, new, changes):
    new.album(each_db)
    each_db.execute("SELECT llamalog.set_context(source => 'enrichment', category => 'FAILED')")
    each_db.execute("UPDATE albums SET enrichment_status = 'FAILED'")
    assert changes(each_db, op="U") == ["FAILED"]


def test_insert_is_created_even_inside_an_enrichment_job(each_db, new, changes):
    each_db.execute("SELECT llamalog.set_context(source => 'enrichment', category => 'CORRECTED')")
    new.artist(each_db)
    assert changes(each_db) == ["CREATED"]


# -- DELETE -----------------------------------------------------------------------------------------------------------


def test_delete_stores_the_whole_row(each_db, new, changes):
    artist = new.artist(each_db, biography='Ed\'s "band"\\', search_vector="a:1")
    each_db.execute("DELETE FROM artists")
    (image,) = changes(each_db, "before", op="D")
    assert {name: value for name, value in image.items() if value is not None} == {
        "id": artist,
        "name": "Radiohead",
        "biography": 'Ed\'s "band"\\',
        "search_vector": "'a':1",
        "created_at": image["created_at"],
        "updated_at": "2026-01-01T00:00:00",
        "data_quality": "LOW",
        "enrichment_status": "UNENRICHED",
        "source": "MUSICBRAINZ",
    }
    columns = each_db.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = 'artists'::regclass AND attnum > 0"
    ).fetchall()
    assert set(image) == {name for (name,) in columns}


def test_rows_that_a_cascade_deletes_are_logged_after_the_one_that_caused_it(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    track = new.track(each_db, album)
    each_db.execute(
        "INSERT INTO track_artists (track_id, artist_id) VALUES (%s, %s)", [track, artist]
    )
    each_db.execute("DELETE FROM albums WHERE id = %s", [album])
    removed = changes(each_db, "category, entity_type, entity_id, link_type", op="D")
    assert removed[0] == ("DELETED", "ALBUM", album, None)
    assert sorted(removed, key=str) == [
        ("DELETED", "ALBUM", album, None),
        ("DELETED", "TRACK", track, None),
        ("UNLINKED", "ALBUM", album, "ALBUM_ARTIST"),
        ("UNLINKED", "TRACK", track, "TRACK_ARTIST"),
    ]


@default("image")
def test_rows_that_a_cascade_sets_null_are_logged_after_the_one_that_caused_it(
    each_db, watch, changes
):
    each_db.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY);"
        "CREATE TABLE books (id integer PRIMARY KEY, shelf_id integer REFERENCES shelves ON DELETE SET NULL)"
    )
    watch("shelves", "books")
    each_db.execute("INSERT INTO shelves VALUES (1); INSERT INTO books VALUES (7, 1)")
    each_db.execute("DELETE FROM shelves")
    assert changes(each_db, "op, entity_type, entity_id, before, after") == [
        ("I", "SHELF", "1", None, None),
        ("I", "BOOK", "7", None, None),
        ("D", "SHELF", "1", {"id": 1}, None),
        ("U", "BOOK", "7", {"shelf_id": 1}, {"shelf_id": None}),
    ]


# -- TRUNCATE ---------------------------------------------------------------------------------------------------------


def test_truncate_leaves_a_row_with_the_whole_row_for_each_entity(each_db, watch, changes):
    each_db.execute("CREATE TABLE notes (id serial PRIMARY KEY, body text)")
    watch("notes")
    each_db.execute("INSERT INTO notes (body) VALUES ('a'), (NULL)")
    each_db.execute("TRUNCATE notes RESTART IDENTITY")
    assert changes(each_db, "op, category, entity_type, entity_id, before, after", op="T") == [
        ("T", "TRUNCATED", "NOTE", "1", {"id": 1, "body": "a"}, None),
        ("T", "TRUNCATED", "NOTE", "2", {"id": 2, "body": None}, None),
    ]


def test_truncate_cascade_logs_every_table_that_it_empties(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    track = new.track(each_db, album)
    each_db.execute("SELECT llamalog.set_context(source => 'cleanup', job_id => 'sweep')")
    each_db.execute("TRUNCATE albums CASCADE")
    columns = "category, entity_type, entity_id, link_type, job_id, source"
    assert sorted(changes(each_db, columns, op="T"), key=str) == [
        ("TRUNCATED", "ALBUM", album, None, "sweep", "cleanup"),
        ("TRUNCATED", "TRACK", track, None, "sweep", "cleanup"),
        ("UNLINKED", "ALBUM", album, "ALBUM_ARTIST", "sweep", "cleanup"),
    ]


def test_truncate_logs_rows_written_earlier_in_the_transaction(each_db, new, changes):
    new.artist(each_db)
    each_db.execute("UPDATE artists SET biography = 'new'")
    each_db.execute("TRUNCATE artists CASCADE")
    assert changes(each_db, "before ->> 'biography'", op="T") == ["new"]


def test_truncate_of_an_empty_table_leaves_no_row(each_db, changes):
    each_db.execute("TRUNCATE artists CASCADE")
    assert changes(each_db) == []


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_truncate_is_refused_where_newer_rows_would_vanish_unseen(database, new, changes, level):
    new.artist(database)
    database.execute(f"BEGIN ISOLATION LEVEL {level}")
    with pytest.raises(psycopg.Error) as refusal:
        database.execute("TRUNCATE artists CASCADE")
    database.execute("ROLLBACK")
    assert refusal.value.sqlstate == "LL007"
    assert refusal.value.diag.message_primary == (
        'TRUNCATE of watched table "artists" needs READ COMMITTED'
    )
    assert refusal.value.diag.message_hint == (
        "TRUNCATE in a transaction at READ COMMITTED, or DELETE the rows."
    )
    assert database.execute("SELECT count(*) FROM artists").fetchone() == (1,)
    assert changes(database) == ["CREATED"]


def test_truncate_is_refused_where_it_is_to_be(each_db, watch, new, changes):
    watch("artists", on_truncate="refuse")
    new.artist(each_db)
    with pytest.raises(psycopg.Error) as refusal, each_db.transaction():
        each_db.execute("TRUNCATE artists CASCADE")
    assert refusal.value.sqlstate == "LL008"
    assert refusal.value.diag.message_primary == 'TRUNCATE of "artists" is refused'
    assert changes(each_db) == ["CREATED"]


@pytest.fixture
def sales(each_db, watch) -> None:
    """A partitioned table, one of its partitions partitioned again, and a leaf with its columns in another order."""
    each_db.execute(
        """
        CREATE TABLE sales (region text, id integer, amount numeric, PRIMARY KEY (region, id))
            PARTITION BY LIST (region);
        CREATE TABLE sales_eu (id integer NOT NULL, gone text, amount numeric, region text NOT NULL);
        ALTER TABLE sales_eu DROP COLUMN gone;
        ALTER TABLE sales ATTACH PARTITION sales_eu FOR VALUES IN ('eu');
        CREATE TABLE sales_us PARTITION OF sales FOR VALUES IN ('us') PARTITION BY RANGE (id);
        CREATE TABLE sales_us_low PARTITION OF sales_us FOR VALUES FROM (0) TO (100);
        CREATE TABLE sales_us_rest PARTITION OF sales_us DEFAULT;
        """
    )
    watch("sales")
    each_db.execute("INSERT INTO sales VALUES ('eu', 1, 10), ('us', 2, 20), ('us', 200, 30)")


@pytest.mark.parametrize(
    ("table", "removed"),
    [
        ("sales", ["eu,1", "us,2", "us,200"]),
        ("sales_us", ["us,2", "us,200"]),
        ("sales_us_low", ["us,2"]),
        ("sales_us, sales_us_low, sales", ["eu,1", "us,2", "us,200"]),
    ],
)
@pytest.mark.usefixtures("sales")
def test_truncate_of_a_root_a_branch_or_a_leaf_logs_each_row_once(each_db, changes, table, removed):
    each_db.execute(f"TRUNCATE {table}")
    assert sorted(changes(each_db, "entity_id", op="T")) == removed


# -- partitions -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("sales")
@default("image")
def test_writes_to_a_root_a_branch_or_a_leaf_leave_one_row_each(each_db, changes):
    each_db.execute("INSERT INTO sales_eu (id, region, amount) VALUES (5, 'eu', 1)")
    each_db.execute("UPDATE sales_us SET amount = amount + 1")
    each_db.execute("UPDATE sales_us_low SET amount = 0")
    each_db.execute("DELETE FROM sales_eu WHERE id = 1")
    copy(each_db, "COPY sales (region, id, amount) FROM STDIN", [("us", 3, 4)])
    assert changes(each_db, "op, entity_id, before, after")[3:] == [
        ("I", "eu,5", None, None),
        ("U", "us,2", {"amount": 20}, {"amount": 21}),
        ("U", "us,200", {"amount": 30}, {"amount": 31}),
        ("U", "us,2", {"amount": 21}, {"amount": 0}),
        ("D", "eu,1", {"id": 1, "amount": 10, "region": "eu"}, None),
        ("I", "us,3", None, None),
    ]


@pytest.mark.usefixtures("sales")
@default("image")
def test_row_that_moves_between_partitions_is_one_change_that_names_both_keys(each_db):
    each_db.execute("SELECT llamalog.set_context(source => 'enrichment', job_id => 'J')")
    each_db.execute("UPDATE sales SET region = 'us', amount = 11 WHERE region = 'eu'")
    story = [
        ("I", "CREATED", "eu,1", None, None, None),
        (
            "U",
            "ENRICHED",
            "us,1",
            "eu,1",
            {"amount": 10, "region": "eu"},
            {"amount": 11, "region": "us"},
        ),
    ]
    for key in ("eu,1", "us,1"):
        assert (
            each_db.execute(
                "SELECT op, category, entity_id, previous_id, before, after"
                " FROM llamalog.history('SALE', %s) ORDER BY seq",
                [key],
            ).fetchall()
            == story
        )


@pytest.mark.usefixtures("sales")
def test_move_between_partitions_has_the_job_that_moved_the_row(each_db):
    each_db.execute("SELECT llamalog.set_context(job_id => 'J', parent_job_id => 'P')")
    each_db.execute("UPDATE sales SET region = 'us' WHERE region = 'eu'")
    assert each_db.execute(
        "SELECT category, job_id, parent_job_id, is_root_job, fields_enriched"
        " FROM llamalog.history('SALE', 'us,1') LIMIT 1"
    ).fetchone() == ("UPDATED", "J", "P", False, ["region"])


@pytest.mark.usefixtures("sales")
def test_rows_that_move_together_are_told_apart(each_db):
    each_db.execute("UPDATE sales SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END")
    assert {key: history(each_db, "SALE", key) for key in ("us,1", "eu,2", "eu,200")} == {
        "us,1": [("CREATED", None), ("UPDATED", "eu,1")],
        "eu,2": [("CREATED", None), ("UPDATED", "us,2")],
        "eu,200": [("CREATED", None), ("UPDATED", "us,200")],
    }


@pytest.mark.usefixtures("sales")
def test_row_that_moved_is_not_found_as_deleted_under_the_key_that_it_had(each_db):
    each_db.execute("UPDATE sales SET region = 'us' WHERE region = 'eu'")
    each_db.execute("DELETE FROM sales WHERE id = 200")
    assert each_db.execute(
        "SELECT entity_id, is_alive FROM llamalog.find(',', 'SALE')"
    ).fetchall() == [("us,1", True), ("us,2", True), ("us,200", False)]


@pytest.mark.usefixtures("sales")
def test_delete_and_insert_of_the_same_key_in_one_function_is_no_move(each_db):
    each_db.execute(
        "DO $$ BEGIN DELETE FROM sales WHERE id = 1; INSERT INTO sales VALUES ('eu', 1, 99); END $$"
    )
    assert history(each_db, "SALE", "eu,1") == [
        ("CREATED", None),
        ("DELETED", None),
        ("CREATED", None),
    ]


# -- links ------------------------------------------------------------------------------------------------------------


def test_link_is_logged_on_its_first_end_and_names_the_other(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    each_db.execute("DELETE FROM album_artists")
    image = {"album_id": album, "artist_id": artist, "role": "primary", "position": None}
    columns = "op, category, entity_type, entity_id, related_type, related_id, before, after"
    assert changes(each_db, columns, link_type="ALBUM_ARTIST") == [
        ("I", "LINKED", "ALBUM", album, "ARTIST", artist, None, image),
        ("D", "UNLINKED", "ALBUM", album, "ARTIST", artist, image, None),
    ]


def test_truncated_link_table_is_unlinked(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    each_db.execute("TRUNCATE album_artists")
    columns = "category, entity_type, entity_id, related_type, related_id, link_type"
    assert changes(each_db, columns, op="T") == [
        ("UNLINKED", "ALBUM", album, "ARTIST", artist, "ALBUM_ARTIST")
    ]


def test_new_role_of_a_link_is_an_update_of_it(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    each_db.execute("UPDATE album_artists SET role = 'producer'")
    columns = "category, entity_id, related_id, link_type, previous_id, before, after"
    assert changes(each_db, columns, op="U") == [
        (
            "UPDATED",
            album,
            artist,
            "ALBUM_ARTIST",
            None,
            {"role": "primary"},
            {"role": "producer"},
        )
    ]


def test_link_that_changes_an_end_names_the_old_one(each_db, new, changes):
    first, second = new.album(each_db), new.album(each_db, "Kid A")
    artist, other = new.artist(each_db), new.artist(each_db, "Thom Yorke")
    new.link(each_db, first, artist)
    each_db.execute("UPDATE album_artists SET album_id = %s", [second])
    each_db.execute("UPDATE album_artists SET artist_id = %s", [other])
    columns = "entity_id, related_id, previous_id, before, after"
    assert changes(each_db, columns, op="U") == [
        (second, artist, first, {"album_id": first}, {"album_id": second}),
        (second, other, artist, {"artist_id": artist}, {"artist_id": other}),
    ]


@pytest.fixture
def visits(each_db, watch) -> None:
    each_db.execute(
        "CREATE TABLE shops (id integer PRIMARY KEY); CREATE TABLE clients (id integer PRIMARY KEY);"
        "CREATE TABLE visits (id integer PRIMARY KEY, shop_id integer REFERENCES shops ON DELETE SET NULL,"
        " client_id integer REFERENCES clients ON DELETE SET NULL)"
    )
    watch("shops", "clients")
    watch("visits", kind="link")
    each_db.execute("INSERT INTO shops VALUES (1); INSERT INTO clients VALUES (2)")


@pytest.mark.usefixtures("visits")
def test_link_without_an_end_is_logged(each_db, changes):
    each_db.execute("INSERT INTO visits VALUES (7, NULL, 2), (8, 1, NULL), (9, NULL, NULL)")
    each_db.execute("DELETE FROM visits")
    assert changes(
        each_db, "op, related_id, coalesce(before, after) ->> 'id'", link_type="VISIT"
    ) == [
        ("I", "2", "7"),
        ("I", None, "8"),
        ("I", None, "9"),
        ("D", "2", "7"),
        ("D", None, "8"),
        ("D", None, "9"),
    ]


@pytest.mark.usefixtures("visits")
def test_link_that_loses_its_ends_is_logged(each_db, changes):
    each_db.execute("INSERT INTO visits VALUES (7, 1, 2)")
    each_db.execute("DELETE FROM shops")
    each_db.execute("DELETE FROM clients")
    assert changes(each_db, "op, before, after", link_type="VISIT") == [
        ("I", None, {"id": 7, "shop_id": 1, "client_id": 2}),
        ("U", {"shop_id": 1}, {"shop_id": None}),
        ("U", {"client_id": 2}, {"client_id": None}),
    ]


# -- keys that change -------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(each_db, watch) -> None:
    each_db.execute(
        "CREATE TABLE pages (id integer PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, name text)"
    )
    watch("pages")


def page_history(conn: psycopg.Connection[Any], key: int) -> list[tuple[Any, ...]]:
    """The key that a page had at each change, the one before, and its new name."""
    return conn.execute(
        "SELECT entity_id, previous_id, after ->> 'name' AS name"
        " FROM llamalog.history('PAGE', %s) ORDER BY seq",
        [str(key)],
    ).fetchall()


@pytest.mark.usefixtures("pages")
@default("image")
def test_change_of_the_key_is_one_row_that_names_both_keys(each_db, changes):
    each_db.execute("INSERT INTO pages VALUES (1, 'a')")
    each_db.execute("UPDATE pages SET id = 2, name = 'b'")
    assert changes(each_db, "op, entity_id, previous_id, before, after") == [
        ("I", "1", None, None, None),
        ("U", "2", "1", {"id": 1, "name": "a"}, {"id": 2, "name": "b"}),
    ]


@pytest.mark.usefixtures("pages")
def test_history_follows_a_chain_of_keys_from_each_of_them(each_db):
    each_db.execute("INSERT INTO pages VALUES (1, 'a')")
    for statement in (
        "UPDATE pages SET id = 2",
        "UPDATE pages SET name = 'b'",
        "UPDATE pages SET id = 3",
        "DELETE FROM pages",
    ):
        each_db.execute(statement)
    story = [
        ("CREATED", None),
        ("UPDATED", "1"),
        ("UPDATED", None),
        ("UPDATED", "2"),
        ("DELETED", None),
    ]
    assert [history(each_db, "PAGE", key) for key in (1, 2, 3)] == [story, story, story]


@pytest.mark.parametrize("order", [[1, 2, 3], [3, 2, 1], [2, 3, 1]])
@pytest.mark.usefixtures("pages")
@default("image")
def test_keys_that_all_move_up_by_one_keep_their_histories_apart(each_db, changes, order):
    for key in order:
        each_db.execute("INSERT INTO pages VALUES (%s, 'page ' || %s)", [key, key])
    each_db.execute("UPDATE pages SET id = id + 1")
    each_db.execute("UPDATE pages SET name = name || '!' WHERE name = 'page 3'")
    assert page_history(each_db, 4) == [("3", None, None), ("4", "3", None), ("4", None, "page 3!")]


@pytest.mark.usefixtures("pages")
@default("image")
def test_keys_that_two_rows_swap_keep_their_histories_apart(each_db):
    each_db.execute("INSERT INTO pages VALUES (1, 'a'), (2, 'b')")
    each_db.execute("UPDATE pages SET id = 3 - id")
    each_db.execute("UPDATE pages SET name = 'still a' WHERE name = 'a'")
    assert page_history(each_db, 2) == [("1", None, None), ("2", "1", None), ("2", None, "still a")]


@pytest.mark.usefixtures("pages")
@default("image")
def test_keys_that_two_rows_swap_twice_keep_their_histories_apart(each_db):
    each_db.execute("INSERT INTO pages VALUES (1, 'a'), (2, 'b')")
    each_db.execute("UPDATE pages SET id = 3 - id")
    each_db.execute("UPDATE pages SET id = 3 - id")
    each_db.execute("UPDATE pages SET name = 'still ' || name")
    assert {key: page_history(each_db, key) for key in (1, 2)} == {
        1: [("1", None, None), ("2", "1", None), ("1", "2", None), ("1", None, "still a")],
        2: [("2", None, None), ("1", "2", None), ("2", "1", None), ("2", None, "still b")],
    }


@default("image")
def test_history_follows_a_key_that_one_function_changes_twice(each_db, watch):
    each_db.execute("CREATE TABLE pages (id integer PRIMARY KEY, name text)")
    watch("pages")
    each_db.execute("INSERT INTO pages VALUES (1, 'a')")
    each_db.execute("DO $$ BEGIN UPDATE pages SET id = 2; UPDATE pages SET id = 3; END; $$")
    story = [("1", None, None), ("2", "1", None), ("3", "2", None)]
    assert [page_history(each_db, key) for key in (1, 2, 3)] == [story, story, story]


@pytest.mark.usefixtures("pages")
def test_key_that_is_used_again_does_not_bring_the_old_story(each_db):
    each_db.execute("INSERT INTO pages VALUES (1, 'a')")
    each_db.execute("UPDATE pages SET id = 2")
    each_db.execute("INSERT INTO pages VALUES (1, 'another')")
    each_db.execute("UPDATE pages SET name = 'changed' WHERE id = 1")
    assert history(each_db, "PAGE", 2) == [("CREATED", None), ("UPDATED", "1")]


def test_change_of_a_key_that_a_cascade_carries_on_is_one_row_for_each_row(each_db, new, changes):
    album, artist = new.album(each_db), new.artist(each_db)
    new.link(each_db, album, artist)
    track = new.track(each_db, album)
    each_db.execute("UPDATE albums SET id = %s", [NEVER])
    rows = changes(each_db, "entity_type, entity_id, previous_id, related_id, link_type", op="U")
    assert rows[0] == ("ALBUM", NEVER, album, None, None)
    assert sorted(rows[1:]) == [
        ("ALBUM", NEVER, album, artist, "ALBUM_ARTIST"),
        ("TRACK", track, None, NEVER, None),
    ]


@pytest.mark.parametrize(
    "key",
    [
        "id integer GENERATED ALWAYS AS (v + 1) STORED PRIMARY KEY, v integer",
        "id integer, updated_at date, v integer, PRIMARY KEY (id, updated_at)",
    ],
    ids=["generated", "time of change"],
)
def test_key_of_columns_that_are_ignored_elsewhere_is_followed(each_db, watch, changes, key):
    each_db.execute(f"CREATE TABLE things ({key})")
    watch("things")
    if "updated_at" in key:
        each_db.execute("INSERT INTO things VALUES (1, '2026-01-01', 0)")
        each_db.execute("UPDATE things SET updated_at = '2026-01-02'")
        expected = [("1,2026-01-01", None), ("1,2026-01-02", "1,2026-01-01")]
    else:
        each_db.execute("INSERT INTO things (v) VALUES (1)")
        each_db.execute("UPDATE things SET v = 5")
        expected = [("2", None), ("6", "2")]
        # the server makes it anew: what changed is what it is made from
        assert changes(each_db, "fields_enriched, before, after", op="U") == [
            (["v"], {"v": 1}, {"v": 5})
        ]
    assert changes(each_db, "entity_id, previous_id", entity_type="THING") == expected


def test_an_empty_label_of_an_enum_is_a_quality_and_an_empty_text_is_none(each_db, watch, changes):
    each_db.execute("CREATE TYPE quality AS ENUM ('', 'HIGH')")
    each_db.execute(
        "CREATE TABLE things (id integer PRIMARY KEY, data_quality quality, source text)"
    )
    watch("things")
    each_db.execute("INSERT INTO things VALUES (1, '', ''), (2, NULL, 'SPOTIFY')")
    assert changes(each_db, "data_quality_after, sources", entity_type="THING") == [
        ("", [None]),
        (None, ["SPOTIFY"]),
    ]


# -- every way to write -----------------------------------------------------------------------------------------------


@pytest.fixture
def counts(each_db, watch) -> None:
    each_db.execute(
        "CREATE TABLE counts (name text PRIMARY KEY, n integer NOT NULL DEFAULT 0);"
        "CREATE TABLE archives (name text PRIMARY KEY, n integer)"
    )
    watch("counts", "archives")
    each_db.execute("INSERT INTO counts VALUES ('a', 1), ('b', 2), ('c', 3)")


def later(changes, conn, columns="op, entity_type, entity_id"):
    """What was logged after the three rows that every scene begins with."""
    return changes(conn, columns)[3:]


@pytest.mark.usefixtures("counts")
def test_copy_leaves_one_row_for_each_row(each_db, changes):
    copy(each_db, "COPY counts (name, n) FROM STDIN", [("d", 4), ("e", 5)])
    assert later(changes, each_db) == [("I", "COUNT", "d"), ("I", "COUNT", "e")]


@pytest.mark.usefixtures("counts")
def test_upsert_leaves_one_row_for_each_row_that_it_inserts_or_changes(each_db, changes):
    each_db.execute(
        "INSERT INTO counts VALUES ('a', 9), ('b', 2), ('z', 1)"
        " ON CONFLICT (name) DO UPDATE SET n = excluded.n"
    )
    each_db.execute("INSERT INTO counts VALUES ('c', 7), ('y', 1) ON CONFLICT DO NOTHING")
    assert sorted(later(changes, each_db)) == [
        ("I", "COUNT", "y"),
        ("I", "COUNT", "z"),
        ("U", "COUNT", "a"),
    ]


@pytest.mark.usefixtures("counts")
def test_merge_leaves_one_row_for_each_row(each_db, changes):
    each_db.execute(
        "MERGE INTO counts USING (VALUES ('a', 10), ('b', 0), ('c', 3), ('d', 4)) AS given (name, n)"
        " ON counts.name = given.name"
        " WHEN MATCHED AND given.n = 0 THEN DELETE"
        " WHEN MATCHED THEN UPDATE SET n = given.n"
        " WHEN NOT MATCHED THEN INSERT VALUES (given.name, given.n)"
    )
    assert sorted(later(changes, each_db)) == [
        ("D", "COUNT", "b"),
        ("I", "COUNT", "d"),
        ("U", "COUNT", "a"),
    ]


@pytest.mark.usefixtures("counts")
def test_writes_in_common_table_expressions_leave_one_row_for_each_row(each_db, changes):
    each_db.execute(
        "WITH gone AS (DELETE FROM counts WHERE name = 'a' RETURNING *),"
        " changed AS (UPDATE counts SET n = n + 1 WHERE name = 'b' RETURNING *)"
        " INSERT INTO archives SELECT * FROM gone UNION ALL SELECT * FROM changed"
    )
    assert sorted(later(changes, each_db)) == [
        ("D", "COUNT", "a"),
        ("I", "ARCHIVE", "a"),
        ("I", "ARCHIVE", "b"),
        ("U", "COUNT", "b"),
    ]


@pytest.mark.usefixtures("counts")
def test_update_that_meets_a_row_twice_logs_it_once(each_db, changes):
    each_db.execute(
        "UPDATE counts SET n = 50 FROM (VALUES ('a'), ('a')) AS twice (name)"
        " WHERE counts.name = twice.name"
    )
    assert later(changes, each_db, "op, entity_id, after") == [("U", "a", {"n": 50})]


@pytest.mark.usefixtures("counts")
def test_writes_through_a_view_and_a_rule_are_logged(each_db, changes):
    each_db.execute(
        "CREATE VIEW small AS SELECT * FROM counts WHERE n < 10;"
        "CREATE RULE keep AS ON DELETE TO counts DO ALSO INSERT INTO archives VALUES (OLD.name, OLD.n)"
    )
    each_db.execute("UPDATE small SET n = 9 WHERE name = 'a'")
    each_db.execute("DELETE FROM small WHERE name = 'b'")
    assert later(changes, each_db)[0] == ("U", "COUNT", "a")
    assert sorted(later(changes, each_db)[1:]) == [("D", "COUNT", "b"), ("I", "ARCHIVE", "b")]


@pytest.mark.usefixtures("counts")
def test_what_is_rolled_back_is_not_logged(each_db, changes):
    with each_db.transaction(force_rollback=True):
        each_db.execute("UPDATE counts SET n = 0")
        each_db.execute("DELETE FROM counts")
    each_db.execute("UPDATE counts SET n = 5 WHERE name = 'a'")
    assert later(changes, each_db) == [("U", "COUNT", "a")]


# -- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", ["AFTER INSERT", "AFTER INSERT OR UPDATE OF n"])
@pytest.mark.parametrize("moment", ["FOR EACH ROW", "FOR EACH STATEMENT"])
@pytest.mark.parametrize("hung", ["before watching", "after watching"])
@default("image")
def test_row_that_an_application_trigger_writes_again_is_logged_in_the_order_of_the_writes(
    each_db, watch, changes, event, moment, hung
):
    each_db.execute(
        "CREATE TABLE texts (id integer PRIMARY KEY, n integer, slug text);"
        "CREATE FUNCTION set_slug() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE texts SET slug = 'slug-' || id WHERE slug IS NULL; RETURN NULL; END $$"
    )
    hang = f"CREATE TRIGGER a_slug {event} ON texts {moment} EXECUTE FUNCTION set_slug()"
    if hung == "before watching":
        each_db.execute(hang)
    watch("texts")
    if hung == "after watching":
        each_db.execute(hang)
    each_db.execute("INSERT INTO texts VALUES (1, 1)")
    assert changes(each_db, "op, entity_id, after") == [
        ("I", "1", None),
        ("U", "1", {"slug": "slug-1"}),
    ]


def test_update_that_an_application_trigger_follows_with_another_is_logged_first(
    each_db, watch, changes
):
    each_db.execute(
        "CREATE TABLE texts (id integer PRIMARY KEY, n integer);"
        "CREATE FUNCTION count_up() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE texts SET n = n + 1 WHERE id = NEW.id; RETURN NULL; END $$;"
        "CREATE TRIGGER a_count AFTER UPDATE ON texts FOR EACH ROW WHEN (NEW.n < 3)"
        " EXECUTE FUNCTION count_up()"
    )
    watch("texts")
    each_db.execute("INSERT INTO texts VALUES (1, 0)")
    each_db.execute("UPDATE texts SET n = 1")
    assert changes(each_db, "before, after", op="U") == [
        ({"n": 0}, {"n": 1}),
        ({"n": 1}, {"n": 2}),
        ({"n": 2}, {"n": 3}),
    ]


def test_row_that_an_application_trigger_brings_back_is_logged_after_its_deletion(
    each_db, watch, changes
):
    each_db.execute(
        "CREATE TABLE texts (id integer PRIMARY KEY, n integer);"
        "CREATE FUNCTION bring_back() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO texts VALUES (OLD.id, OLD.n + 1); RETURN NULL; END $$;"
        "CREATE TRIGGER a_back AFTER DELETE ON texts FOR EACH ROW EXECUTE FUNCTION bring_back()"
    )
    watch("texts")
    each_db.execute("INSERT INTO texts VALUES (1, 0)")
    each_db.execute("DELETE FROM texts")
    assert changes(each_db, "op, entity_id, before") == [
        ("I", "1", None),
        ("D", "1", {"id": 1, "n": 0}),
        ("I", "1", None),
    ]


def test_what_a_trigger_on_a_part_writes_to_the_whole_is_logged_after_the_part(
    each_db, new, changes
):
    each_db.execute(
        "CREATE FUNCTION count_tracks() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN UPDATE albums SET track_count = coalesce(track_count, 0) + 1"
        " WHERE id = NEW.album_id; RETURN NULL; END $$;"
        "CREATE TRIGGER a_count AFTER INSERT ON tracks FOR EACH ROW EXECUTE FUNCTION count_tracks()"
    )
    album = new.album(each_db)
    new.track(each_db, album)
    assert changes(each_db, "op, entity_type") == [("I", "ALBUM"), ("I", "TRACK"), ("U", "ALBUM")]


def test_value_that_a_before_trigger_sets_is_the_one_that_is_logged(each_db, watch, changes):
    each_db.execute(
        "CREATE TABLE texts (id integer PRIMARY KEY, body text);"
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.body := upper(NEW.body); RETURN NEW; END $$;"
        "CREATE TRIGGER z_shout BEFORE INSERT OR UPDATE ON texts FOR EACH ROW EXECUTE FUNCTION shout()"
    )
    watch("texts")
    each_db.execute("INSERT INTO texts VALUES (1, 'a')")
    each_db.execute("UPDATE texts SET body = 'b'")
    assert changes(each_db, "before, after", op="U") == [({"body": "A"}, {"body": "B"})]


# -- change is judged by image ----------------------------------------------------------------------------------------

SAME_BY_EQUALITY = [
    # type, old, new, image before, image after
    ("numeric", "1.0", "1.00", "1.0", "1.00"),
    ("float8", "-0", "0", '"-0"', "0"),
    ("float4", "0", "-0", "0", '"-0"'),
    ("jsonb", '{"a": 1.0}', '{"a": 1.00}', '{"a": 1.0}', '{"a": 1.00}'),
    ("jsonb", None, "null", "null", '{"$json": null}'),
    ("jsonb", "null", None, '{"$json": null}', "null"),
    ("json", '{"a":1}', '{ "a": 1}', '"{\\"a\\":1}"', '"{ \\"a\\": 1}"'),
    ("json", None, "null", "null", '"null"'),
    ("box", "(2,2),(0,0)", "(4,1),(0,0)", '"(2,2),(0,0)"', '"(4,1),(0,0)"'),
    ("interval", "1 day", "24 hours", '"P1D"', '"PT24H"'),
    ("numeric[]", "{1.0}", "{1.00}", "[1.0]", "[1.00]"),
    ("numrange", "[1.0,2]", "[1.00,2]", '"[1.0,2]"', '"[1.00,2]"'),
    ("bpchar", "a", "a ", '"a"', '"a "'),
    ("point", "(0,0)", "(-0,0)", '"(0,0)"', '"(-0,0)"'),
    ("circle", "<(0,0),1>", "<(5,5),1>", '"<(0,0),1>"', '"<(5,5),1>"'),
]


def cells(conn: psycopg.Connection[Any], kinds: list[str]) -> list[str]:
    """A table of one row with a column of each type; return the names of the columns."""
    names = [f"c{number}" for number, _ in enumerate(kinds)]
    columns = ", ".join(f"{name} {kind}" for name, kind in zip(names, kinds, strict=True))
    conn.execute(f"CREATE TABLE cells (id integer PRIMARY KEY, {columns})")
    return names


def test_changes_that_equality_does_not_see_are_logged(each_db, watch, changes):
    names = cells(each_db, [kind for kind, *_ in SAME_BY_EQUALITY])
    watch("cells")
    marks = ", ".join(["%s"] * len(names))
    each_db.execute(
        f"INSERT INTO cells VALUES (1, {marks})", [old for _, old, *_ in SAME_BY_EQUALITY]
    )
    for name, (_, _, value, *_) in zip(names, SAME_BY_EQUALITY, strict=True):
        each_db.execute(f"UPDATE cells SET {name} = %s", [value])
    assert changes(each_db, "before::text, after::text", op="U") == [
        (f'{{"{name}": {before}}}', f'{{"{name}": {after}}}')
        for name, (*_, before, after) in zip(names, SAME_BY_EQUALITY, strict=True)
    ]


def test_values_that_stay_the_same_to_the_byte_are_no_change(each_db, watch, changes):
    values = {
        "float8": "NaN",
        "numeric": "NaN",
        "float4": "-0",
        "json": "null",
        "jsonb": "null",
        "text[]": "{a,NULL}",
        "timestamptz": "infinity",
        "text": "",
    }
    names = cells(each_db, list(values))
    watch("cells")
    each_db.execute(
        "INSERT INTO cells VALUES (1, %s, %s, %s, %s, %s, %s, %s, %s)", list(values.values())
    )
    settings = ", ".join(f"{name} = %s" for name in names)
    each_db.execute(f"UPDATE cells SET {settings}", list(values.values()))
    assert changes(each_db, "op") == ["I"]


def test_change_that_a_nondeterministic_collation_calls_equal_is_logged(each_db, watch, changes):
    try:
        each_db.execute(
            "CREATE COLLATION any_case"
            " (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server is built without ICU")
    each_db.execute(
        "CREATE TABLE cells (id text COLLATE any_case PRIMARY KEY, v text COLLATE any_case, a text[] COLLATE any_case)"
    )
    watch("cells")
    each_db.execute("INSERT INTO cells VALUES ('one', 'Abc', '{x}')")
    each_db.execute("UPDATE cells SET v = 'aBC', a = '{X}'")
    each_db.execute("UPDATE cells SET id = 'One'")
    assert changes(each_db, "previous_id, before, after", op="U") == [
        (None, {"v": "Abc", "a": ["x"]}, {"v": "aBC", "a": ["X"]}),
        ("one", {"id": "one"}, {"id": "One"}),
    ]


def test_key_whose_columns_have_two_collations_can_change(each_db, watch, changes):
    each_db.execute(
        "CREATE COLLATION plain (provider = libc, locale = 'C');"
        'CREATE TABLE cells (id text COLLATE plain, n text COLLATE "C", v text, PRIMARY KEY (id, n))'
    )
    watch("cells")
    each_db.execute("INSERT INTO cells VALUES ('a', 'b', 'c')")
    each_db.execute("UPDATE cells SET id = 'z'")
    assert changes(each_db, "entity_id, previous_id", op="U") == [("z,b", "a,b")]
    assert each_db.execute(
        "SELECT llamalog.as_of('CELL', 'z,b', clock_timestamp()) ->> 'v'"
    ).fetchone() == ("c",)


@default("image")
def test_array_that_once_held_a_null_is_no_change_without_it(each_db, watch, changes):
    each_db.execute("CREATE TABLE lists (id integer PRIMARY KEY, a integer[])")
    watch("lists")
    each_db.execute("INSERT INTO lists VALUES (1, '{1,2}')")
    each_db.execute("UPDATE lists SET a = (ARRAY[1, 2, NULL])[1:2]")
    each_db.execute("UPDATE lists SET a = '[0:1]={1,2}'")
    each_db.execute("UPDATE lists SET a = '{1,NULL}'")
    assert changes(each_db, "op, after ->> 'a'") == [
        ("I", None),
        ("U", "[0:1]={1,2}"),
        ("U", "[1, null]"),
    ]


def test_domains_composites_and_enums_are_judged_by_image(each_db, watch, changes):
    each_db.execute(
        "CREATE DOMAIN price AS numeric CHECK (VALUE > 0);"
        "CREATE TYPE pair AS (a numeric, b text);"
        "CREATE TYPE mood AS ENUM ('sad', 'ok');"
        "CREATE DOMAIN humour AS mood;"
        "CREATE TABLE cells (id integer PRIMARY KEY, p price, c pair, m mood, ms mood[], h humour)"
    )
    watch("cells")
    each_db.execute("INSERT INTO cells VALUES (1, 1.0, '(1.0,x)', 'sad', '{sad}', 'sad')")
    each_db.execute(
        "UPDATE cells SET p = 1.00, c = '(1.00,x)', m = 'ok', ms = '{sad,ok}', h = 'ok'"
    )
    assert changes(each_db, "fields_enriched, before::text, after::text", op="U") == [
        (
            ["p", "c", "m", "ms", "h"],
            '{"c": "(1.0,x)", "h": "sad", "m": "sad", "p": 1.0, "ms": ["sad"]}',
            '{"c": "(1.00,x)", "h": "ok", "m": "ok", "p": 1.00, "ms": ["sad", "ok"]}',
        )
    ]


def test_composite_in_the_form_its_type_had_before_is_no_change(each_db, watch, changes):
    each_db.execute(
        "CREATE TYPE pair AS (a integer, b text);"
        "CREATE TABLE cells (id integer PRIMARY KEY, c pair);"
        "INSERT INTO cells VALUES (1, '(1,x)');"
        "ALTER TYPE pair ADD ATTRIBUTE n integer"
    )
    watch("cells")
    each_db.execute("UPDATE cells SET c = '(1,x,)'")
    each_db.execute("UPDATE cells SET c = '(1,x,2)'")
    assert changes(each_db, "before, after", op="U") == [({"c": "(1,x,)"}, {"c": "(1,x,2)"})]


def test_xml_is_judged_by_image(each_db, watch, changes):
    try:
        each_db.execute("SELECT '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this server is built without libxml")
    each_db.execute("CREATE TABLE cells (id integer PRIMARY KEY, v xml)")
    watch("cells")
    each_db.execute("INSERT INTO cells VALUES (1, '<a/>')")
    each_db.execute("UPDATE cells SET v = '<a></a>'")
    assert changes(each_db, "before, after", op="U") == [({"v": "<a/>"}, {"v": "<a></a>"})]


IMAGES = [
    ("timestamptz", "2026-07-01 12:00:00.5+02", '"2026-07-01T10:00:00.5+00:00"'),
    ("timestamp", "2026-07-01 12:00:00", '"2026-07-01T12:00:00"'),
    ("date", "2026-07-01", '"2026-07-01"'),
    ("interval", "1 year 2 days 03:04:05", '"P1Y2DT3H4M5S"'),
    ("bytea", "\\x00ff", '"\\\\x00ff"'),
    ("float8", "0.1", "0.1"),
    ("float8[]", "{0.1,-0}", '"{0.1,-0}"'),
    ("timestamptz[]", '{"2026-07-01 12:00:00+02"}', '["2026-07-01T10:00:00+00:00"]'),
    ("tstzrange", "[2026-07-01 12:00:00+02,)", '"[\\"2026-07-01 10:00:00+00\\",)"'),
    ("money", "12.5", "12.50"),
    ("numeric", "12345678901234567890.10", "12345678901234567890.10"),
]


def test_images_do_not_depend_on_the_settings_of_the_session(each_db, watch, changes):
    names = cells(each_db, [kind for kind, *_ in IMAGES])
    watch("cells", image="full")
    each_db.execute(
        "SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL IntervalStyle = 'postgres_verbose';"
        "SET LOCAL bytea_output = 'escape'; SET LOCAL extra_float_digits = -15;"
        "SET LOCAL DateStyle = 'SQL, DMY'"
    )
    values = ", ".join(f"CAST('{value}' AS {kind})" for kind, value, _ in IMAGES)
    each_db.execute(f"INSERT INTO cells VALUES (1, {values})")
    each_db.execute("DELETE FROM cells")
    texts = changes(
        each_db,
        "(SELECT jsonb_object_agg(key, value::text) FROM jsonb_each(coalesce(before, after)))",
    )
    expected = {name: image for name, (*_, image) in zip(names, IMAGES, strict=True)}
    assert texts == [{"id": "1", **expected}] * 2


# -- redaction --------------------------------------------------------------------------------------------------------


def leaks(conn: psycopg.Connection[Any], value: str) -> list[Any]:
    """The log rows that hold the value anywhere."""
    return conn.execute(
        "SELECT to_jsonb(log) FROM llamalog.log AS log WHERE position(%s in log::text) > 0", [value]
    ).fetchall()


def test_redacted_values_are_in_no_row_and_their_change_is_visible(each_db, watch, changes):
    each_db.execute(
        "CREATE TABLE people (id integer PRIMARY KEY, name text, email text, codes text[], doc jsonb)"
    )
    watch("people", redact=["email", "codes", "doc"], image="full")
    each_db.execute(
        "INSERT INTO people VALUES (1, 'Ann', 'SECRET', '{SECRET}', '{\"a\": \"SECRET\"}')"
    )
    each_db.execute("UPDATE people SET email = 'SECRET too', codes = '{SECRET,2}'")
    each_db.execute("UPDATE people SET email = NULL")
    each_db.execute("DELETE FROM people")
    each_db.execute("INSERT INTO people VALUES (2, 'Bob', 'SECRET')")
    each_db.execute("TRUNCATE people")
    hidden = "[redacted]"
    assert leaks(each_db, "SECRET") == []
    assert changes(each_db, "op, fields_enriched, before, after", entity_id="1") == [
        (
            "I",
            ["id", "name", "email", "codes", "doc"],
            None,
            {"id": 1, "name": "Ann", "email": hidden, "codes": hidden, "doc": hidden},
        ),
        (
            "U",
            ["email", "codes"],
            {"email": hidden, "codes": hidden},
            {"email": hidden, "codes": hidden},
        ),
        ("U", ["email"], {"email": hidden}, {"email": None}),
        (
            "D",
            None,
            {"id": 1, "name": "Ann", "email": None, "codes": hidden, "doc": hidden},
            None,
        ),
    ]


def test_redacted_source_and_quality_columns_are_in_no_row(each_db, watch):
    each_db.execute("CREATE TABLE people (id integer PRIMARY KEY, source text, data_quality text)")
    watch("people", redact=["source", "data_quality"])
    each_db.execute("INSERT INTO people VALUES (1, 'SECRET', 'SECRET')")
    each_db.execute("UPDATE people SET source = 'SECRET too', data_quality = 'SECRET too'")
    each_db.execute("DELETE FROM people")
    assert leaks(each_db, "SECRET") == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO people VALUES (2, 'SECRET', 1)",
        "INSERT INTO people VALUES (2, 'a) SECRET', 1)",
        "UPDATE people SET age = 'SECRET'::text::integer",
        "UPDATE people SET age = 'a\" SECRET'::text::integer",
        "INSERT INTO people VALUES (3, 'SECRET, no mail address', 1)",
    ],
)
def test_error_of_a_write_is_recorded_without_the_redacted_value(each_db, watch, statement):
    each_db.execute(
        "CREATE TABLE people (id integer PRIMARY KEY, email text UNIQUE CHECK (email NOT LIKE '%, %'),"
        " age integer)"
    )
    watch("people", redact=["email"])
    each_db.execute("INSERT INTO people VALUES (1, 'SECRET', 1), (9, 'a) SECRET', 1)")
    with pytest.raises(psycopg.Error) as error, each_db.transaction():
        each_db.execute(statement)
    told = "\n".join(
        filter(None, [error.value.diag.message_primary, error.value.diag.message_detail])
    )
    assert "SECRET" in told
    each_db.execute(
        "SELECT llamalog.record_failure(error_message => %s, error_code => %s, job_id => 'J',"
        " entity_type => 'PERSON', entity_id => '1')",
        [told, error.value.sqlstate],
    )
    assert leaks(each_db, "SECRET") == []


# -- roots and parents ------------------------------------------------------------------------------------------------

PATHS = [
    # source, head type, makes
    ("addAlbum", "ALBUM", "one"),
    ("addArtist", "ARTIST", "one"),
    ("addAlbumToCollection", "ALBUM", "one"),
    ("search_save", "ALBUM", "one"),
    ("spotify_sync", "ALBUM", "many"),
    ("musicbrainz_sync", "ALBUM", "many"),
    ("deezer_import", "ALBUM", "many"),
    ("deezer_editorial_sync", "ALBUM", "many"),
    ("listenbrainz_sync", "ALBUM", "many"),
    ("enrichment_check", None, "one"),
    ("enrichment", None, "one"),
    ("similar_artists_sync", None, "many"),
    ("revert", None, "one"),
    ("cache", None, "one"),
    ("admin_correction", None, "one"),
    ("manual_edit", None, "one"),
    ("recommendation", None, "one"),
    ("game_pool", None, "one"),
]

ALBUM_PATHS = [(source, makes) for source, head, makes in PATHS if head == "ALBUM"]

ROW = "coalesce(link_type, entity_type), job_id, parent_job_id, root_job_id, is_root_job"


def begin_job(conn: psycopg.Connection[Any], how: str, source: str, **context: str) -> None:
    """Set the context of job J in one call or by plain settings: the answers are the same."""
    context = {"source": source, "job_id": "J", **context}
    if how == "set_context":
        arguments = ", ".join(f"{name} => %s" for name in context)
        conn.execute(f"SELECT llamalog.set_context({arguments})".encode(), list(context.values()))
    else:
        for name, value in context.items():
            conn.execute("SELECT set_config(%s, %s, true)", [f"llamalog.{name}", value])


each_way = pytest.mark.parametrize("how", ["set_context", "settings"])


def write_album(conn: psycopg.Connection[Any], new: Any, order: str) -> tuple[str, str, str]:
    """One album with its artist, one track and both links, inserted in one of the orders that applications use."""
    if order == "artist first":
        artist = new.artist(conn)
        album = new.album(conn)
        track = new.track(conn, album)
    elif order == "album first":
        album = new.album(conn)
        track = new.track(conn, album)
        artist = new.artist(conn)
    else:
        conn.execute(
            "ALTER TABLE tracks ALTER CONSTRAINT tracks_album_id_fkey DEFERRABLE INITIALLY DEFERRED;"
            "ALTER TABLE album_artists ALTER CONSTRAINT album_artists_album_id_fkey"
            " DEFERRABLE INITIALLY DEFERRED"
        )
        album = NEVER
        artist = new.artist(conn)
        track = new.track(conn, album)
        new.link(conn, album, artist)
        new.album(conn, id=album)
    if order != "track first":
        new.link(conn, album, artist)
    conn.execute("INSERT INTO track_artists (track_id, artist_id) VALUES (%s, %s)", [track, artist])
    return album, artist, track


def test_these_are_the_paths_that_an_installation_knows(each_db):
    known = each_db.execute("SELECT source, head_type, makes FROM llamalog.source_paths").fetchall()
    assert sorted(known, key=str) == sorted(PATHS, key=str)


@each_way
@pytest.mark.parametrize("source", [source for source, _, _ in PATHS])
def test_creation_is_created_with_its_user_on_every_path(each_db, new, changes, how, source):
    begin_job(each_db, how, source, user_id="ann")
    write_album(each_db, new, "album first")
    columns = "entity_type, category, source, user_id, operation"
    assert changes(each_db, columns) == [
        ("ALBUM", "CREATED", source, "ann", f"album:created:{source}"),
        ("TRACK", "CREATED", source, "ann", f"track:created:{source}"),
        ("ARTIST", "CREATED", source, "ann", f"artist:created:{source}"),
        ("ALBUM", "LINKED", source, "ann", f"album_artist:linked:{source}"),
        ("TRACK", "LINKED", source, "ann", f"track_artist:linked:{source}"),
    ]


@each_way
@pytest.mark.parametrize("source", [source for source, makes in ALBUM_PATHS if makes == "one"])
def test_album_of_a_path_for_one_album_is_the_root_and_all_else_its_child(
    each_db, new, changes, how, source
):
    begin_job(each_db, how, source)
    write_album(each_db, new, "album first")
    assert sorted(changes(each_db, ROW)) == [
        ("ALBUM", "J", None, "J", True),
        ("ALBUM_ARTIST", None, "J", "J", False),
        ("ARTIST", None, "J", "J", False),
        ("TRACK", None, "J", "J", False),
        ("TRACK_ARTIST", None, "J", "J", False),
    ]


@each_way
@pytest.mark.parametrize("source", [source for source, makes in ALBUM_PATHS if makes == "many"])
def test_each_album_of_a_path_for_many_is_a_root_of_its_own_below_the_job(
    each_db, new, changes, how, source
):
    begin_job(each_db, how, source)
    album, _, _ = write_album(each_db, new, "album first")
    own = f"J/ALBUM:{album}"
    assert sorted(changes(each_db, ROW)) == [
        ("ALBUM", own, "J", "J", True),
        ("ALBUM_ARTIST", None, own, "J", False),
        ("ARTIST", None, "J", "J", False),
        ("TRACK", None, own, "J", False),
        ("TRACK_ARTIST", None, "J", "J", False),
    ]


@each_way
def test_artist_of_add_artist_is_the_root_and_an_album_its_child(each_db, new, changes, how):
    begin_job(each_db, how, "addArtist")
    write_album(each_db, new, "artist first")
    assert sorted(changes(each_db, ROW)) == [
        ("ALBUM", None, "J", "J", False),
        ("ALBUM_ARTIST", None, "J", "J", False),
        ("ARTIST", "J", None, "J", True),
        ("TRACK", None, "J", "J", False),
        ("TRACK_ARTIST", None, "J", "J", False),
    ]


@each_way
@pytest.mark.parametrize("source", [source for source, head, _ in PATHS if head is None])
def test_path_that_is_for_no_creation_makes_children_only(each_db, new, changes, how, source):
    begin_job(each_db, how, source, parent_job_id="P", root_job_id="R")
    write_album(each_db, new, "album first")
    assert sorted(changes(each_db, ROW)) == [
        ("ALBUM", None, "J", "R", False),
        ("ALBUM_ARTIST", None, "J", "R", False),
        ("ARTIST", None, "J", "R", False),
        ("TRACK", None, "J", "R", False),
        ("TRACK_ARTIST", None, "J", "R", False),
    ]


@each_way
def test_unknown_path_makes_a_root_of_whatever_is_no_part_and_no_link(each_db, new, changes, how):
    begin_job(each_db, how, "an importer of one's own")
    album, artist, _ = write_album(each_db, new, "album first")
    assert sorted(changes(each_db, ROW)) == [
        ("ALBUM", f"J/ALBUM:{album}", "J", "J", True),
        ("ALBUM_ARTIST", None, f"J/ALBUM:{album}", "J", False),
        ("ARTIST", f"J/ARTIST:{artist}", "J", "J", True),
        ("TRACK", None, f"J/ALBUM:{album}", "J", False),
        ("TRACK_ARTIST", None, f"J/ARTIST:{artist}", "J", False),
    ]


def test_without_context_the_transaction_is_the_job(each_db, new, changes):
    each_db.execute("SET LOCAL application_name = 'psql of Ann'")
    album, artist, _ = write_album(each_db, new, "album first")
    rows = changes(each_db, f"{ROW}, triggered_by, db_user")
    (job,) = {row[3] for row in rows}
    assert job.startswith("tx:")
    who = ("psql of Ann", each_db.info.user)
    assert sorted(rows) == [
        ("ALBUM", f"{job}/ALBUM:{album}", job, job, True, *who),
        ("ALBUM_ARTIST", None, f"{job}/ALBUM:{album}", job, False, *who),
        ("ARTIST", f"{job}/ARTIST:{artist}", job, job, True, *who),
        ("TRACK", None, f"{job}/ALBUM:{album}", job, False, *who),
        ("TRACK_ARTIST", None, f"{job}/ARTIST:{artist}", job, False, *who),
    ]


@pytest.mark.parametrize("source", ["addAlbum", "spotify_sync", "addArtist", "unheard of"])
def test_family_is_the_same_whatever_the_order_of_the_inserts(each_db, new, changes, source):
    families = []
    for order in ("album first", "artist first", "track first"):
        with each_db.transaction(force_rollback=True):
            begin_job(each_db, "set_context", source)
            album, artist, _ = write_album(each_db, new, order)
            rows = "; ".join(sorted(map(str, changes(each_db, ROW))))
            families.append(rows.replace(album, "an album").replace(artist, "an artist"))
    assert families[1:] == families[:1] * 2


def test_many_albums_of_one_sync_keep_their_children_apart(each_db, new, changes):
    begin_job(each_db, "set_context", "spotify_sync")
    first, second = new.album(each_db), new.album(each_db, "Kid A")
    new.track(each_db, second, "Idioteque")
    new.track(each_db, first, "Airbag")
    assert changes(each_db, "job_id, parent_job_id") == [
        (f"J/ALBUM:{first}", "J"),
        (f"J/ALBUM:{second}", "J"),
        (None, f"J/ALBUM:{second}"),
        (None, f"J/ALBUM:{first}"),
    ]


def test_one_job_per_album_under_a_parent_gives_the_same_family(each_db, new, changes):
    begin_job(each_db, "set_context", "addAlbum", parent_job_id="sync", root_job_id="cron")
    write_album(each_db, new, "album first")
    assert sorted(changes(each_db, ROW)) == [
        ("ALBUM", "J", "sync", "cron", True),
        ("ALBUM_ARTIST", None, "J", "cron", False),
        ("ARTIST", None, "J", "cron", False),
        ("TRACK", None, "J", "cron", False),
        ("TRACK_ARTIST", None, "J", "cron", False),
    ]


def test_updates_and_deletes_carry_the_job_that_did_them(each_db, new, changes):
    album = new.album(each_db)
    new.track(each_db, album)
    begin_job(each_db, "settings", "spotify_sync", parent_job_id="P")
    each_db.execute("UPDATE tracks SET isrc = 'x'")
    each_db.execute("DELETE FROM tracks")
    columns = "op, job_id, parent_job_id, root_job_id, is_root_job"
    assert changes(each_db, columns)[2:] == [
        ("U", "J", "P", "P", False),
        ("D", "J", "P", "P", False),
    ]


def test_path_of_an_earlier_call_does_not_shine_through_a_plain_setting(each_db, new, changes):
    begin_job(each_db, "set_context", "addAlbum")
    each_db.execute("SET LOCAL llamalog.source = 'addArtist'")
    new.artist(each_db)
    assert changes(each_db, ROW) == [("ARTIST", "J", None, "J", True)]


@pytest.mark.parametrize(
    ("setting", "category"),
    [
        ("source = 'manual_edit'", "CORRECTED"),
        ("source = ''", "UPDATED"),
        ("operation = 'cover:copied'", "CACHED"),
        ("category = 'FAILED'", "FAILED"),
    ],
)
def test_category_that_follows_from_an_earlier_call_does_not_outlast_a_plain_setting(
    each_db, new, changes, setting, category
):
    each_db.execute(
        "INSERT INTO llamalog.category_rules (position, operation, category, description)"
        " VALUES (-1, 'cover:%', 'CACHED', 'covers are copied')"
    )
    new.album(each_db)
    each_db.execute("SELECT llamalog.set_context(source => 'enrichment')")
    each_db.execute("UPDATE albums SET label = 'EMI'")
    each_db.execute(f"SET LOCAL llamalog.{setting}".encode())
    each_db.execute("UPDATE albums SET label = 'Capitol'")
    assert changes(each_db, op="U") == ["ENRICHED", category]


def test_metadata_of_the_context_stands_on_every_row(each_db, new, changes):
    each_db.execute(
        "SELECT llamalog.set_context(job_id => 'J', metadata => %s, reason => 'because',"
        " triggered_by => 'admin_ui', sources => ARRAY['SPOTIFY', 'DISCOGS'])",
        [json.dumps({"ticket": 7})],
    )
    new.artist(each_db)
    each_db.execute("UPDATE artists SET area = 'Abingdon'")
    each_db.execute("DELETE FROM artists")
    columns = "metadata, reason, triggered_by, sources"
    assert (
        changes(each_db, columns)
        == [({"ticket": 7}, "because", "admin_ui", ["SPOTIFY", "DISCOGS"])] * 3
    )
