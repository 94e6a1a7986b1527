"""Counts and checksums of what the application's columns hold, whatever the order of the rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from llamalog_sql.adoption import state
from llamalog_sql.adoption.lens import FIRST_SEQ, RETURNED_SEQ
from llamalog_sql.adoption.shape import PINNED, Shape
from llamalog_sql.connection import Connection, first_row, rows
from llamalog_sql.errors import CannotAdopt
from llamalog_sql.render import ident


@dataclass(frozen=True)
class Proof:
    """What the application's columns hold.  days: (day, rows, checksum), by day."""

    row_count: int
    checksum: str
    days: list[tuple[str | None, int, str]] = field(default_factory=list)


#: The rows of before the adoption.
_OF_OLD = f"WHERE log.seq IS NULL OR log.seq BETWEEN {RETURNED_SEQ} AND {FIRST_SEQ - 1}"


def verify(conn: Connection) -> tuple[Proof, Proof]:
    """Return what the rows of the day of adoption held then, and hold now.  Raises CannotAdopt when none is adopted."""
    found = state.adoption(conn)
    if found.row_count is None:
        raise CannotAdopt(
            f"no checksum was taken of {found.shape.shown}: its adoption is not finished",
            hint=f"Run: llamalog adopt {found.shape.shown}",
        )
    stored = [
        (str(day) if day else None, int(count), str(checksum))
        for day, count, checksum in rows(
            conn,
            "SELECT day::text, row_count, checksum FROM llamalog.adoption_days WHERE adoption_id = %s ORDER BY day",
            [found.id],
        )
    ]
    then = Proof(found.row_count or 0, found.checksum or "", stored)
    return then, proof(conn, found.shape, found.shape.table, _OF_OLD)


def proof(conn: Connection, shape: Shape, table: str, where: str = "") -> Proof:
    """Return what the application's columns hold: counts and checksums that no order of rows changes.

    table: under the name that it has now.  where: which rows, of `log`.
    """
    columns = ", ".join(f"log.{ident(column.name)}" for column in shape.legacy)
    created = shape.part("created_at").legacy
    assert created is not None
    day = created.reading("log", "created_at")
    # rolled back, it lets go of the table
    with conn.transaction(force_rollback=True):
        for name, value in PINNED.items():
            conn.execute("SELECT set_config(%s, %s, true)", [name, value])
        days = [
            (str(day) if day else None, int(count), int(first), int(second))
            for day, count, first, second in rows(
                conn,
                f"SELECT ({day})::date::text, count(*),"
                f" mod(sum(hashtextextended(whole.text, 0)::numeric), 18446744073709551616),"
                f" mod(sum(hashtextextended(whole.text, 1)::numeric), 18446744073709551616)"
                f" FROM {table} AS log CROSS JOIN LATERAL (SELECT ROW({columns})::text) AS whole (text)"
                f" {where} GROUP BY 1 ORDER BY 1",
            )
        ]
    return Proof(
        sum(count for _, count, _, _ in days),
        _hex(sum(first for *_, first, _ in days), sum(second for *_, second in days)),
        [(day, count, _hex(first, second)) for day, count, first, second in days],
    )


def store(conn: Connection, shape: Shape) -> None:
    """Store what the rows of before the adoption hold now, for `verify`."""
    with conn.transaction():
        found = state.adoption(conn)
        held = proof(conn, shape, shape.table, _OF_OLD)
        conn.execute("DELETE FROM llamalog.adoption_days WHERE adoption_id = %s", [found.id])
        with conn.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO llamalog.adoption_days (adoption_id, day, row_count, checksum) VALUES (%s, %s, %s, %s)",
                [(found.id, *day) for day in held.days],
            )
        conn.execute(
            "UPDATE llamalog.adoptions SET row_count = %s, checksum = %s WHERE id = %s",
            [held.row_count, held.checksum, found.id],
        )


def standing(conn: Connection, shape: Shape) -> str:
    """Return the name under which the table stands now."""
    found = first_row(
        conn, "SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(%s)", [shape.old_table]
    )
    return shape.old_table if found == (True,) else shape.table


def _hex(first: int, second: int) -> str:
    return f"{first % 2**64:016x}{second % 2**64:016x}"
