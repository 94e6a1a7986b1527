"""What a write costs in bytes: of the log with all its indexes, and of write-ahead log.

    python bench/bytes.py    one UPDATE of 2 of 31 columns, for each system

No full-page images: those depend on how often the server checkpoints, not on the write.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from rig import Bench, prepare
from systems import System, systems

from llamalog_sql import embedded

#: Of the log, with all indexes, and of write-ahead log beyond that of the write itself.
BUDGET_LOG, BUDGET_WAL = 400, 600

CONTEXT = (
    "SELECT set_config('llamalog.source', 'enrichment', true),"
    " set_config('llamalog.job_id', 'job-' || md5(:r::text), true)"
)

#: Every table of a log, whichever system's, and its indexes: name and bytes.
_PARTS = """
SELECT coalesce('index ' || regexp_replace(index.relid::text, '^.*_20[0-9]{2}_[0-9]{2}_', ''), 'table') AS part,
    sum(coalesce(pg_relation_size(index.relid), pg_table_size(log.relid)))::bigint AS size
FROM (
    SELECT tree.relid::oid
    FROM pg_partition_tree(to_regclass('llamalog.llama_logs')) AS tree
    WHERE tree.isleaf
    UNION ALL
    SELECT plain.relid::oid
    FROM (VALUES (to_regclass('public.llama_logs')), (to_regclass('public.change_log'))) AS plain (relid)
) AS log
CROSS JOIN LATERAL (
    SELECT indexrelid::regclass
    FROM pg_index
    WHERE indrelid = log.relid
    UNION ALL
    SELECT NULL
) AS index (relid)
WHERE log.relid IS NOT NULL
GROUP BY 1
ORDER BY 2 DESC
"""


@dataclass(frozen=True)
class Bytes:
    """Bytes of one transaction.

    log: what the log grew by.  wal: all that was written ahead, the write itself included.
    parts: the log's table (with TOAST) and each of its indexes, the largest first.
    """

    log: float
    wal: float
    parts: dict[str, float]


def bytes_of(bench: Bench, system: System, statements: list[str], count: int = 20_000) -> Bytes:
    """Return the mean of `count` transactions of these statements, as pgbench runs them: enough for pages to even out."""
    with psycopg.connect(bench.dsn(system), autocommit=True) as conn:
        sizes, wal = _sizes(conn)
        replace(bench, transactions=count).single(system, statements)
        sizes_then, wal_then = _sizes(conn)
    parts = {name: (size - sizes.get(name, 0)) / count for name, size in sizes_then.items()}
    return Bytes(sum(parts.values()), (wal_then - wal) / count, parts)


def _sizes(conn: psycopg.Connection[Any]) -> tuple[dict[str, int], int]:
    row = conn.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    assert row is not None
    return dict(conn.execute(_PARTS).fetchall()), row[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("count", nargs="?", type=int, default=20_000, help="of writes")
    count = parser.parse_args().count
    settings = {"shared_buffers": "512MB", "max_wal_size": "8GB", "autovacuum": "off"}
    with embedded.start(settings=settings) as server:
        bench = Bench(
            server, embedded.find_binaries() / "pgbench", albums=2_000, rounds=1, transactions=1
        )
        compared = systems()
        prepare(bench, compared)
        print(f"PostgreSQL {server.version}, {count:,} UPDATEs of 2 of 31 columns, bytes of each")
        print(f"{'':34}{'log':>8}{'WAL':>8}{'WAL added':>12}")
        for context in ([], [CONTEXT]):
            none = 0.0
            for system in compared:
                found = bytes_of(bench, system, [*context, *system.update], count)
                none = none or found.wal
                name = system.name + (", with context" if context else "")
                print(f"{name:34}{found.log:8.0f}{found.wal:8.0f}{found.wal - none:12.0f}")
                if system.name == "llamalog":
                    for part, size in found.parts.items():
                        if size >= 0.5:
                            print(f"    {part:30}{size:8.0f}")
        print(f"{'budget':34}{BUDGET_LOG:8}{'':8}{BUDGET_WAL:12}")


if __name__ == "__main__":
    main()
