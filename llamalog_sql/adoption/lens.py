"""The views through which an adopted log is read, and written by capture."""

from __future__ import annotations

import re

from llamalog_sql.adoption.shape import Shape
from llamalog_sql.files import sql_directory
from llamalog_sql.render import ident

#: Rows written since adoption count from here; the old ones below it.
FIRST_SEQ = 10_000_000_000_001

#: Of a row that stands whole in llamalog's own log: the lens shows it from there.
RETURNED_SEQ = 0

#: Where llamalog's own log stands while another is adopted.
OWN_LOG = "llama_logs_before_adoption"


def reader(shape: Shape) -> str:
    """Return the SQL of the lens on an adopted log: sql/views/log.sql, each column as it is kept there."""
    text = (sql_directory() / "views" / "log.sql").read_text(encoding="utf-8")
    found = re.search(r"SELECT\n(.*?)\nFROM llamalog\.llama_logs AS llama_logs;", text, re.DOTALL)
    assert found is not None
    columns = re.findall(r"^    llama_logs\.(\w+)(::\w+)?(?: AS (\w+))?,?$", found[1], re.MULTILINE)
    names = [alias or name for name, _, alias in columns]
    select = ",\n".join(f"    {_seen(shape, name)} AS {name}" for name in names)
    query = f"SELECT\n{select}\nFROM {shape.table} AS log"
    if shape.returned:
        query += f"\nWHERE log.seq IS DISTINCT FROM {RETURNED_SEQ}"
    if shape.returned == "unmarked":
        query += f"\n    AND NOT EXISTS (SELECT {returned_rows(shape)} AND returned.row_id = log.{ident(shape.key)}::text)"
    # what was captured before the adoption, up to its last moment: before the first of the new rows, in its own order
    own = found[1].replace(
        "llama_logs.id AS seq", f"llama_logs.id + {FIRST_SEQ - 1 - 10**12} AS seq"
    )
    query += f"\nUNION ALL\nSELECT\n{own}\nFROM llamalog.{OWN_LOG} AS llama_logs"
    if shape.own_ids:
        lowest, highest = shape.own_ids
        query += f"\nWHERE llama_logs.id BETWEEN {lowest} AND {highest}"
    return text[: found.start()] + query + ";" + text[found.end() :]


def writer(shape: Shape) -> str:
    """Return the SQL of the view through which capture writes into an adopted log."""
    columns = [f"    log.seq AS id,\n    log.{ident(shape.part('op').written)} AS op"]
    columns += [
        f"    log.{ident(part.written)} AS {part.name}" for part in shape.parts if part.name != "op"
    ]
    select = ",\n".join(columns)
    return (
        f"CREATE VIEW llamalog.llama_logs AS\nSELECT\n{select}\nFROM {shape.table} AS log;\n"
        "ALTER VIEW llamalog.llama_logs ALTER COLUMN created_at SET DEFAULT clock_timestamp();\n"
        "ALTER VIEW llamalog.llama_logs ALTER COLUMN status SET DEFAULT 'SUCCESS';\n"
        "ALTER VIEW llamalog.llama_logs ALTER COLUMN retry_count SET DEFAULT 0;\n"
        "ALTER VIEW llamalog.llama_logs ALTER COLUMN api_call_count SET DEFAULT 0;\n"
        "ALTER VIEW llamalog.llama_logs ALTER COLUMN is_root_job SET DEFAULT false;\n"
        "COMMENT ON VIEW llamalog.llama_logs IS"
        " 'The adopted log as capture writes it; read it through llamalog.log.';\n"
    )


def _seen(shape: Shape, name: str) -> str:
    """Return the SQL of a column of the lens."""
    if name == "id":
        return f"log.{ident(shape.key)}::text"
    if name == "seq":
        return seq(shape, "log.")
    seen = shape.part(name).reading("log")
    if name == "category":
        operation, status = (shape.part(other).reading("log") for other in ("operation", "status"))
        return f"coalesce({seen}, llamalog.category_of({operation}, {status}))"
    if name == "txid":
        return f"coalesce({seen}, '2'::xid8)"  # older than every snapshot
    if name in {"is_root_job"}:
        return f"coalesce({seen}, false)"
    if name in {"retry_count", "api_call_count"}:
        return f"coalesce({seen}, 0)"
    if name == "status":
        return f"coalesce({seen}, 'SUCCESS')"
    return seen


def seq(shape: Shape, row: str) -> str:
    """Return the SQL of the place of a row in the log, provisional until backfill has numbered it.  row: as "log."."""
    created = shape.part("created_at").reading("log").replace("log.", row)
    return (
        f"coalesce({row}seq, (extract(epoch FROM {created} AT TIME ZONE 'UTC') * 1000)::bigint, 1)"
    )


def returned_rows(shape: Shape) -> str:
    """Return the SQL, from FROM on, of rows that an earlier adoption left, which are still what they were: a key may come again."""
    return (
        "FROM llamalog.returned_rows AS returned WHERE returned.checksum ="
        f" hashtextextended({shape.content('log')}, 0)"
    )
