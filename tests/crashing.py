"""A server that may be killed and comes back, and writers that remember what it promised them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import make_conninfo

from llamalog_sql import embedded

Connection = psycopg.Connection[Any]

#: Seconds that a server may take to come back.
_PATIENCE = 60


class Server:
    """A private server with fsync.  home: where its data outlive it."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self._settings = {"max_connections": "60", "max_prepared_transactions": "5"} | settings
        self._version = int(os.environ.get("LLAMALOG_TEST_PG", 0)) or None
        self._start()

    def _start(self) -> None:
        self._server = embedded.start(
            version=self._version, keep_in=self.home, durable=True, settings=self._settings
        )

    def dsn(self, dbname: str) -> str:
        return make_conninfo(self._server.dsn, dbname=dbname)

    def connect(self, dbname: str = "postgres", **more: Any) -> Connection:
        return psycopg.connect(self.dsn(dbname), autocommit=True, **more)

    def kill(self) -> None:
        """As a power cut would: nobody has a chance to end what he does, or to say goodbye."""
        postmaster = psutil.Process(self._pid())
        for process in (postmaster, *postmaster.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop_at_once(self) -> None:
        """An immediate shutdown, after which the server has to recover too."""
        os.kill(self._pid(), signal.SIGQUIT)

    def _pid(self) -> int:
        return int((self.home / "data" / "postmaster.pid").read_text().split()[0])

    def recover(self, watcher: Connection | None = None) -> None:
        """Wait until the server accepts connections again; start it anew where it was killed itself.

        watcher: a session from before the kill. It ends when the postmaster has noticed: until then it lets others in.
        """
        until = time.monotonic() + _PATIENCE
        with contextlib.suppress(psycopg.OperationalError):
            while watcher is not None and time.monotonic() < until:
                watcher.execute("SELECT pg_sleep(0.01)")
        while True:
            try:
                # while the postmaster lives it brings the server back by itself
                self.connect().close()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise
                if not self._lives():
                    self._start_again()
                time.sleep(0.02)
            else:
                return

    def _lives(self) -> bool:
        try:
            os.kill(self._pid(), 0)
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return False
        return True

    def _start_again(self) -> None:
        with contextlib.suppress(embedded.ServerFailed):
            self._server.stop()
        # backends that were at work hold the shared memory for a moment
        with contextlib.suppress(embedded.ServerFailed, psycopg.OperationalError):
            self._start()

    def stop(self) -> None:
        self._server.stop()

    @contextlib.contextmanager
    def copy(self, template: str, name: str) -> Iterator[None]:
        """A database like another one, dropped in the end."""
        with self.connect() as conn:
            conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
            # PostgreSQL writes what a sequence gives out to the WAL 32 numbers ahead, and takes the copy of one for written: before
            # the next checkpoint a crash would give the same numbers again
            conn.execute("CHECKPOINT")
        try:
            yield
        finally:
            with self.connect() as conn:
                conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


#: Of one row: what was done, the transaction that did it, and the version that it made or removed.
Event = tuple[str, str, int]
Row = tuple[str, str]


def is_end_of(conn: Connection, error: psycopg.Error) -> bool:
    """Whether the error says that the session has ended: its server was killed, or is about to be gone."""
    return conn.closed or (error.sqlstate or "57P").startswith("57P")


def refuse_silence(conn: Connection) -> None:
    """psycopg leaves a transaction in silence where the session was lost while a savepoint was rolled back: nothing was committed."""
    if conn.closed:
        raise psycopg.OperationalError("the session ended before COMMIT")


class Writer:
    """Writes albums with a track each, one marked transaction after the other; remembers what was committed.

    title and root_job_id hold the mark of a transaction, track_count the version of a row. The table `marks` tells of a
    transaction whose COMMIT was never answered whether it took place.
    """

    MARKS = "CREATE TABLE marks (mark text PRIMARY KEY)"

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.random = random.Random(seed)
        self.count = 0
        self.events: dict[Row, list[Event]] = defaultdict(list)
        self.albums: dict[str, int] = {}
        self.undone: set[str] = set()
        self.failures: list[psycopg.Error] = []
        self.in_doubt: tuple[str, dict[Row, list[Event]], dict[str, int]] | None = None

    def write_until(self, stop: threading.Event, conn: Connection) -> None:
        """Write until told to stop, or until the server is gone. What else fails is a failure."""
        while not stop.is_set():
            try:
                self.transact(conn)
            except psycopg.Error as error:
                if is_end_of(conn, error):
                    break
                self.failures.append(error)
                self.settle(conn)
            time.sleep(0.002)
        conn.close()

    def transact(self, conn: Connection) -> None:
        self.count += 1
        mark = f"{self.name}-{self.count}"
        albums, events = dict(self.albums), defaultdict(list)
        self.in_doubt = (mark, events, albums)
        is_undone = self.random.random() < 0.2
        with conn.transaction(force_rollback=is_undone):
            conn.execute("SELECT set_config('llamalog.job_id', %s, true)", [mark])
            conn.execute("INSERT INTO marks VALUES (%s)", [mark])
            for _ in range(self.random.randint(1, 4)):
                self._write(conn, mark, albums, events)
            if self.random.random() < 0.3:
                self._write_in_vain(conn, mark, albums)
        refuse_silence(conn)
        if is_undone:
            self.undone.add(mark)
        else:
            self._keep(events, albums)
        self.in_doubt = None

    def _write(
        self, conn: Connection, mark: str, albums: dict[str, int], events: dict[Row, list[Event]]
    ) -> None:
        what = self.random.choice("IIUUUD") if albums else "I"
        if what == "I":
            album = str(uuid.UUID(int=self.random.getrandbits(128)))
            conn.execute(
                "INSERT INTO albums (id, title, track_count, updated_at) VALUES (%s, %s, 1, now())",
                [album, mark],
            )
            conn.execute(
                "INSERT INTO tracks (id, album_id, title, track_number, updated_at)"
                " VALUES (%s, %s, %s, 1, now())",
                [_track_of(album), album, mark],
            )
            albums[album] = 1
            events["ALBUM", album].append(("I", mark, 1))
            events["TRACK", _track_of(album)].append(("I", mark, 1))
            return
        album = self.random.choice(sorted(albums))
        version = albums[album]
        if what == "U":
            conn.execute(
                "UPDATE albums SET title = %s, track_count = track_count + 1 WHERE id = %s",
                [mark, album],
            )
            albums[album] = version + 1
            events["ALBUM", album].append(("U", mark, version + 1))
        else:
            conn.execute("DELETE FROM albums WHERE id = %s", [album])
            del albums[album]
            events["ALBUM", album].append(("D", mark, version))
            events["TRACK", _track_of(album)].append(("D", mark, 1))

    def _write_in_vain(self, conn: Connection, mark: str, albums: dict[str, int]) -> None:
        """What a savepoint takes back leaves nothing."""
        undone = f"{mark} undone"
        self.undone.add(undone)
        with conn.transaction(force_rollback=True):
            conn.execute("SELECT set_config('llamalog.job_id', %s, true)", [undone])
            conn.execute("INSERT INTO albums (title, updated_at) VALUES (%s, now())", [undone])
            conn.execute(
                "UPDATE albums SET title = %s WHERE id = ANY (%s::uuid[])", [undone, list(albums)]
            )

    def _keep(self, events: dict[Row, list[Event]], albums: dict[str, int]) -> None:
        for row, some in events.items():
            self.events[row] += some
        self.albums = albums

    def settle(self, conn: Connection) -> None:
        """Learn what became of the transaction that was at work when the server died."""
        if self.in_doubt is None:
            return
        mark, events, albums = self.in_doubt
        if conn.execute("SELECT FROM marks WHERE mark = %s", [mark]).fetchone():
            self._keep(events, albums)
        else:
            self.undone.add(mark)
        self.in_doubt = None


def _track_of(album: str) -> str:
    return str(uuid.uuid5(uuid.UUID(album), "track"))


def prove(conn: Connection, writers: list[Writer]) -> int:
    """Compare rows and log with what the writers were promised; return how many changes there were to compare."""
    expected: dict[Row, list[Event]] = {}
    albums: dict[str, int] = {}
    undone: set[str] = set()
    for writer in writers:
        assert writer.failures == []
        writer.settle(conn)
        expected |= writer.events
        albums |= writer.albums
        undone |= writer.undone
    with conn.cursor(row_factory=psycopg.rows.tuple_row) as cursor:
        found: dict[Row, list[Event]] = defaultdict(list)
        for entity_type, entity_id, *event in cursor.execute(
            "SELECT log.entity_type, log.entity_id, log.op, log.root_job_id,"
            " CASE log.op WHEN 'U' THEN (log.after ->> 'track_count')::integer"
            " WHEN 'D' THEN coalesce((log.before ->> 'track_count')::integer, 1) ELSE 1 END"
            " FROM llamalog.log AS log WHERE log.op IS NOT NULL AND log.root_job_id LIKE 'writer %' ORDER BY log.seq"
        ):
            found[entity_type, entity_id].append((event[0], event[1], event[2]))
        marks = {event[1] for events in found.values() for event in events}
        assert not marks & undone, f"rolled back, yet in the log: {sorted(marks & undone)[:5]}"
        assert found == expected, [
            f"{row}: promised {expected.get(row)}, logged {found.get(row)}"
            for row in found.keys() | expected.keys()
            if found.get(row) != expected.get(row)
        ][:5]
        live = cursor.execute(
            "SELECT id::text, track_count FROM albums WHERE title LIKE 'writer %'"
        ).fetchall()
        assert dict(live) == albums
    return sum(map(len, expected.values()))


@contextlib.contextmanager
def writing(server: Server, dbname: str, writers: list[Writer]) -> Iterator[list[Connection]]:
    """The writers at work, each on a connection of its own."""
    stop = threading.Event()
    conns = [server.connect(dbname) for _ in writers]
    threads = [
        threading.Thread(target=writer.write_until, args=(stop, conn), daemon=True)
        for writer, conn in zip(writers, conns, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield conns
    finally:
        stop.set()
        for thread in threads:
            thread.join()
