"""Renders the capture templates. Identifiers and values enter SQL only through the filters `ident`, `literal` and `comment`."""

from __future__ import annotations

from functools import cache
from itertools import count
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from psycopg import sql

from llamalog_sql.files import sql_directory

#: Settings that the text of a value depends on, and what images are made under.
IMAGE_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "iso_8601",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "quote_all_identifiers": "off",
}


def ident(name: str) -> str:
    """Return the name as a quoted SQL identifier."""
    return sql.Identifier(name).as_string(None)


def literal(value: str | list[str] | None) -> str:
    """Return the value as an SQL literal; a list as the text of an array, None as NULL."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in value)
        value = "{" + ",".join(quoted) + "}"
    return sql.Literal(value).as_string(None).strip()


def comment(text: str) -> str:
    """Return the text fit to stand behind -- on one line."""
    return "".join(c if c.isprintable() else " " for c in text)


@cache
def _environment() -> Environment:
    environment = Environment(  # noqa: S701  it renders SQL, which the filters quote; HTML escaping would break it
        loader=FileSystemLoader(sql_directory() / "triggers"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["ident"] = ident
    environment.filters["literal"] = literal
    environment.filters["comment"] = comment
    environment.filters["numbered"] = lambda items: list(enumerate(items, 1))
    return environment


def render(template: str, /, **names: Any) -> str:
    """Return the SQL of a template in sql/triggers, as "insert.sql.j2", with its names filled in."""
    for attempt in count():
        # a name of the table's may contain the quote itself
        quote = f"$function{attempt or ''}$"
        text = _environment().get_template(template).render(**names, quote=quote)
        if text.count(quote) == 2:
            break
    return text
