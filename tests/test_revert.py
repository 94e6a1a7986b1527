"""Taking changes back: planned, refused where somebody is in the way, done as any other write."""

from __future__ import annotations

import json
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal

import psycopg
import pytest
import test_cli
import test_properties
from click.testing import CliRunner
from conftest import sampled
from hypothesis import given, note, settings
from hypothesis import strategies as st
from test_properties import (
    PROFILE,
    every_value,
    state_of,
    statements,
    variants,
    watched_part,
    write,
)

from llamalog_sql import queries, reverting, watching
from llamalog_sql.cli import main
from llamalog_sql.errors import (
    CannotRevert,
    LlamaLogError,
    Misuse,
    NotKnown,
    NotWatched,
    RevertConflict,
    RevertHindered,
    RevertIncomplete,
    RevertReferences,
    RevertTaken,
    RevertUnseen,
    UnknownChange,
    UnknownEntity,
    UnknownEntityType,
    UnknownJob,
)
from llamalog_sql.reverting import Target
from llamalog_sql.watching import Options

#: The tables of the properties, and whatever is written to them.
migrated, watched = test_properties.migrated, test_properties.watched
llamalog = test_cli.llamalog
FEW = settings(PROFILE, max_examples=5 if PROFILE.max_examples < 100 else PROFILE.max_examples)


def clock(conn):
    """Return the time of the server, as a text that reads the same whatever the session has set."""
    return conn.execute("SELECT to_jsonb(clock_timestamp()) #>> '{}'").fetchone()[0]


def last_seq(conn):
    return conn.execute("SELECT max(seq) FROM llamalog.log").fetchone()[0]


def revert(conn, wins=None, is_partial=False, user_id=None, reason=None, **target):
    """Plan and revert; what the transaction of the test wrote is part of it."""
    plan = reverting.plan(conn, Target(**target), wins=wins, is_partial=is_partial)
    return reverting.revert(conn, plan, user_id=user_id, reason=reason)


# -- one change -------------------------------------------------------------------------------------------------------


def test_a_change_is_taken_back(each_db, new):
    db = each_db
    album = new.album(db, "Ok computer", label="EMI")
    db.execute(
        "SELECT llamalog.set_context(source => 'admin_correction', job_id => 'correction-1')"
    )
    db.execute("UPDATE albums SET title = 'OK Computer', label = NULL")
    seq = last_seq(db)
    job = revert(db, change=seq, user_id="mia", reason="wrong album")
    assert db.execute("SELECT title, label FROM albums").fetchall() == [("Ok computer", "EMI")]
    row = queries.history(db, "ALBUM", album)[0]
    assert (row.category, row.source, row.job_id) == ("CORRECTED", "revert", job)
    assert (row.parent_job_id, row.root_job_id) == ("correction-1", "correction-1")
    assert (row.user_id, row.reason) == ("mia", "wrong album")
    assert row.metadata == {"reverts": {"change": seq}}


def test_values_come_back_whatever_the_session_quotes(db):
    db.execute(
        "SET quote_all_identifiers = on; CREATE TABLE notes (id uuid PRIMARY KEY, doc jsonb, price money)"
    )
    watching.watch(db, ["notes"], Options())
    db.execute("INSERT INTO notes VALUES ('00000000-0000-0000-0000-00000000000A', 'null', '1.50')")
    db.execute("SELECT llamalog.set_context(job_id => 'K')")
    db.execute("DELETE FROM notes")
    revert(db, job_id="K")
    assert len(queries.history(db, "NOTE", "00000000-0000-0000-0000-00000000000A")) == 3
    assert db.execute("SELECT id::text, doc::text, price::numeric FROM notes").fetchall() == [
        ("00000000-0000-0000-0000-00000000000a", "null", Decimal("1.50"))
    ]


def test_undone_is_each_kind_of_change(each_db, new):
    db = each_db
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist)
    linked = last_seq(db)
    db.execute("UPDATE album_artists SET position = 1")
    db.execute("DELETE FROM album_artists")
    unlinked = last_seq(db)
    assert revert(db, change=unlinked)
    assert db.execute("SELECT role, position FROM album_artists").fetchall() == [("primary", 1)]
    with pytest.raises(RevertConflict), db.transaction():
        revert(db, change=linked)
    assert revert(db, "ours", change=linked)
    assert db.execute("SELECT count(*) FROM album_artists").fetchone()[0] == 0
    db.execute("TRUNCATE albums CASCADE")
    assert revert(db, change=last_seq(db))
    assert db.execute("SELECT id::text, title FROM albums").fetchall() == [(album, "OK Computer")]


def test_ignored_and_generated_columns_come_back_with_a_row_and_are_left_alone_in_one(db):
    db.execute(
        "CREATE TABLE prices (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, amount numeric,"
        " twice numeric GENERATED ALWAYS AS (amount * 2) STORED, updated_at timestamptz NOT NULL)"
    )
    watching.watch(db, ["prices"])
    db.execute("INSERT INTO prices (amount, updated_at) VALUES (1.0, '2026-01-01')")
    db.execute("UPDATE prices SET amount = 2, updated_at = '2026-02-02'")
    assert revert(db, change=last_seq(db))
    read = "SELECT id, amount::text, twice::text, updated_at::date::text FROM prices"
    assert db.execute(read).fetchall() == [(1, "1.0", "2.0", "2026-02-02")]
    db.execute("DELETE FROM prices")
    assert revert(db, change=last_seq(db))
    assert db.execute(read).fetchall() == [(1, "1.0", "2.0", "2026-02-02")]


def test_a_column_called_as_our_row_is_not_taken_for_it(db):
    db.execute(
        "CREATE TABLE shows (id int PRIMARY KEY, live text, twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    watching.watch(db, ["shows"])
    db.execute("INSERT INTO shows VALUES (1, 'yes')")
    db.execute("UPDATE shows SET live = 'no'")
    revert(db, change=last_seq(db))
    assert db.execute("SELECT id, live FROM shows").fetchall() == [(1, "yes")]


def test_a_row_is_found_under_the_key_that_it_has_now(each_db):
    db = each_db
    shelf(db)
    db.execute("INSERT INTO \"odd shelf\" VALUES ('a,b', 1, 'x')")
    db.execute("UPDATE \"odd shelf\" SET note = 'y'")
    seq = last_seq(db)
    db.execute('UPDATE "odd shelf" SET "Room" = \'c\'')
    assert revert(db, change=seq)
    assert db.execute('SELECT * FROM "odd shelf"').fetchall() == [("c", 1, "x")]
    assert revert(db, change=seq + 1)
    assert db.execute('SELECT * FROM "odd shelf"').fetchall() == [("a,b", 1, "x")]


def test_a_row_whose_key_another_has_taken_is_told_from_it(db):
    shelf(db)
    read = 'SELECT * FROM "odd shelf" ORDER BY note'
    db.execute("INSERT INTO \"odd shelf\" VALUES ('z', 1, 'x'), ('b', 1, 'other')")
    db.execute("UPDATE \"odd shelf\" SET \"Room\" = 'a' WHERE note = 'x'")
    db.execute("UPDATE \"odd shelf\" SET note = 'y' WHERE note = 'x'")
    seq = last_seq(db)
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("DELETE FROM \"odd shelf\" WHERE note = 'y'")
    db.execute('UPDATE "odd shelf" SET "Room" = \'a\'')
    assert "deleted since" in refused(db, RevertConflict, change=seq)
    assert said_of(db, "ours", change=seq) == "LL026"
    assert revert(db, job_id="j")
    assert db.execute(read).fetchall() == [("b", 1, "other"), ("a", 1, "y")]


def test_a_change_that_is_not_among_those_of_its_row_is_refused(db, new):
    new.album(db)
    with pytest.raises(psycopg.Error, match="cannot be followed") as error:
        db.execute(
            'SELECT llamalog.changes_of_row(jsonb_populate_record(log, \'{"entity_id": "x"}\'), 0) FROM llamalog.log'
        )
    assert error.value.sqlstate == "LL019"


def shelf(conn):
    conn.execute(
        'CREATE TABLE "odd shelf" ("Room" text, slot integer, note text, PRIMARY KEY ("Room", slot))'
    )
    watching.watch(conn, ['"odd shelf"'], Options(entity_type="SHELF"))


def test_links_are_told_apart_by_their_role_or_not_at_all(db, new):
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist, "singer")
    new.link(db, album, artist, "drummer")
    made = last_seq(db)
    assert revert(db, change=made)
    assert db.execute("SELECT role FROM album_artists").fetchall() == [("singer",)]
    assert revert(db, change=last_seq(db))
    db.execute("UPDATE album_artists SET position = 2 WHERE role = 'drummer'")
    seq = last_seq(db)
    db.execute("DELETE FROM album_artists WHERE role = 'drummer'")
    said = refused(db, CannotRevert, change=seq)
    assert f"the row of change {seq} cannot be told from others" in said
    assert "does not say its role" in said


def test_a_link_is_followed_from_role_to_role(db, new):
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist, "singer")
    made = last_seq(db)
    new.link(db, album, artist, "drummer")
    db.execute("UPDATE album_artists SET role = 'soloist' WHERE role = 'singer'")
    changed = last_seq(db)
    db.execute("UPDATE album_artists SET role = 'singer' WHERE role = 'drummer'")
    roles = "SELECT role FROM album_artists ORDER BY role"
    with db.transaction(force_rollback=True):
        assert revert(db, "ours", change=made)
        assert db.execute(roles).fetchall() == [("singer",)]
    db.execute("DELETE FROM album_artists WHERE role = 'singer'")
    assert revert(db, change=changed)
    assert revert(db, change=made)
    assert db.execute(roles).fetchall() == []


def test_links_made_before_watching_are_not_guessed(db, new):
    watching.unwatch(db, ["album_artists"])
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist, "singer")
    new.link(db, album, artist, "drummer")
    watching.watch(db, ["album_artists"])
    db.execute("UPDATE album_artists SET position = 2 WHERE role = 'drummer'")
    with pytest.raises(CannotRevert, match="cannot be told from others") as error, db.transaction():
        revert(db, change=last_seq(db))
    assert "2 rows of ALBUM_ARTIST have these ends" in error.value.detail


def test_the_ends_of_a_link_are_put_back(db, new):
    one, two = new.artist(db, "one"), new.artist(db, "two")
    new.link(db, new.album(db), one)
    made = last_seq(db)
    db.execute("UPDATE album_artists SET artist_id = %s", [two])
    moved = last_seq(db)
    db.execute("UPDATE album_artists SET position = 3")
    assert revert(db, change=moved)
    assert db.execute("SELECT artist_id::text, position FROM album_artists").fetchall() == [
        (one, 3)
    ]
    assert revert(db, "ours", change=made)
    assert db.execute("SELECT count(*) FROM album_artists").fetchone()[0] == 0


# -- later writers ----------------------------------------------------------------------------------------------------


def write_as(conn, job, statement):
    conn.execute(
        "SELECT llamalog.set_context(source => 'enrichment', job_id => %s, user_id => 'bob')", [job]
    )
    conn.execute(statement)
    return last_seq(conn)


def test_another_field_of_the_row_is_no_conflict(db, new):
    new.album(db, "wrong")
    seq = write_as(db, "j", "UPDATE albums SET title = 'right', label = 'EMI'")
    write_as(db, "k", "UPDATE albums SET barcode = '1', label = NULL")
    revert(db, change=seq)  # the label has got back what it had, by somebody else
    assert db.execute("SELECT title, label, barcode FROM albums").fetchall() == [
        ("wrong", None, "1")
    ]


def test_a_field_set_since_is_refused_or_settled(db, new):
    new.album(db, "wrong", label="EMI")
    seq = write_as(db, "j", "UPDATE albums SET title = 'right', label = 'Capitol'")
    later = write_as(db, "k", "UPDATE albums SET title = 'righter'")
    with pytest.raises(RevertConflict) as error, db.transaction():
        revert(db, change=seq)
    assert error.value.sqlstate == "LL020"
    assert f"title: set since by change {later}, job k, user bob" in error.value.detail
    (conflict,) = reverting.plan(db, Target(change=seq)).obstacles
    assert (conflict.field, conflict.before, conflict.after) == ("title", "righter", "wrong")
    for wins, title in (("theirs", "righter"), ("ours", "wrong")):
        with db.transaction(force_rollback=True):
            revert(db, wins, change=seq)
            read = db.execute("SELECT title, label FROM albums").fetchall()
            assert read == [(title, "EMI")]


@pytest.mark.parametrize(
    ("first", "then", "said", "theirs", "ours"),
    [
        ("INSERT INTO prices VALUES (1, 1)", "UPDATE prices SET f = 2", "written to since", [(1, 2)], []),
        ("UPDATE prices SET f = 5", "DELETE FROM prices", "deleted since", [], [(0, 0)]),
        ("DELETE FROM prices", "INSERT INTO prices VALUES (0, 7)", "f: set since", [(0, 7)], [(0, 0)]),
    ],
)  # fmt: skip
def test_a_row_written_since_is_refused_or_settled(db, first, then, said, theirs, ours):
    prices(db)
    db.execute("INSERT INTO prices VALUES (0, 0)")
    if "INSERT" in first:
        db.execute("DELETE FROM prices")
    seq = write_as(db, "j", first)
    later = write_as(db, "k", then)
    with pytest.raises(RevertConflict) as error, db.transaction():
        revert(db, change=seq)
    assert said in error.value.detail
    assert f"change {later}" in error.value.detail
    for wins, left in (("theirs", theirs), ("ours", ours)):
        with db.transaction(force_rollback=True):
            revert(db, wins, change=seq)
            assert db.execute("SELECT * FROM prices").fetchall() == left


def test_a_row_comes_back_with_nothing_of_another_that_has_had_its_key(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    db.execute("DELETE FROM prices")
    seq = last_seq(db)
    db.execute("ALTER TABLE prices ADD COLUMN g integer DEFAULT 7")
    db.execute("INSERT INTO prices VALUES (1, 5, 6)")
    db.execute("DELETE FROM prices")
    assert revert(db, "ours", change=seq)
    assert db.execute("SELECT * FROM prices").fetchall() == [(1, 1, 7)]


def prices(conn, **options):
    conn.execute("CREATE TABLE prices (id integer PRIMARY KEY, f integer)")
    watching.watch(conn, ["prices"], Options(**options))


def unseen(conn, statement):
    conn.execute("SET LOCAL session_replication_role = replica")
    conn.execute(statement)
    conn.execute("SET LOCAL session_replication_role = DEFAULT")


def test_a_write_that_was_not_captured_is_a_later_writer_too(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1), (2, 2)")
    db.execute("UPDATE prices SET f = f + 10")
    (one, two) = last_seq(db) - 1, last_seq(db)
    unseen(db, "UPDATE prices SET f = 77 WHERE id = 1")
    unseen(db, "DELETE FROM prices WHERE id = 2")
    with pytest.raises(RevertConflict) as error, db.transaction():
        revert(db, change=one)
    assert "f: a write that was not captured" in error.value.detail
    with pytest.raises(RevertConflict) as error, db.transaction():
        revert(db, "ours", change=two)
    assert "the log has no row of its removal" in error.value.detail
    assert revert(db, "theirs", change=two) is None
    assert revert(db, "ours", change=one)
    assert db.execute("SELECT * FROM prices").fetchall() == [(1, 1)]


def test_a_row_that_came_unseen_is_not_written_over(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    db.execute("DELETE FROM prices")
    unseen(db, "INSERT INTO prices VALUES (1, 5)")
    with pytest.raises(RevertConflict), db.transaction():
        revert(db, change=last_seq(db))
    assert revert(db, "theirs", change=last_seq(db)) is None
    assert revert(db, "ours", change=last_seq(db))
    assert db.execute("SELECT * FROM prices").fetchall() == [(1, 1)]


def test_what_came_back_as_it_was_removed_was_written_by_nobody(db, new):
    new.album(db, "wrong", label="EMI")
    seq = write_as(db, "j", "UPDATE albums SET title = 'right', label = NULL")
    db.execute("DELETE FROM albums")
    revert(db, change=last_seq(db))
    revert(db, change=seq)
    assert db.execute("SELECT title, label FROM albums").fetchall() == [("wrong", "EMI")]


@pytest.mark.parametrize("image", ["none", "full"])
def test_whoever_makes_a_row_again_has_set_all_its_fields(db, image):
    prices(db, image=image)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    seq = write_as(db, "j", "UPDATE prices SET f = 2")
    write_as(db, "k", "DELETE FROM prices")
    again = write_as(db, "k", "INSERT INTO prices VALUES (1, 2)")
    assert f"f: set since by change {again}, job k" in refused(db, RevertConflict, change=seq)
    for wins, left in (("theirs", 2), ("ours", 1)):
        with db.transaction(force_rollback=True):
            revert(db, wins, change=seq)
            assert db.execute("SELECT f FROM prices").fetchall() == [(left,)]


def test_a_row_that_the_job_itself_made_again_is_no_conflict(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    write_as(db, "j", "UPDATE prices SET f = 2")
    write_as(db, "j", "DELETE FROM prices")
    write_as(db, "j", "INSERT INTO prices VALUES (1, 2)")
    assert revert(db, job_id="j")
    assert db.execute("SELECT f FROM prices").fetchall() == [(1,)]


def test_a_later_writer_who_was_taken_back_is_in_nobodys_way(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    first = write_as(db, "j", "UPDATE prices SET f = 2")
    then = clock(db)
    second = write_as(db, "k", "UPDATE prices SET f = 3")
    for target in ({"change": second}, {"job_id": "k"}, {"entity_type": "PRICE", "entity_id": "1", "to_at": then}):  # fmt: skip
        with db.transaction(force_rollback=True):
            undone = revert(db, **target)
            with db.transaction(force_rollback=True):
                assert revert(db, change=first)
                assert db.execute("SELECT f FROM prices").fetchall() == [(1,)]
            # it stands again
            revert(db, job_id=undone)
            assert f"set since by change {second}, job k" in refused(
                db, RevertConflict, change=first
            )


def test_who_set_what_a_revert_found_in_order_has_set_it(db):
    db.execute("CREATE TABLE prices (id integer PRIMARY KEY, f integer, g integer)")
    watching.watch(db, ["prices"])
    db.execute("INSERT INTO prices VALUES (1, 0, 0)")
    first = write_as(db, "i", "UPDATE prices SET f = 1")
    second = write_as(db, "j", "UPDATE prices SET f = 2, g = 2")
    third = write_as(db, "k", "UPDATE prices SET f = 1")
    revert(db, change=second)
    assert db.execute("SELECT f, g FROM prices").fetchall() == [(1, 0)]
    assert f"f: set since by change {third}" in refused(db, RevertConflict, change=first)


@pytest.mark.parametrize(
    "said", ['"change"', "null", '{"change": "x"}', '{"to": "x"}', '{"job": []}']
)
def test_whoever_claims_to_be_a_revert_takes_nothing_back_by_it(db, said):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    first = write_as(db, "j", "UPDATE prices SET f = 2")
    db.execute("UPDATE prices SET f = 3")
    db.execute(
        "SELECT llamalog.set_context(source => 'revert', metadata => %s)",
        [f'{{"reverts": {said}}}'],
    )
    db.execute("UPDATE prices SET f = 2")
    assert "f: set since by change" in refused(db, RevertConflict, change=first)


@pytest.mark.parametrize("wins", [None, "theirs", "ours"])
def test_who_wrote_a_field_before_the_job_did_is_no_later_writer(db, wins):
    db.execute("CREATE TABLE prices (id integer PRIMARY KEY, f integer, g integer)")
    watching.watch(db, ["prices"])
    db.execute("INSERT INTO prices VALUES (1, 0, 0)")
    write_as(db, "j", "UPDATE prices SET g = 1")
    write_as(db, "k", "UPDATE prices SET f = 1")
    write_as(db, "j", "UPDATE prices SET f = 2")
    undone = revert(db, wins, job_id="j")
    assert db.execute("SELECT f, g FROM prices").fetchall() == [(1, 0)]
    revert(db, wins, job_id=undone)
    write_as(db, "j", "DELETE FROM prices; INSERT INTO prices VALUES (1, 3, 3)")
    revert(db, wins, job_id="j")
    assert db.execute("SELECT f, g FROM prices").fetchall() == [(1, 0)]


def test_who_is_overruled_by_a_revert_is_not_taken_back_by_it(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    first = write_as(db, "j", "UPDATE prices SET f = 2")
    second = write_as(db, "k", "UPDATE prices SET f = 3")
    revert(db, "ours", change=first)
    assert f"f: set since by change {second + 1}" in refused(db, RevertConflict, change=second)
    assert revert(db, change=first) is None


def test_what_commits_between_plan_and_revert_is_kept(database, connect, new):
    album = new.album(database, "wrong")
    database.execute("UPDATE albums SET title = 'right'")
    entity = Target(entity_type="ALBUM", entity_id=album, to_at=clock(database))
    database.execute("UPDATE albums SET title = 'righter', label = 'EMI'")
    plan = reverting.plan(database, entity)
    other = connect(database)
    other.execute("UPDATE albums SET title = 'rightest', barcode = '1'")
    with pytest.raises(RevertConflict) as error:
        reverting.revert(database, plan)
    assert "title: set since" in error.value.detail
    read = "SELECT title, label, barcode FROM albums"
    assert other.execute(read).fetchall() == [("rightest", "EMI", "1")]
    assert reverting.revert(database, reverting.plan(database, entity, wins="theirs")) is not None
    assert other.execute(read).fetchall() == [("right", None, None)]


def test_a_writer_who_is_not_done_is_waited_for(database, connect, new):
    new.album(database, "wrong")
    database.execute("UPDATE albums SET title = 'right'")
    plan = reverting.plan(database, Target(change=last_seq(database)))
    other, third = connect(database), connect(database)
    with ThreadPoolExecutor() as pool:
        with other.transaction():
            other.execute("UPDATE albums SET title = 'righter'")
            waiting = pool.submit(reverting.revert, database, plan)
            while not third.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                assert not waiting.done()
        with pytest.raises(RevertConflict, match="later writers"):
            waiting.result()
    assert third.execute("SELECT title FROM albums").fetchall() == [("righter",)]


def test_two_who_take_the_same_back_at_once_do_it_once(database, connect, new):
    new.album(database)
    database.execute("DELETE FROM albums")
    plan = reverting.plan(database, Target(change=last_seq(database)))
    other, third = connect(database), connect(database)
    with ThreadPoolExecutor() as pool:
        with other.transaction():
            assert reverting.revert(other, plan) is not None
            waiting = pool.submit(reverting.revert, database, plan)
            while not third.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                assert not waiting.done()
        assert waiting.result() is None
    assert third.execute("SELECT title FROM albums").fetchall() == [("OK Computer",)]


def test_who_cannot_wait_for_a_writer_is_told_to_try_again(database, connect, new):
    new.album(database)
    database.execute("UPDATE albums SET label = 'EMI'")
    plan = reverting.plan(database, Target(change=last_seq(database)))
    with database.transaction():
        database.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        database.execute("SELECT FROM albums")
        connect(database).execute("UPDATE albums SET label = 'Capitol'")
        with pytest.raises(LlamaLogError) as error:
            reverting.revert(database, plan)
    assert (error.value.sqlstate, error.value.hint) == (
        "40001",
        "Somebody else has written at the same time: try again.",
    )


# -- foreign keys -----------------------------------------------------------------------------------------------------


def test_a_row_that_others_refer_to_stays(db, new):
    album = new.album(db)
    made = last_seq(db)
    new.track(db, album)
    with pytest.raises(RevertReferences) as error, db.transaction():
        revert(db, change=made)
    assert error.value.sqlstate == "LL021"
    assert error.value.detail == (
        f"ALBUM {album}: 1 row of public.tracks would still refer to it (tracks_album_id_fkey)"
    )
    assert error.value.hint == (
        "First revert what refers to the rows, or let those rows stay as they are: --theirs"
    )
    with pytest.raises(RevertReferences), db.transaction():
        revert(db, "ours", change=made)
    assert revert(db, "theirs", change=made) is None
    assert db.execute("SELECT count(*) FROM tracks").fetchone()[0] == 1


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT", "NO ACTION"])
def test_a_row_whose_key_others_refer_to_keeps_it(db, action):
    db.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY, name text);"
        f"CREATE TABLE discs (id integer PRIMARY KEY, shelf integer DEFAULT 7 REFERENCES shelves ON UPDATE {action})"
    )
    watching.watch(db, ["shelves", "discs"])
    db.execute("INSERT INTO shelves VALUES (1, 'a'), (7, 'z'); INSERT INTO discs VALUES (1, 7)")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("UPDATE shelves SET id = 2, name = 'b' WHERE id = 1")
    db.execute("INSERT INTO discs VALUES (2, 2)")
    filled = last_seq(db)
    with pytest.raises(RevertReferences) as error, db.transaction():
        revert(db, change=filled - 1)
    assert error.value.detail == (
        "SHELF 2 id: 1 row of public.discs would still refer to it (discs_shelf_fkey)"
    )
    assert revert(db, "theirs", change=filled - 1)
    assert db.execute("SELECT * FROM shelves ORDER BY id").fetchall() == [(2, "a"), (7, "z")]
    assert db.execute("SELECT * FROM discs ORDER BY id").fetchall() == [(1, 7), (2, 2)]
    assert revert(db, job_id="j")
    assert db.execute("SELECT * FROM shelves ORDER BY id").fetchall() == [(1, "a"), (7, "z")]
    assert db.execute("SELECT * FROM discs").fetchall() == [(1, 7)]


def rooms(conn, action):
    """Rows of ann's and ben's, of which ann sees her own; those that lead to them are in partitions."""
    conn.execute(
        f"""
        CREATE ROLE ann;
        GRANT llamalog_reader TO ann;
        CREATE TABLE rooms (id integer PRIMARY KEY, name text);
        CREATE TABLE stays (id integer, room integer DEFAULT 7 REFERENCES rooms ON DELETE {action} ON UPDATE {action}, owner text)
            PARTITION BY RANGE (id);
        CREATE TABLE stays_1 PARTITION OF stays FOR VALUES FROM (0) TO (9);
        CREATE TABLE nights (id integer PRIMARY KEY, room integer REFERENCES rooms);
        ALTER TABLE stays ENABLE ROW LEVEL SECURITY;
        CREATE POLICY own_rows ON stays USING (owner = current_user);
        GRANT ALL ON rooms, nights TO ann;
        GRANT SELECT ON stays TO ann
        """.encode()
    )
    watching.watch(conn, ["rooms", "nights"])
    conn.execute("INSERT INTO rooms VALUES (7, 'z')")
    conn.execute("SELECT llamalog.set_context(job_id => 'made')")
    conn.execute("INSERT INTO rooms VALUES (1, 'a')")
    conn.execute("SELECT llamalog.set_context(job_id => 'moved')")
    conn.execute("UPDATE rooms SET id = 2, name = 'b' WHERE id = 1")


@pytest.mark.parametrize("action", ["CASCADE", "SET NULL", "SET DEFAULT"])
@pytest.mark.parametrize("job", ["made", "moved"])
def test_a_key_with_an_action_leads_to_no_row_that_is_hidden(db, action, job):
    rooms(db, action)
    db.execute("INSERT INTO stays VALUES (1, 2, 'ben')")
    db.execute("SET LOCAL ROLE ann")
    wins = "ours" if job == "made" else None
    with pytest.raises(RevertUnseen) as error, db.transaction():
        revert(db, wins, job_id=job)
    assert error.value.sqlstate == "LL028"
    assert error.value.detail.endswith(
        "rows of public.stays that are hidden from you may refer to it (stays_room_fkey)"
    )
    revert(db, "theirs", job_id=job)
    db.execute("RESET ROLE")
    assert db.execute("SELECT id FROM rooms ORDER BY id").fetchall() == [(2,), (7,)]
    assert db.execute("SELECT * FROM stays").fetchall() == [(1, 2, "ben")]
    # whom nothing is hidden from is told of the row
    with pytest.raises(RevertReferences), db.transaction():
        revert(db, wins, job_id=job)
    db.execute("DELETE FROM stays")
    assert revert(db, wins, job_id=job)


def test_what_is_hidden_without_an_action_is_left_to_the_server(db):
    rooms(db, "NO ACTION")
    db.execute("SET LOCAL ROLE ann")
    with db.transaction(force_rollback=True):
        assert revert(db, job_id="moved")
    db.execute("RESET ROLE")
    db.execute("INSERT INTO stays VALUES (1, 2, 'ben')")
    db.execute("SET LOCAL ROLE ann")
    assert said_of(db, None, job_id="moved") == "23503"
    db.execute("RESET ROLE")
    db.execute("ALTER TABLE stays DISABLE ROW LEVEL SECURITY; REVOKE ALL ON stays FROM ann")
    db.execute("SET LOCAL ROLE ann")
    assert said_of(db, None, job_id="moved") == "42501"


@pytest.mark.parametrize(
    ("referring", "referred", "values", "keys"),
    [
        ("char(5)", "text", "'a', 'b'", "'a', 'b'"),
        ("char(5)", "char(3)", "'a', 'b'", "'a', 'b'"),
        ("varchar(5)", "char(3)", "'a', 'b'", "'a', 'b'"),
        ("date", "timestamp", "'2026-01-01', '2026-01-02'", "'2026-01-01', '2026-01-02'"),
        ("integer", "numeric", "1, 2", "1.0, 2.00"),
        ("interval", "interval", "'24:00', '1 mon'", "'1 day', '30 days'"),
        ("text", 'text COLLATE "any case"', "'A', 'b'", "'a', 'B'"),
        ("weight", "float8", "1.5, '-0'", "1.5, 0"),
        ("mark", "mark", "'a', 'b'", "'a', 'b'"),
    ],
)
def test_what_a_foreign_key_takes_for_equal_is(db, referring, referred, values, keys):
    if "any case" in referred:
        try:
            with db.transaction():
                db.execute(
                    "CREATE COLLATION \"any case\" (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
                )
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this server is built without ICU")
    one, two = values.split(", ")
    db.execute(
        f"""
        CREATE TYPE mark AS ENUM ('a', 'b');
        CREATE DOMAIN weight AS float4 CHECK (value < 9);
        CREATE TABLE shelves (room integer, id {referred}, PRIMARY KEY (room, id));
        CREATE TABLE discs (n integer PRIMARY KEY, room integer DEFAULT 1, "the shelf" {referring},
            FOREIGN KEY (room, "the shelf") REFERENCES shelves ON DELETE CASCADE)
        """.encode()
    )
    watching.watch(db, ["shelves", "discs"])
    db.execute("SELECT llamalog.set_context(job_id => 'made')")
    db.execute("INSERT INTO shelves VALUES (1, {}), (1, {})".format(*keys.split(", ")).encode())
    db.execute(f'INSERT INTO discs (n, "the shelf") VALUES (1, {one}), (2, {two})'.encode())
    both = 'SELECT 1, room, id::text FROM shelves UNION ALL SELECT n, room, "the shelf"::text FROM discs ORDER BY 1, 2, 3'
    made = db.execute(both).fetchall()
    gone = revert(db, job_id="made")
    assert db.execute(both).fetchall() == []
    assert revert(db, job_id=gone)
    assert db.execute(both).fetchall() == made
    # what is not in the plan is found, too
    db.execute(f'UPDATE discs SET "the shelf" = {two}'.encode())
    assert revert(db, change=last_seq(db))
    assert db.execute(both).fetchall() == made
    db.execute(
        f'UPDATE discs SET "the shelf" = {two}; DELETE FROM shelves WHERE id = {one}'.encode()
    )
    with pytest.raises(RevertReferences, match="foreign keys"), db.transaction():
        revert(db, change=last_seq(db) - 1)


def test_a_value_that_no_column_has_refers_to_nothing(db):
    """Blanks at the end make another text of a text, and none of a char."""
    db.execute(
        "CREATE TABLE shelves (id text PRIMARY KEY);"
        "CREATE TABLE discs (id integer PRIMARY KEY, shelf char(3) REFERENCES shelves)"
    )
    watching.watch(db, ["shelves", "discs"])
    db.execute("INSERT INTO shelves VALUES ('a'); INSERT INTO discs VALUES (1, 'a')")
    db.execute("SELECT llamalog.set_context(job_id => 'gone')")
    db.execute("DELETE FROM discs")
    db.execute("INSERT INTO shelves VALUES ('a  ')")
    db.execute("DELETE FROM shelves WHERE id = 'a  '")
    db.execute("SELECT llamalog.set_context(job_id => 'later')")
    db.execute("DELETE FROM shelves")
    with pytest.raises(RevertReferences, match="foreign keys"), db.transaction():
        revert(db, job_id="gone")


def test_a_foreign_key_of_a_single_partition_is_one_too(db):
    events(db)
    db.execute(
        """
        CREATE TABLE notes (id integer, event integer, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
        CREATE TABLE notes_north PARTITION OF notes FOR VALUES IN ('north');
        ALTER TABLE notes_north ADD FOREIGN KEY (event, region) REFERENCES north ON DELETE CASCADE
        """
    )
    watching.watch(db, ["notes"])
    db.execute("SELECT llamalog.set_context(job_id => 'made')")
    db.execute("INSERT INTO events VALUES (1, 'north')")
    made = last_seq(db)
    db.execute("INSERT INTO notes VALUES (1, 1, 'north')")
    with pytest.raises(RevertReferences) as error, db.transaction():
        revert(db, change=made)
    assert "1 row of public.notes would still refer to it" in error.value.detail
    undone = revert(db, job_id="made")
    rows = "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM notes) AS notes"
    assert db.execute(rows).fetchone() == (0, 0)
    assert revert(db, job_id=undone)
    assert db.execute(rows).fetchone() == (1, 1)


def test_rows_of_heirs_are_none_to_a_foreign_key(db):
    db.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY); CREATE TABLE old_shelves () INHERITS (shelves);"
        "CREATE TABLE discs (id integer PRIMARY KEY, shelf integer REFERENCES shelves ON DELETE CASCADE);"
        "CREATE TABLE old_discs () INHERITS (discs)"
    )
    watching.watch(db, ["shelves", "discs"])
    db.execute("SELECT llamalog.set_context(job_id => 'made')")
    db.execute("INSERT INTO shelves VALUES (1)")
    shelved = last_seq(db)
    db.execute("INSERT INTO old_discs VALUES (1, 1)")
    with db.transaction(force_rollback=True):
        assert revert(db, change=shelved)
        assert db.execute("SELECT * FROM discs").fetchall() == [(1, 1)]
    # one that goes with the job does not hide one that stays
    db.execute("SELECT llamalog.set_context(job_id => 'other')")
    db.execute("INSERT INTO discs VALUES (2, 1)")
    assert "1 row of public.discs" in refused(db, RevertReferences, job_id="made")
    db.execute("DELETE FROM discs WHERE id = 2")
    gone = last_seq(db)
    db.execute("DELETE FROM shelves; INSERT INTO old_shelves VALUES (1)")
    assert "is not there" in refused(db, RevertReferences, change=gone)


def test_a_foreign_key_that_is_not_enforced_is_in_nobodys_way(db):
    if db.info.server_version < 180000:
        pytest.skip("NOT ENFORCED is new in PostgreSQL 18")
    db.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY);"
        "CREATE TABLE discs (id integer PRIMARY KEY, shelf integer REFERENCES shelves NOT ENFORCED)"
    )
    watching.watch(db, ["shelves", "discs"])
    db.execute("INSERT INTO shelves VALUES (1)")
    shelved = last_seq(db)
    db.execute("INSERT INTO discs VALUES (1, 1), (2, 99)")
    assert revert(db, change=shelved)
    db.execute("DELETE FROM discs WHERE id = 2")
    assert revert(db, change=last_seq(db))
    assert db.execute("SELECT id, shelf FROM discs ORDER BY id").fetchall() == [(1, 1), (2, 99)]


def test_a_foreign_key_of_a_period_is_left_to_the_server(db):
    if db.info.server_version < 180000:
        pytest.skip("PERIOD is new in PostgreSQL 18")
    db.execute(
        "CREATE TABLE rooms (n int4range, during daterange, PRIMARY KEY (n, during WITHOUT OVERLAPS));"
        "CREATE TABLE stays (id integer PRIMARY KEY, n int4range, during daterange,"
        " FOREIGN KEY (n, PERIOD during) REFERENCES rooms (n, PERIOD during))"
    )
    watching.watch(db, ["rooms", "stays"])
    db.execute("SELECT llamalog.set_context(job_id => 'let')")
    db.execute(
        "INSERT INTO rooms VALUES ('[1,2)', '[2026-01-01,2026-06-01)'), ('[1,2)', '[2026-06-01,2027-01-01)')"
    )
    made = last_seq(db)
    db.execute("INSERT INTO stays VALUES (1, '[1,2)', '[2026-05-01,2026-07-01)')")
    with pytest.raises(LlamaLogError) as error, db.transaction():
        revert(db, change=made)
    assert error.value.sqlstate == "23503"
    assert revert(db, job_id="let")
    count = "SELECT (SELECT count(*) FROM rooms) AS rooms, (SELECT count(*) FROM stays) AS stays"
    assert db.execute(count).fetchone() == (0, 0)
    assert revert(
        db, job_id=db.execute("SELECT job_id FROM llamalog.log ORDER BY seq DESC").fetchone()[0]
    )
    assert db.execute(count).fetchone() == (2, 1)


def test_a_row_whose_whole_is_gone_does_not_come_back(db, new):
    track = new.track(db, new.album(db))
    db.execute("DELETE FROM tracks")
    seq = last_seq(db)
    db.execute("DELETE FROM albums")
    with pytest.raises(RevertReferences) as error, db.transaction():
        revert(db, change=seq)
    assert f"TRACK {track} album_id: the row of public.albums" in error.value.detail
    assert error.value.hint == (
        "First bring back what the rows refer to, or let those rows stay as they are: --theirs"
    )
    assert revert(db, "theirs", change=seq) is None


def test_what_is_in_the_way_on_both_sides_of_a_key_is_told(db, new):
    gone = new.album(db)
    new.track(db, gone)
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    made = new.album(db)
    db.execute("DELETE FROM tracks")
    db.execute("SELECT llamalog.set_context(job_id => 'k')")
    new.track(db, made)
    db.execute("DELETE FROM albums WHERE id = %s", [gone])
    with pytest.raises(RevertReferences) as error, db.transaction():
        revert(db, job_id="j")
    assert error.value.hint.startswith(
        "First bring back what the rows refer to, and revert what refers to the rows, or let"
    )


def test_a_field_that_would_refer_to_nothing_is_left(db):
    tree(db)
    db.execute("INSERT INTO nodes VALUES (1, NULL, 'a'), (2, 1, 'a')")
    db.execute("UPDATE nodes SET parent = NULL, note = 'b' WHERE id = 2")
    seq = last_seq(db)
    db.execute("DELETE FROM nodes WHERE id = 1")
    with pytest.raises(RevertReferences), db.transaction():
        revert(db, change=seq)
    assert revert(db, "theirs", change=seq)
    assert db.execute("SELECT * FROM nodes").fetchall() == [(2, None, "a")]


def tree(conn):
    conn.execute(
        "CREATE TABLE nodes (id integer PRIMARY KEY, parent integer REFERENCES nodes ON DELETE CASCADE, note text)"
    )
    watching.watch(conn, ["nodes"])


def test_a_cascade_comes_back_parents_first_and_goes_children_first(db):
    tree(db)
    rows = [(3, None, None), (1, 3, None), (2, 1, None), (4, 2, None), (5, 4, None)]
    db.execute("SELECT llamalog.set_context(source => 'enrichment', job_id => 'plant')")
    db.cursor().executemany("INSERT INTO nodes VALUES (%s, %s, %s)", rows)
    db.execute("SELECT llamalog.set_context(source => 'enrichment', job_id => 'fell')")
    db.execute("DELETE FROM nodes WHERE id = 3")
    assert revert(db, job_id="fell")
    assert db.execute("SELECT * FROM nodes ORDER BY id").fetchall() == sorted(rows)
    assert revert(db, "ours", job_id="plant")
    assert db.execute("SELECT count(*) FROM nodes").fetchone()[0] == 0


def test_rows_that_refer_to_each_other_come_back_where_keys_can_wait(db):
    db.execute(
        "CREATE TABLE ends (id integer PRIMARY KEY, other integer NOT NULL"
        " REFERENCES ends DEFERRABLE)"
    )
    watching.watch(db, ["ends"])
    db.execute("INSERT INTO ends VALUES (1, 2), (2, 1)")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("DELETE FROM ends")
    assert revert(db, job_id="j")
    db.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert db.execute("SELECT * FROM ends ORDER BY id").fetchall() == [(1, 2), (2, 1)]


def test_a_unique_value_is_free_before_it_is_taken_back(db, new):
    one = new.album(db, "one", spotify_id="x")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("UPDATE albums SET spotify_id = NULL")
    new.album(db, "two", spotify_id="x")
    assert revert(db, job_id="j")
    assert db.execute("SELECT id::text, spotify_id FROM albums").fetchall() == [(one, "x")]


def test_a_unique_value_that_another_row_has_names_that_row_and_undoes_the_rest(db, new):
    new.album(db, "one", spotify_id="x")
    other = new.album(db, "two", label="EMI")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("UPDATE albums SET spotify_id = NULL, label = 'Capitol'")
    db.execute("SELECT llamalog.set_context(job_id => 'k')")
    third = new.album(db, "three", spotify_id="x")
    plan = reverting.plan(db, Target(job_id="j"))
    with (
        pytest.raises(RevertTaken, match=f'needs what ALBUM "{third}" has') as error,
        db.transaction(),
    ):
        reverting.revert(db, plan)
    assert error.value.detail.splitlines() == [
        "Key (spotify_id)=(x) already exists.", "By the rule public.albums_spotify_id_key.",
    ]  # fmt: skip
    assert "nothing was reverted" in error.value.hint
    assert db.execute("SELECT id::text FROM albums WHERE label = 'Capitol'").fetchall() != [
        (other,)
    ]


def test_a_key_that_somebody_takes_while_it_is_brought_back_is_told(database, connect):
    shelf(database)
    database.execute("INSERT INTO \"odd shelf\" VALUES ('a,b', 1, 'x')")
    database.execute('DELETE FROM "odd shelf"')
    plan = reverting.plan(database, Target(change=last_seq(database)))
    other, third = connect(database), connect(database)
    with ThreadPoolExecutor() as pool:
        with other.transaction():
            other.execute("INSERT INTO \"odd shelf\" VALUES ('a,b', 1, 'y')")
            waiting = pool.submit(reverting.revert, database, plan)
            while not third.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall():
                assert not waiting.done()
        with pytest.raises(RevertTaken, match="INSERT of SHELF") as error:
            waiting.result()
    assert '"Room", slot)=(a,b, 1) already exists' in error.value.detail
    assert third.execute('SELECT * FROM "odd shelf"').fetchall() == [("a,b", 1, "y")]
    assert third.execute(
        "SELECT count(*) FROM llamalog.log WHERE source = 'revert'"
    ).fetchone() == (0,)


@pytest.mark.parametrize(
    ("rule", "holder"),
    [
        ("CREATE UNIQUE INDEX same ON prices ((f % 10))", "another row"),
        ("CREATE UNIQUE INDEX same ON prices (f) WHERE f > 0", 'PRICE "2"'),
        ("ALTER TABLE prices ADD CONSTRAINT same EXCLUDE USING btree (f WITH =)", "another row"),
    ],
)
def test_whatever_rule_is_broken_the_revert_says_so(db, rule, holder):
    prices(db)
    db.execute(rule.encode())
    db.execute("INSERT INTO prices VALUES (1, 1)")
    db.execute("DELETE FROM prices")
    seq = last_seq(db)
    db.execute("INSERT INTO prices VALUES (2, 1)")
    with pytest.raises(RevertTaken, match=f'INSERT of PRICE "1" needs what {holder} has') as error:
        revert(db, change=seq)
    assert "By the rule public.same." in error.value.detail


# -- what the log does not have, or nobody can set --------------------------------------------------------------------


@pytest.mark.parametrize("key", ["id", "n"])
def test_an_identity_that_is_always_generated_is_not_set_in_a_row_that_is_there(each_db, key):
    db = each_db
    db.execute(
        "CREATE TABLE tickets (id integer NOT NULL, n integer GENERATED ALWAYS AS IDENTITY, note text,"
        f" PRIMARY KEY ({key}))"
    )
    watching.watch(db, ["tickets"])
    db.execute("INSERT INTO tickets (id, note) VALUES (7, 'a')")
    db.execute("UPDATE tickets SET n = DEFAULT, note = 'b'")
    seq = last_seq(db)
    with pytest.raises(RevertIncomplete) as error, db.transaction():
        revert(db, change=seq)
    number = {"id": 7, "n": 2}[key]
    assert error.value.detail == (
        f"TICKET {number} n: generated always as identity: no UPDATE can set it"
    )
    assert revert(db, is_partial=True, change=seq)
    assert db.execute("SELECT * FROM tickets").fetchall() == [(7, 2, "a")]
    db.execute("DELETE FROM tickets")
    assert revert(db, change=last_seq(db))
    assert db.execute("SELECT * FROM tickets").fetchall() == [(7, 2, "a")]


def test_an_identity_that_a_trigger_insists_on_is_warned_of(db):
    db.execute(
        """
        CREATE TABLE tickets (id integer PRIMARY KEY, n integer GENERATED ALWAYS AS IDENTITY, note text);
        CREATE FUNCTION insist() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN NEW.n := 100; NEW.note := upper(NEW.note); RETURN NEW; END';
        """
    )
    watching.watch(db, ["tickets"])
    db.execute("INSERT INTO tickets (id, note) VALUES (7, 'a'); DELETE FROM tickets")
    db.execute(
        "CREATE TRIGGER insist BEFORE INSERT ON tickets FOR EACH ROW EXECUTE FUNCTION insist()"
    )
    assert revert(db, change=last_seq(db))
    assert db.execute("SELECT * FROM tickets").fetchall() == [(7, 100, "a")]


@pytest.mark.parametrize(
    "statement", ["UPDATE users SET email = 'c@d', name = 'b'", "DELETE FROM users"]
)
def test_redacted_values_do_not_come_back(each_db, statement):
    db = each_db
    db.execute("CREATE TABLE users (id integer PRIMARY KEY, name text, email text DEFAULT 'none')")
    watching.watch(db, ["users"], Options(redact=["email"]))
    db.execute("INSERT INTO users VALUES (1, 'a', 'a@b')")
    db.execute(statement)
    with pytest.raises(RevertIncomplete) as error, db.transaction():
        revert(db, change=last_seq(db))
    assert error.value.sqlstate == "LL022"
    assert "USER 1 email: redacted" in error.value.detail
    assert revert(db, is_partial=True, change=last_seq(db))
    email = "c@d" if "UPDATE" in statement else "none"
    assert db.execute("SELECT * FROM users").fetchall() == [(1, "a", email)]


def test_a_redacted_value_refers_to_nothing_that_could_be_looked_for(db):
    db.execute(
        "CREATE TABLE people (id integer PRIMARY KEY);"
        "CREATE TABLE notes (id integer PRIMARY KEY, person integer REFERENCES people, note text)"
    )
    watching.watch(db, ["notes"], Options(redact=["person"]))
    db.execute("INSERT INTO people VALUES (7); INSERT INTO notes VALUES (1, 7, 'a')")
    db.execute("DELETE FROM notes")
    with pytest.raises(RevertIncomplete), db.transaction():
        revert(db, change=last_seq(db))
    assert revert(db, is_partial=True, change=last_seq(db))
    assert db.execute("SELECT * FROM notes").fetchall() == [(1, None, "a")]


def test_what_was_redacted_only_then_or_only_since_is_no_later_writer(db):
    db.execute("CREATE TABLE users (id integer PRIMARY KEY, name text, email text)")
    watching.watch(db, ["users"])
    db.execute("INSERT INTO users VALUES (1, 'a', 'a@b')")
    db.execute("UPDATE users SET email = 'c@d'")
    first = last_seq(db)
    watching.watch(db, ["users"], Options(redact=["email"]))
    revert(db, change=first)
    db.execute("UPDATE users SET name = 'b', email = 'e@f'")
    then = last_seq(db)
    assert db.execute("SELECT before->>'email' FROM llamalog.log ORDER BY seq").fetchall() == [
        (None,), ("a@b",), ("[redacted]",), ("[redacted]",),
    ]  # fmt: skip
    watching.watch(db, ["users"], Options(redact=["none"]))
    revert(db, is_partial=True, change=then)
    assert db.execute("SELECT * FROM users").fetchall() == [(1, "a", "e@f")]


def test_a_column_that_was_dropped_does_not_come_back(db):
    db.execute("CREATE TABLE users (id integer PRIMARY KEY, name text, age integer)")
    watching.watch(db, ["users"])
    db.execute("INSERT INTO users VALUES (1, 'a', 7)")
    db.execute("UPDATE users SET name = 'b', age = 8")
    db.execute("ALTER TABLE users DROP COLUMN age, ADD COLUMN size integer DEFAULT 3")
    with pytest.raises(RevertIncomplete) as error, db.transaction():
        revert(db, change=last_seq(db))
    assert re.search(
        r"^USER 1 age \(dropped 20.*\): the table has no such column any more$", error.value.detail
    )
    assert revert(db, is_partial=True, change=last_seq(db))
    assert db.execute("SELECT * FROM users").fetchall() == [(1, "a", 3)]


def test_a_column_that_came_again_under_its_name_is_another_one(each_db):
    db = each_db
    db.execute("CREATE TABLE users (id integer PRIMARY KEY, name text, age integer)")
    watching.watch(db, ["users"])
    db.execute("INSERT INTO users VALUES (1, 'a', 7)")
    db.execute("UPDATE users SET name = 'b', age = 8")
    changed = last_seq(db)
    db.execute("ALTER TABLE users DROP COLUMN age")
    db.execute("ALTER TABLE users ADD COLUMN age text DEFAULT 'young'")
    db.execute("UPDATE users SET age = 'old'")
    later = last_seq(db)
    with pytest.raises(RevertIncomplete) as error, db.transaction():
        revert(db, change=changed)
    assert re.search(
        r"^USER 1 age \(dropped 20.*\): the table has no such column any more$", error.value.detail
    )
    assert revert(db, is_partial=True, change=changed)
    assert db.execute("SELECT * FROM users").fetchall() == [(1, "a", "old")]
    assert revert(db, change=later)
    assert db.execute("SELECT * FROM users").fetchall() == [(1, "a", "young")]


def test_renamed_columns_are_followed(each_db):
    db = each_db
    db.execute('CREATE TABLE users (id integer PRIMARY KEY, name text, "Age" integer)')
    watching.watch(db, ["users"])
    db.execute("INSERT INTO users VALUES (1, 'a', 7)")
    first = clock(db)
    db.execute("""UPDATE users SET name = 'b', "Age" = 8""")
    changed = last_seq(db)
    db.execute('ALTER TABLE users RENAME "Age" TO years')
    db.execute('ALTER TABLE users RENAME name TO "Age"')
    db.execute("UPDATE users SET years = 9")
    later = last_seq(db)
    assert f"years: set since by change {later}" in refused(db, RevertConflict, change=changed)
    db.execute("DELETE FROM users")
    removed = last_seq(db)
    db.execute("ALTER TABLE users RENAME id TO key")
    assert revert(db, change=removed)
    assert revert(db, entity_type="USER", entity_id="1", to_at=first)
    assert db.execute('SELECT key, "Age", years FROM users').fetchall() == [(1, "a", 7)]


def test_columns_that_changed_names_at_once_are_told_apart(db):
    """Without event triggers, what happened in a day is noticed at once."""
    said = [
        ("renamed", "b", "a", "2026-01-02"),
        ("dropped", "c", None, "2026-01-02"),
        ("renamed", "c", "b", "2026-01-02"),
        ("added", "d", None, "2026-01-02"),
        ("renamed", "e", "b", "2026-01-03"),
    ]
    db.cursor().executemany(
        "INSERT INTO llamalog.column_changes (entity_type, change, column_name, old_name, noticed_at, after_at)"
        " VALUES ('ALBUM', %s, %s, %s, %s, '2026-01-01')",
        said,
    )
    after = "SELECT llamalog.after_column_changes(%s::jsonb, ARRAY(SELECT c FROM llamalog.column_changes AS c))"
    assert db.execute(after, ['{"a": 1, "b": 2, "c": 1.50}']).fetchone()[0] == {
        "e": 1,
        "c": 2,
        "c (dropped 2026-01-02 00:00:00+00)": 1.50,
    }
    assert [db.execute(after, [image]).fetchone()[0] for image in ("{}", None)] == [{}, None]


@pytest.mark.parametrize("made", ["id + 1", "id % 10"])
def test_a_row_whose_key_the_server_makes_is_reverted(each_db, made):
    db = each_db
    db.execute(
        f"CREATE TABLE things (key integer GENERATED ALWAYS AS ({made}) STORED PRIMARY KEY, id integer, v integer)".encode()
    )
    watching.watch(db, ["things"])
    db.execute("INSERT INTO things (id, v) VALUES (1, 1)")
    db.execute("UPDATE things SET id = 5, v = 2")
    moved = last_seq(db)
    db.execute("DELETE FROM things")
    for change in (last_seq(db), moved):
        assert revert(db, change=change)
    assert db.execute("SELECT id, v FROM things").fetchall() == [(1, 1)]


# -- what cannot be reverted ------------------------------------------------------------------------------------------


def refused(conn, kind, **target):
    with pytest.raises(kind) as error, conn.transaction():
        revert(conn, **target)
    assert error.value.hint
    return f"{error.value}: {error.value.detail}"


def test_what_is_not_there_is_not_reverted(db, new, changes):
    album = new.album(db)
    assert "no change 99999" in refused(db, UnknownChange, change=99999)
    assert "No month is archived" in refused(db, UnknownChange, change=99999)
    refused(db, UnknownJob, job_id="never")
    refused(db, UnknownEntity, entity_type="ALBUM", entity_id="never", to_at=clock(db))
    refused(db, UnknownEntityType, entity_type="ALBM", entity_id=album, to_at=clock(db))
    refused(
        db, NotKnown, entity_type="ALBUM", entity_id=album, to_at=datetime(2020, 1, 1, tzinfo=UTC)
    )
    refused(db, Misuse, change=1, job_id="j")
    refused(db, Misuse, entity_type="ALBUM", entity_id=album)
    with pytest.raises(Misuse, match='unknown winner "nobody"'), db.transaction():
        reverting.plan(db, Target(change=1), wins="nobody")


def test_a_row_of_the_applications_own_is_no_change(db):
    db.execute("SELECT llamalog.record_failure('enrichment', 'boom')")
    assert "it changed no row" in refused(db, CannotRevert, change=last_seq(db))


def test_a_table_no_longer_watched_or_watched_again_is_not_written(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1)")
    seq = last_seq(db)
    watching.unwatch(db, ["prices"])
    assert "no longer watched" in refused(db, NotWatched, change=seq)
    watching.watch(db, ["prices"])
    assert "is watched again since" in refused(db, NotKnown, change=seq)
    db.execute("DROP TABLE prices")
    assert "no longer watched" in refused(db, NotWatched, change=seq)


def test_a_change_in_an_archived_month_is_not_taken_back(db, new):
    new.album(db)
    db.execute(
        "INSERT INTO llamalog.archived_months (month, partition, row_count, removed_count, checksum, archived_at)"
        " VALUES ('2100-01-01', 'llama_logs_2100_01', 0, 0, 'x', now())"
    )
    assert "are archived" in refused(db, NotKnown, change=last_seq(db))
    assert "are archived" in refused(db, UnknownChange, change=99999)


def events(conn):
    conn.execute(
        "CREATE TABLE events (id integer, region text, n integer, PRIMARY KEY (id, region)) PARTITION BY LIST (region)"
    )
    for region in ("north", "south"):
        conn.execute(
            f"CREATE TABLE {region} PARTITION OF events FOR VALUES IN ('{region}')".encode()
        )
    watching.watch(conn, ["events"])


def test_a_move_between_partitions_is_one_change(db):
    events(db)
    db.execute("INSERT INTO events VALUES (1, 'north', 1)")
    db.execute("UPDATE events SET region = 'south', n = 2")
    seq = last_seq(db)
    assert f"change {seq}, stands for both" in refused(db, CannotRevert, change=seq - 1)
    assert revert(db, change=seq)
    assert db.execute("SELECT * FROM ONLY north").fetchall() == [(1, "north", 1)]


def test_a_row_deleted_before_another_moves_to_its_key_comes_back(db):
    events(db)
    db.execute("INSERT INTO events VALUES (1, 'north', 1), (1, 'south', 2)")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("DELETE FROM events WHERE n = 1")
    db.execute("UPDATE events SET region = 'north'")
    assert revert(db, job_id="j")
    assert db.execute("SELECT * FROM events ORDER BY n").fetchall() == [
        (1, "north", 1), (1, "south", 2),
    ]  # fmt: skip


def test_a_key_is_free_before_a_row_takes_it_back(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (11, 1)")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("INSERT INTO prices VALUES (1, 2)")
    db.execute("UPDATE prices SET id = id + 10 WHERE id > 1")
    db.execute("UPDATE prices SET id = id + 10 WHERE id = 1")
    assert revert(db, job_id="j")
    assert db.execute("SELECT * FROM prices").fetchall() == [(11, 1)]


def test_a_write_that_a_trigger_swallows_is_an_error_and_undoes_the_rest(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 1), (2, 2)")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("UPDATE prices SET f = f + 1")
    db.execute(
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN IF OLD.id = 1 THEN RETURN NULL; END IF; RETURN NEW; END'"
    )
    db.execute("CREATE TRIGGER keep BEFORE UPDATE ON prices FOR EACH ROW EXECUTE FUNCTION keep()")
    assert 'UPDATE of PRICE "1" changed 0 rows' in refused(db, RevertHindered, job_id="j")
    assert db.execute("SELECT * FROM prices ORDER BY id").fetchall() == [(1, 2), (2, 3)]


# -- jobs and entities ------------------------------------------------------------------------------------------------


def test_a_job_is_reverted_with_what_it_caused_and_a_revert_with_it(db, new):
    db.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add')")
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist)
    db.execute(
        "SELECT llamalog.set_context(source => 'enrichment', job_id => 'enrich', parent_job_id => 'add')"
    )
    new.track(db, album)
    db.execute("UPDATE albums SET label = 'EMI'")
    undone = revert(db, job_id="add")
    tables = ("albums", "artists", "album_artists", "tracks")
    count = " + ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    assert db.execute(f"SELECT {count}".encode()).fetchone()[0] == 0
    assert revert(db, job_id="add") is None
    assert revert(db, job_id=undone)
    assert db.execute(f"SELECT {count}".encode()).fetchone()[0] == 4
    assert db.execute("SELECT label FROM albums").fetchall() == [("EMI",)]


def test_the_context_of_the_caller_holds_again_afterwards(db, new, changes):
    new.album(db)
    db.execute("UPDATE albums SET label = 'a'")
    db.execute(
        "SELECT llamalog.set_context(source => 'admin_correction', job_id => 'mine', user_id => 'ann')"
    )
    revert(db, change=last_seq(db))
    db.execute("UPDATE albums SET label = 'b'")
    assert changes(db, "source, user_id", op="U")[1:] == [
        ("revert", "ann"),
        ("admin_correction", "ann"),
    ]


def test_an_entity_is_taken_back_to_a_time(each_db, new):
    db = each_db
    album = new.album(db, "one")
    first = clock(db)
    for title in ("two", "three"):
        db.execute("UPDATE albums SET title = %s", [title])
    db.execute("DELETE FROM albums")
    then = queries.as_of(db, "ALBUM", album, first)
    job = revert(db, entity_type="album", entity_id="three", to_at=first)
    assert queries.as_of(db, "ALBUM", album, clock(db)) == then
    row = queries.history(db, "ALBUM", album)[0]
    assert row.metadata["reverts"]["entity"] == f"ALBUM {album}"
    assert row.metadata["reverts"]["to"] == first
    assert (row.category, row.parent_job_id) == ("CREATED", job)
    assert revert(db, entity_type="ALBUM", entity_id=album, to_at=first) is None


def test_what_triggers_of_the_application_count_is_set_back_once(db):
    db.execute("CREATE TABLE boards (id integer PRIMARY KEY, posts integer, version integer)")
    db.execute("CREATE TABLE posts (id integer PRIMARY KEY, board_id integer REFERENCES boards)")
    watching.watch(db, ["boards", "posts"])
    db.execute(
        "CREATE FUNCTION tally() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE boards SET posts = posts + CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END; RETURN NULL; END $$"
    )
    db.execute(
        "CREATE TRIGGER tally AFTER INSERT OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION tally()"
    )
    db.execute("INSERT INTO boards VALUES (1, 0, 0)")
    db.execute("SELECT llamalog.set_context(job_id => 'j')")
    db.execute("INSERT INTO posts VALUES (1, 1), (2, 1)")
    assert revert(db, job_id="j")
    assert db.execute("SELECT * FROM boards").fetchall() == [(1, 0, 0)]


def test_a_trigger_that_insists_is_told(db):
    prices(db)
    db.execute("INSERT INTO prices VALUES (1, 0)")
    db.execute(
        "CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.f := OLD.f + 1; RETURN NEW; END'"
    )
    db.execute("CREATE TRIGGER bump BEFORE UPDATE ON prices FOR EACH ROW EXECUTE FUNCTION bump()")
    db.execute("UPDATE prices SET f = 0")
    said = []
    db.add_notice_handler(lambda notice: said.append(notice.message_primary))
    assert revert(db, change=last_seq(db))
    assert said == [
        'PRICE "1" is not as it was: a trigger of its table, or the type of a column, insists'
    ]


def test_a_trigger_that_fills_what_was_nothing_is_told(db):
    db.execute(
        "CREATE TABLE notes (id integer PRIMARY KEY, a text, b integer);"
        " INSERT INTO notes VALUES (1, NULL, 1);"
        " CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.a := coalesce(NEW.a, 'filled'); RETURN NEW; END$$;"
        " CREATE TRIGGER fill BEFORE UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION fill()"
    )
    watching.watch(db, ["notes"])
    db.execute("UPDATE notes SET a = 'said', b = 2")
    said = []
    db.add_notice_handler(lambda notice: said.append(notice.message_primary))
    assert revert(db, change=last_seq(db))
    assert db.execute("SELECT a, b FROM notes").fetchall() == [("filled", 1)]
    assert said == [
        'NOTE "1" is not as it was: a trigger of its table, or the type of a column, insists'
    ]


@pytest.mark.parametrize(
    ("was", "now", "value"),
    [("integer", "text", "2"), ("integer", "numeric(9,2)", "2.00"), ("char(2)", "char(4)", "2   "), ("date", "timestamp", "2026-01-02 00:00:00")],
)  # fmt: skip
def test_a_value_that_reads_otherwise_by_another_type_is_as_it_was(db, was, now, value):
    db.execute(f"CREATE TABLE notes (id integer PRIMARY KEY, a {was}, b integer)".encode())
    watching.watch(db, ["notes"])
    one, two, three = (
        ("'2026-01-02'", "'2026-01-03'", "'2026-01-04'") if was == "date" else ("2", "3", "4")
    )
    db.execute(f"INSERT INTO notes VALUES (1, {one}, 1)".encode())
    first = clock(db)
    db.execute(f"UPDATE notes SET a = {two}".encode())
    db.execute(f"ALTER TABLE notes ALTER a TYPE {now}".encode())
    db.execute(f"UPDATE notes SET a = CAST({three} AS {now})".encode())
    said = []
    db.add_notice_handler(lambda notice: said.append(notice.message_primary))
    assert revert(db, "ours", entity_type="NOTE", entity_id="1", to_at=first)
    assert db.execute("SELECT a::text, b FROM notes").fetchall() == [(value.rstrip(), 1)]
    assert said == []


@pytest.mark.parametrize(
    ("was", "now", "value", "cut"),
    [("text", "varchar(3)", "abcdef", "abc"), ("numeric", "numeric(9,1)", "2.55", "2.6")],
)
def test_a_value_that_its_column_cannot_hold_any_more_is_warned_of(db, was, now, value, cut):
    db.execute(f"CREATE TABLE notes (id integer PRIMARY KEY, a {was})".encode())
    watching.watch(db, ["notes"])
    db.execute("INSERT INTO notes VALUES (1, %s)", [value])
    db.execute("UPDATE notes SET a = '1'")
    seq = last_seq(db)
    db.execute(f"ALTER TABLE notes ALTER a TYPE {now}".encode())
    said = []
    db.add_notice_handler(lambda notice: said.append(notice.message_primary))
    assert revert(db, "ours", change=seq)
    assert db.execute("SELECT a::text FROM notes").fetchall() == [(cut,)]
    assert said == [
        'NOTE "1" is not as it was: a trigger of its table, or the type of a column, insists'
    ]


def test_a_revert_has_the_rights_of_its_caller(database, connect, new):
    new.album(database, "wrong")
    database.execute("UPDATE albums SET title = 'right'")
    database.execute("CREATE ROLE reader LOGIN")
    database.execute(
        "GRANT USAGE ON SCHEMA llamalog TO reader; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog, public TO reader"
    )
    try:
        reader = connect(database, user="reader")
        plan = reverting.plan(reader, Target(change=last_seq(database)))
        assert [step.action for step in plan.writes] == ["update"]
        with pytest.raises(LlamaLogError) as error:
            reverting.revert(reader, plan)
        assert error.value.sqlstate == "42501"
        reader.close()
    finally:
        database.execute("DROP OWNED BY reader; DROP ROLE reader")


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_asks_and_does(llamalog, database, new):
    album = new.album(database, "Ok computer")
    database.execute("UPDATE albums SET title = 'OK Computer', label = '[bold]'")
    seq = str(last_seq(database))
    shown = llamalog("revert", "--change", seq, "--dry-run")
    assert shown.exit_code == 0
    assert [line.split() for line in shown.stdout.splitlines()[1:]] == [
        ["change", "ALBUM", "“OK", "Computer”", album, "label", "[bold]", "nothing"],
        ["title", "OK", "Computer", "Ok", "computer"],
    ]
    asked = llamalog("revert", "--change", seq)
    assert (asked.exit_code, asked.stderr.splitlines()[0]) == (
        2,
        "error: a yes is needed: Change 1 row? (22023)",
    )
    done = llamalog("revert", "--change", seq, "--yes", "--user", "mia", "--reason", "so it was")
    (job,) = database.execute(
        "SELECT job_id FROM llamalog.log WHERE source = 'revert' AND user_id = 'mia' AND reason = 'so it was'"
    ).fetchone()
    assert done.stderr == (
        f"[🦙 LlamaLog] job {job}: changed 1 row; to take that back: llamalog revert --job {job}\n"
    )
    again = llamalog("revert", "--change", seq, "--yes")
    assert (again.exit_code, again.stdout, again.stderr) == (
        0,
        "",
        "[🦙 LlamaLog] nothing to undo\n",
    )
    result = json.loads(llamalog("revert", "--job", job, "--yes", "--format", "json").stdout)
    assert [(step["action"], step["after"]["title"]) for step in result["plan"]] == [
        ("update", "OK Computer")
    ]
    assert result["job_id"].startswith("revert:")


def test_the_command_shows_no_value_where_none_is_known(llamalog, database):
    database.execute("CREATE TABLE people (id integer PRIMARY KEY, email text, phone text)")
    watching.watch(database, ["people"], Options(redact=["email"]))
    database.execute("INSERT INTO people VALUES (1, 'a@b', '1')")
    database.execute("UPDATE people SET email = 'c@d', phone = '2'")
    seq = str(last_seq(database))
    database.execute("ALTER TABLE people DROP phone")
    shown = llamalog("revert", "--change", seq, "--dry-run").stdout
    assert "nothing" not in shown
    (column,) = (line.split() for line in shown.splitlines() if line.startswith("column"))
    assert column[:4] == ["column", "PERSON", "1", "phone"]
    assert column[column.index("the") - 1] == "1"
    (masked,) = (line.split() for line in shown.splitlines() if line.startswith("masked"))
    assert masked[:6] == ["masked", "PERSON", "1", "email", "[redacted]", "redacted:"]


def test_the_command_names_what_is_in_the_way(llamalog, database, new):
    album = new.album(database, "one")
    first = str(clock(database))
    database.execute("UPDATE albums SET title = 'two'")
    seq = last_seq(database)
    database.execute("UPDATE albums SET title = E'three\\x1b'")
    shown = llamalog("revert", "--change", str(seq), "--dry-run")
    assert shown.exit_code == 1
    assert "conflict" in shown.stdout
    assert f"set since by change {seq + 1}" in shown.stdout
    assert "three\\x1b" in shown.stdout
    narrow = llamalog("revert", "--change", str(seq), "--dry-run", COLUMNS="72").stdout
    assert "conflict" in narrow
    assert f"change {seq + 1}" in " ".join(narrow.split())
    refused = llamalog("revert", "--change", str(seq), "--yes")
    assert refused.exit_code == 1
    assert (
        refused.stderr.splitlines()[0]
        == "error: later writers are in the way of the revert (LL020)"
    )
    assert "--theirs" in refused.stderr.splitlines()[-1]
    kept = llamalog("revert", "--change", str(seq), "--theirs", "--yes")
    assert (kept.exit_code, kept.stderr) == (0, "")
    script = llamalog("revert", "ALBUM", album, "--to", first, "--sql").stdout
    assert "-- UPDATE public.albums AS live SET title = 'one'::character varying(255)" in script
    database.execute(script.encode())
    assert database.execute("SELECT title FROM albums").fetchall() == [("one",)]


def test_the_command_shows_of_a_reference_what_refers(llamalog, database):
    database.execute(
        """
        CREATE TABLE shelves (room integer, slot integer, PRIMARY KEY (room, slot));
        CREATE TABLE discs (id integer PRIMARY KEY, room integer, slot integer, owner integer REFERENCES discs, note text,
            FOREIGN KEY (room, slot) REFERENCES shelves);
        INSERT INTO shelves VALUES (1, 10), (2, 20)
        """
    )
    watching.watch(database, ["discs"])
    database.execute("INSERT INTO discs VALUES (1, 1, 10, NULL), (2, 1, 10, 1)")
    then = clock(database)
    database.execute("UPDATE discs SET room = 2, slot = 20, owner = NULL, note = 'a' WHERE id = 2")
    database.execute("DELETE FROM discs WHERE id = 1; DELETE FROM shelves WHERE room = 1")

    def shown(*words):
        said = llamalog("revert", *words, "--dry-run", COLUMNS="250").stdout.splitlines()
        lines = [re.split(r"\s{2,}", line) for line in said if line.startswith("reference")]
        return sorted(line[2:5] for line in lines)

    assert shown("DISC", "2", "--to", then) == [
        ["owner", "nothing", "1"],
        ["room, slot", "room: 2, slot: 20", "room: 1, slot: 10"],
    ]
    assert shown("--change", str(last_seq(database))) == [
        ["room, slot", "nothing", "room: 1, slot: 10"]
    ]


def test_the_command_brings_back_and_removes_and_shows_no_more_than_fits(
    llamalog, database, new, monkeypatch
):
    monkeypatch.setattr(sys.modules["llamalog_sql.cli.revert"], "_LINES", 5)
    album = new.album(database)
    database.execute(
        "INSERT INTO tracks (album_id, title, track_number, updated_at)"
        " SELECT %s, 't', n, now() FROM generate_series(1, 9) AS n",
        [album],
    )
    with database.transaction():
        database.execute("SELECT llamalog.set_context(job_id => 'fell')")
        database.execute("DELETE FROM albums")
    done = llamalog("revert", "--job", "fell", "--yes")
    assert len(done.stdout.splitlines()) == 6
    assert done.stdout.splitlines()[1].split()[:3] == ["bring", "back", "ALBUM"]
    assert "only 5 lines" in done.stderr
    assert "brought back 10 rows" in done.stderr
    (job,) = database.execute("SELECT job_id FROM llamalog.jobs WHERE source = 'revert'").fetchone()
    shown = llamalog("revert", "--job", job, "--dry-run", "--format", "jsonl").stdout.splitlines()
    assert {json.loads(line)["action"] for line in shown} == {"delete"}
    assert "Remove 10 rows?" in llamalog("revert", "--job", job).stderr


def test_nobody_says_yes_to_a_plan_that_he_has_not_seen(llamalog, database, new):
    new.album(database, "Ok computer")
    database.execute("UPDATE albums SET title = 'OK Computer'")
    asked = llamalog("revert", "--change", str(last_seq(database)), "--format", "json")
    assert (asked.exit_code, asked.stdout) == (2, "")
    assert [line.split()[0] for line in asked.stderr.splitlines()[:3]] == [
        "entity",
        "change",
        "error:",
    ]
    assert "OK Computer  Ok computer" in asked.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--change", "1", "--job", "j"],
        ["ALBUM"],
        ["ALBUM", "x"],
        ["ALBUM", "x", "--change", "1"],
        ["--to", "2026-01-01"],
        ["--to", "2026-01-01", "--change", "1"],
    ],
)
def test_the_command_wants_one_thing_to_revert(words):
    result = CliRunner().invoke(main, ["revert", *words])
    assert (result.exit_code, result.stderr.splitlines()[0]) == (2, "error: revert what? (22023)")


# -- whatever was written ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", sampled(variants("values"), 5), indirect=True)
def test_every_value_of_every_type_comes_back(watched):
    conn = watched.conn
    with conn.transaction(force_rollback=True):
        before = watched_part(watched, state_of(watched))
        job(watched, "job", undisguised(every_value()))
        seqs = [seq for (seq,) in conn.execute("SELECT seq FROM llamalog.log ORDER BY seq DESC")]
        after = watched_part(watched, state_of(watched))
        for setting in (
            "DateStyle = 'SQL, DMY'",
            "TimeZone = 'Asia/Kathmandu'",
            "search_path = ''",
        ):
            conn.execute(f"SET LOCAL {setting}".encode())
        undone = revert(conn, job_id="job")
        assert watched_part(watched, state_of(watched)) == before
        revert(conn, job_id=undone)
        assert watched_part(watched, state_of(watched)) == after
        for seq in seqs:
            revert(conn, "ours", change=seq)
        assert watched_part(watched, state_of(watched)) == before


@pytest.mark.parametrize(
    "watched", sampled(variants("types", "family", "partitions"), 6), indirect=True
)
@FEW
@given(data=st.data())
def test_a_reverted_job_leaves_no_trace_and_a_reverted_revert_no_other(watched, data):
    texts = [
        undisguised(data.draw(statements(watched.scene), label=name)) for name in ("before", "job")
    ]
    with watched.conn.transaction(force_rollback=True):
        job(watched, "before", texts[0], note)
        before = watched_part(watched, state_of(watched))
        note("-- job")
        job(watched, "job", texts[1], note)
        after = watched_part(watched, state_of(watched))
        # a key that is to go to another row must not take those along that refer to it
        if said_of(watched.conn, None, job_id="job") == "LL021":
            return
        undone = watched.conn.execute(
            "SELECT max(job_id) FROM llamalog.jobs WHERE source = 'revert'"
        ).fetchone()[0]
        assert watched_part(watched, state_of(watched)) == before
        assert (undone is None) == (before == after)
        if undone:
            revert(watched.conn, job_id=undone)
            assert watched_part(watched, state_of(watched)) == after


#: A row that is deleted under another key than it comes back with, or whose key another one comes to, is another entity from then on.
KEY_CHANGES_HANDS = """
    SELECT
    FROM llamalog.log AS moved
    JOIN llamalog.log AS other
        USING (entity_type)
    WHERE moved.previous_id IS NOT NULL
        AND other.entity_id IN (moved.entity_id, moved.previous_id)
        AND (other.op IN ('D', 'T') OR other.op = 'I' AND other.seq > moved.seq)
    LIMIT 1
"""

#: Of what a job wrote to and fro nothing is left to take back: it stays written.
TO_AND_FRO = """
    SELECT
    FROM llamalog.log AS one
    JOIN llamalog.log AS other
        USING (entity_type)
    WHERE one.source = 'trial'
        AND other.source = 'trial'
        AND one.entity_id IN (other.entity_id, other.previous_id)
        AND one.seq < other.seq
        AND (
            one.op IN ('D', 'T') AND other.op = 'I'
            OR one.op = 'I' AND other.op IN ('D', 'T')
            OR EXISTS (
                SELECT
                FROM jsonb_each(one.before) AS field
                WHERE other.after -> field.key = field.value
            )
        )
    LIMIT 1
"""


@pytest.mark.parametrize(
    "watched", sampled(variants("types", "family", "partitions"), 6), indirect=True
)
@FEW
@given(data=st.data())
def test_jobs_are_undone_step_by_step_and_redone(watched, data):
    conn = watched.conn
    with conn.transaction(force_rollback=True):
        states = [watched_part(watched, state_of(watched))]
        jobs = [f"job {number}" for number in range(data.draw(st.integers(2, 4), label="jobs"))]
        for name in jobs:
            note(f"-- {name}")
            job(watched, name, undisguised(data.draw(statements(watched.scene), label=name)), note)
            states.append(watched_part(watched, state_of(watched)))
        if conn.execute(KEY_CHANGES_HANDS).fetchall():
            return
        # undone, redone, and undone again
        for _ in range(3):
            undone = []
            places = range(len(jobs), 0, -1)
            for name, place in zip(reversed(jobs), places, strict=True):
                try:
                    undone.append(revert(conn, job_id=name) if name else None)
                except RevertReferences:
                    # a key that is to go to another row must not take those along that refer to it
                    return
                except RevertConflict:
                    assert conn.execute(TO_AND_FRO).fetchall()
                    return
                assert watched_part(watched, state_of(watched)) == states[place - 1]
            jobs = undone
            states.reverse()


@pytest.mark.parametrize(
    "watched", sampled(variants("types", "family", "partitions"), 6), indirect=True
)
@FEW
@given(data=st.data())
def test_an_entity_reverted_to_an_instant_is_as_it_was(watched, data):
    texts = undisguised(data.draw(statements(watched.scene), label="statements"))
    place = data.draw(st.integers(0, len(texts)), label="instant")
    with watched.conn.transaction(force_rollback=True):
        write(watched, texts[:place], note)
        note("-- instant")
        first = clock(watched.conn)
        write(watched, texts[place:], note)
        known = watched.conn.execute(
            "SELECT DISTINCT entity_type, entity_id FROM llamalog.log WHERE link_type IS NULL AND entity_type <> 'PERSON'"
        ).fetchall()
        for entity_type, entity_id in known[:3]:
            with watched.conn.transaction(force_rollback=True):
                then = queries.as_of(watched.conn, entity_type, entity_id, first)
                note(f"-- {entity_type} {entity_id}")
                # other rows are as they are: a key may be taken, a whole be gone
                said = said_of(
                    watched.conn, None, entity_type=entity_type, entity_id=entity_id, to_at=first
                )
                if said in ("LL021", "LL026", "23503"):
                    continue
                assert said is None
                now = clock(watched.conn)
                # one that was deleted under another key than it had comes back as another entity
                ids = watched.conn.execute(
                    "SELECT DISTINCT entity_id FROM llamalog.log WHERE entity_type = %s AND link_type IS NULL",
                    [entity_type],
                ).fetchall()
                rows = [queries.as_of(watched.conn, entity_type, one, now) for (one,) in ids]
                assert (
                    then in rows
                    if then
                    else queries.as_of(watched.conn, entity_type, entity_id, now) is None
                )


OTHERS = "(SELECT * FROM llamalog.log WHERE 'others' IN (job_id, parent_job_id))"


@pytest.mark.parametrize("watched", sampled(variants("family"), 5), indirect=True)
@FEW
@given(data=st.data())
def test_what_only_the_job_touched_is_as_before_and_what_others_set_is_kept(watched, data):
    texts = [undisguised(data.draw(statements(watched.scene), label=n)) for n in ("job", "others")]
    with watched.conn.transaction(force_rollback=True):
        before = watched_part(watched, state_of(watched))
        job(watched, "job", texts[0], note)
        note("-- others")
        job(watched, "others", texts[1], note)
        log = watched.reader.changes()
        theirs = {change.seq for change in watched.reader.changes(OTHERS)}
        touched = set()
        for change in [c for c in log if c.seq in theirs] + log[::-1] + log:
            names = {(change.table, change.key), (change.table, change.previous or change.key)}
            # a row has all of its keys at once
            if change.seq in theirs or names & touched:
                touched |= names
        after = watched_part(watched, state_of(watched))
        said = said_of(watched.conn, "theirs", job_id="job")
        if said in ("LL026", "LL019"):
            return
        assert said is None
        left = watched_part(watched, state_of(watched))
        renamed = {}
        for change in log:
            if change.previous:
                names = {(change.table, change.key), (change.table, change.previous)}
                names = names.union(*(renamed.get(name, ()) for name in names))
                renamed |= dict.fromkeys(names, names)
        # a link tells only one of its ends that changed
        for at in (before.keys() | after.keys()) - touched:
            row = left.get(at)
            rows = (before.get(at), after.get(at))
            # as it went on under another key
            others = [
                state[name]
                for state in (before, after)
                for name in renamed.get(at, ())
                if name in state
            ]
            if row is not None and (None not in rows or others):
                # where its whole is gone, it keeps the fields that refer to it
                assert all(
                    row[name] in [one[name] for one in [*rows, *others] if one] for name in row
                )
            elif at[0] != "LOAN":
                assert row in rows


def said_of(conn, wins, **target):
    """Revert; return the SQLSTATE of the error that keeps it from being done."""
    try:
        with conn.transaction():
            revert(conn, wins, **target)
    except LlamaLogError as error:
        return error.sqlstate
    return None


def job(db, name, texts, say=lambda text: None):
    """Run statements as a job of their own."""
    db.conn.execute("SELECT llamalog.set_context(source => 'trial', job_id => %s)", [name])
    return write(db, list(texts), say)


def undisguised(texts):
    """What says of itself that it was redacted is taken for it."""
    return [text.replace("[redacted]", "[shown]") for text in texts]


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ("key span[] PRIMARY KEY", "'{1 mon}'"),
        ("key app.at PRIMARY KEY", """'("2026-01-02 03:04+00","\\x01",1.5)'"""),
        ("key app.season PRIMARY KEY", "'[2026-01-02 03:04+00,2026-02-03)'"),
        # too long, and so cut
        (
            "word text, at instant, span interval, code bytea, ratio float8, stays tstzrange, PRIMARY KEY (word, at, span, code, ratio, stays)",
            """repeat('x', 1001), '2026-01-02 03:04+00', '1 mon', '\x01', 0.1::float8 + 0.2, '[2026-01-02 03:04+00,)'""",
        ),
        (
            """at instant, span interval, code bytea, ratios float8[], stays tstzrange, kind regclass, spans span[],
            PRIMARY KEY (album_id, artist_id, at, span, code, ratios, stays, kind, spans)""",
            """'2026-01-02 03:04+00', '1 mon', '\x01', ARRAY[0.1::float8 + 0.2], '[2026-01-02 03:04+00,)', 'albums', '{1 mon}'""",
        ),
    ],
    ids=["array of domains", "composite", "range", "cut", "link"],
)
def test_a_row_is_found_by_its_key_whatever_the_session_has_set(each_db, new, columns, values):
    db = each_db
    db.execute(
        """
        CREATE DOMAIN span AS interval;
        CREATE DOMAIN instant AS timestamptz;
        CREATE SCHEMA app;
        CREATE TYPE app.at AS (at timestamptz, code bytea, ratio float8);
        CREATE TYPE app.season AS RANGE (subtype = timestamptz);
        """
    )
    options = Options()
    if "album_id" in columns:
        columns = f"album_id uuid REFERENCES albums, artist_id uuid REFERENCES artists, {columns}"
        values = f"'{new.album(db)}', '{new.artist(db)}', {values}"
        options = Options(kind="link")
    db.execute(f"CREATE TABLE plays ({columns}, n integer DEFAULT 1)".encode())
    watching.watch(db, ["plays"], options)
    db.execute("SELECT llamalog.set_context(job_id => 'wrong', source => 'plays')")
    db.execute(f"INSERT INTO plays VALUES ({values})".encode())
    db.execute("SELECT llamalog.set_context(job_id => 'worse', source => 'plays')")
    db.execute("UPDATE plays SET n = 2")
    db.execute(
        """
        SET LOCAL TimeZone = 'Asia/Kathmandu';
        SET LOCAL DateStyle = 'SQL, DMY';
        SET LOCAL IntervalStyle = 'sql_standard';
        SET LOCAL bytea_output = 'escape';
        SET LOCAL extra_float_digits = -5;
        """
    )
    revert(db, job_id="worse")
    assert db.execute("SELECT n FROM plays").fetchall() == [(1,)]
    again = revert(db, "ours", job_id="wrong")
    assert db.execute("SELECT count(*) FROM plays").fetchone() == (0,)
    revert(db, job_id=again)
    assert db.execute("SELECT n FROM plays").fetchall() == [(1,)]


def test_a_row_named_by_an_object_is_known_whatever_the_session_quotes(db):
    db.execute("CREATE TABLE kinds (kind regclass PRIMARY KEY, title text, n integer UNIQUE)")
    watching.watch(db, ["kinds"])
    db.execute("INSERT INTO kinds VALUES ('albums', 'an album', 1)")
    db.execute("SET LOCAL quote_all_identifiers = on")
    said = []
    db.add_notice_handler(lambda notice: said.append(notice.message_primary))
    for statement in ("UPDATE kinds SET kind = 'tracks', n = 2", "DELETE FROM kinds"):
        db.execute(statement)
        assert revert(db, change=last_seq(db))
    assert said == []
    labels = "SELECT * FROM llamalog.labels('KIND', '{public.albums}')"
    assert db.execute(labels).fetchall() == [("public.albums", "an album", True)]
    db.execute("UPDATE kinds SET n = 2")
    seq = last_seq(db)
    db.execute("INSERT INTO kinds VALUES ('artists', 'an artist', 1)")
    with pytest.raises(RevertTaken, match=r'needs what KIND "public.artists" has'):
        revert(db, change=seq)
