"""The first state of the schema that later ones are built on, as it was: migrations 0001 to 0004, their functions and captures.

first_release.sql.gz is what `llamalog migrate --sql` and `llamalog watch --sql` of that day printed for the music tables (but
that the role may be there already).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import psycopg

FIRST = Path(__file__).with_name("first_release.sql.gz")

#: Those that it has.
MIGRATIONS = ["0001_log", "0002_registry", "0003_answers", "0004_adoption"]


def install_first(conn: psycopg.Connection[Any]) -> None:
    """Install it in a database with the music tables, and watch them as it did."""
    conn.execute(gzip.decompress(FIRST.read_bytes()))
