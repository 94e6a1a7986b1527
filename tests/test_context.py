"""Context from Python: jobs inside jobs, and failures that survive the rollback."""

from __future__ import annotations

import logging

import psycopg
import pytest

import llamalog_sql
from llamalog_sql import context, watching


def test_source_user_and_job_of_set_context_stand_on_the_row(each_db, new, changes):
    each_db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add-1', user_id => 'ann')"
    )
    new.album(each_db)
    assert changes(each_db, "category, source, user_id, job_id, is_root_job") == [
        ("CREATED", "addAlbum", "ann", "add-1", True)
    ]


def test_plain_settings_do_from_any_client(each_db, new, changes):
    each_db.execute("SET LOCAL llamalog.source = 'manual_edit'")
    each_db.execute("SET LOCAL llamalog.user_id = 'mia'")
    each_db.execute("SET LOCAL llamalog.sources = 'SPOTIFY,DISCOGS'")
    each_db.execute("SET LOCAL llamalog.metadata = '{\"ticket\": 7}'")
    new.album(each_db)
    each_db.execute("UPDATE albums SET label = 'Parlophone'")
    assert changes(each_db, "category, user_id, sources, metadata") == [
        ("CREATED", "mia", ["SPOTIFY", "DISCOGS"], {"ticket": 7}),
        ("CORRECTED", "mia", ["SPOTIFY", "DISCOGS"], {"ticket": 7}),
    ]


def test_without_context_the_transaction_is_the_job_and_says_who(database, new, changes, connect):
    conn = connect(database, application_name="nightly.py")
    with conn.transaction():
        new.album(conn)
        conn.execute("UPDATE albums SET label = 'Parlophone'")
    new.album(conn, "Kid A")
    first, second, third = changes(conn, "job_id, root_job_id, triggered_by, db_user, source")
    assert first[1:] == (second[0], "nightly.py", "postgres", None)
    assert second[0].startswith("tx:")
    assert third[1] != second[1]
    # a job named after a transaction id alone would be another's after a restore
    assert "@" in second[0]


def test_job_id_is_made_up_when_not_given_and_recorded(db):
    (job,) = db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', parent_job_id => 'p')"
    ).fetchone()
    assert job.startswith("addAlbum:")
    assert db.execute(
        "SELECT job_id, parent_job_id, root_job_id, source FROM llamalog.jobs"
    ).fetchall() == [(job, "p", "p", "addAlbum")]


def test_start_job_without_id_is_refused(db):
    with pytest.raises(psycopg.errors.NullValueNotAllowed, match="job_id is missing"):
        db.execute("SELECT llamalog.start_job('')")


def test_context_that_ends_with_its_own_statement_says_so(database):
    said = []
    database.add_notice_handler(lambda notice: said.append(notice.message_primary))
    ask = "SELECT llamalog.set_context(source => 'addAlbum')"
    with database.transaction():
        database.execute(ask)
    # a function that sets it writes in the same statement
    database.execute(f"DO $$ BEGIN PERFORM ({ask}); END; $$".encode())
    # nor is it alone in a message of several statements, whether or not they say BEGIN
    for message in (f"BEGIN; {ask}; COMMIT", f"{ask};\nSELECT 1"):
        database.execute(message.encode())
    assert said == []
    database.execute(f"{ask} ; ".encode())
    assert len(said) == 1
    said.clear()
    database.execute(ask)
    assert [message.split(",")[0] for message in said] == [
        "the context lasts until the end of the transaction"
    ]


def test_set_context_works_in_a_read_only_transaction_and_records_nothing(database):
    with database.transaction():
        database.execute("SET TRANSACTION READ ONLY")
        assert database.execute("SELECT llamalog.set_context(job_id => 'reader')").fetchone() == (
            "reader",
        )
    assert database.execute("SELECT count(*) FROM llamalog.jobs").fetchone() == (0,)


def test_block_carries_its_context_and_commits(database, new, changes):
    with context(database, source="addAlbum", user_id="ann") as job:
        new.album(database)
    new.album(database, "Kid A")
    assert changes(database, "source, user_id, job_id")[0] == ("addAlbum", "ann", job)
    assert changes(database, "source, user_id")[1] == (None, None)


@pytest.mark.parametrize("entity", ["ALBUM", ("ALBUM",), ("ALBUM", "1", "2")])
def test_an_entity_that_is_no_pair_is_refused_before_anything_is_done(db, entity):
    with (
        pytest.raises(TypeError, match="entity is a pair"),
        context(db, source="addAlbum", entity=entity),
    ):
        pytest.fail("the block ran")
    assert db.execute("SELECT count(*) FROM llamalog.jobs").fetchone() == (0,)


def test_inner_block_is_caused_by_the_outer_one_which_holds_again_after_it(database, new, changes):
    with context(database, source="addAlbum", job_id="outer", user_id="ann"):
        with context(database, source="enrichment", job_id="inner"):
            new.artist(database, "by the inner")
        new.artist(database, "by the outer")
    assert changes(database, "parent_job_id, root_job_id, user_id, source") == [
        ("inner", "outer", "ann", "enrichment"),
        ("outer", "outer", "ann", "addAlbum"),
    ]
    assert ("inner", "outer") in database.execute(
        "SELECT job_id, parent_job_id FROM llamalog.jobs"
    ).fetchall()


def test_block_that_goes_on_with_the_job_of_the_outer_one_is_not_its_own_parent(
    database, new, changes
):
    with context(database, source="addAlbum", job_id="j"):
        with context(database, source="enrichment", job_id="j"):
            new.artist(database)
        new.artist(database, "Björk")
    assert database.execute(
        "SELECT job_id, parent_job_id, source FROM llamalog.jobs"
    ).fetchall() == [
        ("j", None, "addAlbum"),
        ("j", None, "enrichment"),
    ]
    assert changes(database, "parent_job_id, root_job_id, source") == [
        ("j", "j", "enrichment"),
        ("j", "j", "addAlbum"),
    ]


def test_outer_context_holds_again_after_an_inner_block_that_failed(database, new, changes):
    with context(database, source="addAlbum", job_id="outer"):
        with (  # noqa: PT012  the block is what is tested
            pytest.raises(ZeroDivisionError),
            context(database, source="enrichment", job_id="inner"),
        ):
            new.artist(database, "gone")
            raise ZeroDivisionError
        new.artist(database, "stays")
    assert changes(database, "category, job_id, parent_job_id, source") == [
        ("FAILED", "inner", "outer", "enrichment"),
        ("CREATED", None, "outer", "addAlbum"),
    ]


def test_failure_survives_the_rollback_with_sqlstate_message_job_and_entity(database, new, changes):
    album = new.album(database)
    with (  # noqa: PT012  the block is what is tested
        pytest.raises(psycopg.errors.StringDataRightTruncation),
        context(
            database,
            source="enrichment",
            job_id="e-2",
            parent_job_id="e-1",
            user_id="ann",
            entity=("album", album),
        ),
    ):
        database.execute("UPDATE albums SET label = 'kept?'")
        database.execute("UPDATE albums SET barcode = repeat('1', 51)")
    assert database.execute("SELECT label, barcode FROM albums").fetchone() == (None, None)
    assert changes(
        database,
        "entity_type, entity_id, status, error_code, error_message, job_id, parent_job_id, source, user_id, op",
        category="FAILED",
    ) == [
        (
            "ALBUM",
            album,
            "FAILED",
            "22001",
            "value too long for type character varying(50)",
            "e-2",
            "e-1",
            "enrichment",
            "ann",
            None,
        )
    ]
    (failed,) = [
        c for c in llamalog_sql.chain(database, "ALBUM", album).logs if c.category == "FAILED"
    ]
    assert failed.duration_ms is not None


def test_failure_of_the_application_itself_is_recorded_by_its_name(database, changes):
    with pytest.raises(KeyError), context(database, source="enrichment"):
        raise KeyError("tracks")
    assert changes(database, "error_code, error_message") == [("KeyError", "'tracks'")]


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Speechless(), "Speechless", "Speechless"),
        (ValueError("half a \ud83e llama"), "ValueError", "half a \\ud83e llama"),
        (ValueError("a\0b"), "ValueError", "a\\0b"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
    ],
    ids=["speechless", "half a character", "zero byte", "interrupted"],
)
def test_failure_is_recorded_whatever_it_says_of_itself(database, changes, error, code, message):
    with pytest.raises(type(error)) as raised, context(database, source="enrichment", job_id="e"):
        raise error
    assert raised.value is error
    assert changes(database, "category, job_id, error_code, error_message") == [
        ("FAILED", "e", code, message)
    ]


def test_failure_is_recorded_when_the_block_lost_its_connection(database, connect, new, changes):
    conn = connect(database)
    with (  # noqa: PT012  the block is what is tested
        pytest.raises(KeyError) as raised,
        context(conn, source="enrichment", job_id="e"),
    ):
        new.album(conn)
        conn.close()
        raise KeyError("tracks")
    assert raised.value.args == ("tracks",)
    assert changes(database, "category, job_id, error_code, error_message") == [
        ("FAILED", "e", "KeyError", "'tracks'")
    ]


def test_deliberate_rollback_is_no_failure(database, new, changes):
    with context(database, source="addAlbum"):
        new.album(database)
        raise psycopg.Rollback
    assert changes(database) == []


def test_failure_that_cannot_be_recorded_hides_nothing(database, caplog):
    caplog.set_level(logging.WARNING, logger="llamalog_sql")
    logging.getLogger("llamalog_sql").propagate = True
    with (
        pytest.raises(KeyError),
        context(
            database,
            source="enrichment",
            job_id="lost",
            failure_dsn="host=/nowhere connect_timeout=1",
        ),
    ):
        raise KeyError("tracks")
    assert (
        "[🦙 LlamaLog] the failure of job lost (KeyError: 'tracks') could not be recorded"
        in caplog.text
    )


def test_failure_of_no_possible_entity_says_how_one_is_named(database, caplog):
    caplog.set_level(logging.WARNING, logger="llamalog_sql")
    logging.getLogger("llamalog_sql").propagate = True
    database.execute("CREATE TABLE seats (row integer, number integer, PRIMARY KEY (row, number))")
    watching.watch(database, ["seats"])
    with pytest.raises(KeyError), context(database, source="sale", entity=("SEAT", (1, 2))):
        raise KeyError("taken")
    assert 'could not be recorded: malformed id "(1, 2)" for SEAT' in caplog.text
    assert "(Give the values of its key with commas between them.)" in caplog.text


def test_failure_is_recorded_from_sql_after_the_rollback(db, new, changes):
    album = new.album(db)
    db.execute(
        "SELECT llamalog.record_failure('timed out', 'HTTP504', job_id => 'j', parent_job_id => 'p',"
        " entity_type => 'album', entity_id => %s, retry_count => 2)",
        [album.upper()],
    )
    assert changes(
        db,
        "entity_id, error_message, error_code, job_id, parent_job_id, root_job_id, retry_count",
        category="FAILED",
    ) == [(album, "timed out", "HTTP504", "j", "p", "p", 2)]


def test_failure_that_names_half_an_entity_is_refused(db):
    with pytest.raises(
        psycopg.errors.InvalidParameterValue, match="names an entity by type and id, or none"
    ):
        db.execute("SELECT llamalog.record_failure('x', entity_type => 'ALBUM')")


def test_context_works_on_a_connection_without_autocommit(database, connect, new, changes):
    conn = connect(database)
    conn.autocommit = False
    with context(conn, source="addAlbum", job_id="a"):
        new.album(conn)
    assert conn.info.transaction_status.name == "IDLE"
    assert changes(database, "job_id") == ["a"]


def test_context_works_with_rows_as_dictionaries(database, connect, new, changes):
    conn = connect(database)
    conn.row_factory = psycopg.rows.dict_row
    with context(conn, source="addAlbum", job_id="a", sources=["SPOTIFY"], metadata={"k": [1]}):
        conn.execute("INSERT INTO artists (name, updated_at) VALUES ('Björk', now())")
    assert changes(database, "parent_job_id, sources, metadata") == [("a", ["SPOTIFY"], {"k": [1]})]


def test_context_works_with_cursors_that_take_parameters_as_the_server_does(
    database, connect, changes
):
    conn = connect(database)
    conn.cursor_factory = psycopg.RawCursor
    with context(conn, source="addAlbum", job_id="a"):
        conn.execute("INSERT INTO artists (name, updated_at) VALUES ($1, now())", ["Björk"])
    with pytest.raises(KeyError), context(conn, source="enrichment", job_id="e"):
        raise KeyError("tracks")
    assert changes(database, "category, coalesce(job_id, parent_job_id)") == [
        ("CREATED", "a"),
        ("FAILED", "e"),
    ]


def test_applications_may_write_rows_of_their_own(db, new, changes):
    album = new.album(db)
    db.execute(
        "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category, status, job_id)"
        " VALUES ('ALBUM', %s, 'enrichment:album', 'ENRICHED', 'NO_DATA_AVAILABLE', 'j')",
        [album],
    )
    assert changes(db, "op, status, db_user", entity_id=album) == [
        ("I", "SUCCESS", "postgres"),
        (None, "NO_DATA_AVAILABLE", "postgres"),
    ]
