"""Where the SQL is: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def sql_directory() -> Path:
    """Return the directory with migrations/, functions/, views/ and triggers/."""
    shipped = _PACKAGE / "sql"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "sql"
