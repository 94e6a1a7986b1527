"""Proof that nothing was lost, and the way back: undo, whatever interrupts it and whoever holds a lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import psycopg
import pytest
from adopting import (
    SEEN,
    WRITTEN,
    Connection,
    Killed,
    album,
    content,
    dsn_of,
    insert,
    refusal_of,
    rows,
    shape_of,
    value,
    write_as_before,
    write_in_every_way,
)
from conftest import sampled, until_alone

from llamalog_sql import (
    backfill,
    installation,
    migrate,
    queries,
)
from llamalog_sql.adoption import adopt, indexes, locks, proof, state, undo

pytest_plugins = ["adopting"]


# -- verify ------------------------------------------------------------------------------------------------------------


def test_verify_says_the_same_whatever_was_written_since(adopted, llamalog):
    write_in_every_way(adopted)
    insert(adopted)
    then, now = proof.verify(adopted)
    assert (then, then.row_count) == (now, 260)
    result = llamalog(adopted, "adopt", "--verify")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "the same")


@pytest.mark.parametrize(
    ("statement", "row_count"),
    [
        ("UPDATE enrichment_logs SET reason = 'other' WHERE id = {}", 260),
        ("DELETE FROM llama_logs WHERE id = {}", 259),
    ],
)
def test_verify_names_the_day_of_a_row_that_the_application_changed(
    first_adopted, llamalog, statement, row_count
):
    key = value(first_adopted, "SELECT id FROM enrichment_logs ORDER BY created_at LIMIT 1")
    first_adopted.execute(statement.format(f"'{key}'").encode())
    then, now = proof.verify(first_adopted)
    assert (then.row_count, now.row_count) == (260, row_count)
    assert then.checksum != now.checksum
    result = llamalog(first_adopted, "adopt", "--verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[2:] == [
        f"different: 2025-03-01, 260 rows then, {row_count} now"
    ]


def test_verify_names_the_one_day_of_several(legacy, llamalog):
    legacy.execute(
        "UPDATE enrichment_logs SET created_at = created_at + interval '1 day' WHERE album_id IS NULL"
    )
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("DELETE FROM enrichment_logs WHERE created_at >= '2025-03-02'")
    assert [day for day, *_ in proof.verify(legacy)[0].days] == ["2025-03-01", "2025-03-02"]
    result = llamalog(legacy, "adopt", "--verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[2:] == ["gone: 2025-03-02"]


def test_verify_of_nothing_adopted_is_refused(legacy, llamalog):
    result = llamalog(legacy, "adopt", "--verify")
    assert (result.exit_code, result.stderr.splitlines()) == (
        1,
        ["error: no log is adopted (LL015)", "hint: Run: llamalog adopt TABLE"],
    )


# -- undo --------------------------------------------------------------------------------------------------------------

DECORATIONS = """
COMMENT ON TABLE enrichment_logs IS 'ours';
COMMENT ON COLUMN enrichment_logs.reason IS 'why';
COMMENT ON INDEX enrichment_logs_operation_idx IS 'by operation';
COMMENT ON CONSTRAINT enrichment_logs_pkey ON enrichment_logs IS 'the key';
GRANT SELECT ON enrichment_logs TO pg_monitor WITH GRANT OPTION;
GRANT UPDATE (status) ON enrichment_logs TO pg_monitor;
GRANT INSERT ON enrichment_logs TO PUBLIC;
ALTER TABLE enrichment_logs ADD CONSTRAINT enrichment_logs_retry_check CHECK (retry_count >= 0);
ALTER TABLE enrichment_logs ALTER COLUMN reason SET STATISTICS 50;
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER enrichment_logs_note BEFORE UPDATE ON enrichment_logs FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE enrichment_logs DISABLE TRIGGER enrichment_logs_note;
"""


@pytest.mark.parametrize("decorated", [False, True])
def test_undo_gives_back_the_very_table(legacy, decorated):
    if decorated:
        legacy.execute(DECORATIONS.encode())
    shape, before = shape_of(legacy, "public.enrichment_logs"), content(legacy, "enrichment_logs")
    adopt.adopt(legacy, "public.enrichment_logs")
    result = undo.undo(legacy)
    assert (result.table, result.invalid, result.captured) == ("public.enrichment_logs", [], 0)
    assert shape_of(legacy, "public.enrichment_logs") == shape
    assert content(legacy, "enrichment_logs") == before
    assert (
        rows(
            legacy,
            "SELECT relname FROM pg_class WHERE relname LIKE '%llama_logs%' AND relnamespace = 'public'::regnamespace"
            " UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE '%adopted%'"
            " UNION ALL SELECT relname FROM pg_class WHERE relname LIKE '%adopted%' OR relname LIKE '%before_adoption%'",
        )
        == []
    )
    assert migrate.migrate(legacy).is_empty
    assert installation.check(legacy) == []


def test_undo_keeps_every_row_and_what_was_captured_goes_on_being_known(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    ids = write_in_every_way(legacy)
    insert(legacy, entity_type="ALBUM", entity_id=album(1))
    told = (
        "SELECT op, entity_type, entity_id, operation, category, sources, status, fields_enriched, error_message, error_code,"
        " job_id, parent_job_id, root_job_id, is_root_job, triggered_by, user_id, created_at, source, before, after,"
        " related_type, related_id, link_type, previous_id, db_user, txid, transaction_at, metadata, retry_count,"
        " duration_ms, api_call_count, data_quality_before, data_quality_after"
        " FROM llamalog.log WHERE {} ORDER BY seq"
    )
    captured = rows(
        legacy,
        told.format("seq >= 10000000000001 AND (op IS NOT NULL OR error_message = 'no answer')"),
    )
    assert len(captured) == len(WRITTEN)
    before = content(legacy, "enrichment_logs")
    result = undo.undo(legacy)
    assert result.captured == len(WRITTEN)
    assert content(legacy, "enrichment_logs") == before
    assert len(before) == 260 + len(WRITTEN) + 1
    assert rows(legacy, told.format("true")) == captured
    assert (
        next(change.category for change in queries.history(legacy, "ALBUM", ids.album)) == "FAILED"
    )
    # capture goes on in llamalog's own log
    legacy.execute("UPDATE albums SET label = 'x' WHERE id = %s", [ids.album])
    assert value(legacy, "SELECT after FROM llamalog.llama_logs ORDER BY id DESC LIMIT 1") == {
        "label": "x"
    }
    assert value(legacy, "SELECT count(*) FROM enrichment_logs") == len(before)


def test_foreign_keys_that_rows_written_since_would_break_come_back_not_valid(legacy):
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("DELETE FROM tracks WHERE album_id = %s AND track_number = 1", [album(1)])
    legacy.execute("UPDATE enrichment_logs SET user_id = 'nobody' WHERE album_id = %s", [album(2)])
    names = ["enrichment_logs_track_id_fkey", "enrichment_logs_user_id_fkey"]
    planned = undo.plan(legacy)
    assert (planned.invalid, planned.captured) == (names, 1)
    assert undo.undo(legacy).invalid == names
    assert rows(
        legacy,
        "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'enrichment_logs'::regclass AND contype = 'f'"
        " ORDER BY 1",
    ) == [
        ("enrichment_logs_album_id_fkey", True),
        ("enrichment_logs_artist_id_fkey", True),
        ("enrichment_logs_track_id_fkey", False),
        ("enrichment_logs_user_id_fkey", False),
    ]
    assert value(legacy, "SELECT count(*) FROM enrichment_logs") == 261


def test_a_foreign_key_that_was_never_valid_comes_back_so(legacy):
    legacy.execute(
        "ALTER TABLE enrichment_logs DROP CONSTRAINT enrichment_logs_user_id_fkey;"
        'ALTER TABLE enrichment_logs ADD CONSTRAINT by_user FOREIGN KEY (user_id) REFERENCES "User" NOT VALID'
    )
    shape = shape_of(legacy, "public.enrichment_logs")
    adopt.adopt(legacy, "public.enrichment_logs")
    legacy.execute("SET search_path = pg_catalog")
    undo.undo(legacy)
    legacy.execute("RESET search_path")
    assert shape_of(legacy, "public.enrichment_logs") == shape


def test_a_log_can_be_adopted_again(legacy):
    shape = shape_of(legacy, "public.enrichment_logs")
    for n in (1, 2):
        report = adopt.adopt(legacy, "public.enrichment_logs")
        assert (report.row_count, report.before) == (260 + n - 1, report.after)
        assert insert(legacy) is not None
        assert proof.verify(legacy)[0] == proof.verify(legacy)[1]
        undo.undo(legacy)
        assert shape_of(legacy, "public.enrichment_logs") == shape
    assert rows(
        legacy, "SELECT step, undone_at IS NOT NULL FROM llamalog.adoptions ORDER BY id"
    ) == [
        ("undone", True),
        ("undone", True),
    ]


def captured_rows(conn: Connection) -> list[Any]:
    """What capture, record_failure and backfill wrote, as the questions see it, without its place in the log."""
    return rows(
        conn,
        "SELECT op, entity_type, entity_id, operation, category, status, fields_enriched, error_code, job_id,"
        " parent_job_id, root_job_id, user_id, created_at, source, before, after, related_type, related_id,"
        " link_type, previous_id, txid, metadata FROM llamalog.log"
        " WHERE op IS NOT NULL OR error_message = 'no answer' OR source = 'unknown' ORDER BY seq",
    )


def test_what_was_captured_before_undo_is_shown_once_after_another_adoption(legacy):
    legacy.execute(
        "ALTER TABLE albums DISABLE TRIGGER ALL;"
        "INSERT INTO albums (title, updated_at) SELECT 'unseen ' || n, '2026-01-01' FROM generate_series(1, 30) AS n;"
        "ALTER TABLE albums ENABLE TRIGGER ALL"
    )
    adopt.adopt(legacy, "public.enrichment_logs")
    ids = write_in_every_way(legacy)
    backfill.backfill(legacy)
    before, unknown = (
        captured_rows(legacy),
        rows(legacy, "SELECT * FROM llamalog.unknown_provenance ORDER BY 1, 2"),
    )
    inferred = len(before) - len(WRITTEN)
    assert inferred == 30
    assert undo.undo(legacy).captured == len(before)
    assert captured_rows(legacy) == before
    legacy.execute("UPDATE albums SET label = 'between' WHERE id = %s", [ids.album])
    insert(legacy, "public.enrichment_logs", entity_type="ALBUM", entity_id=ids.album)
    between = captured_rows(legacy)
    assert between[:-1] == before

    stands = content(legacy, "enrichment_logs")
    report = adopt.adopt(legacy, "public.enrichment_logs")
    assert (report.before, content(legacy, "enrichment_logs")) == (report.after, stands)
    assert proof.verify(legacy)[0] == proof.verify(legacy)[1]
    assert captured_rows(legacy) == between
    assert backfill.backfill(legacy).inferred == {}
    assert captured_rows(legacy) == between
    assert value(legacy, "SELECT count(*) FROM llamalog.log") == 260 + 1 + len(between)
    assert [change.category for change in queries.history(legacy, "ALBUM", ids.album, limit=3)] == [
        "UPDATED",
        "FAILED",
        "UNLINKED",
    ]
    assert rows(legacy, "SELECT * FROM llamalog.unknown_provenance ORDER BY 1, 2") == unknown
    legacy.execute("UPDATE albums SET label = 'again' WHERE id = %s", [ids.album])
    after = captured_rows(legacy)
    assert after[:-1] == between
    # and so on: only what is new is copied
    assert undo.undo(legacy).captured == 1
    assert captured_rows(legacy) == after
    adopt.adopt(legacy, "public.enrichment_logs")
    assert captured_rows(legacy) == after


@pytest.mark.parametrize("after", sampled(range(5)))
def test_nothing_is_shown_twice_while_it_is_given_back(first, killed, after):
    adopt.adopt(first, "public.enrichment_logs")
    first.execute("UPDATE albums SET label = 'a' WHERE id = %s", [album(2)])
    killed(after, undo.undo, first)
    first.execute("UPDATE albums SET label = 'b' WHERE id = %s", [album(2)])
    # a lens that is made again meanwhile shows the same
    first.execute("DELETE FROM llamalog.repeatables WHERE name = 'views/log.sql'")
    migrate.migrate(first)
    assert [row[15] for row in captured_rows(first)] == [{"label": "a"}, {"label": "b"}]
    undo.undo(first)
    assert [row[15] for row in captured_rows(first)] == [{"label": "a"}, {"label": "b"}]


def test_what_a_transaction_writes_that_began_before_undo_is_kept(first, connect, monkeypatch):
    adopt.adopt(first, "public.enrichment_logs")
    writer = connect(first)
    real = locks.exclusively

    def beside(*given: Any) -> None:
        if "copied_below =" in given[1][-1]:
            writer.execute("BEGIN; UPDATE albums SET label = 'slow'")
        real(*given)
        if "step = 'copied'" in given[1][-1]:
            writer.execute("COMMIT")

    monkeypatch.setattr(locks, "exclusively", beside)
    undo.undo(first)
    assert [row[15] for row in captured_rows(first)] == [{"label": "slow"}] * 20


def test_a_key_to_what_goes_while_the_log_is_given_back_stays_unproved(first, connect, monkeypatch):
    adopt.adopt(first, "public.enrichment_logs")
    writer, real = connect(first), locks.exclusively

    def beside(*given: Any) -> None:
        if "ADD CONSTRAINT" in given[1][-1]:
            writer.execute("DELETE FROM albums WHERE id = %s", [album(1)])
        real(*given)

    assert undo.plan(first).invalid == []
    monkeypatch.setattr(locks, "exclusively", beside)
    unproved = ["enrichment_logs_album_id_fkey", "enrichment_logs_track_id_fkey"]
    assert sorted(undo.undo(first).invalid) == unproved
    assert rows(
        first,
        "SELECT conname::text FROM pg_constraint WHERE conrelid = 'enrichment_logs'::regclass"
        " AND contype = 'f' AND NOT convalidated ORDER BY 1",
    ) == [(name,) for name in unproved]
    assert state.current(first) is None


def test_undo_by_the_command_says_what_it_does(legacy, llamalog):
    assert llamalog(legacy, "adopt", "public.enrichment_logs", "--yes").exit_code == 0
    legacy.execute("UPDATE albums SET label = 'x' WHERE id = %s", [album(1)])
    planned = llamalog(legacy, "adopt", "--undo", "--dry-run")
    assert planned.stdout.splitlines() == [
        "give public.enrichment_logs its name, columns, indexes and foreign keys back",
        "1 captured rows stay there, and whole in llamalog's own log",
    ]
    done = llamalog(legacy, "adopt", "--undo", "--yes")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        0,
        "[🦙 LlamaLog] public.enrichment_logs is the application's again",
    )
    again = llamalog(legacy, "adopt", "--undo", "--yes")
    assert (again.exit_code, again.stderr.splitlines()[0]) == (
        1,
        "error: no log is adopted (LL015)",
    )


# -- interrupted -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", sampled(range(6)))
def test_adopt_goes_on_where_it_was_killed(first, killed, after):
    before = content(first, "enrichment_logs")
    assert killed(after, adopt.adopt, first, "public.enrichment_logs")
    assert write_as_before(first, "public.enrichment_logs") == SEEN
    first.execute("UPDATE albums SET label = %s WHERE id = %s", [str(after), album(2)])
    first.execute("DELETE FROM enrichment_logs WHERE created_at > '2025-03-02'")
    report = adopt.adopt(first, "public.enrichment_logs")
    assert (report.row_count, report.before) == (260, report.after)
    assert content(first, "llama_logs") == before
    first.execute("UPDATE albums SET label = 'last' WHERE id = %s", [album(2)])
    assert [change.after for change in queries.history(first, "ALBUM", album(2), limit=2)] == [
        {"label": "last"},
        {"label": str(after)},
    ]
    proof.verify(first)
    undo.undo(first)


@pytest.mark.parametrize("after", sampled(range(6)))
def test_undo_takes_back_an_adoption_that_was_killed(first, killed, after):
    shape = shape_of(first, "public.enrichment_logs")
    assert killed(after, adopt.adopt, first, "public.enrichment_logs")
    if after:
        undo.undo(first)
    assert shape_of(first, "public.enrichment_logs") == shape
    assert migrate.migrate(first).is_empty


@pytest.mark.parametrize("after", sampled(range(8)))
def test_undo_goes_on_where_it_was_killed(first, killed, after):
    shape = shape_of(first, "public.enrichment_logs")
    adopt.adopt(first, "public.enrichment_logs")
    first.execute("UPDATE albums SET label = 'a' WHERE id = %s", [album(2)])
    assert killed(after, undo.undo, first)
    assert write_as_before(first, "public.enrichment_logs") == SEEN
    first.execute("UPDATE albums SET label = 'b' WHERE id = %s", [album(2)])
    if after:
        assert refusal_of(lambda: adopt.adopt(first, "public.enrichment_logs")) == (
            "public.enrichment_logs is being given back",
            "LL015",
            "Let that end first: llamalog adopt --undo",
        )
    undo.undo(first)
    assert shape_of(first, "public.enrichment_logs") == shape
    assert [change.after for change in queries.history(first, "ALBUM", album(2), limit=2)] == [
        {"label": "b"},
        {"label": "a"},
    ]
    assert state.current(first) is None


@pytest.mark.parametrize("seconds", sampled([0.6, 0.9, 1.2, 1.5]))
def test_a_killed_process_leaves_nothing_half_done(legacy, seconds):
    before = content(legacy, "enrichment_logs")
    command = "from llamalog_sql.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "adopt", "public.enrichment_logs", "--yes"],
        env={**os.environ, "LLAMALOG_DSN": dsn_of(legacy)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()
    until_alone(legacy)
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    legacy.execute("DELETE FROM enrichment_logs WHERE created_at > '2025-03-02'")
    found = state.current(legacy)
    if found is None or found.step != "done":
        report = adopt.adopt(legacy, "public.enrichment_logs")
        assert (report.row_count, report.before) == (260, report.after)
    assert content(legacy, "llama_logs") == before
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_index WHERE indrelid = 'llama_logs'::regclass AND NOT indisvalid",
        )
        == 0
    )


def test_an_index_that_an_interruption_left_invalid_is_built_anew(first, monkeypatch):
    monkeypatch.setattr(indexes, "build", lambda *_: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        adopt.adopt(first, "public.enrichment_logs")
    monkeypatch.undo()
    first.execute("CREATE INDEX llama_logs_lens_job_id_idx ON llama_logs (job_id)")
    first.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'llama_logs_lens_job_id_idx'::regclass"
    )
    adopt.adopt(first, "public.enrichment_logs")
    assert "COALESCE" in value(
        first, "SELECT pg_get_indexdef('llama_logs_lens_job_id_idx'::regclass)"
    )


# -- locks -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locked", ["enrichment_logs", "albums", "tracks"])
def test_adopt_waits_for_whoever_holds_a_lock_and_keeps_nobody_waiting(first, connect, locked):
    holder, writer = connect(first), connect(first)
    holder.execute("BEGIN")
    holder.execute(f"LOCK TABLE {locked} IN ROW EXCLUSIVE MODE".encode())
    reports: list[adopt.Report] = []
    adopting = threading.Thread(
        target=lambda: reports.append(adopt.adopt(first, "public.enrichment_logs"))
    )
    adopting.start()
    # while adopt cannot go on, every write of the application ends
    for _ in range(20):
        writer.execute(
            "INSERT INTO enrichment_logs (operation, status) VALUES ('enrichment:album', 'SUCCESS')"
        )
        writer.execute("UPDATE albums SET label = 'x' WHERE id = %s", [album(1)])
        time.sleep(0.02)
    assert adopting.is_alive()
    holder.execute("COMMIT")
    adopting.join()
    (report,) = reports
    assert report.before == report.after
    undo.undo(first)


def test_a_lock_that_cannot_be_had_leaves_nothing_half_done(legacy, connect, llamalog):
    holder = connect(legacy)
    holder.execute("BEGIN; LOCK TABLE albums IN ROW EXCLUSIVE MODE")
    with pytest.raises(psycopg.errors.LockNotAvailable) as caught:
        adopt.adopt(legacy, "public.enrichment_logs", patience=locks.Patience(20, 3))
    assert caught.value.sqlstate == "55P03"
    assert write_as_before(legacy, "public.enrichment_logs") == SEEN
    assert (
        value(
            legacy,
            "SELECT count(*) FROM pg_constraint WHERE conname LIKE 'enrichment_logs_al%' AND contype = 'f'",
        )
        == 1
    )
    before = content(legacy, "enrichment_logs")
    holder.execute("COMMIT")
    assert llamalog(legacy, "adopt", "public.enrichment_logs", "--yes").exit_code == 0
    assert content(legacy, "llama_logs") == before
    holder.execute("BEGIN; LOCK TABLE llama_logs IN ROW EXCLUSIVE MODE")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        undo.undo(legacy, patience=locks.Patience(20, 3))
    holder.execute("COMMIT")
    undo.undo(legacy)
    assert content(legacy, "enrichment_logs") == before


@pytest.mark.parametrize("locked", ["llama_logs", "llamalog.log", "enrichment_logs"])
def test_undo_waits_too_and_keeps_nobody_waiting(first_adopted, connect, locked):
    holder, writer = connect(first_adopted), connect(first_adopted)
    holder.execute("BEGIN")
    holder.execute(f"SELECT count(*) FROM {locked}".encode())
    undoing = threading.Thread(target=lambda: undo.undo(first_adopted))
    undoing.start()
    # while undo cannot go on, every write of the application ends
    for turn in range(20):
        insert(writer)
        writer.execute("UPDATE albums SET track_count = %s", [turn])
        time.sleep(0.02)
    assert undoing.is_alive()
    holder.execute("COMMIT")
    undoing.join()
    assert state.current(first_adopted) is None
