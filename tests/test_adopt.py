"""A log that the application kept itself becomes the log: nothing is lost, nobody is kept waiting, and all can be undone."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
from adopting import (
    OLD_COLUMNS,
    SEEN,
    WRITTEN,
    Connection,
    album,
    content,
    insert,
    is_later,
    logged,
    plan_of,
    rows,
    shape_of,
    value,
    write_as_before,
    write_in_every_way,
)
from legacy import make
from psycopg.rows import dict_row

from llamalog_sql import (
    access,
    attention,
    backfill,
    context,
    installation,
    jobs,
    migrate,
    pausing,
    queries,
    stats,
    watching,
)
from llamalog_sql.adoption import adopt, locks, state, undo
from llamalog_sql.jobs import Criteria
from llamalog_sql.watching import Options

pytest_plugins = ["adopting"]


# -- adopting changes no row -------------------------------------------------------------------------------------------


def test_adopting_changes_no_row(legacy):
    before = content(legacy, "public.enrichment_logs")
    report = adopt.adopt(legacy, "public.enrichment_logs")
    assert report.row_count == 260
    assert report.before == report.after
    assert len(report.before) == 32
    assert content(legacy, "public.llama_logs") == before
    assert content(legacy, "public.enrichment_logs") == before


def test_everything_named_after_the_table_bears_the_new_name(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    left = rows(
        legacy,
        "SELECT c.relname, c.relkind FROM pg_class AS c WHERE c.relname LIKE '%%enrichment_logs%%'"
        " UNION ALL SELECT conname, 'c' FROM pg_constraint WHERE conname LIKE '%%enrichment_logs%%'",
    )
    assert left == [("enrichment_logs", "v")]
    names = [
        name
        for (name,) in rows(
            legacy,
            "SELECT conname FROM pg_constraint WHERE conrelid = 'public.llama_logs'::regclass",
        )
    ]
    assert "llama_logs_pkey" in names
    assert all(name.startswith("llama_logs_") for name in names)
    indexes = {
        name
        for (name,) in rows(
            legacy,
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 'public.llama_logs'::regclass",
        )
    }
    assert {"llama_logs_album_id_created_at_idx", "llama_logs_sources_idx"} < indexes
    assert all(name.startswith("llama_logs_") for name in indexes)


def test_no_foreign_key_leads_from_the_log_to_the_application(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("DELETE FROM tracks; DELETE FROM albums")
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'public.llama_logs'::regclass",
        )
        == 0
    )
    assert value(legacy, "SELECT count(*) FROM public.llama_logs WHERE op IS NULL") == 260


def test_a_log_that_bears_the_name_already_is_adopted_without_a_view(legacy):
    legacy.execute("ALTER TABLE enrichment_logs RENAME TO llama_logs")
    before = content(legacy, "public.llama_logs")
    shape = shape_of(legacy, "public.llama_logs")
    report = adopt.adopt(legacy, "public.llama_logs")
    assert (report.row_count, report.before) == (260, report.after)
    assert content(legacy, "public.llama_logs") == before
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_class WHERE relkind = 'v' AND relnamespace = 'public'::regnamespace",
        )
        == 0
    )
    assert insert(legacy, "public.llama_logs") is not None
    undo.undo(legacy)
    assert shape_of(legacy, "public.llama_logs") == shape
    assert value(legacy, "SELECT count(*) FROM public.llama_logs") == 261


def test_a_log_in_another_schema_with_names_that_need_quotes_is_adopted(legacy):
    legacy.execute('CREATE SCHEMA "My Logs"; ALTER TABLE enrichment_logs SET SCHEMA "My Logs"')
    legacy.execute('ALTER TABLE "My Logs".enrichment_logs RENAME TO "Enrichment Log"')
    report = adopt.adopt(legacy, '"My Logs"."Enrichment Log"')
    assert (report.row_count, report.before) == (260, report.after)
    legacy.execute("UPDATE albums SET title = 'New' WHERE id = %s", [album(1)])
    assert value(legacy, 'SELECT count(*) FROM "My Logs"."Enrichment Log"') == 261
    undo.undo(legacy)
    assert value(legacy, 'SELECT count(*) FROM "My Logs"."Enrichment Log"') == 261


# -- the old application's statements ----------------------------------------------------------------------------------


def test_the_applications_statements_pass_as_before_under_both_names(legacy):
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    adopt.adopt(legacy, "public.enrichment_logs")
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    assert write_as_before(legacy, "public.llama_logs") == SEEN


def test_they_pass_between_any_two_steps(legacy, connect, monkeypatch):
    application = connect(legacy)
    seen = []
    real = locks.exclusively

    def stepwise(*arguments):
        real(*arguments)
        seen.append(write_as_before(application, "public.enrichment_logs") == SEEN)

    monkeypatch.setattr(locks, "exclusively", stepwise)
    adopt.adopt(legacy, "public.enrichment_logs")
    assert seen == [True] * 6
    undo.undo(
        legacy
    )  # the four keys come back, and each is validated, in transactions of their own
    assert seen == [True] * 18


def test_they_use_the_index_that_they_used_before(first):
    first.execute('DROP TABLE enrichment_logs; TRUNCATE albums, tracks, "User" CASCADE')
    make(first, albums=1500)
    expected = {
        f"album_id = '{album(7)}' ORDER BY created_at DESC LIMIT 20": "album_id_created_at_idx",
        f"entity_type = 'ALBUM' AND entity_id = '{album(7)}'": "entity_type_entity_id_idx",
        "status = 'FAILED' AND created_at > '2025-03-01 00:00:00'": "status_created_at_idx",
        "parent_job_id = 'create-7'": "parent_job_id_idx",
        "id = '00000000-0000-4000-8000-000000000001'": "pkey",
    }

    def use(log: str, table: str) -> None:
        for condition, index in expected.items():
            assert f"{log}_{index}" in plan_of(first, f"SELECT * FROM {table} WHERE {condition}")

    use("enrichment_logs", "public.enrichment_logs")
    adopt.adopt(first, "public.enrichment_logs")
    use("llama_logs", "public.enrichment_logs")
    use("llama_logs", "public.llama_logs")


def rights(conn: Connection, who: str, table: str) -> list[str]:
    return [
        right
        for right in ("SELECT", "INSERT", "UPDATE", "DELETE")
        if value(conn, "SELECT has_table_privilege(%s, %s, %s)", who, table, right)
    ]


def test_a_role_has_the_same_rights_under_both_names(legacy, role):
    writer, reader = role(legacy, "log_writer"), role(legacy, "log_reader")
    legacy.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON enrichment_logs TO {writer}")
    legacy.execute(f"GRANT SELECT ON enrichment_logs TO {reader} WITH GRANT OPTION")
    adopt.adopt(legacy, "public.enrichment_logs")
    for table in ("public.enrichment_logs", "public.llama_logs"):
        assert rights(legacy, writer, table) == ["SELECT", "INSERT", "UPDATE", "DELETE"]
        assert rights(legacy, reader, table) == ["SELECT"]
        assert value(
            legacy, "SELECT has_table_privilege(%s, %s, 'SELECT WITH GRANT OPTION')", reader, table
        )
        legacy.execute(f"SET ROLE {writer}")
        assert write_as_before(legacy, table) == SEEN
        legacy.execute(f"SET ROLE {reader}")
        assert value(legacy, f"SELECT count(*) >= 260 FROM {table}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            insert(legacy, table)
        legacy.execute("RESET ROLE")


def test_rights_on_single_columns_hold_under_both_names(legacy, role):
    clerk = role(legacy, "log_clerk")
    legacy.execute(f"GRANT SELECT (id, status), UPDATE (status) ON enrichment_logs TO {clerk}")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute(f"SET ROLE {clerk}")
    for table in ("public.enrichment_logs", "public.llama_logs"):
        assert value(legacy, f"SELECT count(*) FROM {table} WHERE status = 'SUCCESS'") == 259
        legacy.execute(f"UPDATE {table} SET status = 'SUCCESS'")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            legacy.execute(f"SELECT operation FROM {table}")
        legacy.execute("RESET ROLE")
        legacy.execute("UPDATE llama_logs SET status = 'FAILED' WHERE error_code = 'TIMEOUT'")
        legacy.execute(f"SET ROLE {clerk}")
    legacy.execute("RESET ROLE")


def test_a_table_that_another_adopts_for_its_owner_stays_his_under_both_names(legacy, role):
    shopkeeper = role(legacy, "shopkeeper")
    legacy.execute(f"ALTER TABLE enrichment_logs OWNER TO {shopkeeper}")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute(f"SET ROLE {shopkeeper}")
    for table in ("public.enrichment_logs", "public.llama_logs"):
        assert write_as_before(legacy, table) == SEEN
    legacy.execute("RESET ROLE")
    undo.undo(legacy)
    legacy.execute(f"SET ROLE {shopkeeper}")
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    legacy.execute("RESET ROLE")


def test_a_writer_of_the_log_needs_no_right_on_the_schema_of_ours(legacy, role):
    writer = role(legacy, "log_writer")
    legacy.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON enrichment_logs TO {writer}")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("REVOKE ALL ON SCHEMA llamalog FROM PUBLIC")
    legacy.execute(f"SET ROLE {writer}")
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    assert write_as_before(legacy, "public.llama_logs") == SEEN
    legacy.execute("RESET ROLE")


# -- a client generated from the old schema reads every row ------------------------------------------------------------

ENUMS = {
    "entity_type": '"EnrichmentEntityType"',
    "status": '"EnrichmentStatus"',
    "data_quality_before": '"DataQuality"',
    "data_quality_after": '"DataQuality"',
    "category": '"LlamaLogCategory"',
}


def test_a_client_of_the_old_schema_reads_every_row_that_capture_writes(adopted):
    before = {
        column: (kind, not_null)
        for column, kind, not_null, *_ in shape_of(adopted, "public.llama_logs")["columns"]
        if column in [*OLD_COLUMNS.split(", "), *ENUMS, "root_job_id"]
    }
    write_in_every_way(adopted)
    types = {c: k for c, k, *_ in shape_of(adopted, "public.enrichment_logs")["columns"]}
    assert {c: before[c][0] for c in types} == types
    known = {
        column: {
            label for (label,) in rows(adopted, f"SELECT unnest(enum_range(NULL::{kind}))::text")
        }
        for column, kind in ENUMS.items()
        if column in types
    }
    required = [column for column in types if before[column][1]]
    assert set(required) >= {
        "id",
        "operation",
        "status",
        "retry_count",
        "is_root_job",
        "created_at",
    }
    with adopted.cursor(row_factory=dict_row) as cursor:
        seen = cursor.execute("SELECT * FROM public.enrichment_logs").fetchall()
    assert len(seen) == 260 + len(WRITTEN)
    for row in seen:
        assert all(row[column] is not None for column in required)
        assert all(row[column] in known[column] | {None} for column in known)
        assert len(row["operation"]) <= 100
        assert isinstance(row["id"], UUID)
        assert isinstance(row["entity_id"], UUID | None)


def test_the_lens_shows_the_exact_values(adopted):
    ids = write_in_every_way(adopted)
    new = "seq >= 10000000000001 ORDER BY seq"
    assert (
        rows(adopted, f"SELECT category, entity_type, link_type, op FROM llamalog.log WHERE {new}")
        == WRITTEN
    )
    assert rows(
        adopted,
        "SELECT entity_id FROM llamalog.log WHERE entity_type = 'SLOT' AND op = 'D'",
    ) == [("1,left\\,most",)]
    (track,) = rows(
        adopted,
        "SELECT entity_id, operation, parent_job_id, triggered_by, user_id, source, job_id FROM llamalog.log"
        " WHERE entity_type = 'TRACK' AND op = 'I' AND seq >= 10000000000001",
    )
    assert track == (
        ids.track,
        "o" * 150,
        f"{ids.long}/ALBUM:{ids.album}",
        "t" * 120,
        "ann",
        "spotify_sync",
        None,
    )
    (failed,) = rows(
        adopted,
        "SELECT status, error_message, error_code, job_id, retry_count, duration_ms, sources FROM llamalog.log"
        " WHERE op IS NULL AND seq >= 10000000000001",
    )
    assert failed == (
        "FAILED",
        "no answer",
        ("TIMEOUT" + "!" * 60)[:50],
        ids.long,
        2,
        12,
        ["SPOTIFY"],
    )
    # an instant of ours has microseconds, the application's three digits
    assert value(
        adopted,
        "SELECT bool_or(extract(microseconds FROM created_at)::int % 1000 <> 0) FROM llamalog.log WHERE op IS NOT NULL",
    )
    assert value(
        adopted,
        "SELECT bool_and(abs(extract(epoch FROM log.created_at - theirs.created_at AT TIME ZONE 'UTC')) <= 0.0005)"
        " FROM llamalog.log AS log JOIN public.enrichment_logs AS theirs ON theirs.id::text = log.id",
    )


def test_the_applications_ids_name_what_is_there_and_nothing_that_was_deleted(adopted):
    ids = write_in_every_way(adopted)
    found = rows(
        adopted,
        "SELECT log.category, log.entity_type, theirs.album_id::text, theirs.artist_id::text, theirs.track_id::text"
        " FROM llamalog.log AS log JOIN public.enrichment_logs AS theirs ON theirs.id::text = log.id"
        " WHERE log.op IS NOT NULL AND log.category <> 'UPDATED' ORDER BY log.seq",
    )
    assert found == [
        ("CREATED", "ALBUM", ids.album, None, None),
        ("CREATED", "ARTIST", None, ids.artist, None),
        ("CREATED", "TRACK", ids.album, None, ids.track),
        ("ENRICHED", "ALBUM", ids.album, None, None),
        ("CORRECTED", "ALBUM", ids.album, None, None),
        ("CACHED", "ALBUM", ids.album, None, None),
        ("FAILED", "ALBUM", ids.album, None, None),
        ("USER_ACTION", "ALBUM", ids.album, None, None),
        ("LINKED", "ALBUM", ids.album, ids.artist, None),
        ("UNLINKED", "ALBUM", None, None, None),
        ("CREATED", "SHELF", None, None, None),
        ("CREATED", "SLOT", None, None, None),
        ("TRUNCATED", "SHELF", None, None, None),
        ("DELETED", "TRACK", None, None, None),
        ("DELETED", "SLOT", None, None, None),
    ]


def test_the_application_sees_the_nearest_category_that_it_knows(later_adopted):
    adopted = later_adopted
    write_in_every_way(adopted)
    assert rows(
        adopted,
        "SELECT DISTINCT log.category, theirs.category::text FROM llamalog.log AS log"
        " JOIN public.enrichment_logs AS theirs ON theirs.id::text = log.id WHERE log.seq >= 10000000000001 ORDER BY 1",
    ) == [
        ("CACHED", "CACHED"),
        ("CORRECTED", "CORRECTED"),
        ("CREATED", "CREATED"),
        ("DELETED", "CORRECTED"),
        ("ENRICHED", "ENRICHED"),
        ("FAILED", "FAILED"),
        ("LINKED", "LINKED"),
        ("TRUNCATED", "CORRECTED"),
        ("UNLINKED", "LINKED"),
        ("UPDATED", "ENRICHED"),
        ("USER_ACTION", "USER_ACTION"),
    ]


def test_enums_can_be_given_the_values_that_they_lack(legacy):
    legacy.execute("CREATE TABLE shelves (id uuid PRIMARY KEY DEFAULT gen_random_uuid())")
    watching.watch(legacy, ["shelves"])
    report = adopt.adopt(legacy, "public.enrichment_logs", extend_enums=True)
    assert (report.row_count, report.before) == (260, report.after)
    legacy.execute("INSERT INTO shelves DEFAULT VALUES; DELETE FROM shelves")
    columns = "entity_type::text" + (", category::text" if is_later(legacy) else "")
    seen = rows(
        legacy,
        f"SELECT {columns} FROM enrichment_logs WHERE entity_type = 'SHELF' ORDER BY created_at",
    )
    assert [row[1:] for row in seen] == (
        [("CREATED",), ("DELETED",)] if is_later(legacy) else [(), ()]
    )
    exact = "count(exact_entity_type)" + (", count(exact_category)" if is_later(legacy) else "")
    assert set(rows(legacy, f"SELECT {exact} FROM llama_logs")[0]) == {0}
    assert rows(
        legacy, "SELECT category FROM llamalog.log WHERE entity_type = 'SHELF' ORDER BY seq"
    ) == [
        ("CREATED",),
        ("DELETED",),
    ]


# -- rows of the application's own -------------------------------------------------------------------------------------

OPERATIONS = {
    "MANUAL_CREATE": "CREATED",
    "collection:album-added": "USER_ACTION",
    "artist:created": "CREATED",
    "album:created:spotify-sync": "CREATED",
    "track:created:spotify-sync": "CREATED",
    "album:created:musicbrainz-sync": "CREATED",
    "album:created:deezer-import": "CREATED",
    "listenbrainz:sync-fresh-releases": "ENRICHED",
    "deezer:sync-editorial-releases": "ENRICHED",
    "check:album-enrichment": "ENRICHED",
    "enrichment:album": "ENRICHED",
    "track:created:enrichment": "CREATED",
    "artist:created:track-child": "CREATED",
    "cache:album-cover-art": "CACHED",
    "cache:artist-image": "CACHED",
    "admin_correction": "CORRECTED",
    "manual_correction": "CORRECTED",
    "track:failed:enrichment": "FAILED",
    "PREVIEW_ENRICHMENT": "ENRICHED",
    "SPOTIFY_TRACK_FALLBACK": "ENRICHED",
    "similar-artists-sync": "ENRICHED",
    "recommendation:created": "USER_ACTION",
    "game-pool:add": "USER_ACTION",
}


def test_the_rules_give_what_the_application_inserts_its_category(adopted):
    for operation, category in OPERATIONS.items():
        for table in ("public.enrichment_logs", "public.llama_logs"):
            key = insert(adopted, table, operation=operation)
            assert (operation, logged(adopted, key)) == (operation, category)
            key = insert(adopted, table, operation=operation, status="FAILED")
            assert (operation, logged(adopted, key)) == (operation, "FAILED")


def test_what_no_rule_knows_keeps_the_category_that_the_application_gives(
    first_adopted, later_adopted
):
    first, later = first_adopted, later_adopted
    assert logged(first, insert(first, operation="tidy up")) == "UPDATED"
    assert logged(later, insert(later, operation="tidy up", category="CACHED")) == "CACHED"


def test_the_application_reads_the_category_that_it_gave(later_adopted):
    later = later_adopted
    key = insert(later, operation="admin_correction", category="CREATED")
    assert logged(later, key) == "CORRECTED"
    assert value(later, "SELECT category FROM enrichment_logs WHERE id = %s", key) == "CREATED"


def test_a_row_that_fails_later_becomes_failed_in_the_lens(adopted):
    key = insert(adopted, operation="enrichment:album", status="IN_PROGRESS")
    assert logged(adopted, key) == "ENRICHED"
    adopted.execute("UPDATE enrichment_logs SET status = 'FAILED' WHERE id = %s", [key])
    assert logged(adopted, key) == "FAILED"
    adopted.execute("UPDATE llama_logs SET status = 'SUCCESS' WHERE id = %s", [key])
    assert logged(adopted, key) == "ENRICHED"
    # and one of those that were there before
    old = value(
        adopted,
        "SELECT id FROM enrichment_logs WHERE operation = 'enrichment:album' AND status = 'SUCCESS' LIMIT 1",
    )
    adopted.execute("UPDATE enrichment_logs SET status = 'FAILED' WHERE id = %s", [old])
    assert logged(adopted, old) == "FAILED"


def test_a_row_of_the_applications_keeps_its_id_and_its_instant_and_stands_after_the_old_ones(
    adopted,
):
    key = insert(
        adopted,
        id="00000000-0000-4000-8000-000000000001",
        created_at="2024-02-29 01:02:03.456",
        job_id="j",
        parent_job_id="p",
    )
    assert logged(adopted, key, "id, created_at, op, job_id, db_user") == (
        "00000000-0000-4000-8000-000000000001",
        datetime(2024, 2, 29, 1, 2, 3, 456000, tzinfo=UTC),
        None,
        "j",
        "postgres",
    )
    assert value(adopted, "SELECT max(seq) FROM llamalog.log") == logged(adopted, key, "seq")
    if not is_later(adopted):
        assert logged(adopted, key, "root_job_id") == "p"


def test_nobody_but_capture_says_that_something_was_captured(adopted, role):
    writer = role(adopted, "log_writer")
    adopted.execute(f"GRANT SELECT, INSERT ON llama_logs TO {writer}")
    adopted.execute(f"SET ROLE {writer}")
    claim = {
        "op": "D",
        "before": '{"a": 1}',
        "after": '{"a": 2}',
        "link_type": "ALBUM_ARTIST",
        "previous_id": "x",
        "seq": 1,
        "db_user": "somebody",
        "txid": "1",
        "transaction_at": "1999-01-01",
        "exact_created_at": "1999-01-01",
    }
    key = insert(adopted, "public.llama_logs", **claim)
    adopted.execute("RESET ROLE")
    assert logged(
        adopted,
        key,
        "op, before, after, link_type, previous_id, seq >= 10000000000001, db_user, txid = '1', transaction_at > '2020-01-01',"
        " created_at > '2020-01-01'",
    ) == (None, None, None, None, None, True, "postgres", False, True, True)


def test_roles_of_ours_keep_their_rights_and_a_writer_says_nothing_that_capture_says(
    first_adopted, role
):
    """What they had rights on gave way to a view; who writes rows of his own writes them into his own table."""
    assert access.lacking(first_adopted) == {}
    writer = role(first_adopted, "log_writer")
    first_adopted.execute(f"GRANT llamalog_writer TO {writer}; SET ROLE {writer}")
    first_adopted.execute("SELECT llamalog.record_failure('timeout', job_id => 'own')")
    for column, claim in {"op": "'D'", "id": "1", "before": "'{}'", "db_user": "'ann'"}.items():
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            first_adopted.execute(
                f"INSERT INTO llamalog.llama_logs (operation, category, {column}) VALUES ('own', 'ENRICHED', {claim})"
            )
    first_adopted.execute("RESET ROLE")
    assert first_adopted.execute(
        "SELECT op, category, db_user FROM llamalog.log WHERE job_id = 'own'"
    ).fetchall() == [(None, "FAILED", "postgres")]


# -- questions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", ["rendered", "statement", "tolerant"])
def test_history_follows_a_change_of_the_key(first_adopted, capture):
    first_adopted.execute("CREATE TABLE pages (id integer PRIMARY KEY, name text)")
    watching.watch(first_adopted, ["pages"], Options(capture=capture))
    first_adopted.execute("INSERT INTO pages VALUES (1, 'a'), (2, 'b')")
    first_adopted.execute("UPDATE pages SET id = id + 10")
    assert [
        (change.category, change.previous_id, change.entity_id)
        for change in queries.history(first_adopted, "PAGE", "12")
    ] == [("UPDATED", "2", "12"), ("CREATED", None, "2")]


def test_jobs_and_their_impact_span_old_rows_and_new_ones(first_adopted):
    conn = first_adopted
    conn.execute(
        "UPDATE public.llama_logs SET parent_job_id = 'old-cron' WHERE job_id = 'create-3'"
    )
    with context(conn, source="spotify_sync", job_id="sync-7", parent_job_id="create-3"):
        conn.execute(
            "INSERT INTO tracks (album_id, title, track_number, updated_at) VALUES (%s, 'x', 99, now())",
            [album(3)],
        )
    assert jobs.job(conn, "sync-7")[0].job_id == "old-cron"
    assert jobs.job(conn, "sync-7")[-1].job_id == f"sync-7/ALBUM:{album(3)}"
    assert [(i.entity_type, i.categories) for i in jobs.impact(conn, Criteria("sync-7"))] == [
        ("TRACK", {"CREATED": 1})
    ]
    family = {node.job_id for node in jobs.job(conn, "create-3") if node.depth >= 0}
    assert {"create-3", "sync-7"} < family
    conn.execute("SET enable_seqscan = off")
    plan = plan_of(
        conn,
        "SELECT parent_job_id FROM llamalog.log WHERE parent_job_id ~>=~ 'sync-7/' AND parent_job_id ~<~ 'sync-70'",
    )
    assert "llama_logs_lens_parent_job_id_idx" in plan
    assert "llama_logs_default_parent_job_id_id_idx" in plan


def test_questions_answer_over_old_rows_before_any_backfill(adopted):
    told = queries.history(adopted, "ALBUM", album(3))
    assert [(change.operation, change.category) for change in told] == [
        ("enrichment:album", "ENRICHED"),
        ("check:album-enrichment", "ENRICHED"),
        ("album:created:spotify-sync", "CREATED"),
    ]
    assert told[-1].created_at == datetime(2025, 3, 1, 0, 3, 0, 100000, tzinfo=UTC)
    page = queries.chain(adopted, "ALBUM", album(3), limit=100)
    assert page.total_count == 13
    assert [row.entity_type for row in page.logs] == ["ALBUM"] * 3 + ["TRACK"] * 10
    tree = queries.tree(adopted, "ALBUM", album(3))
    assert [(node.depth, node.job_id, node.operation) for node in tree[:5]] == [
        (0, "sync-0", None),
        (1, "create-3", "album:created:spotify-sync"),
        (2, "check-3", None),
        (3, "check-3", "check:album-enrichment"),
        (3, "enrich-3", None),
    ]
    assert len(queries.why(adopted, "ALBUM", album(3))) == 3
    (found,) = [f for f in queries.find(adopted, "Album 3") if f.label == "Album 3"]
    assert found.entity_id == album(3)


def test_they_answer_over_old_and_captured_rows_together(adopted):
    adopted.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album(3)])
    key = insert(
        adopted, entity_type="ALBUM", entity_id=album(3), operation="cache:album-cover-art"
    )
    adopted.execute(
        "UPDATE tracks SET title = 'New' WHERE album_id = %s AND track_number = 1", [album(3)]
    )
    adopted.execute("DELETE FROM albums WHERE id = %s", [album(3)])
    told = queries.history(adopted, "ALBUM", album(3))
    assert [(change.op, change.category) for change in told] == [
        ("D", "DELETED"),
        (None, "CACHED"),
        ("U", "UPDATED"),
        (None, "ENRICHED"),
        (None, "ENRICHED"),
        (None, "CREATED"),
    ]
    assert told[1].id == str(key)
    assert told[2].after == {"label": "Parlophone"}
    page = queries.chain(adopted, "ALBUM", album(3), limit=100)
    assert page.total_count == 13 + 2 + 1 + 10 + 1
    assert [row.category for row in page.logs][13:16] == ["UPDATED", "CACHED", "UPDATED"]
    assert queries.why(adopted, "ALBUM", album(3))
    assert queries.tree(adopted, "ALBUM", album(3))


def test_pages_neither_skip_nor_repeat_rows_of_one_millisecond(adopted):
    adopted.execute("UPDATE enrichment_logs SET created_at = '2025-03-01 00:03:00.100'")
    adopted.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album(3)])
    seen, cursor = [], None
    while True:
        page = queries.chain(adopted, "ALBUM", album(3), limit=4, cursor=cursor)
        # what comes meanwhile is not on the pages that follow
        insert(
            adopted, entity_type="ALBUM", entity_id=album(3), created_at="2025-03-01 00:03:00.100"
        )
        seen += [(row.seq, row.operation, str(row.entity_id)) for row in page.logs]
        assert page.total_count == 14
        cursor = page.cursor
        if cursor is None:
            break
    assert len(seen) == 14
    everything = queries.chain(adopted, "ALBUM", album(3), limit=100)
    assert everything.total_count == 14 + 4


# -- a log of another shape --------------------------------------------------------------------------------------------

AUDIT_TRAIL = """
CREATE TABLE audit_trail (
    id bigserial PRIMARY KEY,
    happened timestamptz NOT NULL DEFAULT now(),
    table_name text,
    record_pk text,
    action text NOT NULL,
    who text,
    job text,
    payload jsonb
);
CREATE INDEX audit_trail_record_idx ON audit_trail (table_name, record_pk);
INSERT INTO audit_trail (happened, table_name, record_pk, action, who, job, payload)
SELECT '2025-01-01'::timestamptz + n * interval '1 second', 'ALBUM', md5('album' || n)::uuid, 'album:created', 'ann', 'job-' || n,
    '{"n": 1.0}'
FROM generate_series(1, 10) AS n;
"""

MAPPING = {
    "happened": "created_at",
    "table_name": "entity_type",
    "record_pk": "entity_id",
    "action": "operation",
    "who": "user_id",
    "job": "job_id",
    "payload": "metadata",
}


def test_a_log_of_another_shape_is_adopted_by_naming_its_columns(first, llamalog):
    first.execute(AUDIT_TRAIL.encode())
    shape = shape_of(first, "audit_trail")
    pairs = [part for ours, theirs in MAPPING.items() for part in ("--map", f"{ours}={theirs}")]
    result = llamalog(first, "adopt", "audit_trail", *pairs, "--yes")
    assert result.exit_code == 0, result.stderr
    key = value(
        first,
        "INSERT INTO audit_trail (table_name, record_pk, action, who) VALUES ('ALBUM', %s, 'admin_correction', 'mia')"
        " RETURNING id",
        album(3),
    )
    assert key > 10
    first.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album(3)])
    told = queries.history(first, "ALBUM", album(3))
    assert [(c.id, c.op, c.category, c.operation, c.user_id, c.metadata) for c in told] == [
        (str(key + 1), "U", "UPDATED", "album:updated", None, None),
        (str(key), None, "CORRECTED", "admin_correction", "mia", None),
        ("3", None, "CREATED", "album:created", "ann", {"n": told[2].metadata["n"]}),
    ]
    assert told[2].created_at == datetime(2025, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert rows(
        first,
        "SELECT id, table_name, record_pk, action, who, payload FROM audit_trail WHERE id > 10 ORDER BY id",
    ) == [
        (key, "ALBUM", album(3), "admin_correction", "mia", None),
        (key + 1, "ALBUM", album(3), "album:updated", None, None),
    ]
    assert queries.why(first, "ALBUM", album(3))
    assert queries.chain(first, "ALBUM", album(3)).total_count == 3
    assert (
        value(first, "SELECT pg_get_serial_sequence('llama_logs', 'id')")
        == "public.llama_logs_id_seq"
    )
    assert llamalog(first, "adopt", "--verify").exit_code == 0
    assert llamalog(first, "adopt", "--undo", "--yes").exit_code == 0
    assert shape_of(first, "audit_trail") == shape
    assert value(first, "SELECT array_agg(id ORDER BY id) FROM audit_trail") == [
        *range(1, 11),
        key,
        key + 1,
    ]
    assert [c.after for c in queries.history(first, "ALBUM", album(3))] == [{"label": "Parlophone"}]


def test_what_the_types_of_another_log_cannot_hold_fails_no_write(first):
    first.execute(
        "CREATE TABLE tight (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz(0) NOT NULL,"
        " operation char(8) NOT NULL, entity_type varchar(3), entity_id integer, job_id uuid, user_id bigint,"
        " sources varchar, retry_count smallint, duration_ms bigint, metadata json, status char(2), error_code text)"
    )
    adopt.adopt(first, "tight")
    ids = write_in_every_way(first)
    assert (
        rows(first, "SELECT category, entity_type, link_type, op FROM llamalog.log ORDER BY seq")
        == WRITTEN
    )
    assert rows(
        first,
        "SELECT operation::text, entity_type, entity_id, retry_count, duration_ms, status FROM tight ORDER BY id DESC LIMIT 1",
    ) == [("album:fa", "ALB", None, 2, 12, "FA")]
    assert (
        value(first, "SELECT count(*) FROM tight WHERE entity_type = 'SHE' AND entity_id = 1") == 3
    )
    assert value(
        first, "SELECT bool_or(extract(microseconds FROM created_at) % 1000 <> 0) FROM llamalog.log"
    )
    (failed,) = rows(
        first, "SELECT status, sources, entity_id, job_id FROM llamalog.log WHERE op IS NULL"
    )
    assert failed == ("FAILED", ["SPOTIFY"], ids.album, ids.long)
    undo.undo(first)
    assert value(first, "SELECT count(*) FROM llamalog.log") == len(WRITTEN)


# -- watched before ----------------------------------------------------------------------------------------------------


def test_what_was_captured_before_the_adoption_stands_between_old_and_new(legacy):
    legacy.execute("UPDATE albums SET label = 'before' WHERE id = %s", [album(3)])
    adopt.adopt(legacy, "public.enrichment_logs")
    insert(legacy, entity_type="ALBUM", entity_id=album(3), operation="cache:album-cover-art")
    legacy.execute("UPDATE albums SET label = 'after' WHERE id = %s", [album(3)])
    told = queries.history(legacy, "ALBUM", album(3))
    assert [(change.category, change.after) for change in told] == [
        ("UPDATED", {"label": "after"}),
        ("CACHED", None),
        ("UPDATED", {"label": "before"}),
        ("ENRICHED", None),
        ("ENRICHED", None),
        ("CREATED", None),
    ]
    page = queries.chain(legacy, "ALBUM", album(3), limit=100)
    assert page.total_count == 13 + 3
    assert [row.category for row in page.logs][-3:] == ["UPDATED", "CACHED", "UPDATED"]
    undo.undo(legacy)
    assert [change.after for change in queries.history(legacy, "ALBUM", album(3))] == [
        {"label": "after"},
        {"label": "before"},
    ]


def test_what_is_captured_while_it_is_adopted_is_not_lost(first, connect):
    writer, ended = connect(first), threading.Event()
    written: list[int] = []

    def write() -> None:
        n = 0
        while not ended.is_set():
            n += 1
            writer.execute("UPDATE albums SET track_count = %s WHERE id = %s", [n, album(3)])
            written.append(n)
            time.sleep(0.005)

    writing = threading.Thread(target=write)
    writing.start()
    try:
        adopt.adopt(first, "public.enrichment_logs")
        undo.undo(first)
        adopt.adopt(first, "public.enrichment_logs")
        assert writing.is_alive()
    finally:
        ended.set()
        writing.join()
    told = rows(
        first,
        "SELECT (after ->> 'track_count')::int FROM llamalog.log WHERE entity_id = %s AND op = 'U' ORDER BY seq",
        album(3),
    )
    assert [n for (n,) in told] == written


# -- and the rest of the commands --------------------------------------------------------------------------------------


def test_migrate_after_an_adoption_changes_nothing(adopted):
    assert migrate.migrate(adopted).is_empty
    lens = value(adopted, "SELECT pg_get_viewdef('llamalog.log'::regclass)")
    adopted.execute("UPDATE llamalog.repeatables SET checksum = '' WHERE name = 'views/log.sql'")
    assert migrate.migrate(adopted).repeatables == ["views/log.sql"]
    assert migrate.migrate(adopted).is_empty
    assert value(adopted, "SELECT pg_get_viewdef('llamalog.log'::regclass)") == lens


def test_status_check_and_maintain_know_the_adopted_log(adopted, llamalog):
    assert migrate.maintain(adopted) == []
    assert [(f.what, f.hint) for f in installation.check(adopted)] == [
        ("public.llama_logs", "Run: llamalog backfill")
    ]
    backfill.backfill(adopted)
    assert installation.check(adopted) == []
    status = installation.status(adopted)
    assert (status.adopted, status.rows) == ("public.llama_logs", 260)
    assert "260 rows, " in llamalog(adopted, "status").stdout
    assert llamalog(adopted, "check").exit_code == 0
    assert llamalog(adopted, "maintain").exit_code == 0
    result = llamalog(adopted, "rollback", "--all", "--yes")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "hint: Give it back first: llamalog adopt --undo",
    )


def test_the_plan_changes_nothing(legacy, llamalog):
    shape = shape_of(legacy, "enrichment_logs")
    for option in ("--dry-run", "--sql"):
        result = llamalog(legacy, "adopt", "public.enrichment_logs", option)
        assert (result.exit_code, result.stderr) == (0, "")
        assert "drop the foreign key enrichment_logs_album_id_fkey" in result.stdout
    assert shape_of(legacy, "enrichment_logs") == shape
    assert value(legacy, "SELECT count(*) FROM llamalog.adoptions") == 0


def test_indexes_that_nothing_needs_are_named_and_dropped_when_asked(legacy, llamalog):
    result = llamalog(legacy, "adopt", "public.enrichment_logs", "--yes")
    assert result.stdout.splitlines()[3:] == [
        "index public.llama_logs_sources_idx: finds whole arrays only, nothing in them: --drop-indexes drops it"
    ]
    undo.undo(legacy)
    result = llamalog(legacy, "adopt", "public.enrichment_logs", "--yes", "--drop-indexes")
    assert result.stdout.splitlines()[3:] == ["index public.llama_logs_sources_idx: dropped"]
    undo.undo(legacy)


def test_nothing_is_asked_of_whoever_does_not_confirm(legacy, llamalog):
    result = llamalog(legacy, "adopt", "public.enrichment_logs")
    assert result.exit_code != 0
    assert value(legacy, "SELECT count(*) FROM llamalog.adoptions") == 0


def test_sql_of_undo_changes_nothing_and_run_by_hand_gives_the_log_back(database):
    make(database)
    adopt.adopt(database, "enrichment_logs")
    script = [statement for part in undo.script(database) for statement in part]
    assert state.current(database).is_adopted
    with database.transaction():
        for statement in script:
            database.execute(statement.encode())
    assert state.current(database) is None
    names = "SELECT to_regclass('enrichment_logs') AS old, to_regclass('llama_logs') AS new, count(*) FROM enrichment_logs"
    assert tuple(database.execute(names).fetchone()) == ("enrichment_logs", None, 260)


def test_what_failed_and_what_needs_a_person_is_told_of_an_adopted_log(first_adopted):
    conn = first_adopted
    insert(conn, entity_type="ALBUM", entity_id=album(1), status="FAILED", error_code="TIMEOUT")
    years = {"days": 36500}

    def told() -> tuple[Any, ...]:
        asked = attention.failures(conn, "ALBUM", album(20), **years)
        return [(f.label, f.error_code, f.resolved_at) for f in asked]

    assert told() == [("Album 20", "TIMEOUT", None)]
    (new,) = attention.failures(conn, "ALBUM", unresolved_only=True)
    assert (new.label, new.error_code) == ("Album 1", "TIMEOUT")
    backfill.backfill(conn)
    assert told() == [("Album 20", "TIMEOUT", None)]
    found = attention.attention(conn, "ALBUM", limit=1)
    assert [(f.rule, f.detail) for f in found] == [
        ("failed", "failed: enrichment:album (TIMEOUT)"),
        ("value", "data_quality is LOW"),
        ("missing", "none of deezer_id, musicbrainz_id, spotify_id"),
    ]
    assert {(f.category, str(f.job_id)[:7]) for f in found[1:]} == {("CREATED", "create-")}
    insert(conn, entity_type="ALBUM", entity_id=album(1))
    insert(conn, entity_type="ALBUM", entity_id=album(20))
    assert attention.failures(conn, unresolved_only=True, **years) == []
    counted = {c.name: c.change_count for c in stats.counts(conn, "status")}
    assert counted == {"SUCCESS": 2, "FAILED": 1}


def test_capture_into_an_adopted_log_is_paused_and_the_log_says_so(first_adopted):
    conn = first_adopted
    conn.execute("UPDATE albums SET label = 'logged'")
    pausing.pause(conn, ["albums"], "load")
    conn.execute("UPDATE albums SET label = 'unseen'")
    pausing.resume(conn, ["albums"])
    rows = conn.execute(
        "SELECT operation, category, op, entity_type, reason, seq FROM llamalog.log ORDER BY seq DESC LIMIT 3"
    ).fetchall()[::-1]
    assert [tuple(row[:-1]) for row in rows] == [
        ("album:updated", "UPDATED", "U", "ALBUM", None),
        ("llamalog:paused", "USER_ACTION", None, "ALBUM", "load"),
        ("llamalog:resumed", "USER_ACTION", None, "ALBUM", "load"),
    ]
    (kept,) = conn.execute("SELECT paused_seq, resumed_seq FROM llamalog.pauses").fetchall()
    assert tuple(kept) == (rows[1].seq, rows[2].seq)
    met = [(b.field, b.left_value, b.found) for b in queries.breaks(conn, "ALBUM", album(1))]
    assert met == [("label", "logged", "unseen")]
