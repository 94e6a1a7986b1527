"""Chain, tree and why: the family of an entity, whole and alone; pages that neither skip nor repeat."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from llamalog_sql import embedded, migrate, queries, watching
from llamalog_sql.errors import BadCursor, LlamaLogError, Misuse, NotInstalled


def sync(conn, new, count, *, one_job):
    """A nightly sync of albums with three tracks, one artist for every two albums, in one job or one job each."""
    albums = []
    if one_job:
        conn.execute("SELECT llamalog.set_context(source => 'spotify_sync', job_id => 'sync')")
    else:
        conn.execute("SELECT llamalog.start_job('sync', source => 'spotify_sync')")
    artists: dict[int, str] = {}
    for n in range(count):
        if not one_job:
            conn.execute(
                "SELECT llamalog.set_context(source => 'addAlbum', job_id => %s, parent_job_id => 'sync',"
                " root_job_id => 'sync')",
                [f"sync-{n}"],
            )
        album = new.album(conn, f"Album {n}")
        if n // 2 not in artists:
            artists[n // 2] = new.artist(conn, f"Artist {n // 2}")
        new.link(conn, album, artists[n // 2])
        for number in range(1, 4):
            new.track(conn, album, f"Track {number} of {n}", number)
        albums.append(album)
    conn.execute("SELECT llamalog.set_context(source => 'check')")
    return albums


def everything(conn, entity_type, entity_id, **filters):
    return queries.chain(conn, entity_type, entity_id, limit=10_000, **filters).logs


@pytest.mark.parametrize("one_job", [True, False], ids=["one job", "one job each"])
def test_chain_of_an_album_of_a_sync_holds_its_family_and_no_other(db, new, one_job):
    albums = sync(db, new, 200, one_job=one_job)
    for album in (albums[0], albums[77], albums[199]):
        found = Counter(
            (c.link_type or c.entity_type, c.category) for c in everything(db, "ALBUM", album)
        )
        assert found == {
            ("ALBUM", "CREATED"): 1,
            ("ARTIST", "CREATED"): 1,
            ("ALBUM_ARTIST", "LINKED"): 1,
            ("TRACK", "CREATED"): 3,
        }


def buffers_read(conn, album):
    """Pages that the chain of an album touches, as the server counts them."""
    conn.execute(
        "SELECT count(*) FROM llamalog.chain('ALBUM', %s)", [album]
    )  # plans and catalogues are cached now
    (row,) = conn.execute(
        f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) SELECT * FROM llamalog.chain('ALBUM', '{album}')"
    ).fetchone()
    plan = (row if isinstance(row, list) else json.loads(row))[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


@pytest.mark.parametrize("one_job", [True, False], ids=["one job", "one job each"])
def test_chain_in_a_sync_of_200_touches_no_more_pages_than_alone(database, new, connect, one_job):
    with database.transaction():
        (alone,) = sync(database, new, 1, one_job=one_job)
    pages_alone = buffers_read(connect(database), alone)
    with database.transaction():
        albums = sync(database, new, 200, one_job=one_job)
    database.execute("VACUUM ANALYZE")
    # an index of 2,000 rows is a level deeper than one of ten; a scan of the job's rows would be many times as much
    assert buffers_read(connect(database), albums[100]) < 2 * pages_alone


def test_chain_returns_root_and_all_children_by_time(db, new):
    db.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add')")
    artist = new.artist(db)
    album = new.album(db)
    new.link(db, album, artist)
    track = new.track(db, album)
    page = queries.chain(db, "album", album)
    assert [
        (c.link_type or c.entity_type, c.entity_id, c.is_root_job, c.parent_job_id)
        for c in page.logs
    ] == [
        ("ARTIST", artist, False, "add"),
        ("ALBUM", album, True, None),
        ("ALBUM_ARTIST", album, False, "add"),
        ("TRACK", track, False, "add"),
    ]
    assert (page.total_count, page.has_more, page.cursor) == (4, False, None)
    assert [c.created_at for c in page.logs] == sorted(c.created_at for c in page.logs)


def test_a_job_that_wrote_nothing_links_its_parent_to_the_job_it_started(db, new):
    db.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add')")
    album = new.album(db)
    db.execute(
        "SELECT llamalog.start_job('check', parent_job_id => 'add', source => 'enrichment_check')"
    )
    db.execute(
        "SELECT llamalog.set_context(source => 'enrichment', job_id => 'enrich', parent_job_id => 'check')"
    )
    # nothing but the jobs ties this artist to the album
    new.artist(db, "Found on the way")
    assert [
        (c.entity_type, c.job_id or c.parent_job_id) for c in everything(db, "ALBUM", album)
    ] == [
        ("ALBUM", "add"),
        ("ARTIST", "enrich"),
    ]
    nodes = {n.node: n for n in queries.tree(db, "ALBUM", album)}
    assert nodes["job check"].parent_node == "job add"
    assert nodes["job check"].seq is None
    assert nodes["job enrich"].parent_node == "job check"


SHOP = """
CREATE TABLE customers (id integer PRIMARY KEY, name text);
CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer REFERENCES customers ON DELETE CASCADE ON UPDATE CASCADE
);
"""


def test_job_of_a_head_that_an_earlier_job_made_hangs_below_the_job_that_wrote(db):
    db.execute(SHOP)
    watching.watch(db, ["customers", "orders"])
    db.execute("SELECT llamalog.set_context(source => 'checkout', job_id => 'I')")
    db.execute("INSERT INTO customers VALUES (4, 'Ann')")
    db.execute("SELECT llamalog.set_context(source => 'checkout', job_id => 'J')")
    db.execute("INSERT INTO orders VALUES (7, 4)")
    nodes = queries.tree(db, "CUSTOMER", "4")
    assert [(n.depth, n.node, n.parent_node) for n in nodes if n.seq is None] == [
        (0, "job I", None),
        (0, "job J", None),
        (1, "job J/CUSTOMER:4", "job J"),
    ]
    assert [(n.depth, n.parent_node, n.entity_type, n.entity_id) for n in nodes if n.seq] == [
        (1, "job I", "CUSTOMER", "4"),
        (2, "job J/CUSTOMER:4", "ORDER", "7"),
    ]


def test_chain_holds_no_parts_of_the_one_who_has_the_former_key_now(database):
    database.execute(SHOP)
    watching.watch(database, ["customers", "orders"])
    database.execute("INSERT INTO customers VALUES (1, 'Ann')")
    database.execute("INSERT INTO orders VALUES (10, 1)")
    database.execute("UPDATE customers SET id = 2")
    database.execute("INSERT INTO customers VALUES (1, 'Ben')")
    database.execute("INSERT INTO orders VALUES (11, 1)")
    database.execute("UPDATE orders SET id = id + 100")
    chains = {
        key: [
            (c.entity_type, c.category, c.entity_id) for c in everything(database, "CUSTOMER", key)
        ]
        for key in ("1", "2")
    }
    assert chains == {
        "1": [
            ("CUSTOMER", "CREATED", "1"),
            ("ORDER", "CREATED", "11"),
            ("ORDER", "UPDATED", "111"),
        ],
        "2": [
            ("CUSTOMER", "CREATED", "1"),
            ("ORDER", "CREATED", "10"),
            ("CUSTOMER", "UPDATED", "2"),
            ("ORDER", "UPDATED", "10"),
            ("ORDER", "UPDATED", "110"),
        ],
    }


def test_jobs_that_cause_each_other_in_a_circle_are_shown_once(db, new):
    db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', job_id => 'a', parent_job_id => 'b')"
    )
    album = new.album(db)
    db.execute(
        "SELECT llamalog.set_context(source => 'enrichment', job_id => 'b', parent_job_id => 'a')"
    )
    db.execute("UPDATE albums SET label = 'Parlophone'")
    assert [c.category for c in everything(db, "ALBUM", album)] == ["CREATED", "ENRICHED"]
    nodes = queries.tree(db, "ALBUM", album)
    assert sorted(n.category or "job" for n in nodes) == ["CREATED", "ENRICHED", "job"]
    assert len({n.node for n in nodes}) == len(nodes)


def test_chain_is_filtered_by_category_and_time(database, new):
    album = new.album(database)
    database.execute("UPDATE albums SET label = 'Parlophone'")
    database.execute("DELETE FROM albums")
    created, updated, deleted = everything(database, "ALBUM", album)
    assert [
        c.category for c in everything(database, "ALBUM", album, categories=["created", "DELETED"])
    ] == [
        "CREATED",
        "DELETED",
    ]
    assert [
        c.category for c in everything(database, "ALBUM", album, start_date=updated.created_at)
    ] == [
        "UPDATED",
        "DELETED",
    ]
    assert [
        c.category for c in everything(database, "ALBUM", album, end_date=updated.created_at)
    ] == ["CREATED"]
    assert created.seq < updated.seq < deleted.seq


def pages(conn, album, limit, between=lambda: None):
    cursor, seen = None, []
    while True:
        page = queries.chain(conn, "ALBUM", album, limit=limit, cursor=cursor)
        seen += [c.seq for c in page.logs]
        if not page.has_more:
            assert page.cursor is None
            return seen, page.total_count
        cursor = page.cursor
        between()


@pytest.mark.parametrize("limit", [1, 2, 7, 25, 26, 1000])
def test_pages_of_every_size_hold_each_row_once(db, new, limit):
    album = new.album(db)
    for number in range(1, 26):
        new.track(db, album, f"Track {number}", number)
    seen, total = pages(db, album, limit)
    assert seen == [c.seq for c in everything(db, "ALBUM", album)]
    assert total == len(seen) == 26


def test_pages_hold_what_the_asking_transaction_wrote_whoever_ends_meanwhile(
    database, new, connect
):
    other = connect(database)
    with database.transaction():
        album = new.album(database)
        for number in range(1, 6):
            new.track(database, album, f"Track {number}", number)
        seen, total = pages(
            database, album, 2, lambda: other.execute("SELECT pg_current_xact_id()")
        )
        assert seen == [c.seq for c in everything(database, "ALBUM", album)]
        assert total == 6


def test_pages_neither_skip_nor_repeat_while_rows_are_added(database, new, connect):
    album = new.album(database)
    for number in range(1, 11):
        new.track(database, album, f"Track {number}", number)
    slow, fast = connect(database), connect(database)
    slow.autocommit = False
    new.track(slow, album, "written before the first page, committed after it", 20)
    expected = [c.seq for c in everything(database, "ALBUM", album)]

    def meanwhile():
        slow.commit()
        new.track(fast, album, "written and committed after the first page", 21)

    seen, total = pages(database, album, 3, meanwhile)
    assert seen == expected
    assert total == 11
    assert len(everything(database, "ALBUM", album)) > 11


def test_rows_of_another_cluster_count_as_old_whatever_their_transaction_id(database, new):
    album = new.album(database)
    for number in range(1, 6):
        new.track(database, album, f"Track {number}", number)
    # as after a restore: transaction ids far ahead of this cluster's, which it has not noticed yet
    database.execute("UPDATE llamalog.llama_logs SET txid = '99999999'")
    seen, total = pages(database, album, 2)
    assert len(seen) == total == 6
    # and noticed: ids that here are running or to come
    database.execute(
        "UPDATE llamalog.llama_logs SET txid = pg_current_xact_id()::text::bigint::text::xid8"
    )
    database.execute("TRUNCATE llamalog.clusters")
    database.execute("SELECT * FROM llamalog.maintain()")
    seen, total = pages(database, album, 2)
    assert len(seen) == total == 6


def test_a_cursor_of_another_question_is_refused(db, new):
    album, other = new.album(db), new.album(db, "Kid A")
    new.track(db, album)
    cursor = queries.chain(db, "ALBUM", album, limit=1).cursor
    with pytest.raises(BadCursor, match="belongs to another question") as refused:
        queries.chain(db, "ALBUM", other, limit=1, cursor=cursor)
    assert refused.value.hint


@pytest.mark.parametrize("cursor", ["", "x", "%%%", "YSBi", "YSBiIGMgZCBl", "é" * 10, "A" * 10_000])
def test_a_malformed_cursor_is_refused(db, new, cursor):
    album = new.album(db)
    with pytest.raises(BadCursor, match="malformed cursor") as refused:
        queries.chain(db, "ALBUM", album, cursor=cursor)
    assert refused.value.sqlstate == "LL006"


def test_questions_that_make_no_sense_are_refused(db, new):
    album = new.album(db)
    with (
        pytest.raises(LlamaLogError, match="row_limit 0 is not positive") as refused,
        db.transaction(),
    ):
        queries.chain(db, "ALBUM", album, limit=0)
    assert refused.value.sqlstate == "22023"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="row_limit null"):
        db.execute("SELECT llamalog.history('ALBUM', %s, NULL)", [album])


@pytest.mark.parametrize("ask", [queries.history, queries.chain], ids=["history", "chain"])
def test_limit_that_no_integer_holds_is_refused_as_such(db, new, ask):
    album = new.album(db)
    with pytest.raises(LlamaLogError, match="integer out of range") as refused:
        ask(db, "ALBUM", album, limit=2**31)
    assert refused.value.sqlstate == "22003"


def test_numbers_of_images_are_exact(db):
    db.execute("CREATE TABLE prices (id integer PRIMARY KEY, amount numeric)")
    watching.watch(db, ["prices"])
    db.execute("INSERT INTO prices VALUES (1, 12345678901234567890.1230)")
    db.execute("UPDATE prices SET amount = 1.10")
    (change, _) = queries.history(db, "PRICE", "1")
    assert [str(change.before["amount"]), str(change.after["amount"])] == [
        "12345678901234567890.1230",
        "1.10",
    ]


def test_unknown_type_category_and_dates_are_refused_with_hints(db, new):
    album = new.album(db)
    cases = [
        (lambda: queries.chain(db, "ALBM", album), "LL003", 'unknown entity type "ALBM"'),
        (
            lambda: queries.chain(db, "ALBUM", album, categories=["NEW"]),
            "22023",
            'unknown category "NEW"',
        ),
        (
            lambda: queries.chain(
                db,
                "ALBUM",
                album,
                start_date=datetime(2026, 2, 1, tzinfo=UTC),
                end_date=datetime(2026, 1, 1, tzinfo=UTC),
            ),
            "22023",
            "the start, ",
        ),
        (lambda: queries.history(db, "ALBUM", "7"), "22P02", 'malformed id "7" for ALBUM'),
    ]
    for ask, sqlstate, message in cases:
        with pytest.raises(LlamaLogError) as refused, db.transaction():
            ask()
        assert refused.value.sqlstate == sqlstate
        assert message in str(refused.value)
        assert refused.value.hint


def test_tree_holds_the_rows_of_the_chain_each_below_its_job(db, new):
    db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add', user_id => 'ann')"
    )
    album = new.album(db)
    artist = new.artist(db)
    new.link(db, album, artist)
    db.execute(
        "SELECT llamalog.set_context(source => 'enrichment', job_id => 'enrich', parent_job_id => 'add')"
    )
    new.track(db, album)
    nodes = queries.tree(db, "ALBUM", album)
    assert [(n.depth, n.node if n.seq is None else n.category, n.label) for n in nodes] == [
        (0, "CREATED", "OK Computer"),
        (1, "CREATED", "Radiohead"),
        (1, "LINKED", "OK Computer"),
        (1, "job enrich", None),
        (2, "CREATED", "Airbag"),
    ]
    assert sorted(n.seq for n in nodes if n.seq) == sorted(
        c.seq for c in everything(db, "ALBUM", album)
    )


def test_why_tells_who_created_it_what_came_with_it_and_what_happened_since(db, new):
    db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add', user_id => 'ann')"
    )
    album = new.album(db)
    new.link(db, album, new.artist(db))
    db.execute(
        "SELECT llamalog.set_context(source => 'admin_correction', job_id => 'fix', user_id => 'mia')"
    )
    db.execute("UPDATE albums SET title = 'OK Computer OKNOTOK'")
    db.execute("SELECT llamalog.set_context()")
    db.execute("DELETE FROM albums")
    told = [s.sentence for s in queries.why(db, "ALBUM", album)]
    assert told[0] == (
        "ALBUM “OK Computer OKNOTOK” was created by user ann through addAlbum (a user adds an album), job add."
        " With it: 1 ARTIST created, 1 ALBUM_ARTIST linked."
    )
    assert told[1] == (
        "ALBUM “OK Computer OKNOTOK” was corrected by user mia through admin_correction"
        " (an administrator corrects an entity in the admin screens), job fix:"
        " title: “OK Computer” → “OK Computer OKNOTOK”."
    )
    assert told[2].startswith("ALBUM “OK Computer OKNOTOK” was deleted")


@pytest.mark.parametrize("target", ["other", "none"])
def test_the_story_of_a_whole_tells_that_a_part_left_it(db, new, target):
    album, other = new.album(db), new.album(db, "Kid A")
    track = new.track(db, album)
    db.execute("ALTER TABLE tracks ALTER COLUMN album_id DROP NOT NULL")
    db.execute("SELECT llamalog.set_context(source => 'fix', job_id => 'f')")
    db.execute("UPDATE tracks SET title = 'Ours' WHERE id = %s", [track])
    db.execute(
        "UPDATE tracks SET album_id = %s WHERE id = %s",
        [other if target == "other" else None, track],
    )
    if target == "other":
        db.execute("UPDATE tracks SET title = 'Theirs' WHERE id = %s", [track])
    changes = [c for c in everything(db, "ALBUM", album) if c.entity_type == "TRACK"]
    assert [sorted(c.fields_enriched or []) for c in changes][1:] == [["title"], ["album_id"]]
    leaving = changes[-1].seq
    assert leaving in {node.seq for node in queries.tree(db, "ALBUM", album)}
    assert queries.why(db, "ALBUM", album)[-1].sentence.endswith(
        "1 TRACK updated through fix, job f."
    )
    if target == "other":
        # the whole that it came to tells the same, and what follows
        told = [c.seq for c in everything(db, "ALBUM", other) if c.entity_type == "TRACK"]
        assert (told[0], len(told)) == (leaving, 2)


@pytest.mark.parametrize(
    ("kind", "one", "two"),
    [
        ("numeric(6,2)", "1.50", "2.00"),
        ("char(4)", "a", "b"),
        ("timestamptz", "2026-01-01", "2026-01-02"),
    ],
)
def test_a_former_whole_is_known_by_its_key_whatever_the_type(db, kind, one, two):
    db.execute(
        f"""
        CREATE TABLE boxes (place text, no {kind}, PRIMARY KEY (place, no));
        CREATE TABLE things (
            id int PRIMARY KEY, place text, no {kind}, FOREIGN KEY (place, no) REFERENCES boxes ON DELETE CASCADE
        );
        INSERT INTO boxes VALUES ('x,y', '{one}'), ('x,y', '{two}');
        """.encode()
    )
    watching.watch(db, ["boxes", "things"])
    db.execute(f"INSERT INTO things VALUES (1, 'x,y', '{one}')".encode())
    db.execute(f"UPDATE things SET no = '{two}'".encode())
    (key,) = db.execute(
        "SELECT related_id FROM llamalog.log WHERE entity_type = 'THING' AND op = 'I'"
    ).fetchone()
    told = [(c.entity_type, c.op) for c in everything(db, "BOX", key) if c.op]
    assert told == [("THING", "I"), ("THING", "U")]


def test_why_counts_rows_not_changes(db, new):
    album = new.album(db)
    track, other = new.track(db, album), new.track(db, album, "Other", 2)
    db.execute("SELECT llamalog.set_context(source => 'fix', job_id => 'f', user_id => 'u')")
    for name in ("One", "Two", "Three"):
        db.execute("UPDATE tracks SET title = %s WHERE id = %s", [name, track])
    assert queries.why(db, "ALBUM", album)[-1].sentence == (
        "ALBUM “OK Computer”: 1 TRACK updated by user u through fix, job f."
    )
    db.execute("UPDATE albums SET title = 'Kid A'")
    db.execute("UPDATE tracks SET title = 'Four' WHERE id = %s", [other])
    assert queries.why(db, "ALBUM", album)[-1].sentence.endswith(" With it: 2 × TRACK updated.")


@pytest.mark.parametrize(
    ("context", "by"),
    [
        (None, " by role {} with psql, outside any known job"),
        ("job_id => 'j'", " by role {}, job j"),
        ("job_id => 'j', user_id => 'ann'", " by user ann, job j"),
        ("job_id => 'j', source => 'fix'", " through fix, job j"),
    ],
)
def test_a_sentence_says_by_whom_however_little_was_named(db, new, context, by):
    album = new.album(db)
    db.execute("SET LOCAL application_name = 'psql'")
    if context:
        db.execute(f"SELECT llamalog.set_context({context})".encode())
    db.execute("UPDATE albums SET title = 'Kid A'")
    (role,) = db.execute("SELECT session_user::text").fetchone()
    assert queries.why(db, "ALBUM", album)[-1].sentence == (
        f"ALBUM “Kid A” was updated{by.format(role)}: title: “OK Computer” → “Kid A”."
    )


def test_why_and_history_name_the_same_user_of_a_failure(db, new):
    album = new.album(db)
    db.execute("SELECT llamalog.start_job('j', user_id => 'ann')")
    for user in (None, "ben"):
        db.execute(
            "SELECT llamalog.record_failure('no answer', job_id => 'j', entity_type => 'ALBUM', entity_id => %s, user_id => %s)",
            [album, user],
        )
    failures = queries.history(db, "ALBUM", album)[:2]
    assert [change.user_id for change in failures] == ["ben", None]
    assert [told.sentence for told in queries.why(db, "ALBUM", album)[-2:]] == [
        f"An attempt on ALBUM “OK Computer” was made by role {failures[1].db_user}, job j and failed: no answer.",
        "An attempt on ALBUM “OK Computer” was made by user ben, job j and failed: no answer.",
    ]


def test_what_a_user_did_is_told_in_words(db, new):
    album = new.album(db)
    new.track(db, album)
    db.execute(
        "SELECT llamalog.set_context(source => 'game_pool', job_id => 'g', user_id => 'ann')"
    )
    db.execute("UPDATE tracks SET title = 'Other'")
    assert "1 TRACK changed by user ann" in queries.why(db, "ALBUM", album)[-1].sentence


def test_why_tells_a_former_key_of_the_entity_and_none_of_its_links(db, new):
    album, artist, other = new.album(db), new.artist(db), new.artist(db, "Björk")
    new.link(db, album, artist)
    db.execute("SELECT llamalog.set_context(source => 'fix')")
    db.execute("UPDATE album_artists SET artist_id = %s", [other])
    assert [s.sentence for s in queries.why(db, "ALBUM", album) if "its key" in s.sentence] == []
    db.execute("SELECT llamalog.set_context(source => 'fix')")
    db.execute("UPDATE albums SET id = gen_random_uuid()")
    (moved,) = (s.sentence for s in queries.why(db, "ALBUM", album) if "its key" in s.sentence)
    assert f"; its key had been {album}." in moved


def test_a_story_bears_the_name_of_its_row_whoever_has_its_former_keys(db, new):
    first, second = new.album(db, "Kid A"), new.album(db, "Amnesiac")
    free = db.execute("SELECT gen_random_uuid()::text").fetchone()[0]
    for old, to in ((first, free), (second, first), (free, second)):
        db.execute("UPDATE albums SET id = %s WHERE id = %s", [to, old])
    for key, title in ((second, "Kid A"), (free, "Kid A"), (first, "Amnesiac")):
        assert queries.label(db, "ALBUM", key) == title
        story = queries.why(db, "ALBUM", key)
        assert all(s.sentence.startswith(f"ALBUM “{title}” was ") for s in story)
        nodes = [n for n in queries.tree(db, "ALBUM", key) if n.seq is not None]
        assert {n.label for n in nodes} == {title}
        assert len(nodes) == len(story) == (3 if title == "Kid A" else 2)


def test_a_job_known_by_name_only_stands_in_a_tree_where_what_it_caused_began(db, new):
    db.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add')")
    album = new.album(db)
    db.execute("SELECT llamalog.set_context()")
    for name, value in (("source", "spotify_sync"), ("job_id", "sync"), ("path", "")):
        db.execute("SELECT set_config('llamalog.' || %s, %s, true)", [name, value])
    new.track(db, album)
    db.execute("SELECT llamalog.set_context(source => 'admin_correction', job_id => 'fix')")
    db.execute("UPDATE albums SET title = 'Kid A'")
    nodes = queries.tree(db, "ALBUM", album)
    assert [n.job_id for n in nodes if n.depth == 0] == ["add", "sync", "fix"]
    (track,) = (n for n in nodes if n.entity_type == "TRACK")
    (sync,) = (n for n in nodes if n.node == "job sync")
    assert (track.depth, sync.seq, sync.created_at) == (2, None, track.created_at)


def test_why_of_a_row_older_than_its_watch_says_that_nothing_is_known(db, new):
    album = new.album(db)
    db.execute("DELETE FROM llamalog.llama_logs")
    (only,) = queries.why(db, "ALBUM", album)
    assert only.sentence == (
        "ALBUM “OK Computer”: nothing is known of how it came here; no change of it was recorded."
    )


def test_find_and_resolve_know_titles_in_any_case_and_deleted_entities(db, new):
    album = new.album(db, "Ágætis byrjun")
    gone = new.album(db, "100% [bold]'; --")
    db.execute("DELETE FROM albums WHERE id = %s", [gone])
    assert [(f.entity_id, f.label, f.is_alive) for f in queries.find(db, "byrjun")] == [
        (album, "Ágætis byrjun", True)
    ]
    assert [(f.entity_id, f.is_alive) for f in queries.find(db, "100%")] == [(gone, False)]
    assert (
        queries.resolve(
            db,
            "album",
            "ÁGÆTIS BYRJUN"
            if db.execute("SELECT lower('Á') = 'á'").fetchone()[0]
            else "ágætis byrjun".replace("á", "Á"),
        )
        == album
    )
    assert queries.resolve(db, "album", album.upper()) == album
    assert queries.resolve(db, "album", "100% [bold]'; --") == gone


def test_a_question_to_a_database_without_llamalog_says_so(empty):
    with pytest.raises(NotInstalled, match="is not installed in this database, or only half") as it:
        queries.find(empty, "x")
    assert it.value.hint == "Run: llamalog migrate"


def test_an_empty_text_names_nothing(db):
    with pytest.raises(Misuse, match="the text to find is empty"), db.transaction():
        queries.find(db, "")
    with pytest.raises(Misuse, match="the id or title of the ALBUM is empty"), db.transaction():
        queries.resolve(db, "ALBUM", "")


def test_an_ambiguous_title_lists_the_candidates(db, new):
    first, second = new.album(db, "Weezer"), new.album(db, "weezer")
    with (
        pytest.raises(LlamaLogError, match='2 ALBUM are called "Weezer"') as refused,
        db.transaction(),
    ):
        queries.resolve(db, "ALBUM", "Weezer")
    assert refused.value.sqlstate == "LL005"
    assert first in refused.value.detail
    assert second in refused.value.detail
    for _ in range(20):
        new.album(db, "Weezer")
    with pytest.raises(LlamaLogError, match="more than 20 ALBUM are called") as refused:
        queries.resolve(db, "ALBUM", "Weezer")
    assert len(refused.value.detail.splitlines()) == 20


def test_an_unknown_id_of_several_values_is_told_how_a_comma_is_written(db):
    db.execute("CREATE TABLE shelves (room text, no integer, PRIMARY KEY (room, no))")
    watching.watch(db, ["shelves"])
    db.execute("INSERT INTO shelves VALUES ('a,b', 1)")
    with (
        pytest.raises(LlamaLogError, match='no SHELF has the id or title "a,b,1"') as refused,
        db.transaction(),
    ):
        queries.resolve(db, "SHELF", "a,b,1")
    assert refused.value.hint.endswith(
        " A comma within a value of its key is written with a backslash: a\\,b,c."
    )
    assert queries.resolve(db, "SHELF", "a\\,b,1") == "a\\,b,1"


def test_an_unknown_title_shows_what_is_called_nearly_so(db, new):
    new.album(db, "OK Computer")
    with pytest.raises(LlamaLogError, match='no ALBUM has the id or title "Computer"') as refused:
        queries.resolve(db, "ALBUM", "Computer")
    assert refused.value.sqlstate == "LL004"
    assert "OK Computer" in refused.value.detail


@pytest.mark.slow
def test_on_a_standby_later_pages_show_what_commits_after_the_first_and_nothing_twice():
    """Its snapshots list no transaction that is open on the primary."""
    settings = {"wal_level": "replica", "max_wal_senders": "2"}
    with tempfile.TemporaryDirectory() as base, contextlib.ExitStack() as running:
        Path(base).chmod(0o755)
        kept, copy = Path(base, "kept"), Path(base, "copy")
        with (
            embedded.start(keep_in=kept, settings=settings) as server,
            psycopg.connect(server.dsn, autocommit=True) as conn,
        ):
            migrate.migrate(conn)
            conn.execute("CREATE TABLE posts (id integer PRIMARY KEY)")
            conn.execute(
                "CREATE TABLE replies (id integer PRIMARY KEY, post_id integer REFERENCES posts)"
            )
            watching.watch(conn, ["posts", "replies"])
            conn.execute("INSERT INTO posts VALUES (1)")
        subprocess.run(["cp", "-a", kept, copy], check=True)
        Path(copy, "data", "standby.signal").touch()
        primary = running.enter_context(embedded.start(keep_in=kept, settings=settings))
        standby = running.enter_context(
            embedded.start(keep_in=copy, settings={**settings, "primary_conninfo": primary.dsn})
        )
        slow, quick, reader = (
            running.enter_context(psycopg.connect(dsn, autocommit=True))
            for dsn in (primary.dsn, primary.dsn, standby.dsn)
        )

        def caught_up():
            (written,) = quick.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            while not reader.execute(
                "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [written]
            ).fetchone()[0]:
                time.sleep(0.05)

        with slow.transaction():
            slow.execute("INSERT INTO replies VALUES (1, 1)")
            quick.execute("INSERT INTO replies VALUES (2, 1)")
            caught_up()
            pages = [queries.chain(reader, "POST", "1", limit=1)]
        caught_up()
        while pages[-1].cursor:
            pages.append(queries.chain(reader, "POST", "1", limit=1, cursor=pages[-1].cursor))
        shown = [(row.entity_type, row.entity_id) for page in pages for row in page.logs]
        assert shown == [("POST", "1"), ("REPLY", "1"), ("REPLY", "2")]
        assert [page.total_count for page in pages] == [2, 3, 3]
