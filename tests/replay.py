"""Reads the log as docs/images.md promises, and plays it: from one state of a table to another.

A value is compared as the text that its type prints under settings pinned here, which loses
nothing: 1.0 and 1.00, 0 and -0, SQL NULL and JSON null differ. Nothing of llamalog is used beside
its log: the proof must not lean on the claim.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

#: Under these every type prints every value as a text of its own; images are made under others.
PINNED = (
    "SET search_path = pg_catalog SET TimeZone = 'UTC' SET DateStyle = 'ISO'"
    " SET IntervalStyle = 'postgres' SET bytea_output = 'escape' SET extra_float_digits = 3"
    " SET standard_conforming_strings = on SET array_nulls = on"
)

Row = dict[str, str | None]
Key = tuple[str | None, ...]
State = dict[tuple[str, Key], Row]


@dataclass
class Table:
    """A watched table.  types: of its columns but the generated ones.

    key: the columns in entity_id.  related: those in related_id; of a link, the rest of its key.
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
    """A row of the log, its keys and images read.  table: its entity type; of a link, link_type."""

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
    """Return a part of a key so that equal keys are equal: 1.0 and 1.00 name one row."""
    if type_name == "numeric" and text is not None and "." in text:
        return text.rstrip("0").rstrip(".")
    return text


def input_text(type_name: str, image: str) -> str | None:
    """Return the text for the type to read, from the JSON text of an image; None for SQL NULL."""
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
    """Return the parts of a key: apart by commas, those within them escaped by backslashes."""
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
                "SELECT format_type(oid, NULL), format_type(typbasetype, NULL)"
                " FROM pg_type WHERE typtype = 'd'"
            ).fetchall()
        )
        self.printed: dict[tuple[str, str], str] = {}
        conn.execute(
            "CREATE OR REPLACE FUNCTION public.printed(type_name text, value text) RETURNS text"
            f" LANGUAGE plpgsql {PINNED} AS $function$ DECLARE v_result text; BEGIN"
            # a literal is read by the type, what is cast from text perhaps by another function
            " EXECUTE format('SELECT %L::%s::text', value, type_name) INTO v_result;"
            " RETURN v_result; END; $function$".encode()
        )

    def changes(self, source: str = "llamalog.log", parameters: Sequence[str] = ()) -> list[Change]:
        """Return the whole log in its order, or what a question shows.  source: SQL of a FROM."""
        rows = self.conn.execute(
            b"SELECT log.seq, log.op, coalesce(log.link_type, log.entity_type),"
            b" log.entity_id, log.previous_id, log.related_id, log.fields_enriched,"
            b" (SELECT array_agg(ARRAY[field.key, field.value::text])"
            b" FROM jsonb_each(log.before) AS field),"
            b" (SELECT array_agg(ARRAY[field.key, field.value::text])"
            b" FROM jsonb_each(log.after) AS field)"
            b" FROM " + source.encode() + b" AS log ORDER BY log.seq",
            parameters,
        ).fetchall()
        return [self._change(*row) for row in rows]

    def _change(
        self,
        seq: int,
        op: str,
        kind: str,
        entity_id: str,
        previous_id: str | None,
        related_id: str | None,
        fields: list[str] | None,
        *images: list[list[str]] | None,
    ) -> Change:
        table = self.tables[kind]
        key = self._key(table, table.key, entity_id)
        related = self._key(table, table.related, related_id)
        previous = self._key(table, table.key, previous_id)
        if table.is_link and key and related:
            key += related
        before, after = (
            None
            if image is None
            else {name: self._value(table.types[name], value) for name, value in image}
            for image in images
        )
        assert key
        return Change(seq, op, kind, key, previous, related, frozenset(fields or []), before, after)

    def _key(self, table: Table, columns: list[str], text: str | None) -> Key | None:
        if text is None:
            return None
        parts = key_parts(text, len(columns))
        return tuple(
            comparable(table.types[name], self._print(table.types[name], part))
            for name, part in zip(columns, parts, strict=True)
        )

    def _value(self, type_name: str, image: str) -> str | None:
        base = type_name
        while base in self.domains:
            base = self.domains[base]
        text = input_text(base, image)
        return None if text is None else self._print(type_name, text)

    def _print(self, type_name: str, text: str) -> str:
        """Let the type read the text and print it."""
        if (type_name, text) not in self.printed:
            row = self.conn.execute("SELECT public.printed(%s, %s)", [type_name, text]).fetchone()
            assert row is not None
            self.printed[type_name, text] = row[0]
        return self.printed[type_name, text]


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
    """Make one change again, from images: the state before it becomes the state after it."""
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
