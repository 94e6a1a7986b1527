"""What takes the room in the log: its months, and what it is about."""

from __future__ import annotations

from dataclasses import dataclass

from llamalog_sql.adoption import state
from llamalog_sql.connection import Connection, rows

#: So many rows are looked at to tell the types apart.
_SAMPLE = 100_000


@dataclass(frozen=True)
class Size:
    """A line of the account.

    what: partition, other (tables beside the log), type or total.  row_count: as the planner estimates, of a new table counted,
    None where the caller may not read the month by itself.
    heap_bytes, toast_bytes, index_bytes: None for a type.  share: of the whole; of a type estimated from a sample.
    """

    what: str
    name: str
    row_count: int | None
    heap_bytes: int | None
    toast_bytes: int | None
    index_bytes: int | None
    total_bytes: int
    share: float

    def cells(self) -> list[str]:
        count = "" if self.row_count is None else f"{self.row_count:,}"
        parts = [_shown(size) for size in (self.heap_bytes, self.toast_bytes, self.index_bytes)]
        return [self.what, self.name, count, *parts, _shown(self.total_bytes), f"{self.share:.0%}"]


def sizes(conn: Connection) -> list[Size]:
    """Return the partitions and tables, then the types with what they take about, the largest first, then the total."""
    shape = state.adopted(conn)
    log = shape.table if shape else "llamalog.llama_logs"
    measured = rows(
        conn,
        """
        WITH part AS (
            SELECT 'partition' AS what, tree.relid
            FROM pg_partition_tree(to_regclass(%(log)s)) AS tree
            WHERE tree.isleaf
            UNION ALL
            SELECT 'partition', to_regclass(%(log)s)
            WHERE NOT EXISTS (SELECT FROM pg_partition_tree(to_regclass(%(log)s)))
            UNION ALL
            SELECT 'other', 'llamalog.jobs'::regclass
        )
        SELECT
            part.what,
            class.oid::regclass::text,
            class.relname,
            class.reltuples::bigint,
            pg_table_size(class.oid) - coalesce(pg_total_relation_size(nullif(class.reltoastrelid, 0)), 0),
            coalesce(pg_total_relation_size(nullif(class.reltoastrelid, 0)), 0),
            pg_indexes_size(class.oid),
            pg_total_relation_size(class.oid)
        FROM part
        JOIN pg_class AS class
            ON class.oid = part.relid
        ORDER BY part.what DESC, class.relname
        """,
        {"log": log},
    )
    total = sum(line[-1] for line in measured)
    lines = [
        Size(
            what,
            name,
            _counted(conn, table, count, heap),
            heap,
            toast,
            indexes,
            size,
            _share(size, total),
        )
        for what, table, name, count, heap, toast, indexes, size in measured
    ]
    known = sum(line.row_count or 0 for line in lines if line.what == "partition")
    of_log = sum(line.total_bytes for line in lines if line.what == "partition")
    # an adopted log is read through a view, of which there are no samples
    percent = min(100.0, 100.0 * _SAMPLE / max(known, 1))
    source = "llamalog.log" if shape else f"{log} TABLESAMPLE SYSTEM ({percent})"
    sampled = rows(
        conn,
        "SELECT coalesce(sampled.entity_type, '(none)'), count(*), sum(sampled.bytes)"
        f" FROM (SELECT log.entity_type, pg_column_size(log.*) AS bytes FROM {_named(source)} LIMIT {_SAMPLE}) AS sampled"
        " GROUP BY 1 ORDER BY 3 DESC, 1",
    )
    seen_rows = sum(count for _, count, _ in sampled)
    seen_bytes = sum(size for *_, size in sampled)
    for name, count, size in sampled:
        part = float(size / seen_bytes)
        rough = round(max(known, seen_rows) * count / seen_rows)
        about = round(of_log * part)
        lines.append(Size("type", name, rough, None, None, None, about, _share(about, total)))
    count, heap, toast, indexes = (
        sum(getattr(line, name) or 0 for line in lines if line.what != "type")
        for name in ("row_count", "heap_bytes", "toast_bytes", "index_bytes")
    )
    return [*lines, Size("total", "", count, heap, toast, indexes, total, 1.0)]


def _counted(conn: Connection, table: str, estimated: int, heap_bytes: int) -> int | None:
    """Return the rows of a table; one that nobody has looked at yet is new, and counted where the caller may."""
    if estimated >= 0 or heap_bytes == 0:
        return max(estimated, 0)
    ((may_count,),) = rows(conn, "SELECT has_table_privilege(%s, 'SELECT')", [table])
    return int(rows(conn, f"SELECT count(*) FROM {table}")[0][0]) if may_count else None


def _named(source: str) -> str:
    """Call the rows log: the name stands before TABLESAMPLE."""
    table, sample, rest = source.partition(" TABLESAMPLE")
    return f"{table} AS log{sample}{rest}"


def _share(size: int, total: int) -> float:
    return round(size / max(total, 1), 4)


def _shown(size: int | None) -> str:
    return "" if size is None else f"{size / 1048576:,.1f} MiB"
