"""Dumped and restored, on the same major version or a later one, the log answers as before, and goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import click.testing
import legacy
import psycopg
import pytest
from conftest import MUSIC, MUSIC_TABLES, default, fast_place
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

from llamalog_sql import access, backfill, embedded, errors, installation, migrate, watching
from llamalog_sql.adoption import adopt, proof
from llamalog_sql.cli import main
from llamalog_sql.demo.application import Application
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]

NEWEST = int(os.environ.get("LLAMALOG_TEST_PG", 0)) or 18

#: Where most dumps come from; what the extra `embedded` has beside the newest.
OLDER = min(16, NEWEST)

#: What the demonstration does not have: keys of all kinds, partitions, names in quotes, types of one's own, columns long gone.
ODD = """
CREATE SCHEMA "Shop";
CREATE TYPE "Shop"."Colour" AS ENUM ('red', 'green');
CREATE DOMAIN "Shop"."Short" AS varchar(20) CHECK (value <> '');
CREATE TABLE "Shop"."Order's 100%" (
    gone   integer,
    "Id"   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    note   "Shop"."Short",
    colour "Shop"."Colour"[],
    secret text,
    price  numeric,
    twice  numeric GENERATED ALWAYS AS (price * 2) STORED
);
ALTER TABLE "Shop"."Order's 100%" DROP COLUMN gone;
CREATE TABLE measurements (at date, sensor integer, value double precision, PRIMARY KEY (at, sensor)) PARTITION BY RANGE (at);
CREATE TABLE measurements_2025 PARTITION OF measurements FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measurements_2026 PARTITION OF measurements FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE animals (id integer PRIMARY KEY, name text);
CREATE TABLE llamas (wool real, PRIMARY KEY (id)) INHERITS (animals);
CREATE TABLE parcels (id integer PRIMARY KEY, weight integer);
CREATE TABLE vaults (id integer PRIMARY KEY, is_open boolean);
ALTER TABLE vaults ENABLE ROW LEVEL SECURITY;
CREATE POLICY open_ones ON vaults USING (is_open);
"""

WRITES = """
INSERT INTO "Shop"."Order's 100%" (note, colour, secret, price) VALUES ('one', '{red,NULL}', 'pin', 1.0), ('two', NULL, NULL, NULL);
UPDATE "Shop"."Order's 100%" SET price = 1.00, note = 'uno', secret = 'other' WHERE "Id" = 1;
INSERT INTO measurements VALUES ('2025-05-01', 1, '-0'), ('2025-05-01', 2, 'NaN');
UPDATE measurements SET at = '2026-05-01', value = 0.1 WHERE sensor = 1;
INSERT INTO llamas VALUES (1, 'Tina', 2.5);
UPDATE animals SET name = 'Kuzco' WHERE id = 1;
INSERT INTO parcels SELECT n, n FROM generate_series(1, 3) AS n;
TRUNCATE parcels;
INSERT INTO vaults VALUES (1, true), (2, false);
"""


def full(conn: Connection) -> None:
    """A database with all that a log can be about."""
    conn.execute(MUSIC.read_bytes())
    conn.execute(ODD.encode())
    migrate.migrate(conn)
    watching.watch(conn, [*MUSIC_TABLES, "measurements"])
    watching.watch(conn, ['"Shop"."Order\'s 100%"'], Options(redact=["secret"]))
    watching.watch(conn, ["animals"], Options(capture="tolerant", image="full"))
    watching.watch(conn, ["parcels"], Options(capture="statement"))
    conn.execute("GRANT SELECT ON vaults TO llamalog_reader")
    watching.watch(conn, ["vaults"], Options(row_security=True))
    Application(dsn_of(conn)).run()
    conn.execute(WRITES.encode())
    # a key that changed, and a column that came and one that went, while they were watched
    conn.execute("UPDATE animals SET id = 7")
    conn.execute("ALTER TABLE parcels ADD COLUMN size text, DROP COLUMN weight")
    conn.execute("INSERT INTO parcels VALUES (9, 'large')")
    migrate.migrate(conn)


# -- servers and programs ---------------------------------------------------------------------------------------------


def dsn_of(conn: Connection) -> str:
    address = {**conn.info.get_parameters(), "password": conn.info.password}
    return make_conninfo("", **{k: v for k, v in address.items() if v})


def binaries(version: int) -> Path:
    try:
        return embedded.find_binaries(version)
    except embedded.ServerNotFound as error:
        pytest.skip(str(error))


@dataclass
class Cluster:
    """A server, and the programs of its version."""

    server: embedded.Server
    count: int = 0

    def connect(self, dbname: str = "postgres", **more: Any) -> Connection:
        return psycopg.connect(self.dsn(dbname), autocommit=True, **more)

    def dsn(self, dbname: str) -> str:
        return make_conninfo(self.server.dsn, dbname=dbname)

    def new_database(self) -> str:
        self.count += 1
        with self.connect() as conn:
            conn.execute(f"CREATE DATABASE restored_{self.count}".encode())
        return f"restored_{self.count}"

    def run(self, program: str, *arguments: str, at: str | None = None, fails: bool = False) -> str:
        """Run a program of this cluster's version, on a database of this one unless told where.  Returns its output.

        fails: something of it may go wrong; what it complains of is returned.
        """
        address = conninfo_to_dict(at or self.server.dsn)
        names = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD"}
        run = subprocess.run(
            [str(binaries(self.server.version) / program), *arguments],
            env=os.environ | {f"PG{names[k]}": str(v) for k, v in address.items() if k in names},
            capture_output=True,
            text=True,
        )
        if fails:
            return run.stderr
        assert (run.returncode, run.stderr) == (0, "")
        return run.stdout


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    found = Path(tempfile.mkdtemp(dir=fast_place()))
    found.chmod(0o755)  # the server may be somebody else's
    yield found
    shutil.rmtree(found)


@pytest.fixture(scope="module")
def target() -> Iterator[Cluster]:
    """Where it is restored: another cluster, of the newest version. Its roles are those of an administrator who knows of llamalog."""
    with embedded.start(version=NEWEST) as server:
        cluster = Cluster(server)
        with cluster.connect() as conn:
            conn.execute("CREATE ROLE llamalog_owner NOLOGIN BYPASSRLS")
            for role in access.ROLES:
                conn.execute(f"CREATE ROLE {role} NOLOGIN".encode())
            conn.execute("CREATE ROLE shopkeeper LOGIN")
        yield cluster


@pytest.fixture(scope="module")
def sources(directory: Path) -> Iterator[Callable[[int], tuple[Cluster, dict[str, Any]]]]:
    """The cluster of a version with the database `full`, and what its log answers; made the first time that it is asked for."""
    made: dict[int, tuple[Cluster, dict[str, Any]]] = {}

    def source(version: int) -> tuple[Cluster, dict[str, Any]]:
        if version not in made:
            binaries(version)
            cluster = Cluster(embedded.start(version=version))
            with cluster.connect() as conn:
                conn.execute("CREATE DATABASE full_one")
            with cluster.connect("full_one") as conn:
                full(conn)
                made[version] = (cluster, answers(conn))
        return made[version]

    yield source
    for cluster, _ in made.values():
        cluster.server.stop()


# -- what it answers --------------------------------------------------------------------------------------------------

#: Every question, by what it is about.
ABOUT_ONE = {
    "history": "llamalog.history(%(type)s, %(id)s, 1000)",
    "chain": "llamalog.chain(%(type)s, %(id)s, row_limit => 1000)",
    "tree": "llamalog.tree(%(type)s, %(id)s)",
    "why": "llamalog.why(%(type)s, %(id)s)",
    "blame": "llamalog.blame(%(type)s, %(id)s)",
    "diff": "llamalog.diff(%(type)s, %(id)s, %(from)s, %(to)s)",
    "as_of": "llamalog.as_of(%(type)s, %(id)s, %(at)s)",
    "breaks": "llamalog.breaks(%(type)s, %(id)s)",
}
ABOUT_A_JOB = {
    "job": "llamalog.job(%(job)s)",
    "job_changes": "llamalog.job_changes(%(job)s)",
    "impact": "llamalog.impact(%(job)s)",
    "impact_entities": "llamalog.impact_entities(%(job)s)",
    "revert_plan": "llamalog.revert_plan(job_id => %(job)s)",
}
ABOUT_A_TYPE = {
    "as_of_all": "llamalog.as_of_all(%(type)s, %(at)s)",
    "attention": "llamalog.attention(%(type)s)",
    "columns_changed_since": "llamalog.columns_changed_since(%(type)s)",
}
ABOUT_ALL = {
    "log": "llamalog.log",
    "jobs": "llamalog.jobs",
    "find": "llamalog.find('o')",
    "failures": "llamalog.failures",
    "recent_failures": "llamalog.recent_failures()",
    "stats by category": "llamalog.stats('category', '2000-01-01', '2100-01-01')",
    "stats by day": "llamalog.stats('day', '2000-01-01', '2100-01-01')",
    "job_summary": "llamalog.job_summary",
    "source_summary": "llamalog.source_summary",
    "recent_activity": "llamalog.recent_activity",
    "unknown_provenance": "llamalog.unknown_provenance",
    "albums_needing_attention": "llamalog.albums_needing_attention",
    "watched_tables": "llamalog.watched_tables",
    "column_changes": "llamalog.column_changes",
    "renamings": "llamalog.renamings",
}

#: What a row of an answer has that belongs to the server: a cursor holds a snapshot of it.
OF_THE_SERVER = {"next_cursor", "relation"}


def answers(conn: Connection) -> dict[str, Any]:
    """Everything that the log answers, question by question."""
    with conn.transaction(), conn.cursor(row_factory=tuple_row) as cursor:
        cursor.execute("SET LOCAL TimeZone = 'UTC'")

        def ask(question: str, given: dict[str, Any]) -> Any:
            try:
                with conn.transaction():
                    found = cursor.execute(
                        f"SELECT to_jsonb(answer) FROM {question} AS answer".encode(), given
                    ).fetchall()
            except psycopg.Error as error:
                return (error.sqlstate, error.diag.message_primary)
            rows = [row for (row,) in found]
            if "(" not in question:  # a table or view has no order
                rows.sort(key=str)
            return [
                {k: v for k, v in row.items() if k not in OF_THE_SERVER}
                if isinstance(row, dict)
                else row
                for row in rows
            ]

        first, last = cursor.execute(
            "SELECT min(created_at), max(created_at) FROM llamalog.log"
        ).fetchone() or (None, None)
        times = {
            "at": first + (last - first) / 2,
            "from": first + (last - first) / 4,
            "to": last - timedelta(microseconds=1),
        }
        # of each type a few, each like the others
        entities = cursor.execute(
            "SELECT entity_type, entity_id FROM ("
            "SELECT entity_type, entity_id, row_number() OVER (PARTITION BY entity_type ORDER BY entity_id) AS n"
            " FROM (SELECT DISTINCT entity_type, entity_id FROM llamalog.log) AS known"
            ") AS numbered WHERE n <= 4 AND entity_id IS NOT NULL"
        ).fetchall()
        jobs = cursor.execute("SELECT DISTINCT job_id FROM llamalog.jobs ORDER BY 1").fetchall()[
            ::2
        ]
        types = sorted({kind for kind, _ in entities})
        told: dict[str, Any] = {}
        for name, question in ABOUT_ONE.items():
            for kind, entity in entities:
                told[f"{name} {kind} {entity}"] = ask(
                    question, {"type": kind, "id": entity} | times
                )
        for name, question in ABOUT_A_JOB.items():
            for (job,) in jobs:
                told[f"{name} {job}"] = ask(question, {"job": job})
        for name, question in ABOUT_A_TYPE.items():
            for kind in types:
                told[f"{name} {kind}"] = ask(question, {"type": kind} | times)
        for name, question in ABOUT_ALL.items():
            told[name] = ask(question, {})
    return told


def vaults_of_a_reader(conn: Connection) -> list[tuple[Any, ...]]:
    """Whose changes a reader is shown; the policy of the table shows him the first."""
    with conn.transaction():
        conn.execute("SET LOCAL ROLE llamalog_reader")
        return rows(conn, "SELECT entity_id FROM llamalog.log WHERE entity_type = 'VAULT'")


def differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The answers that are others, with both."""
    return {
        name: (before.get(name), after.get(name))
        for name in before | after
        if before.get(name) != after.get(name)
    }


COMMANDS = [
    *(
        [name, "ALBUM", "OK Computer"]
        for name in ("history", "chain", "tree", "why", "as-of", "blame")
    ),
    ["diff", "ALBUM", "OK Computer", "2000-01-01T00:00", "2000-01-02T00:00"],
    *([name, "enrichment-1"] for name in ("job",)),
    ["impact", "--job", "spotify-sync-1", "--list"],
    ["attention"],
    ["stats", "--since", "2000-01-01"],
    ["failures"],
    ["find", "o"],
    ["tail", "--limit", "100"],
]


def said(dsn: str) -> dict[str, tuple[int, str]]:
    """What the commands print."""
    runner = click.testing.CliRunner(env={"LLAMALOG_DSN": dsn, "COLUMNS": "200"})
    return {
        " ".join(arguments): (result.exit_code, result.stdout)
        for arguments in COMMANDS
        for result in [runner.invoke(main, arguments)]
    }


def goes_on(conn: Connection) -> None:
    """What is written now is logged once, above all that was there."""
    last = value(conn, "SELECT max(seq) FROM llamalog.log")
    with conn.transaction():
        conn.execute("SET LOCAL llamalog.job_id = 'after the restore'")
        conn.execute("UPDATE albums SET label = 'Restored' WHERE title = 'OK Computer'")
        conn.execute('UPDATE "Shop"."Order\'s 100%" SET price = 7, secret = \'new\' WHERE "Id" = 1')
        conn.execute("UPDATE animals SET name = 'Tina' WHERE id = 7")
        conn.execute("UPDATE measurements SET at = '2025-07-01' WHERE sensor = 1")
        conn.execute("INSERT INTO parcels VALUES (10, 'small')")
    assert rows(
        conn,
        "SELECT entity_type, category, before::text, after::text FROM llamalog.log"
        f" WHERE seq > {last} AND op IS NOT NULL ORDER BY seq",
    ) == [
        ("ALBUM", "UPDATED", '{"label": "Parlophone"}', '{"label": "Restored"}'),
        (
            "ORDER_S_100_",
            "UPDATED",
            '{"price": 1.00, "secret": "[redacted]"}',
            '{"price": 7, "secret": "[redacted]"}',
        ),
        ("ANIMAL", "UPDATED", '{"name": "Kuzco"}', '{"name": "Tina"}'),
        ("MEASUREMENT", "DELETED", '{"at": "2026-05-01", "value": 0.1, "sensor": 1}', None),
        ("MEASUREMENT", "CREATED", None, '{"at": "2025-07-01", "value": 0.1, "sensor": 1}'),
        ("PARCEL", "CREATED", None, None),
    ]


def rows(conn: Connection, query: str) -> list[tuple[Any, ...]]:
    with conn.cursor(row_factory=tuple_row) as cursor:
        return cursor.execute(query.encode()).fetchall()


def value(conn: Connection, query: str) -> Any:
    return rows(conn, query)[0][0]


# -- the whole database -----------------------------------------------------------------------------------------------


def dump_and_restore(source: Cluster, target: Cluster, form: str, directory: Path) -> str:
    """Dump the database by the programs of the later version, and restore it there; return the new one's name."""
    name, file = target.new_database(), str(directory / f"dump of {target.count}")
    at = source.server.dsn
    if form == "plain":
        target.run("pg_dump", "--file", file, "full_one", at=at)
        target.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-o", os.devnull, "-f", file, name)
    elif form == "custom":
        target.run("pg_dump", "-Fc", "--file", file, "full_one", at=at)
        target.run("pg_restore", "--exit-on-error", "-d", name, file)
    else:
        target.run("pg_dump", "-Fd", "-j", "3", "--file", file, "full_one", at=at)
        target.run("pg_restore", "--exit-on-error", "-j", "3", "-d", name, file)
    return name


@pytest.mark.parametrize(
    ("version", "form"),
    [
        pytest.param(15, "plain", marks=pytest.mark.slow),
        pytest.param(15, "custom", marks=pytest.mark.slow),
        pytest.param(15, "parallel", marks=pytest.mark.slow),
        pytest.param(OLDER, "plain", marks=pytest.mark.slow),
        (OLDER, "parallel"),
        pytest.param(NEWEST, "plain", marks=pytest.mark.slow),
        pytest.param(NEWEST, "custom", marks=pytest.mark.slow),
        pytest.param(NEWEST, "parallel", marks=pytest.mark.slow),
    ],
)
@default("image")
def test_every_question_answers_alike_after_dump_and_restore(
    sources, target, directory, version, form
):
    if version > NEWEST:
        pytest.skip("no version restores what a later one has dumped")
    source, before = sources(version)
    printed = said(source.dsn("full_one"))
    name = dump_and_restore(source, target, form, directory)
    with target.connect(name) as conn:
        assert differing(before, answers(conn)) == {}
        assert said(target.dsn(name)) == printed
        assert vaults_of_a_reader(conn) == [("1",)]
        assert installation.check(conn) == []
        report = migrate.migrate(conn)
        assert (report.migrations, report.repeatables, report.watches) == ([], [], [])
        goes_on(conn)


# -- parts of it, and other hands -------------------------------------------------------------------------------------


def test_cursors_of_before_the_dump_are_refused(sources, target, directory):
    source, _ = sources(OLDER)
    with source.connect("full_one") as conn:
        album = value(conn, "SELECT id FROM albums WHERE title = 'OK Computer'")
        chain = f"SELECT next_cursor FROM llamalog.chain('ALBUM', '{album}', row_limit => 2%s)"
        impact = (
            "SELECT next_cursor FROM llamalog.impact_entities('spotify-sync-1', row_limit => 2%s)"
        )
        asked = {
            question: rows(conn, question % "")[-1][0]
            for question in (
                chain,
                impact,
                "SELECT next_cursor FROM llamalog.tail(row_limit => 2%s)",
            )
        }
        for question, cursor in asked.items():
            assert rows(conn, question % f", cursor => '{cursor}'")
    name = dump_and_restore(source, target, "custom", directory)
    with target.connect(name) as conn:
        for question, cursor in asked.items():
            with pytest.raises(psycopg.Error) as caught:
                rows(conn, question % f", cursor => '{cursor}'")
            assert isinstance(errors.translate(caught.value), errors.BadCursor)
            assert caught.value.diag.message_primary == (
                "the cursor belongs to another state of the database"
            )
            # and without it begins anew
            assert rows(conn, question % "")


@pytest.mark.parametrize(
    "left_out",
    [
        ["--no-privileges"],
        pytest.param(["--no-owner", "--no-privileges"], marks=pytest.mark.slow),
    ],
    ids=" ".join,
)
@default("image")
def test_what_a_restore_without_rights_leaves_out_migrate_grants_and_closes(
    sources, target, directory, left_out
):
    source, before = sources(OLDER)
    name, file = target.new_database(), str(directory / "-".join(left_out))
    target.run("pg_dump", "-Fc", "--file", file, "full_one", at=source.server.dsn)
    target.run("pg_restore", "--exit-on-error", *left_out, "-d", name, file)
    with target.connect(name) as conn:
        open_to_all = (
            "SELECT has_schema_privilege('public', 'llamalog', 'USAGE'), count(*) > 0 FROM pg_proc"
            " WHERE pronamespace = 'llamalog'::regnamespace AND prorettype = 'trigger'::regtype"
            " AND has_function_privilege('public', oid, 'EXECUTE')"
        )
        assert rows(conn, open_to_all) == [(False, True)]
        migrate.migrate(conn)
        # everybody says who he is; nobody hangs a capture on a table of his own
        assert rows(conn, open_to_all) == [(True, False)]
        assert installation.check(conn) == []
        assert differing(before, answers(conn)) == {}
        goes_on(conn)
        conn.execute("TRUNCATE parcels")
        assert rows(conn, "SELECT op FROM llamalog.log ORDER BY seq DESC LIMIT 2") == [
            ("T",),
            ("T",),
        ]
        assert migrate.migrate(conn).is_empty


@pytest.mark.slow
def test_restored_by_an_owner_who_is_no_superuser_it_goes_on(sources, target, directory):
    """--role: he may not make event triggers, which migrate says; the tolerant capture takes their place."""
    source, before = sources(OLDER)
    name, file = target.new_database(), str(directory / "role")
    target.run("pg_dump", "-Fc", "--file", file, "full_one", at=source.server.dsn)
    with target.connect() as conn:
        conn.execute(f"ALTER DATABASE {name} OWNER TO shopkeeper".encode())
    with target.connect(name) as conn:
        conn.execute("ALTER SCHEMA public OWNER TO shopkeeper")
    complaints = target.run(
        "pg_restore",
        "--role",
        "shopkeeper",
        "--no-owner",
        "--no-privileges",
        "-d",
        name,
        file,
        fails=True,
    )
    assert set(line for line in complaints.splitlines() if "error: could not execute" in line) == {
        "pg_restore: error: could not execute query: ERROR:  permission denied to create event trigger"
        ' "llamalog_ddl"',
        "pg_restore: error: could not execute query: ERROR:  permission denied to create event trigger"
        ' "llamalog_drop"',
    }
    with target.connect(name, user="shopkeeper") as conn:
        assert differing(before, answers(conn)) == {}
        report = migrate.migrate(conn)
        assert report.notes == [
            "may not create event triggers: tables are captured by the tolerant capture, which any"
            " change of a table leaves working"
        ]
        assert installation.check(conn) == []
        assert {
            name: both
            for name, both in differing(before, answers(conn)).items()
            if name != "watched_tables"
        } == {}
        goes_on(conn)


@pytest.mark.slow
def test_schema_by_schema_the_log_comes_first(sources, target, directory):
    """-n llamalog, then the application's schemas, whose triggers call it."""
    source, before = sources(OLDER)
    at, name = source.server.dsn, target.new_database()
    for n, schemas in enumerate((["llamalog"], ["public", '"Shop"'])):
        file = str(directory / f"schema {n}")
        named = [argument for schema in schemas for argument in ("-n", schema)]
        target.run("pg_dump", "-Fc", *named, "--file", file, "full_one", at=at)
        if n == 1:
            with target.connect(name) as conn:
                conn.execute("DROP SCHEMA public")
        target.run("pg_restore", "--exit-on-error", "-d", name, file)
    with target.connect(name) as conn:
        assert differing(before, answers(conn)) == {}
        # event triggers belong to no schema
        assert value(conn, "SELECT count(*) FROM pg_event_trigger") == 0
        assert {finding.problem for finding in installation.check(conn)} != set()
        migrate.migrate(conn)
        assert value(conn, "SELECT count(*) FROM pg_event_trigger") == 2
        assert installation.check(conn) == []
        assert differing(before, answers(conn)) == {}
        goes_on(conn)


@pytest.mark.slow
def test_the_log_alone_answers_about_rows_that_are_not_there(sources, target, directory):
    source, before = sources(OLDER)
    name, file = target.new_database(), str(directory / "log alone")
    target.run("pg_dump", "-Fc", "-n", "llamalog", "--file", file, "full_one", at=source.server.dsn)
    target.run("pg_restore", "--exit-on-error", "-d", name, file)
    with target.connect(name) as conn:
        after = answers(conn)
        assert after["log"] == before["log"]
        history = {k: v for k, v in before.items() if k.startswith("history ")}
        assert {k: after[k] for k in history} == history
        assert {(f.what, f.problem) for f in installation.check(conn)} >= {
            ("public.albums", "the table is gone")
        }


@pytest.mark.slow
def test_the_application_alone_comes_without_capture_and_watch_hangs_it(sources, target, directory):
    source, _ = sources(OLDER)
    name, file = target.new_database(), str(directory / "application alone")
    target.run(
        "pg_dump",
        "-Fc",
        "-n",
        "public",
        "-n",
        '"Shop"',
        "--file",
        file,
        "full_one",
        at=source.server.dsn,
    )
    with target.connect(name) as conn:
        conn.execute("DROP SCHEMA public")
    complaints = target.run("pg_restore", "-d", name, file, fails=True)
    # its triggers call what is not there; all else is
    assert {line for line in complaints.splitlines() if "error: could not execute" in line} == {
        'pg_restore: error: could not execute query: ERROR:  schema "llamalog" does not exist'
    }
    with target.connect(name) as conn:
        assert value(conn, "SELECT count(*) FROM albums") > 0
        migrate.migrate(conn)
        watching.watch(conn, MUSIC_TABLES)
        assert installation.check(conn) == []
        conn.execute("UPDATE albums SET label = 'Restored' WHERE title = 'OK Computer'")
        assert rows(conn, "SELECT category FROM llamalog.log") == [("UPDATED",)]


@pytest.mark.parametrize(
    "way", [pytest.param("with triggers", marks=pytest.mark.slow), "--disable-triggers"]
)
def test_data_alone_is_logged_as_what_it_is_unless_triggers_are_off(
    sources, target, directory, way
):
    """Restored into tables that are watched, rows are inserted: the log says so, once each."""
    source, _ = sources(OLDER)
    name, file = target.new_database(), str(directory / f"data {way}")
    dump = ["pg_dump", "-Fc", "--data-only", "--exclude-schema", "llamalog"]
    target.run(*dump, "--file", file, "full_one", at=source.server.dsn)
    with target.connect(name) as conn:
        conn.execute(MUSIC.read_bytes())
        conn.execute(ODD.encode())
        conn.execute("ALTER TABLE parcels ADD COLUMN size text, DROP COLUMN weight")
        migrate.migrate(conn)
        watching.watch(conn, [*MUSIC_TABLES, "measurements", "animals", "parcels"])
        before = value(
            conn,
            "SELECT array_agg(tgenabled::text ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger",
        )
    off = ["--disable-triggers"] if way == "--disable-triggers" else []
    target.run("pg_restore", "--exit-on-error", "--data-only", *off, "-d", name, file)
    with target.connect(name) as conn:
        count = value(
            conn,
            "SELECT (SELECT count(*) FROM albums) + (SELECT count(*) FROM artists) + (SELECT count(*) FROM tracks)"
            " + (SELECT count(*) FROM album_artists) + (SELECT count(*) FROM track_artists)"
            " + (SELECT count(*) FROM measurements) + (SELECT count(*) FROM animals) + (SELECT count(*) FROM parcels)",
        )
        assert rows(conn, "SELECT op, count(*) FROM llamalog.log GROUP BY op") == (
            [] if off else [("I", count)]
        )
        # they are on again, as they were
        assert (
            value(
                conn,
                "SELECT array_agg(tgenabled::text ORDER BY tgrelid::regclass::text, tgname) FROM pg_trigger",
            )
            == before
        )
        assert installation.check(conn) == []
        conn.execute("UPDATE albums SET label = 'Restored' WHERE title = 'OK Computer'")
        assert rows(conn, "SELECT before, after FROM llamalog.log ORDER BY seq DESC LIMIT 1") == [
            ({"label": "Parlophone"}, {"label": "Restored"})
        ]


def test_a_column_that_comes_after_the_restore_is_no_other_ones_new_name(
    sources, target, directory
):
    """A restored table numbers its columns without gaps: the next one gets a number that another column had."""
    source, _ = sources(OLDER)
    name = dump_and_restore(source, target, "custom", directory)
    with target.connect(name) as conn:
        conn.execute('ALTER TABLE "Shop"."Order\'s 100%" ADD COLUMN weight integer')
        noted = "SELECT change, column_name, old_name FROM llamalog.column_changes WHERE entity_type = 'ORDER_S_100_'"
        assert rows(conn, noted) == [("added", "weight", None)]
        conn.execute('ALTER TABLE "Shop"."Order\'s 100%" DROP COLUMN note')
        assert rows(conn, noted) == [("added", "weight", None), ("dropped", "note", None)]
        conn.execute(
            'UPDATE "Shop"."Order\'s 100%" SET secret = \'newer\', weight = 3 WHERE "Id" = 1'
        )
        assert rows(
            conn,
            "SELECT entity_id, before::text, after::text FROM llamalog.log ORDER BY seq DESC LIMIT 1",
        ) == [
            (
                "1",
                '{"secret": "[redacted]", "weight": null}',
                '{"secret": "[redacted]", "weight": 3}',
            )
        ]


@pytest.mark.slow
def test_an_adopted_log_is_restored_with_its_old_name(target, directory):
    with target.connect() as conn:
        conn.execute("CREATE DATABASE adopted_one")
    with target.connect("adopted_one") as conn:
        conn.execute(MUSIC.read_bytes())
        legacy.make(conn)
        migrate.migrate(conn)
        watching.watch(conn, MUSIC_TABLES)
        adopt.adopt(conn, "public.enrichment_logs")
        backfill.backfill(conn)
        conn.execute("UPDATE albums SET label = 'before the dump'")
        before, then = answers(conn), proof.verify(conn)
    name, file = target.new_database(), str(directory / "adopted")
    target.run("pg_dump", "-Fc", "--file", file, "adopted_one")
    target.run("pg_restore", "--exit-on-error", "-d", name, file)
    with target.connect(name) as conn:
        assert differing(before, answers(conn)) == {}
        assert proof.verify(conn) == then
        assert installation.check(conn) == []
        conn.execute(
            "INSERT INTO enrichment_logs (operation, status) VALUES ('old name', 'SUCCESS')"
        )
        conn.execute("UPDATE albums SET label = 'after it'")
        assert (
            value(conn, "SELECT count(*) FROM llamalog.log WHERE after ->> 'label' = 'after it'")
            == 20
        )
        assert value(conn, "SELECT count(DISTINCT seq) = count(*) FROM llamalog.log") is True


@pytest.mark.slow
def test_triggers_of_an_adopted_log_that_a_restore_has_demoted_are_found_and_hung_again(database):
    legacy.make(database, albums=2)
    adopt.adopt(database, "public.enrichment_logs")
    backfill.backfill(database)
    enabled = (
        "SELECT tgname::text, tgenabled::text FROM pg_trigger WHERE tgrelid = 'public.llama_logs'::regclass"
        " AND tgname LIKE '00\\_llamalog\\_%' ORDER BY tgname"
    )
    before = rows(database, enabled)
    # as pg_restore --data-only --disable-triggers does
    database.execute("ALTER TABLE public.llama_logs DISABLE TRIGGER ALL")
    database.execute("ALTER TABLE public.llama_logs ENABLE TRIGGER ALL")
    assert rows(database, enabled) != before
    assert [(found.what, found.problem) for found in installation.check(database)] == [
        (
            "public.llama_logs",
            "missing or disabled: 00_llamalog_fill, 00_llamalog_fill_captured",
        )
    ]
    adopt.adopt(database, "public.llama_logs")
    assert rows(database, enabled) == before
    assert installation.check(database) == []


# -- in place ---------------------------------------------------------------------------------------------------------


def pg_upgrade(old: Path, new: Path, old_bin: Path, new_bin: Path) -> None:
    """Make the cluster of one home that of the other; both were started before, and are stopped."""
    owner = (new / "data").stat()
    place = new / "upgrade"
    place.mkdir()
    os.chown(place, owner.st_uid, owner.st_gid)

    def run(*command: str) -> None:
        as_owner: dict[str, Any] = (
            {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
            if os.geteuid() == 0
            else {}
        )
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, **as_owner)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"

    # where only root can enter the environment, the server runs from a copy
    old_bin, new_bin = (
        next((home / "programs").glob("*/*/bin"), given)
        for home, given in ((old, old_bin), (new, new_bin))
    )
    # those of before 18 have none by default
    run(f"{new_bin}/pg_checksums", "--disable", "-D", f"{new}/data")
    run(
        f"{new_bin}/pg_upgrade",
        *("--old-bindir", str(old_bin), "--new-bindir", str(new_bin)),
        *("--old-datadir", f"{old}/data", "--new-datadir", f"{new}/data"),
        *("--username", "postgres", "--jobs", "2", "--no-sync"),
    )


@pytest.mark.slow
@pytest.mark.skipif(NEWEST < 18, reason="pg_upgrade leads to the newest version")
@pytest.mark.parametrize("version", [15, 16])
def test_every_question_answers_alike_after_pg_upgrade(directory, version):
    old_bin, new_bin = binaries(version), binaries(NEWEST)
    if not (new_bin / "pg_upgrade").exists():
        pytest.skip(f"there is no {new_bin / 'pg_upgrade'}")
    old, new = directory / f"old {version}", directory / f"new of {version}"
    with embedded.start(version=version, keep_in=old) as server:
        cluster = Cluster(server)
        with cluster.connect() as conn:
            conn.execute("CREATE DATABASE full_one")
        with cluster.connect("full_one") as conn:
            full(conn)
            before = answers(conn)
            cursor = value(conn, "SELECT next_cursor FROM llamalog.tail(row_limit => 2)")
    embedded.start(version=NEWEST, keep_in=new).stop()
    pg_upgrade(old, new, old_bin, new_bin)
    with embedded.start(version=NEWEST, keep_in=new) as server:
        cluster = Cluster(server)
        with cluster.connect("full_one") as conn:
            assert differing(before, answers(conn)) == {}
            assert installation.check(conn) == []
            assert migrate.migrate(conn).is_empty
            assert vaults_of_a_reader(conn) == [("1",)]
            # the files are of another cluster now
            with pytest.raises(psycopg.Error) as caught:
                value(conn, f"SELECT next_cursor FROM llamalog.tail('{cursor}')")
            assert caught.value.sqlstate == "LL006"
            goes_on(conn)
