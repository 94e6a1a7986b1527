"""make soak: everything at once for half an hour, and then the proof that the log has all of it, once and in its order.

Sixteen clients write in every way; tables change under them; backends are killed, the server with them now and then, or it is
stopped at once; months are made. Each client remembers what was committed. Now and then, and in the end, all stop, and what they
remember is compared with the rows and with the log: see `prove`, the only place to change where another proof is to be tried.

    python tests/soak.py --seconds 1800 --clients 16 --seed 7

Ends with 0 when nothing was found, else with 1. All that it starts ends with it.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from conftest import fast_place
from crashing import Server, is_end_of, refuse_silence
from psycopg.rows import tuple_row

from llamalog_sql import installation, migrate, reconciling, watching
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.watching import Options

Connection = psycopg.Connection[Any]

SCHEMA = """
CREATE TABLE marks (mark text PRIMARY KEY);
CREATE TABLE wholes (
    id      bigint PRIMARY KEY,
    version integer NOT NULL,
    note    text,
    tags    text[],
    data    jsonb
);
CREATE TABLE parts (
    id       bigint PRIMARY KEY,
    whole_id bigint NOT NULL REFERENCES wholes ON DELETE CASCADE ON UPDATE CASCADE,
    version  integer NOT NULL,
    amount   numeric
);
CREATE INDEX ON parts (whole_id);
CREATE TABLE readings (
    id      bigint,
    day     date,
    version integer NOT NULL,
    value   double precision,
    PRIMARY KEY (id, day)
) PARTITION BY RANGE (day);
CREATE TABLE readings_1 PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE readings_2 PARTITION OF readings FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE scratches (
    id      bigint PRIMARY KEY,
    version integer NOT NULL
);
"""
TYPES = {"WHOLE": "wholes", "PART": "parts", "READING": "readings", "SCRATCH": "scratches"}

#: What a client may meet that is no fault of the log: a deadlock, of two clients or with a change of a table.
FORGIVEN = {"40P01", "55P03"}

Row = tuple[str, str]
Event = tuple[str, int]


class Failed(Exception):
    """The soak has found something."""


# -- those who write --------------------------------------------------------------------------------------------------


class Client:
    """Writes rows of its own (ids that are its number modulo 1000), and remembers what was committed."""

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.random = random.Random(seed)
        self.count = 0
        self.next_id = number
        self.rows: dict[Row, int] = {}
        self.wholes: dict[int, set[int]] = {}  # with their parts
        self.days: dict[int, str] = {}  # of readings
        self.events: dict[Row, list[Event]] = defaultdict(list)
        self.in_doubt: tuple[str, Callable[[], None]] | None = None
        self.met: Counter[str] = Counter()

    def id(self) -> int:
        self.next_id += 1000
        return self.next_id

    def transact(self, conn: Connection) -> None:
        self.count += 1
        mark = f"client {self.number}-{self.count}"
        kept = dict(self.rows), {k: set(v) for k, v in self.wholes.items()}, dict(self.days)
        self.made: list[tuple[Row, Event]] = []

        def forget() -> None:
            self.rows, self.wholes, self.days = kept

        def keep(made: list[tuple[Row, Event]] = self.made) -> None:
            for row, event in made:
                self.events[row].append(event)

        self.in_doubt = (mark, lambda: None)
        self._fates = (keep, forget)
        is_undone = self.random.random() < 0.1
        with conn.transaction(force_rollback=is_undone):
            conn.execute("SELECT set_config('llamalog.job_id', %s, true)", [mark])
            conn.execute("INSERT INTO marks VALUES (%s)", [mark])
            for _ in range(self.random.randint(1, 3)):
                way = self.random.choice(WAYS)
                way(self, conn)
                self.met[way.__name__.strip("_")] += 1
        refuse_silence(conn)
        (forget if is_undone else keep)()
        self.in_doubt = None

    def settle(self, conn: Connection) -> None:
        """Learn what became of the transaction that was at work when something broke."""
        if self.in_doubt is None:
            return
        keep, forget = self._fates
        # not just a look: of a backend killed in its COMMIT nobody knows before the recovery, for which this waits
        with conn.transaction(force_rollback=True):
            is_new = conn.execute(
                "INSERT INTO marks VALUES (%s) ON CONFLICT DO NOTHING", [self.in_doubt[0]]
            ).rowcount
        refuse_silence(conn)
        (forget if is_new else keep)()
        self.in_doubt = None

    def note(
        self, entity_type: str, entity_id: object, op: str, version: int, *, is_shown: bool = True
    ) -> None:
        """Remember a change.  is_shown: whether its images hold the version; an INSERT has none."""
        row = (entity_type, str(entity_id))
        self.made.append((row, (op, version if is_shown and op != "I" else 0)))
        if op in "DT":
            self.rows.pop(row, None)
        else:
            self.rows[row] = version

    # -- the ways to write ----------------------------------------------------

    def _some(self, count: int = 1) -> list[int]:
        return self.random.sample(sorted(self.wholes), min(count, len(self.wholes)))

    def _new_whole(self, number: int) -> None:
        self.wholes[number] = set()
        self.note("WHOLE", number, "I", 1)

    def _changed(self, numbers: list[int]) -> None:
        for number in numbers:
            self.note("WHOLE", number, "U", self.rows["WHOLE", str(number)] + 1)

    def insert(self, conn: Connection) -> None:
        number = self.id()
        conn.execute(
            "INSERT INTO wholes VALUES (%s, 1, %s, '{a,NULL}', '{\"x\": 1.0}')", [number, "é" * 3]
        )
        self._new_whole(number)
        for _ in range(self.random.randint(0, 3)):
            part = self.id()
            conn.execute("INSERT INTO parts VALUES (%s, %s, 1, 1.50)", [part, number])
            self.wholes[number].add(part)
            self.note("PART", part, "I", 1)

    def copy(self, conn: Connection) -> None:
        numbers = [self.id() for _ in range(self.random.randint(1, 20))]
        with conn.cursor().copy("COPY wholes (id, version) FROM STDIN") as copy:
            for number in numbers:
                copy.write_row((number, 1))
        for number in numbers:
            self._new_whole(number)

    def update(self, conn: Connection) -> None:
        if numbers := self._some(self.random.choice([1, 1, 5])):
            conn.execute(
                "UPDATE wholes SET version = version + 1, note = %s, data = data || '{\"y\": null}'"
                " WHERE id = ANY (%s)",
                [str(self.count), numbers],
            )
            self._changed(numbers)

    def update_to_the_same(self, conn: Connection) -> None:
        conn.execute("UPDATE wholes SET note = note WHERE id = ANY (%s)", [self._some(3)])

    def upsert(self, conn: Connection) -> None:
        old, new = self._some(2), self.id()
        conn.execute(
            "INSERT INTO wholes (id, version) SELECT id, 1 FROM unnest(%s::bigint[]) AS id"
            " ON CONFLICT (id) DO UPDATE SET version = wholes.version + 1",
            [[*old, new]],
        )
        self._changed(old)
        self._new_whole(new)

    def merge(self, conn: Connection) -> None:
        old, new, gone = self._some(1), self.id(), None
        if parts := [(p, w) for w in self._some(3) for p in self.wholes[w]]:
            gone = self.random.choice(parts)
        conn.execute(
            "MERGE INTO wholes USING unnest(%s::bigint[]) AS wanted (id) ON wholes.id = wanted.id"
            " WHEN MATCHED THEN UPDATE SET version = wholes.version + 1, note = 'merged'"
            " WHEN NOT MATCHED THEN INSERT (id, version) VALUES (wanted.id, 1)",
            [[*old, new]],
        )
        self._changed(old)
        self._new_whole(new)
        if gone:
            part, whole = gone
            conn.execute(
                "MERGE INTO parts USING (VALUES (%s::bigint)) AS gone (id) ON parts.id = gone.id"
                " WHEN MATCHED THEN DELETE",
                [part],
            )
            self.wholes[whole].discard(part)
            self.note("PART", part, "D", self.rows["PART", str(part)])

    def cte(self, conn: Connection) -> None:
        """Two tables in one statement."""
        if numbers := self._some():
            part = self.id()
            conn.execute(
                "WITH changed AS (UPDATE wholes SET version = version + 1 WHERE id = %s RETURNING id)"
                " INSERT INTO parts SELECT %s, changed.id, 1, NULL FROM changed",
                [numbers[0], part],
            )
            self._changed(numbers)
            self.wholes[numbers[0]].add(part)
            self.note("PART", part, "I", 1)

    def cascade(self, conn: Connection) -> None:
        if len(self.wholes) > 30:
            for number in self._some(self.random.randint(1, 8)):
                conn.execute("DELETE FROM wholes WHERE id = %s", [number])
                self.note("WHOLE", number, "D", self.rows["WHOLE", str(number)])
                for part in self.wholes.pop(number):
                    self.note("PART", part, "D", self.rows["PART", str(part)])

    def change_key(self, conn: Connection) -> None:
        if numbers := self._some():
            old, new = numbers[0], self.id()
            conn.execute(
                "UPDATE wholes SET id = %s, version = version + 1 WHERE id = %s", [new, old]
            )
            version = self.rows.pop(("WHOLE", str(old)))
            self.wholes[new] = self.wholes.pop(old)
            self.note("WHOLE", new, "U", version + 1)
            for part in self.wholes[new]:
                # the cascade changes what it belongs to, and nothing else
                self.note("PART", part, "U", self.rows["PART", str(part)], is_shown=False)

    def savepoints(self, conn: Connection) -> None:
        numbers = self._some(2)
        with conn.transaction(force_rollback=True):
            conn.execute("UPDATE wholes SET version = 1000000 WHERE id = ANY (%s)", [numbers])
            with conn.transaction():
                conn.execute("DELETE FROM wholes WHERE id = ANY (%s)", [numbers])
        with conn.transaction():
            self.update(conn)

    def move(self, conn: Connection) -> None:
        """Readings come, change, and move to another partition."""
        if self.days and self.random.random() < 0.7:
            number = self.random.choice(sorted(self.days))
            old = self.days[number]
            new = f"2026-0{3 - int(old[6])}-{old[8:]}" if self.random.random() < 0.5 else old
            conn.execute(
                "UPDATE readings SET day = %s, version = version + 1, value = '-0' WHERE id = %s",
                [new, number],
            )
            version = self.rows["READING", f"{number},{old}"]
            if new == old:
                self.note("READING", f"{number},{old}", "U", version + 1)
            else:
                self.note("READING", f"{number},{old}", "D", version)
                self.note("READING", f"{number},{new}", "I", version + 1)
            self.days[number] = new
        else:
            number, day = (
                self.id(),
                f"2026-0{self.random.randint(1, 2)}-{self.random.randint(10, 28)}",
            )
            conn.execute("INSERT INTO readings VALUES (%s, %s, 1, 'NaN')", [number, day])
            self.days[number] = day
            self.note("READING", f"{number},{day}", "I", 1)

    def truncate(self, conn: Connection) -> None:
        """Only one of them: who truncates is alone."""
        if self.number != 0:
            return
        numbers = [self.id() for _ in range(3)]
        conn.execute(
            "INSERT INTO scratches SELECT id, 1 FROM unnest(%s::bigint[]) AS id", [numbers]
        )
        for number in numbers:
            self.note("SCRATCH", number, "I", 1)
        if self.random.random() < 0.3:
            removed = [row for row in self.rows if row[0] == "SCRATCH"]
            conn.execute("TRUNCATE scratches")
            for _, number in removed:
                self.note("SCRATCH", number, "T", 1)


WAYS = [
    *([Client.insert] * 2),
    Client.copy,
    *([Client.update] * 3),
    Client.update_to_the_same,
    Client.upsert,
    Client.merge,
    Client.cte,
    *([Client.cascade] * 2),
    Client.change_key,
    Client.savepoints,
    *([Client.move] * 2),
    Client.truncate,
]


# -- those who disturb ------------------------------------------------------------------------------------------------


def change_tables(conn: Connection, chosen: random.Random) -> str:
    """One change of a watched table, as deploys make them; sometimes llamalog migrate follows."""
    table = chosen.choice(["wholes", "parts", "readings"])
    statement = chosen.choice(
        [
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS extra text",
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS other integer DEFAULT 5",
            f"ALTER TABLE {table} DROP COLUMN IF EXISTS extra",
            f"ALTER TABLE {table} DROP COLUMN IF EXISTS other",
            "ALTER TABLE wholes ALTER COLUMN note TYPE varchar(200)",
            "ALTER TABLE wholes ALTER COLUMN note TYPE text",
            "CREATE TABLE IF NOT EXISTS readings_3 PARTITION OF readings FOR VALUES FROM ('2026-03-01') TO ('2026-04-01')",
            "DROP TABLE IF EXISTS readings_3",
            f"CREATE INDEX IF NOT EXISTS {table}_version_idx ON {table} (version)",
            f"DROP INDEX IF EXISTS {table}_version_idx",
            f"ALTER TABLE {table} ADD CONSTRAINT version_counts CHECK (version > 0) NOT VALID",
            f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS version_counts",
            "migrate",
            "migrate",
        ]
    )
    if statement == "migrate":
        migrate.migrate(conn)
    else:
        with conn.transaction():
            conn.execute("SET LOCAL lock_timeout = '500ms'")
            conn.execute("SET LOCAL client_min_messages = 'warning'")
            conn.execute(statement.encode())
    return statement


def keep_up(conn: Connection, chosen: random.Random) -> str:
    """Rows of the application's own, of months that have no partition, and maintain."""
    conn.execute(
        "INSERT INTO llamalog.llama_logs (operation, category, created_at)"
        " VALUES ('of another month', 'UPDATED', now() - make_interval(months => %s))",
        [chosen.randint(0, 40)],
    )
    migrate.maintain(conn)
    return "maintain"


def look(conn: Connection, chosen: random.Random) -> str:
    """llamalog reconcile beside the writers."""
    del chosen
    (since,) = conn.execute("SELECT clock_timestamp() - interval '1 s'").fetchone() or (None,)
    if found := reconcile(conn, since)[0]:
        raise Failed(f"reconcile beside the writers: {found[:5]}")
    return "reconcile"


# -- the soak ---------------------------------------------------------------------------------------------------------


class Soak:
    """One run.  findings: what is wrong; met: what happened how often."""

    def __init__(self, server: Server, clients: int, seed: int, pause: float) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.clients = [Client(n, self.random.getrandbits(30)) for n in range(clients)]
        self.pause = pause
        self.stop = threading.Event()
        self.met: Counter[str] = Counter()
        self.findings: list[str] = []
        self.began = time.monotonic()
        self.proved_to = 0
        self.before: dict[Row, int] = {}
        self.at: Any = None
        # whoever writes holds a place; who proves takes all of them
        self.gate = threading.Condition()
        self.is_closed = False
        self.inside = 0

    def say(self, message: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {message}", file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        with self.gate:
            self.gate.wait_for(lambda: not self.is_closed)
            self.inside += 1
        try:
            yield
        finally:
            with self.gate:
                self.inside -= 1
                self.gate.notify_all()

    @contextlib.contextmanager
    def _all_stand_still(self) -> Iterator[None]:
        with self.gate:
            self.is_closed = True
            self.gate.wait_for(lambda: self.inside == 0)
        try:
            yield
        finally:
            with self.gate:
                self.is_closed = False
                self.gate.notify_all()

    def connect(self, name: str) -> Connection:
        """A connection, as soon as the server accepts one."""
        while True:
            try:
                return self.server.connect(
                    "soak", application_name=name, prepare_threshold=None, row_factory=tuple_row
                )
            except psycopg.OperationalError:
                time.sleep(0.05)

    def write(self, client: Client) -> None:
        """One client at work."""
        conn = self.connect(f"client {client.number}")
        while not self.stop.is_set():
            with self._place():
                try:
                    client.settle(conn)
                    client.transact(conn)
                except psycopg.Error as error:
                    if is_end_of(conn, error):
                        conn.close()
                    elif error.sqlstate not in FORGIVEN:
                        self.findings.append(f"a write failed: {error.sqlstate} {error}")
                        self.stop.set()
                    self.met[f"client: {error.sqlstate or 'connection lost'}"] += 1
            if conn.closed:
                conn = self.connect(f"client {client.number}")
            time.sleep(self.random.expovariate(1 / self.pause))

    def disturb(
        self, name: str, act: Callable[[Connection, random.Random], str], every: float
    ) -> None:
        """Somebody who does something now and then."""
        chosen = random.Random(name)
        conn = self.connect(name)
        while not self.stop.wait(chosen.uniform(0, 2 * every)):
            with self._place():
                try:
                    self.met[act(conn, chosen).split(" ")[0].lower()] += 1
                except psycopg.Error as error:
                    if is_end_of(conn, error):
                        conn.close()
                    # a constraint that is there already, a lock that is not to be had
                    elif error.sqlstate not in FORGIVEN | {"42710"}:
                        self.findings.append(f"{name} failed: {error.sqlstate} {error}")
                        self.stop.set()
                    self.met[f"{name}: {error.sqlstate or 'connection lost'}"] += 1
                except Failed as error:
                    self.findings.append(str(error))
                    self.stop.set()
                except OSError:
                    conn.close()
            if conn.closed:
                conn = self.connect(name)

    def kill(self) -> None:
        """Backends, and now and then the server."""
        chosen = random.Random("kill")
        while not self.stop.wait(chosen.uniform(4, 16)):
            what = chosen.choice(["backend", "backend", "backend", "server", "stop at once"])
            # a proof takes longer than there is from one kill to the next
            with self._place():
                self._kill(what)
                self.server.recover()

    def _kill(self, what: str) -> None:
        with contextlib.suppress(psycopg.OperationalError, ProcessLookupError, FileNotFoundError):
            if what == "backend":
                with self.server.connect("soak") as conn:
                    found = conn.execute(
                        "SELECT pid FROM pg_stat_activity WHERE datname = 'soak' AND pid <> pg_backend_pid()"
                        " AND backend_type = 'client backend' ORDER BY random() LIMIT 1"
                    ).fetchone()
                if found:
                    os.kill(found[0], signal.SIGKILL)
            elif what == "server":
                self.server.kill()
            else:
                self.server.stop_at_once()
            self.met[f"kill: {what}"] += 1

    def run(self, seconds: float, prove_every: float) -> bool:
        """Let all of them work; return whether nothing was found."""
        others = [
            threading.Thread(target=self.write, args=[client], daemon=True)
            for client in self.clients
        ]
        others.append(
            threading.Thread(
                target=self.disturb, args=["change tables", change_tables, 1.5], daemon=True
            )
        )
        others.append(
            threading.Thread(target=self.disturb, args=["keep up", keep_up, 5], daemon=True)
        )
        others.append(threading.Thread(target=self.disturb, args=["look", look, 5], daemon=True))
        others.append(threading.Thread(target=self.kill, daemon=True))
        for thread in others:
            thread.start()
        until = self.began + seconds
        try:
            while not self.stop.wait(max(0, min(prove_every, until - time.monotonic()))):
                if time.monotonic() >= until:
                    break
                self.prove_now(is_last=False)
        finally:
            self.stop.set()
        for thread in others:
            thread.join()
        self.server.recover()
        if not self.findings:
            self.prove_now(is_last=True)
        return not self.findings

    def prove_now(self, *, is_last: bool) -> None:
        with self._all_stand_still():
            for attempt in range(20):
                try:
                    with self.connect("proof") as conn:
                        for client in self.clients:
                            client.settle(conn)
                        self.findings += prove(self, conn, is_last)
                    break
                except psycopg.OperationalError as error:
                    if not is_end_of(conn, error) or attempt == 19:
                        raise
        if self.findings:
            self.stop.set()


def prove(soak: Soak, conn: Connection, is_last: bool) -> list[str]:
    """Return what is wrong: rows that are not what was committed, changes that the log lacks, has twice or made up, live rows that
    do not follow from it. Of what was proved before, only the rows are looked at again.
    """
    findings: list[str] = []
    rows: dict[Row, int] = {}
    events: dict[Row, list[Event]] = {}
    for client in soak.clients:
        rows |= client.rows
        events |= client.events
    # 1. the rows are what was committed
    live: dict[Row, int] = {}
    for entity_type, table in TYPES.items():
        key = "concat_ws(',', id, day)" if table == "readings" else "id::text"
        live |= {
            (entity_type, number): version
            for number, version in conn.execute(f"SELECT {key}, version FROM {table}".encode())
        }
    findings += different("rows", rows, live)
    # 2. each change stands in the log, once and in its order, and no other does
    found: dict[Row, list[Event]] = defaultdict(list)
    last = soak.proved_to
    for seq, entity_type, entity_id, op, version in conn.execute(
        "SELECT seq, entity_type, entity_id, op, CASE op WHEN 'I' THEN 0"
        " ELSE coalesce(after ->> 'version', before ->> 'version', '0')::integer END"
        " FROM llamalog.log WHERE seq > %s AND op IS NOT NULL ORDER BY seq",
        [soak.proved_to],
    ):
        found[entity_type, entity_id].append((op, version))
        last = max(last, seq)
    findings += different("changes", events, found)
    # 3. live rows follow from the log, asked of single rows, gone ones too, and as llamalog reconcile asks of all
    touched = sorted(events)
    if not is_last and len(touched) > 300:
        touched = soak.random.sample(touched, 300)
    for entity_type, entity_id in touched:
        for broken in conn.execute(
            "SELECT * FROM llamalog.breaks(%s, %s)", [entity_type, entity_id]
        ).fetchall():
            findings.append(f"{entity_type} {entity_id} does not follow from the log: {broken}")
    with soak.connect("reconcile") as reader:
        contradictions, tally = reconcile(reader, None if is_last else soak.at)
    findings += [f"reconcile: {found}" for found in contradictions]
    if tally.stopped_at is not None or (is_last and tally.count() < len(rows)):
        findings.append(f"reconcile checked {tally.count()} of {len(rows)} rows")
    # 4. and what a row was when all stood still before is what the log says that it was then
    if soak.at is not None:
        for entity_type, entity_id in soak.random.sample(touched, min(len(touched), 200)):
            if entity_type == "SCRATCH":
                continue
            found_version = conn.execute(
                "SELECT llamalog.as_of(%s, %s, %s) ->> 'version'", [entity_type, entity_id, soak.at]
            ).fetchone()
            was = soak.before.get((entity_type, entity_id))
            if (entity_type, entity_id) in soak.before and found_version != (str(was),):
                findings.append(f"{entity_type} {entity_id} was {was}, as_of says {found_version}")
    if is_last:
        migrate.migrate(conn)
        findings += [f"check: {found.what} {found.problem}" for found in installation.check(conn)]
    soak.say(
        f"{'found ' + str(len(findings)) if findings else 'proved'}: {len(rows)} rows, "
        f"{sum(map(len, events.values()))} changes, log to {last}, {tally.count()} rows reconciled"
    )
    for client in soak.clients:
        client.events.clear()
    (soak.at,) = conn.execute("SELECT clock_timestamp()").fetchone() or (None,)
    soak.proved_to, soak.before = last, rows
    return findings


def reconcile(
    conn: Connection, since: datetime | None
) -> tuple[list[reconciling.Finding], reconciling.Tally]:
    """Return what llamalog reconcile finds of all types, and how much it checked."""
    tally = reconciling.Tally()
    reconciling.ready(conn)
    try:
        batches = reconciling.reconcile(
            conn, reconciling.types(conn), tally, since=since, pace=reconciling.Pace(batch=500)
        )
        return [finding for batch in batches for finding in batch], tally
    except LlamaLogError as error:
        # as the others meet it: a kill is no finding
        raise error.__cause__ or error from None


def different(what: str, expected: dict[Row, Any], found: dict[Row, Any]) -> list[str]:
    return [
        f"{what} of {row}: expected {expected.get(row)}, found {found.get(row)}"
        for row in sorted(expected.keys() | found.keys())
        if expected.get(row) != found.get(row)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--pause", type=float, default=0.02, help="seconds between a client's transactions"
    )
    parser.add_argument("--prove-every", type=float, default=60)
    given = parser.parse_args()
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # of sessions that are meant to die
    with tempfile.TemporaryDirectory(dir=fast_place()) as directory:
        Path(directory).chmod(0o755)
        server = Server(Path(directory) / "server")
        try:
            with server.connect() as conn:
                conn.execute("CREATE DATABASE soak")
            with server.connect("soak") as conn:
                conn.execute(SCHEMA.encode())
                migrate.migrate(conn)
                watching.watch(conn, ["wholes", "parts", "readings", "scratches"])
                watching.watch(conn, ["parts"], Options(capture="statement"))
            soak = Soak(server, given.clients, given.seed, given.pause)
            is_clean = soak.run(given.seconds, given.prove_every)
            for client in soak.clients:
                soak.met.update(client.met)
        finally:
            server.stop()
    for name, count in sorted(soak.met.items()):
        print(f"{count:8}  {name}")
    for finding in soak.findings[:50]:
        print(finding)
    print("nothing was found" if is_clean else f"{len(soak.findings)} findings")
    return 0 if is_clean else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
