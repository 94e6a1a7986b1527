"""Runs the tests, slow ones too, on every PostgreSQL that can be had and in every default of llamalog watch; shows what passed where.

    make test-all                                          all of it, which takes hours
    make test-all PG=15,18 TESTS="tests/test_chain.py"     a part

Servers come from the extra `embedded` (16 and 18), from where they are installed, and from LLAMALOG_PG_BIN, a directory with
initdb and postgres. A failure does not stop the rest; in the end it is told, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

VERSIONS = [15, 16, 17, 18]

#: What the tests read from the environment, by the name of the column that shows what became of it.
DEFAULTS: dict[str, dict[str, str]] = {
    "by row": {},
    "by statement": {"LLAMALOG_TEST_CAPTURE": "statement"},
    "image full": {"LLAMALOG_TEST_IMAGE": "full"},
}


@dataclass(frozen=True)
class Result:
    """What became of one run.  failed: names of tests.  exit_code: of pytest, 0 when all is well."""

    passed: int
    failed: list[str]
    skipped: int
    exit_code: int

    def __str__(self) -> str:
        if self.exit_code and not self.failed:
            return f"stopped, exit {self.exit_code}"
        return ", ".join(
            f"{count} {name}"
            for count, name in [
                (len(self.failed), "FAILED"),
                (self.passed, "passed"),
                (self.skipped, "skipped"),
            ]
            if count or name == "passed"
        )


def server(version: int, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return the environment in which the tests find a server of that version; None where there is none.

    One that LLAMALOG_PG_BIN names stands first in the PATH instead: tests start other versions beside it.
    """
    plain = {name: value for name, value in environment.items() if name != "LLAMALOG_PG_BIN"}
    if given := environment.get("LLAMALOG_PG_BIN"):
        plain["PATH"] = os.pathsep.join([given, environment.get("PATH", os.defpath)])
    question = f"from llamalog_sql import embedded; embedded.find_binaries({version})"
    asked = subprocess.run([sys.executable, "-c", question], env=plain, stderr=subprocess.DEVNULL)
    return plain if asked.returncode == 0 else None


def run(arguments: list[str], environment: Mapping[str, str]) -> Result:
    """Run pytest, whose words go where ours go."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place, "report.xml")
        command = [sys.executable, "-m", "pytest", "-m", "", f"--junitxml={report}", *arguments]
        exit_code = subprocess.run(command, env=environment).returncode
        return read(report.read_text() if report.exists() else "<testsuites/>", exit_code)


def read(report: str, exit_code: int) -> Result:
    """Return what a report in the form of JUnit says."""
    cases = [*ElementTree.fromstring(report).iter("testcase")]
    failed = [
        f"{case.get('classname')}::{case.get('name')}"
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    # a test that fails and whose fixture fails too stands there twice
    return Result(len(cases) - len(failed) - skipped, [*dict.fromkeys(failed)], skipped, exit_code)


def table(results: Mapping[tuple[int, str], Result | None]) -> Iterator[str]:
    """Yield the lines that show what passed where, and then what failed."""
    versions = [*dict.fromkeys(version for version, _ in results)]
    columns = [*dict.fromkeys(name for _, name in results)]
    rows = [
        ["PostgreSQL", *columns],
        *(
            [str(version), *(str(results[version, name] or "no server") for name in columns)]
            for version in versions
        ),
    ]
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    for (version, name), result in results.items():
        for test in result.failed if result else []:
            yield f"failed on {version}, {name}: {test}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pg", default=",".join(map(str, VERSIONS)), help="versions: 15,18")
    options, rest = parser.parse_known_args(arguments)
    results: dict[tuple[int, str], Result | None] = {}
    for version in map(int, options.pg.split(",")):
        found = server(version, os.environ)
        for name, more in DEFAULTS.items():
            result = None
            if found is not None:
                print(f"\nPostgreSQL {version}, {name}", flush=True)
                result = run(rest, {**found, "LLAMALOG_TEST_PG": str(version), **more})
            results[version, name] = result
    print("", *table(results), sep="\n")
    return int(any(result is not None and result.exit_code for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
