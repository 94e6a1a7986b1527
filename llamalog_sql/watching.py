"""Watching tables: decides from the catalogue what a table is, keeps it in llamalog.watches, hangs the capture."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import inflection
import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

from llamalog_sql import catalog
from llamalog_sql.catalog import Column, ForeignKey, Table
from llamalog_sql.connection import Connection
from llamalog_sql.errors import CannotWatch, EntityTypeTaken, Misuse, NotWatched
from llamalog_sql.render import IMAGE_SETTINGS, ident, literal, render

logger = logging.getLogger(__name__)

EVENTS = ("insert", "update", "delete")

_TITLES = ("title", "name")
_TIMES_OF_CHANGE = ("updated_at", "updatedat", "updated_on", "modified_at", "modifiedat", "last_modified")

_KINDS = {
    "v": ("a view", "Watch the tables it is made of."),
    "m": ("a materialized view", "Watch the tables it is made of."),
    "f": ("a foreign table", "Watch the table on the server where it lives."),
    "S": ("a sequence", "Only tables can be watched."),
    "i": ("an index", "Only tables can be watched."),
    "I": ("an index", "Only tables can be watched."),
    "c": ("a composite type", "Only tables can be watched."),
    "t": ("a TOAST table", "Only tables can be watched."),
}


@dataclass
class Options:
    """What `llamalog watch` was told; None leaves the decision to the catalogue.

    kind: "entity" or "link".  part_of: the column that refers to the whole, or "none".
    """

    entity_type: str | None = None
    key: list[str] | None = None
    kind: str | None = None
    part_of: str | None = None
    label: str | None = None
    quality: str | None = None
    source: str | None = None
    ignore: list[str] | None = None
    redact: list[str] | None = None
    image: str | None = None
    on_truncate: str | None = None
    capture: str | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, earlier: dict[str, Any]) -> Options:
        """Return these options, with what they leave open as it was decided before."""
        known = {f.name for f in fields(self)}
        return Options(**{**{k: v for k, v in earlier.items() if k in known}, **self.given()})


@dataclass
class Watch:
    """One watched table: the columns of llamalog.watches, and what rendering needs beside them."""

    entity_type: str
    schema_name: str
    table_name: str
    is_link: bool
    key_columns: list[str]
    key_types: list[str]
    label_column: str | None
    subject_type: str
    subject_columns: list[str]
    related_type: str | None
    related_columns: list[str] | None
    quality_column: str | None
    source_column: str | None
    ignored_columns: list[str]
    redacted_columns: list[str]
    image: str
    on_truncate: str
    capture: str
    options: dict[str, Any]
    fingerprint: str
    rendered: str = ""

    @property
    def is_head_by_default(self) -> bool:
        """Whether its creation is a root when the path is not known: neither a part nor a link."""
        return self.related_type is None

    @property
    def functions(self) -> dict[str, str]:
        """Names of the rendered functions by event."""
        return {event: _function_name(self.entity_type, event) for event in EVENTS}

    @property
    def is_family(self) -> bool:
        return self._table.is_family

    @property
    def description(self) -> str:
        """What it was taken for, in a line."""
        if self.is_link:
            kind = f"link {self.subject_type} – {self.related_type}"
        elif self.related_type:
            kind = f"part of {self.related_type} by {', '.join(self.related_columns or [])}"
        else:
            kind = "entity"
        parts = [kind, f"key {', '.join(self.key_columns)}"]
        if self.label_column and not self.is_link:
            parts.append(f"label {self.label_column}")
        if self.ignored_columns:
            parts.append(f"ignores {', '.join(self.ignored_columns)}")
        if self.redacted_columns:
            parts.append(f"redacts {', '.join(self.redacted_columns)}")
        if self.capture == "tolerant":
            parts.append("tolerant capture")
        return "; ".join(parts)

    _table: Table = field(repr=False, kw_only=True)
    _columns: list[Column] = field(repr=False, kw_only=True)
    _ends: list[tuple[str, bool]] = field(default_factory=list, repr=False, kw_only=True)
    _expressions: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False, kw_only=True)


@dataclass(frozen=True)
class Outcome:
    """What watching did to one table.  action: watched, changed, unchanged or unwatched."""

    entity_type: str
    table: str
    action: str
    description: str


@dataclass(frozen=True)
class _Target:
    """A table to be watched, with what was said of it.  entity_type: where it already has one."""

    table: Table
    options: Options
    entity_type: str | None = None


def watch(conn: Connection, names: list[str], options: Options | None = None) -> list[Outcome]:
    """Watch tables, and read anew what the tables watched before are to them; a second time changes nothing.

    names: tables as SQL or people spell them.  options: for exactly these tables.

    Raises CannotWatch (LL009), EntityTypeTaken (LL010), and 42501 without the right to create triggers.
    """
    options = options or Options()
    if options.entity_type is not None and len(names) > 1:
        raise Misuse("one entity type for several tables", hint="Watch them one at a time.")
    with conn.transaction():
        _lock(conn)
        targets = _active_targets(conn)
        asked: list[int] = []
        for name in names:
            table = catalog.find_table(conn, name)
            _refuse_unwatchable(conn, table)
            asked.append(table.oid)
            earlier = targets.get(table.oid)
            targets[table.oid] = _Target(
                table,
                options.over(earlier.options.given() if earlier else {}),
                earlier.entity_type if earlier else None,
            )
        outcomes = _apply(conn, targets, strict=set(asked))
    return [outcome for oid, outcome in outcomes if oid in asked or outcome.action != "unchanged"]


def refresh(conn: Connection) -> list[str]:
    """Read every watched table anew and renew the capture of those that changed; return their names."""
    with conn.transaction():
        _lock(conn)
        for entity_type, table in _lost(conn):
            logger.warning("table %s is gone: %s is no longer watched, its history stays", table, entity_type)
        outcomes = _apply(conn, _active_targets(conn), strict=set())
    return [outcome.table for _, outcome in outcomes if outcome.action != "unchanged"]


def unwatch(conn: Connection, names: list[str]) -> list[Outcome]:
    """Take the capture off tables, named as tables or as entity types; their history stays.

    Raises NotWatched (LL002).
    """
    outcomes = []
    with conn.transaction():
        _lock(conn)
        for name in names:
            targets = _active_targets(conn)
            oid = next(
                (oid for oid, t in targets.items() if t.entity_type and t.entity_type.lower() == name.lower()),
                None,
            )
            if oid is None:
                oid = catalog.find_table(conn, name).oid
            if oid not in targets:
                raise NotWatched(
                    f'table "{name}" is not watched', hint="Run llamalog status to see what is."
                )
            target = targets[oid]
            assert target.entity_type is not None
            # first, since from here on a missing trigger is meant
            conn.execute(
                "UPDATE llamalog.watches SET unwatched_at = clock_timestamp() WHERE entity_type = %s",
                [target.entity_type],
            )
            _take_off(conn, oid, target.entity_type)
            outcomes.append(
                Outcome(target.entity_type, target.table.shown, "unwatched", "its history stays")
            )
        _apply(conn, _active_targets(conn), strict=set())
    return outcomes


def take_down(conn: Connection) -> None:
    """Take the capture off every table, leaving the registry as it is, so that `migrate` can hang it again."""
    conn.execute("UPDATE llamalog.watches SET rendered = '' WHERE unwatched_at IS NULL")
    for oid, target in _active_targets(conn).items():
        assert target.entity_type is not None
        _take_off(conn, oid, target.entity_type)


def drifted(conn: Connection) -> list[tuple[str, str, str]]:
    """Return (entity type, table, what is wrong) of every watched table whose capture is not what it should be."""
    findings = []
    for entity_type, table in _lost(conn, mark=False):
        findings.append((entity_type, table, "the table is gone"))
    targets = _active_targets(conn)
    for oid, watch in _derive(conn, targets, strict=set()):
        row = conn.execute(
            "SELECT rendered, capture FROM llamalog.watches WHERE entity_type = %s", [watch.entity_type]
        ).fetchone()
        assert row is not None
        missing = _missing_triggers(conn, oid)
        if missing:
            findings.append((watch.entity_type, watch._table.shown, f"missing or disabled: {', '.join(missing)}"))
        elif row[0] == "fallen back":
            findings.append(
                (watch.entity_type, watch._table.shown, "the table has changed; the tolerant capture stands in")
            )
        elif row[0] != watch.rendered:
            findings.append((watch.entity_type, watch._table.shown, "the capture is not the one for this table"))
    return findings


def statements(watch: Watch) -> list[str]:
    """Return the SQL that hangs the rendered capture on a table: three functions, then their triggers."""
    table, functions = watch._table, watch.functions
    names = dict(
        watch=watch,
        table=table.shown,
        functions=functions,
        settings=_settings(watch),
        columns=[
            c
            for c in watch._columns
            if not c.is_generated and c.name not in watch.ignored_columns
        ],
    )
    rows = {}
    for name in ("NEW", "OLD", "n", "o"):
        rows[name] = _row_expressions(watch, name)
    rendered = [
        render("insert.sql.j2", rows=rows, by_row=table.insert_is_by_row, **names),
        render("update.sql.j2", rows=rows, **names),
        render("delete.sql.j2", rows=rows, by_row=table.delete_is_by_row, **names),
    ]
    qualified = f"{ident(table.schema_name)}.{ident(table.table_name)}"
    scopes = {
        "insert": "FOR EACH ROW"
        if table.insert_is_by_row
        else "REFERENCING NEW TABLE AS inserted_rows FOR EACH STATEMENT",
        "update": "FOR EACH ROW",
        "delete": "FOR EACH ROW"
        if table.delete_is_by_row
        else "REFERENCING OLD TABLE AS deleted_rows FOR EACH STATEMENT",
    }
    for event, scope in scopes.items():
        rendered.append(
            f"CREATE OR REPLACE TRIGGER {ident('00_llamalog_' + event)}\n"
            f"    AFTER {event.upper()} ON {qualified}\n"
            f"    {scope}\n"
            f"    EXECUTE FUNCTION llamalog.{ident(functions[event])}({literal(watch.entity_type)});\n"
        )
    return rendered


def script(conn: Connection, names: list[str], options: Options | None = None) -> Iterator[str]:
    """Yield the SQL that `watch` would run on these tables, without running it."""
    targets = _active_targets(conn)
    asked = []
    for name in names:
        table = catalog.find_table(conn, name)
        _refuse_unwatchable(conn, table)
        asked.append(table.oid)
        earlier = targets.get(table.oid)
        targets[table.oid] = _Target(
            table,
            (options or Options()).over(earlier.options.given() if earlier else {}),
            earlier.entity_type if earlier else None,
        )
    for oid, watch in _derive(conn, targets, strict=set(asked)):
        if oid in asked:
            yield f"-- {watch._table.shown} as {watch.entity_type}: {watch.description}\n"
            if watch.capture == "rendered":
                yield from statements(watch)
            else:
                yield f"SELECT llamalog.hang_tolerant_capture({literal(watch._table.shown)}::regclass, {literal(watch.entity_type)});\n"


# -- what a table is ------------------------------------------------------------------------------------------------


def _refuse_unwatchable(conn: Connection, table: Table) -> None:
    """Raise CannotWatch for what is not a plain or partitioned table of the application's."""
    if table.kind in _KINDS:
        what, hint = _KINDS[table.kind]
        raise CannotWatch(f"{table.shown} is {what}", hint=hint)
    if table.schema_name in {"pg_catalog", "information_schema", "pg_toast"}:
        raise CannotWatch(f"{table.shown} is a system table", hint="PostgreSQL runs no triggers on it.")
    if table.schema_name == "llamalog":
        raise CannotWatch(f"{table.shown} is part of the log", hint="Watch the application's tables.")
    if table.is_temporary:
        raise CannotWatch(f"{table.shown} is a temporary table", hint="It ends with the session; watch a lasting one.")
    if table.is_partition:
        row = conn.execute("SELECT pg_partition_root(%s::oid::regclass)::text", [table.oid]).fetchone()
        assert row is not None
        raise CannotWatch(
            f"{table.shown} is a partition of {row[0]}", hint=f"Watch the whole: llamalog watch {row[0]}"
        )
    row = conn.execute("SELECT has_table_privilege(%s::oid, 'TRIGGER')", [table.oid]).fetchone()
    assert row is not None
    if not row[0]:
        raise CannotWatch(
            f"permission denied to create triggers on {table.shown}",
            sqlstate="42501",
            hint=f"Connect as its owner, or: GRANT TRIGGER ON {table.shown} TO you",
        )


def _entity_type_of(table_name: str) -> str:
    """Return ALBUM for albums: the singular, in capitals, other characters than letters and digits as _."""
    words = inflection.underscore(table_name).strip("_")
    singular = inflection.singularize(words)
    return "".join(c if c.isalnum() else "_" for c in singular).upper() or "ENTITY"


def _derive(
    conn: Connection, targets: dict[int, _Target], strict: set[int]
) -> list[tuple[int, Watch]]:
    """Decide what each table is, in the light of the others.

    strict: tables whose options must hold; on the others, an option about a column that is gone is dropped.
    """
    columns = {
        oid: catalog.columns(conn, oid, _wanted_columns(conn, target, "redact", oid in strict) or [])
        for oid, target in targets.items()
    }
    keys = {oid: _key(conn, target, columns[oid]) for oid, target in targets.items()}
    types = _entity_types(conn, targets)
    references = {
        oid: [
            key
            for key in catalog.foreign_keys(conn, oid)
            if key.target in targets and key.target != oid and sorted(key.references) == sorted(keys[key.target])
        ]
        for oid in targets
    }
    links = _links(conn, targets, columns, keys, references)
    wholes = _wholes(targets, references, links)
    has_event_triggers = bool(
        conn.execute("SELECT 1 FROM pg_event_trigger WHERE evtname = 'llamalog_ddl' AND evtenabled <> 'D'").fetchone()
    )
    result = []
    for oid, target in targets.items():
        table, options = target.table, target.options
        names = {column.name: column for column in columns[oid]}
        subject_type, subject_columns = types[oid], keys[oid]
        related_type: str | None = None
        related_columns: list[str] | None = None
        if oid in links:
            subject, related = links[oid]
            subject_type, subject_columns = types[subject.target], _in_key_order(subject, keys[subject.target])
            related_type, related_columns = types[related.target], _in_key_order(related, keys[related.target])
        elif oid in wholes:
            whole = wholes[oid]
            related_type, related_columns = types[whole.target], _in_key_order(whole, keys[whole.target])
        inherited = table.is_family and table.kind != "p"
        watch = Watch(
            entity_type=types[oid],
            schema_name=table.schema_name,
            table_name=table.table_name,
            is_link=oid in links,
            key_columns=keys[oid],
            key_types=[names[name].type_name for name in keys[oid]],
            label_column=_label(options, names, oid in strict, table),
            subject_type=subject_type,
            subject_columns=subject_columns,
            related_type=related_type,
            related_columns=related_columns,
            quality_column=_named_column(options.quality, names, ["data_quality"], oid in strict, table),
            source_column=_named_column(options.source, names, ["source"], oid in strict, table),
            ignored_columns=_ignored(conn, target, columns[oid], oid in strict),
            redacted_columns=_wanted_columns(conn, target, "redact", oid in strict) or [],
            image=options.image or "none",
            on_truncate=options.on_truncate or "log",
            capture="tolerant"
            if inherited
            else options.capture or ("rendered" if has_event_triggers else "tolerant"),
            options=options.given(),
            fingerprint=table.fingerprint,
            _table=table,
            _columns=columns[oid],
        )
        exposed = set(watch.redacted_columns) & {*watch.key_columns, *watch.subject_columns, *(related_columns or [])}
        if exposed:
            raise CannotWatch(
                f"column {sorted(exposed)[0]} of {table.shown} cannot be redacted",
                hint="It names the entity in every row of the log; give the table another key.",
            )
        result.append((oid, watch))
    by_type = {watch.entity_type: watch for _, watch in result}
    for _, watch in result:
        watch._ends = _ends(watch, by_type)
        watch.rendered = _hash(conn, watch)
    return result


def _entity_types(conn: Connection, targets: dict[int, _Target]) -> dict[int, str]:
    taken: dict[str, str] = {}
    types: dict[int, str] = {}
    # those that have one keep it
    for oid, target in sorted(targets.items(), key=lambda item: item[1].entity_type is None):
        wanted = target.options.entity_type or target.entity_type or _entity_type_of(target.table.table_name)
        if target.options.entity_type:
            wanted = wanted.upper()
        if target.entity_type and wanted != target.entity_type:
            raise CannotWatch(
                f"{target.table.shown} is watched as {target.entity_type}",
                hint=f"Its history has that name. Run llamalog unwatch {target.entity_type} first to begin another.",
            )
        if wanted in taken:
            raise EntityTypeTaken(
                f"entity type {wanted} is taken by {taken[wanted]}",
                hint=f"Choose another: llamalog watch {target.table.shown} --as TYPE",
            )
        if any(c in wanted for c in "/:") or not wanted.strip():
            raise Misuse(f'"{wanted}" is no entity type', hint="Use letters, digits and _.")
        row = conn.execute(
            "SELECT schema_name, table_name FROM llamalog.watches WHERE entity_type = %s AND unwatched_at IS NOT NULL"
            " AND (schema_name, table_name) IS DISTINCT FROM (%s, %s)",
            [wanted, target.table.schema_name, target.table.table_name],
        ).fetchone()
        if row is not None and target.entity_type is None and not target.options.entity_type:
            raise EntityTypeTaken(
                f"entity type {wanted} was that of {row[0]}.{row[1]}, whose history is in the log",
                hint=f"Choose another, or the same on purpose: llamalog watch {target.table.shown} --as TYPE",
            )
        taken[wanted] = target.table.shown
        types[oid] = wanted
    return types


def _key(conn: Connection, target: _Target, columns: list[Column]) -> list[str]:
    keys = catalog.unique_keys(conn, target.table.oid)
    wanted = target.options.key
    if wanted:
        if sorted(wanted) not in [sorted(key) for key in keys]:
            raise CannotWatch(
                f"({', '.join(wanted)}) is no key of {target.table.shown}",
                detail="A key is unique and without nulls."
                + (f" Keys: {'; '.join(', '.join(key) for key in keys)}." if keys else ""),
                hint="Name columns of a primary key, or of a unique index on NOT NULL columns.",
            )
        return wanted
    if not keys:
        raise CannotWatch(
            f"{target.table.shown} has no key",
            detail="Nothing names a row of it, so the log could not say what changed.",
            hint="Add a primary key, or a unique index on NOT NULL columns.",
        )
    return keys[0]


def _links(
    conn: Connection,
    targets: dict[int, _Target],
    columns: dict[int, list[Column]],
    keys: dict[int, list[str]],
    references: dict[int, list[ForeignKey]],
) -> dict[int, tuple[ForeignKey, ForeignKey]]:
    """Return the two ends of each table that joins entities: both references stand in one of its keys."""
    referenced = catalog.referenced_oids(conn)
    links = {}
    for oid, target in targets.items():
        if target.options.kind == "entity":
            continue
        ends = references[oid]
        must = target.options.kind == "link"
        if must and len(ends) < 2:
            raise CannotWatch(
                f"{target.table.shown} joins no two watched tables",
                hint="A link has foreign keys to the keys of two watched tables; watch those first.",
            )
        for key in [keys[oid], *catalog.unique_keys(conn, oid)]:
            inside = sorted(
                (end for end in ends if set(end.columns) <= set(key)),
                key=lambda end: key.index(end.columns[0]),
            )
            others = {c.name for c in columns[oid] if not c.is_generated and c.type_name.split("(")[0] != "timestamp"}
            others -= {*keys[oid], *(name for end in ends for name in end.columns)}
            is_plain = set(key) == set(keys[oid]) or len(others) <= 2
            if len(inside) >= 2 and (must or (oid not in referenced and is_plain)):
                links[oid] = (inside[0], inside[1])
                break
        else:
            if must:
                links[oid] = (ends[0], ends[1])
    return links


def _wholes(
    targets: dict[int, _Target],
    references: dict[int, list[ForeignKey]],
    links: dict[int, tuple[ForeignKey, ForeignKey]],
) -> dict[int, ForeignKey]:
    """Return the reference by which each part belongs to its whole; a circle is cut where it is weakest."""
    wholes: dict[int, ForeignKey] = {}
    candidates: list[tuple[tuple[bool, int], int, ForeignKey]] = []
    for oid, target in targets.items():
        if oid in links or target.options.part_of == "none":
            continue
        for end in references[oid]:
            if end.target in links:
                continue
            is_asked = target.options.part_of in end.columns if target.options.part_of else False
            if target.options.part_of and not is_asked:
                continue
            candidates.append(((not is_asked, -(end.is_cascading + end.is_not_null)), oid, end))
        if target.options.part_of and not any(c[1] == oid for c in candidates):
            raise CannotWatch(
                f"column {target.options.part_of} of {target.table.shown} refers to no watched table",
                hint="Name a column with a foreign key to the key of a watched table, or none.",
            )
    for _, oid, end in sorted(candidates, key=lambda candidate: candidate[0]):
        if oid in wholes:
            continue
        above = end.target
        while above in wholes and above != oid:
            above = wholes[above].target
        if above != oid:
            wholes[oid] = end
    return wholes


def _in_key_order(reference: ForeignKey, key: list[str]) -> list[str]:
    pairs = dict(zip(reference.references, reference.columns, strict=True))
    return [pairs[name] for name in key]


def _label(options: Options, names: dict[str, Column], strict: bool, table: Table) -> str | None:
    return _named_column(options.label, names, _TITLES, strict, table)


def _named_column(
    wanted: str | None, names: dict[str, Column], usual: list[str] | tuple[str, ...], strict: bool, table: Table
) -> str | None:
    """Return the column asked for, or the first that has a usual name, in any case."""
    if wanted == "none":
        return None
    if wanted is not None:
        if wanted in names:
            return wanted
        if strict:
            raise _no_column(wanted, names, table)
    for name in usual:
        for column in names.values():
            if column.name.lower() == name:
                return column.name
    return None


def _no_column(name: str, names: dict[str, Column] | list[str], table: Table) -> CannotWatch:
    return CannotWatch(
        f"{table.shown} has no column {name}",
        sqlstate="42703",
        hint=f"Its columns are {', '.join(names)}.",
    )


def _wanted_columns(conn: Connection, target: _Target, option: str, strict: bool) -> list[str] | None:
    wanted: list[str] | None = getattr(target.options, option)
    if not wanted:
        return wanted
    existing = [column.name for column in catalog.columns(conn, target.table.oid, [])]
    for name in wanted:
        if name not in existing and strict:
            raise _no_column(name, existing, target.table)
    return [name for name in wanted if name in existing]


def _ignored(conn: Connection, target: _Target, columns: list[Column], strict: bool) -> list[str]:
    wanted = _wanted_columns(conn, target, "ignore", strict) or []
    usual = [
        column.name
        for column in columns
        if (column.name.lower() in _TIMES_OF_CHANGE and column.type_name.startswith(("timestamp", "date")))
        or column.type_name == "tsvector"
        or column.is_generated
    ]
    return [column.name for column in columns if column.name in {*wanted, *usual}]


# -- what hangs on it -----------------------------------------------------------------------------------------------


def _ends(watch: Watch, by_type: dict[str, Watch]) -> list[tuple[str, bool]]:
    """Return (type, whether it is a head by default) of what a created row belongs to or joins."""
    ends = [watch.subject_type] if watch.is_link else []
    if watch.related_type is not None:
        ends.append(watch.related_type)
    return [(kind, kind not in by_type or by_type[kind].is_head_by_default) for kind in ends]


@dataclass(frozen=True)
class RowExpressions:
    """The SQL that reads, from one row variable, what a log row holds."""

    key: str
    id: str
    related_id: str
    image: str
    fields: str
    quality: str
    sources: str
    ends: list[dict[str, str]]


def _row_expressions(watch: Watch, row: str) -> RowExpressions:
    prepared: dict[str, Any] = watch._expressions[row]
    return RowExpressions(
        key=prepared["key"],
        id=prepared["id"],
        related_id=prepared["related_id"] or "NULL",
        image=prepared["image"],
        fields=prepared["fields"],
        quality=f"{row}.{ident(watch.quality_column)}::text" if watch.quality_column else "NULL",
        sources=f"coalesce(v_sources, ARRAY[{row}.{ident(watch.source_column)}::text])"
        if watch.source_column
        else "v_sources",
        ends=[
            {
                "type": literal(kind),
                "id": prepared["id"] if watch.is_link and position == 0 else prepared["related_id"],
                "is_head_by_default": "true" if is_head else "false",
            }
            for position, (kind, is_head) in enumerate(watch._ends)
        ],
    )


def _prepare_expressions(conn: Connection, watch: Watch) -> None:
    """Ask llamalog for the SQL of keys, images and fields of this table, once for each row variable."""
    with conn.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(
            "SELECT row.name, llamalog.key_expression(%(oid)s, %(key)s, row.name) AS key,"
            " llamalog.key_expression(%(oid)s, %(subject)s, row.name) AS id,"
            " llamalog.key_expression(%(oid)s, %(related)s, row.name) AS related_id,"
            " llamalog.image_expression(%(oid)s, %(redacted)s, row.name) AS image,"
            " llamalog.fields_expression(%(oid)s, %(ignored)s, row.name) AS fields"
            " FROM unnest(ARRAY['NEW', 'OLD', 'n', 'o']) AS row (name)",
            {
                "oid": watch._table.oid,
                "key": watch.key_columns,
                "subject": watch.subject_columns,
                "related": watch.related_columns,
                "redacted": watch.redacted_columns,
                "ignored": watch.ignored_columns,
            },
        ).fetchall()
    watch._expressions = {row["name"]: row for row in rows}


def _settings(watch: Watch) -> dict[str, str]:
    """Return the settings that images and keys of this table depend on."""
    used = {name for column in watch._columns for name in column.settings}
    return {name: value for name, value in IMAGE_SETTINGS.items() if name in used}


def _hash(conn: Connection, watch: Watch) -> str:
    _prepare_expressions(conn, watch)
    hung = "\n".join(statements(watch)) if watch.capture == "rendered" else "tolerant"
    registered = json.dumps([getattr(watch, name) for name in _REGISTERED if name != "rendered"], default=str)
    return hashlib.md5((registered + hung).encode(), usedforsecurity=False).hexdigest()


_REGISTERED = [f.name for f in fields(Watch) if not f.name.startswith("_")]


def _apply(conn: Connection, targets: dict[int, _Target], strict: set[int]) -> list[tuple[int, Outcome]]:
    """Make registry and triggers what they should be."""
    outcomes = []
    for oid, watch in _derive(conn, targets, strict):
        before = conn.execute(
            "SELECT rendered, unwatched_at FROM llamalog.watches WHERE entity_type = %s", [watch.entity_type]
        ).fetchone()
        is_new = before is None or before[1] is not None
        if not is_new and before is not None and before[0] == watch.rendered and not _missing_triggers(conn, oid):
            action = "unchanged"
        else:
            action = "watched" if is_new else "changed"
            _register(conn, watch)
            _hang(conn, watch)
        outcomes.append((oid, Outcome(watch.entity_type, watch._table.shown, action, watch.description)))
    return outcomes


def _register(conn: Connection, watch: Watch) -> None:
    values = {name: getattr(watch, name) for name in _REGISTERED}
    values["options"] = json.dumps(watch.options)
    names = sql.SQL(", ").join(map(sql.Identifier, _REGISTERED))
    conn.execute(
        sql.SQL(
            "INSERT INTO llamalog.watches ({names}) VALUES ({values}) ON CONFLICT (entity_type) DO UPDATE SET"
            " ({names}) = ROW({new}),"
            " watched_at = CASE WHEN watches.unwatched_at IS NULL THEN watches.watched_at ELSE clock_timestamp() END,"
            " unwatched_at = NULL"
        ).format(
            names=names,
            values=sql.SQL(", ").join(map(sql.Placeholder, _REGISTERED)),
            new=sql.SQL(", ").join(sql.SQL("excluded.{}").format(sql.Identifier(n)) for n in _REGISTERED),
        ),
        values,
    )


def _hang(conn: Connection, watch: Watch) -> None:
    oid = watch._table.oid
    try:
        if watch.capture == "tolerant":
            conn.execute(
                "SELECT llamalog.hang_tolerant_capture(member.oid, %s) FROM llamalog.family(%s) AS member (oid)"
                " WHERE member.oid = %s OR NOT llamalog.is_partitioned(member.oid)",
                [watch.entity_type, oid, oid],
            )
        conn.execute(
            "SELECT llamalog.hang_truncate_capture(member.oid, %s) FROM llamalog.family(%s) AS member (oid)",
            [watch.entity_type, oid],
        )
        if watch.capture == "rendered":
            functions, triggers = statements(watch)[:3], statements(watch)[3:]
            owner = conn.execute("SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'llamalog'").fetchone()
            assert owner is not None
            conn.execute(f"SET LOCAL ROLE {owner[0]}".encode())
            for text, name in zip(functions, watch.functions.values(), strict=True):
                conn.execute(text.encode())
                conn.execute(
                    sql.SQL("REVOKE ALL ON FUNCTION llamalog.{}() FROM PUBLIC").format(sql.Identifier(name))
                )
                conn.execute(
                    sql.SQL("COMMENT ON FUNCTION llamalog.{}() IS {}").format(
                        sql.Identifier(name), sql.Literal(f"Capture of {watch._table.shown}, rendered by llamalog watch.")
                    )
                )
            conn.execute("RESET ROLE")
            for text in triggers:
                conn.execute(text.encode())
    except psycopg.errors.InsufficientPrivilege as error:
        raise CannotWatch(
            f"{watch._table.shown}: {error.diag.message_primary}",
            sqlstate=error.sqlstate,
            hint="Connect as the owner of the table, or as a superuser.",
        ) from error


def _take_off(conn: Connection, oid: int, entity_type: str) -> None:
    """Drop our triggers and functions, and take back what was granted."""
    for event in (*EVENTS, "truncate"):
        for (member,) in conn.execute(
            "SELECT member.oid::regclass::text FROM llamalog.family(%s) AS member (oid)"
            " JOIN pg_trigger AS hung ON hung.tgrelid = member.oid AND hung.tgname = %s AND hung.tgparentid = 0",
            [oid, f"00_llamalog_{event}"],
        ).fetchall():
            conn.execute(f"DROP TRIGGER IF EXISTS {ident('00_llamalog_' + event)} ON {member}".encode())
        if event != "truncate":
            conn.execute(
                sql.SQL("DROP FUNCTION IF EXISTS llamalog.{}()").format(
                    sql.Identifier(_function_name(entity_type, event))
                )
            )
    row = conn.execute(
        "SELECT grants, (SELECT nspowner::regrole::text FROM pg_namespace WHERE nspname = 'llamalog')"
        " FROM llamalog.watches WHERE entity_type = %s",
        [entity_type],
    ).fetchone()
    assert row is not None
    for granted in row[0] if isinstance(row[0], list) else []:
        conn.execute(f"REVOKE {granted} FROM {row[1]}".encode())
    conn.execute("UPDATE llamalog.watches SET grants = '{}' WHERE entity_type = %s", [entity_type])


def _missing_triggers(conn: Connection, oid: int) -> list[str]:
    rows = conn.execute(
        "SELECT wanted.name FROM unnest(%s::text[]) AS wanted (name) WHERE NOT EXISTS ("
        " SELECT FROM pg_trigger AS hung JOIN pg_proc AS called ON called.oid = hung.tgfoid"
        " WHERE hung.tgrelid = %s AND hung.tgname = wanted.name AND hung.tgenabled <> 'D'"
        " AND called.pronamespace = 'llamalog'::regnamespace)",
        [[f"00_llamalog_{event}" for event in (*EVENTS, "truncate")], oid],
    ).fetchall()
    return [str(name) for (name,) in rows]


def _function_name(entity_type: str, event: str) -> str:
    name = f"capture_{entity_type.lower()}_{event}"
    if len(name.encode()) <= 63:
        return name
    digest = hashlib.md5(entity_type.encode(), usedforsecurity=False).hexdigest()
    return f"capture_{digest}_{event}"


# -- the registry ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Registered:
    entity_type: str
    options: dict[str, Any]
    oid: int


def _active_targets(conn: Connection) -> dict[int, _Target]:
    """Return the watched tables that exist, by oid: found by their triggers, else by name."""
    with conn.cursor(row_factory=class_row(_Registered)) as cursor:
        known = cursor.execute(
            "SELECT watch.entity_type, watch.options,"
            " coalesce(captured.relation, to_regclass(format('%I.%I', watch.schema_name, watch.table_name)))::bigint AS oid"
            " FROM llamalog.watches AS watch"
            " LEFT JOIN llamalog.captured_tables() AS captured"
            " ON captured.entity_type = watch.entity_type AND captured.is_top"
            " WHERE watch.unwatched_at IS NULL"
            " AND coalesce(captured.relation, to_regclass(format('%I.%I', watch.schema_name, watch.table_name))) IS NOT NULL"
            " ORDER BY watch.watched_at, watch.entity_type"
        ).fetchall()
    return {
        row.oid: _Target(catalog.table(conn, row.oid), Options().over(row.options), row.entity_type) for row in known
    }


def _lost(conn: Connection, *, mark: bool = True) -> list[tuple[str, str]]:
    """Return (and mark as no longer watched) the watched tables that are gone."""
    condition = (
        " unwatched_at IS NULL AND to_regclass(format('%I.%I', schema_name, table_name)) IS NULL"
        " AND entity_type NOT IN (SELECT captured.entity_type FROM llamalog.captured_tables() AS captured)"
    )
    query = (
        f"UPDATE llamalog.watches SET unwatched_at = clock_timestamp() WHERE {condition} RETURNING"
        if mark
        else "SELECT"
    )
    tail = "" if mark else f" FROM llamalog.watches WHERE {condition}"
    return [
        (str(kind), str(name))
        for kind, name in conn.execute(
            f"{query} entity_type, format('%I.%I', schema_name, table_name){tail}".encode()
        ).fetchall()
    ]


def _lock(conn: Connection) -> None:
    conn.execute("SELECT pg_advisory_xact_lock(hashtextextended('llamalog.watch', 0))")
