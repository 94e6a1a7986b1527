"""What a job caused and what it touched: families of jobs, and every change that they made."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import psycopg
import pytest

from llamalog_sql import jobs, watching
from llamalog_sql.errors import BadCursor, Misuse, UnknownJob, translate
from llamalog_sql.jobs import Criteria
from llamalog_sql.watching import Options


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
    db.execute(
        "CREATE TABLE stock (id int, place text, n int, PRIMARY KEY (id, place)) PARTITION BY LIST (place)"
    )
    for place in ("a", "b"):
        db.execute(
            f"CREATE TABLE stock_{place} PARTITION OF stock FOR VALUES IN ('{place}')".encode()
        )
    watching.watch(db, ["stock"], Options())
    begin(db, "fill", None)
    db.execute("INSERT INTO stock VALUES (1, 'a', 1), (2, 'a', 1)")
    begin(db, "move", None)
    db.execute("UPDATE stock SET place = 'b', n = 2 WHERE id = 1")
    db.execute("DELETE FROM stock WHERE id = 2")
    rows = db.execute(
        "SELECT op, entity_id, fields_enriched, job_id FROM llamalog.job_changes('move') ORDER BY seq"
    ).fetchall()
    assert rows == [("U", "1,b", ["n", "place"], "move"), ("D", "2,a", None, "move")]


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
def test_pages_of_any_size_hold_each_entity_once_and_what_the_first_could_see(db, new, limit):
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
