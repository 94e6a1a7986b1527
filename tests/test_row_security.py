"""Row security of a table, carried over to the log: a reader sees the changes of those rows only that he sees in the table."""

from __future__ import annotations

import psycopg
import pytest
from conftest import default

from llamalog_sql import installation, migrate, row_security, watching
from llamalog_sql.adoption import adopt
from llamalog_sql.errors import CannotAdopt, CannotWatch, translate
from llamalog_sql.watching import Options

READERS = """
CREATE ROLE ann; CREATE ROLE ben; CREATE ROLE chief;
GRANT llamalog_reader TO ann, ben; GRANT llamalog_admin TO chief;
"""

SECRETS = f"""{READERS}
CREATE TABLE secrets (id integer PRIMARY KEY, owner text, title text);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON secrets USING (owner = current_user);
GRANT SELECT ON secrets TO ann, ben, chief;
"""

WRITES = """
INSERT INTO secrets VALUES (1, 'ann', 'a'), (2, 'ben', 'b'), (3, 'ben', 'c');
UPDATE secrets SET title = title || '!';
DELETE FROM secrets WHERE id = 3;
"""

#: As if what a test has done had been done by another transaction: of its own rows each sees what it wrote.
AN_HOUR_AGO = "UPDATE llamalog.llama_logs SET transaction_at = transaction_at - interval '1 hour'"

LOG = "SELECT op, entity_id FROM llamalog.log WHERE entity_type = 'SECRET' ORDER BY seq"
OF_ANN = [("I", "1"), ("U", "1")]
OF_BEN = [("I", "2"), ("U", "2")]
OF_ALL = [("I", "1"), ("I", "2"), ("I", "3"), ("U", "1"), ("U", "2"), ("U", "3"), ("D", "3")]


def protect(conn, *tables, **options):
    return watching.watch(conn, list(tables), Options(row_security=True, **options))


def asked_by(conn, role, query, *values):
    """The rows that the query gives this role."""
    with conn.transaction(force_rollback=True):
        conn.execute(f"SET LOCAL ROLE {role}".encode())
        return [
            row[0] if len(row) == 1 else tuple(row)
            for row in conn.execute(query.encode(), values or None).fetchall()
        ]


def refusal(conn, role, query):
    with pytest.raises(psycopg.Error) as caught:
        asked_by(conn, role, query)
    return caught.value.sqlstate, caught.value.diag.message_primary


@pytest.fixture
def secrets(db):
    """Rows of ann's and ben's in a table whose row security is carried over; one of ben's is deleted."""
    db.execute(SECRETS)
    protect(db, "secrets")
    db.execute(WRITES)
    return db


# -- who sees what ----------------------------------------------------------------------------------------------------


def test_a_reader_sees_the_changes_of_the_rows_that_he_sees_in_the_table(secrets):
    assert asked_by(secrets, "ann", LOG) == OF_ANN
    assert asked_by(secrets, "ben", LOG) == OF_BEN
    secrets.execute("UPDATE secrets SET owner = 'ann' WHERE id = 2")
    assert asked_by(secrets, "ben", LOG) == []
    # today's policy judges yesterday's images
    assert asked_by(
        secrets,
        "ann",
        "SELECT before ->> 'title' FROM llamalog.log WHERE entity_id = '2' AND op = 'U' ORDER BY seq",
    ) == ["b", None]


def test_rows_that_are_gone_are_seen_by_administrators_and_whom_no_policy_concerns(secrets):
    secrets.execute("CREATE ROLE auditor BYPASSRLS; GRANT llamalog_reader TO auditor")
    for reader in ("chief", "auditor", "llamalog_owner", "postgres"):
        assert asked_by(secrets, reader, LOG) == OF_ALL


def test_capture_by_row_by_statement_and_the_tolerant_one_log_all_rows(db):
    db.execute(SECRETS)
    for capture in ("rendered", "statement", "tolerant"):
        protect(db, "secrets", capture=capture)
        with db.transaction(force_rollback=True):
            db.execute(WRITES)
            assert asked_by(db, "postgres", LOG) == OF_ALL
            assert asked_by(db, "ann", LOG) == OF_ANN


KEYS = {
    "uuid": ("id uuid PRIMARY KEY", "gen_random_uuid()", "gen_random_uuid()"),
    "bigint": ("id bigint PRIMARY KEY", "9007199254740993", "9007199254740994"),
    "text": ("id text PRIMARY KEY", "'a, b'", "'it''s'"),
    "a cut one": ("id text PRIMARY KEY", "repeat('x', 1500)", "repeat('y', 1500)"),
    "numeric": ("id numeric PRIMARY KEY", "1.50", "2.5"),
    "instant": ("id timestamptz PRIMARY KEY", "'2026-01-01 00:00+02'", "'2026-01-02 00:00+02'"),
    "composite": (
        "a text, b integer, PRIMARY KEY (b, a)",
        "'x,y', 1",
        "'x\\', 1",
    ),
    "enum": ("id colour PRIMARY KEY", "'red'", "'green'"),
    "domain": ("id short PRIMARY KEY", "'red'", "'green'"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_the_row_is_found_by_a_key_of_any_type(db, kind):
    columns, visible, hidden = KEYS[kind]
    db.execute(READERS)
    db.execute(
        "CREATE TYPE colour AS ENUM ('red', 'green'); CREATE DOMAIN short AS varchar(9) CHECK (value <> '');"
        f"""CREATE TABLE "Odd Things" ({columns}, "isShown" boolean);"""
        """ALTER TABLE "Odd Things" ENABLE ROW LEVEL SECURITY;"""
        """CREATE POLICY shown ON "Odd Things" USING ("isShown"); GRANT SELECT ON "Odd Things" TO ann"""
    )
    (outcome,) = protect(db, '"Odd Things"')
    for values, is_shown in ((visible, True), (hidden, False)):
        db.execute(f"""INSERT INTO "Odd Things" VALUES ({values}, {is_shown})""".encode())
    everything = f"SELECT entity_id FROM llamalog.log WHERE entity_type = '{outcome.entity_type}' ORDER BY seq"
    ids = asked_by(db, "chief", everything)
    assert len(ids) == 2
    # whatever settings the reader has
    db.execute("SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle = 'German'")
    assert asked_by(db, "ann", everything) == ids[:1]


def test_a_partitioned_table_is_asked_as_a_whole(db):
    db.execute(READERS)
    db.execute(
        "CREATE TABLE readings (day date, sensor integer, PRIMARY KEY (day, sensor)) PARTITION BY RANGE (day);"
        "CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE readings_2 PARTITION OF readings DEFAULT;"
        "ALTER TABLE readings ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY odd ON readings USING (sensor % 2 = 1); GRANT SELECT ON readings TO ann"
    )
    protect(db, "readings")
    db.execute(
        "INSERT INTO readings VALUES ('2026-01-05', 1), ('2026-01-05', 2), ('2026-03-05', 3)"
    )
    assert asked_by(
        db, "ann", "SELECT entity_id FROM llamalog.log WHERE entity_type = 'READING' ORDER BY seq"
    ) == [
        "2026-01-05,1",
        "2026-03-05,3",
    ]


def test_a_policy_by_a_setting_judges_by_the_setting_of_the_reader(secrets):
    secrets.execute(
        "DROP POLICY own_rows ON secrets; CREATE POLICY tenant ON secrets USING (id = current_setting('app.tenant')::integer)"
    )
    secrets.execute("SELECT set_config('app.tenant', '2', true)")
    assert asked_by(secrets, "ann", LOG) == OF_BEN
    # the table itself would raise an error, and the whole log with it
    secrets.execute("SELECT set_config('app.tenant', '', true)")
    assert asked_by(secrets, "ann", LOG) == []


def test_what_cannot_be_looked_up_is_hidden(secrets):
    scenes = {
        "a policy that asks itself": "CREATE POLICY again ON secrets USING (id IN (SELECT id FROM secrets))",
        "no right to the table": "REVOKE SELECT ON secrets FROM ann",
        "a right to some columns only": "REVOKE SELECT ON secrets FROM ann; GRANT SELECT (id) ON secrets TO ann",
        "a table that is gone": "DROP TABLE secrets",
        "another table in its place": "DROP TABLE secrets; CREATE ROLE mallory;"
        " GRANT CREATE ON SCHEMA public TO mallory; SET LOCAL ROLE mallory;"
        " CREATE TABLE secrets (id integer PRIMARY KEY); INSERT INTO secrets VALUES (1), (2), (3);"
        " GRANT SELECT ON secrets TO ann; RESET ROLE",
        "another key": "ALTER TABLE secrets RENAME COLUMN id TO number",
    }
    for scene, statements in scenes.items():
        with secrets.transaction(force_rollback=True):
            secrets.execute(statements.encode())
            assert (scene, asked_by(secrets, "ann", LOG)) == (scene, [])
            assert (scene, asked_by(secrets, "chief", LOG)) == (scene, OF_ALL)


def test_whoever_reports_a_failure_of_an_impossible_id_keeps_nobody_from_reading(secrets):
    secrets.execute(
        "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category) VALUES"
        " ('SECRET', 'no number', 'x', 'FAILED'), ('SECRET', '99999999999999999999', 'x', 'FAILED'), ('SECRET', NULL, 'x', 'FAILED')"
    )
    secrets.execute(
        "SELECT llamalog.record_failure('lost', entity_type => 'secret', entity_id => '1')"
    )
    secrets.execute(AN_HOUR_AGO)
    assert asked_by(secrets, "ann", LOG) == [*OF_ANN, (None, "1")]
    assert len(asked_by(secrets, "chief", LOG)) == len(OF_ALL) + 4


# -- hostile readers --------------------------------------------------------------------------------------------------


def test_a_hostile_reader_gets_at_no_row_that_is_hidden_from_him(secrets):
    secrets.execute(
        "GRANT CREATE, TEMPORARY ON DATABASE " + secrets.info.dbname + " TO ann; SET LOCAL ROLE ann"
    )
    secrets.execute(
        """
        CREATE SCHEMA anns;
        CREATE TEMPORARY TABLE seen (id text, image jsonb);
        CREATE FUNCTION anns.leak(id text, image jsonb) RETURNS boolean LANGUAGE plpgsql COST 0.0001
            AS 'BEGIN INSERT INTO pg_temp.seen VALUES (id, image); RETURN true; END';
        CREATE FUNCTION anns.same(text, text) RETURNS boolean LANGUAGE sql RETURN true;
        CREATE OPERATOR anns.= (LEFTARG = text, RIGHTARG = text, FUNCTION = anns.same);
        CREATE FUNCTION anns.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql RETURN true;
        CREATE FUNCTION anns.key_text(text) RETURNS text LANGUAGE sql RETURN '1';
        CREATE TEMPORARY TABLE secrets (id integer);
        CREATE TEMPORARY TABLE pg_class (oid oid, relowner oid);
        INSERT INTO secrets VALUES (1), (2), (3);
        SET LOCAL search_path = anns, pg_temp, pg_catalog, public;
        """
    )
    secrets.execute(
        "SELECT FROM llamalog.log WHERE anns.leak(entity_id, coalesce(before, after)) AND entity_type OPERATOR(pg_catalog.=) 'SECRET'"
    )
    secrets.execute("SELECT FROM llamalog.llama_logs WHERE anns.leak(entity_id, before)")
    secrets.execute(
        "SELECT FROM llamalog.history('SECRET', '2') WHERE anns.leak(entity_id, before)"
    )
    seen = secrets.execute("SELECT DISTINCT id FROM seen WHERE id IN ('1', '2', '3')").fetchall()
    assert [row.id for row in seen] == ["1"]
    secrets.execute("RESET search_path; RESET ROLE")
    assert refusal(secrets, "ann", f"SET LOCAL row_security = off; {LOG}") == (
        "42501",
        'query would be affected by row-level security policy for table "llama_logs"',
    )


def test_a_month_is_no_way_around_the_policies_nor_is_one_to_come(secrets):
    (month,) = secrets.execute(
        "SELECT partition FROM llamalog.maintain(5) ORDER BY first_day DESC LIMIT 1"
    ).fetchone()
    secrets.execute(f"GRANT SELECT ON {month} TO ann".encode())
    # what its tables are granted to by default
    secrets.execute(
        "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category, created_at) VALUES ('SECRET', '2', 'x', 'FAILED', '1999-01-01')"
    )
    assert asked_by(secrets, "ann", "SELECT count(*) FROM llamalog.llama_logs_default") == [0]
    assert asked_by(secrets, "ann", f"SELECT row_security_active('{month}'::regclass)") == [True]
    assert row_security.lacking(secrets) == []


def test_statistics_of_the_log_are_closed_to_readers(secrets):
    secrets.execute("ANALYZE llamalog.llama_logs")
    stats = "SELECT count(*) FROM pg_stats WHERE schemaname = 'llamalog' AND tablename LIKE 'llama_logs%'"
    assert asked_by(secrets, "ann", stats) == [0]


# -- questions --------------------------------------------------------------------------------------------------------


@pytest.fixture
def music(db, new):
    """An artist, an album that a reader sees and one that he does not; both with tracks and linked to the artist."""
    db.execute(READERS)
    db.execute(
        "ALTER TABLE albums ENABLE ROW LEVEL SECURITY; CREATE POLICY released ON albums USING (title <> 'Unreleased');"
        "GRANT SELECT ON albums, artists, tracks, album_artists, track_artists TO ann"
    )
    protect(db, "albums")
    db.execute("SELECT llamalog.set_context('addAlbum', 'J')")
    db.artist = new.artist(db)
    db.seen, db.hidden = new.album(db, "OK Computer"), new.album(db, "Unreleased")
    for album in (db.seen, db.hidden):
        new.link(db, album, db.artist)
        new.track(db, album)
    db.execute("UPDATE albums SET label = 'Parlophone'")
    yield db
    del db.artist, db.seen, db.hidden


def test_no_question_about_what_is_visible_tells_of_what_is_hidden(music):
    told = "\n".join(
        str(asked_by(music, "ann", f"SELECT to_jsonb(told) FROM llamalog.{question} AS told"))
        for question in (
            f"history('ARTIST', '{music.artist}')",
            f"chain('ARTIST', '{music.artist}')",
            f"tree('ARTIST', '{music.artist}')",
            f"why('ARTIST', '{music.artist}')",
            f"chain('ALBUM', '{music.seen}')",
            f"tree('ALBUM', '{music.seen}')",
            "find('Unrel')",
            "attention()",
            "recent_failures()",
            "as_of_all('ALBUM', clock_timestamp())",
            "impact_entities(job_id => 'J', row_limit => 1)",
            "job('J')",
        )
    )
    assert "OK Computer" in told
    assert music.seen in told
    assert "Unreleased" not in told
    # the tracks have no policy: what they name, whoever may read them reads in the table too
    assert asked_by(
        music,
        "ann",
        "SELECT DISTINCT entity_type, link_type FROM llamalog.log WHERE %s IN (entity_id, related_id)",
        music.hidden,
    ) == [("TRACK", None)]


def test_questions_about_what_is_hidden_are_answered_as_if_it_were_not_there(music):
    for question in ("history", "blame", "breaks"):
        assert (
            asked_by(music, "ann", f"SELECT FROM llamalog.{question}('ALBUM', '{music.hidden}')")
            == []
        )
    assert asked_by(
        music,
        "ann",
        f"SELECT llamalog.as_of('ALBUM', '{music.seen}', clock_timestamp()) ->> 'label'",
    ) == ["Parlophone"]
    fields = f"SELECT field FROM llamalog.blame('ALBUM', '{music.seen}') WHERE category = 'UPDATED'"
    assert asked_by(music, "ann", fields) == ["label"]
    # of the other one, all but the track that is in it
    count = "SELECT sum(change_count)::integer FROM llamalog.impact(job_id => 'J')"
    assert [asked_by(music, reader, count) for reader in ("ann", "chief")] == [[6], [9]]


def test_a_link_table_with_policies_hides_its_links(music):
    music.execute(
        "ALTER TABLE album_artists ENABLE ROW LEVEL SECURITY; CREATE POLICY guests ON album_artists USING (role <> 'primary')"
    )
    protect(music, "album_artists")
    links = (
        "SELECT category, entity_id FROM llamalog.log WHERE link_type = 'ALBUM_ARTIST' ORDER BY seq"
    )
    assert asked_by(music, "ann", links) == []
    music.execute("UPDATE album_artists SET role = 'guest'")
    # the album of the other one is hidden
    assert {entity for _, entity in asked_by(music, "ann", links)} == {music.seen}


def test_what_a_row_was_under_another_key_is_said_to_be_hidden(secrets):
    (before,) = secrets.execute("SELECT clock_timestamp()").fetchone()
    secrets.execute("UPDATE secrets SET id = 9 WHERE id = 1")
    (after,) = secrets.execute("SELECT clock_timestamp()").fetchone()
    secrets.execute("UPDATE secrets SET title = 'new' WHERE id = 9")
    as_of = "SELECT llamalog.as_of('SECRET', '9', %s) ->> 'title'"
    assert asked_by(secrets, "ann", as_of, after) == ["a!"]
    with pytest.raises(psycopg.Error) as caught:
        asked_by(secrets, "ann", as_of, before)
    error = translate(caught.value)
    assert (type(error).__name__, str(error), error.sqlstate) == (
        "ChangesHidden",
        'changes of SECRET "9" before its key changed are hidden',
        "LL027",
    )
    assert asked_by(secrets, "postgres", as_of, before) == ["a!"]


def test_the_history_of_an_entity_is_found_by_index_still(secrets):
    secrets.execute("SET LOCAL enable_seqscan = off")
    plan = "\n".join(
        asked_by(
            secrets,
            "ann",
            "EXPLAIN (COSTS off) SELECT * FROM llamalog.log WHERE entity_type = 'SECRET' AND entity_id = '1'"
            " ORDER BY seq DESC LIMIT 5",
        )
    )
    assert "Index Cond: (entity_id = '1'::text)" in plan
    assert "Seq Scan" not in plan


# -- applications that write ------------------------------------------------------------------------------------------


def test_an_application_writes_rows_of_its_own_and_gets_their_ids(secrets):
    secrets.execute("CREATE ROLE app; GRANT llamalog_writer TO app; SET LOCAL ROLE app")
    attempt = secrets.execute(
        "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category)"
        " VALUES ('SECRET', '2', 'x', 'ENRICHED') RETURNING id"
    ).fetchone()
    assert attempt is not None
    secrets.execute("RESET ROLE; GRANT llamalog_reader TO app")
    # its transaction sees it, and no other
    assert asked_by(secrets, "app", LOG) == [(None, "2")]
    secrets.execute(AN_HOUR_AGO)
    assert asked_by(secrets, "app", LOG) == []


# -- on and off -------------------------------------------------------------------------------------------------------


def state(conn):
    """(row security of the log and its months, policies, functions that they ask, options of the lens)."""
    return tuple(
        conn.execute(
            "SELECT (SELECT array_agg(DISTINCT c.relrowsecurity) FROM pg_partition_tree('llamalog.llama_logs') AS t JOIN pg_class AS c ON c.oid = t.relid) AS security,"
            " ARRAY(SELECT polname::text FROM pg_policy WHERE polrelid = 'llamalog.llama_logs'::regclass ORDER BY 1) AS policies,"
            " ARRAY(SELECT proname::text FROM pg_proc WHERE pronamespace = 'llamalog'::regnamespace AND proname LIKE 'sees\\_%%' ORDER BY 1) AS functions,"
            " (SELECT reloptions FROM pg_class WHERE oid = 'llamalog.log'::regclass)",
            (),
        ).fetchone()
    )


@default("capture", "image")
def test_the_log_is_as_it_was_once_nothing_is_protected_any_more(secrets):
    assert state(secrets) == (
        [True],
        ["llamalog_reads", "llamalog_writes", "sees_secret"],
        ["sees_secret"],
        ["security_invoker=true"],
    )
    assert [(o.action, o.description) for o in protect(secrets, "secrets")] == [
        ("unchanged", "entity; key id; label title; row security carried over")
    ]
    watching.watch(secrets, ["secrets"], Options(row_security=False))
    assert state(secrets) == ([False], [], [], None)
    assert asked_by(secrets, "ann", LOG) == OF_ALL
    assert installation.check(secrets) == []


def test_status_and_check_say_what_is_protected_and_what_of_it_is_lacking(secrets):
    (watched,) = (
        one for one in installation.status(secrets).watched if one.entity_type == "SECRET"
    )
    assert watched.cells()[3].endswith(", row security")
    assert installation.check(secrets) == []
    secrets.execute(
        "DROP POLICY sees_secret ON llamalog.llama_logs; ALTER TABLE secrets DISABLE ROW LEVEL SECURITY"
    )
    assert [(found.id, found.what) for found in installation.check(secrets)] == [
        ("row-security-missing", "llamalog.llama_logs"),
        ("row-security-off", "public.secrets"),
    ]
    secrets.execute("ALTER TABLE secrets ENABLE ROW LEVEL SECURITY")
    migrate.migrate(secrets)
    assert installation.check(secrets) == []
    assert asked_by(secrets, "ann", LOG) == OF_ANN


def test_unwatching_and_watching_again_opens_no_history(secrets):
    (outcome,) = watching.unwatch(secrets, ["secrets"])
    assert outcome.description == "its history stays, for those who see its rows"
    assert asked_by(secrets, "ann", LOG) == OF_ANN
    watching.watch(secrets, ["secrets"])
    assert asked_by(secrets, "ann", LOG) == OF_ANN


def test_a_table_that_takes_over_the_type_of_another_takes_over_its_row_security(secrets):
    secrets.execute("DROP TABLE secrets; CREATE TABLE news (id integer PRIMARY KEY)")
    with pytest.raises(CannotWatch) as caught:
        watching.watch(secrets, ["news"], Options(entity_type="secret"))
    assert str(caught.value) == "public.news has no row security"
    watching.watch(secrets, ["news"], Options(entity_type="secret", row_security=False))
    assert asked_by(secrets, "ann", LOG) == OF_ALL


def test_parts_that_are_shown_all_the_same_are_named(db, caplog):
    db.execute(
        "ALTER TABLE albums ENABLE ROW LEVEL SECURITY; CREATE POLICY none ON albums USING (false)"
    )
    protect(db, "albums")
    assert caplog.messages == [
        "changes of TRACK, parts of ALBUM, are shown to whoever may read the log: their tables have no row security there"
    ]


def test_who_was_granted_the_lens_alone_reads_on_under_the_policies(db):
    db.execute(SECRETS)
    db.execute(
        "CREATE ROLE dora; GRANT SELECT ON llamalog.log, llamalog.recent_activity TO dora; GRANT SELECT ON secrets TO dora"
    )
    watching.watch(db, ["secrets"])
    db.execute(WRITES)
    assert asked_by(db, "dora", LOG) == OF_ALL
    protect(db, "secrets")
    assert asked_by(db, "dora", LOG) == []
    db.execute("UPDATE secrets SET owner = 'dora' WHERE id = 2")
    assert asked_by(db, "dora", LOG) == [*OF_BEN, ("U", "2")]
    assert (
        len(
            asked_by(
                db, "dora", "SELECT FROM llamalog.recent_activity WHERE entity_type = 'SECRET'"
            )
        )
        == 3
    )


def test_another_policy_of_a_dba_opens_nothing_and_is_left_alone(secrets):
    secrets.execute("CREATE POLICY generous ON llamalog.llama_logs USING (true)")
    assert asked_by(secrets, "ann", LOG) == OF_ANN
    watching.watch(secrets, ["secrets"], Options(row_security=False))
    assert state(secrets)[1] == ["generous"]


def test_a_lens_made_anew_by_an_upgrade_keeps_to_the_policies(database):
    database.execute(SECRETS)
    protect(database, "secrets")
    database.execute(WRITES)
    database.execute("UPDATE llamalog.repeatables SET checksum = 'older'")
    for text in migrate.script(database):  # by hand, in psql
        database.execute(text.encode())
    assert asked_by(database, "ann", LOG) == OF_ANN
    # uninstalled but for the log, and installed again
    migrate.rollback(database)
    migrate.migrate(database)
    assert asked_by(database, "ann", LOG) == OF_ANN
    assert asked_by(database, "chief", LOG) == OF_ALL
    assert installation.check(database) == []
    database.execute("DROP OWNED BY ann, ben, chief; DROP ROLE ann, ben, chief")


def test_the_sql_that_protects_can_be_run_by_hand(db):
    db.execute(SECRETS)
    for text in watching.script(db, ["secrets"], Options(row_security=True)):
        db.execute(text.encode())
    db.execute(WRITES)
    assert asked_by(db, "ann", LOG) == OF_ANN
    assert row_security.lacking(db) == []


# -- refused ----------------------------------------------------------------------------------------------------------


def test_a_table_without_row_security_or_without_policies_is_refused(db):
    db.execute("CREATE TABLE plain (id integer PRIMARY KEY)")
    with pytest.raises(CannotWatch) as caught:
        protect(db, "plain")
    assert (str(caught.value), caught.value.hint) == (
        "public.plain has no row security",
        "Run: ALTER TABLE public.plain ENABLE ROW LEVEL SECURITY, and create its policies; or watch it with --no-row-security.",
    )
    db.execute("ALTER TABLE plain ENABLE ROW LEVEL SECURITY")
    with pytest.raises(CannotWatch) as caught:
        protect(db, "plain")
    assert str(caught.value) == "public.plain has row security, and no policy"
    watching.watch(db, ["plain"])


def test_an_adopted_log_and_row_security_exclude_each_other(secrets):
    secrets.execute(
        "CREATE TABLE enrichment_logs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), entity_type text, entity_id uuid, operation text, created_at timestamptz)"
    )
    with pytest.raises(CannotAdopt) as caught:
        adopt.adopt(secrets, "enrichment_logs")
    assert str(caught.value) == (
        "row security of SECRET is carried over to the log, and could not be to public.enrichment_logs"
    )


def test_a_table_whose_log_is_an_adopted_one_is_not_protected(database):
    database.execute(
        "CREATE TABLE enrichment_logs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), entity_type text, entity_id uuid,"
        " operation text, created_at timestamptz); CREATE TABLE letters (id integer PRIMARY KEY);"
        " ALTER TABLE letters ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON letters USING (id < 9)"
    )
    adopt.adopt(database, "enrichment_logs")
    with pytest.raises(CannotWatch) as caught:
        protect(database, "letters")
    assert str(caught.value) == (
        "row security cannot be carried over to public.llama_logs, the application's own log"
    )
