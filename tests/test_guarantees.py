"""Every promise in docs/guarantees.md names tests that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()


def test_every_promise_names_tests_that_are_there():
    tests = {
        node.name
        for file in (ROOT / "tests").glob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    rows = re.findall(r"^\| (?!promise \|)([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)
    promises = {promise: re.findall(r"`(test_\w+)`", named) for promise, named in rows}
    assert len(promises) > 20
    assert [promise for promise, named in promises.items() if not named] == []
    assert sorted({name for named in promises.values() for name in named} - tests) == []
