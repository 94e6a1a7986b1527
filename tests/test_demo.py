"""What a newcomer meets first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from conftest import fast_place

from llamalog_sql.cli import main
from llamalog_sql.demo import show
from llamalog_sql.demo.application import Application

ROOT = Path(__file__).parents[1]
DEMO = [sys.executable, "-m", "llamalog_sql", "demo"]


@pytest.fixture(scope="module")
def shown():
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    result = subprocess.run(
        DEMO, capture_output=True, text=True, check=True, timeout=120, env=environment
    )
    assert (
        "[🦙 LlamaLog] llamalog watch albums artists tracks album_artists track_artists"
        in result.stderr
    )
    return result.stdout


def plain(text):
    """The text without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    return re.sub(r"cf-[0-9a-f]{8}", "cf-ID", text)


def test_demo_prints_what_the_readme_shows(shown):
    session = (ROOT / "README.md").read_text("utf-8").split("```\n")[3]
    session = re.sub(r"\n    (?=\S)", " ", session)  # wrapped sentences
    expected = [line for line in plain(session).splitlines() if line.strip("│ ") not in {"", "…"}]
    assert len(expected) > 20
    printed = [line for line in plain(shown).splitlines() if line in set(expected)]
    assert printed == expected


def test_demo_drives_every_path_of_the_music_application(database):
    address = {**database.info.get_parameters(), "password": database.info.password}
    Application(psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})).run()
    written = {
        source
        for (source,) in database.execute(
            "SELECT source FROM llamalog.log UNION SELECT source FROM llamalog.jobs"
        )
    }
    paths = {source for (source,) in database.execute("SELECT source FROM llamalog.source_paths")}
    # the first two write tables that the catalogue of the demonstration does not have
    assert paths - written == {"similar_artists_sync", "recommendation", "revert"}
    assert {c for (c,) in database.execute("SELECT DISTINCT category FROM llamalog.log")} == {
        "CREATED",
        "LINKED",
        "ENRICHED",
        "FAILED",
        "CACHED",
        "CORRECTED",
        "USER_ACTION",
        "DELETED",
        "UNLINKED",
    }


def test_every_command_of_the_readmes_table_can_be_typed_on_the_demonstration(
    database, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    address = {**database.info.get_parameters(), "password": database.info.password}
    dsn = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
    Application(dsn).run()
    section = (ROOT / "README.md").read_text("utf-8").split("## Ask\n")[1].split("\n## ")[0]
    cells = [line.split(" | ")[1] for line in section.splitlines() if line.startswith("| ")]
    typed = [command for cell in cells for command in re.findall("`(llamalog .*?)`", cell)]
    assert len(typed) >= 19
    time.sleep(1 - time.time() % 1)  # the second in which it ended is not over yet
    for command in typed:
        # as a shell reads it, once
        words = subprocess.run(
            ["bash", "-c", f"printf '%s\\0' {command.replace(' -f', '')}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split("\0")[1:-1]
        result = CliRunner(env={"LLAMALOG_DSN": dsn}).invoke(main, words, catch_exceptions=False)
        # the servers of the tests run without autovacuum, which the doctor finds
        assert result.exit_code == 0 or command == "llamalog doctor", (command, result.stderr)
        said = result.stdout or result.stderr
        assert Path(words[-1]).stat().st_size > 10_000 if "-o" in words else said, command


def test_kept_demo_answers_until_it_is_stopped(request):
    # the server may run as somebody else, who must be let in
    home = Path(tempfile.mkdtemp(dir=fast_place()))
    home.chmod(0o711)
    request.addfinalizer(lambda: shutil.rmtree(home))
    environment = {**os.environ, "TMPDIR": str(home)}
    kept = subprocess.run(
        [*DEMO, "--keep"], capture_output=True, text=True, env=environment, timeout=120
    )
    assert kept.returncode == 0, kept.stderr
    dsn = re.search(r'LLAMALOG_DSN="(.*)"', kept.stdout)[1]
    told = CliRunner(env={"LLAMALOG_DSN": dsn}).invoke(main, ["why", "ALBUM", "Dirty"])
    assert "was deleted by user admin-mia" in told.stdout
    refused = subprocess.run(
        [*DEMO, "--keep"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[0] == "error: a demonstration is kept already (58000)"
    assert "llamalog demo --stop" in refused.stderr
    stopped = subprocess.run(
        [*DEMO, "--stop"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert stopped.returncode == 0, stopped.stderr
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(dsn, connect_timeout=2)
    again = subprocess.run(
        [*DEMO, "--stop"], capture_output=True, text=True, env=environment, timeout=60
    )
    assert (again.returncode, again.stderr.splitlines()[0]) == (
        1,
        "error: no demonstration is kept (58000)",
    )


def test_demo_without_a_server_names_the_extra():
    environment = {**os.environ, "LLAMALOG_PG_BIN": "/nowhere"}
    result = subprocess.run(DEMO, capture_output=True, text=True, env=environment, timeout=60)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert "hint: " in result.stderr
    assert show.ALBUM == "OK Computer"


def test_wheel_carries_the_sql(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        f"llamalog_sql/{path.relative_to(ROOT)}"
        for path in (ROOT / "sql").rglob("*.*")
        if path.is_file()
    }
    assert sources <= inside
    assert {"llamalog_sql/demo/music_schema.sql", "llamalog_sql/demo/catalogue.json"} <= inside
