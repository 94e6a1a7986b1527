"""What llamalog.adoptions says: which adoption holds, or has begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from llamalog_sql.adoption.shape import Shape
from llamalog_sql.connection import Connection, rows
from llamalog_sql.errors import CannotAdopt


@dataclass(frozen=True)
class Adoption:
    """A row of llamalog.adoptions."""

    id: int
    step: str
    shape: Shape
    renamed: list[list[str]]
    foreign_keys: list[list[Any]]
    row_count: int | None
    checksum: str | None
    is_adopted: bool


def current(conn: Connection) -> Adoption | None:
    """Return the adoption that holds, or has begun; None when there is none."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(
            "SELECT id, step, shape, renamed, foreign_keys, row_count, checksum, adopted_at IS NOT NULL AS is_adopted"
            " FROM llamalog.adoptions WHERE undone_at IS NULL"
        ).fetchone()
    return Adoption(**{**row, "shape": Shape.from_json(row["shape"])}) if row else None


def adoption(conn: Connection) -> Adoption:
    found = current(conn)
    if found is None or not found.is_adopted:
        raise CannotAdopt("no log is adopted", hint="Run: llamalog adopt TABLE")
    return found


def adopted(conn: Connection) -> Shape | None:
    """Return the shape of the adopted log, None while llamalog keeps its own."""
    if not rows(conn, "SELECT 1 WHERE to_regclass('llamalog.adoptions') IS NOT NULL"):
        return None
    found = rows(
        conn,
        "SELECT shape FROM llamalog.adoptions WHERE adopted_at IS NOT NULL AND undone_at IS NULL",
    )
    return Shape.from_json(found[0][0]) if found else None
