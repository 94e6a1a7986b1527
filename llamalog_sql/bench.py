"""What logging would cost on one's own table, in one's own database.

Measured on copies of the table's shape (columns, checks, indexes, partitioning), filled with a sample of its rows, never on
the table: capture hung on that would lock out its writers, and each write would fire the application's triggers, burn its
sequences and wait for its row locks, even where all is rolled back. A copy has no foreign keys and no triggers of the
application's, and is small; what they cost without logging is missing from both sides, so a ratio is rather too high than
too low. Rows come into the copies as they went: deleted and inserted again, so that unique keys and checks hold.

Times come from temporary tables, where each write can be committed: PL/pgSQL prepares what a capture needs anew in each
transaction, so writes of one large transaction that is rolled back would look cheaper than an application's. Bytes come from
ordinary tables, which nobody else sees, in one short transaction that is rolled back.

Nothing is left behind, however it ends: temporary tables and functions go with the session. ACCESS SHARE on the table, while
its shape and sample are read, is the only lock on anything of the application's. llamalog's log, sequences, registry and
functions are read (ACCESS SHARE, for seconds), never written.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import psycopg

from llamalog_sql import catalog, stand_in, watching
from llamalog_sql.catalog import Table
from llamalog_sql.connection import (
    Connection,
    as_owner,
    own_path,
    owner_of_the_log,
    refuse_pooler,
    rows,
)
from llamalog_sql.describe import Options, Watch
from llamalog_sql.errors import CannotWatch, EntityTypeTaken
from llamalog_sql.render import ident, literal
from llamalog_sql.stand_in import StandIn

#: The captures to compare with none, as `llamalog watch` takes them.
MODES = (
    Options(capture="rendered", image="none"),
    Options(capture="rendered", image="full"),
    Options(capture="statement", image="none"),
    Options(capture="tolerant", image="none"),
)

NONE = "none"

#: Most rows of a sample that are written one by one, each round.
ONE_BY_ONE = 200

#: Rows written one by one before the clock starts: statements are planned anew after VACUUM.
_WARM_UP = 10

#: Seconds that a measurement may take, about: a slow capture writes fewer rows.
_PATIENCE = 0.5
_FEWEST = 5

#: Times that each write is repeated for its bytes. Of a capture that is too slow for all rows they are not counted: the fewer
#: rows, the more of them find room beside the old version, and bytes tell nothing.
_PASSES = 5

_PREFIX = "llamalog_bench"
_SAMPLE = f"pg_temp.{_PREFIX}_sample"
_CHANGED = f"pg_temp.{_PREFIX}_changed"

#: The copy without capture, of which the others are copies.
_MODEL = StandIn("pg_temp", f"{_PREFIX}_{NONE}", f"{_PREFIX}_log")


@dataclass(frozen=True)
class Cost:
    """What one kind of write costs under one capture; medians over the rounds, everything for each row written.

    table_rows: as the planner estimates, of a new table counted.  row_bytes: average of the sample, as pg_column_size() has it.
    microseconds: inside the server, begin to commit of a prepared statement, without network and flush to disk.
    added_microseconds, ratio: over the same write without capture, round by round; low and high leave out a fifth of the
    rounds at each end.  log_rows, log_bytes: with all indexes of the log, counted in pages, so give or take a tenth.
    wal_bytes: without full-page images.  These are None where they were not counted: under a capture so slow that it writes
    fewer rows; wal_bytes also where wal_level is minimal.
    """

    table: str
    table_rows: int
    column_count: int
    row_bytes: int
    sampled_rows: int
    write: str
    columns: list[str]
    rows_per_statement: int
    capture: str
    microseconds: float
    added_microseconds: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    log_rows: float | None
    log_bytes: int | None
    wal_bytes: int | None


@dataclass(frozen=True)
class _Write:
    """A kind of write.  source: the rows it is about.

    one: its SQL on a table for the row v_row.  many: on a table of so many rows, for all of them.
    """

    name: str
    source: str
    one: Callable[[str], str]
    many: Callable[[str, int], str]
    columns: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _System:
    """A capture on its copy of the table; watch: None for no capture.  row_count: rows in the copy."""

    name: str
    copy: StandIn
    watch: Watch | None
    row_count: int


@dataclass
class _Bytes:
    log_rows: float = 0
    log_bytes: float = 0
    wal_bytes: float | None = None


_Times = dict[tuple[str, bool, str], list[float]]
_Sizes = dict[tuple[str, str], _Bytes]


def bench(
    conn: Connection,
    name: str,
    *,
    columns: list[str] | None = None,
    row_count: int = 1000,
    rounds: int = 7,
    progress: Callable[[str], None] = lambda said: None,
) -> list[Cost]:
    """Measure INSERT, UPDATE, UPDATE that changes nothing and DELETE of one table, without capture and with each of `MODES`.

    conn: a session in autocommit, straight to the server; its temporary tables are dropped.  columns: those that UPDATE
    changes, by default two that are in no index if there are any.  row_count: most rows to sample.

    Raises CannotWatch (LL009, 42P01, 42501) as `watch` does, and for a table that has less than two rows; 42703 for a column
    that is not there, LL009 for one that cannot be changed; class 23 where its rules forbid that; 55P03 when the table stays locked.
    """
    refuse_pooler(conn, "temporary tables")
    table = catalog.find_table(conn, name)
    try:
        with own_path(conn):
            return _costs(conn, table.qualified, columns or [], row_count, rounds, progress)
    except psycopg.errors.IntegrityError as error:
        raise CannotWatch(
            f"{name}: {error.diag.message_primary}",
            sqlstate=error.sqlstate,
            detail=error.diag.message_detail,
            hint="UPDATE gives a row values of another: name columns that allow it with --column.",
        ) from error


def _costs(
    conn: Connection,
    name: str,
    columns: list[str],
    row_count: int,
    rounds: int,
    progress: Callable[[str], None],
) -> list[Cost]:
    try:
        with conn.transaction():
            subject = _sampled(conn, name, columns, row_count)
        # apart, so that the lock on the table is gone
        with conn.transaction():
            systems = _systems(conn, subject)
        for system in systems:
            conn.execute(f"VACUUM ANALYZE {system.copy.table}".encode())
        times = _times(conn, subject, systems, rounds, progress)
        progress("counting bytes")
        sizes = _bytes(conn, subject, systems)
    finally:
        if not conn.closed and not conn.broken and conn.info.transaction_status == 0:
            conn.execute("DISCARD TEMP")
    return [
        _cost(subject, write, many, system, times, sizes)
        for many in (False, True)
        for write in subject.writes
        for system in systems
    ]


@dataclass(frozen=True)
class _Subject:
    """The table, its sample in temporary tables, and the writes to measure.  place: the sample's column that numbers its rows."""

    table: Table
    row_count: int
    column_count: int
    row_bytes: int
    sampled_rows: int
    place: str
    writes: list[_Write]


def _sampled(conn: Connection, name: str, columns: list[str], row_count: int) -> _Subject:
    """Read shape, size and sample of the table; locks it as any reader does, until the transaction ends."""
    conn.execute(f"SET LOCAL lock_timeout = {literal(watching.LOCK_TIMEOUT)}".encode())
    watch = _described(conn, name, Options())
    table = watch.table
    names = [column.name for column in watch.columns]
    place = next(n for i in range(len(names) + 1) if (n := f"place{i or ''}") not in names)
    known, is_empty = _row_count(conn, table)
    if is_empty:
        raise CannotWatch(
            f"{table.shown} has no rows to take a sample of",
            hint="Run it where the table has rows, as on a copy of the production database.",
        )
    stand_in.make_table(conn, _MODEL, table, table.qualified)
    stored = [column.name for column in watch.columns if not column.is_generated]
    listed = ", ".join(map(ident, stored))
    # of a large table some pages, of a small one what comes first
    percent = min(100.0, 150.0 * row_count / max(known, 1))
    for source in (f"TABLESAMPLE SYSTEM ({percent}) ORDER BY random()", ""):
        conn.execute(
            f"INSERT INTO {_MODEL.table} ({listed}) OVERRIDING SYSTEM VALUE"
            f" SELECT {listed} FROM {table.qualified} {source} LIMIT {row_count}"
            # heirs may hold a key twice
            f"{' ON CONFLICT DO NOTHING' if table.is_family and table.kind != 'p' else ''}".encode()
        )
        ((found,),) = rows(conn, f"SELECT count(*) FROM {_MODEL.table}")
        if found >= min(row_count, known):
            break
        if source:
            conn.execute(f"TRUNCATE {_MODEL.table}".encode())
    if found < 2:
        raise CannotWatch(
            f"{table.shown} has one row, too few to measure",
            hint="Run it where the table has rows, as on a copy of the production database.",
        )
    conn.execute(
        f"CREATE TABLE {_SAMPLE} AS SELECT row_number() OVER () AS {ident(place)}, row.* FROM {_MODEL.table} AS row".encode()
    )
    ((width,),) = rows(conn, f"SELECT avg(pg_column_size(row.*)) FROM {_MODEL.table} AS row")
    changed = _changed_columns(conn, watch, columns)
    _make_changed(conn, watch, changed, place)
    return _Subject(
        table,
        known,
        len(names),
        round(width),
        found,
        place,
        _writes(conn, watch, stored, changed, place),
    )


def _described(conn: Connection, name: str, options: Options) -> Watch:
    """Return how the table would be watched, whoever has its entity type."""
    try:
        return watching.described(conn, name, options)
    except EntityTypeTaken:
        return watching.described(conn, name, replace(options, entity_type="BENCH"))


def _row_count(conn: Connection, table: Table) -> tuple[int, bool]:
    """Return about how many rows the table has with its partitions and heirs, and whether it has none."""
    ((estimated, is_known, is_empty),) = rows(
        conn,
        "SELECT sum(greatest(class.reltuples, 0))::bigint, bool_and(class.reltuples >= 0),"
        f" NOT EXISTS (SELECT FROM {table.qualified.replace('%', '%%')})"
        " FROM llamalog.family(%s) AS member (oid) JOIN pg_class AS class ON class.oid = member.oid"
        " WHERE class.relkind = 'r'",
        [table.oid],
    )
    if is_empty or (is_known and estimated):
        return int(estimated or 0), bool(is_empty)
    ((counted,),) = rows(conn, f"SELECT count(*) FROM {table.qualified}")
    return int(counted), False


def _changed_columns(conn: Connection, watch: Watch, asked: list[str]) -> list[str]:
    """Return the columns that UPDATE changes: those asked for, or else two whose change breaks no rule and counts as one.

    Raises CannotWatch: 42703 for a column that is not there, LL009 for one that cannot be changed.
    """
    found = rows(
        conn,
        """
        WITH indexed AS (
            SELECT indexed.attnum, bool_or(index.indisunique OR index.indisexclusion) AS is_unique
            FROM pg_index AS index
            CROSS JOIN LATERAL (
                SELECT unnest(index.indkey::int2[]) AS attnum
                UNION
                -- in expressions and predicates
                SELECT link.refobjsubid
                FROM pg_depend AS link
                WHERE link.classid = 'pg_class'::regclass
                    AND link.objid = index.indexrelid
                    AND link.refclassid = 'pg_class'::regclass
                    AND link.refobjid = index.indrelid
            ) AS indexed
            WHERE index.indrelid = %(oid)s
            GROUP BY indexed.attnum
        )
        SELECT
            attribute.attname::text,
            attribute.attgenerated <> '' OR attribute.attidentity = 'a' AS is_made,
            coalesce(indexed.is_unique, false)
                OR attribute.attnum = ANY (coalesce(partitioned.partattrs::int2[], '{}')) AS is_unique
        FROM pg_attribute AS attribute
        LEFT JOIN indexed
            ON indexed.attnum = attribute.attnum
        LEFT JOIN pg_partitioned_table AS partitioned
            ON partitioned.partrelid = attribute.attrelid
        WHERE attribute.attrelid = %(oid)s
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
        ORDER BY
            -- what a rule ties to other columns, or to another table
            EXISTS (
                SELECT
                FROM pg_constraint AS rule
                WHERE rule.conrelid = attribute.attrelid
                    AND attribute.attnum = ANY (rule.conkey)
                    AND (rule.contype = 'f' OR rule.contype = 'c' AND cardinality(rule.conkey) > 1)
            ),
            indexed.attnum IS NOT NULL,
            attribute.attnum
        """,
        {"oid": watch.table.oid},
    )
    fixed = {name: made for name, made, unique in found if made or unique}
    names = [str(name) for name, _, _ in found]
    varied = _varied(conn, names)
    for name in asked:
        if name not in names:
            raise CannotWatch(
                f"{watch.table.shown} has no column {name}",
                sqlstate="42703",
                hint=f"Its columns are {', '.join(c.name for c in watch.columns)}.",
            )
        if name in fixed:
            raise CannotWatch(
                f"column {name} of {watch.table.shown} cannot be changed here",
                detail="PostgreSQL makes its values."
                if fixed[name]
                else "It stands in a unique index or tells the partition.",
                hint="Name another with --column, or leave the choice to the bench.",
            )
        if name not in varied:
            raise CannotWatch(
                f"column {name} of {watch.table.shown} has the same value in every sampled row",
                hint="Name another with --column, or take more rows with --rows.",
            )
    free = [n for n in names if n in varied and n not in fixed and n not in watch.ignored_columns]
    return list(dict.fromkeys(asked)) or free[:2]


def _varied(conn: Connection, names: list[str]) -> set[str]:
    """Return the columns that do not hold the same in every sampled row."""
    counted = ", ".join(
        f"count(DISTINCT {ident(n)}::text) + max(({ident(n)} IS NULL)::int) > 1" for n in names
    )
    (found,) = rows(conn, f"SELECT {counted} FROM {_SAMPLE}")
    return {name for name, varies in zip(names, found, strict=True) if varies}


def _make_changed(conn: Connection, watch: Watch, columns: list[str], place: str) -> None:
    """Keep, for each sampled row, its key and other values for these columns: those of the row after it, or of another."""
    at = ident(place)
    values = [
        f"CASE WHEN row.{c}::text IS DISTINCT FROM lead(row.{c}, 1, row.{c}) OVER following::text"
        f" THEN lead(row.{c}, 1, row.{c}) OVER following"
        f" WHEN row.{c}::text IS DISTINCT FROM first.{c}::text THEN first.{c}"
        f" ELSE (SELECT other.{c} FROM {_SAMPLE} AS other WHERE other.{c}::text IS DISTINCT FROM first.{c}::text"
        f" ORDER BY other.{at} LIMIT 1) END AS {c}"
        for c in map(ident, columns)
    ]
    kept = [f"row.{ident(name)}" for name in watch.key_columns]
    conn.execute(
        f"CREATE TABLE {_CHANGED} AS SELECT {', '.join([f'row.{at}', *kept, *values])}"
        f" FROM {_SAMPLE} AS row JOIN {_SAMPLE} AS first ON first.{at} = 1"
        f" WINDOW following AS (ORDER BY row.{at})".encode()
    )


def _writes(
    conn: Connection, watch: Watch, stored: list[str], changed: list[str], place: str
) -> list[_Write]:
    """Return the writes in an order that leaves every row where it was, but for the changed columns."""
    key = " AND ".join(f"written.{ident(k)} = v_row.{ident(k)}" for k in watch.key_columns)
    names = ", ".join(map(ident, stored))
    values = ", ".join(f"v_row.{ident(name)}" for name in stored)
    into = f"({names}) OVERRIDING SYSTEM VALUE"
    sets = ", ".join(f"{ident(c)} = v_row.{ident(c)}" for c in changed)
    # the key itself where there is nothing else
    settable = rows(
        conn,
        "SELECT attname::text FROM pg_attribute WHERE attrelid = %s AND attname = ANY (%s)"
        " AND attidentity <> 'a' ORDER BY attname = ANY (%s), attnum LIMIT 1",
        [watch.table.oid, stored, watch.key_columns],
    )
    same = changed or [str(name) for (name,) in settable]
    same_sets = ", ".join(f"{ident(c)} = written.{ident(c)}" for c in same)
    writes = [
        _Write(
            "DELETE",
            _CHANGED,
            lambda table: f"DELETE FROM {table} AS written WHERE {key}",
            lambda table, _: f"DELETE FROM {table}",
        ),
        _Write(
            "INSERT",
            _SAMPLE,
            lambda table: f"INSERT INTO {table} {into} VALUES ({values})",
            lambda table, count: (
                f"INSERT INTO {table} {into} SELECT {values} FROM {_SAMPLE} AS v_row"
                f" WHERE v_row.{ident(place)} <= {count}"
            ),
        ),
        _Write(
            "UPDATE",
            _CHANGED,
            lambda table: f"UPDATE {table} AS written SET {sets} WHERE {key}",
            lambda table, _: (
                f"UPDATE {table} AS written SET {sets} FROM {_CHANGED} AS v_row WHERE {key}"
            ),
            changed,
        ),
        _Write(
            "no-op UPDATE",
            _CHANGED,
            lambda table: f"UPDATE {table} AS written SET {same_sets} WHERE {key}",
            lambda table, _: f"UPDATE {table} AS written SET {same_sets}",
            same,
        ),
    ]
    return [write for write in writes if write.columns or "UPDATE" not in write.name]


def _systems(conn: Connection, subject: _Subject) -> list[_System]:
    """Make a copy of the table for each capture, filled, with what hangs on it; the first has none."""
    systems = [_System(NONE, _MODEL, None, subject.sampled_rows)]
    for mode in MODES:
        try:
            watch = _described(conn, subject.table.qualified, mode)
        except CannotWatch:
            if mode == MODES[0]:
                raise
            continue  # not every table can be captured in every way
        name = _name(watch)
        if name in {system.name for system in systems}:  # the table leaves no choice
            continue
        prefix = f"{_PREFIX}_{len(systems)}"
        copy = StandIn("pg_temp", prefix, f"{prefix}_log")
        stand_in.make_table(conn, copy, subject.table, _MODEL.table)
        with as_owner(conn):
            stand_in.make_log(conn, copy, stand_in.log_table(conn))
        stand_in.hang(conn, copy, watch)
        for count in (1, _FEWEST, 5 * _FEWEST):  # the first time it is compiled
            began = time.perf_counter()
            _fill(conn, subject, copy, count)
            took = time.perf_counter() - began
            conn.execute(f"DELETE FROM {copy.table}".encode())
            if took > _PATIENCE / 5:
                break
        affordable = max(_FEWEST, round(_PATIENCE / took * count))
        row_count = min(subject.sampled_rows, affordable)
        _fill(conn, subject, copy, row_count)
        systems.append(_System(name, copy, watch, row_count))
    for system in systems:
        for write in subject.writes:
            for is_many in (False, True):
                conn.execute(_procedure(subject, system, write, is_many).encode())
    return systems


def _name(watch: Watch) -> str:
    """Return what a capture is called: by what differs from the usual one."""
    is_full = watch.image == "full" and not watch.is_link  # a link always stores its row
    names = {"rendered": [], "statement": ["by statement"], "tolerant": ["tolerant"]}
    return ", ".join(names[watch.capture] + ["full image"] * is_full) or "rendered"


def _fill(conn: Connection, subject: _Subject, copy: StandIn, count: int) -> None:
    insert = next(write for write in subject.writes if write.name == "INSERT")
    conn.execute(insert.many(copy.table, count).encode())


def _procedure_name(system: _System, write: _Write, is_many: bool) -> str:
    size = "many" if is_many else "one"
    return f"pg_temp.{ident(f'{system.copy.table_name}_{size}_{write.name}')}"


def _procedure(subject: _Subject, system: _System, write: _Write, is_many: bool) -> str:
    """Return the SQL of the procedure that times a write: one statement, or a loop of such, each committed."""
    micros = "extract(epoch FROM clock_timestamp() - v_began) * 1000000"
    if is_many:
        parameters, variables = "", ""
        work = f"{write.many(system.copy.table, system.row_count)};"
    else:
        parameters, variables = "first_place integer, last_place integer, ", "v_row record; "
        place = ident(subject.place)
        work = (
            f"FOR v_row IN SELECT * FROM {write.source} AS listed WHERE listed.{place} BETWEEN $1 AND $2"
            f" ORDER BY listed.{place} LOOP {write.one(system.copy.table)}; COMMIT; END LOOP;"
        )
    body = (
        f"DECLARE {variables}v_began timestamptz := clock_timestamp(); BEGIN {work}"
        f" microseconds := {micros}; END"
    )
    return (
        f"CREATE PROCEDURE {_procedure_name(system, write, is_many)}({parameters}INOUT microseconds double precision)"
        f" LANGUAGE plpgsql AS {literal(body)}"
    )


def _times(
    conn: Connection,
    subject: _Subject,
    systems: list[_System],
    rounds: int,
    progress: Callable[[str], None],
) -> _Times:
    """Return the microseconds a row of each (write, whether many rows a statement, capture), one for each round.

    Captures take turns at every write, so that noise of the machine meets all alike.
    """
    times: _Times = {}
    for turn in range(rounds + 1):
        progress(f"round {turn} of {rounds}" if turn else "warming up")
        at = turn % len(systems)
        for is_many in (False, True):
            for write in subject.writes:
                for system in systems[at:] + systems[:at]:
                    if is_many:
                        took = _called(conn, system, write, []) / system.row_count
                    else:
                        warm = min(_WARM_UP, system.row_count // 2)
                        last = min(system.row_count, warm + ONE_BY_ONE)
                        _called(conn, system, write, [1, warm])
                        took = _called(conn, system, write, [warm + 1, last]) / (last - warm)
                    if turn:
                        times.setdefault((write.name, is_many, system.name), []).append(took)
        for system in systems:
            conn.execute(f"VACUUM {system.copy.table}".encode())
        with conn.transaction(), as_owner(conn):
            for system in systems[1:]:
                conn.execute(f"TRUNCATE {system.copy.log}".encode())
    return times


def _called(conn: Connection, system: _System, write: _Write, places: list[int]) -> float:
    arguments = ", ".join([*map(str, places), "NULL"])
    name = _procedure_name(system, write, not places)
    ((microseconds,),) = rows(conn, f"CALL {name}({arguments})")
    return float(microseconds)


def _bytes(conn: Connection, subject: _Subject, systems: list[_System]) -> _Sizes:
    """Return what each (write, capture) leaves in the log and in the WAL, for each row.

    On ordinary tables in llamalog's schema that nobody sees: the transaction is rolled back. Other sessions write into the
    WAL too, so the least of the passes counts.
    """
    ((backend, has_wal),) = rows(
        conn, "SELECT pg_backend_pid(), current_setting('wal_level') <> 'minimal'"
    )
    owner = ident(owner_of_the_log(conn))
    found: _Sizes = {}
    with conn.transaction(force_rollback=True):
        for table in (_SAMPLE, _CHANGED, _MODEL.table):
            conn.execute(f"GRANT SELECT ON {table} TO {owner}".encode())
        with as_owner(conn):
            for system in systems:
                if system.row_count < subject.sampled_rows:
                    continue
                prefix = f"bench_{backend}_{system.copy.table_name.rpartition('_')[2]}"
                copy = StandIn("llamalog", prefix, f"{prefix}_log")
                stand_in.make_table(conn, copy, subject.table, _MODEL.table)
                _fill(conn, subject, copy, system.row_count)
                if system.watch:
                    stand_in.make_log(conn, copy, system.copy.log)
                    stand_in.hang(conn, copy, system.watch)
                for turn in range(_PASSES + 1):
                    for write in subject.writes:
                        before = _measured(conn, copy, system.watch)
                        conn.execute(write.many(copy.table, system.row_count).encode())
                        after = _measured(conn, copy, system.watch)
                        if turn:  # the first makes the pages that an index begins with
                            log_rows, log_bytes, wal = (
                                (b - a) / system.row_count
                                for a, b in zip(before, after, strict=True)
                            )
                            sum_of = found.setdefault((write.name, system.name), _Bytes())
                            sum_of.log_rows += log_rows / _PASSES
                            sum_of.log_bytes += log_bytes / _PASSES
                            if has_wal:
                                least = sum_of.wal_bytes
                                sum_of.wal_bytes = wal if least is None else min(wal, least)
    return found


def _measured(conn: Connection, copy: StandIn, watch: Watch | None) -> tuple[int, int, int]:
    """Return the rows and bytes of a log, and how far the WAL has come."""
    log_rows, log_bytes = 0, 0
    if watch:
        ((log_rows, log_bytes),) = rows(
            conn,
            f"SELECT (SELECT count(*) FROM {copy.log}), sum(pg_total_relation_size(relid))::bigint"
            " FROM pg_partition_tree(to_regclass(%s))",
            [copy.log],
        )
    ((wal,),) = rows(conn, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    return log_rows, log_bytes, wal


def _cost(
    subject: _Subject,
    write: _Write,
    is_many: bool,
    system: _System,
    times: _Times,
    sizes: _Sizes,
) -> Cost:
    mine = times[write.name, is_many, system.name]
    none = times[write.name, is_many, NONE]
    ratios = sorted(a / b for a, b in zip(mine, none, strict=True))
    fifth = len(ratios) // 5
    size = sizes.get((write.name, system.name))
    compared = system.watch is not None
    return Cost(
        table=subject.table.shown,
        table_rows=subject.row_count,
        column_count=subject.column_count,
        row_bytes=subject.row_bytes,
        sampled_rows=subject.sampled_rows,
        write=write.name,
        columns=write.columns,
        rows_per_statement=system.row_count if is_many else 1,
        capture=system.name,
        microseconds=round(statistics.median(mine), 2),
        added_microseconds=round(
            statistics.median(a - b for a, b in zip(mine, none, strict=True)), 2
        )
        if compared
        else None,
        ratio=round(statistics.median(ratios), 3) if compared else None,
        ratio_low=round(ratios[fifth], 3) if compared else None,
        ratio_high=round(ratios[-1 - fifth], 3) if compared else None,
        log_rows=round(size.log_rows, 3) if size else None,
        log_bytes=round(size.log_bytes) if size else None,
        wal_bytes=round(size.wal_bytes) if size and size.wal_bytes is not None else None,
    )
