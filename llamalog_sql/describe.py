"""Decides, from the catalogue and from what `llamalog watch` was told, what a table is to the log."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

import inflection

from llamalog_sql import catalog, row_security
from llamalog_sql.adoption import state
from llamalog_sql.catalog import Column, ForeignKey, Table
from llamalog_sql.connection import Connection, first_row
from llamalog_sql.errors import CannotWatch, EntityTypeTaken, Misuse

_TITLES = ("title", "name")
_TIMES_OF_CHANGE = (
    "updated_at",
    "updatedat",
    "updated_on",
    "modified_at",
    "modifiedat",
    "last_modified",
)

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


#: What an INSERT stores of the row where nobody says.
DEFAULT_IMAGE = "none"


@dataclass
class Options:
    """What `llamalog watch` was told; None leaves the decision to the catalogue.

    kind: "entity" or "link".  part_of: the column that refers to the whole, or "none".
    always: whether rows that replication applies are logged too; None: not, and check says so where there are any.
    row_security: whether the policies of the table hold for its rows of the log too.
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
    always: bool | None = None
    row_security: bool | None = None

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, earlier: dict[str, Any]) -> Options:
        """Return these options, with what they leave open as it was decided before.

        A column that was redacted stays so: only "none" ends it.
        """
        known = {f.name for f in fields(self)}
        result = Options(**{**{k: v for k, v in earlier.items() if k in known}, **self.given()})
        if self.redact == ["none"]:
            result.redact = None
        elif self.redact:
            result.redact = [*dict.fromkeys([*(earlier.get("redact") or []), *self.redact])]
        return result


@dataclass
class Watch:
    """One watched table: the columns of llamalog.watches, then what rendering needs beside them.

    ends: (type, whether it is a head by default) of what its rows belong to or join, in the order of the columns.
    """

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
    table: Table
    columns: list[Column] = field(repr=False)
    has_key: bool = True
    column_numbers: dict[str, int] = field(default_factory=dict, repr=False)
    ends: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def is_head_by_default(self) -> bool:
        """Whether its creation is a root when the path is not known: neither a part nor a link."""
        return self.related_type is None

    @property
    def is_always(self) -> bool:
        """Whether rows that replication applies are logged too."""
        return bool(self.options.get("always"))

    @property
    def is_protected(self) -> bool:
        """Whether the policies of the table hold for its rows of the log too."""
        return bool(self.options.get("row_security"))

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
        if self.quality_column:
            parts.append(f"quality {self.quality_column}")
        if self.source_column:
            parts.append(f"source {self.source_column}")
        if self.ignored_columns:
            parts.append(f"ignores {', '.join(self.ignored_columns)}")
        if self.redacted_columns:
            parts.append(f"redacts {', '.join(self.redacted_columns)}")
        if self.image == "full":
            parts.append("full image")
        if self.on_truncate == "refuse":
            parts.append("refuses TRUNCATE")
        if self.capture == "tolerant":
            parts.append("tolerant capture")
        if self.capture == "statement":
            parts.append("captured by statement")
        if self.is_always:
            parts.append("replicated rows too")
        if self.is_protected:
            parts.append("row security carried over")
        return "; ".join(parts)


@dataclass(frozen=True)
class Target:
    """A table to be watched, with what was said of it.

    entity_type, key_columns and the named columns: where it already has them.
    """

    table: Table
    options: Options
    entity_type: str | None = None
    key_columns: list[str] | None = None
    label_column: str | None = None
    quality_column: str | None = None
    source_column: str | None = None


def refuse_unwatchable(conn: Connection, table: Table) -> None:
    """Raise CannotWatch for what is not a plain or partitioned table of the application's."""
    if table.kind in _KINDS:
        what, hint = _KINDS[table.kind]
        raise CannotWatch(f"{table.shown} is {what}", hint=hint)
    if table.schema_name in {"pg_catalog", "information_schema", "pg_toast"}:
        raise CannotWatch(
            f"{table.shown} is a system table", hint="PostgreSQL runs no triggers on it."
        )
    if table.schema_name == "llamalog":
        raise CannotWatch(
            f"{table.shown} is part of the log", hint="Watch the application's tables."
        )
    if (adopted := state.adopted(conn)) is not None and table.oid == catalog.oid_of(
        conn, adopted.table
    ):
        raise CannotWatch(
            f"{table.shown} is the log: it would log itself",
            hint="Watch the application's other tables.",
        )
    if table.is_temporary:
        raise CannotWatch(
            f"{table.shown} is a temporary table",
            hint="It ends with the session; watch a lasting one.",
        )
    if table.is_partition:
        row = first_row(conn, "SELECT pg_partition_root(%s::oid::regclass)::text", [table.oid])
        assert row is not None
        raise CannotWatch(
            f"{table.shown} is a partition of {row[0]}",
            hint=f"Watch the whole: llamalog watch {row[0]}",
        )
    row = first_row(conn, "SELECT has_table_privilege(%s::oid, 'TRIGGER')", [table.oid])
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


def describe(
    conn: Connection, targets: dict[int, Target], strict: set[int]
) -> list[tuple[int, Watch]]:
    """Decide what each table is, in the light of the others.

    strict: tables whose options must hold; on the others, an option about a column that is gone is dropped.
    """
    columns = {
        oid: catalog.columns(
            conn, oid, _wanted_columns(conn, target, "redact", oid in strict) or []
        )
        for oid, target in targets.items()
    }
    found = {
        oid: _key(conn, target, columns[oid], oid in strict) for oid, target in targets.items()
    }
    keys = {oid: key for oid, (key, _) in found.items()}
    types = _entity_types(conn, targets)
    references = {
        oid: [
            key
            for key in catalog.foreign_keys(conn, oid)
            if key.target in targets
            and key.target != oid
            and sorted(key.references) == sorted(keys[key.target])
        ]
        for oid in targets
    }
    links = _links(conn, targets, columns, keys, references, strict)
    wholes = _wholes(targets, columns, references, links, strict)
    fast = "rendered" if has_event_triggers(conn) else "tolerant"
    result = []
    for oid, target in targets.items():
        table, options = target.table, target.options
        names = {column.name: column for column in columns[oid]}
        subject_type, subject_columns = types[oid], keys[oid]
        related_type: str | None = None
        related_columns: list[str] | None = None
        if oid in links:
            subject, related = links[oid]
            subject_type, subject_columns = (
                types[subject.target],
                _in_key_order(subject, keys[subject.target]),
            )
            related_type, related_columns = (
                types[related.target],
                _in_key_order(related, keys[related.target]),
            )
        elif oid in wholes:
            whole = wholes[oid]
            related_type, related_columns = (
                types[whole.target],
                _in_key_order(whole, keys[whole.target]),
            )
        if options.row_security and oid in strict:
            row_security.refuse_unprotectable(conn, table)
        inherited = table.is_family and table.kind != "p"
        # a column that had the part goes on with it when it is renamed
        labels = [target.label_column, *_TITLES]
        qualities = [target.quality_column, "data_quality"]
        sources = [target.source_column, "source"]
        quality = _named_column(options.quality, names, qualities, oid in strict, table)
        source = _named_column(options.source, names, sources, oid in strict, table)
        redacted = _wanted_columns(conn, target, "redact", oid in strict) or []
        identity = {*keys[oid], *subject_columns, *(related_columns or [])}
        watch = Watch(
            entity_type=types[oid],
            schema_name=table.schema_name,
            table_name=table.table_name,
            is_link=oid in links,
            key_columns=keys[oid],
            key_types=[names[name].type_name for name in keys[oid]],
            label_column=_named_column(options.label, names, labels, oid in strict, table),
            subject_type=subject_type,
            subject_columns=subject_columns,
            related_type=related_type,
            related_columns=related_columns,
            quality_column=_shown(quality, redacted),
            source_column=_shown(source, redacted),
            ignored_columns=_ignored(conn, target, columns[oid], identity, oid in strict),
            redacted_columns=redacted,
            image=options.image or DEFAULT_IMAGE,
            on_truncate=options.on_truncate or "log",
            capture="tolerant"
            if inherited or not found[oid][1]
            else _capture(options, fast, table, oid in strict),
            options=options.given(),
            fingerprint=table.fingerprint,
            table=table,
            columns=columns[oid],
            has_key=found[oid][1],
            column_numbers=catalog.column_numbers(conn, oid),
        )
        exposed = identity & set(watch.redacted_columns)
        if exposed:
            raise CannotWatch(
                f"column {sorted(exposed)[0]} of {table.shown} cannot be redacted",
                hint="It names the entity in every row of the log; give the table another key.",
            )
        result.append((oid, watch))
    by_type = {watch.entity_type: watch for _, watch in result}
    for _, watch in result:
        watch.ends = _ends(watch, by_type)
    return result


def has_event_triggers(conn: Connection) -> bool:
    """Return whether the capture of a table that changes falls back by itself."""
    found = first_row(
        conn,
        # neither disabled nor for the replica role alone
        "SELECT 1 FROM pg_event_trigger WHERE evtname = 'llamalog_ddl' AND evtenabled IN ('O', 'A')",
    )
    return found is not None


def _entity_types(conn: Connection, targets: dict[int, Target]) -> dict[int, str]:
    taken: dict[str, str] = {}
    types: dict[int, str] = {}
    # those that have one keep it
    for oid, target in sorted(targets.items(), key=lambda item: item[1].entity_type is None):
        wanted = (
            target.options.entity_type
            or target.entity_type
            or _entity_type_of(target.table.table_name)
        )
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
        row = first_row(
            conn,
            "SELECT schema_name, table_name FROM llamalog.watches WHERE entity_type = %s AND unwatched_at IS NOT NULL"
            " AND (schema_name, table_name) IS DISTINCT FROM (%s, %s)",
            [wanted, target.table.schema_name, target.table.table_name],
        )
        if row is not None and target.entity_type is None and not target.options.entity_type:
            raise EntityTypeTaken(
                f"entity type {wanted} was that of {row[0]}.{row[1]}, whose history is in the log",
                hint=f"Choose another, or the same on purpose: llamalog watch {target.table.shown} --as TYPE",
            )
        taken[wanted] = target.table.shown
        types[oid] = wanted
    return types


def _key(
    conn: Connection, target: Target, columns: list[Column], strict: bool
) -> tuple[list[str], bool]:
    """Return the columns that name a row, and whether they are a key: one that lost it is captured on as well as can be."""
    keys = catalog.unique_keys(conn, target.table.oid)
    wanted = target.options.key
    if wanted:
        if sorted(wanted) in [sorted(key) for key in keys]:
            return wanted, True
        if strict:
            raise CannotWatch(
                f"({', '.join(wanted)}) is no key of {target.table.shown}",
                sqlstate=None if set(wanted) <= {column.name for column in columns} else "42703",
                detail="A key is unique and without nulls."
                + (f" Keys: {'; '.join(', '.join(key) for key in keys)}." if keys else ""),
                hint="Name columns of a primary key, or of a unique index on NOT NULL columns.",
            )
    if not keys and strict:
        raise CannotWatch(
            f"{target.table.shown} has no key",
            detail="Nothing names a row of it, so the log could not say what changed.",
            hint="Add a primary key, or a unique index on NOT NULL columns.",
        )
    if keys:
        return keys[0], True
    names = [c.name for c in columns if c.name not in (target.options.redact or [])]
    earlier = target.key_columns
    return (earlier if earlier and set(earlier) <= set(names) else names), False


def _links(
    conn: Connection,
    targets: dict[int, Target],
    columns: dict[int, list[Column]],
    keys: dict[int, list[str]],
    references: dict[int, list[ForeignKey]],
    strict: set[int],
) -> dict[int, tuple[ForeignKey, ForeignKey]]:
    """Return the two ends of each table that joins entities: both references stand in one of its keys."""
    referenced = catalog.referenced_oids(conn)
    links = {}
    for oid, target in targets.items():
        if target.options.kind == "entity":
            continue
        ends = references[oid]
        must = target.options.kind == "link"
        if must and len(ends) < 2 and oid not in strict:
            continue
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
            others = {
                c.name
                for c in columns[oid]
                if not c.is_generated and c.type_name.split("(")[0] != "timestamp"
            }
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
    targets: dict[int, Target],
    columns: dict[int, list[Column]],
    references: dict[int, list[ForeignKey]],
    links: dict[int, tuple[ForeignKey, ForeignKey]],
    strict: set[int],
) -> dict[int, ForeignKey]:
    """Return the reference by which each part belongs to its whole; a circle is cut where it is weakest."""
    wholes: dict[int, ForeignKey] = {}
    candidates: list[tuple[tuple[bool, int, str, list[str]], int, ForeignKey]] = []
    for oid, target in targets.items():
        if oid in links or target.options.part_of == "none":
            continue
        ends = [end for end in references[oid] if end.target not in links]
        asked = target.options.part_of
        if asked and oid not in strict and not any(asked in end.columns for end in ends):
            asked = None  # it refers to nothing any more
        for end in ends:
            is_asked = asked in end.columns if asked else False
            if asked and not is_asked:
                continue
            strength = -(end.is_cascading + end.is_not_null)
            # by name, so that the order in which tables were watched decides nothing
            rank = (not is_asked, strength, target.table.shown, end.columns)
            candidates.append((rank, oid, end))
        names = [column.name for column in columns[oid]]
        if asked and asked not in names:
            raise _no_column(asked, names, target.table)
        if asked and not any(c[1] == oid for c in candidates):
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


def _named_column(
    wanted: str | None,
    names: dict[str, Column],
    usual: list[str | None],
    strict: bool,
    table: Table,
) -> str | None:
    """Return the column asked for, or the first that has a usual name, in any case."""
    if wanted == "none":
        return None
    if wanted is not None:
        if wanted in names:
            return wanted
        if strict:
            raise _no_column(wanted, names, table)
    for name in filter(None, usual):
        if name in names:
            return name
        for column in names.values():
            if column.name.lower() == name:
                return column.name
    return None


def _shown(name: str | None, redacted: list[str]) -> str | None:
    """Return the column, unless its values must not be stored."""
    return None if name in redacted else name


def _no_column(name: str, names: dict[str, Column] | list[str], table: Table) -> CannotWatch:
    several = " Give the option once for each column." if "," in name else ""
    return CannotWatch(
        f"{table.shown} has no column {name}",
        sqlstate="42703",
        hint=f"Its columns are {', '.join(names)}.{several}",
    )


def _wanted_columns(
    conn: Connection, target: Target, option: str, strict: bool
) -> list[str] | None:
    wanted: list[str] | None = getattr(target.options, option)
    if not wanted:
        return wanted
    existing = [column.name for column in catalog.columns(conn, target.table.oid, [])]
    for name in wanted:
        if name not in existing and strict:
            raise _no_column(name, existing, target.table)
    return [name for name in wanted if name in existing]


def _ignored(
    conn: Connection, target: Target, columns: list[Column], identity: set[str], strict: bool
) -> list[str]:
    """Return the columns whose change alone is no change; never one that says which entity it is."""
    wanted = _wanted_columns(conn, target, "ignore", strict) or []
    if any(column.is_generated for column in columns if column.name in identity):
        # a change of them is one of the key
        identity = identity | catalog.made_from(conn, target.table.oid, identity)
    if strict and identity & set(wanted):
        raise CannotWatch(
            f"column {sorted(identity & set(wanted))[0]} of {target.table.shown} cannot be ignored",
            hint="It says which entity the row is, or what it belongs to.",
        )
    usual = [
        column.name
        for column in columns
        if (
            column.name.lower() in _TIMES_OF_CHANGE
            and column.type_name.startswith(("timestamp", "date"))
        )
        or column.type_name == "tsvector"
    ]
    return [
        column.name
        for column in columns
        if column.name in {*wanted, *usual} and column.name not in identity
    ]


def _capture(options: Options, usual: str, table: Table, strict: bool) -> str:
    """Return the kind of capture; one by statement only where it keeps the order of the writes, and sees them all."""
    wanted = options.capture or usual
    if wanted != "statement" or not (table.insert_is_by_row or options.always):
        return wanted
    if strict:
        why = (
            "replication fires no statement triggers, and it is watched with --always"
            if options.always
            else "it has partitions or heirs, whose columns may differ"
            if table.is_family
            else "the database has AFTER triggers, whose writes would be logged before the statement that fires them"
        )
        raise CannotWatch(
            f"{table.shown} cannot be captured by statement: {why}",
            hint="Watch it without --capture statement.",
        )
    return "rendered"


def _ends(watch: Watch, by_type: dict[str, Watch]) -> list[tuple[str, bool]]:
    """Return (type, whether it is a head by default) of what a created row belongs to or joins."""
    ends = [watch.subject_type] if watch.is_link else []
    if watch.related_type is not None:
        ends.append(watch.related_type)
    return [(kind, kind not in by_type or by_type[kind].is_head_by_default) for kind in ends]
