"""The indexes that questions need on an adopted log, and those that nothing needs."""

from __future__ import annotations

import logging

from llamalog_sql import catalog
from llamalog_sql.adoption.lens import seq
from llamalog_sql.adoption.shape import Shape
from llamalog_sql.connection import Connection, first_row, rows
from llamalog_sql.render import ident

logger = logging.getLogger(__name__)

#: The indexes on what backfill writes, which it drops and builds anew.
REBUILT = ("lens_related_id", "lens_seq")


def wanted(shape: Shape) -> list[tuple[str, str]]:
    """Return (name, definition) of the indexes that questions need."""

    def index(column: str, where: str = "") -> tuple[str, str]:
        # by bytes, as those of a log of our own
        name = f"llama_logs_lens_{column}_idx"
        return name, f"{ident(name)} ON {shape.table} (({reading(column)}) text_pattern_ops){where}"

    def known(column: str) -> tuple[str, str]:
        return index(column, f" WHERE {reading(column)} IS NOT NULL")

    def reading(column: str) -> str:
        return shape.part(column).reading(shape.table_name).replace(f"{shape.table_name}.", "")

    # none holds what backfill writes but the last two: a row whose indexed columns stay is rewritten in its page
    return [
        index("entity_id"),
        known("job_id"),
        known("parent_job_id"),
        known("previous_id"),
        (
            "llama_logs_lens_removed_idx",
            f"llama_logs_lens_removed_idx ON {shape.table} ({ident(shape.part('op').written)})"
            f" WHERE {ident(shape.part('op').written)} IN ('D', 'T')",
        ),
        known("related_id"),
        (
            f"llama_logs_{REBUILT[1]}_idx",
            f"llama_logs_{REBUILT[1]}_idx ON {shape.table} (({seq(shape, '')}))",
        ),
    ]


def build(conn: Connection, shape: Shape) -> None:
    """Build the indexes that are not there yet; one that was left invalid by an interruption, anew."""
    for name, definition in wanted(shape):
        state = first_row(
            conn,
            "SELECT i.indisvalid FROM pg_index AS i WHERE i.indexrelid = to_regclass(%s)",
            [f"{ident(shape.schema_name)}.{ident(name)}"],
        )
        if state == (True,):
            continue
        if state is not None:
            conn.execute(
                f"DROP INDEX CONCURRENTLY {ident(shape.schema_name)}.{ident(name)}".encode()
            )
        logger.info("build %s", name)
        conn.execute(f"CREATE INDEX CONCURRENTLY {definition}".encode())
    conn.execute(f"ANALYZE {shape.table}".encode())


def unneeded(conn: Connection, shape: Shape) -> list[str]:
    """Return indexes that only a comparison of whole arrays could use, which no question of ours, and no search in one, makes."""
    return [
        str(name)
        for (name,) in rows(
            conn,
            "SELECT i.indexrelid::regclass::text FROM pg_index AS i"
            " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]"
            " JOIN pg_type AS t ON t.oid = a.atttypid"
            " JOIN pg_class AS x ON x.oid = i.indexrelid JOIN pg_am AS m ON m.oid = x.relam"
            " WHERE i.indrelid = %s AND NOT i.indisunique AND t.typcategory = 'A' AND m.amname = 'btree'"
            " AND i.indnatts = 1 ORDER BY 1",
            [catalog.oid_of(conn, shape.table)],
        )
    ]
