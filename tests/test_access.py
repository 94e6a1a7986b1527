"""Readers read, writers write rows of their own, administrators declare: each role what it is for, and nothing else."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from llamalog_sql import access, watching

Connection = psycopg.Connection[Any]


def become(conn: Connection, *roles: str) -> None:
    """Go on as a role of an application that is a member of these."""
    conn.execute(
        f"CREATE ROLE clerk; GRANT {', '.join(roles)} TO clerk; SET LOCAL SESSION AUTHORIZATION clerk".encode()
    )


def refusal(conn: Connection, statement: str) -> str | None:
    """The SQLSTATE that the statement fails with, None when it does not."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


# -- the roles --------------------------------------------------------------------------------------------------------


def test_none_of_the_roles_can_log_in_and_each_says_what_it_is_for(db):
    assert db.execute(
        "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, shobj_description(oid, 'pg_authid')"
        " FROM pg_roles WHERE rolname ~ '^llamalog_(reader|writer|admin|owner)$' ORDER BY rolname"
    ).fetchall() == [
        ("llamalog_admin", False, False, False, access.ROLES["llamalog_admin"]),
        ("llamalog_owner", False, False, False, "Owns the log of LlamaLog."),
        ("llamalog_reader", False, False, False, access.ROLES["llamalog_reader"]),
        ("llamalog_writer", False, False, False, access.ROLES["llamalog_writer"]),
    ]
    assert access.lacking(db) == {}


QUESTIONS = [
    "SELECT llamalog.history('ALBUM', %(id)s)",
    "SELECT llamalog.chain('ALBUM', %(id)s)",
    "SELECT llamalog.tree('ALBUM', %(id)s)",
    "SELECT llamalog.why('ALBUM', %(id)s)",
    "SELECT llamalog.as_of('ALBUM', %(id)s, clock_timestamp())",
    "SELECT llamalog.as_of_all('ALBUM', clock_timestamp())",
    "SELECT llamalog.blame('ALBUM', %(id)s)",
    "SELECT llamalog.breaks('ALBUM', %(id)s)",
    "SELECT llamalog.diff('ALBUM', %(id)s, now(), clock_timestamp())",
    "SELECT llamalog.job('J')",
    "SELECT llamalog.job_changes('J')",
    "SELECT llamalog.impact(job_id => 'J')",
    "SELECT llamalog.impact_entities(job_id => 'J')",
    "SELECT llamalog.find('computer')",
    "SELECT llamalog.resolve('ALBUM', 'OK Computer')",
    "SELECT llamalog.attention('ALBUM')",
    "SELECT llamalog.recent_failures()",
    "SELECT llamalog.stats('category')",
    "SELECT llamalog.silent_sources()",
    "SELECT llamalog.silent_tables()",
    "SELECT llamalog.activity(now() - interval '1 day', clock_timestamp())",
    "SELECT llamalog.revert_plan(change => (SELECT max(seq) FROM llamalog.log))",
    *[
        f"SELECT * FROM llamalog.{view}"
        for view in (
            "log",
            "albums_needing_attention",
            "failures",
            "job_summary",
            "recent_activity",
            "source_summary",
            "unknown_provenance",
            "watched_tables",
        )
    ],
]


@pytest.mark.parametrize("access_of", ["llamalog_reader", "llamalog_admin", "a role of one's own"])
def test_a_reader_asks_every_question_whoever_else_may_run_functions(db, new, access_of):
    db.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'J')")
    album = new.album(db)
    db.execute("UPDATE albums SET label = 'Parlophone'")
    db.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA llamalog FROM PUBLIC")
    db.execute("REVOKE USAGE ON SCHEMA llamalog FROM PUBLIC; CREATE ROLE analyst")
    if access_of.startswith("llamalog"):
        db.execute(access.GRANTING.encode())
        db.execute(f"GRANT {access_of} TO analyst".encode())
    else:
        db.execute("SELECT llamalog.grant_access('analyst', 'reader')")
    db.execute("GRANT SELECT ON albums, tracks TO analyst; SET LOCAL ROLE analyst")
    for question in QUESTIONS:
        db.execute(question.encode(), {"id": album})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE llamalog.llama_logs SET status = 'x'",
        "DELETE FROM llamalog.llama_logs_default",
        "TRUNCATE llamalog.jobs",
        "INSERT INTO llamalog.llama_logs (operation, category) VALUES ('x', 'CREATED')",
        "INSERT INTO llamalog.log (operation) VALUES ('x')",
        "INSERT INTO llamalog.source_paths VALUES ('x', 'CREATED', NULL, 'one', 'x')",
        "LOCK TABLE llamalog.log IN SHARE MODE",
        "LOCK TABLE llamalog._yoyo_migration IN SHARE MODE",
        "SELECT * FROM llamalog.row_queries",
        "SELECT llamalog.maintain()",
        "SELECT llamalog.try_writes()",
        "SELECT llamalog.grant_access('clerk', 'admin')",
    ],
)
def test_a_reader_changes_and_locks_nothing(db, statement):
    become(db, "llamalog_reader")
    assert refusal(db, statement) == "42501"


# -- rows of an application's own -------------------------------------------------------------------------------------

ATTEMPT = (
    "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category, status, source, reason, metadata{names})"
    " VALUES ('ALBUM', %s, 'enrichment', 'ENRICHED', 'NO_DATA_AVAILABLE', 'musicbrainz', 'no such barcode', '{{\"tried\": 3}}'"
    "{values})"
)


def test_a_writer_records_an_attempt_that_touched_no_row(db, new, changes):
    album = new.album(db)
    become(db, "llamalog_writer")
    (seq,) = db.execute(
        (ATTEMPT.format(names="", values="") + " RETURNING id").encode(), [album]
    ).fetchone()
    db.execute("SELECT llamalog.record_failure('timeout', job_id => 'J')")
    db.execute("RESET SESSION AUTHORIZATION")
    assert changes(
        db,
        "op, category, status, entity_id, source, reason, metadata, is_root_job, before, after, db_user,"
        " txid = pg_current_xact_id() AND transaction_at = now() AND created_at > now() AS is_now",
        seq=seq,
    ) == [
        (
            None,
            "ENRICHED",
            "NO_DATA_AVAILABLE",
            album,
            "musicbrainz",
            "no such barcode",
            {"tried": 3},
            False,
            None,
            None,
            "clerk",
            True,
        )
    ]
    assert changes(db, "category", job_id="J") == ["FAILED"]
    assert db.execute("SELECT job_id FROM llamalog.jobs").fetchall() == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("op", "'U'"),
        ("id", "1"),
        ("created_at", "'2020-01-01'"),
        ("transaction_at", "'2020-01-01'"),
        ("txid", "'1'"),
        ("db_user", "'ann'"),
        ("before", "'{}'"),
        ("after", "'{}'"),
        ("link_type", "'ALBUM_ARTIST'"),
        ("previous_id", "'x'"),
        ("is_root_job", "true"),
    ],
)
def test_a_writer_cannot_say_what_capture_says(db, column, value):
    become(db, "llamalog_writer")
    statement = ATTEMPT.format(names=f", {column}", values=f", {value}").replace("%s", "'x'")
    assert refusal(db, statement) == ("428C9" if column == "id" else "42501")
    assert refusal(db, statement.replace("VALUES", "OVERRIDING SYSTEM VALUE VALUES")) == "42501"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE llamalog.llama_logs SET status = 'x'",
        "DELETE FROM llamalog.llama_logs",
        "SELECT before FROM llamalog.llama_logs",
        "INSERT INTO llamalog.llama_logs_default (operation, category) VALUES ('x', 'CREATED')",
        "INSERT INTO llamalog.jobs (job_id) VALUES ('x')",
        "COPY llamalog.llama_logs FROM STDIN",
        "SELECT nextval('llamalog.llama_logs_id_seq')",
        "SELECT setval('llamalog.last_move', 1)",
    ],
)
def test_a_writer_neither_changes_nor_reads_nor_numbers_what_is_there(db, statement):
    become(db, "llamalog_writer")
    assert refusal(db, statement) == "42501"


def test_a_row_of_the_applications_own_is_not_told_as_a_creation_or_a_change(db, new):
    album = new.album(db)
    become(db, "llamalog_writer")
    for category in ("CREATED", "DELETED", "CORRECTED"):
        db.execute(
            "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category, fields_enriched, user_id)"
            " VALUES ('ALBUM', %s, 'forged', %s, '{title}', 'ann')",
            [album, category],
        )
    db.execute("RESET SESSION AUTHORIZATION")
    (created, *others) = [
        sentence
        for (sentence,) in db.execute("SELECT sentence FROM llamalog.why('ALBUM', %s)", [album])
    ]
    assert created.startswith("ALBUM “OK Computer” was created")
    assert [sentence.split(" by ")[0] for sentence in others] == [
        "ALBUM “OK Computer”: forged (SUCCESS)"
    ] * 3
    assert db.execute(
        "SELECT count(*), min(op) FROM llamalog.blame('ALBUM', %s) AS blame JOIN llamalog.log USING (seq)"
        " WHERE field = 'title'",
        [album],
    ).fetchone() == (1, "I")
    assert db.execute(
        "SELECT llamalog.as_of('ALBUM', %s, clock_timestamp()) ->> 'title'", [album]
    ).fetchone() == ("OK Computer",)


def test_a_failure_says_nothing_in_the_name_of_capture(db, changes):
    for metadata in ('{"llamalog": {"inferred": true}, "mine": 1}', "[1]"):
        db.execute("SELECT llamalog.record_failure('x', metadata => %s)", [metadata])
    assert changes(db, "metadata") == [{"mine": 1}, [1]]


# -- administrators ---------------------------------------------------------------------------------------------------


def test_an_administrator_declares_rules_and_makes_months_and_no_history(db):
    become(db, "llamalog_admin")
    db.execute(
        "INSERT INTO llamalog.source_paths VALUES ('import', 'CREATED', 'ALBUM', 'many', 'Import');"
        "UPDATE llamalog.source_paths SET makes = 'one' WHERE source = 'import';"
        "DELETE FROM llamalog.source_paths WHERE source = 'import';"
        "INSERT INTO llamalog.attention_rules (entity_type, rule) VALUES ('ALBUM', 'failed');"
        "UPDATE llamalog.category_rules SET position = position;"
    )
    assert db.execute(
        "SELECT count(*) FROM llamalog.maintain(0, clock => '2031-05-15')"
    ).fetchone() == (1,)
    for statement in (
        "INSERT INTO llamalog.llama_logs (operation, category) VALUES ('x', 'CREATED')",
        "DELETE FROM llamalog.llama_logs",
        "UPDATE llamalog.watches SET unwatched_at = now()",
        "SET LOCAL ROLE llamalog_owner",
    ):
        assert refusal(db, statement) == "42501"


# -- granting ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grantee", "wanted", "sqlstate", "said", "hint"),
    [
        ("clerk", "owner", "22023", 'access "owner" is unknown', "It is reader, writer or admin."),
        ("clerk", None, "22023", 'access "null" is unknown', "It is reader, writer or admin."),
        (
            'the "odd"',
            "reader",
            "42704",
            'role "the "odd"" does not exist',
            'Let somebody who may run: CREATE ROLE "the ""odd""" NOLOGIN',
        ),
    ],
)
def test_what_cannot_be_granted_is_said(db, grantee, wanted, sqlstate, said, hint):
    with pytest.raises(psycopg.Error) as refused, db.transaction():
        db.execute("SELECT llamalog.grant_access(%s, %s)", [grantee, wanted])
    diagnosis = refused.value.diag
    assert (diagnosis.sqlstate, diagnosis.message_primary, diagnosis.message_hint) == (
        sqlstate,
        said,
        hint,
    )


def test_what_is_granted_already_is_not_granted_again(db):
    rights = (
        "SELECT xmin::text, ctid::text FROM pg_class WHERE relnamespace = 'llamalog'::regnamespace"
        " UNION ALL SELECT xmin::text, ctid::text FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace"
        " UNION ALL SELECT xmin::text, ctid::text FROM pg_attribute WHERE attrelid = 'llamalog.llama_logs'::regclass"
        " UNION ALL SELECT xmin::text, ctid::text FROM pg_namespace"
    )
    before = db.execute(rights.encode()).fetchall()
    db.execute(access.GRANTING.encode())
    assert db.execute(rights.encode()).fetchall() == before


def test_a_writer_keeps_his_functions_when_nobody_else_has_them(db):
    db.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA llamalog FROM PUBLIC")
    become(db, "llamalog_writer")
    db.execute("SELECT llamalog.set_context(source => 'x'), llamalog.start_job('J')")
    db.execute("SELECT llamalog.record_failure('x')")
    assert refusal(db, "SELECT llamalog.why('ALBUM', 'x')") == "42501"


def test_rights_are_granted_to_a_role_of_any_name(db):
    db.execute('CREATE ROLE "the ""odd"" one"')
    db.execute("""SELECT llamalog.grant_access('the "odd" one', 'writer')""")
    db.execute('SET LOCAL ROLE "the ""odd"" one"')
    db.execute("INSERT INTO llamalog.llama_logs (operation, category) VALUES ('x', 'ENRICHED')")


# -- row security -----------------------------------------------------------------------------------------------------

POLICED = """
CREATE TABLE secrets (id integer PRIMARY KEY, owner text, words text);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON secrets USING (owner = current_user);
CREATE ROLE ann; CREATE ROLE ben;
GRANT SELECT ON secrets TO ann, ben;
"""

#: As docs/security.md has it.
RECIPE = """
CREATE FUNCTION may_see_secret(entity_id text) RETURNS boolean LANGUAGE sql STABLE
    RETURN EXISTS (SELECT FROM public.secrets WHERE id = entity_id::integer);
CREATE VIEW secrets_log WITH (security_barrier) AS
    SELECT log.* FROM llamalog.log AS log WHERE log.entity_type = 'SECRET' AND may_see_secret(log.entity_id);
GRANT SELECT ON secrets_log TO ann, ben;
"""


def test_watching_a_table_with_row_security_warns_that_the_log_has_none(db, caplog):
    db.execute(POLICED)
    watching.watch(db, ["secrets"])
    assert caplog.messages == [
        "table public.secrets has row security, the log has not: who may read the log reads all its rows,"
        " unless it is watched with --row-security (docs/security.md)"
    ]


def test_the_view_of_the_manual_shows_each_reader_the_changes_of_rows_that_he_may_see(db):
    db.execute(POLICED)
    watching.watch(db, ["secrets"])
    db.execute(RECIPE)
    db.execute("INSERT INTO secrets VALUES (1, 'ann', 'a'), (2, 'ben', 'b'), (3, 'ben', 'c')")
    db.execute("UPDATE secrets SET words = words || '!'; DELETE FROM secrets WHERE id = 3")
    seen = "SELECT op, entity_id, before ->> 'words' FROM secrets_log ORDER BY seq"
    for reader, expected in {
        "ann": [("I", "1", None), ("U", "1", "a")],
        # what is deleted nobody sees but through the log itself
        "ben": [("I", "2", None), ("U", "2", "b")],
    }.items():
        db.execute(f"SET LOCAL ROLE {reader}".encode())
        assert db.execute(seen.encode()).fetchall() == expected
        assert refusal(db, "SELECT * FROM llamalog.log") == "42501"
        db.execute("RESET ROLE")
