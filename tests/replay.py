"""Reads the log as its images promise to be read, and plays it: each state that a table has had, from another one.

A value is compared as the text that its type prints under settings pinned here, which loses nothing: 1.0 and 1.00, 0
and -0, SQL NULL and JSON null differ. Nothing of llamalog is used beside its log: the proof must not lean on the claim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

#: Under these every type prints a text of its own for every value; they are not those that images are made under.
PINNED = (
    "SET search_path = pg_catalog SET TimeZone = 'UTC' SET DateStyle = 'ISO' SET IntervalStyle = 'postgres'"
    " SET bytea_output = 'escape' SET extra_float_digits = 3 SET standard_conforming_strings = on SET array_nulls = on"
)

Row = dict[str, str | None]
Key = tuple[str | None, ...]
State = dict[tuple[str, Key], Row]


@dataclass
class Table:
    """A watched table.  types: of its columns but the generated ones.  related: columns that hold the other key.

    key: the columns that entity_id holds; for a link, the first part of its key, and `related` the rest.
    """

    entity_type: str
    types: dict[str, str]
    key: list[str]
    related: list[str]
    ignored: frozenset[str]
    is_link: bool

    @property
    def whole_key(self) -> list[str]:
        return self.key + self.related if self.is_link else self.key

    def key_of(self, row: Row, columns: list[str] | None = None) -> Key:
        """Return what names the row, or the values of other columns in the same form."""
        return tuple(comparable(self.types[name], row[name]) for name in columns or self.whole_key)

    def watched(self, row: Row) -> Row:
        return {name: value for name, value in row.items() if name not in self.ignored}


@dataclass(frozen=True)
class Change:
    """A row of the log, its keys and images read.  table: entity type, or link type.  before, after: None without image."""

    seq: int
    op: str
    table: str
    key: Key
    previous: Key | None
    related: Key | None
    fields: frozenset[str]
    before: Row | None
    after: Row | None


def comparable(type_name: str, text: str | None) -> str | None:
    """Return a part of a key so that equal keys are equal: the scale of a number names no other row."""
    if type_name == "numeric" and text is not None and "." in text:
        return text.rstrip("0").rstrip(".")
    return text


def input_text(type_name: str, image: str) -> str | None:
    """Return the text that the type reads, from the JSON text of a stored value; None for SQL NULL."""
    if image == "null":
        return None
    if type_name == "jsonb":
        wrapped = re.fullmatch(r'\{"\$json": (.*)\}', image, re.DOTALL)
        return wrapped[1] if wrapped else image
    return _text(json.loads(image, parse_int=str, parse_float=str))


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "{" + ",".join("NULL" if v is None else _element(v) for v in value) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _element(value: Any) -> str:
    text = _text(value)
    if isinstance(value, list):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def key_parts(text: str, count: int) -> list[str]:
    """Return the parts of a key: joined by commas; commas and backslashes in them have a backslash before them."""
    if count == 1:
        return [text]
    return [
        re.sub(r"\\(.)", r"\1", part)
        for part in re.findall(r"(?:^|,)((?:[^\\,]|\\.)*)", text, re.DOTALL)
    ]


class Reader:
    """Reads the log of one database."""

    def __init__(self, conn: psycopg.Connection[Any], tables: Iterable[Table]) -> None:
        self.conn = conn
        self.tables = {table.entity_type: table for table in tables}
        self.domains = dict(
            conn.execute(
                "SELECT oid::regtype::text, format_type(typbasetype, NULL) FROM pg_type WHERE typtype = 'd'"
            ).fetchall()
        )
        self.printed: dict[tuple[str, str], str] = {}
        conn.execute(
            "CREATE OR REPLACE FUNCTION public.printed(type_names text[], texts text[]) RETURNS text[] LANGUAGE plpgsql"
            f" {PINNED} AS $function$ DECLARE v_result text[] := '{{}}'; v_text text; BEGIN"
            " FOR i IN 1 .. cardinality(texts) LOOP"
            " EXECUTE format('SELECT $1::%s::text', type_names[i]) INTO v_text USING texts[i];"
            " v_result := v_result || v_text; END LOOP; RETURN v_result; END; $function$".encode()
        )

    def changes(
        self, source: str = "llamalog.log", parameters: list[str] | None = None
    ) -> list[Change]:
        """Return the whole log in its order, or what a question shows of it.  source: SQL of a FROM."""
        rows = self.conn.execute(
            b"SELECT log.seq, log.op, coalesce(log.link_type, log.entity_type), log.entity_id, log.previous_id,"
            b" log.related_id, log.fields_enriched,"
            b" (SELECT array_agg(ARRAY[field.key, field.value::text]) FROM jsonb_each(log.before) AS field),"
            b" (SELECT array_agg(ARRAY[field.key, field.value::text]) FROM jsonb_each(log.after) AS field)"
            + f" FROM {source} AS log ORDER BY log.seq".encode(),
            parameters,
        ).fetchall()
        read = []
        for seq, op, kind, entity_id, previous_id, related_id, fields, before, after in rows:
            table = self.tables[kind]
            images = [
                None
                if image is None
                else {n: (table.types[n], self._input(table.types[n], v)) for n, v in image}
                for image in (before, after)
            ]
            key = self._key(table, table.key, entity_id)
            related = self._key(table, table.related, related_id)
            previous = self._key(table, table.key, previous_id)
            read.append((seq, op, table, key, previous, related, frozenset(fields or []), *images))
        self._print(cell for row in read for part in row[3:6] + row[7:] for cell in _cells(part))
        return [
            Change(
                seq,
                op,
                table.entity_type,
                self._read_key(key + (related or []) if table.is_link else key),
                self._read_key(previous) if previous else None,
                self._read_key(related) if related else None,
                fields,
                *(
                    None if image is None else {n: self._read(cell) for n, cell in image.items()}
                    for image in (before, after)
                ),
            )
            for seq, op, table, key, previous, related, fields, before, after in read
        ]

    def _input(self, type_name: str, image: str) -> str | None:
        while type_name in self.domains:
            type_name = self.domains[type_name]
        return input_text(type_name, image)

    def _key(
        self, table: Table, columns: list[str], text: str | None
    ) -> list[tuple[str, str]] | None:
        if text is None:
            return None
        parts = key_parts(text, len(columns))
        assert len(parts) == len(columns), text
        return [(table.types[name], part) for name, part in zip(columns, parts, strict=True)]

    def _print(self, cells: Iterable[tuple[str, str | None]]) -> None:
        """Let the types read the texts and print them."""
        new = [*{cell for cell in cells if cell[1] is not None and cell not in self.printed}]
        if new:
            types, texts = map(list, zip(*new, strict=True))
            (printed,) = self.conn.execute(
                "SELECT public.printed(%s::text[], %s::text[])", [types, texts]
            ).fetchone()
            self.printed.update(zip(new, printed, strict=True))

    def _read(self, cell: tuple[str, str | None]) -> str | None:
        return None if cell[1] is None else self.printed[cell]

    def _read_key(self, cells: list[tuple[str, str]]) -> Key:
        return tuple(comparable(cell[0], self._read(cell)) for cell in cells)


def _cells(part: Any) -> Iterable[tuple[str, str | None]]:
    return part.values() if isinstance(part, dict) else part or []


def undo(tables: dict[str, Table], state: State, change: Change) -> None:
    """Take one change back: the state after it becomes the state before it."""
    table = tables[change.table]
    at = (change.table, change.key)
    if change.op in "DT":
        assert at not in state, f"removed, yet still there: {change}"
        assert change.before is not None, change
        state[at] = table.watched(change.before)
        return
    assert at in state, f"written, yet not there: {change}"
    row = state.pop(at)
    if change.after is not None:
        after = table.watched(change.after)
        assert {name: row[name] for name in after} == after, f"not what the row became: {change}"
    if change.op == "U":
        assert change.before is not None, change
        row = row | change.before
        at = (change.table, table.key_of(row))
        assert at not in state, f"two rows had one key: {change}"
        state[at] = row


def redo(tables: dict[str, Table], state: State, change: Change) -> None:
    """Make one change again, from its images alone: the state before it becomes the state after it."""
    table = tables[change.table]
    at = (change.table, change.key)
    row: Row = {}
    if change.op == "U":
        assert change.before is not None, change
        assert change.after is not None, change
        was = (change.table, _key_before(table, change))
        assert was in state, f"changed, yet not there: {change}"
        row = state.pop(was)
        assert {name: row[name] for name in change.before} == change.before, (
            f"not what the row was: {change}"
        )
    elif change.op in "DT":
        assert state.get(at) == table.watched(change.before or {}), (
            f"not the row that it was: {change}"
        )
        del state[at]
        return
    assert change.after is not None, change
    assert at not in state, f"two rows have one key: {change}"
    state[at] = row | table.watched(change.after)


def _key_before(table: Table, change: Change) -> Key:
    assert change.before is not None, change
    return tuple(
        comparable(table.types[name], change.before[name]) if name in change.before else part
        for name, part in zip(table.whole_key, change.key, strict=True)
    )
