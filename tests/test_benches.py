"""Every bench starts: what it stands on is found, and it says what it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = sorted(
    file
    for file in (Path(__file__).parents[1] / "bench").glob("*.py")
    if '__name__ == "__main__"' in file.read_text()
)


@pytest.mark.parametrize("bench", BENCHES, ids=lambda file: file.stem)
def test_a_bench_says_what_it_measures(bench, tmp_path):
    asked = subprocess.run(
        [sys.executable, bench, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stderr) == (0, "")
    assert asked.stdout.startswith(f"usage: {bench.name}")


def test_there_are_benches():
    assert len(BENCHES) >= 8
