"""make test-all goes on after a failure, shows what passed where, and fails in the end."""

from __future__ import annotations

import os

import matrix
import pytest

REPORT = """
<testsuites><testsuite>
    <testcase classname="tests.test_a" name="test_one"/>
    <testcase classname="tests.test_a" name="test_two"><failure>no</failure></testcase>
    <testcase classname="tests.test_a" name="test_two"><error>nor this</error></testcase>
    <testcase classname="tests.test_a" name="test_three"><skipped/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture
def runs(monkeypatch):
    """Each run of pytest, and what it was given; 18 fails by statement, 17 cannot be had."""
    asked = []

    def run(arguments, environment):
        asked.append(
            (
                arguments,
                {name: environment[name] for name in environment if name.startswith("LLAMALOG_T")},
            )
        )
        fails = environment["LLAMALOG_TEST_PG"] == "18" and "LLAMALOG_TEST_CAPTURE" in environment
        return matrix.read(REPORT, 1) if fails else matrix.Result(7, [], 0, 0)

    monkeypatch.setattr(matrix, "run", run)
    monkeypatch.setattr(
        matrix, "server", lambda version, environment: None if version == 17 else {}
    )
    return asked


def test_every_version_runs_in_every_default_and_a_failure_is_told_in_the_end(runs, capsys):
    assert matrix.main(["--pg", "16,17,18", "tests/test_a.py"]) == 1
    assert runs == [
        (["tests/test_a.py"], {"LLAMALOG_TEST_PG": version, **more})
        for version in ("16", "18")
        for more in (
            {},
            {"LLAMALOG_TEST_CAPTURE": "statement"},
            {"LLAMALOG_TEST_IMAGE": "full"},
        )
    ]
    shown = capsys.readouterr().out.splitlines()
    assert shown[shown.index("") :][-5:] == [
        "PostgreSQL  by row     by statement                   image full",
        "16          7 passed   7 passed                       7 passed",
        "17          no server  no server                      no server",
        "18          7 passed   1 FAILED, 1 passed, 1 skipped  7 passed",
        "failed on 18, by statement: tests.test_a::test_two",
    ]


def test_all_is_well_where_nothing_fails(runs):
    assert matrix.main(["--pg", "16,17"]) == 0


def test_a_run_that_never_came_to_a_test_is_a_failure(monkeypatch, tmp_path):
    result = matrix.run(["--no-such-option"], os.environ)
    assert str(result) == "stopped, exit 4"


def test_a_server_beside_the_installed_ones_goes_by_the_path(tmp_path):
    """17 is in few distributions; what is given for it does not take the place of the others."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "initdb").touch()
    (fake / "postgres").write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 99.1'\n")
    (fake / "postgres").chmod(0o755)
    found = matrix.server(99, {**os.environ, "LLAMALOG_PG_BIN": str(fake)})
    assert found is not None
    assert "LLAMALOG_PG_BIN" not in found
    assert found["PATH"].split(os.pathsep)[0] == str(fake)
    assert matrix.server(98, os.environ) is None
