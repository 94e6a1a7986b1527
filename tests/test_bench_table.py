"""What logging would cost on a table of one's own: any table can be measured, and is as if nobody had."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import product

import legacy
import psycopg
import pytest
from click.testing import CliRunner
from conftest import default, sampled

from llamalog_sql import bench, embedded, migrate, watching
from llamalog_sql.adoption import adopt
from llamalog_sql.cli import main
from llamalog_sql.errors import CannotWatch, LlamaLogError
from llamalog_sql.watching import Options

ALL = ["DELETE", "INSERT", "UPDATE", "no-op UPDATE"]
LOGGED = {"DELETE": 1, "INSERT": 1, "UPDATE": 1, "no-op UPDATE": 0}


def measured(conn, table, **more):
    return bench.bench(conn, table, **{"row_count": 4, "rounds": 1, **more})


@pytest.fixture(autouse=True)
def _one_pass(monkeypatch):
    monkeypatch.setattr(bench, "_PASSES", 1)


@pytest.fixture
def albums(database, new):
    for n in range(6):
        new.album(database, f"Album {n}", track_count=n, label=f"Label {n}")
    return database


@pytest.fixture
def installed(database):
    return database


def dsn(conn):
    address = {**conn.info.get_parameters(), "password": conn.info.password}
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})


def everything(conn):
    """All of the database that a bench could leave something in."""
    return {
        name: conn.execute(query.encode()).fetchall()
        for name, query in {
            "relations": "SELECT oid, relname, relacl::text, relfilenode, relhastriggers FROM pg_class"
            " WHERE relnamespace::regnamespace::text !~ '^pg_(toast|temp)' AND relkind <> 't' ORDER BY 1",
            "temporary": "SELECT relname FROM pg_class WHERE relpersistence = 't'",
            "functions": "SELECT oid, proname, proacl::text FROM pg_proc ORDER BY 1",
            "triggers": "SELECT oid, tgname FROM pg_trigger ORDER BY 1",
            "types": "SELECT oid, typname FROM pg_type"
            " WHERE typnamespace::regnamespace::text !~ '^pg_(toast|temp)' ORDER BY 1",
            "schemas": "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp' ORDER BY 1",
            "sequences": "SELECT schemaname, sequencename, last_value FROM pg_sequences ORDER BY 1, 2",
            "watches": "SELECT * FROM llamalog.watches ORDER BY 1",
            "log": "SELECT count(*), max(id), pg_relation_size('llamalog.llama_logs_default') FROM llamalog.llama_logs",
            "log files": "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('llamalog.llama_logs')",
            "jobs": "SELECT count(*) FROM llamalog.jobs",
        }.items()
    }


# -- what is measured -------------------------------------------------------------------------------------------------


@default("capture")
def test_every_write_is_measured_without_capture_and_under_each(albums):
    costs = measured(albums, "albums", columns=["label"])
    captures = ["none", "rendered", "full image", "by statement", "tolerant"]
    assert [(c.rows_per_statement, c.write, c.capture) for c in costs] == list(
        product([1, 4], ALL, captures)
    )
    assert {c.log_rows for c in costs if c.capture == "none"} == {0}
    assert [(c.write, c.log_rows) for c in costs if c.capture != "none"] == [
        (write, LOGGED[write]) for _, write, _ in product([1, 4], ALL, captures[1:])
    ]
    assert all(c.microseconds > 0 for c in costs)
    assert all(
        (c.ratio is None and c.added_microseconds is None) == (c.capture == "none") for c in costs
    )
    assert all(c.ratio_low <= c.ratio <= c.ratio_high for c in costs if c.ratio is not None)
    assert {c.table: (c.table_rows, c.column_count, c.sampled_rows) for c in costs} == {
        "public.albums": (6, 31, 4)
    }
    assert {tuple(c.columns) for c in costs if "UPDATE" in c.write} == {("label",)}


@pytest.mark.slow
def test_full_image_writes_more_bytes_than_none(installed, monkeypatch):
    monkeypatch.setattr(bench, "MODES", bench.MODES[:2])
    installed.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
    installed.execute(
        "INSERT INTO t SELECT n, repeat(n::text, 99) FROM generate_series(1, 200) AS n"
    )
    found = measured(installed, "t", row_count=200)
    costs = {c.capture: c.log_bytes for c in found if c.write == "INSERT"}
    assert costs["full image"] > costs["rendered"] > costs["none"] == 0


@pytest.mark.slow
def test_wal_is_counted_where_the_server_writes_it_all(albums, monkeypatch):
    """At wal_level minimal, rows of a table made in the same transaction never reach it."""
    assert albums.execute("SHOW wal_level").fetchone()[0] == "minimal"
    assert {c.wal_bytes for c in measured(albums, "albums")} == {None}
    monkeypatch.setattr(bench, "MODES", bench.MODES[:1])
    with (
        embedded.start(settings={"wal_level": "replica"}) as server,
        psycopg.connect(server.dsn, autocommit=True) as conn,
    ):
        migrate.migrate(conn)
        conn.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
        conn.execute("INSERT INTO t SELECT n, n FROM generate_series(1, 9) AS n")
        found = {(c.write, c.capture): c.wal_bytes for c in measured(conn, "t")}
    assert all(found[write, "rendered"] > found[write, "none"] > 0 for write in ALL[:3])


@default("capture")
def test_slow_capture_writes_fewer_rows_and_says_so(albums, monkeypatch):
    monkeypatch.setattr(bench, "_PATIENCE", 0.0)
    costs = measured(albums, "albums", row_count=6)
    many = {c.capture: c.rows_per_statement for c in costs if c.rows_per_statement > 1}
    assert many == {"none": 6, "rendered": 5, "full image": 5, "by statement": 5, "tolerant": 5}
    assert {(c.log_rows, c.log_bytes, c.wal_bytes) for c in costs if c.capture != "none"} == {
        (None, None, None)
    }


# -- odd tables -------------------------------------------------------------------------------------------------------

NAMES = ["v_row", "written", "place", "listed", "microseconds", "row", "first", "a\"b{table}%s$1'"]
SHAPES = {
    "quoted CamelCase": (
        'CREATE TABLE "Odd Table" ("Id" int PRIMARY KEY, "someValue" text);'
        ' INSERT INTO "Odd Table" SELECT n, n FROM generate_series(1, 5) AS n',
        "Odd Table",
        ["someValue"],
    ),
    "names that the bench uses itself": (
        f"CREATE TABLE named (place int PRIMARY KEY, {', '.join(psycopg.sql.Identifier(n).as_string() + ' text' for n in NAMES if n != 'place')});"
        f"INSERT INTO named SELECT n{', n' * (len(NAMES) - 1)} FROM generate_series(1, 5) AS n",
        "named",
        ["v_row", "written"],
    ),
    "composite key in another order, more than a column changed": (
        "CREATE TABLE pairs (a int, note text, b text, PRIMARY KEY (b, a));"
        "INSERT INTO pairs SELECT n, n, n FROM generate_series(1, 5) AS n",
        "pairs",
        ["note"],
    ),
    "identity, generated, domain, enum, array, json, point": (
        "CREATE DOMAIN positive AS int CHECK (value > 0); CREATE TYPE mood AS ENUM ('sad', 'glad');"
        "CREATE TABLE typed (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, twice int GENERATED ALWAYS AS (p * 2) STORED,"
        " p positive, m mood, arr text[], j json, at point);"
        "INSERT INTO typed (p, m, arr, j, at) SELECT n, (ARRAY['sad', 'glad'])[1 + n % 2]::mood, ARRAY[n::text], '{}', point(n, n)"
        " FROM generate_series(1, 5) AS n",
        "typed",
        ["p", "m"],
    ),
    "nothing but an identity": (
        "CREATE TABLE bare (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);"
        "INSERT INTO bare SELECT FROM generate_series(1, 5)",
        "bare",
        None,
    ),
    "unique, exclusion and check constraints": (
        "CREATE TABLE ruled (id int PRIMARY KEY, code text UNIQUE, span int4range, low int, high int, note text,"
        " EXCLUDE USING gist (span WITH &&), CHECK (low < high));"
        "INSERT INTO ruled SELECT n, n, int4range(n, n + 1), n, n + 1, n FROM generate_series(1, 5) AS n;"
        "CREATE UNIQUE INDEX ON ruled (lower(note)) WHERE id > 2",
        "ruled",
        ["low", "high"],
    ),
    "a deferrable key": (
        "CREATE TABLE late (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, a int);"
        "CREATE UNIQUE INDEX late_idx ON late (id);"
        "INSERT INTO late SELECT n, n FROM generate_series(1, 5) AS n",
        "late",
        ["a"],
    ),
    "few values, none of them null": (
        "CREATE TABLE orders (id int PRIMARY KEY, status text NOT NULL);"
        "INSERT INTO orders SELECT n, (ARRAY['new', 'paid'])[1 + (n > 1)::int] FROM generate_series(1, 4) AS n",
        "orders",
        ["status"],
    ),
    "nulls beside values": (
        "CREATE TABLE partly (id int PRIMARY KEY, a text, always_null text);"
        "INSERT INTO partly SELECT n, CASE WHEN n = 3 THEN 'x' END FROM generate_series(1, 5) AS n",
        "partly",
        ["a"],
    ),
    "partitions by range": (
        "CREATE TABLE ranged (day date, id int, a int, PRIMARY KEY (day, id)) PARTITION BY RANGE (day);"
        "CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "INSERT INTO ranged SELECT '2026-01-02', n, n FROM generate_series(1, 5) AS n",
        "ranged",
        ["a"],
    ),
    "partitions by hash": (
        "CREATE TABLE hashed (id int PRIMARY KEY, a int) PARTITION BY HASH (id);"
        "CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "INSERT INTO hashed SELECT n, n FROM generate_series(1, 5) AS n",
        "hashed",
        ["a"],
    ),
    "filled loosely, without a log of its own": (
        "CREATE UNLOGGED TABLE loose (id int PRIMARY KEY, a int) WITH (fillfactor = 50);"
        "INSERT INTO loose SELECT n, n FROM generate_series(1, 5) AS n",
        "loose",
        ["a"],
    ),
    "250 columns": (
        f"CREATE TABLE wide (id int PRIMARY KEY, {', '.join(f'c{n} int' for n in range(249))});"
        "INSERT INTO wide (id, c0, c1) SELECT n, n, n FROM generate_series(1, 5) AS n",
        "wide",
        ["c0", "c1"],
    ),
}


@pytest.mark.parametrize("shape", sampled(SHAPES, 4))
@default("capture")
def test_odd_table_is_measured_and_left_as_it_was(installed, connect, shape, monkeypatch):
    # of what is odd, the other kinds of capture make no more
    monkeypatch.setattr(bench, "MODES", [bench.MODES[0], bench.MODES[-1]])
    setup, table, changed = SHAPES[shape]
    installed.execute(setup.encode())
    before = everything(installed)
    costs = measured(connect(installed), table, row_count=100)
    assert {c.capture for c in costs} == {"none", "rendered", "tolerant"}
    updates = {tuple(c.columns) for c in costs if c.write == "UPDATE"}
    assert updates == ({tuple(changed)} if changed else set())
    logged = [(c.write, c.log_rows) for c in costs if c.capture != "none"]
    assert logged == [(write, LOGGED[write]) for write, _ in logged]
    assert everything(installed) == before


def test_inheritance_parent_has_the_tolerant_capture_and_its_heirs_rows(installed):
    installed.execute("CREATE TABLE parents (id int PRIMARY KEY, a int)")
    installed.execute("CREATE TABLE heirs (b int) INHERITS (parents)")
    installed.execute("INSERT INTO parents VALUES (1, 1), (2, 2)")
    installed.execute("INSERT INTO heirs VALUES (2, 3), (3, 4)")  # 2 a second time
    costs = measured(installed, "parents")
    assert {c.capture for c in costs} == {"none", "tolerant", "tolerant, full image"}
    assert {c.sampled_rows for c in costs} == {3}
    assert {c.log_rows for c in costs if c.write == "INSERT" and c.capture != "none"} == {1}


@default("capture")
def test_link_has_one_image_and_no_column_to_update(albums, new):
    for n, (album,) in enumerate(albums.execute("SELECT id FROM albums").fetchall()):
        new.link(albums, album, new.artist(albums, f"Artist {n}"))
    costs = measured(albums, "album_artists")
    assert {c.capture for c in costs} == {"none", "rendered", "by statement", "tolerant"}
    assert {c.write for c in costs} == set(ALL) - {"UPDATE"}


def test_triggers_of_the_application_do_not_fire(installed):
    installed.execute("""
        CREATE TABLE guarded (id serial PRIMARY KEY, a int);
        INSERT INTO guarded (a) SELECT n FROM generate_series(1, 5) AS n;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''fired''; END';
        CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE ON guarded FOR EACH STATEMENT EXECUTE FUNCTION refuse();
        CREATE TRIGGER late AFTER UPDATE ON guarded FOR EACH ROW EXECUTE FUNCTION refuse()""")
    assert {c.write for c in measured(installed, "guarded")} == set(ALL)


def test_table_that_is_watched_keeps_its_watch_and_is_measured_with_its_redaction(albums, connect):
    watching.watch(albums, ["albums"], Options(redact=["label"], image="full"))
    before = everything(albums)
    seen = []

    def look(_):
        with bench_session.cursor() as cursor:
            found = cursor.execute(
                "SELECT before ->> 'label' FROM pg_temp.llamalog_bench_1_log WHERE op = 'D' LIMIT 1"
            ).fetchone()
            seen.append(found)

    bench_session = connect(albums)
    measured(bench_session, "albums", progress=look)
    assert everything(albums) == before
    assert {row[0] for row in seen if row} <= {None, "[redacted]"}


def test_type_that_another_table_has_is_no_obstacle(albums):
    albums.execute("CREATE SCHEMA shop; CREATE TABLE shop.albums (id int PRIMARY KEY, a int)")
    albums.execute("INSERT INTO shop.albums VALUES (1, 1), (2, 2)")
    assert {c.table for c in measured(albums, "shop.albums")} == {"shop.albums"}


def test_adopted_log_is_left_alone(albums):
    legacy.make(albums, albums=3)
    adopt.adopt(albums, "public.enrichment_logs")
    look = "SELECT (SELECT count(*) FROM llamalog.log), last_value FROM llamalog.adopted_seq"
    before = albums.execute(look).fetchone()
    assert {c.log_rows for c in measured(albums, "albums") if c.write == "DELETE"} == {0, 1}
    assert albums.execute(look).fetchone() == before


@default("capture")
def test_installer_who_is_no_superuser_can_measure(empty, connect):
    empty.execute("DROP ROLE IF EXISTS llamalog_test_measurer")
    empty.execute("CREATE ROLE llamalog_test_measurer LOGIN PASSWORD 'x'")
    name = empty.info.dbname
    empty.execute(f"ALTER DATABASE {name} OWNER TO llamalog_test_measurer".encode())
    owner = connect(empty, user="llamalog_test_measurer", password="x")
    migrate.migrate(owner)
    owner.execute("CREATE SCHEMA shop; CREATE TABLE shop.t (id int PRIMARY KEY, a int)")
    owner.execute("INSERT INTO shop.t VALUES (1, 1), (2, 2)")
    assert {c.capture for c in measured(owner, "shop.t")} == {
        "none",
        "rendered",
        "full image",
        "by statement",
        "tolerant",
    }


# -- nothing left behind, nobody in the way ---------------------------------------------------------------------------


def test_nobody_waits_and_nothing_is_locked_while_it_measures(albums, connect):
    other = connect(albums)
    other.execute("SET lock_timeout = '100ms'")
    bystander = connect(albums)
    pid = albums.info.backend_pid
    said = []

    def look(message):
        said.append(message)
        with other.transaction(force_rollback=True):
            other.execute("LOCK TABLE albums, llamalog.llama_logs, llamalog.watches NOWAIT")
            other.execute("ALTER TABLE albums ADD COLUMN later int")
        held = bystander.execute(
            "SELECT relation::regclass FROM pg_locks WHERE pid = %s AND relation IS NOT NULL", [pid]
        ).fetchall()
        assert held == []
        ((watching_waits,),) = bystander.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = %s AND locktype = 'advisory'", [pid]
        ).fetchall()
        assert watching_waits == 0

    measured(albums, "albums", progress=look)
    assert said == ["warming up", "round 1 of 1", "counting bytes"]


def test_nothing_is_left_behind(albums, connect):
    before = everything(albums)
    runner = connect(albums)
    measured(runner, "albums")
    assert everything(albums) == before
    with pytest.raises(CannotWatch):
        measured(runner, "albums", columns=["id"])
    assert everything(albums) == before


@pytest.mark.parametrize("way", sampled([signal.SIGKILL, signal.SIGINT], 2))
@pytest.mark.parametrize("moment", sampled(["round 1", "warming up", "counting bytes"]))
def test_nothing_is_left_behind_when_it_is_killed(albums, way, moment):
    before = everything(albums)
    run = subprocess.Popen(
        [
            *(sys.executable, "-m", "llamalog_sql", "bench", "albums"),
            *("--rounds", "1" if moment == "counting bytes" else "1000", "--rows", "6"),
        ],
        env={**os.environ, "LLAMALOG_DSN": dsn(albums)},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in run.stderr:
        if moment in line:
            break
    time.sleep(0.2)
    run.send_signal(way)
    assert run.wait(30) != 0
    deadline = time.monotonic() + 30
    while albums.execute(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone():
        assert time.monotonic() < deadline, "the server keeps the session"
        time.sleep(0.05)
    assert everything(albums) == before


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.fixture
def llamalog(installed):
    def run(*arguments, **more):
        runner = CliRunner(env={"LLAMALOG_DSN": dsn(installed), "COLUMNS": "80", **more})
        return runner.invoke(main, ["bench", *arguments], catch_exceptions=False)

    return run


@pytest.mark.parametrize(
    ("setup", "arguments", "error", "hint"),
    [
        ("", ["nix"], 'table "nix" does not exist (42P01)', "Name the table with its schema"),
        ("CREATE VIEW v AS SELECT 1 AS a", ["v"], "public.v is a view (LL009)", "Watch the tables"),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int)",
            ["t"],
            "public.t has no rows to take a sample of (LL009)",
            "a copy of the production database",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 1)",
            ["t"],
            "public.t has one row, too few to measure (LL009)",
            "a copy of the production database",
        ),
        (
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)",
            ["t"],
            "public.t has no key (LL009)",
            "Add a primary key",
        ),
        (
            "CREATE TABLE p (a int PRIMARY KEY) PARTITION BY HASH (a);"
            "CREATE TABLE p_1 PARTITION OF p FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
            ["p_1"],
            "public.p_1 is a partition of public.p (LL009)",
            "llamalog watch public.p",
        ),
        ("", ["llamalog.watches"], "llamalog.watches is part of the log (LL009)", "Watch the app"),
        ("t", ["t", "--column", "b"], "public.t has no column b (42703)", "Its columns are id, a"),
        (
            "t",
            ["t", "--column", "id"],
            "column id of public.t cannot be changed here (LL009)",
            "--column",
        ),
        (
            "t",
            ["t", "--column", "same"],
            "column same of public.t has the same value in every sampled row (LL009)",
            "--rows",
        ),
        (
            "CREATE TABLE t (id int PRIMARY KEY, low int, high int, CHECK (low < high));"
            "INSERT INTO t SELECT n, n, n + 1 FROM generate_series(1, 4) AS n",
            ["t", "--column", "low"],
            't: new row for relation "llamalog_bench_none" violates check constraint "t_check" (23514)',
            "name columns that allow it with --column",
        ),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line_with_a_hint(
    installed, llamalog, setup, arguments, error, hint
):
    if setup == "t":
        setup = (
            "CREATE TABLE t (id int PRIMARY KEY, a int, same int);"
            "INSERT INTO t VALUES (1, 1, 7), (2, 2, 7)"
        )
    installed.execute(setup.encode())
    result = llamalog(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"error: {error}" in result.stderr.splitlines()
    assert hint in result.stderr.splitlines()[-1]
    assert result.stderr.splitlines()[-1].startswith("hint: ")


@pytest.mark.parametrize("arguments", [[], ["t", "--rows", "1"], ["t", "--rounds", "0"]])
def test_misuse_exits_with_2(llamalog, arguments):
    assert llamalog(*arguments).exit_code == 2


def test_database_without_llamalog_is_told_to_install_it(empty):
    result = CliRunner(env={"LLAMALOG_DSN": dsn(empty)}).invoke(main, ["bench", "t"])
    assert (result.exit_code, result.stderr.splitlines()) == (
        1,
        [
            "error: llamalog is not installed in this database (LL001)",
            "hint: Run: llamalog migrate",
        ],
    )


def test_role_without_rights_is_refused(installed, connect):
    installed.execute("DROP ROLE IF EXISTS llamalog_test_nobody")
    installed.execute("CREATE ROLE llamalog_test_nobody LOGIN PASSWORD 'x'")
    installed.execute("CREATE TABLE t (id int PRIMARY KEY, a int)")
    installed.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        measured(connect(installed, user="llamalog_test_nobody", password="x"), "t")


def test_table_that_stays_locked_is_given_up(installed, connect, monkeypatch):
    monkeypatch.setattr(watching, "LOCK_TIMEOUT", "100ms")
    installed.execute("CREATE TABLE t (id int PRIMARY KEY, a int)")
    installed.execute("INSERT INTO t VALUES (1, 1), (2, 2)")
    runner = connect(installed)
    with installed.transaction():
        installed.execute("LOCK TABLE t")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            measured(runner, "t")
    assert measured(runner, "t")


def test_pooler_in_between_is_refused(installed):
    """It would hand the temporary tables on; it shows by a process id that is not the server's."""
    host, port = installed.info.host, installed.info.port
    listener = socket.create_server(("127.0.0.1", 0))

    def carry(source, target, change):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(change(data))

    def serve():
        client, _ = listener.accept()
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
        else:
            server = socket.create_connection((host, port))

        def another_id(data):
            at = data.find(b"K\0\0\0")
            return data if at < 0 else data[: at + 5] + b"\0\0\0\1" + data[at + 9 :]

        threading.Thread(target=carry, args=(server, client, another_id), daemon=True).start()
        carry(client, server, lambda data: data)

    threading.Thread(target=serve, daemon=True).start()
    address = {**psycopg.conninfo.conninfo_to_dict(dsn(installed)), "host": "127.0.0.1"}
    address |= {"port": listener.getsockname()[1], "sslmode": "disable", "gssencmode": "disable"}
    with (
        psycopg.connect(**address, autocommit=True) as conn,
        pytest.raises(LlamaLogError, match="a connection pooler stands in between") as refusal,
    ):
        measured(conn, "t")
    assert (refusal.value.sqlstate, refusal.value.hint) == (
        "58000",
        "Connect to the server itself.",
    )
    listener.close()


# -- how it is told ---------------------------------------------------------------------------------------------------


@pytest.fixture
def two_tables(installed):
    for name in ("t", "u"):
        installed.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, a int)".encode())
        installed.execute(
            f"INSERT INTO {name} SELECT n, n FROM generate_series(1, 4) AS n".encode()
        )


@pytest.mark.usefixtures("two_tables")
def test_answer_is_on_stdout_in_every_format_and_progress_on_stderr(llamalog, monkeypatch):
    monkeypatch.setattr(bench, "MODES", bench.MODES[:2])
    arguments = ["t", "u", "--rounds", "1"]
    table = llamalog(*arguments)
    assert table.exit_code == 0
    assert table.stderr.splitlines()[:2] == [
        "[🦙 LlamaLog] t: warming up",
        "[🦙 LlamaLog] t: round 1 of 1",
    ]
    lines = table.stdout.splitlines()
    assert re.fullmatch("🦙 public.t: 4 rows, 2 columns, 3. bytes a row; 4 sampled", lines[0])
    assert "UPDATE changes a" in lines
    assert "one row a statement, each committed" in lines
    assert "4 rows a statement" in lines
    assert lines[0].replace("public.t", "public.u") in lines
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]

    whole = json.loads(llamalog(*arguments, "--format", "json").stdout)
    assert len(whole) == 2 * 2 * 4 * 3
    assert {cost["table"] for cost in whole} == {"public.t", "public.u"}
    by_line = [
        json.loads(line) for line in llamalog(*arguments, "--format", "jsonl").stdout.splitlines()
    ]
    assert [list(cost) for cost in by_line] == [list(cost) for cost in whole]
    rows = list(csv.DictReader(io.StringIO(llamalog(*arguments, "--format", "csv").stdout)))
    assert [row["write"] for row in rows] == [cost["write"] for cost in whole]


@pytest.mark.usefixtures("two_tables")
def test_quiet_says_nothing_beside_the_answer(installed):
    result = CliRunner(env={"LLAMALOG_DSN": dsn(installed)}).invoke(
        main, ["-q", "bench", "t", "--rounds", "1"]
    )
    assert (result.exit_code, result.stderr) == (0, "")
