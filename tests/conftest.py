"""One server for the run, databases cloned from templates.

`db`           a connection to the music database, watched; what a test does is rolled back
`database`     a connection to a music database of the test's own, for commits, locks and several sessions
`empty`        a connection to an empty database of the test's own
LLAMALOG_TEST_PG=16 runs everything on another major version, LLAMALOG_TEST_CAPTURE=statement and LLAMALOG_TEST_IMAGE=full
with another default of llamalog watch.
"""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import provoked
import psycopg
import pytest
from provoked import pytest_configure, pytest_sessionfinish, pytest_terminal_summary  # noqa: F401
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import namedtuple_row
from pytest_postgresql import factories

from llamalog_sql import describe, embedded, migrate, watching
from llamalog_sql.watching import Options

# a plugin of the test modules that name it, which import from it, too
pytest.register_assert_rewrite("adopting")

MUSIC = Path(__file__).parents[1] / "llamalog_sql" / "demo" / "music_schema.sql"
MUSIC_TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]

if os.environ.get("LLAMALOG_TEST_CAPTURE") == "statement":
    _capture = describe._capture
    describe._capture = lambda options, usual, table, strict: _capture(
        replace(options, capture="statement")
        if (options.capture or usual) == "rendered"
        else options,
        usual,
        table,
        False,
    )
describe.DEFAULT_IMAGE = os.environ.get("LLAMALOG_TEST_IMAGE", describe.DEFAULT_IMAGE)


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: much of the time a test waits, for a lock, a clock or a kill."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_finish() -> None:
    # three thousand tests are objects enough to keep the collector of garbage busy
    gc.freeze()


def default(*names: str) -> pytest.MarkDecorator:
    """A test whose literal rows show the default capture or image: there is none where another one was asked for."""
    asked = [name for name in names if os.environ.get(f"LLAMALOG_TEST_{name.upper()}")]
    return pytest.mark.skipif(bool(asked), reason=f"shows the default {' and '.join(names)}")


def sampled(values: Iterable[Any], every: int = 3) -> list[Any]:
    """Parameters of which `make test` takes every so many; `make test-all` takes all."""
    params = [value if hasattr(value, "marks") else pytest.param(value) for value in values]
    return [
        param._replace(marks=(*param.marks, *[pytest.mark.slow] * bool(number % every)))
        for number, param in enumerate(params)
    ]


def until_alone(conn: psycopg.Connection[Any]) -> None:
    """Wait until the server has noticed that a command was killed: its session goes on to the end of the statement."""
    others = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'llamalog'"
    for _ in range(6000):
        if conn.execute(others.encode()).fetchone() is None:
            return
        time.sleep(0.01)
    raise AssertionError("the session of the killed command never ended")


def fast_place() -> str:
    """Memory where there is plenty: to number a new file, ext4 looks at all that were deleted in the last seconds."""
    with suppress(OSError):
        memory = os.statvfs("/dev/shm")
        has_room = memory.f_bavail * memory.f_frsize > 2_000_000_000
        if has_room and not memory.f_flag & os.ST_NOEXEC and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return "/tmp"


# a shell lets what it starts in the background ignore Ctrl-C, and so do the processes that tests start there
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# servers and databases come and go, a thousand files and three hundred each
os.environ.setdefault("TMPDIR", fast_place())


@pytest.fixture(scope="session")
def server() -> Iterator[SimpleNamespace]:
    """The server that all tests use, unless they start one of their own."""
    wanted = os.environ.get("LLAMALOG_TEST_PG")
    settings = {
        "max_prepared_transactions": "10",
        "max_connections": "120",
        "autovacuum": "off",  # what it reads is counted where tests count
        "max_wal_size": "128MB",
        **provoked.settings(),
    }
    with embedded.start(version=int(wanted) if wanted else None, settings=settings) as started:
        address = conninfo_to_dict(started.dsn)
        yield SimpleNamespace(
            host=address["host"],
            port=address["port"],
            user=address["user"],
            password=address.get("password"),
            options="",
            maintenance_dbname="postgres",
            template_dbname=None,
            version=started.version,
        )


@pytest.fixture(scope="module")
def another_server(server: SimpleNamespace) -> Iterator[embedded.Server]:
    """A server of the module's own: roles belong to a server, and there none of ours may be left from elsewhere."""
    with embedded.start(version=server.version, settings=provoked.settings()) as started:
        yield started


def _music(options: Options) -> Callable[..., None]:
    def load(**address: Any) -> None:
        with psycopg.connect(**{**address, "autocommit": True}) as conn:
            conn.execute(MUSIC.read_bytes())
            migrate.migrate(conn)
            watching.watch(conn, MUSIC_TABLES, options)

    return load


def _nothing(**address: Any) -> None:
    del address


music_template = factories.postgresql_noproc(
    dbname="music", depends_on="server", load=[_music(Options())]
)
full_template = factories.postgresql_noproc(
    dbname="full", depends_on="server", load=[_music(Options(image="full"))]
)
tolerant_template = factories.postgresql_noproc(
    dbname="tolerant", depends_on="server", load=[_music(Options(capture="tolerant"))]
)
empty_template = factories.postgresql_noproc(dbname="empty", depends_on="server", load=[_nothing])


def _prepared(conn: psycopg.Connection[Any]) -> psycopg.Connection[Any]:
    conn.autocommit = True
    conn.row_factory = namedtuple_row
    return conn


Clone = Callable[..., AbstractContextManager[psycopg.Connection[Any]]]


@pytest.fixture(scope="session")
def clone(server: SimpleNamespace, request: pytest.FixtureRequest) -> Iterator[Clone]:
    """with clone("music_template") as conn: a connection to a copy of the template, which is dropped in the end."""
    address = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
    }
    with psycopg.connect(**address, dbname="postgres", autocommit=True) as admin:

        @contextmanager
        def made(template: Any, whose: str = "own") -> Iterator[psycopg.Connection[Any]]:
            # by name those that stand here; a module passes its own, which nobody else finds
            is_named = isinstance(template, str)
            found = request.getfixturevalue(template) if is_named else template
            source = found.template_dbname
            name = f"{whose}_{template.removesuffix('_template') if is_named else found.dbname}"
            # a third of what it costs to write the copy to the WAL, and the connection finds its catalogue caches made
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {source} STRATEGY file_copy".encode())
            try:
                with closing(psycopg.connect(**address, dbname=name)) as conn:
                    yield _prepared(conn)
                    provoked.note_functions(conn)
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

        yield made


@pytest.fixture
def database(clone: Clone) -> Iterator[psycopg.Connection[Any]]:
    with clone("music_template") as conn:
        yield conn


@pytest.fixture
def empty(clone: Clone) -> Iterator[psycopg.Connection[Any]]:
    with clone("empty_template") as conn:
        yield conn


@pytest.fixture
def connect(server: SimpleNamespace) -> Iterator[Callable[..., psycopg.Connection[Any]]]:
    """More sessions: connect(conn) opens another one to the database of `conn`; connect(conn, user=...) as somebody else."""
    opened = []

    def another(conn: psycopg.Connection[Any], **changes: Any) -> psycopg.Connection[Any]:
        address = {**conn.info.get_parameters(), "password": conn.info.password or None, **changes}
        opened.append(
            _prepared(psycopg.connect(**{k: v for k, v in address.items() if v is not None}))
        )
        return opened[-1]

    yield another
    for conn in opened:
        conn.close()


def _shared(template: str) -> Any:
    """A copy for a whole file: each test begins a transaction in it that is rolled back.

    Not for the whole run: what is rolled back stays in the catalogue, and what was planned in the session, and slow it.
    """

    @pytest.fixture(scope="module")
    def module_database(clone: Clone) -> Iterator[psycopg.Connection[Any]]:
        with clone(template, "shared") as conn:
            conn.autocommit = False
            yield conn

    return module_database


_shared_music = _shared("music_template")
_shared_full = _shared("full_template")
_shared_tolerant = _shared("tolerant_template")


def _rolled_back(conn: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    with conn.transaction(force_rollback=True):
        yield conn


@pytest.fixture
def db(_shared_music: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    yield from _rolled_back(_shared_music)


@pytest.fixture
def full_db(_shared_full: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """As db, its tables watched with image full."""
    yield from _rolled_back(_shared_full)


@pytest.fixture(params=["rendered", "tolerant"])
def each_db(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    """As db, once for each kind of capture: what is promised holds for both."""
    name = {"rendered": "_shared_music", "tolerant": "_shared_tolerant"}[request.param]
    yield from _rolled_back(request.getfixturevalue(name))


# -- the scenes that tests set ----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def new() -> SimpleNamespace:
    """Short ways to write music: new.album(conn, "Title", column=value) returns its id, likewise artist and track."""

    def insert(conn: psycopg.Connection[Any], table: str, **values: Any) -> Any:
        values.setdefault("updated_at", "2026-01-01")
        names = ", ".join(f'"{name}"' for name in values)
        marks = ", ".join(["%s"] * len(values))
        row = conn.execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) RETURNING id".encode(),
            list(values.values()),
        ).fetchone()
        assert row is not None
        return str(row[0])

    def link(conn: psycopg.Connection[Any], album: str, artist: str, role: str = "primary") -> None:
        conn.execute(
            "INSERT INTO album_artists (album_id, artist_id, role) VALUES (%s, %s, %s)",
            [album, artist, role],
        )

    return SimpleNamespace(
        album=lambda conn, title="OK Computer", **more: insert(conn, "albums", title=title, **more),
        artist=lambda conn, name="Radiohead", **more: insert(conn, "artists", name=name, **more),
        track=lambda conn, album, title="Airbag", number=1, **more: insert(
            conn, "tracks", album_id=album, title=title, track_number=number, **more
        ),
        link=link,
    )


@pytest.fixture
def changes() -> Callable[..., list[Any]]:
    """changes(conn, "category", entity_type="ALBUM") returns the column(s) of the log by seq, filtered."""

    def read(conn: psycopg.Connection[Any], columns: str = "category", **where: Any) -> list[Any]:
        condition = " AND ".join(f"{name} = %s" for name in where) or "true"
        rows = conn.execute(
            f"SELECT {columns} FROM llamalog.log WHERE {condition} ORDER BY seq".encode(),
            list(where.values()),
        ).fetchall()
        return [row[0] if len(row) == 1 else tuple(row) for row in rows]

    return read
