"""What a log of the application's own can hold: which of its columns is which of ours, and what stands beside it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from llamalog_sql.connection import Connection, rows
from llamalog_sql.errors import CannotAdopt
from llamalog_sql.render import ident, literal

#: The columns of the lens, with their types, that a log may have; id is the key of its rows.
CANONICAL = {
    "op": "text",
    "entity_type": "text",
    "entity_id": "text",
    "operation": "text",
    "category": "text",
    "sources": "text[]",
    "status": "text",
    "reason": "text",
    "fields_enriched": "text[]",
    "data_quality_before": "text",
    "data_quality_after": "text",
    "error_message": "text",
    "error_code": "text",
    "retry_count": "integer",
    "duration_ms": "integer",
    "api_call_count": "integer",
    "metadata": "jsonb",
    "job_id": "text",
    "parent_job_id": "text",
    "root_job_id": "text",
    "is_root_job": "boolean",
    "triggered_by": "text",
    "user_id": "text",
    "created_at": "timestamp with time zone",
    "source": "text",
    "before": "jsonb",
    "after": "jsonb",
    "related_type": "text",
    "related_id": "text",
    "link_type": "text",
    "previous_id": "text",
    "db_user": "text",
    "txid": "xid8",
    "transaction_at": "timestamp with time zone",
}

#: What only capture and backfill know; a column of that name is none of it.
_OURS = {
    "op",
    "before",
    "after",
    "related_type",
    "related_id",
    "link_type",
    "previous_id",
    "db_user",
    "txid",
    "transaction_at",
}

#: What every captured row has.
_ALWAYS_KNOWN = {
    "operation",
    "category",
    "status",
    "created_at",
    "retry_count",
    "api_call_count",
    "is_root_job",
}

#: What stands in a column of ours even where the application's could hold it: what backfill may correct, and the instant,
#: by which what llamalog wrote is told from what the application did.
_BESIDE = {"category", "root_job_id", "is_root_job", "created_at"}

#: Under these every value has one text.
PINNED = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
}

#: The value of an application's enum that comes nearest to one of ours that it lacks, the best first.
NEAREST = {
    "category": {
        "UPDATED": ["ENRICHED", "CORRECTED"],
        "DELETED": ["CORRECTED", "UPDATED"],
        "TRUNCATED": ["DELETED", "CORRECTED"],
        "LINKED": ["CREATED", "ENRICHED"],
        "UNLINKED": ["LINKED", "DELETED", "CORRECTED"],
        "USER_ACTION": ["CORRECTED", "ENRICHED"],
    },
    "status": {
        "SUCCESS": ["COMPLETED", "SUCCEEDED", "OK", "DONE"],
        "FAILED": ["ERROR", "FAILURE", "ERRORED"],
    },
}


@dataclass(frozen=True)
class LegacyColumn:
    """A column of the application's.  kind: name of its type in pg_type.  type_name: the same for SQL, with its schema.

    has_collation: it sorts otherwise than the database.  labels: of an enum, in order.  length: most characters, of each element where it is an array; None without limit.
    """

    name: str
    kind: str
    type_name: str
    labels: list[str]
    length: int | None
    is_not_null: bool
    has_default: bool
    is_generated: bool = False
    has_collation: bool = False

    def reading(self, row: str, canonical: str) -> str:
        """Return the SQL of its value as the lens has it."""
        value = f"{row}.{ident(self.name)}"
        wanted = CANONICAL[canonical]
        if self.labels:
            # by its output function: a cast could be the application's own
            value = f"CASE WHEN {value} IS NOT NULL THEN concat({value}) END"
        elif self.has_collation:
            value = f'({value} COLLATE pg_catalog."default")'
        if canonical == "category":
            # what the application calls by words of its own, the rules decide
            value = f"({value})" if self.labels else f"{value}::text"
            return (
                f"(CASE WHEN upper({value}) = ANY (llamalog.categories()) THEN upper({value}) END)"
            )
        if canonical == "entity_type" and not (self.labels and self.labels == _upper(self.labels)):
            return f"upper({value})" if self.labels else f"upper({value}::text)"
        if self.labels:
            return f"({value})"
        if wanted == "timestamp with time zone":
            value = f"({value} AT TIME ZONE 'UTC')" if self.kind == "timestamp" else value
            # what no client could read
            return (
                f"least(greatest({value}, '0001-01-01 00:00+00'), '9999-12-31 23:59:59.999999+00')"
            )
        if wanted == "text[]" and not self.kind.startswith("_"):
            return f"string_to_array({value}::text, ',')"
        if wanted == "integer" and self.kind == "int8":
            return (
                f"(CASE WHEN {value} BETWEEN -2147483648 AND 2147483647 THEN {value}::integer END)"
            )
        if wanted == "jsonb" and self.kind == "json":
            # which jsonb cannot hold
            return f"(CASE WHEN strpos({value}::text, '\\u0000') > 0 THEN to_jsonb({value}::text) ELSE {value}::jsonb END)"
        return value if self.kind == _KINDS.get(wanted) else f"{value}::{wanted}"

    def writing(self, value: str, canonical: str) -> str:
        """Return the SQL of the nearest value that it can hold, from the exact one."""
        if self.labels:
            return self._nearest_label(value, canonical)
        if self.kind == "uuid":
            return f"CASE WHEN {value} ~ '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' THEN {value}::uuid END"
        if self.kind in {"int2", "int4", "int8"}:
            digits = {"int2": 4, "int4": 9, "int8": 18}[self.kind]
            return f"CASE WHEN {value}::text ~ '^-?[0-9]{{1,{digits}}}$' THEN {value}::text::{self.kind} END"
        if self.kind == "timestamp":
            return f"{value} AT TIME ZONE 'UTC'"
        if CANONICAL[canonical] == "text[]" and not self.kind.startswith("_"):
            return f"left(array_to_string({value}, ','), {self.length or 10_000_000})"
        if self.length is not None and self.kind.startswith("_"):
            return (
                f"CASE WHEN {value} IS NOT NULL THEN"
                f" ARRAY(SELECT left(item, {self.length}) FROM unnest({value}) AS item) END"
            )
        if self.length is not None:
            return f"left({value}, {self.length})"
        return value if self.kind in {"text", "timestamptz"} else f"{value}::{self.type_name}"

    def nearest(self, exact: str, canonical: str) -> str | None:
        """Return the label, in whatever case, that is the value or comes nearest to it."""
        known = {label.upper(): label for label in reversed(self.labels)}
        wanted = [exact, *NEAREST.get(canonical, {}).get(exact, [])]
        return next((known[name] for name in wanted if name in known), None)

    def _nearest_label(self, value: str, canonical: str) -> str:
        exact = dict.fromkeys([*_upper(self.labels), *NEAREST.get(canonical, {})])
        found = {
            name: self.nearest(name, canonical) or (self.labels[0] if self.is_not_null else None)
            for name in exact
        }
        lines = " ".join(
            f"WHEN {literal(name)} THEN {literal(label)}::{self.type_name}"
            for name, label in found.items()
        )
        other = f" ELSE {literal(self.labels[0])}::{self.type_name}" if self.is_not_null else ""
        return f"CASE upper({value}) {lines}{other} END"


def _upper(labels: list[str]) -> list[str]:
    return [label.upper() for label in labels]


#: The type as pg_type calls it.
_KINDS = {
    "text": "text",
    "text[]": "_text",
    "integer": "int4",
    "jsonb": "jsonb",
    "boolean": "bool",
    "timestamp with time zone": "timestamptz",
}


@dataclass(frozen=True)
class Part:
    """A column of the lens in an adopted log.  legacy: the application's column.  ours: the one that was added."""

    name: str
    legacy: LegacyColumn | None
    ours: str | None

    @property
    def written(self) -> str:
        """The column that capture writes."""
        if self.ours is not None:
            return self.ours
        assert self.legacy is not None
        return self.legacy.name

    def reading(self, row: str) -> str:
        """Return the SQL of the exact value."""
        if self.legacy is None:
            return f"{row}.{ident(self.written)}"
        legacy = self.legacy.reading(row, self.name)
        return f"coalesce({row}.{ident(self.ours)}, {legacy})" if self.ours else legacy


@dataclass(frozen=True)
class Shape:
    """An adopted log.  key: the column that names its rows.  entity_ids: column by entity type.

    granted: rights that the owner of the log needs, and lacked, as "INSERT ON public.enrichment_logs".
    returned: "unmarked" or "marked" where rows are in it that stand whole in llamalog's own log, since an earlier
    adoption was undone; marked ones have seq 0.
    own_ids: lowest and highest id of llamalog's own log when giving the table back began; empty before.
    """

    schema_name: str
    old_name: str
    table_name: str
    key: str
    legacy: list[LegacyColumn]
    parts: list[Part]
    entity_ids: dict[str, str] = field(default_factory=dict)
    granted: list[str] = field(default_factory=list)
    returned: str = ""
    own_ids: list[int] = field(default_factory=list)

    @property
    def table(self) -> str:
        return f"{ident(self.schema_name)}.{ident(self.table_name)}"

    @property
    def old_table(self) -> str:
        return f"{ident(self.schema_name)}.{ident(self.old_name)}"

    def granted_on(self, table: str) -> list[str]:
        """Return the rights that were lacking, on the table by the name that it has then."""
        return [right.replace(f" ON {self.old_table}", f" ON {table}") for right in self.granted]

    @property
    def shown(self) -> str:
        """The table as people write it."""
        return as_people_write(self.table)

    @property
    def added(self) -> dict[str, str]:
        """The columns of ours with their types."""
        return {
            "seq": "bigint",
            **{part.ours: CANONICAL[part.name] for part in self.parts if part.ours is not None},
        }

    @property
    def exact(self) -> list[Part]:
        """What stands in two columns, the application's and ours."""
        return [part for part in self.parts if part.ours is not None and part.legacy is not None]

    def legacy_column(self, name: str) -> LegacyColumn:
        return next(column for column in self.legacy if column.name == name)

    def content(self, row: str) -> str:
        """Return the SQL of all that the application's columns hold, as text; pin the settings first."""
        return f"ROW({', '.join(f'{row}.{ident(column.name)}' for column in self.legacy)})::text"

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Shape:
        legacy = {column["name"]: LegacyColumn(**column) for column in stored["legacy"]}
        parts = [
            Part(
                part["name"],
                legacy[part["legacy"]["name"]] if part["legacy"] else None,
                part["ours"],
            )
            for part in stored["parts"]
        ]
        return cls(**{**stored, "legacy": list(legacy.values()), "parts": parts})


def as_people_write(text: str) -> str:
    """Return SQL without the quotation marks that it does not need."""
    return re.sub(r'"([a-z_][a-z0-9_]*)"', r"\1", text)


def recognise(
    conn: Connection, schema_name: str, table_name: str, oid: int, mapping: dict[str, str]
) -> Shape:
    """Return which column of a log is which of ours.  mapping: the application's names for ours.

    Raises CannotAdopt (LL015) for a table that is no log.
    """
    shown = f"{schema_name}.{table_name}"
    columns = {
        column[0]: LegacyColumn(*column)
        for column in rows(
            conn,
            "SELECT a.attname::text, t.typname::text, format('%%I.%%I', n.nspname, t.typname),"
            " ARRAY(SELECT e.enumlabel::text FROM pg_enum AS e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder),"
            " CASE WHEN t.typname IN ('varchar', 'bpchar', '_varchar', '_bpchar') AND a.atttypmod > 4 THEN a.atttypmod - 4 END, a.attnotnull,"
            " a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',"
            " a.attcollation <> 0 AND a.attcollation <> 'pg_catalog.\"default\"'::regcollation"
            " FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid JOIN pg_namespace AS n ON n.oid = t.typnamespace"
            " WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            [oid],
        )
    }
    for given, wanted in mapping.items():
        if given not in columns:
            raise CannotAdopt(
                f"{shown} has no column {given}",
                sqlstate="42703",
                hint=f"Its columns are {', '.join(columns)}.",
            )
        known = [name for name in CANONICAL if name not in _OURS]
        if wanted not in {*known, "id"}:
            raise CannotAdopt(
                f"{wanted} is no column that an application's log may have",
                hint=f"Those are {', '.join(known)}.",
            )
    if len(set(mapping.values())) < len(mapping):
        raise CannotAdopt("two columns are mapped to the same one", hint="Name one for each.")
    if "seq" in columns:
        raise CannotAdopt(
            f"{shown} has a column seq, and ours of that name says the order of the writes",
            hint="Rename it.",
        )
    by_ours = {wanted: given for given, wanted in mapping.items()}
    key = rows(
        conn,
        "SELECT a.attname::text FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid"
        " AND a.attnum = i.indkey[0] WHERE i.indrelid = %s AND i.indisprimary AND i.indnkeyatts = 1",
        [oid],
    )
    missing = [
        name for name in ("operation", "created_at") if by_ours.get(name, name) not in columns
    ]
    if missing or not key:
        raise CannotAdopt(
            f"{shown} is no log",
            detail=f"It lacks {', '.join([*missing, *([] if key else ['a primary key of one column'])])}.",
            hint="Name its columns: --map COLUMN=operation --map COLUMN=created_at; llamalog adopt --help"
            if missing
            else "Give it one: each row of the log needs a name.",
        )

    given_out: set[str] = set()

    def free(name: str) -> str:
        while name in columns or name in given_out:
            name = f"llamalog_{name}"
        given_out.add(name)
        return name

    parts = []
    for name, kind in CANONICAL.items():
        legacy = columns.get(by_ours.get(name, name if name not in _OURS else ""))
        if legacy is None or (legacy.name in mapping and mapping[legacy.name] != name):
            parts.append(Part(name, None, free(name)))
        elif (
            legacy.kind == _KINDS.get(kind)
            and name not in _BESIDE
            and not (legacy.is_generated or legacy.has_collation)
        ):
            parts.append(Part(name, legacy, None))
        else:
            _refuse_unreadable(shown, legacy, name)
            if legacy.is_generated:
                raise CannotAdopt(
                    f"column {legacy.name} of {shown} is generated, and captured rows have their own {name}",
                    hint="Make it an ordinary column, or map another.",
                )
            parts.append(Part(name, legacy, free(f"exact_{name}")))
    taken = {part.legacy.name for part in parts if part.legacy is not None}
    for column in columns.values():
        unknown = column.name not in {*taken, key[0][0]}
        asked = next((p.name for p in parts if p.legacy is column), None)
        if column.is_not_null and (
            not column.has_default
            if unknown or column.name == key[0][0]
            else asked not in _ALWAYS_KNOWN
        ):
            raise CannotAdopt(
                f"column {column.name} of {shown} is NOT NULL, and captured rows have no value for it",
                hint="Give it a default, or let it be null."
                if unknown or column.name == key[0][0]
                else "Let it be null.",
            )
    types = next(
        (part.legacy.labels for part in parts if part.name == "entity_type" and part.legacy), []
    )
    types = types or [
        name for (name,) in rows(conn, "SELECT entity_type FROM llamalog.watches WHERE NOT is_link")
    ]
    return Shape(
        schema_name,
        table_name,
        "llama_logs",
        key[0][0],
        list(columns.values()),
        parts,
        {
            kind.upper(): f"{kind.lower()}_id"
            for kind in types
            if f"{kind.lower()}_id" in columns and f"{kind.lower()}_id" not in taken
        },
    )


def _refuse_unreadable(shown: str, column: LegacyColumn, name: str) -> None:
    wanted = CANONICAL[name]
    readable = {
        "timestamp with time zone": {"timestamp", "timestamptz"},
        "integer": {"int2", "int4", "int8"},
        "boolean": {"bool"},
        "jsonb": {"json", "jsonb"},
        "text": {"text", "varchar", "bpchar", "citext", "name", "uuid", "int2", "int4", "int8"},
        "text[]": {"_text", "_varchar", "text", "varchar"},
    }[wanted]
    if column.labels and wanted == "text":
        return
    if column.kind not in readable or not column.type_name.startswith(
        ("pg_catalog.", "public.citext")
    ):
        raise CannotAdopt(
            f"column {column.name} of {shown} is of type {column.kind}, no {wanted}",
            hint=f"Rename it, or name another: --map COLUMN={name}",
        )
