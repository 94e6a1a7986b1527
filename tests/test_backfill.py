"""Backfill of an adopted log: every old row gets its place, category, root and whole; creations that nobody saw are inferred."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

import click.testing
import legacy
import psycopg
import pytest
from conftest import MUSIC, MUSIC_TABLES, fast_place, until_alone

from llamalog_sql import backfill, cli, embedded, migrate, queries, watching
from llamalog_sql.adoption import adopt, proof, undo
from llamalog_sql.adoption.state import current
from llamalog_sql.errors import LlamaLogError

STATES = pytest.mark.parametrize("later", [False, True], ids=["first state", "second state"])
SINCE_ADOPTION = 10_000_000_000_001


def an_id(name):
    """The id of an entity of that name, and of its row in the legacy log."""
    return uuid.UUID(hashlib.md5(name.encode()).hexdigest())


def music(conn):
    conn.execute(MUSIC.read_bytes())


def old(conn, *rows, at="2025-01-01"):
    """Write rows into the legacy log, a second apart; each is (operation, {column: value})."""
    for n, (operation, more) in enumerate(rows):
        values = {
            "operation": operation,
            "status": "SUCCESS",
            "entity_type": "ALBUM",
            "entity_id": an_id("album"),
            **more,
        }
        values.setdefault("created_at", f"{at} 00:{n // 60:02}:{n % 60:02}")
        names = ", ".join(values)
        marks = ", ".join(["%s"] * len(values))
        conn.execute(
            f"INSERT INTO enrichment_logs ({names}) VALUES ({marks})".encode(),
            list(values.values()),
        )


def legacy_log(conn, *rows, later=False, albums=0):
    """The application's database with its log: `albums` of 13 rows each, and these."""
    music(conn)
    legacy.make(conn, albums=albums)
    old(conn, *rows)
    if later:
        conn.execute(legacy._LATER.encode())


def adopted(conn):
    migrate.migrate(conn)
    watching.watch(conn, MUSIC_TABLES)
    adopt.adopt(conn, "enrichment_logs")
    return conn


def value(conn, query, *parameters):
    return conn.execute(query.encode(), parameters or None).fetchone()[0]


def checksum(conn, table="public.llama_logs"):
    return value(conn, f"SELECT md5(string_agg(t::text, chr(10) ORDER BY id)) FROM {table} AS t")


def by_category(conn):
    return dict(conn.execute("SELECT category, count(*) FROM llamalog.log GROUP BY 1").fetchall())


def lens(conn, columns, where="true"):
    """Columns of the log by seq: the values of one, or tuples."""
    found = conn.execute(
        f"SELECT {columns} FROM llamalog.log WHERE {where} ORDER BY seq".encode()
    ).fetchall()
    return [row[0] if len(row) == 1 else tuple(row) for row in found]


def roots(conn):
    """{job: its roots} in the log, (None, parent) for rows without a job."""
    found: dict = {}
    for job, parent, root in lens(conn, "job_id, parent_job_id, root_job_id"):
        found.setdefault(job or (None, parent), set()).add(root)
    return {job: found[job].pop() if len(found[job]) == 1 else found[job] for job in found}


def dsn_of(conn, **more):
    address = {**conn.info.get_parameters(), "password": conn.info.password or None, **more}
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v is not None})


@pytest.fixture
def llamalog(empty):
    """llamalog("backfill", ...) runs the command on the database `empty`."""

    def run(*arguments):
        runner = click.testing.CliRunner(env={"LLAMALOG_DSN": dsn_of(empty), "COLUMNS": "200"})
        return runner.invoke(cli.main, list(arguments), catch_exceptions=False)

    return run


# -- categories and places --------------------------------------------------------------------------------------------

#: As the music application's log was spread: rows by category, with the operations that it wrote.
REAL = {
    "ENRICHED": (
        3_770,
        [
            "enrichment:album",
            "enrichment:artist",
            "enrichment:track",
            "check:album-enrichment",
            "ENRICH_ALBUM",
            "enrichment:preview",
            "album:enriched:musicbrainz",
            "spotify:new-releases-sync",
            "SPOTIFY_TRACK_FALLBACK",
        ],
    ),
    "CREATED": (
        266,
        [
            "album:created:addAlbum",
            "album:created:spotify-sync",
            "artist:created:addAlbum",
            "track:created:enrichment",
            "album:created",
            "MANUAL_CREATE",
        ],
    ),
    "CORRECTED": (15, ["admin_correction:album", "album:manual_edit", "correction:apply"]),
    "CACHED": (1, ["cache:album-cover"]),
}


def the_real_log(conn, later):
    music(conn)
    legacy.make(conn, albums=0)
    made = 0
    for _, (count, operations) in REAL.items():
        conn.execute(
            "INSERT INTO enrichment_logs (id, entity_type, entity_id, operation, status, job_id, parent_job_id, created_at)"
            " SELECT md5('row' || n)::uuid, 'ALBUM', md5('album' || n %% 100)::uuid,"
            " (%(operations)s::text[])[1 + n %% cardinality(%(operations)s::text[])], 'SUCCESS',"
            " CASE WHEN n %% 97 > 0 THEN 'job-' || n / 3 END, CASE WHEN n %% 5 = 0 THEN 'cron-' || n %% 7 END,"
            # several at the same instant
            " timestamp '2025-01-01' + (n * 7919 %% 3000) * interval '1 minute'"
            " FROM generate_series(%(first)s::int, %(last)s::int) AS n",
            {"operations": operations, "first": made + 1, "last": made + count},
        )
        made += count
    # 41 of them by the arithmetic above, and one more
    conn.execute("UPDATE enrichment_logs SET job_id = NULL WHERE id = md5('row1')::uuid")
    if later:
        conn.execute(legacy._LATER.encode())


@STATES
def test_the_real_log_is_numbered_and_classified_to_the_row_and_a_second_time_changes_nothing(
    empty, later, llamalog
):
    the_real_log(empty, later)
    assert value(empty, "SELECT count(*) FROM enrichment_logs") == 4_052
    assert value(empty, "SELECT count(*) FROM enrichment_logs WHERE job_id IS NULL") == 42
    adopted(empty)
    empty.execute(
        "INSERT INTO enrichment_logs (operation, status, created_at{}) VALUES ('enrichment:album', 'SUCCESS', '2020-01-01'{})".format(
            *((", category", ", 'ENRICHED'") if later else ("", ""))
        )
    )
    expected = {category: count for category, (count, _) in REAL.items()}

    untouched = checksum(empty)
    preview = json.loads(llamalog("backfill", "--dry-run", "--format", "json").stdout)[0]
    assert preview["categories"] == expected
    assert checksum(empty) == untouched

    done = json.loads(llamalog("backfill", "--format", "json").stdout)[0]
    assert {k: v for k, v in done.items() if k not in ("seconds", "rows_per_second")} == {
        k: v for k, v in preview.items() if k not in ("seconds", "rows_per_second")
    }
    assert by_category(empty) == {**expected, "ENRICHED": 3_771}
    places = empty.execute(
        "SELECT seq, created_at, id FROM public.llama_logs ORDER BY seq"
    ).fetchall()
    assert [place.seq for place in places] == [*range(1, 4_053), SINCE_ADOPTION]
    old_ones = [(place.created_at, place.id) for place in places[:-1]]
    assert old_ones == sorted(old_ones)
    then, now = proof.verify(empty)
    assert (then.row_count, then.checksum) == (now.row_count, now.checksum)
    assert then.row_count == 4_052

    known = "SELECT attname::text FROM pg_attribute WHERE attrelid = 'public.llama_logs'::regclass AND attnotnull"
    is_known = {name for (name,) in empty.execute(known.encode()).fetchall()}
    assert {"seq", "category"} <= is_known
    assert (
        value(
            empty,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'c'"
            " AND conrelid = 'public.llama_logs'::regclass",
        )
        == 0
    )

    before = checksum(empty)
    assert json.loads(llamalog("backfill", "--format", "json").stdout)[0]["rows"] == 0
    assert checksum(empty) == before
    assert value(empty, "SELECT to_regclass('llamalog.backfill_rows')") is None


@STATES
def test_an_enrichment_that_failed_is_a_failure(empty, later):
    legacy_log(
        empty,
        ("enrichment:album", {"status": "FAILED"}),
        ("album:created:addAlbum", {"status": "FAILED"}),
        ("track:failed:enrichment", {}),
        ("enrichment:album", {}),
        later=later,
    )
    adopted(empty)
    assert backfill.backfill(empty).categories == {"FAILED": 3, "ENRICHED": 1}
    assert lens(empty, "category") == ["FAILED", "FAILED", "FAILED", "ENRICHED"]


def test_what_the_application_put_in_created_is_corrected_in_the_lens_and_stays_in_its_column(
    empty,
):
    legacy_log(
        empty,
        ("manual_correction", {}),
        ("track:failed:enrichment", {}),
        ("album:created:addAlbum", {}),
        ("enrichment:album", {}),
        later=True,
    )
    adopted(empty)
    assert backfill.preview(empty).corrected_categories == 2
    assert backfill.backfill(empty).corrected_categories == 2
    assert lens(empty, "category") == ["CORRECTED", "FAILED", "CREATED", "ENRICHED"]
    written = "SELECT array_agg(category::text ORDER BY created_at) FROM enrichment_logs"
    assert value(empty, written) == ["CREATED", "CREATED", "CREATED", "ENRICHED"]
    then, now = proof.verify(empty)
    assert then == now


def test_operations_that_no_rule_knows_are_counted_and_judged_again_when_a_rule_comes(
    empty, llamalog
):
    legacy_log(
        empty,
        *[("polish:album", {})] * 3,
        ("shine:album", {"status": "SKIPPED"}),
        ("polish:album", {"status": "FAILED"}),
        ("enrichment:album", {}),
    )
    adopted(empty)
    done = backfill.backfill(empty)
    assert done.unknown_operations == {"polish:album": 3, "shine:album": 1}
    assert done.categories == {"UPDATED": 4, "FAILED": 1, "ENRICHED": 1}
    assert lens(empty, "category") == ["UPDATED"] * 4 + ["FAILED", "ENRICHED"]

    empty.execute(
        "INSERT INTO llamalog.category_rules (position, operation, category, description)"
        " VALUES (300, 'polish:%', 'CORRECTED', 'A polish corrects')"
    )
    assert backfill.backfill(empty).judged_again == 3
    assert lens(empty, "category") == ["CORRECTED"] * 3 + ["UPDATED", "FAILED", "ENRICHED"]
    assert backfill.backfill(empty).judged_again == 0


def test_operations_that_no_rule_knows_keep_the_category_of_the_application(empty):
    legacy_log(empty, ("polish:album", {}), ("album added", {}), later=True)
    adopted(empty)
    done = backfill.backfill(empty)
    assert done.unknown_operations == {"polish:album": 1, "album added": 1}
    assert done.categories == {"ENRICHED": 1, "CREATED": 1}
    assert lens(empty, "category") == ["ENRICHED", "CREATED"]


def test_a_log_that_knows_no_status_and_no_jobs_is_classified_all_the_same(empty):
    empty.execute(
        "CREATE TABLE events (id integer GENERATED BY DEFAULT AS IDENTITY (START 100) PRIMARY KEY, operation text, created_at timestamptz, is_root_job boolean);"
        "INSERT INTO events VALUES (1, 'enrichment:album', '2025-01-02'), (2, 'x:created:y', '2025-01-01'),"
        " (3, NULL, '2025-01-03')"
    )
    migrate.migrate(empty)
    adopt.adopt(empty, "events")
    assert backfill.backfill(empty).categories == {"CREATED": 1, "ENRICHED": 1, "UPDATED": 1}
    assert lens(empty, "id, seq, category") == [
        ("2", 1, "CREATED"),
        ("1", 2, "ENRICHED"),
        ("3", 3, "UPDATED"),
    ]


# -- roots ------------------------------------------------------------------------------------------------------------


def job(job_id, parent=None, **more):
    return ("enrichment:album", {"job_id": job_id, "parent_job_id": parent, **more})


def rooted(conn, *rows):
    legacy_log(conn, *rows)
    return backfill.backfill(adopted(conn))


def told(conn, entity=None):
    """What chain, tree and why say of an album, each within a moment."""
    entity = str(entity or an_id("album"))
    conn.execute("SET statement_timeout = '20s'")
    chain = queries.chain(conn, "ALBUM", entity, limit=10_000).logs
    tree = queries.tree(conn, "ALBUM", entity)
    why = conn.execute("SELECT * FROM llamalog.why('ALBUM', %s)", [entity]).fetchall()
    return chain, tree, why


def test_forty_levels_of_jobs_have_one_root(empty):
    rooted(empty, *[job(f"job-{n}", f"job-{n - 1}" if n else None) for n in range(40)])
    assert roots(empty) == {f"job-{n}": "job-0" for n in range(40)}
    chain, tree, why = told(empty)
    assert len(chain) == len(why) == 40
    assert max(node.depth for node in tree) == 40
    assert Counter(node.node.split()[0] for node in tree) == {"job": 40, "change": 40}


def test_roots_are_found_over_jobs_and_not_over_their_rows(empty):
    """Five levels of thirty rows a job: over rows it would be 30 ** 5 steps."""
    rows = [
        job(f"job-{n}-{level}", f"job-{n}-{level - 1}" if level else None)
        for n in range(3)
        for level in range(5)
        for _ in range(30)
    ]
    legacy_log(empty, *rows)
    adopted(empty)
    empty.execute("SET statement_timeout = '5s'")
    backfill.backfill(empty)
    assert roots(empty) == {
        f"job-{n}-{level}": f"job-{n}-0" for n in range(3) for level in range(5)
    }


@STATES
def test_jobs_in_a_circle_have_no_root_nor_has_what_hangs_below_them(empty, later):
    legacy_log(
        empty,
        job("two-a", "two-b"),
        job("two-b", "two-a"),
        job("three-a", "three-c"),
        job("three-b", "three-a"),
        job("three-c", "three-b"),
        job("below", "three-b"),
        job("far below", "below"),
        (
            "track:created:enrichment",
            {"entity_type": "TRACK", "entity_id": an_id("t"), "parent_job_id": "below"},
        ),
        job("sound"),
        later=later,
    )
    adopted(empty)
    assert backfill.preview(empty).in_circles == 7
    assert backfill.backfill(empty).in_circles == 7
    if not later:
        assert roots(empty) == {
            "two-a": None,
            "two-b": None,
            "three-a": None,
            "three-b": None,
            "three-c": None,
            "below": None,
            "far below": None,
            (None, "below"): None,
            "sound": "sound",
        }
    chain, tree, why = told(empty)
    assert len(chain) == 9
    assert len([node for node in tree if node.seq]) == 9
    assert why


@STATES
def test_a_parent_that_is_no_job_of_the_log_is_the_root(empty, later):
    legacy_log(
        empty,
        job("a", "gone"),
        job("b", "a"),
        job("c", "gone"),
        job("d", "lost"),
        (
            "track:created:enrichment",
            {"entity_type": "TRACK", "entity_id": an_id("t"), "parent_job_id": "never seen"},
        ),
        later=later,
    )
    adopted(empty)
    assert backfill.backfill(empty).orphans == 2
    assert roots(empty) == {
        "a": "gone",
        "b": "gone",
        "c": "gone",
        "d": "lost",
        (None, "never seen"): "never seen",
    }
    chain, tree, _ = told(empty)
    assert len(chain) == 4
    assert {node.node: node.depth for node in tree if node.node.startswith("job")} == {
        "job gone": 0,
        "job a": 1,
        "job b": 2,
        "job c": 1,
        "job lost": 0,
        "job d": 1,
    }


@STATES
def test_a_job_that_names_itself_as_its_parent_is_its_own_root(empty, later):
    legacy_log(empty, job("own", "own"), job("child", "own"), later=later)
    adopted(empty)
    done = backfill.backfill(empty)
    assert (done.self_parents, done.in_circles, done.orphans) == (1, 0, 0)
    assert roots(empty) == {"own": "own", "child": "own"}
    chain, tree, why = told(empty)
    assert len(chain) == len(why) == 2
    assert [(node.depth, node.node.split()[0]) for node in tree] == [
        (0, "job"),
        (1, "change"),
        (1, "job"),
        (2, "change"),
    ]


def test_an_album_whose_job_names_itself_as_its_parent_is_the_head_of_its_tree(empty):
    legacy_log(
        empty,
        ("album:created:addAlbum", {"job_id": "own", "parent_job_id": "own", "is_root_job": True}),
        job("child", "own"),
    )
    adopted(empty)
    backfill.backfill(empty)
    _, tree, _ = told(empty)
    assert [(node.depth, node.node.split()[0]) for node in tree] == [
        (0, "job"),
        (1, "job"),
        (2, "change"),
    ]


def test_of_several_parents_the_first_counts(empty):
    done = rooted(
        empty,
        job("a"),
        job("b"),
        job("child", "b"),
        job("child", "a"),
        job("child"),
        job("other"),
        job("other", "a"),
    )
    assert done.several_parents == 1
    assert roots(empty) == {"a": "a", "b": "b", "child": "b", "other": "a"}
    chain, tree, _ = told(empty)
    assert len(chain) == 7
    assert next(node for node in tree if node.node == "job child").parent_node == "job b"


@STATES
def test_rows_without_job_and_without_entity_stand_in_the_log_as_they_are(empty, later):
    legacy_log(
        empty,
        ("enrichment:album", {}),
        ("spotify:sync", {"entity_type": None, "entity_id": None}),
        ("spotify:sync", {"entity_type": None, "entity_id": None, "job_id": "sync"}),
        ("enrichment:album", {"entity_id": None}),
        later=later,
    )
    adopted(empty)
    backfill.backfill(empty)
    assert lens(empty, "seq, entity_type, entity_id, root_job_id, category") == [
        (1, "ALBUM", str(an_id("album")), None, "ENRICHED"),
        (2, None, None, None, "ENRICHED"),
        (3, None, None, "sync", "ENRICHED"),
        (4, "ALBUM", None, None, "ENRICHED"),
    ]
    chain, tree, why = told(empty)
    assert (len(chain), len(tree), len(why)) == (1, 1, 1)


@STATES
def test_the_future_equal_instants_and_long_job_ids_are_nothing_special(empty, later):
    long = "j" * 99
    legacy_log(
        empty,
        job(f"{long}2", f"{long}1", created_at="2099-01-01", id=an_id("third")),
        job(f"{long}1", created_at="2025-01-01", id=an_id("b")),
        job(f"{long}1", created_at="2025-01-01", id=an_id("a")),
        later=later,
    )
    adopted(empty)
    first, second = sorted([an_id("a"), an_id("b")])
    backfill.backfill(empty)
    assert lens(empty, "id, seq, root_job_id") == [
        (str(first), 1, f"{long}1"),
        (str(second), 2, f"{long}1"),
        (str(an_id("third")), 3, f"{long}1"),
    ]
    chain, _, _ = told(empty)
    assert [c.seq for c in chain] == [1, 2, 3]


# -- is_root_job ------------------------------------------------------------------------------------------------------


@STATES
def test_is_root_job_is_corrected_only_where_the_rule_is_violated(empty, later):
    def row(operation, kind, flag, parent=None, **more):
        return (
            operation,
            {
                "entity_type": kind,
                "entity_id": an_id(kind),
                "is_root_job": flag,
                "parent_job_id": parent,
                **more,
            },
        )

    rows = [
        (row("album:created:x", "ALBUM", False, "p"), True),
        (row("album:created:x", "ALBUM", True, "p"), True),
        (row("track:created:x", "TRACK", True, "p"), False),
        (row("track:created:x", "TRACK", False, "p"), False),
        (row("artist:created:x", "ARTIST", True, "p"), False),
        (row("artist:created:x", "ARTIST", True), True),
        (row("track:created:x", "TRACK", True), True),
        (row("enrichment:album", "ALBUM", True, "p"), True),
        (row("enrichment:album", "ALBUM", False), False),
        (row("album:created:x", "ALBUM", False, status="FAILED"), False),
        (row("enrichment:track", "TRACK", True, "p"), True),
    ]
    legacy_log(empty, *(given for given, _ in rows), later=later)
    adopted(empty)
    assert backfill.preview(empty).corrected_roots == 3
    assert backfill.backfill(empty).corrected_roots == 3
    assert lens(empty, "is_root_job") == [wanted for _, wanted in rows]
    theirs = "SELECT array_agg(is_root_job ORDER BY created_at) FROM enrichment_logs"
    assert value(empty, theirs) == [given[1]["is_root_job"] for given, _ in rows]


# -- the whole that a part belongs to ---------------------------------------------------------------------------------


@STATES
def test_a_track_belongs_to_the_album_of_its_row_else_of_the_live_track_else_to_none(empty, later):
    def track(name, **more):
        created = {"entity_type": "TRACK", "entity_id": an_id(name), "parent_job_id": "j", **more}
        return ("track:created:enrichment", created)

    music(empty)
    legacy.make(empty, albums=0)
    for name in ("album", "other album"):
        empty.execute(
            "INSERT INTO albums (id, title, updated_at) VALUES (%s, %s, '2025-01-01')",
            [an_id(name), name],
        )
    for name in ("live", "both"):
        empty.execute(
            "INSERT INTO tracks (id, album_id, title, track_number, updated_at) VALUES (%s, %s, %s, 1, '2025-01-01')",
            [an_id(name), an_id("album"), name],
        )
    old(
        empty,
        ("album:created:addAlbum", {"job_id": "add"}),
        track("in the row", album_id=an_id("album")),
        track("live"),
        track("both", album_id=an_id("other album")),
        track("gone"),
    )
    # a foreign key of the application's refuses an album that is gone, until the log is adopted
    if later:
        empty.execute(legacy._LATER.encode())
    adopted(empty)
    backfill.backfill(empty)
    album, other = str(an_id("album")), str(an_id("other album"))
    assert lens(empty, "related_type, related_id", "seq > 1") == [
        ("ALBUM", album),
        ("ALBUM", album),
        ("ALBUM", other),
        (None, None),
    ]
    chain, tree, why = told(empty)
    assert [c.entity_id for c in chain] == [
        album,
        *(str(an_id(name)) for name in ("in the row", "live")),
    ]
    assert len([node for node in tree if node.seq]) == 3
    assert [row.sentence for row in why] != []


def test_a_part_is_found_whatever_its_key_and_whatever_stands_in_the_log_for_it(empty):
    empty.execute(
        "CREATE TABLE carts (id integer PRIMARY KEY);"
        "CREATE TABLE items (id bigint PRIMARY KEY, cart_id integer NOT NULL REFERENCES carts ON DELETE CASCADE);"
        "CREATE TABLE notes (id uuid PRIMARY KEY, cart_id integer NOT NULL REFERENCES carts ON DELETE CASCADE);"
        "INSERT INTO carts VALUES (7); INSERT INTO items VALUES (1, 7);"
        "INSERT INTO notes VALUES ('00000000-0000-0000-0000-000000000001', 7);"
        "CREATE TABLE events (id integer GENERATED BY DEFAULT AS IDENTITY (START 100) PRIMARY KEY, operation text, created_at timestamptz, entity_type text, entity_id text);"
        "INSERT INTO events VALUES"
        " (1, 'item:created', '2025-01-01', 'ITEM', '1'),"
        " (2, 'item:created', '2025-01-01', 'ITEM', 'no number'),"
        " (3, 'note:created', '2025-01-01', 'NOTE', '00000000-0000-0000-0000-000000000001'),"
        " (4, 'note:created', '2025-01-01', 'NOTE', 'no uuid')"
    )
    migrate.migrate(empty)
    watching.watch(empty, ["carts", "items", "notes"])
    adopt.adopt(empty, "events")
    backfill.backfill(empty)
    assert lens(empty, "related_id", "seq > 0") == ["7", None, "7", None]


# -- beside writers ---------------------------------------------------------------------------------------------------


def in_background(action):
    """Run it in a thread; returns a function that waits for its end and returns, or raises, what it did."""
    outcome: list = []

    def run():
        try:
            outcome.append((action(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run)
    thread.start()

    def result():
        thread.join(120)
        found, error = outcome[0]
        if error:
            raise error
        return found

    return result


@STATES
def test_writers_beside_it_never_fail_and_what_they_change_has_its_right_category(
    empty, later, connect
):
    legacy_log(empty, albums=150, later=later)
    adopted(empty)
    conn, stop = connect(empty), threading.Event()
    ids = [
        row[0]
        for row in empty.execute("SELECT id FROM enrichment_logs ORDER BY md5(id::text)").fetchall()
    ]
    category = (", category", ", 'ENRICHED'") if later else ("", "")
    changed: dict[uuid.UUID, str] = {}
    written: list[uuid.UUID] = []

    def write():
        rng, n = random.Random(7), 0
        while ids and not stop.is_set():
            name = ("enrichment_logs", "llama_logs")[n % 2]
            n += 1
            key = uuid.uuid4()
            conn.execute(
                f"INSERT INTO {name} (id, operation, status, created_at{category[0]})"
                f" VALUES (%s, 'enrichment:album', 'SUCCESS', '2020-01-01'{category[1]})".encode(),
                [key],
            )
            written.append(key)
            one, other, gone = ids.pop(), ids.pop(), ids.pop()
            conn.execute(f"UPDATE {name} SET status = 'FAILED' WHERE id = %s".encode(), [one])
            conn.execute(
                f"UPDATE {name} SET operation = 'cache:album', status = 'SUCCESS' WHERE id = %s".encode(),
                [other],
            )
            changed.update({one: "FAILED", other: "CACHED"})
            conn.execute(f"DELETE FROM {name} WHERE id = %s".encode(), [gone])
            if n % 5 == 0:
                conn.execute(
                    f"DELETE FROM {name} WHERE id = %s".encode(),
                    [written.pop(rng.randrange(len(written)))],
                )
            time.sleep(0.001)
        return n

    writing = in_background(write)
    try:
        backfill.backfill(empty, pace=backfill.Pace(batch_size=100, sleep=0.01))
    finally:
        stop.set()
    assert writing() > 10
    found = {uuid.UUID(key): category for key, category in lens(empty, "id, category")}
    assert {key: found[key] for key in changed} == changed
    assert {found[key] for key in written} == {"ENRICHED"}
    assert value(empty, "SELECT count(*) FROM public.llama_logs WHERE seq IS NULL") == 0
    others = {key: found[key] for key in ids}
    wanted = dict(
        empty.execute(
            "SELECT id, llamalog.category_of(operation::text, status::text) FROM public.llama_logs"
        ).fetchall()
    )
    assert others == {key: wanted[key] for key in others}


def test_a_failure_that_turns_into_a_success_after_it_was_judged_is_none(empty, connect):
    """The application's category says ENRICHED: the lens must not correct it by what no longer holds."""
    legacy_log(empty, *[("enrichment:album", {"status": "FAILED"})] * 100, later=True)
    adopted(empty)
    worker = connect(empty)
    working = in_background(
        lambda: backfill.backfill(worker, pace=backfill.Pace(batch_size=3, sleep=0.05))
    )
    while not value(empty, "SELECT to_regclass('llamalog.backfill_rows') IS NOT NULL"):
        time.sleep(0.01)
    # the 95th is among the last that are written
    changed = empty.execute(
        "UPDATE public.llama_logs SET status = 'SUCCESS' WHERE created_at ="
        " (SELECT created_at FROM public.llama_logs ORDER BY created_at OFFSET 94 LIMIT 1) RETURNING seq, id"
    ).fetchone()
    assert changed.seq is None
    working()
    assert lens(empty, "seq, category", f"id = '{changed.id}'") == [(95, "ENRICHED")]
    assert by_category(empty) == {"FAILED": 99, "ENRICHED": 1}


@STATES
def test_locks_of_a_second_and_an_open_transaction_delay_it(empty, later, connect):
    legacy_log(empty, albums=20, later=later)
    adopted(empty)
    holder, reader, worker = connect(empty), connect(empty), connect(empty)
    holder.autocommit = reader.autocommit = False
    holder.execute("SELECT FROM public.llama_logs ORDER BY created_at LIMIT 20 FOR UPDATE")
    reader.execute("SELECT count(*) FROM public.llama_logs")
    working = in_background(lambda: backfill.backfill(worker, pace=backfill.Pace(lock_timeout=20)))
    time.sleep(1)
    holder.rollback()
    time.sleep(1)
    reader.rollback()
    working()
    assert value(empty, "SELECT count(*) FROM public.llama_logs WHERE seq BETWEEN 1 AND 260") == 260
    assert value(
        empty,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'llama_logs_lens_related_id_idx'::regclass",
    )


def test_two_at_once_are_one_too_many(empty, connect):
    legacy_log(empty, albums=20)
    adopted(empty)
    with backfill._alone(connect(empty)), pytest.raises(LlamaLogError) as refused:
        backfill.backfill(empty)
    assert refused.value.sqlstate == "55006"
    assert refused.value.hint == "Wait for it, or stop it: what it has done stays done."
    assert backfill.backfill(empty).rows == 260


# -- interrupted ------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory():
    """A directory that the user who runs the server may enter."""
    made = Path(tempfile.mkdtemp(prefix="ll-", dir=fast_place()))
    made.chmod(0o1777)
    yield made
    for kept in made.glob("*/llamalog.json"):
        embedded.stop_kept(kept.parent)
    shutil.rmtree(made)


def state(conn):
    """All that backfill writes, and all that it must not."""
    then, now = proof.verify(conn)
    assert (then.row_count, then.checksum) == (now.row_count, now.checksum)
    columns = (
        "entity_type, entity_id, seq, category, root_job_id, is_root_job, related_type, related_id"
    )
    own = "array_remove(ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = 'llama_logs'::regclass AND attnotnull), NULL)"
    return {
        "checksum": now.checksum,
        "counts": by_category(conn),
        "old": lens(conn, f"id, {columns}", "seq BETWEEN 1 AND 1000000"),
        "inferred": lens(conn, f"{columns}, created_at, reason, metadata::text", "seq < 1"),
        "not null": sorted(value(conn, f"SELECT {own}")),
        "indexes": sorted(
            name
            for (name,) in conn.execute(
                "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'llama_logs'::regclass AND indisvalid"
            ).fetchall()
        ),
        "checks": value(
            conn,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'llama_logs'::regclass",
        ),
        "left": value(conn, "SELECT to_regclass('llamalog.backfill_rows')::text"),
    }


def start_backfill(dsn, *arguments):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
        "LLAMALOG_DSN": dsn,
        "PGOPTIONS": "-c client_connection_check_interval=20ms",
    }
    command = [sys.executable, "-m", "llamalog_sql", "backfill", *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def until_at_work(conn):
    locked = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE locktype = 'advisory' AND granted AND application_name = 'llamalog'"
    )
    for _ in range(2000):
        if value(conn, locked):
            return
        time.sleep(0.01)
    raise AssertionError("it does not begin")


#: What writers beside it do to old rows: new versions of them that say the same.
WRITER = """
import psycopg, sys, random
conn = psycopg.connect(sys.argv[1], autocommit=True)
rng = random.Random(3)
while True:
    n = rng.randrange(1, 250)
    with conn.transaction():
        conn.execute("UPDATE enrichment_logs SET reason = reason WHERE job_id = %s", ["create-%d" % n])
        conn.execute("INSERT INTO enrichment_logs (operation, status{}) VALUES ('written beside it', 'SUCCESS'{})")
"""


def with_entities_that_nobody_saw(conn):
    conn.execute(
        "INSERT INTO artists (id, name, created_at, updated_at)"
        " SELECT md5('artist' || n)::uuid, 'Artist ' || n, timestamp '2024-01-01' + n / 2 * interval '1 hour', '2025-01-01'"
        " FROM generate_series(1, 700) AS n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="kills by process id")
@pytest.mark.parametrize(
    "later",
    [pytest.param(False, marks=pytest.mark.slow), True],
    ids=["first state", "second state"],
)
def test_kill_9_of_it_of_writers_and_of_the_server_leaves_what_an_undisturbed_run_leaves(
    directory, later
):
    version = int(os.environ.get("LLAMALOG_TEST_PG", 0)) or None
    home = directory / "server"
    server = embedded.start(version=version, keep_in=home, durable=True)
    rng = random.Random(11 + later)

    def connection(name="disturbed"):
        address = psycopg.conninfo.conninfo_to_dict(server.dsn) | {"dbname": name}
        return psycopg.connect(**address, autocommit=True)

    with connection("postgres") as conn:
        conn.execute("CREATE DATABASE disturbed")
    with connection() as conn:
        legacy_log(conn, albums=250, later=later)
        with_entities_that_nobody_saw(conn)
        adopted(conn)
    with connection("postgres") as conn:
        conn.execute("CREATE DATABASE undisturbed TEMPLATE disturbed")
    with connection("undisturbed") as conn:
        backfill.backfill(conn)
        expected = state(conn)
    assert len(expected["old"]) == 3_250
    assert len(expected["inferred"]) == 700
    assert (expected["checks"], expected["left"]) == (0, None)

    category = (", category", ", 'ENRICHED'") if later else ("", "")
    slow = ("--batch-size", "100", "--sleep", "0.1")
    kills, numbered = Counter(), set()
    count = "SELECT count(*) FROM llama_logs WHERE seq <= 3250"

    def until_it_writes(conn):
        """Wait for a batch, however slow the machine is."""
        before, until = value(conn, count), time.monotonic() + 60
        while before == value(conn, count) < 3_250 and time.monotonic() < until:
            time.sleep(0.02)

    for turn in range(14):
        dsn = psycopg.conninfo.make_conninfo(server.dsn, dbname="disturbed")
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(*category), dsn], stderr=subprocess.DEVNULL
        )
        worker = start_backfill(dsn, *slow)
        with connection() as conn:
            until_at_work(conn)
            if turn % 2:
                until_it_writes(conn)
        time.sleep(rng.random() * 0.6)
        victim = "server" if turn in (4, 9) else "writer" if turn in (6, 11) else "backfill"
        if victim == "server":
            pid = int((home / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
        elif victim == "writer":
            writer.kill()
        else:
            worker.kill()
        kills[victim] += 1
        if victim != "backfill":
            worker.kill()
        worker.communicate()
        writer.kill()
        writer.wait()
        if victim == "server":
            with contextlib.suppress(Exception):
                server.stop()
            for _ in range(200):
                with contextlib.suppress(embedded.ServerFailed, psycopg.OperationalError):
                    server = embedded.start(version=version, keep_in=home, durable=True)
                    break
                time.sleep(0.1)
        with connection() as conn:
            until_alone(conn)
            then, now = proof.verify(conn)
            assert then == now
            numbered.add(value(conn, count))
    # it was killed in the middle of its batches
    assert len(numbered - {0, 3_250}) >= 3
    assert kills == {"backfill": 10, "writer": 2, "server": 2}
    last = start_backfill(psycopg.conninfo.make_conninfo(server.dsn, dbname="disturbed"))
    _, said = last.communicate()
    assert last.returncode == 0, said
    with connection() as conn:
        conn.execute("DELETE FROM enrichment_logs WHERE operation = 'written beside it'")
        assert state(conn) == expected
    server.stop()


@pytest.mark.parametrize(
    "at",
    [
        "VACUUM",
        "CREATE INDEX",
        "DROP TABLE llamalog",
        "VALIDATE",
        "SET NOT NULL",
        "DROP CONSTRAINT",
    ],
)
def test_what_is_interrupted_after_the_last_batch_is_finished_by_the_next_one(empty, connect, at):
    legacy_log(empty, albums=5)
    adopted(empty)
    worker = connect(empty)
    pid = worker.info.backend_pid

    class Interrupted(Exception):
        pass

    class Interrupting:
        """The connection, that breaks where its statement begins."""

        def __getattr__(self, name):
            return getattr(worker, name)

        def execute(self, query, *more, **options):
            text = query.decode() if isinstance(query, bytes) else str(query)
            if at in text:
                worker.close()
                raise Interrupted
            return worker.execute(query, *more, **options)

    with pytest.raises(Interrupted):
        backfill.backfill(Interrupting())
    while value(empty, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}"):
        time.sleep(0.01)
    backfill.backfill(empty)
    assert value(empty, "SELECT to_regclass('llamalog.backfill_rows')") is None
    assert value(
        empty,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'llama_logs_lens_related_id_idx'::regclass",
    )
    assert value(
        empty,
        "SELECT bool_and(attnotnull) FROM pg_attribute WHERE attrelid = 'llama_logs'::regclass"
        " AND attname IN ('seq', 'category')",
    )
    assert (
        value(
            empty,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'c' AND conrelid = 'llama_logs'::regclass",
        )
        == 0
    )


def test_what_an_adoption_that_was_undone_decided_is_not_written_into_the_next(empty, connect):
    legacy_log(empty, job("a"), job("b"))
    adopted(empty)
    worker = connect(empty)
    backfill._prepared(worker)
    backfill._decide(worker, current(worker).shape)
    worker.close()
    undo.undo(empty)
    old(empty, job("c"), at="2024-01-01")
    adopt.adopt(empty, "enrichment_logs")
    backfill.backfill(empty)
    assert lens(empty, "seq, job_id") == [(1, "c"), (2, "a"), (3, "b")]


# -- what nobody saw --------------------------------------------------------------------------------------------------

OTHERS = """
CREATE TABLE shops (id integer PRIMARY KEY, name text, created_on date, created_by text, inserted_at date);
CREATE TABLE shelves (shop integer NOT NULL, place text NOT NULL, PRIMARY KEY (shop, place));
CREATE TABLE "BlogPost" ("postId" bigint PRIMARY KEY, "createdAt" timestamptz, "createdBy" text, source text);
INSERT INTO shops VALUES (1, 'North', NULL, 'ann', '2024-05-01'), (2, 'South', NULL, 'ben', '-infinity');
INSERT INTO shelves VALUES (1, 'left, below'), (1, 'right');
INSERT INTO "BlogPost" VALUES (1, '2024-01-02 12:00+02', 'mia', 'import'), (2, NULL, NULL, NULL), (3, NULL, '', '');
"""

INFERRED = "entity_type, entity_id, created_at::text, sources, user_id, reason"


def inferred(conn, kind):
    conn.execute("SET TimeZone = 'UTC'")
    return lens(conn, INFERRED, f"entity_type = '{kind}' AND seq < 1 ORDER BY entity_id --")


def test_entities_that_were_there_before_get_one_creation_each_that_says_it_is_inferred(empty, new):
    music(empty)
    empty.execute(OTHERS)
    submitter = str(an_id("ann"))
    album = new.album(
        empty, "Old", created_at="2024-03-01 10:00", source="SPOTIFY", submitted_by=submitter
    )
    artist = new.artist(empty, "Old one", created_at="2024-02-01")
    track = new.track(empty, album, created_at="2024-03-02")
    migrate.migrate(empty)
    watching.watch(empty, [*MUSIC_TABLES, "BlogPost"])
    watching.watch(empty, ["shops"], watching.Options(redact=["created_by"]))
    watching.watch(empty, ["shelves"])
    seen = new.album(empty, "New")
    empty.execute("UPDATE albums SET label = 'Parlophone' WHERE title = 'Old'")
    empty.execute('UPDATE "BlogPost" SET source = \'edit\' WHERE "postId" = 2')
    first = value(empty, "SELECT min(created_at)::text FROM llamalog.log WHERE entity_id = '2'")

    done = backfill.backfill(empty)
    kinds = {kind: kind for kind in done.inferred}
    post = next(kind for kind in kinds if "POST" in kind.upper())
    assert done.inferred == {"ALBUM": 1, "ARTIST": 1, "TRACK": 1, "SHOP": 2, "SHELF": 2, post: 3}
    assert inferred(empty, "ALBUM") == [
        (
            "ALBUM",
            album,
            "2024-03-01 10:00:00+00",
            ["SPOTIFY"],
            submitter,
            f"inferred, nobody saw it come; its row says: when, from SPOTIFY, by user {submitter}",
        ),
    ]
    assert inferred(empty, "SHOP") == [
        (
            "SHOP",
            "1",
            "2024-05-01 00:00:00+00",
            None,
            None,
            "inferred, nobody saw it come; its row says: when",
        ),
        (
            "SHOP",
            "2",
            value(
                empty,
                "SELECT created_at::text FROM llamalog.log WHERE entity_id = '2' AND entity_type = 'SHOP'",
            ),
            None,
            None,
            "inferred, nobody saw it come; nothing tells of it",
        ),
    ]
    assert [row[1] for row in inferred(empty, "SHELF")] == ["1,left\\, below", "1,right"]
    posts = inferred(empty, post)
    assert posts[0][1:] == (
        "1",
        "2024-01-02 10:00:00+00",
        ["import"],
        "mia",
        "inferred, nobody saw it come; its row says: when, from import, by user mia",
    )
    # its update was seen: by then it was there
    assert posts[1][1:5] == ("2", first, ["edit"], None)
    assert posts[2][3:] == (None, None, "inferred, nobody saw it come; nothing tells of it")
    assert lens(
        empty,
        "op, category, status, source, operation, metadata, related_id",
        f"entity_id = '{track}'",
    ) == [
        (
            None,
            "CREATED",
            "SUCCESS",
            "unknown",
            "track:created:unknown",
            {"llamalog": {"inferred": True, "evidence": ["created_at", "source"]}},
            album,
        ),
    ]
    assert (
        value(
            empty,
            "SELECT count(*) FROM llamalog.log AS a JOIN llamalog.log AS b USING (entity_type, entity_id)"
            " WHERE a.seq < 1 AND b.seq < a.seq",
        )
        == 0
    )
    listed = empty.execute(
        "SELECT entity_type, entity_id FROM llamalog.unknown_provenance"
    ).fetchall()
    assert sorted(map(tuple, listed)) == sorted(lens(empty, "entity_type, entity_id", "seq < 1"))
    assert {row.entity_id for row in listed}.isdisjoint({seen})

    before = checksum(empty, "llamalog.log")
    assert backfill.backfill(empty).inferred == {}
    assert checksum(empty, "llamalog.log") == before

    why = "SELECT sentence FROM llamalog.why('{}', '{}')"
    assert value(empty, why.format("ARTIST", artist)) == (
        "ARTIST “Old one” was there already: inferred, nobody saw it come; its row says: when, from MUSICBRAINZ."
    )
    assert value(empty, why.format("ALBUM", seen)).startswith("ALBUM “New” was created by role")
    story = [row.sentence for row in empty.execute(why.format("ALBUM", album).encode()).fetchall()]
    assert [sentence.split(":")[0].split(" by ")[0] for sentence in story] == [
        "ALBUM “Old” was there already",
        "ALBUM “Old” was updated",
    ]


def test_an_inferred_creation_has_the_id_that_capture_would_give(empty):
    """Whatever the session has set: the text of such keys depends on it."""
    migrate.migrate(empty)
    empty.execute("CREATE TABLE spans (span interval PRIMARY KEY, note text)")
    empty.execute("INSERT INTO spans VALUES ('1 day')")
    watching.watch(empty, ["spans"])
    empty.execute("SET IntervalStyle = 'postgres'")
    assert backfill.backfill(empty).inferred == {"SPAN": 1}
    empty.execute("UPDATE spans SET note = 'x'")
    assert lens(empty, "entity_id, category", "entity_type = 'SPAN'") == [
        ("P1D", "CREATED"),
        ("P1D", "UPDATED"),
    ]
    assert backfill.backfill(empty).inferred == {}


@STATES
def test_what_the_legacy_log_saw_created_is_not_inferred(empty, later):
    legacy_log(empty, albums=5, later=later)
    with_entities_that_nobody_saw(empty)
    empty.execute(
        "INSERT INTO albums (id, title, updated_at) VALUES (md5('unseen')::uuid, 'Unseen', '2025-01-01')"
    )
    old(
        empty,
        (
            "enrichment:album",
            {"entity_id": an_id("unseen"), **({"category": "ENRICHED"} if later else {})},
        ),
    )
    adopted(empty)
    assert backfill.preview(empty).inferred == {"ALBUM": 1, "ARTIST": 700}
    assert backfill.backfill(empty).inferred == {"ALBUM": 1, "ARTIST": 700}
    assert lens(empty, "seq, category, source", f"entity_id = '{an_id('unseen')}'") == [
        (-1, "CREATED", "unknown"),
        (1, "ENRICHED", None),
    ]
    assert lens(empty, "seq", "seq < 1") == list(range(-701, 0))
    assert value(empty, "SELECT count(*) FROM llamalog.unknown_provenance") == 701
    assert backfill.backfill(empty).inferred == {}


@STATES
def test_an_application_cannot_pass_its_own_row_off_as_captured_or_as_inferred(empty, later):
    legacy_log(empty, later=later)
    adopted(empty)
    backfill.backfill(empty)
    empty.execute(
        "INSERT INTO albums (id, title, updated_at) VALUES (md5('album')::uuid, 'Own', '2025-01-01')"
    )
    empty.execute("DELETE FROM llama_logs")
    empty.execute(
        "INSERT INTO llama_logs (seq, op, entity_type, entity_id, operation, status, category, source, metadata, before)"
        " VALUES (-5, 'I', 'ALBUM', md5('album')::uuid, 'album:created:unknown', 'SUCCESS', 'CREATED', 'unknown',"
        " '{\"llamalog\": {\"inferred\": true}}', '{}')"
    )
    ((seq, op, before),) = lens(empty, "seq, op, before")
    assert (seq > SINCE_ADOPTION, op, before) == (True, None, None)
    assert value(empty, "SELECT count(*) FROM llamalog.unknown_provenance") == 0
    assert value(
        empty, f"SELECT sentence FROM llamalog.why('ALBUM', '{an_id('album')}')"
    ).startswith("ALBUM “Own” was created")
    assert backfill.backfill(empty).inferred == {}


def test_a_context_that_claims_an_inference_makes_none(database, new):
    with database.transaction():
        database.execute(
            "SELECT llamalog.set_context(source => 'unknown', metadata => '{\"llamalog\": {\"inferred\": true}}')"
        )
        album = new.album(database, "Seen")
    assert value(database, "SELECT count(*) FROM llamalog.unknown_provenance") == 0
    assert "was created" in value(
        database, f"SELECT sentence FROM llamalog.why('ALBUM', '{album}')"
    )


def test_three_thousand_entities_of_a_fresh_installation_twice_and_rerun_after_kill_9(empty):
    music(empty)
    empty.execute(
        "INSERT INTO albums (id, title, created_at, updated_at) SELECT md5('album' || n)::uuid, 'Album ' || n,"
        " timestamp '2024-01-01' + n / 3 * interval '1 hour', '2025-01-01' FROM generate_series(1, 3000) AS n"
    )
    migrate.migrate(empty)
    watching.watch(empty, MUSIC_TABLES)
    query = "SELECT id::text FROM albums ORDER BY created_at, id"
    by_age = [row[0] for row in empty.execute(query.encode()).fetchall()]
    partial = 0
    count = "SELECT count(*) FROM llamalog.unknown_provenance"
    for wait in (0.0, 0.2, 0.5):
        before, until = value(empty, count), time.monotonic() + 60
        worker = start_backfill(dsn_of(empty), "--batch-size", "40", "--sleep", "0.02")
        while value(empty, count) == before and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(wait)
        worker.kill()
        worker.communicate()
        until_alone(empty)
        done = value(empty, count)
        partial += 0 < done < 3000
        # the newest are there, without a gap
        assert lens(empty, "entity_id", "seq < 1") == by_age[3000 - done :]
    assert partial > 0
    backfill.backfill(empty)
    assert lens(empty, "seq, entity_id", "seq < 1") == list(
        zip(range(-3000, 0), by_age, strict=True)
    )
    before = checksum(empty, "llamalog.log")
    assert backfill.backfill(empty).inferred == {}
    assert checksum(empty, "llamalog.log") == before


def test_entities_made_and_deleted_meanwhile_make_no_error_and_no_wrong_row(empty, connect, new):
    music(empty)
    with_entities_that_nobody_saw(empty)
    migrate.migrate(empty)
    watching.watch(empty, MUSIC_TABLES)
    there = {str(row[0]) for row in empty.execute("SELECT id FROM artists").fetchall()}
    conn, stop, made = connect(empty), threading.Event(), set()

    def write():
        n = 0
        while not stop.is_set() and n < 700:
            n += 1
            made.add(new.artist(conn, f"New {n}"))
            conn.execute("DELETE FROM artists WHERE id = md5(%s)::uuid", [f"artist{n}"])
            conn.execute(
                "UPDATE artists SET id = gen_random_uuid() WHERE id = md5(%s)::uuid",
                [f"artist{701 - n}"],
            )

    writing = in_background(write)
    try:
        time.sleep(0.05)
        for _ in range(3):
            backfill.backfill(empty, pace=backfill.Pace(batch_size=20, sleep=0.002))
    finally:
        stop.set()
    writing()
    backfill.backfill(empty)
    known = [
        row[0]
        for row in empty.execute("SELECT entity_id FROM llamalog.unknown_provenance").fetchall()
    ]
    assert len(known) == len(set(known))
    assert set(known) <= there
    unseen = "SELECT count(*) FROM ({}) AS unseen"
    assert value(empty, unseen.format(value(empty, "SELECT llamalog.unseen_query('ARTIST')"))) == 0
    assert (
        value(
            empty,
            "SELECT count(*) FROM llamalog.log AS a JOIN llamalog.log AS b USING (entity_type, entity_id)"
            " WHERE a.seq < 1 AND b.seq < a.seq",
        )
        == 0
    )


# -- the command line -------------------------------------------------------------------------------------------------


def test_progress_goes_to_stderr_and_the_answer_to_stdout(empty, llamalog):
    legacy_log(empty, ("polish:album", {}), job("a", "a"), albums=20)
    adopted(empty)
    planned = llamalog("backfill", "--dry-run")
    assert planned.exit_code == 0
    assert planned.stdout.splitlines()[0] == "262 rows would be numbered and classified"
    done = llamalog("backfill")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:5]] == [
        ["262", "rows", "numbered", "and", "classified"],
        ["CREATED", "220"],
        ["ENRICHED", "40"],
        ["FAILED", "1"],
        ["UPDATED", "1"],
    ]
    assert "1 job that would be its own parent" in lines
    assert (
        "1 row of polish:album, which no rule knows: as the application has them, else UPDATED"
        in lines
    )
    assert any("262 of 262 rows" in line for line in done.stderr.splitlines())
    assert "add a rule to llamalog.category_rules, then run llamalog backfill again" in done.stderr

    again = llamalog("backfill", "--format", "json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)[0]["categories"] == {}
    assert again.stderr == ""


def test_it_works_without_an_adopted_log(empty, llamalog, new):
    refused = llamalog("backfill")
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert "llamalog is not installed" in refused.stderr
    music(empty)
    new.album(empty)
    migrate.migrate(empty)
    watching.watch(empty, MUSIC_TABLES)
    for option, text in (
        (["--dry-run"], "1 ALBUM: would be inferred, nobody saw them come"),
        ([], "1 ALBUM: inferred, nobody saw them come"),
    ):
        done = llamalog("backfill", *option)
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, text)
    sql = llamalog("backfill", "--sql")
    assert sql.exit_code == 0
    assert "FROM public.albums" in sql.stdout.replace('"', "")


@pytest.mark.parametrize(
    "option",
    [
        ["--batch-size", "0"],
        ["--batch-size", "many"],
        ["--sleep", "-1"],
        ["--sleep", "61"],
        ["--lock-timeout", "0"],
        ["--lock-timeout", "soon"],
    ],
    ids=" ".join,
)
def test_misuse_exits_2(llamalog, option):
    refused = llamalog("backfill", *option)
    assert refused.exit_code == 2
    assert refused.stdout == ""
    assert option[0] in refused.stderr


def test_batches_are_no_larger_than_asked(empty):
    legacy_log(empty, albums=10)
    adopted(empty)
    backfill.backfill(empty, pace=backfill.Pace(batch_size=3))
    largest = (
        "SELECT max(rows) FROM (SELECT count(*) AS rows FROM llama_logs GROUP BY xmin) AS batch"
    )
    assert value(empty, largest) == 3
