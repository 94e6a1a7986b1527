"""Whatever is written, the log has one row for each row changed, and plays back to every state the tables had.

Each example is a list of SQL statements, so that a failing one is its own reproduction: run them after _SCHEMA. What
they truly change is told by a witness of the test's own, triggers with transition tables; what they leave behind is
read from the tables after each of them. Run thousands with HYPOTHESIS_PROFILE=thorough.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, note, settings, strategies as st
from hypothesis import given
from psycopg import sql
from replay import PINNED, Change, Reader, Row, State, Table, redo, undo

from llamalog_sql import migrate, watching
from llamalog_sql.watching import Options

settings.register_profile("ci", deadline=None, max_examples=25, derandomize=True, database=None, print_blob=True)
settings.register_profile("default", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


# -- the tables -------------------------------------------------------------------------------------------------------


@dataclass
class Spec:
    """A table to write to.  columns: name → its type and texts to write into it.  doors: relations to write through."""

    name: str
    columns: dict[str, tuple[str, list[str | None]]]
    rules: str
    suffix: str = ""
    key: list[str] = field(default_factory=lambda: ["id"])
    related: list[str] = field(default_factory=list)
    is_link: bool = False
    doors: list[str] = field(default_factory=list)

    @property
    def entity_type(self) -> str:
        return self.name.split(".")[1].upper()

    @property
    def ddl(self) -> str:
        columns = [f"{ident(name)} {kind}" for name, (kind, _) in self.columns.items()]
        return f"CREATE TABLE {self.name} ({', '.join([*columns, self.rules])}) {self.suffix};"


def ident(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def literal(kind: str, text: str | None) -> str:
    return f"CAST({sql.Literal(text).as_string(None).strip()} AS {kind})"


IDS: tuple[str, list[str | None]] = ("integer", ["1", "2", "3", "4", "5"])
REFERENCES: tuple[str, list[str | None]] = ("integer", ["1", "2", "3", None])
TEXTS: tuple[str, list[str | None]] = (
    "text",
    ["", "it's", 'say "hi"', "back\\slash", "{a,b}", "null", "🦙\n\t", "$function$ %s %1$s", "a,b", None],
)
NUMBERS: tuple[str, list[str | None]] = ("integer", ["-1", "0", "1", "2", None])
TIMES: tuple[str, list[str | None]] = ("timestamptz", ["2026-01-01 00:00:00+00", "2026-01-02 03:04:05.678+02"])

ODD = {
    "varchar(20)": ["", "it's", "x" * 20, "\\x41"],
    "char(5)": ["", "a", " a"],
    '"char"': ["", "a", "\\377"],
    "name": ["", 'a"b'],
    "boolean": ["true", "false"],
    "smallint": ["-32768", "0"],
    "bigint": ["9223372036854775807", "0"],
    "oid": ["0", "4294967295"],
    "uuid": ["00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"],
    "numeric": ["1", "1.0", "1.00", "0", "0.000", "NaN", "Infinity", "-Infinity", "1e-30", "1e40"]
    + ["12345678901234567890.12345678901234567890"],
    "numeric(10,2)": ["1.005", "-7"],
    "money": ["0", "-12.34", "12.30", "1234567.89"],
    "real": ["0", "-0", "0.1", "NaN", "Infinity", "3.4028235e38", "1e-45", "16777217"],
    "double precision": ["0", "-0", "0.1", "0.30000000000000004", "NaN", "-Infinity", "5e-324", "1e22"],
    "json": ["null", '{"a":1}', '{"a": 1}', '{"a":1,"a":2}', '"x"', " 1.0 ", "[1,2]", '"null"', '{"$json":null}'],
    "jsonb": ["null", "1", "1.0", "1.00", '"x"', "true", "{}", "[]", "[null]", '{"a":null}', '"null"']
    + ['{"$json":null}', '{"$json":{"$json":1},"b":2}', '["$json"]', '"$json"', '{"a":1e40}', '"[redacted]"'],
    "bytea": ["", "\\x00ff", "\\x5c6e27", "a\\\\b"],
    "interval": ["0", "1 month", "30 days", "1 day", "24:00:00", "-1 month +1 day -00:00:00.000001", "178000000 years"]
    + ["-1 years -2 months +3 days 04:05:06"],
    "timestamptz": ["2024-03-31 01:30:00+00", "2024-10-27 02:30:00.123456+02", "infinity", "-infinity"]
    + ["0044-03-15 12:00:00+00 BC", "294276-12-31 23:59:59+00", "1883-11-18 12:00:00+00"],
    "timestamp": ["2024-02-29 12:00:00", "infinity", "4713-01-01 00:00:00 BC", "12024-01-01 00:00:00.1"],
    "timestamptz(0)": ["2024-01-01 00:00:00.5+00"],
    "date": ["2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "5874897-12-31"],
    "time": ["00:00:00", "24:00:00", "12:34:56.789"],
    "timetz": ["12:00:00+05:30", "12:00:00+00", "24:00:00-15:59:59"],
    "odd.mood": ["sad", "it's", 'so "so"', "a,b {}"],
    "odd.place": ['(1.0,"it\'s","{a,""b c""}",sad,2024-01-01,-0)', "(,,,,,)", '(1.00,"","{}","a,b {}",,0)'],
    "odd.grade": ["1", "1.0", "NaN"],
    "odd.grades": ["{1,1.0}", "{}", "[0:1]={1,2}"],
    "odd.doc": ["null", '{"a":1.0}', '{"$json":1}'],
    "odd.home": ['(1.0,x,"{}",sad,,)', "(,,,,,)"],
    "odd.deep": ["null", "[1.0]"],
    "odd.folded": ["abc", "ABC"],
    "odd.spans": ["[1.50,2)", "[1.5,2)", "empty", "(,)"],
    "int4range": ["empty", "[1,5)", "(,)", "[1,1]"],
    "tstzrange": ["[2024-01-01 00:00:00+00,)", '["2024-01-01 00:00:00+02",infinity]', "empty"],
    "nummultirange": ["{}", "{[1.0,2.00),[3,4]}", "{[1,2.00),[3,4]}"],
    "integer[]": ["{}", "{1,2}", "{{1,2},{3,4}}", "[0:1]={1,2}", "[2:2][3:4]={{1,2}}", "{NULL}", "{{NULL}}"],
    "text[]": ["{}", '{NULL,"NULL",""}', '{"a,b","c\\"d","e\\\\f","{}"}', "{{a},{b}}", "[-1:0]={a,b}"],
    "varchar(3)[]": ["{abc,d}"],
    "char(3)[]": ["{a,abc}"],
    "boolean[]": ["{t,f,NULL}"],
    "numeric[]": ["{1,1.0,NaN}", "{1,1.00,Infinity}", "[5:5]={0.0}"],
    "double precision[]": ["{0,-0}", "{0,0}", "{NaN,0.1}"],
    "timestamptz[]": ["{2024-01-01 00:00:00+00,infinity,NULL}", '{"0044-03-15 12:00:00+00 BC"}'],
    "date[]": ["{2024-01-01,infinity}", "{0044-03-15 BC}"],
    "interval[]": ['{"1 mon -1 days",24:00:00}'],
    "uuid[]": ["{00000000-0000-0000-0000-000000000000}"],
    "bytea[]": ['{"\\\\x00ff",""}'],
    "json[]": ['{"null","{\\"a\\":1}",NULL}'],
    "jsonb[]": ['{"null","1.0","{\\"$json\\":1}",NULL}', "{}"],
    "odd.mood[]": ['{sad,"it\'s",NULL}', "{{sad},{sad}}"],
    "odd.place[]": ['{"(1.0,x,\\"{a}\\",sad,,-0)",NULL}', "{}"],
    "odd.grade[]": ["{1,1.0}", "{}"],
    "int4range[]": ['{"[1,5)",empty}'],
    "money[]": ["{$1.20,-$3.00}"],
    "point": ["(0,-0)", "(0,0)", "(NaN,1e300)"],
    "box": ["(2,2),(0,0)", "(4,1),(0,0)"],
    "circle": ["<(0,0),1>", "<(5,5),1>"],
    "polygon": ["((0,0),(1,0),(1,1))", "((1,0),(1,1),(0,0))"],
    "path": ["[(0,0),(1,1)]", "((0,0),(1,1))"],
    "inet": ["10.0.0.1", "10.0.0.1/8", "::1"],
    "cidr": ["10.0.0.0/8"],
    "macaddr": ["08:00:2b:01:02:03"],
    "bit(4)": ["0101"],
    "varbit": ["", "101"],
    "tsquery": ["'a' & 'b'", "'it''s'"],
    "jsonpath": ['$."a"[*]'],
    "pg_lsn": ["0/0", "FFFFFFFF/FFFFFFFF"],
    "xid8": ["18446744073709551615"],
}

WIDE = Spec(
    "odd.wide",
    {"id": IDS}
    # names that would break out of a quoted text, were they not quoted themselves
    | {f"c{n} '\"\\ %s": (kind, [*values, None]) for n, (kind, values) in enumerate(ODD.items())}
    | {"updated_at": TIMES, "words": ("tsvector", ["a b", "'it''s':1A", None])},
    "doubled integer GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id)",
)
KEYED = Spec(
    "odd.keyed",
    {
        "name": ("text", ["", ",", "\\", "a,b", "a\\,b"]),
        "size": ("numeric", ["1", "1.0", "0", "NaN"]),
        "at": ("timestamptz", ["2024-01-01 00:00:00+00", "infinity", "0044-03-15 12:00:00+00 BC"]),
        "code": ("char(3)", ["a", "a,", "\\"]),
        "note": TEXTS,
    },
    "PRIMARY KEY (name, size, at, code)",
    key=["name", "size", "at", "code"],
)

SHELF = Spec(
    "kin.shelf",
    {"room": IDS, "slot": ("text", ["a", "b,c", "\\"]), "remark": TEXTS},
    "PRIMARY KEY (room, slot)",
    key=["room", "slot"],
)
BOOK = Spec(
    "kin.book",
    {"id": IDS, "room": REFERENCES, "slot": ("text", ["a", "b,c", "\\", None]), "remark": TEXTS},
    "PRIMARY KEY (id), FOREIGN KEY (room, slot) REFERENCES kin.shelf ON UPDATE CASCADE ON DELETE CASCADE",
    related=["room", "slot"],
)
NODE = Spec(
    "kin.node",
    {"id": IDS, "parent": REFERENCES, "remark": TEXTS},
    "PRIMARY KEY (id), FOREIGN KEY (parent) REFERENCES kin.node ON UPDATE CASCADE ON DELETE CASCADE",
)
LAMP = Spec(
    "kin.lamp",
    {"id": IDS, "node": REFERENCES, "spare": ("integer", ["1", "2", None]), "watt": NUMBERS},
    "PRIMARY KEY (id), FOREIGN KEY (node) REFERENCES kin.node ON UPDATE CASCADE ON DELETE SET NULL,"
    " FOREIGN KEY (spare) REFERENCES kin.node ON UPDATE SET NULL ON DELETE SET DEFAULT",
    related=["node"],
)
PERSON = Spec("kin.person", {"id": IDS, "remark": TEXTS}, "PRIMARY KEY (id)")
LOAN = Spec(
    "kin.loan",
    {"person_id": IDS, "book_id": IDS, "role": TEXTS},
    "PRIMARY KEY (person_id, book_id),"
    " FOREIGN KEY (person_id) REFERENCES kin.person ON UPDATE CASCADE ON DELETE CASCADE,"
    " FOREIGN KEY (book_id) REFERENCES kin.book ON UPDATE CASCADE ON DELETE CASCADE",
    key=["person_id"],
    related=["book_id"],
    is_link=True,
)
EVENT = Spec(
    "part.event",
    {"id": IDS, "region": ("text", ["north", "south", "east"]), "size": NUMBERS, "remark": TEXTS, "updated_at": TIMES},
    "PRIMARY KEY (id, region)",
    "PARTITION BY LIST (region)",
    key=["id", "region"],
    doors=["part.north", "part.south", "part.others", "part.few"],
)
ECHO = Spec(
    "part.echo",
    {"id": IDS, "event_id": IDS, "region": ("text", ["north", "south", "east"])},
    "PRIMARY KEY (id), FOREIGN KEY (event_id, region) REFERENCES part.event ON UPDATE CASCADE ON DELETE CASCADE",
    related=["event_id", "region"],
)
STOCK = Spec(
    "busy.stock",
    {"id": IDS, "amount": NUMBERS, "revision": NUMBERS, "remark": TEXTS, "updated_at": TIMES},
    "PRIMARY KEY (id)",
)
DELIVERY = Spec(
    "busy.delivery",
    {"id": IDS, "stock_id": REFERENCES, "amount": NUMBERS},
    "PRIMARY KEY (id), FOREIGN KEY (stock_id) REFERENCES busy.stock ON UPDATE CASCADE ON DELETE CASCADE",
    related=["stock_id"],
)
DIARY = Spec("busy.diary", {"id": IDS, "page": NUMBERS, "remark": TEXTS}, "PRIMARY KEY (id)")
LEDGER = Spec("busy.ledger", {"id": IDS, "total": NUMBERS, "checked": ("boolean", ["true", "false", None])}, "PRIMARY KEY (id)")

SCENES = {
    "types": [WIDE, KEYED],
    "kin": [SHELF, BOOK, NODE, LAMP, PERSON, LOAN],
    "partitions": [EVENT, ECHO],
    "triggers": [STOCK, DELIVERY, DIARY, LEDGER],
}
SPECS = [spec for scene in SCENES.values() for spec in scene]

_TYPES = """
CREATE SCHEMA odd;
CREATE SCHEMA kin;
CREATE SCHEMA part;
CREATE SCHEMA busy;
CREATE SCHEMA model;
CREATE TYPE odd.mood AS ENUM ('sad', 'it''s', 'so "so"', 'a,b {}');
CREATE TYPE odd.place AS (x numeric, note text, tags text[], mood odd.mood, at timestamptz, f real);
CREATE TYPE odd.spans AS RANGE (subtype = numeric);
CREATE DOMAIN odd.grade AS numeric CHECK (value >= 0);
CREATE DOMAIN odd.grades AS odd.grade[];
CREATE DOMAIN odd.doc AS jsonb;
CREATE DOMAIN odd.deep AS odd.doc;
CREATE DOMAIN odd.home AS odd.place;
DO $$
BEGIN
    CREATE COLLATION odd.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
EXCEPTION WHEN feature_not_supported THEN
    CREATE COLLATION odd.any_case FROM "C";  -- a build without ICU
END;
$$;
CREATE DOMAIN odd.folded AS text COLLATE odd.any_case;
"""

_MORE = """
ALTER TABLE kin.lamp ALTER spare SET DEFAULT 1;

-- one partition as it came, one with its columns in another order and one dropped, and two below a third
CREATE TABLE part.north PARTITION OF part.event FOR VALUES IN ('north');
CREATE TABLE part.south (gone integer, updated_at timestamptz, remark text, region text NOT NULL, id integer NOT NULL, size integer);
ALTER TABLE part.south DROP COLUMN gone;
ALTER TABLE part.event ATTACH PARTITION part.south FOR VALUES IN ('south');
CREATE TABLE part.others PARTITION OF part.event DEFAULT PARTITION BY RANGE (id);
CREATE TABLE part.few PARTITION OF part.others FOR VALUES FROM (MINVALUE) TO (3);
CREATE TABLE part.many PARTITION OF part.others FOR VALUES FROM (3) TO (MAXVALUE);

CREATE FUNCTION busy.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := '2026-02-02';
    RETURN NEW;
END;
$$;
CREATE TRIGGER touch BEFORE UPDATE ON busy.stock FOR EACH ROW EXECUTE FUNCTION busy.touch();

CREATE FUNCTION busy.fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.amount = 0 THEN
        DELETE FROM busy.stock WHERE id = NEW.id;
    ELSIF NEW.revision IS NULL THEN
        UPDATE busy.stock SET revision = 1, remark = remark || '!' WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_fill AFTER INSERT ON busy.stock FOR EACH ROW EXECUTE FUNCTION busy.fill();

CREATE FUNCTION busy.count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 4 THEN
        BEGIN
            UPDATE busy.stock SET revision = coalesce(revision, 0) + 1 WHERE id = NEW.id;
            IF NEW.amount = 2 THEN
                RAISE no_data_found;
            END IF;
        EXCEPTION WHEN no_data_found THEN
            NULL;
        END;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_count AFTER UPDATE OF amount, id ON busy.stock FOR EACH ROW EXECUTE FUNCTION busy.count();

CREATE FUNCTION busy.deliver() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        UPDATE busy.stock SET amount = coalesce(amount, 0) + coalesce(NEW.amount, 0) WHERE id = NEW.stock_id;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE busy.stock SET amount = amount - OLD.amount WHERE id = OLD.stock_id;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_deliver AFTER INSERT OR UPDATE OR DELETE ON busy.delivery FOR EACH ROW EXECUTE FUNCTION busy.deliver();

CREATE FUNCTION busy.number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE busy.diary SET page = id WHERE id = NEW.id;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_number AFTER INSERT ON busy.diary FOR EACH ROW EXECUTE FUNCTION busy.number();

CREATE FUNCTION busy.check() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 3 THEN
        UPDATE busy.ledger SET checked = true WHERE checked IS NULL;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_check AFTER INSERT OR UPDATE ON busy.ledger FOR EACH STATEMENT EXECUTE FUNCTION busy.check();

CREATE FUNCTION busy.keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.total = 2 THEN
        INSERT INTO busy.ledger VALUES (OLD.id, 1, false);
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_keep AFTER DELETE ON busy.ledger FOR EACH ROW EXECUTE FUNCTION busy.keep();

CREATE TABLE model.witness (id bigint GENERATED ALWAYS AS IDENTITY, relation text, op text, old_row text[], new_row text[]);

INSERT INTO odd.wide (id) VALUES (1), (2), (3);
INSERT INTO odd.keyed VALUES (',', 1.0, 'infinity', 'a', 'x');
INSERT INTO kin.shelf VALUES (1, 'a'), (2, 'a'), (2, 'b,c');
INSERT INTO kin.book VALUES (1, 1, 'a'), (2, 1, 'a'), (3, 2, 'b,c');
INSERT INTO kin.node VALUES (1, NULL), (2, 1), (3, 2);
INSERT INTO kin.lamp VALUES (1, 1, 2), (2, 2, 2), (3, 3, 1);
INSERT INTO kin.person VALUES (1), (2);
INSERT INTO kin.loan VALUES (1, 1), (1, 2), (2, 3);
INSERT INTO part.event VALUES (1, 'north', 1), (2, 'south', 2), (3, 'east', NULL);
INSERT INTO part.echo VALUES (1, 1, 'north'), (2, 2, 'south'), (3, 3, 'east');
INSERT INTO busy.stock VALUES (1, 1, 1), (3, 1, 1);
INSERT INTO busy.delivery VALUES (1, 1, 1), (2, 3, NULL);
INSERT INTO busy.diary VALUES (1);
INSERT INTO busy.ledger VALUES (1, 2);
"""


def cells(spec: Spec, row: str) -> str:
    return f"ARRAY[{', '.join(f'{row}.{ident(name)}::text' for name in spec.columns)}]::text[]"


def witness(spec: Spec) -> Iterator[str]:
    """Yield the SQL that tells what statements truly change: old and new rows pair up by their place."""
    rows = "SELECT row_number() OVER () AS place, {} AS cells FROM {} AS r"
    old, new = rows.format(cells(spec, "r"), "old_rows"), rows.format(cells(spec, "r"), "new_rows")
    function = f"model.witness_{spec.entity_type.lower()}"
    into = f"INSERT INTO model.witness (relation, op, old_row, new_row) SELECT '{spec.entity_type}'"
    yield (
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql {PINNED} AS $body$ BEGIN"
        f" IF TG_OP = 'INSERT' THEN {into}, 'I', NULL, was_new.cells FROM ({new}) AS was_new;"
        f" ELSIF TG_OP = 'DELETE' THEN {into}, 'D', was_old.cells, NULL FROM ({old}) AS was_old;"
        f" ELSE {into}, 'U', was_old.cells, was_new.cells"
        f" FROM ({old}) AS was_old JOIN ({new}) AS was_new USING (place) ORDER BY place;"
        " END IF; RETURN NULL; END; $body$"
    )
    seen = {"INSERT": "NEW TABLE AS new_rows", "DELETE": "OLD TABLE AS old_rows"}
    seen["UPDATE"] = "OLD TABLE AS old_rows NEW TABLE AS new_rows"
    for relation in [spec.name, *spec.doors]:
        for event, tables in seen.items():
            yield (
                f"CREATE TRIGGER witness_{event} AFTER {event} ON {relation}"
                f" REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )


def state_function(scene: str) -> str:
    rows = " UNION ALL ".join(
        f"SELECT '{spec.entity_type}', {cells(spec, 'r')} FROM {spec.name} AS r" for spec in SCENES[scene]
    )
    return (
        f"CREATE FUNCTION model.{scene}() RETURNS TABLE (relation text, cells text[]) LANGUAGE sql {PINNED}"
        f" AS $body$ {rows} $body$"
    )


# -- what is written --------------------------------------------------------------------------------------------------

SAVEPOINTS = ["SAVEPOINT s", "RELEASE s", "ROLLBACK TO s"]

#: Expressions that change a value in ways that no plain value would; {c} is the column.
EXPRESSIONS = {
    "integer": ["{c} + 1", "{c} + 10", "-{c}"],
    "numeric": ["{c} * 1.0", "round({c}, 2)", "-{c}"],
    "real": ["-{c}"],
    "double precision": ["-{c}"],
    "text": ["{c} || 'x'", "upper({c})"],
    "odd.folded": ["upper({c})"],
    "jsonb": ["{c} || '{{\"b\": 1.00}}'", "jsonb_set({c}, '{{a}}', 'null')"],
    "integer[]": ["{c} || 3", "array_append({c}, NULL)"],
    "interval": ["justify_hours({c})", "-{c}"],
    "timestamptz": ["{c} + '1 microsecond'"],
}

HOSTILE = {
    "TimeZone": ["America/St_Johns", "Asia/Kathmandu", "UTC-14"],
    "DateStyle": ["SQL, DMY", "German", "Postgres, MDY"],
    "IntervalStyle": ["sql_standard", "postgres_verbose"],
    "bytea_output": ["escape"],
    "extra_float_digits": ["-15"],
    "standard_conforming_strings": ["off"],
    "search_path": ["", "odd, kin, part, busy"],
    "quote_all_identifiers": ["on"],
    "array_nulls": ["off"],
    "transform_null_equals": ["on"],
    "plpgsql.variable_conflict": ["use_column"],
    "jit_above_cost": ["0"],
}
HOSTILITY = st.sampled_from([f"SET LOCAL {name} = '{value}'" for name in HOSTILE for value in HOSTILE[name]])


@st.composite
def rows(draw: st.DrawFn, spec: Spec, at_most: int = 3) -> tuple[list[str], list[list[str]]]:
    """Column names and the values of some rows: the key and a few columns besides."""
    others = [name for name in spec.columns if name not in keys(spec)]
    chosen = draw(st.lists(st.sampled_from(others), unique=True, max_size=4)) if others else []
    names = keys(spec) + chosen
    one = st.tuples(*(values(spec, name) for name in names)).map(list)
    return names, draw(st.lists(one, min_size=1, max_size=at_most))


def keys(spec: Spec) -> list[str]:
    return spec.key + spec.related if spec.is_link else spec.key


def values(spec: Spec, name: str) -> st.SearchStrategy[str]:
    kind, texts = spec.columns[name]
    return st.sampled_from([literal(kind, text) for text in texts])


@st.composite
def assignments(draw: st.DrawFn, spec: Spec) -> str:
    parts = []
    for name in draw(st.lists(st.sampled_from(list(spec.columns)), unique=True, min_size=1, max_size=4)):
        column = f"t.{ident(name)}"
        changes = [e.format(c=column) for e in EXPRESSIONS.get(spec.columns[name][0], [])]
        value = draw(st.one_of(values(spec, name), st.sampled_from([column, *changes])))
        parts.append(f"{ident(name)} = {value}")
    return ", ".join(parts)


@st.composite
def condition(draw: st.DrawFn, spec: Spec) -> str:
    name = draw(st.sampled_from(spec.key))
    some = draw(st.lists(values(spec, name), min_size=1, max_size=2, unique=True))
    return draw(st.sampled_from([f"t.{ident(name)} IN ({', '.join(some)})", "true"]))


def listed(names: list[str]) -> str:
    return ", ".join(map(ident, names))


def tuples(values: list[list[str]]) -> str:
    return ", ".join(f"({', '.join(row)})" for row in values)


@st.composite
def insert(draw: st.DrawFn, spec: Spec) -> str:
    names, some = draw(rows(spec))
    door = draw(st.sampled_from([spec.name, spec.name, *spec.doors]))
    statement = f"INSERT INTO {door} AS t ({listed(names)}) VALUES {tuples(some)}"
    target = f"ON CONFLICT ({listed(keys(spec))}) DO"
    return draw(
        st.one_of(
            st.just(statement),
            st.sampled_from([f"{statement} ON CONFLICT DO NOTHING", f"{statement} {target} NOTHING"]),
            assignments(spec).map(lambda changes: f"{statement} {target} UPDATE SET {changes}"),
            st.just(
                f"{statement} {target} UPDATE SET {', '.join(f'{ident(n)} = excluded.{ident(n)}' for n in names)}"
            ),
        )
    )


@st.composite
def update(draw: st.DrawFn, spec: Spec) -> str:
    door = draw(st.sampled_from([spec.name, spec.name, *spec.doors]))
    return f"UPDATE {door} AS t SET {draw(assignments(spec))} WHERE {draw(condition(spec))}"


@st.composite
def delete(draw: st.DrawFn, spec: Spec) -> str:
    door = draw(st.sampled_from([spec.name, spec.name, *spec.doors]))
    return f"DELETE FROM {door} AS t WHERE {draw(condition(spec))}"


@st.composite
def merge(draw: st.DrawFn, spec: Spec) -> str:
    """Rows that match are changed or deleted, others inserted; a key given up is free for the next row."""
    names, some = draw(rows(spec))
    wanted = draw(values(spec, spec.key[0]))
    matches = draw(st.lists(st.one_of(st.just(wanted), values(spec, spec.key[0])), min_size=len(some), max_size=len(some)))
    source = tuples([[match, *row] for match, row in zip(matches, some, strict=True)])
    return (
        f"MERGE INTO {spec.name} AS t USING (VALUES {source}) AS s (match, {listed(names)})"
        f" ON t.{ident(spec.key[0])} = s.match"
        f" WHEN MATCHED AND s.match = {draw(values(spec, spec.key[0]))} THEN DELETE"
        f" WHEN MATCHED THEN UPDATE SET {draw(assignments(spec))}"
        f" WHEN NOT MATCHED THEN INSERT ({listed(names)}) VALUES ({', '.join(f's.{ident(n)}' for n in names)})"
    )


@st.composite
def moved_by_hand(draw: st.DrawFn, spec: Spec) -> str:
    """Rows deleted and put back in one statement, as queues and archives do."""
    name = draw(st.sampled_from(list(spec.columns)))
    changed = ", ".join(draw(values(spec, name)) if n == name else ident(n) for n in spec.columns)
    return (
        f"WITH gone AS ({draw(delete(spec))} RETURNING t.*)"
        f" INSERT INTO {spec.name} ({listed(list(spec.columns))}) SELECT {changed} FROM gone"
    )


@st.composite
def two_in_one(draw: st.DrawFn, specs: list[Spec]) -> str:
    """Two writes in one statement, the first whenever its turn comes, or before the second."""
    first, second = draw(st.sampled_from(specs)), draw(st.sampled_from(specs))
    writes = [insert, update, delete]
    before = draw(draw(st.sampled_from(writes))(first))
    after = draw(draw(st.sampled_from(writes[1:]))(second))
    order = draw(st.sampled_from(["", " AND (SELECT count(*) FROM first_write) >= 0"]))
    return f"WITH first_write AS ({before} RETURNING 1) {after}{order}"


@st.composite
def copy(draw: st.DrawFn, spec: Spec) -> str:
    """COPY, its data on the lines below."""
    names = [*dict.fromkeys(keys(spec) + draw(st.lists(st.sampled_from(list(spec.columns)), max_size=5)))]
    lines = [
        "\t".join(copied(draw(st.sampled_from(spec.columns[name][1]))) for name in names)
        for _ in range(draw(st.integers(1, 3)))
    ]
    door = draw(st.sampled_from([spec.name, *spec.doors]))
    return "\n".join([f"COPY {door} ({listed(names)}) FROM STDIN", *lines])


def copied(text: str | None) -> str:
    if text is None:
        return r"\N"
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def truncate(spec: Spec) -> st.SearchStrategy[str]:
    return st.sampled_from([f"TRUNCATE {door} CASCADE" for door in [spec.name, *spec.doors]])


#: What an application with a counter does: a row and what counts in it, in one statement.
DELIVERED = [
    "WITH new AS (INSERT INTO busy.stock (id, amount) VALUES (4, 1) RETURNING id)"
    " INSERT INTO busy.delivery (id, stock_id, amount) SELECT 4, id, 1 FROM new",
    "WITH new AS (INSERT INTO busy.stock (id, amount) VALUES (4, 1), (1, 2)"
    " ON CONFLICT (id) DO UPDATE SET amount = excluded.amount RETURNING id)"
    " INSERT INTO busy.delivery (id, stock_id, amount) SELECT id + 3, id, -1 FROM new",
]


@cache
def operations(scene: str) -> st.SearchStrategy[list[str]]:
    specs = SCENES[scene]
    # a trigger that writes to another table writes after the whole statement, before or after the log of the other half
    together = [[spec] for spec in specs] if scene == "triggers" else [specs]
    one = st.one_of(
        *(kind(spec) for spec in specs for kind in (insert, update, update, delete, merge, moved_by_hand, copy)),
        *(two_in_one(some) for some in together),
        *([st.sampled_from(DELIVERED)] if scene == "triggers" else []),
        st.sampled_from(specs).flatmap(truncate),
        st.sampled_from(SAVEPOINTS),
        st.sampled_from(SAVEPOINTS),
        HOSTILITY,
    )
    return st.lists(one, min_size=1, max_size=12)


# -- the proof --------------------------------------------------------------------------------------------------------


@dataclass
class Database:
    conn: psycopg.Connection[Any]
    tables: dict[str, Table]
    reader: Reader
    image: str


@dataclass
class Step:
    """A statement that stood, the states around it, and the last rows of log and witness then."""

    statement: str
    before: State
    after: State
    seq: int
    witness: int


def built(conn: psycopg.Connection[Any]) -> None:
    migrate.migrate(conn)
    for text in [_TYPES, *(spec.ddl for spec in SPECS), _MORE, *(w for spec in SPECS for w in witness(spec))]:
        conn.execute(text.encode())
    for scene in SCENES:
        conn.execute(state_function(scene).encode())


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest) -> Iterator[tuple[dict[str, Any], psycopg.Connection[Any]]]:
    """Address and administrator of a database that has the tables, none of them watched."""
    server = request.getfixturevalue("server")
    address = {"host": server.host, "port": server.port, "user": server.user, "password": server.password}
    with psycopg.connect(**address, dbname="postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE properties")
        with psycopg.connect(**address, dbname="properties", autocommit=True) as conn:
            built(conn)
        yield address, admin


@pytest.fixture(scope="module", params=["rendered none", "rendered full", "tolerant none", "tolerant full"])
def watched(request: pytest.FixtureRequest, base: Any) -> Iterator[Database]:
    """A copy of it, all tables watched with one kind of capture and of image."""
    capture, image = request.param.split()
    address, admin = base
    name = f"properties_{capture}_{image}"
    admin.execute(f"CREATE DATABASE {name} TEMPLATE properties".encode())
    with psycopg.connect(**address, dbname=name, autocommit=True) as conn:
        outcomes = watching.watch(conn, [spec.name for spec in SPECS], Options(capture=capture, image=image))
        assert [outcome.entity_type for outcome in outcomes] == [spec.entity_type for spec in SPECS]
        tables = {spec.entity_type: table(spec) for spec in SPECS}
        domains = dict(
            conn.execute(
                "SELECT oid::regtype::text, format_type(typbasetype, NULL) FROM pg_type WHERE typtype = 'd'"
            ).fetchall()
        )
        yield Database(conn, tables, Reader(conn, tables.values(), domains), image)


def table(spec: Spec) -> Table:
    types = {name: kind for name, (kind, _) in spec.columns.items()}
    ignored = frozenset({"updated_at", "words"} & types.keys())
    subject = "PERSON" if spec.is_link else spec.entity_type
    return Table(spec.entity_type, types, spec.key, spec.related, ignored, spec.is_link)


#: A statement may break the tables' own rules, and then changes nothing; any other error is one of the capture.
REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.TriggeredDataChangeViolation,
)


def run(conn: psycopg.Connection[Any], statement: str) -> None:
    head, _, data = statement.partition("\n") if statement.startswith("COPY") else (statement, "", "")
    if not data:
        conn.execute(head.encode())
        return
    with conn.cursor().copy(head.encode()) as stream:
        stream.write(data + "\n")


def state_of(db: Database, scene: str) -> State:
    state: State = {}
    for kind, texts in db.conn.execute(f"SELECT * FROM model.{scene}()".encode()).fetchall():
        table = db.tables[kind]
        row = dict(zip(table.types, texts, strict=True))
        state[kind, table.key_of(row)] = row
    return state


def written(db: Database, scene: str, statements: list[str]) -> list[Step]:
    """Run the statements, and return those that stood: not failed, not rolled back."""
    conn, steps, savepoints = db.conn, [], []
    state = state_of(db, scene)
    for statement in statements:
        if statement == "SAVEPOINT s":
            savepoints.append(len(steps))
        elif statement in SAVEPOINTS:
            if not savepoints:
                continue
            held = savepoints.pop() if statement == "RELEASE s" else savepoints[-1]
            if statement == "ROLLBACK TO s":
                state = steps[held].before if held < len(steps) else state
                del steps[held:]
            note(statement)
            conn.execute(statement.encode())
            continue
        conn.execute(b"SAVEPOINT one" if statement != "SAVEPOINT s" else b"SAVEPOINT s")
        if statement == "SAVEPOINT s":
            note(statement)
            continue
        try:
            run(conn, statement)
        except REFUSALS as error:
            if error.diag.schema_name == "llamalog":
                raise
            note(f"-- failed, {error.sqlstate} {error.diag.message_primary}: {statement}")
            conn.execute("ROLLBACK TO one")
            conn.execute("RELEASE one")
            continue
        note(statement)
        conn.execute("RELEASE one")
        before, state = state, state_of(db, scene)
        (seq, seen) = conn.execute(
            "SELECT (SELECT coalesce(max(log.seq), 0) FROM llamalog.log AS log),"
            " (SELECT coalesce(max(witness.id), 0) FROM model.witness AS witness)"
        ).fetchone()
        steps.append(Step(statement, before, state, seq, seen))
    return steps


Told = tuple[Any, ...]


def truth(db: Database, step: Step, last: int) -> list[Told]:
    """What the log has to tell of a statement, by the witness; by the states, for a TRUNCATE."""
    told = []
    if step.statement.startswith("TRUNCATE"):
        gone = step.before.keys() - step.after.keys()
        return [removal(db.tables[kind], "T", step.before[kind, key]) for kind, key in gone]
    for kind, op, *images in db.conn.execute(
        "SELECT relation, op, old_row, new_row FROM model.witness WHERE id > %s AND id <= %s ORDER BY id",
        [last, step.witness],
    ).fetchall():
        table = db.tables[kind]
        old, new = (None if texts is None else dict(zip(table.types, texts, strict=True)) for texts in images)
        is_moved = kind == "EVENT" and op == "U" and partition(old) != partition(new)
        if op == "D" or is_moved:
            told.append(removal(table, "D", old))
        if op == "I" or is_moved:
            told.append(creation(table, new, db.image))
        if op == "U" and not is_moved:
            told.extend(change(table, old, new))
    return told


def partition(row: Row) -> str:
    region = row["region"]
    return region if region in ("north", "south") else "few" if int(row["id"]) < 3 else "many"


def removal(table: Table, op: str, row: Row) -> Told:
    return op, table.entity_type, table.key_of(row), None, related(table, row), frozenset(), row, None


def creation(table: Table, row: Row, image: str) -> Told:
    fields = frozenset(name for name, value in table.watched(row).items() if value is not None)
    after = row if image == "full" or table.is_link else None
    return "I", table.entity_type, table.key_of(row), None, related(table, row), fields, None, after


def change(table: Table, old: Row, new: Row) -> Iterator[Told]:
    fields = frozenset(name for name in table.watched(old) if old[name] != new[name])
    if not fields:
        return
    previous = None
    if table.key_of(old, table.key) != table.key_of(new, table.key):
        previous = table.key_of(old, table.key)
    elif table.is_link and related(table, old) != related(table, new):
        previous = related(table, old)
    before, after = ({name: row[name] for name in fields} for row in (old, new))
    yield "U", table.entity_type, table.key_of(new), previous, related(table, new), fields, before, after


def related(table: Table, row: Row) -> tuple[Any, ...] | None:
    found = table.key_of(row, table.related) if table.related else (None,)
    return None if None in found else found


def told(db: Database, change: Change) -> Told:
    """A row of the log in the form of the truth; where none is promised, the image of a created row is left aside."""
    is_created = change.op == "I"
    promised = not is_created or db.image == "full" or db.tables[change.table].is_link
    return (
        change.op, change.table, change.key, None if is_created else change.previous, change.related,
        change.fields, change.before, change.after if promised else None,
    )


def watched_part(db: Database, state: State) -> State:
    return {at: db.tables[at[0]].watched(row) for at, row in state.items()}


@pytest.mark.parametrize("scene", SCENES)
@PROFILE
@given(data=st.data())
def test_the_log_tells_every_change_once_and_plays_back_to_every_state(
    watched: Database, scene: str, data: st.DataObject
) -> None:
    statements = data.draw(operations(scene), label="statements")
    with watched.conn.transaction(force_rollback=True):
        steps = written(watched, scene, statements)
        log = watched.reader.changes()

        last_seq = last_seen = 0
        by_step = []
        for step in steps:
            by_step.append([row for row in log if last_seq < row.seq <= step.seq])
            assert sorted((told(watched, row) for row in by_step[-1]), key=repr) == sorted(
                truth(watched, step, last_seen), key=repr
            )
            last_seq, last_seen = step.seq, step.witness
        assert sum(by_step, []) == log

        if not steps:
            return
        state = watched_part(watched, steps[-1].after)
        for step, changes in zip(reversed(steps), reversed(by_step), strict=True):
            for row in reversed(changes):
                undo(watched.tables, state, row)
            assert state == watched_part(watched, step.before)
        if watched.image == "full":
            for step, changes in zip(steps, by_step, strict=True):
                for row in changes:
                    redo(watched.tables, state, row)
                assert state == watched_part(watched, step.after)
