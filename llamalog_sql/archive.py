"""Archives of the log: Parquet files with count and checksum, written, proved and read in batches.

Numbers and times are numbers and times in the file, arrays, jsonb and xid8 the text that PostgreSQL writes. An infinite
time is the greatest or the least number that there is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from llamalog_sql.connection import Connection, rows
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.output import plural
from llamalog_sql.render import IMAGE_SETTINGS, ident

#: Of the file's metadata, where ours stands.
_KEY = b"llamalog"

#: What we can read.
_FORMAT = 1

#: Bytes of CSV that make a row group.
_GROUP = 16 * 1024 * 1024

#: Most rows read at a time.
_BATCH = 10_000

TIME = "timestamp with time zone"
_NUMBERS = {"smallint": "int16", "integer": "int32", "bigint": "int64", "boolean": "bool_"}
_ENDLESS = {"infinity": 2**63 - 1, "-infinity": -(2**63)}


@dataclass(frozen=True)
class Column:
    """A column of the log.  type: as PostgreSQL calls it, without its domain."""

    name: str
    type: str

    def going_out(self) -> str:
        """SQL of what the file holds, of a row called log."""
        name = f"log.{ident(self.name)}"
        if self.type == TIME:
            return (
                f"CASE WHEN isfinite({name}) THEN (extract(epoch FROM {name}) * 1000000)::bigint"
                f" WHEN {name} > 'epoch' THEN {_ENDLESS['infinity']} ELSE {_ENDLESS['-infinity']} END"
            )
        return name if self.type in _NUMBERS else f"{name}::text"

    def coming_in(self) -> str:
        """SQL of the value, of a row of the file called raw."""
        name = f"raw.{ident(self.name)}"
        if self.type == TIME:
            return (
                f"CASE {name} WHEN {_ENDLESS['infinity']} THEN 'infinity' WHEN {_ENDLESS['-infinity']} THEN '-infinity'"
                f" ELSE to_timestamp({name} / 1000000) + make_interval(secs => ({name} % 1000000) / 1000000.0) END"
            )
        return name if self.type in _NUMBERS else f"{name}::{self.type}"

    def in_between(self) -> str:
        """The type of a column that holds what the file holds."""
        kind = "bigint" if self.type == TIME else self.type if self.type in _NUMBERS else "text"
        return f"{ident(self.name)} {kind}"


@dataclass(frozen=True)
class Summary:
    """What an archive says of itself.  checksum: of its rows, whatever their order."""

    month: str
    only_types: list[str] | None
    spared_types: list[str]
    row_count: int
    checksum: str
    columns: list[Column]


def columns(conn: Connection) -> list[Column]:
    """Return the columns of the log."""
    return [
        Column(*found)
        for found in rows(
            conn,
            "SELECT a.attname, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL)"
            " FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid"
            " WHERE a.attrelid = 'llamalog.llama_logs'::regclass AND a.attnum > 0 AND NOT a.attisdropped"
            " ORDER BY a.attnum",
        )
    ]


@contextmanager
def pinned(conn: Connection) -> Iterator[None]:
    """A transaction under whose settings every value has one text, and which sees one state of the log."""
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for name, value in IMAGE_SETTINGS.items():
            conn.execute("SELECT set_config(%s, %s, true)", [name, value])
        yield


def proof(conn: Connection, columns: list[Column], relation: str) -> tuple[int, str]:
    """Return count and checksum of rows that no order of them changes.

    relation: what stands behind FROM, calling a row log.
    """
    whole = ", ".join(f"log.{ident(column.name)}" for column in columns)
    ((count, first, second),) = rows(
        conn,
        "SELECT count(*), coalesce(sum(hashtextextended(whole.text, 0)::numeric), 0),"
        " coalesce(sum(hashtextextended(whole.text, 1)::numeric), 0)"
        f" FROM (SELECT ROW({whole})::text AS text FROM {relation}) AS whole",
    )
    return int(count), f"{int(first) % 2**64:016x}{int(second) % 2**64:016x}"


def copy_out(columns: list[Column], relation: str) -> str:
    """Return the SQL that sends the rows."""
    shown = ", ".join(column.going_out() for column in columns)
    return f"COPY (SELECT {shown} FROM {relation}) TO STDOUT (FORMAT csv)"


def write(conn: Connection, path: Path, summary: Summary, relation: str) -> None:
    """Write the rows to a new file, and leave its content safe on the disk.  Raises LlamaLogError."""
    arrow, csv, parquet = arrow_modules()
    kinds = {
        column.name: arrow.timestamp("us", tz="UTC")
        if column.type == TIME
        else getattr(arrow, _NUMBERS.get(column.type, "string"))()
        for column in summary.columns
    }
    about = json.dumps({"format": _FORMAT, **asdict(summary)})
    schema = arrow.schema(list(kinds.items()), metadata={_KEY: about.encode()})
    conversion = csv.ConvertOptions(
        column_types={
            name: arrow.int64() if arrow.types.is_timestamp(kind) else kind
            for name, kind in kinds.items()
        },
        # NULL has no quotation marks, an empty text has them
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["t"],
        false_values=["f"],
    )
    with (
        conn.cursor() as cursor,
        _refusing(path, arrow),
        parquet.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer,
        cursor.copy(copy_out(summary.columns, relation).encode()) as copy,
    ):
        for text in _groups(bytes(line) for line in copy):
            table = csv.read_csv(
                arrow.BufferReader(text),
                read_options=csv.ReadOptions(
                    column_names=list(kinds), block_size=len(text) + 1, use_threads=False
                ),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=conversion,
            )
            writer.write_table(table.cast(schema))
    _sync(path)


def rename(old: Path, new: Path) -> None:
    """Give a file its name; after this it has it, whatever fails.  Raises LlamaLogError."""
    with _refusing(new, arrow_modules()[0]):
        old.replace(new)
        _sync(new.parent)


def _sync(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> Summary:
    """Return what the archive says of itself.  Raises LlamaLogError for a file that is none, or damaged (XX001)."""
    arrow, _, parquet = arrow_modules()
    with _refusing(path, arrow):
        about = (parquet.read_schema(path).metadata or {}).get(_KEY)
    if about is None:
        raise LlamaLogError(f"{path} is no archive of llamalog", sqlstate="22023")
    try:
        said = json.loads(about)
        is_ours = said.pop("format") == _FORMAT and re.fullmatch(
            r"[0-9]{4}-(0[1-9]|1[0-2])", said["month"]
        )
        if is_ours:
            return Summary(**{**said, "columns": [Column(**column) for column in said["columns"]]})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise _damaged(path, "What it says of itself makes no sense.") from error
    raise LlamaLogError(
        f"{path} was written by a newer version", sqlstate="0A000", hint="Upgrade llamalog-sql."
    )


def load(conn: Connection, path: Path, summary: Summary) -> str:
    """Read the file into a temporary table, prove it, and return the relation of its rows, called log.

    Inside of `pinned`, which drops the table.  Raises LlamaLogError (XX001) when the file is not what it says.
    """
    arrow, csv, parquet = arrow_modules()
    # what the file says becomes SQL
    unknown = [column.name for column in summary.columns if column not in columns(conn)]
    if unknown:
        raise LlamaLogError(
            f"{path} has columns that the log has not: {', '.join(unknown)}",
            sqlstate="0A000",
            hint="Upgrade llamalog-sql, then run llamalog migrate.",
        )
    shape = ", ".join(column.in_between() for column in summary.columns)
    conn.execute("DROP TABLE IF EXISTS pg_temp.archived_rows")
    conn.execute(f"CREATE TEMPORARY TABLE archived_rows ({shape}) ON COMMIT DROP".encode())
    options = csv.WriteOptions(include_header=False, quoting_style="all_valid")
    times = [column.name for column in summary.columns if column.type == TIME]
    with (
        conn.cursor() as cursor,
        _refusing(path, arrow),
        parquet.ParquetFile(path, page_checksum_verification=True) as file,
        cursor.copy(b"COPY pg_temp.archived_rows FROM STDIN (FORMAT csv)") as copy,
    ):
        for batch in _batches(file):
            table = arrow.Table.from_batches([batch])
            for name in times:
                place = table.schema.get_field_index(name)
                table = table.set_column(place, name, table[name].cast(arrow.int64()))
            text = arrow.BufferOutputStream()
            csv.write_csv(table, text, options)
            copy.write(text.getvalue().to_pybytes())
    conn.execute("ANALYZE pg_temp.archived_rows")
    values = ", ".join(
        f"{column.coming_in()} AS {ident(column.name)}" for column in summary.columns
    )
    relation = f"(SELECT {values} FROM pg_temp.archived_rows AS raw) AS log"
    count, checksum = proof(conn, summary.columns, relation)
    if (count, checksum) != (summary.row_count, summary.checksum):
        raise _damaged(
            path,
            f"It holds {plural(count, 'row')}, checksum {checksum};"
            f" it should hold {summary.row_count:,}, checksum {summary.checksum}.",
        )
    return relation


def _batches(file: Any) -> Iterator[Any]:
    """Yield the rows in batches of one row group each: so many rows of several may be larger than memory."""
    for group in range(file.num_row_groups):
        yield from file.iter_batches(_BATCH, row_groups=[group])


def _damaged(path: Path, detail: str) -> LlamaLogError:
    return LlamaLogError(
        f"{path} is damaged",
        sqlstate="XX001",
        detail=detail,
        hint="Take another copy of the file.",
    )


def arrow_modules() -> tuple[Any, Any, Any]:
    """Return pyarrow, its CSV and its Parquet.  Raises LlamaLogError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.csv
        import pyarrow.parquet
    except ImportError:
        raise LlamaLogError(
            "pyarrow, which reads and writes archives, is not installed",
            hint="Run: pip install 'llamalog-sql[archive]'",
        ) from None
    return pyarrow, pyarrow.csv, pyarrow.parquet


def _groups(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the rows (the server sends one at a time) in pieces that are worth their overhead."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line)
        if size >= _GROUP:
            yield b"".join(group)
            group, size = [], 0
    if group:
        yield b"".join(group)


@contextmanager
def _refusing(path: Path, arrow: ModuleType) -> Iterator[None]:
    """Say which file it is that cannot be read or written."""
    try:
        yield
    except (OSError, arrow.ArrowException) as error:
        said = (
            os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        ).splitlines()
        raise LlamaLogError(
            f"{path}: {said[0] if said else type(error).__name__}",
            sqlstate="58030",
            hint="Nothing was changed; see that the file is whole, and that there is room for it.",
        ) from error
