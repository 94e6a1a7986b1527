"""Which logs are not adopted, by whom they are, and what is said then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from adopting import (
    SEEN,
    WRITTEN,
    Connection,
    Killed,
    album,
    content,
    insert,
    logged,
    refusal_of,
    rows,
    shape_of,
    value,
    write_as_before,
    write_in_every_way,
)
from conftest import MUSIC, MUSIC_TABLES
from legacy import make
from psycopg.rows import namedtuple_row

from llamalog_sql import (
    backfill,
    embedded,
    installation,
    migrate,
    watching,
)
from llamalog_sql.adoption import adopt, indexes, proof, state, steps, undo
from llamalog_sql.errors import LlamaLogError

pytest_plugins = ["adopting"]


# -- refusals ----------------------------------------------------------------------------------------------------------

REFUSALS = {
    "a table that is no log": (
        "SELECT",
        ["albums"],
        (
            "public.albums is no log",
            "LL015",
            "Name its columns: --map COLUMN=operation --map COLUMN=created_at; llamalog adopt --help",
        ),
    ),
    "a table that is not there": (
        "SELECT",
        ["public.nothing"],
        (
            'table "public.nothing" does not exist',
            "42P01",
            "Name the table with its schema, as shop.orders.",
        ),
    ),
    "a table of llamalog": (
        "SELECT",
        ["llamalog.watches"],
        ("llamalog.watches is llamalog's own", "LL015", "Name the application's log."),
    ),
    "names that are one when they are cut": (
        "CREATE TABLE lg (id serial PRIMARY KEY, operation text, created_at timestamptz);"
        f"CREATE INDEX lg_{'x' * 59}1 ON lg (operation); CREATE INDEX lg_{'x' * 59}2 ON lg (operation)",
        ["lg"],
        (
            f"two indexes or constraints would be called llama_logs_{'x' * 52}",
            "42P07",
            "Names end after 63 bytes: rename one of those that begin alike.",
        ),
    ),
    "an enum without a word for it": (
        "CREATE TYPE mood AS ENUM ('GLAD', 'SAD'); CREATE TABLE moods"
        " (id serial PRIMARY KEY, operation text, created_at timestamptz, status mood NOT NULL)",
        ["moods"],
        (
            "the enum of column status of public.moods has nothing like SUCCESS",
            "LL015",
            "Let it be null, or add the values that it lacks: --extend-enums",
        ),
    ),
    "a generated column": (
        "CREATE TABLE told (id integer PRIMARY KEY, operation text, created_at timestamptz,"
        " reason text GENERATED ALWAYS AS ('said') STORED)",
        ["told"],
        (
            "column reason of public.told is generated, and captured rows have their own reason",
            "LL015",
            "Make it an ordinary column, or map another.",
        ),
    ),
    "the name is taken": (
        "CREATE TABLE llama_logs (id integer)",
        [],
        ("the name public.llama_logs is taken", "42P07", "Rename what has it."),
    ),
    "a name of an index is taken": (
        "CREATE INDEX llama_logs_operation_idx ON albums (label)",
        [],
        ("the name public.llama_logs_operation_idx is taken", "42P07", "Rename what has it."),
    ),
    "a name of an index of ours is taken": (
        "CREATE INDEX llama_logs_lens_job_id_idx ON albums (label)",
        [],
        ("the name public.llama_logs_lens_job_id_idx is taken", "42P07", "Rename what has it."),
    ),
    "a foreign key leads to it": (
        "CREATE TABLE notes (log_id uuid REFERENCES enrichment_logs)",
        [],
        (
            "a foreign key leads to public.enrichment_logs",
            "LL015",
            "Drop it first: a log that others refer to cannot be pruned, nor its key changed.",
        ),
    ),
    "it is published": (
        "CREATE PUBLICATION one FOR TABLE enrichment_logs",
        [],
        (
            "public.enrichment_logs is in publication one",
            "LL015",
            "Subscribers would miss its new name and columns: take it out of the publication first.",
        ),
    ),
    "everything is published": (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        [],
        (
            "public.enrichment_logs is in publication everything",
            "LL015",
            "Subscribers would miss its new name and columns: take it out of the publication first.",
        ),
    ),
    "its schema is published": (
        "CREATE PUBLICATION schemas FOR TABLES IN SCHEMA public",
        [],
        (
            "public.enrichment_logs is in publication schemas",
            "LL015",
            "Subscribers would miss its new name and columns: take it out of the publication first.",
        ),
    ),
    "views depend on it": (
        "CREATE VIEW failures AS SELECT * FROM enrichment_logs WHERE status = 'FAILED'",
        [],
        (
            "views depend on public.enrichment_logs",
            "LL015",
            "Drop them first, and create them again on the log after it.",
        ),
    ),
    "it is partitioned": (
        "CREATE TABLE parts (id integer, operation text, created_at timestamptz) PARTITION BY LIST (operation)",
        ["parts"],
        (
            "public.parts is a partitioned table",
            "LL015",
            "Only a plain table can be adopted; copy the rows into one.",
        ),
    ),
    "it is a view": (
        "CREATE VIEW seen AS SELECT 1 AS id, '' AS operation, now() AS created_at",
        ["seen"],
        (
            "public.seen is a view",
            "LL015",
            "Only a plain table can be adopted; copy the rows into one.",
        ),
    ),
    "rows must differ": (
        "CREATE UNIQUE INDEX once ON enrichment_logs (job_id, operation)",
        [],
        (
            "public.enrichment_logs wants rows to differ in what captured rows may share",
            "LL015",
            "Drop these unique indexes or exclusion constraints first, or make them ordinary indexes.",
        ),
    ),
    "rows must differ where only a constant would make them": (
        "ALTER TABLE enrichment_logs ADD kind text DEFAULT 'job', ADD CONSTRAINT once UNIQUE (kind, operation, created_at)",
        [],
        (
            "public.enrichment_logs wants rows to differ in what captured rows may share",
            "LL015",
            "Drop these unique indexes or exclusion constraints first, or make them ordinary indexes.",
        ),
    ),
    "it has a trigger": (
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER noting BEFORE INSERT ON enrichment_logs FOR EACH ROW EXECUTE FUNCTION note()",
        [],
        (
            "public.enrichment_logs has triggers or rules of its own",
            "LL015",
            "Drop or disable them first: they would run at each captured write, with the rights of the log.",
        ),
    ),
    "it has a rule": (
        "CREATE RULE losing AS ON INSERT TO enrichment_logs DO INSTEAD NOTHING",
        [],
        (
            "public.enrichment_logs has triggers or rules of its own",
            "LL015",
            "Drop or disable them first: they would run at each captured write, with the rights of the log.",
        ),
    ),
    "it is watched": (
        "CREATE TABLE watched_log (id serial PRIMARY KEY, operation text, created_at timestamptz)",
        ["watched_log"],
        (
            "public.watched_log is watched as WATCHED_LOG: the log would log itself",
            "LL015",
            "Run first: llamalog unwatch WATCHED_LOG",
        ),
    ),
    "its row type is used": (
        "CREATE FUNCTION latest() RETURNS enrichment_logs LANGUAGE sql AS 'SELECT * FROM enrichment_logs LIMIT 1'",
        [],
        (
            "the row type of public.enrichment_logs is used elsewhere, and would change",
            "LL015",
            "Drop those first, and create them again after it; the view under the old name has the same row type.",
        ),
    ),
    "it has row-level security": (
        "ALTER TABLE enrichment_logs ENABLE ROW LEVEL SECURITY",
        [],
        (
            "public.enrichment_logs has row-level security, which would refuse what capture writes",
            "LL015",
            "Disable it first: ALTER TABLE public.enrichment_logs DISABLE ROW LEVEL SECURITY",
        ),
    ),
    "it has a column seq": (
        "ALTER TABLE enrichment_logs ADD COLUMN seq integer",
        [],
        (
            "public.enrichment_logs has a column seq, and ours of that name says the order of the writes",
            "LL015",
            "Rename it.",
        ),
    ),
    "a mapped column is not there": (
        "SELECT",
        ["public.enrichment_logs", "--map", "who=user_id"],
        (
            "public.enrichment_logs has no column who",
            "42703",
            "Its columns are id, entity_type, entity_id, artist_id, album_id, track_id, operation, sources,",
        ),
    ),
    "it is mapped to what is no column": (
        "SELECT",
        ["public.enrichment_logs", "--map", "user_id=who"],
        (
            "who is no column that an application's log may have",
            "LL015",
            "Those are entity_type, entity_id,",
        ),
    ),
    "it is mapped to what only capture knows": (
        "SELECT",
        ["public.enrichment_logs", "--map", "preview_data=before"],
        (
            "before is no column that an application's log may have",
            "LL015",
            "Those are entity_type, entity_id,",
        ),
    ),
    "two are mapped to one": (
        "SELECT",
        ["public.enrichment_logs", "--map", "reason=user_id", "--map", "error_code=user_id"],
        ("two columns are mapped to the same one", "LL015", "Name one for each."),
    ),
    "a mapped column is of another type": (
        "SELECT",
        ["public.enrichment_logs", "--map", "created_at=user_id", "--map", "reason=created_at"],
        (
            "column created_at of public.enrichment_logs is of type timestamp, no text",
            "LL015",
            "Rename it, or name another: --map COLUMN=user_id",
        ),
    ),
    "a column that is not known must be filled": (
        "ALTER TABLE enrichment_logs ADD COLUMN tenant integer; UPDATE enrichment_logs SET tenant = 1;"
        "ALTER TABLE enrichment_logs ALTER COLUMN tenant SET NOT NULL",
        [],
        (
            "column tenant of public.enrichment_logs is NOT NULL, and captured rows have no value for it",
            "LL015",
            "Give it a default, or let it be null.",
        ),
    ),
    "a column that is known must be filled": (
        "UPDATE enrichment_logs SET user_id = 'cuid-ann'; ALTER TABLE enrichment_logs ALTER COLUMN user_id SET NOT NULL",
        [],
        (
            "column user_id of public.enrichment_logs is NOT NULL, and captured rows have no value for it",
            "LL015",
            "Let it be null.",
        ),
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refused_is(first, llamalog, case):
    preparing, arguments, (message, sqlstate, hint) = REFUSALS[case]
    first.execute(preparing.encode())
    if "watched_log" in arguments:
        watching.watch(first, ["watched_log"])
    shape, before = shape_of(first, "enrichment_logs"), content(first, "enrichment_logs")
    result = llamalog(first, "adopt", *(arguments or ["public.enrichment_logs"]), "--yes")
    lines = result.stderr.splitlines()
    assert (result.exit_code, lines[0]) == (1, f"error: {message} ({sqlstate})")
    assert next(line for line in lines if line.startswith("hint: ")).startswith(f"hint: {hint}")
    assert shape_of(first, "enrichment_logs") == shape
    assert content(first, "enrichment_logs") == before
    assert value(first, "SELECT count(*) FROM llamalog.adoptions") == 0


def test_rules_that_no_captured_row_can_break_are_no_hindrance(first):
    first.execute(
        "ALTER TABLE enrichment_logs ADD request_id text UNIQUE, ADD ticket serial UNIQUE,"
        " ADD CHECK (retry_count >= 0), ADD CHECK (status <> 'PREVIEW') NOT VALID, ADD CHECK (duration_ms > 0) NOT VALID,"
        " ADD theirs text, ADD CHECK (theirs IS NULL OR reason <> ''), ALTER sources TYPE varchar(12)[]"
    )
    adopt.adopt(first, "enrichment_logs")
    for n in range(2):
        with first.transaction():
            first.execute("SELECT llamalog.set_context('api', sources => '{SPOTIFY_AND_OTHERS}')")
            first.execute("UPDATE albums SET label = %s WHERE id = %s", [str(n), album(1)])
    assert (
        rows(first, "SELECT sources FROM llamalog.log WHERE op = 'U' ORDER BY seq")
        == [(["SPOTIFY_AND_OTHERS"],)] * 2
    )
    assert (
        rows(first, "SELECT sources FROM enrichment_logs WHERE operation LIKE 'album:updated:api'")
        == [(["SPOTIFY_AND_"],)] * 2
    )


#: What a captured row would break; what PostgreSQL says of it.
RULES = {
    "a check on categories": (
        "ALTER TABLE enrichment_logs ADD category text CONSTRAINT known CHECK (category IN ('CREATED', 'UPDATED', 'FAILED'))",
        'violates check constraint "known" (23514)',
    ),
    "a check on jobs": (
        "ALTER TABLE enrichment_logs ADD CONSTRAINT known CHECK (job_id ~ '^[a-z]+-[0-9]+$') NOT VALID",
        'violates check constraint "known" (23514)',
    ),
    "a check that only a deletion breaks": (
        "ALTER TABLE enrichment_logs ADD CONSTRAINT known CHECK (is_root_job OR parent_job_id IS NOT NULL) NOT VALID",
        'violates check constraint "known" (23514)',
    ),
    "a domain that is not null": (
        "CREATE DOMAIN tenant AS text NOT NULL; ALTER TABLE enrichment_logs ADD tenant tenant DEFAULT 'x';"
        "ALTER TABLE enrichment_logs ALTER tenant DROP DEFAULT",
        "does not allow null values (23502)",
    ),
    "a default that needs a setting": (
        "ALTER TABLE enrichment_logs ADD tenant text DEFAULT 'x';"
        "ALTER TABLE enrichment_logs ALTER tenant SET DEFAULT current_setting('app.tenant')",
        'unrecognized configuration parameter "app.tenant" (42704)',
    ),
    "unique by a constant": (
        "ALTER TABLE enrichment_logs ADD rid uuid DEFAULT '00000000-0000-0000-0000-000000000000';"
        "CREATE UNIQUE INDEX once ON enrichment_logs (rid, status) WHERE created_at > '2026-01-01'",
        "(23505)",
    ),
}


@pytest.mark.parametrize("case", RULES)
def test_a_rule_that_captured_rows_break_is_found_by_trying_and_all_is_as_before(
    first, llamalog, case
):
    preparing, said = RULES[case]
    first.execute(preparing.encode())
    shape, before = shape_of(first, "enrichment_logs"), content(first, "enrichment_logs")
    result = llamalog(first, "adopt", "enrichment_logs", "--yes")
    assert result.exit_code == 1
    assert (
        "error: public.llama_logs: captured rows cannot be written into the log: " in result.stderr
    )
    assert said in result.stderr
    assert shape_of(first, "enrichment_logs") == shape
    assert content(first, "enrichment_logs") == before
    assert state.current(first) is None
    assert migrate.migrate(first).is_empty
    first.execute("UPDATE albums SET label = 'x'")
    assert value(first, "SELECT count(*) FROM llamalog.log WHERE op = 'U'") == 20


def test_a_log_that_loses_the_rows_of_a_trial_is_told_from_one_that_keeps_them(db):
    db.execute(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER lose BEFORE INSERT ON llamalog.llama_logs FOR EACH ROW"
        " WHEN (NEW.category = 'FAILED' AND NEW.op IS NULL) EXECUTE FUNCTION lose()"
    )
    with pytest.raises(psycopg.Error, match="of 99 rows only 66 arrive") as refused:
        db.execute("SELECT llamalog.try_writes()")
    assert refused.value.sqlstate == "LL015"


def test_nobody_becomes_a_superuser_by_what_he_hangs_on_his_log(first, role):
    mallory = role(first, "mallory")
    first.execute(
        "CREATE FUNCTION public.rise() RETURNS boolean LANGUAGE plpgsql AS $$"
        " BEGIN BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;"
        " BEGIN EXECUTE 'RESET SESSION AUTHORIZATION'; EXCEPTION WHEN OTHERS THEN NULL; END;"
        f" BEGIN EXECUTE 'ALTER ROLE {mallory} SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN true; END $$;"
    )
    first.execute(
        "CREATE FUNCTION public.same(varchar, varchar) RETURNS boolean LANGUAGE sql"
        " AS 'SELECT public.rise() AND $1::text = $2::text';"
        "CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.same);"
        'CREATE FUNCTION public.told("EnrichmentStatus") RETURNS text LANGUAGE plpgsql'
        " AS 'BEGIN RETURN public.rise()::text; END';"
        'CREATE CAST ("EnrichmentStatus" AS text) WITH FUNCTION public.told("EnrichmentStatus");'
        "CREATE FUNCTION public.calm(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.rise(); END';"
        "CREATE INDEX enrichment_logs_risen_idx ON enrichment_logs (operation) WHERE public.calm(operation);"
        "ALTER TABLE enrichment_logs ADD CONSTRAINT risen CHECK (public.rise());"
        f"ALTER TABLE enrichment_logs OWNER TO {mallory}"
    )
    is_risen = f"SELECT rolsuper FROM pg_roles WHERE rolname = '{mallory}'"
    # what a superuser runs himself does it
    assert value(first, is_risen) is True
    first.execute(f"ALTER ROLE {mallory} NOSUPERUSER")
    adopt.plan(first, "enrichment_logs")
    adopt.adopt(first, "enrichment_logs")
    first.execute("UPDATE albums SET label = 'x'")
    backfill.backfill(first)
    first.execute("SELECT * FROM llamalog.log").fetchall()
    first.execute(
        "INSERT INTO llamalog.category_rules VALUES (1, '%', NULL, NULL, 'CACHED', 'all')"
    )
    assert backfill.backfill(first).judged_again == 260
    undo.undo(first)
    adopt.adopt(first, "enrichment_logs")
    assert value(first, is_risen) is False


def test_refused_are_views_each_by_its_name(first):
    first.execute(
        "CREATE VIEW failures AS SELECT * FROM enrichment_logs; CREATE VIEW others AS TABLE enrichment_logs"
    )
    with pytest.raises(LlamaLogError) as caught:
        adopt.plan(first, "public.enrichment_logs")
    assert caught.value.detail == "public.failures, public.others"


def test_refused_is_a_second_adoption_beside_the_first(first, connect):
    connect(first).execute("SELECT pg_advisory_lock(hashtextextended('llamalog.adopt', 0))")
    assert refusal_of(lambda: adopt.adopt(first, "enrichment_logs")) == (
        "another llamalog adopt is at work in this database",
        "55006",
        "Wait for it, or stop it: the same command goes on where it was.",
    )


def test_a_row_that_is_not_what_it_was_is_said(first, monkeypatch):
    """Nothing is known that would do it; hence the second checksum is another one here."""
    taken, checksums = proof.proof, iter(["abc", "def"])
    monkeypatch.setattr(
        proof, "proof", lambda *given: replace(taken(*given), checksum=next(checksums))
    )
    assert refusal_of(lambda: adopt.adopt(first, "enrichment_logs")) == (
        "public.llama_logs is not what it was: abc before, def after",
        "XX001",
        "Run: llamalog adopt --undo",
    )


def test_an_adoption_that_was_killed_before_its_proof_cannot_be_compared(first, monkeypatch):
    def die(*_):
        raise Killed

    monkeypatch.setattr(indexes, "build", die)
    with pytest.raises(Killed):
        adopt.adopt(first, "enrichment_logs")
    assert refusal_of(lambda: proof.verify(first)) == (
        "no checksum was taken of public.llama_logs: its adoption is not finished",
        "LL015",
        "Run: llamalog adopt public.llama_logs",
    )


def test_the_view_under_the_old_name_goes_only_where_nothing_is_built_on_it(first_adopted):
    first_adopted.execute("CREATE VIEW late AS SELECT * FROM enrichment_logs")
    assert refusal_of(lambda: undo.undo(first_adopted)) == (
        "public.enrichment_logs cannot give way to the table: others are built on it",
        "LL015",
        "Drop them first, and create them again after it.",
    )


def test_to_adopt_again_hangs_the_triggers_that_somebody_took_off(first_adopted):
    hung = "SELECT tgname, tgenabled, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'llama_logs'::regclass ORDER BY 1"
    before = first_adopted.execute(hung).fetchall()
    fill, *_ = steps.TRIGGERS
    first_adopted.execute(f'DROP TRIGGER "{fill}" ON llama_logs')
    first_adopted.execute(f'ALTER TABLE llama_logs DISABLE TRIGGER "{steps.AGAIN}"')
    assert steps.missing_triggers(first_adopted, state.current(first_adopted).shape) == sorted(
        [fill, steps.AGAIN]
    )
    report = adopt.adopt(first_adopted, "enrichment_logs")
    assert (report.table, report.row_count) == ("public.llama_logs", 260)
    assert first_adopted.execute(hung).fetchall() == before
    assert refusal_of(lambda: adopt.adopt(first_adopted, "enrichment_logs"))[1] == "LL015"


def test_the_adopted_log_is_not_watched(first_adopted):
    assert refusal_of(lambda: watching.watch(first_adopted, ["llama_logs"])) == (
        "public.llama_logs is the log: it would log itself",
        "LL009",
        "Watch the application's other tables.",
    )


def test_what_is_done_with_a_log_is_told_in_json_too(first, llamalog):
    def told(*arguments):
        return json.loads(llamalog(first, "adopt", *arguments, "--format", "json").stdout)

    assert "title" in told("enrichment_logs", "--dry-run")[0]
    (report,) = told("enrichment_logs", "--yes")
    assert (report["table"], report["row_count"]) == ("public.llama_logs", 260)
    assert report["before"] == report["after"]
    then, now = told("--verify")
    assert then == now
    assert "RENAME TO enrichment_logs" in llamalog(
        first, "adopt", "--undo", "--sql"
    ).stdout.replace('"', "")
    assert value(first, "SELECT count(*) FROM llamalog.adoptions WHERE undone_at IS NULL") == 1


def test_a_column_is_mapped_to_one_of_ours(first, llamalog):
    result = llamalog(first, "adopt", "enrichment_logs", "--map", "happened_at", "--yes")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --map needs COLUMN=OURS")


def test_refused_is_an_owner_who_cannot_rename_the_table(first, connect, role):
    role(first, "clerk")
    first.execute("ALTER TABLE enrichment_logs OWNER TO clerk")
    first.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO clerk")
    clerk = connect(first, user="clerk", password="x")
    assert refusal_of(lambda: adopt.adopt(clerk, "public.enrichment_logs")) == (
        "public.enrichment_logs cannot be renamed: you, or its owner, may not create in its schema",
        "42501",
        'Run, as its owner: GRANT CREATE ON SCHEMA "public" TO both',
    )


def test_refused_is_whoever_does_not_own_the_table(first, connect, role):
    role(first, "stranger")
    first.execute("GRANT ALL ON enrichment_logs TO stranger")
    first.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO stranger")
    stranger = connect(first, user="stranger", password="x")
    assert refusal_of(lambda: adopt.adopt(stranger, "public.enrichment_logs")) == (
        "public.enrichment_logs belongs to postgres",
        "42501",
        "Connect as its owner, or as a superuser.",
    )


def test_refused_is_a_second_adoption(adopted, llamalog):
    adopted.execute(
        "CREATE TABLE other (id integer PRIMARY KEY, operation text, created_at timestamptz)"
    )
    for table in ("public.enrichment_logs", "public.llama_logs", "public.other"):
        result = llamalog(adopted, "adopt", table, "--yes")
        assert (result.exit_code, result.stderr.splitlines()) == (
            1,
            [
                "error: public.llama_logs is the log already (LL015)",
                "hint: There is one log: llamalog adopt --verify compares it, --undo gives it back.",
            ],
        )


# -- whoever installs --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["NOCREATEROLE", "CREATEROLE"], ids=["plain role", "role maker"])
def modest(another_server: embedded.Server, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A music database with its log, watched, whose owner is no superuser; everything in it is his."""
    name = f"shop_{request.param.lower()}"
    with psycopg.connect(another_server.dsn, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {request.param}".encode())
        admin.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
    address = {"dbname": name, "user": name, "password": "x", "autocommit": True}
    with psycopg.connect(another_server.dsn, **address, row_factory=namedtuple_row) as conn:
        conn.execute(MUSIC.read_bytes())
        make(conn)
        migrate.migrate(conn)
        watching.watch(conn, MUSIC_TABLES)
        yield conn
    with psycopg.connect(another_server.dsn, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name}".encode())
        admin.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}".encode())


def test_an_owner_who_is_no_superuser_adopts_writes_and_takes_back(modest):
    shape = shape_of(modest, "public.enrichment_logs")
    before = content(modest, "enrichment_logs")
    report = adopt.adopt(modest, "public.enrichment_logs")
    assert (report.row_count, report.before) == (260, report.after)
    assert content(modest, "enrichment_logs") == before
    assert write_as_before(modest, "public.enrichment_logs") == SEEN
    assert write_as_before(modest, "public.llama_logs") == SEEN
    write_in_every_way(modest)
    key = insert(modest, created_at="2024-02-29 01:02:03.456", operation="cache:artist-image")
    assert logged(modest, key, "category, created_at, op") == (
        "CACHED",
        datetime(2024, 2, 29, 1, 2, 3, 456000, tzinfo=UTC),
        None,
    )
    new = "seq >= 10000000000001 AND (op IS NOT NULL OR error_message IS NOT NULL) ORDER BY seq"
    assert (
        rows(modest, f"SELECT category, entity_type, link_type, op FROM llamalog.log WHERE {new}")
        == WRITTEN
    )
    assert migrate.migrate(modest).is_empty
    assert proof.verify(modest)[0] == proof.verify(modest)[1]
    assert undo.undo(modest).captured == len(WRITTEN)
    assert shape_of(modest, "public.enrichment_logs") | {"constraints": []} == shape | {
        "constraints": []
    }
    assert write_as_before(modest, "public.enrichment_logs") == SEEN
    assert value(modest, "SELECT count(*) FROM llamalog.log") == len(WRITTEN)
    assert installation.check(modest) == []
