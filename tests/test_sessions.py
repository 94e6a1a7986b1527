"""Two sessions step by step at every isolation level: watched, all goes as it does unwatched, and the log has what was committed.

A scene is told as a script: who runs what, who then waits for whom. It is played on tables that are not watched and on such as
are, by each kind of capture; what every step answers must be the same, down to the SQLSTATE. Nothing sleeps: that a session
waits is read from pg_blocking_pids().
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from conftest import Clone, sampled

from llamalog_sql import watching
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]

READ_COMMITTED, REPEATABLE_READ, SERIALIZABLE = LEVELS = (
    "READ COMMITTED",
    "REPEATABLE READ",
    "SERIALIZABLE",
)

SCENE = """
CREATE SCHEMA {0};
CREATE TABLE {0}.accounts (id integer PRIMARY KEY, n integer NOT NULL, code text UNIQUE);
CREATE TABLE {0}.entries (
    id integer PRIMARY KEY,
    account_id integer NOT NULL REFERENCES {0}.accounts ON UPDATE CASCADE ON DELETE CASCADE,
    n integer
);
"""

ROWS = """
DELETE FROM accounts;
INSERT INTO accounts VALUES (1, 100, 'a'), (2, 100, 'b');
INSERT INTO entries VALUES (10, 1, 0);
"""

#: Schemas with the same tables: unwatched, and watched by each kind of capture with images, so that the log can be played.
CAPTURES = {"bare": None, "rendered": "rendered", "statement": "statement", "tolerant": "tolerant"}


@pytest.fixture(scope="module")
def bank(clone: Clone) -> Iterator[Connection]:
    with clone("music_template", "sessions") as conn:
        for schema, capture in CAPTURES.items():
            conn.execute(SCENE.format(schema).encode())
            if capture:
                for table in ("accounts", "entries"):
                    options = Options(
                        entity_type=f"{schema}_{table}", capture=capture, image="full"
                    )
                    watching.watch(conn, [f"{schema}.{table}"], options)
        yield conn


@dataclass
class Player:
    """Plays a script in two sessions of one schema, and keeps what each step answered."""

    bank: Connection
    schema: str
    sessions: dict[str, Connection]
    pool: ThreadPoolExecutor
    waiting: dict[str, tuple[int, Future[str]]] = field(default_factory=dict)
    heard: dict[int, str] = field(default_factory=dict)

    def play(self, script: list[tuple[str, str]]) -> list[str]:
        """Run steps (who, statement); a statement that begins with "waits:" must, until another step lets it go on.

        Returns the answer to each step: rows as text, the tag of the command, or the SQLSTATE.
        """
        for number, (who, statement) in enumerate(script):
            self._end_wait(who)
            must_wait = statement.startswith("waits:")
            conn = self.sessions[who]
            answer = self.pool.submit(self._answer, conn, statement.removeprefix("waits:"))
            if must_wait:
                self._until_it_waits(conn, answer)
                self.waiting[who] = (number, answer)
            else:
                self.heard[number] = answer.result(timeout=30)
        for who in list(self.waiting):
            self._end_wait(who)
        return [self.heard[number] for number in range(len(script))]

    def _end_wait(self, who: str) -> None:
        if who in self.waiting:
            number, answer = self.waiting.pop(who)
            self.heard[number] = answer.result(timeout=30)

    def _until_it_waits(self, conn: Connection, answer: Future[str]) -> None:
        query = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        while self.bank.execute(query, [conn.info.backend_pid]).fetchone() != (True,):
            assert not answer.done(), f"did not wait, but: {answer.result()}"

    @staticmethod
    def _answer(conn: Connection, statement: str) -> str:
        try:
            cursor = conn.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate or type(error).__name__
        if cursor.description:
            return "; ".join(",".join(map(str, row)) for row in cursor)
        return cursor.statusmessage or ""

    def tables(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The rows that are there, by table and key, as jsonb has them."""
        return {
            table: dict(
                self.bank.execute(
                    f"SELECT id::text, to_jsonb(t) FROM {self.schema}.{table} AS t".encode()
                ).fetchall()
            )
            for table in ("accounts", "entries")
        }

    def replayed(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The rows that the log says are there: each change must find what the one before it left."""
        state: dict[str, dict[str, dict[str, Any]]] = {"accounts": {}, "entries": {}}
        for op, kind, key, previous, before, after in self.bank.execute(
            "SELECT op, entity_type, entity_id, previous_id, before, after FROM llamalog.log"
            " WHERE entity_type LIKE %s ORDER BY seq",
            [f"{self.schema.upper()}\\_%"],
        ).fetchall():
            rows = state[kind.lower().removeprefix(f"{self.schema}_")]
            if op == "I":
                assert key not in rows
                rows[key] = after
            elif op == "D":
                assert rows.pop(key) == before
            else:
                row = rows.pop(previous or key)
                assert {name: row[name] for name in before} == before
                assert key not in rows
                rows[key] = row | after
        return state


@pytest.fixture
def player(bank: Connection, connect: Callable[..., Connection]) -> Iterator[Callable[..., Player]]:
    """player("rendered", level) begins with the rows of ROWS and a transaction in each of the sessions a and b."""
    pool = ThreadPoolExecutor(2)

    def begin(schema: str, level: str = READ_COMMITTED) -> Player:
        sessions = {name: connect(bank, application_name=f"{name} of {schema}") for name in "ab"}
        for name, conn in sessions.items():
            # of two that wait for each other it is b who finds out, at once
            patience = "1ms" if name == "b" else "1min"
            conn.execute(
                f"SET search_path = {schema}; SET deadlock_timeout = '{patience}'".encode()
            )
        sessions["a"].execute(ROWS.encode())
        for conn in sessions.values():
            conn.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        return Player(bank, schema, sessions, pool)

    yield begin
    pool.shutdown()


LOST_UPDATE = [
    ("a", "SELECT n FROM accounts WHERE id = 1"),
    ("b", "SELECT n FROM accounts WHERE id = 1"),
    ("a", "UPDATE accounts SET n = 100 + 10 WHERE id = 1"),
    ("b", "waits:UPDATE accounts SET n = 100 + 20 WHERE id = 1"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 1"),
]
INCREMENTS = [
    ("a", "UPDATE accounts SET n = n + 10 WHERE id = 1"),
    ("b", "waits:UPDATE accounts SET n = n + 20 WHERE id = 1"),
    ("a", "ROLLBACK"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 1"),
]
WRITE_SKEW = [
    ("a", "SELECT sum(n) FROM accounts"),
    ("b", "SELECT sum(n) FROM accounts"),
    ("a", "UPDATE accounts SET n = n - 150 WHERE id = 1"),
    ("b", "UPDATE accounts SET n = n - 150 WHERE id = 2"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT sum(n) FROM accounts"),
]
PHANTOM = [
    ("a", "SELECT count(*) FROM entries WHERE account_id = 2"),
    ("b", "SELECT count(*) FROM entries WHERE account_id = 2"),
    ("a", "INSERT INTO entries VALUES (21, 2, 1)"),
    ("b", "INSERT INTO entries VALUES (22, 2, 1)"),
    ("b", "COMMIT"),
    ("a", "COMMIT"),
    ("a", "SELECT count(*) FROM entries WHERE account_id = 2"),
]
DEADLOCK = [
    ("a", "UPDATE accounts SET n = 1 WHERE id = 1"),
    ("b", "UPDATE accounts SET n = 2 WHERE id = 2"),
    ("a", "waits:UPDATE accounts SET n = 1 WHERE id = 2"),
    ("b", "UPDATE accounts SET n = 2 WHERE id = 1"),
    ("b", "ROLLBACK"),
    ("a", "COMMIT"),
    ("a", "SELECT id, n FROM accounts ORDER BY id"),
]
UPSERTS = [
    (
        "a",
        "INSERT INTO accounts VALUES (3, 1, 'c') ON CONFLICT (id) DO UPDATE SET n = accounts.n + 1",
    ),
    (
        "b",
        "waits:INSERT INTO accounts VALUES (3, 1, 'c') ON CONFLICT (id) DO UPDATE SET n = accounts.n + 1",
    ),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 3"),
]
UPSERT_AFTER_ROLLBACK = [
    ("a", "INSERT INTO accounts VALUES (3, 1, 'c')"),
    ("b", "waits:INSERT INTO accounts VALUES (3, 7, 'c') ON CONFLICT DO NOTHING"),
    ("a", "ROLLBACK"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 3"),
]
INSERT_TWICE = [
    ("a", "INSERT INTO accounts VALUES (3, 1, 'c')"),
    ("b", "waits:INSERT INTO accounts VALUES (3, 2, 'd')"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 3"),
]
DELETED_AND_MADE_AGAIN = [
    ("a", "DELETE FROM accounts WHERE id = 2"),
    ("b", "waits:INSERT INTO accounts VALUES (2, 5, 'x')"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 2"),
]
CASCADE_AFTER_CHILD = [
    ("a", "INSERT INTO entries VALUES (21, 2, 1)"),
    ("b", "waits:DELETE FROM accounts WHERE id = 2"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT (SELECT count(*) FROM accounts) AS a, (SELECT count(*) FROM entries) AS e"),
]
CHILD_AFTER_CASCADE = [
    ("a", "DELETE FROM accounts WHERE id = 1"),
    ("b", "waits:INSERT INTO entries VALUES (11, 1, 1)"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT count(*) FROM entries"),
]
KEY_MOVES_UNDER_CHILD = [
    ("a", "UPDATE accounts SET id = 7 WHERE id = 1"),
    ("b", "waits:UPDATE entries SET n = 5 WHERE id = 10"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT account_id, n FROM entries"),
]
KEY_SWAP = [
    ("a", "UPDATE accounts SET id = 3 WHERE id = 1"),
    ("b", "waits:UPDATE accounts SET id = 1 WHERE id = 2"),
    ("a", "UPDATE entries SET n = 1"),
    ("a", "COMMIT"),
    ("b", "UPDATE accounts SET id = 2 WHERE id = 3"),
    ("b", "COMMIT"),
    ("b", "SELECT id, code FROM accounts ORDER BY id"),
]
FOR_UPDATE = [
    ("a", "SELECT n FROM accounts WHERE id = 1 FOR UPDATE"),
    ("b", "waits:UPDATE accounts SET n = n + 1 WHERE id = 1"),
    ("a", "UPDATE accounts SET n = n * 2 WHERE id = 1"),
    ("a", "COMMIT"),
    ("b", "COMMIT"),
    ("b", "SELECT n FROM accounts WHERE id = 1"),
]
SKIP_LOCKED = [
    ("a", "SELECT id FROM accounts ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED"),
    (
        "b",
        "UPDATE accounts SET n = 0 WHERE id IN (SELECT id FROM accounts ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
    ),
    ("a", "UPDATE accounts SET n = 1 WHERE id = 1"),
    ("b", "COMMIT"),
    ("a", "COMMIT"),
    ("a", "SELECT id, n FROM accounts ORDER BY id"),
]

#: What is played: the script, and what its steps answer at each level.
PLAYS = {
    "lost update": (
        LOST_UPDATE,
        ["100", "100", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "120"],
        ["100", "100", "UPDATE 1", "40001", "COMMIT", "ROLLBACK", "110"],
        ["100", "100", "UPDATE 1", "40001", "COMMIT", "ROLLBACK", "110"],
    ),
    "increment after a rollback": (
        INCREMENTS,
        ["UPDATE 1", "UPDATE 1", "ROLLBACK", "COMMIT", "120"],
        ["UPDATE 1", "UPDATE 1", "ROLLBACK", "COMMIT", "120"],
        ["UPDATE 1", "UPDATE 1", "ROLLBACK", "COMMIT", "120"],
    ),
    "write skew": (
        WRITE_SKEW,
        ["200", "200", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "-100"],
        ["200", "200", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "-100"],
        ["200", "200", "UPDATE 1", "UPDATE 1", "COMMIT", "40001", "50"],
    ),
    "phantom": (
        PHANTOM,
        ["0", "0", "INSERT 0 1", "INSERT 0 1", "COMMIT", "COMMIT", "2"],
        ["0", "0", "INSERT 0 1", "INSERT 0 1", "COMMIT", "COMMIT", "2"],
        ["0", "0", "INSERT 0 1", "INSERT 0 1", "COMMIT", "40001", "1"],
    ),
    "deadlock": (
        DEADLOCK,
        ["UPDATE 1", "UPDATE 1", "UPDATE 1", "40P01", "ROLLBACK", "COMMIT", "1,1; 2,1"],
        ["UPDATE 1", "UPDATE 1", "UPDATE 1", "40P01", "ROLLBACK", "COMMIT", "1,1; 2,1"],
        ["UPDATE 1", "UPDATE 1", "UPDATE 1", "40P01", "ROLLBACK", "COMMIT", "1,1; 2,1"],
    ),
    "two upserts": (
        UPSERTS,
        ["INSERT 0 1", "INSERT 0 1", "COMMIT", "COMMIT", "2"],
        ["INSERT 0 1", "40001", "COMMIT", "ROLLBACK", "1"],
        ["INSERT 0 1", "40001", "COMMIT", "ROLLBACK", "1"],
    ),
    "upsert after a rollback": (
        UPSERT_AFTER_ROLLBACK,
        ["INSERT 0 1", "INSERT 0 1", "ROLLBACK", "COMMIT", "7"],
        ["INSERT 0 1", "INSERT 0 1", "ROLLBACK", "COMMIT", "7"],
        ["INSERT 0 1", "INSERT 0 1", "ROLLBACK", "COMMIT", "7"],
    ),
    "one key inserted twice": (
        INSERT_TWICE,
        ["INSERT 0 1", "23505", "COMMIT", "ROLLBACK", "1"],
        ["INSERT 0 1", "23505", "COMMIT", "ROLLBACK", "1"],
        ["INSERT 0 1", "23505", "COMMIT", "ROLLBACK", "1"],
    ),
    "deleted and made again": (
        DELETED_AND_MADE_AGAIN,
        ["DELETE 1", "INSERT 0 1", "COMMIT", "COMMIT", "5"],
        ["DELETE 1", "INSERT 0 1", "COMMIT", "COMMIT", "5"],
        ["DELETE 1", "INSERT 0 1", "COMMIT", "COMMIT", "5"],
    ),
    "cascade takes the new child": (
        CASCADE_AFTER_CHILD,
        ["INSERT 0 1", "DELETE 1", "COMMIT", "COMMIT", "1,1"],
        ["INSERT 0 1", "40001", "COMMIT", "ROLLBACK", "2,2"],
        ["INSERT 0 1", "40001", "COMMIT", "ROLLBACK", "2,2"],
    ),
    "child of what is gone": (
        CHILD_AFTER_CASCADE,
        ["DELETE 1", "23503", "COMMIT", "ROLLBACK", "0"],
        ["DELETE 1", "40001", "COMMIT", "ROLLBACK", "0"],
        ["DELETE 1", "40001", "COMMIT", "ROLLBACK", "0"],
    ),
    "key moves under a child": (
        KEY_MOVES_UNDER_CHILD,
        ["UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "7,5"],
        ["UPDATE 1", "40001", "COMMIT", "ROLLBACK", "7,0"],
        ["UPDATE 1", "40001", "COMMIT", "ROLLBACK", "7,0"],
    ),
    "keys swapped": (
        KEY_SWAP,
        ["UPDATE 1", "UPDATE 1", "UPDATE 1", "COMMIT", "UPDATE 1", "COMMIT", "1,b; 2,a"],
        ["UPDATE 1", "UPDATE 1", "UPDATE 1", "COMMIT", "UPDATE 0", "COMMIT", "1,b; 3,a"],
        ["UPDATE 1", "40001", "UPDATE 1", "COMMIT", "25P02", "ROLLBACK", "2,b; 3,a"],
    ),
    "select for update": (
        FOR_UPDATE,
        ["100", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "201"],
        ["100", "40001", "UPDATE 1", "COMMIT", "ROLLBACK", "200"],
        ["100", "40001", "UPDATE 1", "COMMIT", "ROLLBACK", "200"],
    ),
    "skip locked": (
        SKIP_LOCKED,
        ["1", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "1,1; 2,0"],
        ["1", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "1,1; 2,0"],
        ["1", "UPDATE 1", "UPDATE 1", "COMMIT", "COMMIT", "1,1; 2,0"],
    ),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("play", PLAYS)
@pytest.mark.parametrize("schema", ["rendered", *sampled(["statement", "tolerant"], every=3)])
def test_two_sessions_fare_as_they_do_unwatched_and_the_log_is_what_was_committed(
    player, schema, play, level
):
    script, *answers = PLAYS[play]
    expected = answers[LEVELS.index(level)]
    assert player("bare", level).play(script) == expected
    watched = player(schema, level)
    assert watched.play(script) == expected
    assert watched.replayed() == watched.tables()


def test_changes_of_one_entity_stand_in_the_order_of_their_commits(player, bank, changes):
    """b began first, and wrote the other account first; of account 1 the changes stand as the lock let them through."""
    played = player("rendered")
    played.play(
        [
            ("b", "UPDATE accounts SET n = 1 WHERE id = 2"),
            ("a", "UPDATE accounts SET n = 2 WHERE id = 1"),
            ("b", "waits:UPDATE accounts SET n = 3 WHERE id = 1"),
            ("a", "COMMIT"),
            ("b", "COMMIT"),
        ]
    )
    assert changes(bank, "triggered_by, before, after", entity_type="RENDERED_ACCOUNTS", op="U")[
        -3:
    ] == [
        ("b of rendered", {"n": 100}, {"n": 1}),
        ("a of rendered", {"n": 100}, {"n": 2}),
        ("b of rendered", {"n": 2}, {"n": 3}),
    ]


@pytest.mark.parametrize("schema", ["rendered", "tolerant"])
def test_writer_waits_for_a_prepared_transaction_and_is_logged_after_it(player, bank, schema):
    played = player(schema)
    heard = played.play(
        [
            ("a", "UPDATE accounts SET n = 1 WHERE id = 1"),
            ("a", "INSERT INTO accounts VALUES (3, 1, 'c')"),
            ("a", "PREPARE TRANSACTION 'first'"),
            ("b", "waits:UPDATE accounts SET n = n + 1 WHERE id = 1"),
            ("a", "COMMIT PREPARED 'first'"),
            ("b", "PREPARE TRANSACTION 'second'"),
            ("a", "ROLLBACK PREPARED 'second'"),
            ("b", "SELECT n FROM accounts ORDER BY id"),
        ]
    )
    assert heard[2:] == [
        "PREPARE TRANSACTION",
        "UPDATE 1",
        "COMMIT PREPARED",
        "PREPARE TRANSACTION",
        "ROLLBACK PREPARED",
        "1; 100; 1",
    ]
    assert played.replayed() == played.tables()


@pytest.mark.parametrize("schema", ["rendered", "tolerant"])
def test_second_connection_of_a_transaction_is_logged_though_the_first_is_rolled_back(
    player, bank, changes, schema
):
    """As dblink or a library does that keeps notes of its own."""
    played = player(schema)
    played.play(
        [
            ("a", "SELECT llamalog.set_context(source => 'enrichment', job_id => 'both')"),
            ("b", "SELECT llamalog.set_context(source => 'enrichment', job_id => 'both')"),
            ("a", "INSERT INTO accounts VALUES (3, 1, 'gone')"),
            ("b", "INSERT INTO accounts VALUES (4, 1, 'kept')"),
            ("b", "COMMIT"),
            ("a", "ROLLBACK"),
        ]
    )
    kind = f"{schema}_accounts".upper()
    assert changes(bank, "entity_id, root_job_id", entity_type=kind)[-1] == ("4", "both")
    assert played.replayed() == played.tables()


# -- one session ------------------------------------------------------------------------------------------------------


@pytest.fixture
def teller(bank: Connection, connect: Callable[..., Connection]) -> Callable[..., Connection]:
    """teller("rendered") is a session in that schema, which has the rows of ROWS."""

    def open_session(schema: str) -> Connection:
        conn = connect(bank)
        conn.execute(f"SET search_path = {schema}".encode())
        conn.execute(ROWS.encode())
        return conn

    return open_session


def logged(conn: Connection, schema: str, table: str = "accounts") -> list[tuple[str, str]]:
    """(op, id) of what was logged since ROWS."""
    rows = [
        tuple(row)
        for row in conn.execute(
            "SELECT op, entity_id FROM llamalog.log WHERE entity_type = %s ORDER BY seq",
            [f"{schema}_{table}".upper()],
        )
    ]
    began = max(number for number, row in enumerate(rows) if row == ("I", "2"))
    return rows[began + 1 :]


each_schema = pytest.mark.parametrize("schema", sampled(["rendered", "statement", "tolerant"]))


@each_schema
def test_of_a_thousand_savepoints_those_released_are_logged(teller, schema):
    conn = teller(schema)
    conn.execute(
        (
            "BEGIN;"
            + "".join(
                f"SAVEPOINT s; INSERT INTO accounts VALUES ({n}, {n});"
                f"{'ROLLBACK TO s' if n % 2 else 'RELEASE s'};"
                for n in range(1000, 2000)
            )
            + "COMMIT"
        ).encode()
    )
    kept = [("I", str(n)) for n in range(1000, 2000, 2)]
    assert logged(conn, schema) == kept


@each_schema
def test_of_two_hundred_nested_savepoints_those_not_rolled_back_are_logged(teller, schema):
    conn = teller(schema)
    down = [f"SAVEPOINT s{n}; UPDATE accounts SET n = {n} WHERE id = 1" for n in range(200)]
    # back to every second one, from the innermost out; each time another row goes on from there
    up = [
        f"ROLLBACK TO s{n}; INSERT INTO accounts VALUES ({1000 + n}, (SELECT n FROM accounts WHERE id = 1))"
        for n in range(198, 99, -2)
    ]
    conn.execute(";".join(["BEGIN", *down, *up, "COMMIT"]).encode())
    assert conn.execute("SELECT n FROM accounts WHERE id >= 1 ORDER BY id").fetchall() == [
        (99,),
        (100,),
        (99,),
    ]
    assert logged(conn, schema) == [("U", "1")] * 100 + [("I", "1100")]


@each_schema
def test_errors_that_a_function_catches_take_their_rows_and_context_with_them(
    teller, changes, schema
):
    conn = teller(schema)
    conn.execute(
        """
        DO $$
        BEGIN
            FOR i IN 1 .. 100 LOOP
                PERFORM set_config('llamalog.source', 'outer', true);
                BEGIN
                    PERFORM set_config('llamalog.source', 'inner', true);
                    INSERT INTO accounts VALUES (1000 + i, i);
                    UPDATE accounts SET n = 1 / (i % 2) WHERE id = 1000 + i;
                EXCEPTION
                    WHEN division_by_zero THEN
                        INSERT INTO accounts VALUES (2000 + i, i);
                END;
            END LOOP;
        END $$
        """
    )
    expected = []
    for i in range(1, 101):
        # 1 / 1 changes nothing where n is 1 already
        kept = [("I", str(1000 + i)), *([("U", str(1000 + i))] if i > 1 else [])]
        expected += kept if i % 2 else [("I", str(2000 + i))]
    assert logged(conn, schema) == expected
    assert set(
        changes(
            conn, "source, entity_id >= '2000'", entity_type=f"{schema}_accounts".upper(), op="I"
        )[-100:]
    ) == {("inner", False), ("outer", True)}


@each_schema
def test_cursor_with_hold_writes_the_rest_at_commit_under_the_same_context(teller, changes, schema):
    conn = teller(schema)
    conn.execute(
        "CREATE OR REPLACE FUNCTION pg_temp.put(n integer) RETURNS integer LANGUAGE sql AS"
        " 'INSERT INTO accounts VALUES (1000 + $1, $1) RETURNING id'"
    )
    conn.execute("BEGIN; SET LOCAL llamalog.user_id = 'ann'")
    conn.execute(
        "DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT pg_temp.put(n) FROM generate_series(1, 5) AS n"
    )
    assert conn.execute("FETCH 2 FROM c").fetchall() == [(1001,), (1002,)]
    conn.execute("COMMIT")
    assert conn.execute("FETCH ALL FROM c").fetchall() == [(1003,), (1004,), (1005,)]
    conn.execute("CLOSE c; DELETE FROM accounts WHERE id = 1005")
    kind = f"{schema}_accounts".upper()
    assert changes(conn, "op, entity_id, user_id", entity_type=kind)[-6:] == [
        *[("I", str(1000 + n), "ann") for n in range(1, 6)],
        ("D", "1005", None),
    ]


@each_schema
def test_write_at_the_place_of_a_cursor_is_logged(teller, schema):
    conn = teller(schema)
    conn.execute(
        "BEGIN; DECLARE c CURSOR FOR SELECT * FROM accounts ORDER BY id FOR UPDATE; FETCH c;"
        "UPDATE accounts SET n = 5 WHERE CURRENT OF c; FETCH c; DELETE FROM accounts WHERE CURRENT OF c;"
        "COMMIT"
    )
    assert logged(conn, schema) == [("U", "1"), ("D", "2")]


@each_schema
def test_context_ends_with_each_commit_inside_a_procedure(teller, changes, schema):
    conn = teller(schema)
    conn.execute(
        """
        CREATE OR REPLACE PROCEDURE pg_temp.work() LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM llamalog.set_context(source => 'first', job_id => 'one');
            UPDATE accounts SET n = 1 WHERE id = 1;
            COMMIT;
            UPDATE accounts SET n = 2 WHERE id = 1;
            COMMIT;
            PERFORM llamalog.set_context(source => 'third', job_id => 'three');
            UPDATE accounts SET n = 3 WHERE id = 1;
            ROLLBACK;
            UPDATE accounts SET n = 4 WHERE id = 1;
        END $$
        """
    )
    conn.execute("CALL pg_temp.work()")
    rows = changes(
        conn,
        "source, after, CASE WHEN job_id LIKE 'tx:%%' THEN 'its transaction' ELSE job_id END AS job, job_id",
        entity_type=f"{schema}_accounts".upper(),
        op="U",
    )[-3:]
    assert [row[:3] for row in rows] == [
        ("first", {"n": 1}, "one"),
        (None, {"n": 2}, "its transaction"),
        (None, {"n": 4}, "its transaction"),
    ]
    assert rows[1][3] != rows[2][3]


# -- shapes and snapshots ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", sampled(reversed(LEVELS)))
def test_first_writers_after_a_change_of_the_table_do_not_fail_each_other(
    bank, connect, changes, level
):
    """The tolerant capture makes its queries anew for the new shape, and keeps them for others: no two may conflict over that."""
    bank.execute("DROP TABLE IF EXISTS notes; CREATE TABLE notes (id integer PRIMARY KEY, v text)")
    watching.watch(
        bank, ["notes"], Options(entity_type=f"note_{LEVELS.index(level)}", capture="tolerant")
    )
    bank.execute("INSERT INTO notes VALUES (1, 'a'), (2, 'a')")
    sessions = [connect(bank), connect(bank)]
    bank.execute("ALTER TABLE notes ADD extra text")
    for session in sessions:
        session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        session.execute("SET LOCAL lock_timeout = '5s'; SELECT count(*) FROM pg_class")
    for number, session in enumerate(sessions, 1):
        session.execute("UPDATE notes SET extra = 'x' WHERE id = %s", [number])
    for session in sessions:
        session.execute("COMMIT")
    assert changes(bank, "entity_id, after", entity_type=f"NOTE_{LEVELS.index(level)}", op="U") == [
        ("1", {"extra": "x"}),
        ("2", {"extra": "x"}),
    ]


@pytest.mark.parametrize("level", sampled(reversed(LEVELS)))
def test_transactions_that_say_which_job_caused_them_do_not_fail_each_other(bank, connect, level):
    """Each looks for the root of the job above it among the jobs, and adds its own."""
    bank.execute("SELECT llamalog.start_job('sweep', root_job_id => 'first')")
    sessions = {name: connect(bank) for name in ("left", "right")}
    for session in sessions.values():
        session.execute(f"BEGIN ISOLATION LEVEL {level}".encode())
        session.execute("SELECT count(*) FROM pg_class")
    jobs = [f"{name} {level} {turn}" for turn in (1, 2) for name in sessions]
    for job in jobs:
        sessions[job.split()[0]].execute(
            "SELECT llamalog.set_context(source => 'enrichment', job_id => %s, parent_job_id => 'sweep')",
            [job],
        )
    for session in sessions.values():
        session.execute("COMMIT")
    roots = bank.execute(
        "SELECT root_job_id FROM llamalog.jobs WHERE job_id = ANY (%s)", [jobs]
    ).fetchall()
    assert roots == [("sweep" if level == SERIALIZABLE else "first",)] * 4
