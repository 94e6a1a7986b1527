"""What a job caused and what it touched: families of jobs, and every change that they made."""

from __future__ import annotations

import psycopg
import pytest

from llamalog_sql import jobs, watching
from llamalog_sql.errors import UnknownJob, translate
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
