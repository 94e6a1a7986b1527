"""Live rows follow from the log, or reconcile names what does not: every write that no capture saw, and no other."""

from __future__ import annotations

import csv
import io
import json
import random
import re
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime

import psycopg
import pytest
import test_cli
import test_properties
from conftest import default, sampled
from hypothesis import given, note
from hypothesis import strategies as st
from test_properties import PROFILE, statements, variants, write

from llamalog_sql import backfill, migrate, reconciling, retention, watching
from llamalog_sql.errors import LlamaLogError, Misuse, NotWatched, UnknownEntityType
from llamalog_sql.reconciling import Pace, Place, Tally
from llamalog_sql.watching import Options

pytest_plugins = ["adopting"]
llamalog = test_cli.llamalog

EVER = datetime(2000, 1, 1, tzinfo=UTC)
migrated, watched = test_properties.migrated, test_properties.watched


@contextmanager
def unseen(conn):
    """What is written inside, no capture sees."""
    conn.execute("SET session_replication_role = replica")
    yield
    conn.execute("SET session_replication_role = origin")


def shop(conn, options=None):
    conn.execute(
        'CREATE TABLE "Goods" (id integer PRIMARY KEY, name text, "Price" numeric, email text, updated_at timestamptz)'
    )
    watching.watch(conn, ["Goods"], options or Options(entity_type="GOOD"))


def found(conn, *kinds, **options):
    """What does not follow from the log: type, key, verdict and field of each row."""
    return [
        (f.entity_type, f.entity_id, f.verdict, f.field) for f in findings(conn, *kinds, **options)
    ]


def findings(conn, *kinds, **options):
    tally = options.pop("tally", Tally())
    batches = reconciling.reconcile(
        conn, kinds or reconciling.types(conn), tally, **{"pace": Pace(batch=2), **options}
    )
    return [finding for batch in batches for finding in batch]


def test_since_looks_at_no_row_that_the_log_has_not_touched_since(db):
    shop(db)
    db.execute(
        """INSERT INTO "Goods" VALUES (1, 'old', 1, NULL, NULL), (2, 'new', 2, NULL, NULL)"""
    )
    with unseen(db):
        db.execute("""UPDATE "Goods" SET email = 'unseen'""")
    ((since,),) = db.execute("SELECT clock_timestamp()").fetchall()
    db.execute("""UPDATE "Goods" SET "Price" = 3 WHERE id = 2""")
    assert found(db, "GOOD", since=since, pace=Pace()) == [("GOOD", "2", "changed", "email")]


# -- what agrees ------------------------------------------------------------------------------------------------------


def test_whatever_was_captured_agrees(each_db, new):
    db, tally = each_db, Tally()
    album, artist, other = new.album(db), new.artist(db), new.artist(db, "Björk")
    new.link(db, album, artist)
    for number in range(5):
        new.track(db, album, f"Track {number}", number)
    db.execute("UPDATE tracks SET title = upper(title), energy = '-0' WHERE track_number < 3")
    db.execute("UPDATE artists SET id = gen_random_uuid() WHERE id = %s", [other])
    db.execute("DELETE FROM tracks WHERE track_number = 4")
    db.execute("UPDATE albums SET label = 'XL', metadata = '{\"a\": null}', genres = '{rock}'")
    assert found(db, tally=tally) == []
    assert {kind: dict(count) for kind, count in tally.counts.items()} == {
        "ALBUM": {"agrees": 1}, "ARTIST": {"agrees": 2}, "TRACK": {"agrees": 4},
        "ALBUM_ARTIST": {"agrees": 1}, "TRACK_ARTIST": {},
    }  # fmt: skip


def keys(conn, kind, verdict):
    rows = conn.execute("SELECT entity_id, verdict FROM llamalog.reconcile(%s)", [kind])
    return {row[0] for row in rows if row[1] == verdict}


@pytest.mark.parametrize(
    "watched", sampled(variants("types", "family", "partitions", "triggers"), 9), indirect=True
)
@PROFILE
@given(data=st.data())
def test_whatever_is_written_agrees_until_it_is_deleted_unseen(watched, data):
    """Keys and values of every kind, and statements of every kind; rows of before the watch are not known."""
    texts = data.draw(statements(watched.scene), label="statements")
    conn = watched.conn
    specs = {spec.entity_type: spec for spec in test_properties.SCENES[watched.scene].specs}
    kinds = list(specs)
    with conn.transaction(force_rollback=True):
        write(watched, texts, note)
        assert {f.verdict for f in findings(conn, *kinds, is_deep=True, pace=Pace())} <= {"unknown"}
        assert findings(conn, *kinds, since=EVER, pace=Pace()) == []
        agreed = {(kind, key, "went", None) for kind in kinds for key in keys(conn, kind, "agrees")}
        with unseen(conn):
            for kind in kinds:
                conn.execute(f"DELETE FROM {specs[kind].name}")
        assert set(found(conn, *kinds, pace=Pace())) == agreed
        assert set(found(conn, *kinds, since=EVER, pace=Pace())) == agreed


def test_writers_beside_it_make_no_false_finding(database, connect, new):
    """Each batch is of one snapshot: rows and log rows of a transaction are both there or both not."""
    database.execute(
        "CREATE TABLE events (id integer, region text, size numeric, PRIMARY KEY (id, region))"
        " PARTITION BY LIST (region); CREATE TABLE north PARTITION OF events FOR VALUES IN ('north');"
        " CREATE TABLE south PARTITION OF events FOR VALUES IN ('south')"
    )
    shop(database)
    watching.watch(database, ["events"], Options())
    album, artist, failures = new.album(database), new.artist(database), []
    kinds = ("GOOD", "EVENT", "ALBUM_ARTIST")

    def hammer(seed):
        conn, chance = connect(database), random.Random(seed)
        try:
            for _ in range(150):
                # others than the other writer's, so that none waits
                key = chance.randrange(20) * 2 + seed
                with conn.transaction(force_rollback=chance.random() < 0.1):
                    conn.execute(
                        chance.choice(
                            [
                                "INSERT INTO \"Goods\" VALUES (%(key)s, 'tea', 1) ON CONFLICT DO NOTHING",
                                'UPDATE "Goods" SET "Price" = "Price" + 1 WHERE id = %(key)s',
                                'DELETE FROM "Goods" WHERE id = %(key)s',
                                'UPDATE "Goods" SET id = id + 1000 WHERE id = %(key)s'
                                ' AND NOT EXISTS (SELECT FROM "Goods" WHERE id = %(key)s + 1000)',
                                "INSERT INTO events VALUES (%(key)s, 'north', 1) ON CONFLICT DO NOTHING",
                                "UPDATE events SET region = 'south', size = size + 1 WHERE id = %(key)s AND region = 'north'"
                                " AND NOT EXISTS (SELECT FROM south WHERE south.id = %(key)s)",
                                "DELETE FROM events WHERE id = %(key)s",
                                "INSERT INTO album_artists VALUES (%(album)s, %(artist)s, 'no ' || %(key)s) ON CONFLICT DO NOTHING",
                                "UPDATE album_artists SET position = %(key)s WHERE role = 'no ' || %(key)s",
                                "DELETE FROM album_artists WHERE role = 'no ' || %(key)s",
                            ]
                        ),
                        {"key": key, "album": album, "artist": artist},
                    )
        except psycopg.Error as error:  # a writer that has stopped proves nothing
            failures.append(error)

    writers = [threading.Thread(target=hammer, args=[seed]) for seed in range(2)]
    reader = reconciling.ready(connect(database))
    for writer in writers:
        writer.start()
    told, checked, is_over = [], 0, False
    while not is_over:
        is_over = not any(writer.is_alive() for writer in writers)  # and once more
        tally = Tally()
        told += found(reader, *kinds, tally=tally, pace=Pace(7))
        told += found(reader, *kinds, since=EVER, pace=Pace(50))
        checked += tally.count()
    assert failures == []
    assert told == []
    assert checked > 0
    assert found(reader, *kinds, is_deep=True, pace=Pace(50)) == []


def test_whatever_it_calls_sees_no_more_than_its_caller(db):
    """Why the writers of the test before cannot show a half of what they did: functions that are not VOLATILE take no snapshot of
    their own, whatever the isolation, so that all that a call reads is of the one that it began with.
    """
    sources = dict(
        db.execute(
            "SELECT proname, CASE WHEN provolatile <> 'v' THEN coalesce(pg_get_function_sqlbody(oid), prosrc) END"
            " FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
        ).fetchall()
    )
    called, todo = set(), [name for name in sources if re.match(r"reconcile(_log)?$|read_", name)]
    while todo:
        name = todo.pop()
        called.add(name)
        assert sources[name] is not None, f"{name}() is VOLATILE"
        todo += {n for n in re.findall(r"llamalog\.(\w+)\(", sources[name]) if n not in called}
    assert {"reconciled_rows", "reconciled_row", "breaks", "live_row", "key_text"} <= called


@pytest.mark.parametrize("statement", ["TRUNCATE", "ALTER TYPE"])
def test_a_table_that_is_emptied_or_rewritten_meanwhile_makes_no_false_finding(
    database, connect, statement
):
    shop(database)
    database.execute("""INSERT INTO "Goods" (id, name) VALUES (1, 'tea'), (2, 'rice')""")
    reader = reconciling.ready(connect(database))
    told = []
    with database.transaction():
        if statement == "TRUNCATE":
            database.execute('TRUNCATE "Goods"')
        else:
            database.execute('ALTER TABLE "Goods" ALTER id TYPE bigint')
        looking = threading.Thread(target=lambda: told.append(found(reader, "GOOD", since=EVER)))
        looking.start()
        while not database.execute(
            "SELECT pid FROM pg_locks WHERE pid = %s AND NOT granted", [reader.info.backend_pid]
        ).fetchone():
            time.sleep(0.01)
    looking.join()
    assert told == [[]]


def test_a_transaction_that_is_not_committed_is_not_there(database, connect):
    shop(database)
    database.execute("""INSERT INTO "Goods" (id, name) VALUES (1, 'tea'), (2, 'rice')""")
    writer = connect(database)
    with writer.transaction():
        writer.execute("""UPDATE "Goods" SET name = 'x' WHERE id = 1""")
        writer.execute("""DELETE FROM "Goods" WHERE id = 2""")
        writer.execute("""INSERT INTO "Goods" (id) VALUES (3)""")
        assert found(database, "GOOD") == []
        assert found(writer, "GOOD") == []
    assert found(database, "GOOD") == []


def test_it_runs_read_only(database, connect, new):
    new.album(database)
    reader = reconciling.ready(connect(database))
    assert found(reader) == []
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), reader.transaction():
        reader.execute("DELETE FROM albums")


# -- what does not ----------------------------------------------------------------------------------------------------


@default("image")
def test_each_write_that_no_capture_saw_is_named(each_db):
    db, tally = each_db, Tally()
    shop(db)
    db.execute("""INSERT INTO "Goods" SELECT n, 'tea', 1.0 FROM generate_series(1, 8) AS n""")
    db.execute("""UPDATE "Goods" SET name = 'rice', "Price" = 2.0 WHERE id <= 4""")
    db.execute("""DELETE FROM "Goods" WHERE id = 8""")
    seqs = dict(
        db.execute(
            "SELECT entity_id, max(seq) FROM llamalog.log WHERE entity_type = 'GOOD' GROUP BY 1"
        ).fetchall()
    )
    with unseen(db):
        db.execute("""UPDATE "Goods" SET "Price" = 2.00, name = 'x' WHERE id = 1""")
        db.execute("""UPDATE "Goods" SET "Price" = 2.00 WHERE id = 2""")
        db.execute("""UPDATE "Goods" SET "Price" = NULL WHERE id IN (3, 6)""")
        db.execute("""UPDATE "Goods" SET email = 'a@b' WHERE id = 4""")
        db.execute("""DELETE FROM "Goods" WHERE id = 7""")
        db.execute("""INSERT INTO "Goods" (id) VALUES (8), (9)""")
    said = findings(db, "GOOD", tally=tally)
    assert [
        (f.entity_id, f.verdict, f.field, str(f.left_value), str(f.found), f.after_seq)
        for f in said
    ] == [
        ("1", "changed", "name", "rice", "x", seqs["1"]),
        ("2", "changed", "Price", "2.0", "2.00", seqs["2"]),
        ("3", "changed", "Price", "2.0", "None", seqs["3"]),
        # of the fields that it left empty, and of those that it did not, a creation has the names
        ("4", "changed", "email", "None", "a@b", seqs["5"] - 1),
        ("6", "changed", "Price", "None", "None", seqs["6"]),
        ("8", "came", None, "None", "None", seqs["8"]),
        ("9", "unknown", None, "None", "None", None),
        ("7", "went", None, "None", "None", seqs["7"]),
    ]
    assert tally.counts["GOOD"] == {"agrees": 1, "changed": 5, "came": 1, "unknown": 1, "went": 1}
    # what the log has not touched is not looked at
    assert sorted(found(db, "GOOD", since=EVER)) == sorted(
        (f.entity_type, f.entity_id, f.verdict, f.field) for f in said if f.verdict != "unknown"
    )


BYPASSES = {
    "a trigger that is disabled": (
        'ALTER TABLE "Goods" DISABLE TRIGGER USER; UPDATE "Goods" SET name = NULL; ALTER TABLE "Goods" ENABLE TRIGGER USER',
        ("changed", "name"),
    ),
    "ALTER TYPE USING": (
        'ALTER TABLE "Goods" ALTER "Price" TYPE numeric USING "Price" * 2',
        ("changed", "Price"),
    ),
    "ALTER TYPE that rounds": (
        'ALTER TABLE "Goods" ALTER "Price" TYPE numeric(10, 1)',
        ("changed", "Price"),
    ),
    "TRUNCATE as a replica": (
        'SET session_replication_role = replica; TRUNCATE "Goods"; RESET session_replication_role',
        ("went", None),
    ),
    "rows restored as a replica": (
        'SET session_replication_role = replica; DELETE FROM "Goods"; INSERT INTO "Goods" VALUES (1, \'coffee\', 1.25);'
        " RESET session_replication_role",
        ("changed", "name"),
    ),
}


@pytest.mark.parametrize("bypass", BYPASSES)
def test_every_way_around_capture_is_found(db, bypass):
    statements, finding = BYPASSES[bypass]
    shop(db)
    db.execute("""INSERT INTO "Goods" VALUES (1, 'x', 1)""")
    db.execute("""UPDATE "Goods" SET name = 'tea', "Price" = 1.25""")
    db.execute(statements)
    assert found(db, "GOOD") == [("GOOD", "1", *finding)]


def test_rows_that_came_with_a_partition_are_not_known(db):
    db.execute(
        "CREATE TABLE events (id integer PRIMARY KEY, note text) PARTITION BY RANGE (id);"
        " CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (100)"
    )
    watching.watch(db, ["events"], Options())
    db.execute("INSERT INTO events VALUES (1, 'a')")
    db.execute(
        "CREATE TABLE high (id integer PRIMARY KEY, note text); INSERT INTO high VALUES (100, 'b')"
    )
    db.execute("ALTER TABLE events ATTACH PARTITION high FOR VALUES FROM (100) TO (200)")
    assert found(db, "EVENT") == [("EVENT", "100", "unknown", None)]


def test_of_a_later_column_it_is_said_that_no_change_filled_it(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" (id) VALUES (1), (2), (3)""")
    db.execute("""ALTER TABLE "Goods" ADD code float DEFAULT random(), ADD note text""")
    db.execute("""UPDATE "Goods" SET code = 1 WHERE id = 2""")
    db.execute("""INSERT INTO "Goods" (id) VALUES (4)""")
    tally = Tally()
    assert found(db, "GOOD", tally=tally) == []
    assert tally.unexplained == {("GOOD", "code"): 2}
    with unseen(db):
        db.execute("""UPDATE "Goods" SET note = 'x', code = NULL WHERE id = 4""")
    assert found(db, "GOOD") == [("GOOD", "4", "changed", "code")]


def test_a_column_is_followed_through_its_names(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" (id, name) VALUES (1, 'a'), (2, 'b')""")
    db.execute("""UPDATE "Goods" SET name = 'tea' WHERE id = 1""")
    db.execute("""ALTER TABLE "Goods" RENAME name TO title""")
    db.execute("""ALTER TABLE "Goods" ADD name text DEFAULT 'another'""")
    assert found(db, "GOOD") == []
    with unseen(db):
        db.execute("""UPDATE "Goods" SET title = CASE id WHEN 1 THEN 'x' END, name = 'y'""")
    assert found(db, "GOOD") == [
        ("GOOD", "1", "changed", "title"),
        ("GOOD", "2", "changed", "title"),
    ]
    db.execute("""ALTER TABLE "Goods" DROP title""")
    assert found(db, "GOOD") == []


def test_a_row_that_came_between_a_new_name_and_the_look_that_noticed_it_agrees(db):
    shop(db, Options(entity_type="GOOD", capture="tolerant"))
    db.execute("ALTER EVENT TRIGGER llamalog_ddl DISABLE")
    db.execute("""ALTER TABLE "Goods" RENAME name TO title""")
    db.execute("""INSERT INTO "Goods" (id, title) VALUES (1, 'a'), (2, NULL), (3, 'c')""")
    migrate.migrate(db)
    assert found(db, "GOOD") == []
    with unseen(db):
        db.execute(
            """UPDATE "Goods" SET title = CASE WHEN title IS NULL THEN 'x' END WHERE id < 3"""
        )
    assert found(db, "GOOD") == [
        ("GOOD", "1", "changed", "title"),
        ("GOOD", "2", "changed", "title"),
    ]


def test_ignored_and_redacted_columns_are_left_out(db):
    shop(db, Options(entity_type="GOOD", redact=["email"]))
    db.execute("""INSERT INTO "Goods" (id, email, updated_at) VALUES (1, 'a@b', now())""")
    db.execute("""UPDATE "Goods" SET email = 'c@d', name = 'x'""")
    with unseen(db):
        db.execute("""UPDATE "Goods" SET email = NULL, updated_at = NULL""")
    assert found(db, "GOOD") == []
    # what was stored while it was redacted says nothing when it no longer is
    watching.watch(db, ["Goods"], Options(entity_type="GOOD", redact=["none"]))
    assert found(db, "GOOD") == []


def test_gaps_within_the_history_are_found_where_they_are_looked_for(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" (id) VALUES (1), (2)""")
    db.execute("""UPDATE "Goods" SET name = 'a'""")
    with unseen(db):
        db.execute("""UPDATE "Goods" SET name = 'b' WHERE id = 1""")
    db.execute("""UPDATE "Goods" SET name = 'c'""")
    assert found(db, "GOOD") == []
    (gap,) = findings(db, "GOOD", is_deep=True)
    assert (gap.entity_id, gap.verdict, gap.field) == ("1", "gap", "name")
    assert (gap.left_value, gap.found) == ("a", "b")
    assert gap.after_seq < gap.found_seq


def test_a_row_is_followed_through_its_keys(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" (id, name) SELECT n, 'x' FROM generate_series(1, 5) AS n""")
    db.execute("""UPDATE "Goods" SET name = 'tea'""")
    db.execute("""UPDATE "Goods" SET id = id + 10""")
    db.execute("""INSERT INTO "Goods" (id) VALUES (1)""")
    assert found(db, "GOOD") == []
    with unseen(db):
        db.execute("""UPDATE "Goods" SET name = 'rice' WHERE id = 11""")
        db.execute("""DELETE FROM "Goods" WHERE id = 12""")
        db.execute("""INSERT INTO "Goods" (id) VALUES (3)""")
    gone = db.execute("SELECT seq FROM llamalog.log WHERE entity_id = '13' AND previous_id = '3'")
    said = findings(db, "GOOD")
    assert [(f.entity_id, f.verdict, f.field) for f in said] == [
        ("3", "came", None),
        ("11", "changed", "name"),
        ("12", "went", None),
    ]
    assert said[0].after_seq == gone.fetchone()[0]


def test_links_are_told_by_their_key(each_db, new):
    db = each_db
    album, other, third = new.album(db), new.album(db, "Homogenic"), new.album(db, "Debut")
    radiohead, bjork = new.artist(db), new.artist(db, "Björk")
    for artist, role in ((radiohead, "primary"), (bjork, "primary"), (bjork, "guest")):
        new.link(db, album, artist, role)
    new.link(db, other, bjork)
    new.link(db, third, bjork)
    # whose position it is, of the roles between two ends, the log does not say: none is held to it
    db.execute("UPDATE album_artists SET position = 7 WHERE album_id = %s", [album])
    db.execute("UPDATE album_artists SET role = 'choir' WHERE role = 'guest'")
    db.execute("UPDATE artists SET id = gen_random_uuid() WHERE id = %s", [radiohead])
    db.execute("UPDATE albums SET id = gen_random_uuid() WHERE id = %s", [other])
    assert found(db, "ALBUM_ARTIST", is_deep=True) == []
    assert found(db, "ALBUM_ARTIST", since=EVER) == []
    with unseen(db):
        db.execute("UPDATE album_artists SET position = 8")
        db.execute("DELETE FROM album_artists WHERE role = 'choir'")
        db.execute(
            "INSERT INTO album_artists VALUES (%(album)s, %(artist)s, 'guest'), (%(album)s, %(artist)s, 'new')",
            {"album": album, "artist": bjork},
        )
    expected = [
        ("ALBUM_ARTIST", f"{third},{bjork},primary", "changed", "position"),
        ("ALBUM_ARTIST", f"{album},{bjork},guest", "came", None),
        ("ALBUM_ARTIST", f"{album},{bjork},choir", "went", None),
    ]
    assert sorted(found(db, "ALBUM_ARTIST", since=EVER)) == sorted(expected)
    unknown = ("ALBUM_ARTIST", f"{album},{bjork},new", "unknown", None)
    assert sorted(found(db, "ALBUM_ARTIST")) == sorted([*expected, unknown])


# -- what it cannot know ----------------------------------------------------------------------------------------------


def test_rows_of_before_the_watch_are_not_known_until_backfill_notes_them(database):
    database.execute("CREATE TABLE goods (id integer PRIMARY KEY, name text)")
    database.execute("INSERT INTO goods VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    watching.watch(database, ["goods"], Options())
    database.execute("UPDATE goods SET name = 'd' WHERE id = 2")
    assert found(database, "GOOD") == [
        ("GOOD", "1", "unknown", None),
        ("GOOD", "3", "unknown", None),
    ]
    backfill.backfill(database)
    assert found(database, "GOOD") == []
    with unseen(database):
        database.execute("INSERT INTO goods VALUES (4)")
        database.execute("UPDATE goods SET name = 'e' WHERE id = 2")
        database.execute("DELETE FROM goods WHERE id = 3")
    assert found(database, "GOOD") == [
        ("GOOD", "2", "changed", "name"),
        ("GOOD", "4", "unknown", None),
        ("GOOD", "3", "went", None),
    ]


def test_what_an_application_claims_hides_no_row_that_no_capture_saw(database):
    database.execute("CREATE TABLE goods (id integer PRIMARY KEY, name text)")
    watching.watch(database, ["goods"], Options())
    with unseen(database):
        database.execute("INSERT INTO goods VALUES (1, 'a')")
    database.execute(
        "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category, source, metadata)"
        """ VALUES ('GOOD', '1', 'claim', 'CREATED', 'unknown', '{"llamalog": {"inferred": true}}')"""
    )
    told = "SELECT sentence FROM llamalog.why('GOOD', '1') ORDER BY seq"
    assert found(database, "GOOD") == [("GOOD", "1", "unknown", None)]
    assert database.execute("SELECT count(*) FROM llamalog.unknown_provenance").fetchone() == (0,)
    assert [text for (text,) in database.execute(told)] == [
        "GOOD “a”: claim (SUCCESS) through unknown."
    ]
    backfill.backfill(database)
    assert database.execute("SELECT count(*) FROM llamalog.unknown_provenance").fetchone() == (1,)
    assert found(database, "GOOD") == []


@pytest.mark.slow
def test_an_adopted_log_knows_what_it_tells_of(later_adopted):
    conn = later_adopted
    kinds = ("ALBUM", "ARTIST", "TRACK")
    backfill.backfill(conn)
    assert found(conn, *kinds, pace=Pace()) == []
    conn.execute("UPDATE albums SET label = 'XL'; DELETE FROM tracks")
    assert found(conn, *kinds, pace=Pace()) == found(conn, *kinds, since=EVER, pace=Pace()) == []
    with unseen(conn):
        (album,) = conn.execute(
            "UPDATE albums SET label = 'x' WHERE id = (SELECT min(id::text)::uuid FROM albums) RETURNING id::text"
        ).fetchone()
    changed = [("ALBUM", album, "changed", "label")]
    assert found(conn, *kinds, pace=Pace()) == changed
    assert found(conn, *kinds, since=EVER, pace=Pace()) == changed


def test_what_happened_while_nobody_watched_contradicts_nothing(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" (id, name) VALUES (1, 'a'), (2, 'a'), (3, 'a')""")
    db.execute("""UPDATE "Goods" SET name = 'b'; DELETE FROM "Goods" WHERE id = 3""")
    watching.unwatch(db, ["Goods"])
    with pytest.raises(NotWatched, match="GOOD is not watched"), db.transaction():
        found(db, "GOOD")
    db.execute("""UPDATE "Goods" SET name = 'c'; DELETE FROM "Goods" WHERE id = 2""")
    db.execute("""INSERT INTO "Goods" (id) VALUES (3)""")
    watching.watch(db, ["Goods"], Options(entity_type="GOOD"))
    assert found(db, "GOOD") == [("GOOD", "3", "unknown", None)]
    db.execute("""UPDATE "Goods" SET name = 'd'""")
    assert found(db, "GOOD") == []


def test_what_is_archived_is_held_against_nobody(database, tmp_path):
    shop(database)
    database.execute(
        """INSERT INTO "Goods" (id, name) SELECT n, 'a' FROM generate_series(1, 5) AS n"""
    )
    database.execute("""UPDATE "Goods" SET name = NULL""")
    age(database, 36)
    database.execute("""UPDATE "Goods" SET "Price" = 1 WHERE id = 1""")
    database.execute("""DELETE FROM "Goods" WHERE id = 2""")
    age(database, 30)
    retention.keep(database, retention.Policy(24), tmp_path)
    database.execute("""UPDATE "Goods" SET email = 'a@b' WHERE id = 3""")
    assert found(database, "GOOD") == []
    with unseen(database):
        database.execute("""UPDATE "Goods" SET email = 'x'""")
        database.execute("""DELETE FROM "Goods" WHERE id = 4""")
    assert found(database, "GOOD") == [("GOOD", "3", "changed", "email")]


def age(conn, months):
    """Make what is of this minute as many months old."""
    conn.execute(
        "UPDATE llamalog.llama_logs SET created_at = created_at - make_interval(months => %s)"
        " WHERE created_at > now() - interval '1 day'",
        [months],
    )
    conn.execute(
        "UPDATE llamalog.watches SET watched_at = least(watched_at, now() - interval '4 years')"
    )
    migrate.maintain(conn)


# -- keys, batches and places -----------------------------------------------------------------------------------------

KEYS = {
    "integer": ("id integer PRIMARY KEY", ["-1", "2", "10"]),
    "text": ("id text PRIMARY KEY", ["''", "'a,b'", "'it''s'", "E'\\\\'", "'%s'", "'é'"]),
    "long text": ("id text PRIMARY KEY", ["repeat('a', 1500)", "repeat('b', 1500)", "'c'"]),
    "numeric": ("id numeric PRIMARY KEY", ["1.0", "2.50", "'NaN'", "-1"]),
    "time": (
        "id timestamptz PRIMARY KEY",
        ["'2026-01-01 12:00+05'", "'infinity'", "'0044-03-15 12:00:00+00 BC'"],
    ),
    "char": ("id char(5) PRIMARY KEY", ["'a'", "'b '", "''"]),
    "enum": ("id mood PRIMARY KEY", ["'sad'", "'a,b'", "'glad'"]),
    "domain": ("id grade PRIMARY KEY", ["1", "20", "3"]),
    "array": ("id integer[] PRIMARY KEY", ["'{1,2}'", "'{}'", "'{10}'"]),
    "composite": (
        'id integer, "Room, no" text, at date, PRIMARY KEY ("Room, no", at, id)',
        ["1, 'a,b', '2026-01-01'", "1, 'a', '2026-01-01'", "2, 'a', '2026-01-02'", "10, E'\\\\', 'infinity'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEYS)
def test_batches_meet_each_row_once_whatever_its_key(db, kind):
    columns, rows = KEYS[kind]
    db.execute("CREATE TYPE mood AS ENUM ('sad', 'glad', 'a,b'); CREATE DOMAIN grade AS integer")
    db.execute(f"CREATE TABLE shelf ({columns})")
    watching.watch(db, ["shelf"], Options(entity_type="SHELF"))
    for row in rows:
        db.execute(f"INSERT INTO shelf VALUES ({row})")
    for size in (1, 2, len(rows)):
        tally = Tally()
        assert found(db, "SHELF", tally=tally, pace=Pace(size)) == []
        assert tally.counts["SHELF"] == {"agrees": len(rows)}
    assert found(db, "SHELF", since=EVER) == []
    with unseen(db):
        db.execute("DELETE FROM shelf")
    assert {verdict for _, _, verdict, _ in found(db, "SHELF")} == {"went"}
    assert len(found(db, "SHELF", since=EVER)) == len(rows)


@default("image")
def test_ids_that_are_older_than_the_type_of_the_key_are_no_error(db):
    db.execute("CREATE TABLE goods (id text PRIMARY KEY)")
    watching.watch(db, ["goods"], Options())
    db.execute("INSERT INTO goods VALUES ('abc'), ('7'), ('8')")
    db.execute("DELETE FROM goods WHERE id = 'abc'")
    db.execute("ALTER TABLE goods ALTER id TYPE integer USING id::integer")
    assert found(db, "GOOD") == found(db, "GOOD", since=EVER) == []
    with unseen(db):
        db.execute("DELETE FROM goods WHERE id = 8")
    assert found(db, "GOOD") == found(db, "GOOD", since=EVER) == [("GOOD", "8", "went", None)]


def test_a_run_that_stops_goes_on_where_it_stopped(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" (id) SELECT generate_series(1, 9)""")
    with unseen(db):
        db.execute("""DELETE FROM "Goods" WHERE id = 4""")
    seen, place, runs = Tally(), Place("GOOD"), 0
    while place is not None:
        tally = Tally()
        findings(db, "GOOD", tally=tally, start=place, pace=Pace(3, rows=3))
        seen.counts.setdefault("GOOD", {}).update(
            {
                verdict: seen.counts["GOOD"].get(verdict, 0) + count
                for verdict, count in tally.counts["GOOD"].items()
            }
        )
        place, runs = tally.stopped_at, runs + 1
    assert seen.counts["GOOD"] == {"agrees": 8, "went": 1}
    assert runs > 2
    stopped = Tally()
    findings(db, "GOOD", "ALBUM", "TRACK", tally=stopped, pace=Pace(5, seconds=0))
    assert (stopped.stopped_at, stopped.types_left) == (Place("GOOD", "6"), ("ALBUM", "TRACK"))


# -- errors -----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_asked_is_an_error(db):
    shop(db)
    db.execute("CREATE TABLE pairs (a integer, b integer, PRIMARY KEY (a, b))")
    watching.watch(db, ["pairs"], Options(entity_type="PAIR"))
    expected = {
        ("ALBM",): UnknownEntityType,
        ("GOOD", "abc"): "22P02",
        ("PAIR", "1,2,3"): "22P02",
        ("GOOD", None, 0): Misuse,
    }
    for arguments, error in expected.items():
        marks = ", ".join(["%s"] * len(arguments))
        with pytest.raises(psycopg.Error) as raised, db.transaction():
            db.execute(f"SELECT * FROM llamalog.reconcile({marks})", arguments)
        code = error if isinstance(error, str) else error.code
        assert (raised.value.sqlstate, bool(raised.value.diag.message_hint)) == (code, True)


def test_a_cut_key_to_go_on_after_must_be_there(db):
    db.execute("CREATE TABLE goods (id text PRIMARY KEY)")
    watching.watch(db, ["goods"], Options())
    db.execute("INSERT INTO goods VALUES (repeat('a', 2000)), ('b')")
    (key, _) = keys_of(db)
    assert found(db, "GOOD", start=Place("GOOD", key)) == []
    db.execute("DELETE FROM goods WHERE id <> 'b'")
    with (
        pytest.raises(LlamaLogError, match="no GOOD has the key to go on after") as raised,
        db.transaction(),
    ):
        found(db, "GOOD", start=Place("GOOD", key))
    assert raised.value.sqlstate == "P0002"


def keys_of(conn):
    return [row[0] for row in conn.execute("SELECT entity_id FROM llamalog.reconcile('GOOD')")]


def test_a_table_that_has_lost_its_key_waits_for_migrate(db):
    shop(db)
    db.execute("SET LOCAL session_replication_role = replica")  # event triggers would see it
    db.execute("""ALTER TABLE "Goods" DROP id""")
    with pytest.raises(LlamaLogError, match="the key of GOOD is no longer there") as raised:
        found(db, "GOOD")
    assert (raised.value.sqlstate, raised.value.hint) == ("42703", "Run: llamalog migrate")


def test_a_table_that_is_gone_is_not_watched(db):
    shop(db)
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute("""DROP TABLE "Goods" """)
    with pytest.raises(NotWatched) as raised:
        found(db, "GOOD")
    assert raised.value.detail == 'Table "public"."Goods" is gone.'


def test_whom_row_security_hides_rows_from_is_refused(db):
    shop(db)
    db.execute("""INSERT INTO "Goods" VALUES (1), (2)""")
    db.execute("""ALTER TABLE "Goods" ENABLE ROW LEVEL SECURITY; CREATE ROLE reader""")
    db.execute(
        """CREATE POLICY first_only ON "Goods" USING (id = 1); GRANT SELECT ON "Goods" TO reader"""
    )
    db.execute(
        "GRANT USAGE ON SCHEMA llamalog TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO reader"
    )
    assert found(db, "GOOD") == []
    db.execute("SET ROLE reader")
    for options in ({}, {"since": EVER}):
        with pytest.raises(LlamaLogError, match="row-level security") as raised, db.transaction():
            found(db, "GOOD", **options)
        assert raised.value.sqlstate == "42501"


# -- on the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def broken(database):
    """Rows of which three do not follow from the log, and one is not known to it."""
    shop(database)
    database.execute(
        """INSERT INTO "Goods" (id, name) SELECT n, 'a' FROM generate_series(1, 6) AS n"""
    )
    database.execute("""UPDATE "Goods" SET name = E'te\x1ba', "Price" = 1.10 WHERE id = 1""")
    database.execute("""DELETE FROM "Goods" WHERE id = 6""")
    with unseen(database):
        database.execute("""UPDATE "Goods" SET name = NULL WHERE id IN (1, 5)""")
        database.execute("""DELETE FROM "Goods" WHERE id = 2""")
        database.execute("""INSERT INTO "Goods" VALUES (6), (-7)""")
    return database


def last_seqs(conn):
    return {
        key: seq
        for key, seq in conn.execute(
            "SELECT entity_id, max(seq) FROM llamalog.log WHERE entity_type = 'GOOD' GROUP BY 1"
        )
    }


@default("image")
def test_the_command_names_each_row_and_counts_them(llamalog, broken):
    seq = last_seqs(broken)
    shown = llamalog("reconcile", "good", "--batch", "2")
    assert shown.stdout.splitlines() == [
        "GOOD -7  is not known to the log",
        f"GOOD 1  name: nothing, but change {seq['1']} left te\\x1ba",
        f"GOOD 5  name: nothing, but change {seq['5']} left a value",
        f"GOOD 6  is there, but gone since change {seq['6']}",
        f"GOOD 2  is gone, but no change since {seq['2']} removed it",
    ]
    assert shown.stderr.splitlines() == [
        "[🦙 LlamaLog] GOOD: of 7 rows 2 agree with the log, 4 contradict it, 1 is not known to it",
        "[🦙 LlamaLog] what was there before it was watched is not known: llamalog backfill notes it once, links apart;"
        " --ignore-unknown passes it over",
    ]
    assert shown.exit_code == 1
    everything = llamalog("reconcile", "--ignore-unknown", "--throttle", "0.001")
    assert everything.stdout.splitlines() == shown.stdout.splitlines()[1:]
    assert [line.split()[2] for line in everything.stderr.splitlines()[:6]] == [
        "ALBUM:", "ARTIST:", "GOOD:", "TRACK:", "ALBUM_ARTIST:", "TRACK_ARTIST:",
    ]  # fmt: skip


def test_the_command_answers_in_every_format(llamalog, broken):
    seq = last_seqs(broken)
    rows = json.loads(llamalog("reconcile", "GOOD", "--format", "json").stdout)
    assert rows[1] == {
        "entity_type": "GOOD", "entity_id": "1", "verdict": "changed", "field": "name", "after_seq": seq["1"],
        "left_value": "te\x1ba", "found_seq": None, "found": None,
    }  # fmt: skip
    lines = llamalog("reconcile", "GOOD", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows
    cells = [*csv.DictReader(io.StringIO(llamalog("reconcile", "GOOD", "--format", "csv").stdout))]
    assert [cell["entity_id"] for cell in cells] == [row["entity_id"] for row in rows]
    clean = llamalog("reconcile", "ALBUM", "--format", "json")
    assert (clean.exit_code, clean.stdout) == (0, "[]\n")


def test_the_command_says_how_to_go_on(llamalog, broken):
    first = llamalog("reconcile", "GOOD", "ALBUM", "--limit", "1", "--ignore-unknown")
    assert (first.exit_code, first.stdout) == (0, "")
    assert first.stderr.splitlines()[-1].endswith(
        "stopped before the end; go on with: llamalog reconcile GOOD ALBUM --from=-7"
    )
    second = llamalog("reconcile", "GOOD", "--from=-7", "--for", "0s", "--batch", "99")
    assert len(second.stdout.splitlines()) == 3
    command = second.stderr.splitlines()[-1].split("go on with: llamalog ")[1]
    assert command.startswith("reconcile GOOD --from-change=-1000000000000")
    third = llamalog(*command.split())
    assert [line.split("  ")[0] for line in third.stdout.splitlines()] == ["GOOD 2"]


def test_a_run_tells_how_far_it_is_and_when_it_is_interrupted_how_to_go_on(
    llamalog, broken, monkeypatch
):
    def interrupted(batches, form):
        next(batches)
        next(batches)
        raise KeyboardInterrupt

    monkeypatch.setattr(reconciling, "_SAID_EVERY", -1)
    said = llamalog("reconcile", "GOOD", "--batch", "2").stderr.splitlines()
    assert said[0].endswith(
        "GOOD: of 2 rows 0 agree with the log, 1 contradicts it, 1 is not known to it; at 1"
    )
    assert said[3].endswith("; at change 0 of the log")
    monkeypatch.setattr(reconciling, "write", interrupted)
    stopped = llamalog("reconcile", "GOOD", "--batch", "2")
    assert stopped.exit_code == 1
    assert "go on with: llamalog reconcile GOOD --from=1\n" in stopped.stderr


def test_what_the_log_touched_since_is_looked_at_alone(llamalog, broken):
    since = llamalog("reconcile", "GOOD", "--since", "2026-01-01")
    assert [line.split()[1] for line in since.stdout.splitlines()] == ["1", "2", "5", "6"]
    cut = llamalog("reconcile", "GOOD", "--since", "2026-01-01", "--limit", "1")
    command = cut.stderr.splitlines()[-1].split("go on with: llamalog ")[1]
    assert command.startswith("reconcile GOOD --since 2026-01-01T00:00:00+00:00 --from-change=")
    assert llamalog("reconcile", "GOOD", "--since", "2999-01-01").exit_code == 0


def test_misuse_of_the_command_is_told(llamalog):
    for words, said in {
        ("--for", "soon"): "invalid value for '--for': \"soon\" is no span of time",
        ("--deep", "--since", "2026-01-01"): "--deep and --since do not go together",
        ("--from", "7"): "--from and --from-change go with a TYPE",
        ("ALBUM", "--from", "7", "--from-change", "7"): "--from goes through a table",
    }.items():
        result = llamalog("reconcile", *words)
        assert result.exit_code == 2, words
        assert said.split("'")[-1] in result.stderr
