"""The generated log of the benches: its rows have the shape that capture gives them, and the same seed gives the same log."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from conftest import MUSIC_TABLES, default
from psycopg import sql
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))

import generate

#: Columns that say where and when, not what.
PLACE = ["id", "created_at", "transaction_at", "txid", "db_user"]


@contextmanager
def made(server, name):
    """A generated log in a database of its own; a connection to it."""
    address = {key: getattr(server, key) for key in ("host", "port", "user", "password")}
    dsn = make_conninfo("", **{key: value for key, value in address.items() if value})
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        generate.generate(make_conninfo(dsn, dbname=name), 2_000)
        with psycopg.connect(dsn, dbname=name, autocommit=True) as conn:
            yield conn
        admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def generated(server):
    with made(server, "generated") as conn:
        yield conn


def shapes(conn, where="true"):
    """Which columns each kind of row fills, of those that hold a value in every row of the kind."""
    names = [
        name
        for (name,) in conn.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'llamalog.llama_logs'::regclass AND attnum > 0"
            " AND attname <> ALL (%s) ORDER BY attnum",
            [PLACE],
        ).fetchall()
    ]
    filled = ", ".join(
        f"CASE WHEN bool_and({name} IS NOT NULL) THEN '{name}' END" for name in names
    )
    found = conn.execute(
        "SELECT concat_ws(' ', op, coalesce(link_type, entity_type), category, coalesce(source, 'none')),"
        f" bool_or(is_root_job), min(operation), array_remove(ARRAY[{filled}], NULL)"
        f" FROM llamalog.llama_logs WHERE {where} GROUP BY 1".encode()
    ).fetchall()
    return {kind: told for kind, *told in found}


def write(conn, statements, **context):
    with conn.transaction():
        if context:
            named = ", ".join(f"{name} => %({name})s" for name in context)
            conn.execute(f"SELECT llamalog.set_context({named})", context)
        for statement in statements:
            conn.execute(statement)


@default("image")
def test_generated_rows_have_the_columns_of_captured_ones(generated, database):
    album, track = (
        "INSERT INTO albums (id, title, updated_at, source)",
        "INSERT INTO tracks (id, album_id, title, track_number, updated_at)",
    )
    family = [
        f"{album} VALUES ('00000000-0000-0000-0000-00000000000a', 'a', now(), 'SPOTIFY')",
        "INSERT INTO artists (id, name, updated_at) VALUES ('00000000-0000-0000-0000-00000000000b', 'b', now())",
        "INSERT INTO album_artists SELECT albums.id, artists.id FROM albums, artists",
    ]
    tracks = [
        f"{track} SELECT '00000000-0000-0000-0000-00000000000c', id, 't', 1, now() FROM albums",
        "INSERT INTO track_artists SELECT tracks.id, artists.id FROM tracks, artists",
    ]
    gone = ["DELETE FROM albums", "DELETE FROM artists"]
    write(database, family, source="addAlbum", job_id="add", user_id="ann")
    write(
        database,
        [*tracks, "UPDATE albums SET label = 'l', data_quality = 'HIGH'"],
        source="enrichment",
        job_id="enrich",
        parent_job_id="check",
    )
    write(
        database,
        ["UPDATE tracks SET energy = 1"],
        source="enrichment",
        job_id="again",
        parent_job_id="check-2",
    )
    write(
        database,
        ["UPDATE albums SET cloudflare_image_id = 'cf'"],
        source="cache",
        job_id="cache",
        parent_job_id="enrich",
        operation="cache:album-cover-art",
    )
    write(
        database,
        ["UPDATE albums SET metadata = '{}'", "UPDATE artists SET area = 'x'"],
        source="similar_artists_sync",
        job_id="similar",
    )
    write(
        database,
        ["UPDATE albums SET title = 'A'"],
        source="admin_correction",
        job_id="correct",
        user_id="mia",
        triggered_by="admin_ui",
        reason="typing error",
    )
    write(
        database,
        ["UPDATE albums SET game_status = 'ELIGIBLE'"],
        source="game_pool",
        job_id="game",
        user_id="ben",
        operation="game-pool:added",
    )
    database.execute("SET application_name = 'psql'")
    write(database, ["UPDATE tracks SET duration_ms = 1"])
    with database.transaction():
        database.execute(
            "SELECT llamalog.record_failure('too long', '22001', job_id => 'retry', entity_type => 'ALBUM',"
            " entity_id => '00000000-0000-0000-0000-00000000000a', source => 'enrichment', parent_job_id => 'check')"
        )
    write(
        database,
        gone,
        source="admin_correction",
        job_id="delete",
        user_id="mia",
        reason="added twice",
    )
    write(database, [*family, *tracks], source="spotify_sync", job_id="sync")
    captured = shapes(database)
    del captured["D ARTIST DELETED admin_correction"]
    assert MUSIC_TABLES == generate.TABLES
    assert shapes(generated, "op IS NOT NULL OR category = 'FAILED'") == captured


def test_generated_log_has_the_order_of_time(generated):
    assert generated.execute(
        "SELECT count(*) FROM (SELECT created_at < lag(created_at) OVER (ORDER BY seq) AS is_early FROM llamalog.log) AS log"
        " WHERE is_early"
    ).fetchone() == (0,)


def test_generated_rows_are_visible_to_every_page(generated):
    assert generated.execute(
        "SELECT bool_and(pg_visible_in_snapshot(txid, pg_current_snapshot())) FROM llamalog.log"
    ).fetchone() == (True,)


def test_partitions_of_a_generated_log_are_as_migrate_makes_them(generated):
    indexes = defaultdict(set)
    for partition, index in generated.execute(
        "SELECT tree.relid::regclass::text, pg_get_indexdef(index.indexrelid)"
        " FROM pg_partition_tree('llamalog.llama_logs') AS tree JOIN pg_index AS index ON index.indrelid = tree.relid"
        " WHERE tree.isleaf"
    ).fetchall():
        indexes[partition].add(re.sub(r"INDEX \S+ ON \S+", "", index))
    assert len(indexes) > generate.MONTHS
    assert all(made == indexes["llamalog.llama_logs_default"] for made in indexes.values())


def test_a_deleted_entity_of_a_generated_log_no_longer_lives(generated):
    assert generated.execute(
        "SELECT count(*) FROM llamalog.log JOIN tracks ON tracks.id::text = entity_id WHERE op = 'D' AND link_type IS NULL"
    ).fetchone() == (0,)


def test_the_same_seed_gives_the_same_log(generated, server):
    content = (
        "SELECT count(*), md5(string_agg(content::text, '' ORDER BY seq))"
        " FROM (SELECT to_jsonb(log) - 'txid' AS content, log.seq FROM llamalog.log AS log) AS log"
    )
    with made(server, "another") as conn:
        assert conn.execute(content).fetchone() == generated.execute(content).fetchone()
