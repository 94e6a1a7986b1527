"""What a job caused and what it touched: families of jobs, and every change that they made."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from datetime import UTC, datetime
from types import SimpleNamespace

import psycopg
import pytest
import test_cli
from hypothesis import given
from hypothesis import strategies as st
from test_properties import PROFILE

from llamalog_sql import context, jobs, watching
from llamalog_sql.errors import BadCursor, Misuse, UnknownJob, translate
from llamalog_sql.jobs import Criteria
from llamalog_sql.watching import Options

llamalog = test_cli.llamalog


def begin(conn, job_id, parent_job_id=None, source=None, **more):
    """From here on `job_id` writes, as in a transaction of its own."""
    given = {"job_id": job_id, "parent_job_id": parent_job_id, "source": source, **more}
    names = ", ".join(f"{name} => %({name})s" for name in given)
    conn.execute(f"SELECT llamalog.set_context({names})".encode(), given)


def family(conn, job_id):
    return conn.execute(
        "SELECT job_id, depth FROM llamalog.job_family(%s) ORDER BY depth, job_id", [job_id]
    ).fetchall()


def changed(conn, job_id, with_descendants=True):
    """(category, entity) of every change, in the order of the writes."""
    rows = conn.execute(
        "SELECT category, entity_type, entity_id, link_type FROM llamalog.job_changes(%s, %s) ORDER BY seq",
        [job_id, with_descendants],
    )
    return [(row.category, row.link_type or row.entity_type, row.entity_id) for row in rows]


def stock(conn):
    """A table whose rows move between partitions."""
    conn.execute(
        "CREATE TABLE stock (id int, place text, n int, PRIMARY KEY (id, place)) PARTITION BY LIST (place)"
    )
    for place in ("a", "b"):
        conn.execute(
            f"CREATE TABLE stock_{place} PARTITION OF stock FOR VALUES IN ('{place}')".encode()
        )
    watching.watch(conn, ["stock"], Options())


# -- families ---------------------------------------------------------------------------------------------------------


def test_a_family_holds_jobs_that_wrote_nothing_and_the_jobs_of_heads(each_db, new):
    db = each_db
    begin(db, "sync-7", "cron-7", "spotify_sync")
    album = new.album(db)
    begin(db, "check-1", f"sync-7/ALBUM:{album}", "enrichment_check")
    begin(db, "enrich-1", "check-1", "enrichment")
    db.execute("UPDATE albums SET label = 'Parlophone'")
    assert family(db, "cron-7") == [
        ("cron-7", 0),
        ("sync-7", 1),
        (f"sync-7/ALBUM:{album}", 2),
        ("check-1", 3),
        ("enrich-1", 4),
    ]
    assert family(db, "enrich-1") == [("enrich-1", 0)]


@pytest.mark.parametrize("job", ["sync-7", "%_'\\", "große/Säule", "tx"])
def test_parts_made_below_the_head_of_another_job_belong_to_the_job_that_made_them(
    each_db, new, job
):
    db = each_db
    begin(db, "add-1", None, "addAlbum")
    album = new.album(db)
    begin(db, job, None, "spotify_sync")
    track = new.track(db, album)
    # names that begin alike, and are no heads of it
    for other in (f"{job}-2", f"{job}/7", f"{job}0"):
        begin(db, other, None, "spotify_sync")
        new.track(db, album, other)
    assert family(db, job) == [(job, 0), (f"{job}/ALBUM:{album}", 1)]
    assert changed(db, job) == changed(db, job, False) == [("CREATED", "TRACK", track)]


def test_a_job_known_only_by_the_settings_and_a_transaction_without_any_have_families(each_db, new):
    db = each_db
    album = new.album(db)
    track = new.track(db, album)
    ((job,),) = db.execute(
        "SELECT parent_job_id FROM llamalog.log WHERE entity_type = 'ALBUM'"
    ).fetchall()
    assert job.startswith("tx:")
    assert changed(db, job) == [("CREATED", "ALBUM", album), ("CREATED", "TRACK", track)]
    db.execute("SET LOCAL llamalog.job_id = 'child'")
    db.execute("SET LOCAL llamalog.parent_job_id = 'mother'")
    db.execute("UPDATE albums SET label = 'XL'")
    assert family(db, "mother") == [("mother", 0), ("child", 1)]
    assert changed(db, "mother") == [("UPDATED", "ALBUM", album)]
    assert changed(db, "mother", False) == []


def test_jobs_that_cause_each_other_in_a_circle_are_met_once(db):
    for job, parent in (("a", "c"), ("b", "a"), ("c", "b"), ("a", "a"), ("d", "b")):
        begin(db, job, parent)
    assert family(db, "a") == [("a", 0), ("b", 1), ("c", 2), ("d", 2)]


def test_a_job_that_never_was_is_refused(db):
    with pytest.raises(psycopg.Error, match='unknown job "nightly"') as refused:
        db.execute("SELECT * FROM llamalog.job_changes('nightly')")
    error = translate(refused.value)
    assert isinstance(error, UnknownJob)
    assert error.hint.startswith("Every change names its job")


def test_a_job_without_id_is_refused(db):
    with pytest.raises(psycopg.errors.NullValueNotAllowed, match="job_id is missing"):
        db.execute("SELECT * FROM llamalog.job_family(NULL)")


# -- changes ----------------------------------------------------------------------------------------------------------


def test_changes_of_a_job_hold_links_cascades_and_what_its_children_did(each_db, new):
    db = each_db
    begin(db, "add-1", None, "addAlbum")
    artist = new.artist(db)
    album = new.album(db)
    new.link(db, album, artist)
    begin(db, "enrich-1", "add-1", "enrichment")
    track = new.track(db, album)
    begin(db, "purge", None, "manual_edit")
    db.execute("DELETE FROM albums")
    own = [
        ("CREATED", "ARTIST", artist),
        ("CREATED", "ALBUM", album),
        ("LINKED", "ALBUM_ARTIST", album),
    ]
    assert changed(db, "add-1", False) == own
    assert changed(db, "add-1") == [*own, ("CREATED", "TRACK", track)]
    assert sorted(changed(db, "purge")) == [
        ("DELETED", "ALBUM", album),
        ("DELETED", "TRACK", track),
        ("UNLINKED", "ALBUM_ARTIST", album),
    ]


def test_a_row_that_a_job_moved_to_another_partition_is_one_change(db):
    stock(db)
    begin(db, "fill", None)
    db.execute("INSERT INTO stock VALUES (1, 'a', 1), (2, 'a', 1)")
    begin(db, "move", None)
    db.execute("UPDATE stock SET place = 'b', n = 2 WHERE id = 1")
    db.execute("DELETE FROM stock WHERE id = 2")
    rows = db.execute(
        "SELECT op, entity_id, fields_enriched, job_id FROM llamalog.job_changes('move') ORDER BY seq"
    ).fetchall()
    assert rows == [("U", "1,b", ["n", "place"], "move"), ("D", "2,a", None, "move")]


@pytest.mark.parametrize("source", ["addAlbum", None])
@pytest.mark.parametrize("goes", ["id", "id + 10"], ids=["same number", "another number"])
def test_a_move_is_a_change_of_its_job_whichever_of_its_kin_is_asked_for(db, goes, source):
    """The second half names the job of a head, as a creation would: no kin of the job's other children."""
    stock(db)
    begin(db, "fill", None, "addAlbum")
    db.execute("INSERT INTO stock VALUES (1, 'a', 1), (2, 'a', 1)")
    begin(db, "move", None, source)
    db.execute(f"UPDATE stock SET place = 'b', id = {goes} WHERE id = 1".encode())
    begin(db, "check", "move", "enrichment_check")
    db.execute("UPDATE stock SET n = n + 1 WHERE place = 'a'")
    own = {node.job_id: node.categories for node in jobs.job(db, "move")}
    assert own == {"move": {"UPDATED": 1}, "check": {"ENRICHED": 1}}
    assert {node.job_id: node.categories for node in jobs.job(db, "check")} == own
    if source is None:
        assert changed(db, second_half(db).job_id) == []


@pytest.mark.parametrize("job", ["C", ""], ids=["named", "the transaction"])
def test_what_caused_a_job_that_only_creates_is_known_by_plain_settings_too(each_db, new, job):
    db = each_db
    begin(db, "P", None, "cron")
    first = new.album(db, "by P")
    db.execute("SELECT llamalog.set_context()")
    for name, said in {"source": "import", "job_id": job, "parent_job_id": "P"}.items():
        db.execute("SELECT set_config(%s, %s, true)", [f"llamalog.{name}", said])
    second = new.album(db, "by C")
    track = new.track(db, second)
    ((child,),) = db.execute(
        "SELECT job_id FROM llamalog.job_family('P') WHERE depth = 1 AND job_id NOT LIKE 'P/%'"
    ).fetchall()
    assert child == "C" if job else child.startswith("tx:")
    assert [(node.job_id, node.depth) for node in jobs.job(db, child)][:2] == [
        ("P", -1),
        (child, 0),
    ]
    assert changed(db, "P") == [
        ("CREATED", "ALBUM", first),
        ("CREATED", "ALBUM", second),
        ("CREATED", "TRACK", track),
    ]
    # once a transaction, however many rows
    ((recorded,),) = db.execute(
        "SELECT count(*) FROM llamalog.jobs WHERE job_id = %s AND parent_job_id = 'P' AND source = 'import'",
        [child],
    ).fetchall()
    assert recorded == 1


def second_half(conn):
    (row,) = conn.execute(
        """SELECT job_id, parent_job_id FROM llamalog.log WHERE metadata @> '{"llamalog": {"moved": true}}'"""
    ).fetchall()
    return row


def test_a_part_that_moved_is_a_change_of_its_job_whichever_of_its_kin_is_asked_for(db):
    """Its second half has no job, and as parent that of the whole, which is known by its name only."""
    db.execute(
        "CREATE TABLE shop (id int PRIMARY KEY);"
        "CREATE TABLE shelf (id int, place text, shop_id int REFERENCES shop ON DELETE CASCADE, PRIMARY KEY (id, place))"
        " PARTITION BY LIST (place);"
        "CREATE TABLE shelf_a PARTITION OF shelf FOR VALUES IN ('a');"
        "CREATE TABLE shelf_b PARTITION OF shelf FOR VALUES IN ('b')"
    )
    watching.watch(db, ["shop", "shelf"], Options())
    begin(db, "fill", None)
    db.execute("INSERT INTO shop VALUES (7); INSERT INTO shelf VALUES (1, 'a', 7)")
    begin(db, "move", None)
    db.execute("UPDATE shelf SET place = 'b'")
    begin(db, "check", "move")
    db.execute("UPDATE shelf SET id = 2")
    assert tuple(second_half(db)) == (None, "move/SHOP:7")
    for job in ("move", "check"):
        own = {node.job_id: node.categories for node in jobs.job(db, job)}
        assert own == {"move": {"UPDATED": 1}, "check": {"UPDATED": 1}}


# -- one job among its kin --------------------------------------------------------------------------------------------


def test_a_job_is_shown_with_what_caused_it_and_what_it_caused(each_db, new):
    db = each_db
    begin(db, "cron-7", None, "cron", triggered_by="scheduler")
    begin(db, "sync-7", "cron-7", "spotify_sync", user_id="ann")
    album = new.album(db)
    begin(db, "check-1", f"sync-7/ALBUM:{album}", "enrichment_check")
    begin(db, "enrich-1", "check-1", "enrichment")
    db.execute("UPDATE albums SET label = 'Parlophone'")
    new.track(db, album)
    db.execute(
        "SELECT llamalog.record_failure(error_message => 'gone', job_id => 'enrich-1', parent_job_id => 'check-1')"
    )
    nodes = jobs.job(db, "check-1")
    assert [(n.depth, n.job_id, n.parent_job_id, n.source, n.categories) for n in nodes] == [
        (-3, "cron-7", None, "cron", {}),
        (-2, "sync-7", "cron-7", "spotify_sync", {}),
        (-1, f"sync-7/ALBUM:{album}", "sync-7", "spotify_sync", {"CREATED": 1}),
        (0, "check-1", f"sync-7/ALBUM:{album}", "enrichment_check", {}),
        (1, "enrich-1", "check-1", "enrichment", {"ENRICHED": 1, "CREATED": 1, "FAILED": 1}),
    ]


def test_a_job_known_only_by_its_name_is_an_ancestor_of_which_nothing_is_told(db, new):
    begin(db, "child", "orphan", "manual_edit")
    new.album(db)
    (above, own) = jobs.job(db, "child")
    assert (above.job_id, above.depth, above.source, above.started_at) == ("orphan", -1, None, None)
    assert (above.change_count, above.categories) == (0, {})
    assert own.started_at < own.ended_at
    assert [node.job_id for node in jobs.job(db, "orphan")] == ["orphan", "child"]


def test_jobs_in_a_circle_are_shown_once_whichever_is_asked_about(db):
    for job, parent in (("a", "c"), ("b", "a"), ("c", "b"), ("d", "a"), ("self", "self")):
        begin(db, job, parent)
    shown = {
        asked: [(node.depth, node.job_id) for node in jobs.job(db, asked)]
        for asked in ("a", "d", "self")
    }
    assert shown == {
        "a": [(0, "a"), (1, "b"), (1, "d"), (2, "c")],
        "d": [(-3, "b"), (-2, "c"), (-1, "a"), (0, "d")],
        "self": [(0, "self")],
    }


def test_a_family_of_ten_thousand_jobs_with_many_rows_and_ways_is_counted_once(db):
    """Five levels of 30 rows a job made 26 million rows of a join once."""
    db.execute(
        "INSERT INTO llamalog.jobs (job_id, parent_job_id)"
        " SELECT 'j' || n, 'j' || parent FROM generate_series(1, 10000) AS n,"
        # two ways lead to each job
        " LATERAL (VALUES (n / 8), (n / 9)) AS above (parent) WHERE parent < n"
    )
    db.execute(
        "INSERT INTO llamalog.llama_logs (operation, category, entity_type, entity_id, job_id, parent_job_id)"
        " SELECT 'x', 'ENRICHED', 'ALBUM', row, 'level' || level, 'level' || level - 1"
        " FROM generate_series(1, 5) AS level, generate_series(1, 30) AS row"
    )
    assert len(family(db, "j0")) == 10_001
    assert len(jobs.job(db, "j0")) == 10_001
    assert [(node.depth, node.change_count) for node in jobs.job(db, "level0")] == [
        (0, 0), (1, 30), (2, 30), (3, 30), (4, 30), (5, 30),
    ]  # fmt: skip
    assert [(i.entity_count, i.change_count) for i in jobs.impact(db, Criteria("level0"))] == [
        (30, 150)
    ]


# -- impact -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def imported(each_db, new):
    """An import makes two albums of an artist and enriches one; ann deletes the other."""
    db = each_db
    begin(db, "import-1", None, "deezer_import", user_id="ann")
    artist = new.artist(db)
    kept, gone = new.album(db, "Kid A"), new.album(db, "Amnesiac")
    for album in (kept, gone):
        new.link(db, album, artist)
    begin(db, "enrich-1", f"import-1/ALBUM:{kept}", "enrichment")
    db.execute("UPDATE albums SET label = 'XL' WHERE id = %s", [kept])
    track = new.track(db, kept, "Everything in Its Right Place")
    begin(db, "purge-1", None, "manual_edit", user_id="ann")
    db.execute("DELETE FROM albums WHERE id = %s", [gone])
    return SimpleNamespace(db=db, artist=artist, kept=kept, gone=gone, track=track)


def counted(rows):
    return {row.entity_type: (row.entity_count, row.categories) for row in rows}


def test_impact_of_a_job_a_source_a_user_and_a_time(imported):
    db = imported.db
    assert counted(jobs.impact(db, Criteria("import-1"))) == {
        "ALBUM": (2, {"CREATED": 2, "ENRICHED": 1}),
        "ALBUM_ARTIST": (2, {"LINKED": 2}),
        "ARTIST": (1, {"CREATED": 1}),
        "TRACK": (1, {"CREATED": 1}),
    }
    assert counted(jobs.impact(db, Criteria(source="enrichment"))) == {
        "ALBUM": (1, {"ENRICHED": 1}),
        "TRACK": (1, {"CREATED": 1}),
    }
    ann = {
        "ALBUM": (2, {"CREATED": 2, "DELETED": 1}),
        "ALBUM_ARTIST": (2, {"LINKED": 2, "UNLINKED": 1}),
        "ARTIST": (1, {"CREATED": 1}),
    }
    assert counted(jobs.impact(db, Criteria(user_id="ann"))) == ann
    times = [row[0] for row in db.execute("SELECT created_at FROM llamalog.log ORDER BY seq")]
    everything = jobs.impact(db, Criteria(start_date=times[0]))
    assert sum(row.change_count for row in everything) == len(times) == 9
    assert min(row.first_at for row in everything) == times[0]
    assert max(row.last_at for row in everything) == times[-1]


def test_criteria_narrow_each_other_down_and_a_time_ends_before_its_end(imported):
    db = imported.db
    both = Criteria("import-1", user_id="ann")
    assert "TRACK" not in counted(jobs.impact(db, both))
    times = [row[0] for row in db.execute("SELECT created_at FROM llamalog.log ORDER BY seq")]
    some = Criteria("import-1", start_date=times[1], end_date=times[2])
    assert counted(jobs.impact(db, some)) == {"ALBUM": (1, {"CREATED": 1})}
    assert jobs.impact(db, Criteria(source="enrichment", user_id="ann")) == []
    assert jobs.impact(db, Criteria(source="no such path")) == []


def test_entities_are_listed_with_names_and_what_was_done_to_each(imported):
    listed = list(jobs.impact_entities(imported.db, Criteria(user_id="ann")))
    shown = [
        (e.touched_type, e.entity_id, e.label, e.related_label, e.is_alive, e.categories)
        for e in listed
    ]
    kept, gone, artist = imported.kept, imported.gone, imported.artist
    linked = {"LINKED": 1}
    assert sorted(shown, key=str) == sorted(
        [
            ("ALBUM", kept, "Kid A", None, True, {"CREATED": 1}),
            ("ALBUM", gone, "Amnesiac", None, False, {"CREATED": 1, "DELETED": 1}),
            ("ALBUM_ARTIST", kept, "Kid A", "Radiohead", None, linked),
            ("ALBUM_ARTIST", gone, "Amnesiac", "Radiohead", None, {**linked, "UNLINKED": 1}),
            ("ARTIST", artist, "Radiohead", None, True, {"CREATED": 1}),
        ],
        key=str,
    )
    assert [e.next_cursor for e in listed] == [None] * 5


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 1001])
def test_pages_of_any_size_hold_each_entity_once(db, new, limit):
    begin(db, "import-1", None, "deezer_import")
    for number in range(5):
        new.album(db, f"Album {number}")
    first = list(jobs.impact_entities(db, Criteria("import-1")))
    found, cursor = [], None
    while True:
        page = list(jobs.impact_entities(db, Criteria("import-1"), limit=limit, cursor=cursor))
        found += [entity.entity_id for entity in page]
        cursor = page[-1].next_cursor
        if cursor is None:
            break
    assert found == [entity.entity_id for entity in first]


def test_a_list_longer_than_a_batch_is_whole(db):
    begin(db, "import-1", None, "deezer_import")
    db.execute(
        "INSERT INTO albums (title, updated_at) SELECT 'Album ' || n, now() FROM generate_series(1, 2500) AS n"
    )
    listed = list(jobs.impact_entities(db, Criteria("import-1"), limit=2400))
    assert len({entity.label for entity in listed}) == 2400
    assert [entity.next_cursor is None for entity in listed[-2:]] == [True, False]


def test_a_cursor_of_another_question_is_refused(imported):
    (entity,) = jobs.impact_entities(imported.db, Criteria("import-1"), limit=1)
    with pytest.raises(BadCursor, match="another question"):
        list(jobs.impact_entities(imported.db, Criteria("enrich-1"), cursor=entity.next_cursor))


def test_a_cursor_that_names_no_entity_is_refused(imported):
    (entity,) = jobs.impact_entities(imported.db, Criteria("import-1"), limit=1)
    *page, _ = base64.b64decode(entity.next_cursor).split(b" ", 5)
    cursor = base64.b64encode(b" ".join([*page, b"nobody"])).decode()
    with pytest.raises(BadCursor, match=f'malformed cursor "{re.escape(cursor[:100])}"'):
        list(jobs.impact_entities(imported.db, Criteria("import-1"), cursor=cursor))


@pytest.mark.parametrize("ask", [jobs.impact, lambda *a: list(jobs.impact_entities(*a))])
def test_impact_of_nothing_of_no_job_and_of_no_time_is_refused(db, ask):
    with pytest.raises(Misuse, match="it is not said whose impact"), db.transaction():
        ask(db, Criteria())
    with pytest.raises(UnknownJob, match='unknown job "nightly"'), db.transaction():
        ask(db, Criteria("nightly"))
    with pytest.raises(Misuse, match="is after the end") as refused, db.transaction():
        ask(
            db,
            Criteria(
                source="x",
                start_date=datetime(2026, 2, 1, tzinfo=UTC),
                end_date=datetime(2026, 1, 1, tzinfo=UTC),
            ),
        )
    assert refused.value.hint == "Swap them."


def test_a_later_page_shows_only_what_the_first_could_see(database, new, connect):
    with context(database, source="deezer_import", job_id="import-1"):
        for number in range(3):
            new.album(database, f"Album {number}")
    criteria = Criteria("import-1")
    known = [entity.entity_id for entity in jobs.impact_entities(database, criteria)]
    (first,) = jobs.impact_entities(database, criteria, limit=1)
    other = connect(database)
    with context(other, source="deezer_import", job_id="import-1"):
        for number in range(20):
            new.album(other, f"Later {number}")
        other.execute("UPDATE albums SET label = 'XL'")
    page = list(jobs.impact_entities(database, criteria, cursor=first.next_cursor))
    assert [entity.entity_id for entity in page] == known[1:]
    assert [entity.categories for entity in page] == [{"CREATED": 1}] * 2


def test_what_a_source_moved_to_another_partition_is_one_change_and_no_deletion(db):
    stock(db)
    begin(db, "fill", None, "addAlbum")
    db.execute("INSERT INTO stock VALUES (1, 'a', 1), (2, 'a', 1)")
    begin(db, "move", None, "manual_edit")
    db.execute("UPDATE stock SET place = 'b' WHERE id = 1")
    db.execute("DELETE FROM stock WHERE id = 2")
    asked = [Criteria("move"), Criteria(source="manual_edit")]
    assert [counted(jobs.impact(db, criteria)) for criteria in asked] == [
        {"STOCK": (2, {"CORRECTED": 1, "DELETED": 1})}
    ] * 2


def test_a_row_that_moved_to_another_key_and_partition_and_came_back_is_listed_as_living(db):
    stock(db)
    begin(db, "move", None, "manual_edit")
    db.execute("INSERT INTO stock VALUES (1, 'a', 1), (2, 'a', 1), (3, 'a', 1)")
    db.execute("UPDATE stock SET place = 'b'")
    db.execute("UPDATE stock SET place = 'a' WHERE id < 3")
    db.execute("DELETE FROM stock WHERE id = 2")
    listed = jobs.impact_entities(db, Criteria("move"))
    assert {e.entity_id: e.is_alive for e in listed} == {
        "1,a": True,
        "1,b": True,
        "2,a": False,
        "2,b": False,
        "3,a": True,
        "3,b": True,
    }


def test_keys_of_several_columns_and_names_that_need_quotes_are_counted_and_named(each_db):
    db = each_db
    db.execute(
        'CREATE TABLE "Order" (no int, "Shop" text, "Title" text, PRIMARY KEY (no, "Shop"));'
        'CREATE TABLE "OrderLine" (id int PRIMARY KEY, order_no int, "inShop" text,'
        ' FOREIGN KEY (order_no, "inShop") REFERENCES "Order" ON DELETE CASCADE)'
    )
    watching.watch(db, ['"Order"', '"OrderLine"'], Options())
    begin(db, "shop/1")
    db.execute("""INSERT INTO "Order" VALUES (1, 'a,b/ORDER:', 'First')""")
    begin(db, "shop/2")
    db.execute("""INSERT INTO "OrderLine" VALUES (7, 1, 'a,b/ORDER:')""")
    begin(db, "purge")
    db.execute('DELETE FROM "Order"')
    order = ("ORDER", "1,a\\,b/ORDER:", "First", False)
    line = ("ORDER_LINE", "7", None, False)
    listed = {
        job: [
            (e.touched_type, e.entity_id, e.label, e.is_alive)
            for e in jobs.impact_entities(db, Criteria(job))
        ]
        for job in ("shop/1", "shop/2", "purge")
    }
    assert listed == {"shop/1": [order], "shop/2": [line], "purge": [order, line]}
    assert {row.job_id for row in db.execute("SELECT job_id FROM llamalog.job_summary")} == {
        "shop/1",
        "shop/2",
        "purge",
    }


def test_whoever_may_read_the_log_may_ask_and_sees_names_where_he_may_read_the_table(imported):
    db = imported.db
    db.execute("CREATE ROLE analyst")
    db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst")
    db.execute("GRANT SELECT ON artists TO analyst")
    db.execute("SET LOCAL ROLE analyst")
    assert [node.job_id for node in jobs.job(db, "purge-1")] == ["purge-1"]
    assert counted(jobs.impact(db, Criteria(source="enrichment")))["TRACK"] == (1, {"CREATED": 1})
    for view in ("recent_activity", "job_summary", "source_summary"):
        assert db.execute(f"SELECT count(*) > 0 FROM llamalog.{view}".encode()).fetchone() == (
            True,
        )
    listed = jobs.impact_entities(db, Criteria("import-1"))
    assert {e.entity_id: (e.label, e.is_alive) for e in listed if e.related_id is None} == {
        imported.kept: (None, None),
        imported.gone: ("Amnesiac", False),
        imported.artist: ("Radiohead", True),
        imported.track: (None, None),
    }


# -- the property -----------------------------------------------------------------------------------------------------

#: Names that begin alike, or like the job of a head; the path of each: one head, many, none, and one that nobody registered.
NAMES = {
    "a": "spotify_sync",
    "a/b": "addAlbum",
    "a0": None,
    "a/ALBUM": "unregistered",
    "%\\_": "enrichment",
}
ACTIONS = ["artist", "album", "track", "link", "update", "delete", "nothing"]


@pytest.fixture(scope="module")
def music(_shared_music):
    """As db, without the transaction: each example has one of its own."""
    return _shared_music


@PROFILE
@given(
    parents=st.lists(
        st.tuples(st.sampled_from([None, None, *NAMES]), st.booleans()),
        min_size=len(NAMES),
        max_size=len(NAMES),
    ),
    steps=st.lists(st.tuples(st.sampled_from([*NAMES]), st.sampled_from(ACTIONS)), max_size=12),
)
def test_impact_of_a_job_is_what_it_and_those_it_caused_changed(music, parents, steps):
    conn = music
    with conn.transaction(force_rollback=True):
        caused_by = dict(zip(NAMES, parents, strict=True))
        written = {}
        album = added(conn, "albums (title, updated_at)")
        for name, action in steps:
            parent, is_of_head = caused_by[name]
            if parent and is_of_head:
                parent = f"{parent}/ALBUM:{album}"
            begin(conn, name, parent, NAMES[name])
            before = top_seq(conn)
            write(conn, action)
            written.setdefault(name, set()).update(range(before + 1, top_seq(conn) + 1))
        for name in written:
            family = {name}
            while more := {
                job for job in written if caused_by[job][0] in family and job not in family
            }:
                family |= more
            asked = "SELECT seq FROM llamalog.job_changes(%s, %s)"
            own = {row[0] for row in conn.execute(asked, [name, False])}
            all_of_it = [row[0] for row in conn.execute(asked, [name, True])]
            assert own == written[name]
            assert sorted(all_of_it) == sorted(set().union(*(written[job] for job in family)))
            counts = jobs.impact(conn, Criteria(name))
            assert sum(row.change_count for row in counts) == len(all_of_it)
            listed = jobs.impact_entities(conn, Criteria(name), limit=1000)
            assert sum(entity.change_count for entity in listed) == len(all_of_it)


def top_seq(conn):
    return conn.execute("SELECT coalesce(max(seq), 0) FROM llamalog.log").fetchone()[0]


def added(conn, table):
    return conn.execute(
        f"INSERT INTO {table} VALUES ('x', now()) RETURNING id".encode()
    ).fetchone()[0]


def write(conn, action):
    if action == "artist":
        added(conn, "artists (name, updated_at)")
    elif action == "album":
        added(conn, "albums (title, updated_at)")
    elif action == "track":
        conn.execute(
            "INSERT INTO tracks (album_id, title, track_number, updated_at) SELECT id, 'x', 1, now() FROM albums"
        )
    elif action == "link":
        conn.execute(
            "INSERT INTO album_artists (album_id, artist_id) SELECT a.id, b.id FROM albums a, artists b"
            " ON CONFLICT DO NOTHING"
        )
    elif action == "update":
        conn.execute("UPDATE albums SET label = coalesce(label, '') || 'x'")
    elif action == "delete":
        conn.execute("DELETE FROM albums WHERE id = (SELECT min(id::text) FROM albums)::uuid")


# -- views ------------------------------------------------------------------------------------------------------------


def test_summaries_count_by_job_and_by_source_what_the_last_30_days_saw(imported):
    db = imported.db
    rows = db.execute(
        "SELECT job_id, root_job_id, source, user_id, entity_count, change_count, created_count, deleted_count,"
        " failure_count FROM llamalog.job_summary ORDER BY first_at"
    )
    kept = imported.kept
    assert [tuple(row) for row in rows] == [
        ("import-1", "import-1", "deezer_import", "ann", 5, 5, 5, 0, 0),
        ("enrich-1", f"import-1/ALBUM:{kept}", "enrichment", None, 2, 2, 1, 0, 0),
        ("purge-1", "purge-1", "manual_edit", "ann", 2, 2, 0, 2, 0),
    ]
    rows = db.execute(
        "SELECT source, job_count, user_count, change_count, created_count, deleted_count, failure_count"
        " FROM llamalog.source_summary ORDER BY first_at"
    )
    assert [tuple(row) for row in rows] == [
        ("deezer_import", 1, 1, 5, 5, 0, 0),
        ("enrichment", 1, 0, 2, 1, 0, 0),
        ("manual_edit", 1, 1, 2, 0, 2, 0),
    ]


def test_old_changes_are_in_no_summary_but_in_the_impact(db, new):
    begin(db, "old-1", None, "deezer_import")
    new.album(db)
    db.execute("UPDATE llamalog.llama_logs SET created_at = now() - interval '31 days'")
    for view in ("job_summary", "source_summary"):
        assert db.execute(f"SELECT count(*) FROM llamalog.{view}".encode()).fetchone() == (0,)
    assert [row.change_count for row in jobs.impact(db, Criteria(source="deezer_import"))] == [1]


def test_recent_activity_shows_the_newest_first_a_move_once_and_who_was_at_work(db, new):
    stock(db)
    begin(db, "import-1", None, "deezer_import")
    album = new.album(db)
    db.execute("INSERT INTO stock VALUES (1, 'a', 1)")
    db.execute("UPDATE stock SET place = 'b', n = 2")
    rows = db.execute(
        "SELECT category, entity_type, entity_id, job_id, detail FROM llamalog.recent_activity LIMIT 3"
    )
    assert [tuple(row) for row in rows] == [
        ("UPDATED", "STOCK", "1,b", "import-1", "n: 1 → 2, place: “a” → “b”"),
        ("CREATED", "STOCK", "1,a", "import-1", None),
        ("CREATED", "ALBUM", album, "import-1", None),
    ]


# -- what they read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", ["recent_activity LIMIT 10", "job_summary", "source_summary"])
def test_a_view_reads_no_month_of_the_log_that_it_does_not_need(db, view):
    db.execute("SELECT llamalog.maintain(0, clock => now() - interval '400 days')")
    db.execute("SET LOCAL enable_seqscan = off")
    plan = "\n".join(
        row[0]
        for row in db.execute(
            f"EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM llamalog.{view}".encode()
        )
    )
    assert "Seq Scan on llama_logs" not in plan
    if "LIMIT" in view:
        assert "Sort Key: llama_logs.id DESC" in plan
        assert "Index Scan Backward" in plan
    else:
        assert "Subplans Removed" in plan


# -- commands ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sync(database, new):
    """A sync made an album of hostile name, an enrichment failed."""
    with context(database, source="spotify_sync", job_id="sync-7", user_id="ann"):
        album = new.album(database, "\x1b[31mKid A")
        new.track(database, album)
    with context(
        database, source="enrichment", job_id="enrich-1", parent_job_id=f"sync-7/ALBUM:{album}"
    ):
        pass
    database.execute(
        "SELECT llamalog.record_failure('gone', job_id => 'enrich-1', source => 'enrichment', entity_type => 'ALBUM', entity_id => %s)",
        [album],
    )
    return album


def test_job_draws_what_caused_it_and_what_it_caused(llamalog, sync):
    drawn = llamalog("job", "enrich-1")
    lines = drawn.stdout.splitlines()
    assert [line.split(" · ")[0] for line in lines] == [
        "job sync-7",
        f"└── job sync-7/ALBUM:{sync}",
        "    └── 🦙 job enrich-1",
    ]
    assert lines[0].split(" · ")[1:3] == ["spotify_sync", "user ann"]
    assert lines[1].endswith(" · 2 CREATED")
    assert lines[2].endswith(" · 1 FAILED")
    nodes = json.loads(llamalog("job", "sync-7", "--format", "json").stdout)
    assert [(node["depth"], node["failure_count"]) for node in nodes] == [(0, 0), (1, 0), (2, 1)]


def test_job_draws_fifteen_children_and_says_how_many_more_and_how_deep(llamalog, database):
    database.execute(
        "INSERT INTO llamalog.jobs (job_id, parent_job_id)"
        " SELECT 'child' || n, 'mother' FROM generate_series(1, 20) AS n UNION ALL"
        " SELECT 'deep' || n, 'deep' || n - 1 FROM generate_series(1, 150) AS n"
    )
    drawn = llamalog("job", "mother").stdout
    assert drawn.count("job child") == 15
    assert "5 more: --children 20" in drawn
    assert "deeper: --format json has all of it" in llamalog("job", "deep0", COLUMNS="900").stdout
    assert len(llamalog("job", "deep0", "--format", "jsonl").stdout.splitlines()) == 151


def test_impact_counts_by_type_and_category(llamalog, sync):
    told = llamalog("impact", "--job", "sync-7")
    title, head, *rows = told.stdout.splitlines()
    assert title.startswith(
        "🦙 changes of job sync-7 and what it caused: 3, on 2 entities and links · 20"
    )
    assert head.split() == ["type", "touched", "changes", "how"]
    assert [row.split() for row in rows] == [
        ["ALBUM", "1", "2", "1", "CREATED,", "1", "FAILED"],
        ["TRACK", "1", "1", "1", "CREATED"],
    ]
    assert (told.stderr, told.exit_code) == ("", 0)


def test_impact_lists_in_every_format_and_pages(llamalog, sync):
    listed = llamalog("impact", "--job", "sync-7", "--list")
    assert "\x1b" not in listed.stdout
    assert "\\x1b[31mKid A" in listed.stdout
    page = llamalog("impact", "--user", "ann", "--list", "--limit", "1", "--format", "jsonl")
    (album,) = [json.loads(line) for line in page.stdout.splitlines()]
    assert (album["touched_type"], album["entity_id"]) == ("ALBUM", sync)
    cursor = page.stderr.split("--cursor ")[1].strip()
    for form, read in (
        ("json", json.loads),
        ("jsonl", lambda text: [json.loads(line) for line in text.splitlines()]),
        ("csv", lambda text: list(csv.DictReader(io.StringIO(text)))),
    ):
        rest = llamalog("impact", "--user", "ann", "--list", "--cursor", cursor, "--format", form)
        assert [entity["touched_type"] for entity in read(rest.stdout)] == ["TRACK"]
        both = llamalog("impact", "--user", "ann", "--list", "--format", form)
        assert len(read(both.stdout)) == 2
    nothing = llamalog("impact", "--source", "nope", "--list", "--format", "json")
    assert json.loads(nothing.stdout) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "nope"], "no change of source nope is recorded"),
        (["--source", ""], 'no change of source "" is recorded'),
        (["--user", "bob", "--list"], "no change of user bob touched an entity"),
        (
            [
                "--source",
                "x",
                "--user",
                "y",
                "--since",
                "2025-01-01",
                "--until",
                "2025-01-02T01:00+01:00",
            ],
            "no change of source x, user y from 2025-01-01T00:00:00Z before 2025-01-02T00:00:00Z is recorded",
        ),
        (
            ["--until", "2001-01-01"],
            "no change before 2001-01-01T00:00:00Z is recorded; the log is empty",
        ),
    ],
)
def test_impact_of_what_wrote_nothing_says_so(llamalog, arguments, said):
    result = llamalog("impact", *arguments)
    assert said in result.stderr
    assert (result.stdout, result.exit_code) == ("", 0)


@pytest.mark.parametrize(
    ("arguments", "code", "first", "hint"),
    [
        (["job", "nope"], 1, 'error: unknown job "nope" (LL017)', "Every change names its job"),
        (["impact", "--job", "nope"], 1, 'error: unknown job "nope" (LL017)', "Every change"),
        (["impact"], 2, "error: it is not said whose impact is asked for (22023)", "Give a job"),
        (
            ["impact", "--since", "2026-02-01", "--until", "2026-01-01"],
            2,
            "error: the start, 2026-02-01 00:00:00+00, is after the end",
            "Swap them",
        ),
        (
            ["impact", "--since", "2999-01-01"],
            2,
            "error: the start, 2999-01-01 00:00:00+00, is in the future (22023)",
            "Give an instant that has passed",
        ),
        (["impact", "--job", "x", "--limit", "3"], 2, "error: --limit and --cursor go with --list", "--help"),
        (["impact", "--source", "x", "--list", "--cursor", "x"], 1, "error: malformed cursor", "Pass the cursor"),
    ],
)  # fmt: skip
def test_jobs_that_never_were_and_questions_about_nothing_are_refused(
    llamalog, arguments, code, first, hint
):
    test_cli.failed(llamalog(*arguments), code, first, hint)


def test_the_root_of_a_job_is_its_first_ancestor_though_its_parent_alone_is_said(db, new):
    def begin(job, parent):
        db.execute(
            "SELECT llamalog.set_context(source => 'enrichment', job_id => %s, parent_job_id => %s)",
            [job, parent],
        )

    begin("first", None)
    db.execute("SELECT llamalog.start_job('second', 'first')")
    begin("third", "second")
    album = new.album(db)
    begin("fourth", "third")
    db.execute("UPDATE albums SET title = 'Kid A'")
    db.execute("SELECT llamalog.record_failure('no', parent_job_id => 'fourth')")
    assert [
        *db.execute("SELECT DISTINCT root_job_id FROM llamalog.log").fetchall(),
        *db.execute("SELECT DISTINCT root_job_id FROM llamalog.jobs").fetchall(),
    ] == [("first",), ("first",)]
    begin("other", "unheard of")
    db.execute("DELETE FROM albums WHERE id = %s", [album])
    last = db.execute("SELECT root_job_id FROM llamalog.log ORDER BY seq DESC LIMIT 1")
    assert last.fetchone() == ("unheard of",)
