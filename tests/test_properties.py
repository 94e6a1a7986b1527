"""Whatever is written, the log has one row for each row changed, and plays back to every state.

An example is a list of SQL statements on the tables of one scene, so a failing one is its own
reproduction. What they truly change is told by a witness of the test's own, triggers with
transition tables; what they leave behind is read from the tables after each of them.
HYPOTHESIS_PROFILE=thorough tries thousands.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from types import SimpleNamespace
from typing import Any, NamedTuple

import psycopg
import pytest
from conftest import sampled
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from psycopg import sql
from replay import PINNED, Change, Key, Reader, Row, State, Table, redo, undo

from llamalog_sql import migrate, watching
from llamalog_sql.watching import Options

_QUICK = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _QUICK)
settings.register_profile(
    "ci", _QUICK, max_examples=10, derandomize=True, database=None, print_blob=True
)
settings.register_profile("thorough", _QUICK, max_examples=2000)
PROFILE = settings.get_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if "CI" in os.environ else "quick")
)


# -- the tables -------------------------------------------------------------------------------------------------------


@dataclass
class Spec:
    """A table to write to.

    columns: by name, the type and texts to write.  rules: constraints.  doors: its partitions.
    """

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


@dataclass(frozen=True)
class Scene:
    """Tables that are written to together.  types: SQL to run before they are made; rest: SQL to run after."""

    specs: list[Spec]
    types: str = ""
    rest: str = ""


def ident(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def literal(kind: str, text: str | None) -> str:
    if kind == "integer" and text is not None:
        return text
    return f"CAST({sql.Literal(text).as_string(None).strip()} AS {kind})"


IDS: tuple[str, list[str | None]] = ("integer", ["1", "2", "3", "4", "5", "6", "7"])
REFERENCES: tuple[str, list[str | None]] = ("integer", ["1", "2", "3", None])
TEXTS: tuple[str, list[str | None]] = (
    "text",
    [
        "",
        "it's",
        'say "hi"',
        "back\\slash",
        "{a,b}",
        "null",
        "🦙\n\t",
        "$function$ %s %1$s",
        "a,b",
        None,
    ],
)
NUMBERS: tuple[str, list[str | None]] = ("integer", ["-1", "0", "1", "2", None])
TIMES: tuple[str, list[str | None]] = (
    "timestamptz",
    ["2026-01-01 00:00:00+00", "2026-01-02 03:04:05.678+02"],
)


def kinds(text: str) -> dict[str, list[str | None]]:
    """Read types, one a line, with texts that they read, apart by bars; any of them may be null."""
    lines = (line.split(": ", 1) for line in text.strip("\n").split("\n"))
    return {name: [*texts.split(" | "), None] for name, texts in lines}


# apart by the settings that images of them need: each group gets a table of its own
SCALARS = kinds(r"""
varchar(20):  | it's | xxxxxxxxxxxxxxxxxxxx | \x41
char(5):  | a |  a
"char":  | a | \377
name:  | a"b
boolean: true | false
smallint: -32768 | 0
bigint: 9223372036854775807 | 0
oid: 0 | 4294967295
uuid: 00000000-0000-0000-0000-000000000000 | A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11
numeric: 1 | 1.0 | 1.00 | 0 | 0.000 | NaN | Infinity | -Infinity | 1e-30 | 1e40 | 12345678901234567890.12345678901234567890
numeric(10,2): 1.005 | -7
money: 0 | -12.34 | 12.30 | 1234567.89
real: 0 | -0 | 0.1 | NaN | Infinity | 3.4028235e38 | 1e-45 | 16777217
double precision: 0 | -0 | 0.1 | 0.30000000000000004 | NaN | -Infinity | 5e-324 | 1e22
json: null | {"a":1} | {"a": 1} | {"a":1,"a":2} | "x" |  1.0  | [1,2] | "null" | {"$json":null}
jsonb: null | 1 | 1.0 | 1.00 | "x" | true | {} | [] | [null] | {"a":null} | "null" | {"$json":null} | {"$json":{"$json":1},"b":2} | ["$json"] | "$json" | {"a":1e40} | "[redacted]"
bytea:  | \x00ff | \x5c6e27 | a\\b
interval: 0 | 1 month | 30 days | 1 day | 24:00:00 | -1 month +1 day -00:00:00.000001 | 178000000 years | -1 years -2 months +3 days 04:05:06
timestamptz: 2024-03-31 01:30:00+00 | 2024-10-27 02:30:00.123456+02 | infinity | -infinity | 0044-03-15 12:00:00+00 BC | 294276-12-31 23:59:59+00 | 1883-11-18 12:00:00+00
timestamp: 2024-02-29 12:00:00 | infinity | 4713-01-01 00:00:00 BC | 12024-01-01 00:00:00.1
timestamptz(0): 2024-01-01 00:00:00.5+00
date: 2024-02-29 | infinity | -infinity | 0044-03-15 BC | 5874897-12-31
time: 00:00:00 | 24:00:00 | 12:34:56.789
app.mood: sad | it's | so "so" | a,b {}
app.grade: 1 | 1.0 | NaN
app.doc: null | {"a":1.0} | {"$json":1}
app.deep: null | [1.0]
app.folded: abc | ABC
""")
COMPOSITES = kinds(r"""
app.place: (1.0,"it's","{a,""b c""}",sad,"2024-01-01 00:00:00+00",-0) | (,,,,,) | (1.00,"","{}","a,b {}",,0)
app.home: (1.0,x,"{}",sad,,) | (,,,,,)
""")
OTHERS = kinds(r"""
timetz: 12:00:00+05:30 | 12:00:00+00 | 24:00:00-15:59:59
app.spans: [1.50,2) | [1.5,2) | empty | (,)
int4range: empty | [1,5) | (,) | [1,1]
tstzrange: [2024-01-01 00:00:00+00,) | ["2024-01-01 00:00:00+02",infinity] | empty
nummultirange: {} | {[1.0,2.00),[3,4]} | {[1,2.00),[3,4]}
point: (0,-0) | (0,0) | (NaN,1e300)
box: (2,2),(0,0) | (4,1),(0,0)
circle: <(0,0),1> | <(5,5),1>
polygon: ((0,0),(1,0),(1,1)) | ((1,0),(1,1),(0,0))
path: [(0,0),(1,1)] | ((0,0),(1,1))
inet: 10.0.0.1 | 10.0.0.1/8 | ::1
cidr: 10.0.0.0/8
macaddr: 08:00:2b:01:02:03
bit(4): 0101
varbit:  | 101
tsquery: 'a' & 'b' | 'it''s'
jsonpath: $."a"[*]
pg_lsn: 0/0 | FFFFFFFF/FFFFFFFF
xid8: 18446744073709551615
""")
PLAIN_ARRAYS = kinds(r"""
integer[]: {} | {1,2} | {{1,2},{3,4}} | [0:1]={1,2} | [2:2][3:4]={{1,2}} | {NULL} | {{NULL}}
text[]: {} | {NULL,"NULL",""} | {"a,b","c\"d","e\\f","{}"} | {{a},{b}} | [-1:0]={a,b}
varchar(3)[]: {abc,d}
char(3)[]: {a,abc}
boolean[]: {t,f,NULL}
numeric[]: {1,1.0,NaN} | {1,1.00,Infinity} | [5:5]={0.0}
uuid[]: {00000000-0000-0000-0000-000000000000}
app.mood[]: {sad,"it's",NULL} | {{sad},{sad}}
""")
ARRAYS = kinds(r"""
app.grades: {1,1.0} | {} | [0:1]={1,2}
double precision[]: {0,-0} | {0,0} | {NaN,0.1}
timestamptz[]: {2024-01-01 00:00:00+00,infinity,NULL} | {"0044-03-15 12:00:00+00 BC"}
date[]: {2024-01-01,infinity} | {0044-03-15 BC}
interval[]: {"1 mon -1 days",24:00:00}
bytea[]: {"\\x00ff",""}
json[]: {"null","{\"a\":1}",NULL}
jsonb[]: {"null","1.0","{\"$json\":1}",NULL} | {}
app.place[]: {"(1.0,x,\"{a}\",sad,,-0)",NULL} | {}
app.grade[]: {1,1.0} | {}
int4range[]: {"[1,5)",empty}
money[]: {$1.20,-$3.00}
""")


def odd_table(name: str, group: dict[str, list[str | None]]) -> Spec:
    """A table with a column of each type, whose names would break out of a text that quotes badly."""
    columns = {f"c{n} '\"\\ %s": kind for n, kind in enumerate(group.items())}
    ignored = {"updated_at": TIMES, "words": ("tsvector", ["a b", "'it''s':1A", None])}
    rules = "doubled integer GENERATED ALWAYS AS (id * 2) STORED, PRIMARY KEY (id)"
    return Spec(name, {"id": IDS, **columns, **ignored}, rules)


GROUPS = [SCALARS, COMPOSITES, OTHERS, PLAIN_ARRAYS, ARRAYS]
WIDE = odd_table("app.wide", {name: texts for group in GROUPS for name, texts in group.items()})
NARROW = [odd_table(f"app.narrow{n}", group) for n, group in enumerate(GROUPS)]
KEYED = Spec(
    "app.keyed",
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
    "app.shelf",
    {"room": IDS, "slot": ("text", ["a", "b,c", "\\"]), "remark": TEXTS},
    "PRIMARY KEY (room, slot)",
    key=["room", "slot"],
)
BOOK = Spec(
    "app.book",
    {"id": IDS, "room": REFERENCES, "slot": ("text", ["a", "b,c", "\\", None]), "remark": TEXTS},
    "PRIMARY KEY (id), FOREIGN KEY (room, slot) REFERENCES app.shelf ON UPDATE CASCADE ON DELETE CASCADE",
    related=["room", "slot"],
)
NODE = Spec(
    "app.node",
    {"id": IDS, "parent": REFERENCES, "remark": TEXTS},
    "PRIMARY KEY (id), FOREIGN KEY (parent) REFERENCES app.node ON UPDATE CASCADE ON DELETE CASCADE",
)
LAMP = Spec(
    "app.lamp",
    {"id": IDS, "node": REFERENCES, "spare": ("integer", ["1", "2", None]), "watt": NUMBERS},
    "PRIMARY KEY (id), FOREIGN KEY (node) REFERENCES app.node ON UPDATE CASCADE ON DELETE SET NULL,"
    " FOREIGN KEY (spare) REFERENCES app.node ON UPDATE SET NULL ON DELETE SET DEFAULT",
    related=["node"],
)
PERSON = Spec("app.person", {"id": IDS, "remark": TEXTS}, "PRIMARY KEY (id)")
LOAN = Spec(
    "app.loan",
    {"person_id": IDS, "book_id": IDS, "role": TEXTS},
    "PRIMARY KEY (person_id, book_id),"
    " FOREIGN KEY (person_id) REFERENCES app.person ON UPDATE CASCADE ON DELETE CASCADE,"
    " FOREIGN KEY (book_id) REFERENCES app.book ON UPDATE CASCADE ON DELETE CASCADE",
    key=["person_id"],
    related=["book_id"],
    is_link=True,
)
EVENT = Spec(
    "app.event",
    {
        "id": IDS,
        "region": ("text", ["north", "south", "east", "west"]),
        "size": ("numeric", ["1", "1.0", "1.00", None]),
        "remark": TEXTS,
        "updated_at": TIMES,
    },
    "PRIMARY KEY (id, region)",
    "PARTITION BY LIST (region)",
    key=["id", "region"],
    doors=["app.north", "app.south", "app.others", "app.east"],
)
ECHO = Spec(
    "app.echo",
    {"id": IDS, "event_id": IDS, "region": ("text", ["north", "south", "east", "west"])},
    "PRIMARY KEY (id), FOREIGN KEY (event_id, region) REFERENCES app.event ON UPDATE CASCADE ON DELETE CASCADE",
    related=["event_id", "region"],
)
STOCK = Spec(
    "app.stock",
    {"id": IDS, "amount": NUMBERS, "revision": NUMBERS, "remark": TEXTS, "updated_at": TIMES},
    "PRIMARY KEY (id)",
)
DELIVERY = Spec(
    "app.delivery",
    {"id": IDS, "stock_id": REFERENCES, "amount": NUMBERS},
    "PRIMARY KEY (id), FOREIGN KEY (stock_id) REFERENCES app.stock ON UPDATE CASCADE ON DELETE CASCADE",
    related=["stock_id"],
)
DIARY = Spec("app.diary", {"id": IDS, "page": NUMBERS, "remark": TEXTS}, "PRIMARY KEY (id)")
LEDGER = Spec(
    "app.ledger",
    {"id": IDS, "total": NUMBERS, "checked": ("boolean", ["true", "false", None])},
    "PRIMARY KEY (id)",
)
BOARD = Spec("app.board", {"id": IDS, "posts": NUMBERS}, "PRIMARY KEY (id)")
POST = Spec(
    "app.post",
    {"id": IDS, "board_id": REFERENCES, "remark": TEXTS},
    "PRIMARY KEY (id), FOREIGN KEY (board_id) REFERENCES app.board ON DELETE CASCADE",
    related=["board_id"],
)
VAULT = Spec("app.vault", {"id": IDS, "total": NUMBERS}, "PRIMARY KEY (id)")

TYPES = """
CREATE TYPE app.mood AS ENUM ('sad', 'it''s', 'so "so"', 'a,b {}');
CREATE TYPE app.place AS (x numeric, note text, tags text[], mood app.mood, at timestamptz, f real);
CREATE TYPE app.spans AS RANGE (subtype = numeric);
CREATE DOMAIN app.grade AS numeric CHECK (value >= 0);
CREATE DOMAIN app.grades AS app.grade[];
CREATE DOMAIN app.doc AS jsonb;
CREATE DOMAIN app.deep AS app.doc;
CREATE DOMAIN app.home AS app.place;
DO $$
BEGIN
    CREATE COLLATION app.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
EXCEPTION WHEN feature_not_supported THEN
    CREATE COLLATION app.any_case FROM "C";  -- a build without ICU
END;
$$;
CREATE DOMAIN app.folded AS text COLLATE app.any_case;
"""
SCENES = {
    "types": Scene(
        [WIDE, KEYED],
        types=TYPES,
        rest="""
INSERT INTO app.wide (id) VALUES (1), (2), (3);
INSERT INTO app.keyed VALUES (',', 1.0, 'infinity', 'a', 'x');
""",
    ),
    "values": Scene(
        NARROW,
        types=TYPES,
        rest="\n".join(f"INSERT INTO {spec.name} (id) VALUES (1);" for spec in NARROW),
    ),
    "family": Scene(
        [SHELF, BOOK, NODE, LAMP, PERSON, LOAN],
        rest="""
ALTER TABLE app.lamp ALTER spare SET DEFAULT 1;
INSERT INTO app.shelf VALUES (1, 'a'), (2, 'a'), (2, 'b,c');
INSERT INTO app.book VALUES (1, 1, 'a'), (2, 1, 'a'), (3, 2, 'b,c');
INSERT INTO app.node VALUES (1, NULL), (2, 1), (3, 2);
INSERT INTO app.lamp VALUES (1, 1, 2), (2, 2, 2), (3, 3, 1);
INSERT INTO app.person VALUES (1), (2);
INSERT INTO app.loan VALUES (1, 1), (1, 2), (2, 3);
""",
    ),
    "partitions": Scene(
        [EVENT, ECHO],
        rest="""
-- one partition as it came, one with its columns in another order and one dropped, and two below a third
CREATE TABLE app.north PARTITION OF app.event FOR VALUES IN ('north');
CREATE TABLE app.south (gone integer, updated_at timestamptz, remark text, region text NOT NULL, id integer NOT NULL, size numeric);
ALTER TABLE app.south DROP COLUMN gone;
ALTER TABLE app.event ATTACH PARTITION app.south FOR VALUES IN ('south');
CREATE TABLE app.others PARTITION OF app.event DEFAULT PARTITION BY LIST (region);
CREATE TABLE app.east PARTITION OF app.others FOR VALUES IN ('east');
CREATE TABLE app.rest PARTITION OF app.others DEFAULT;
INSERT INTO app.event VALUES (1, 'north', 1), (2, 'south', 2), (3, 'east', NULL);
INSERT INTO app.echo VALUES (1, 1, 'north'), (2, 2, 'south'), (3, 3, 'east');
""",
    ),
    "triggers": Scene(
        [STOCK, DELIVERY, BOARD, POST, DIARY, LEDGER, VAULT],
        rest="""
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := '2026-02-02';
    RETURN NEW;
END;
$$;
CREATE TRIGGER touch BEFORE UPDATE ON app.stock FOR EACH ROW EXECUTE FUNCTION app.touch();

CREATE FUNCTION app.fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.amount = 0 THEN
        DELETE FROM app.stock WHERE id = NEW.id;
    ELSIF NEW.revision IS NULL THEN
        UPDATE app.stock SET revision = 1, remark = remark || '!' WHERE id = NEW.id;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_fill AFTER INSERT ON app.stock FOR EACH ROW EXECUTE FUNCTION app.fill();

CREATE FUNCTION app.count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 4 THEN
        BEGIN
            UPDATE app.stock SET revision = coalesce(revision, 0) + 1 WHERE id = NEW.id;
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
CREATE TRIGGER zz_count AFTER UPDATE OF amount, id ON app.stock FOR EACH ROW EXECUTE FUNCTION app.count();

CREATE FUNCTION app.deliver() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'DELETE' THEN
        UPDATE app.stock SET amount = coalesce(amount, 0) + coalesce(NEW.amount, 0) WHERE id = NEW.stock_id;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        UPDATE app.stock SET amount = amount - OLD.amount WHERE id = OLD.stock_id;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_deliver AFTER INSERT OR UPDATE OR DELETE ON app.delivery FOR EACH ROW EXECUTE FUNCTION app.deliver();

CREATE FUNCTION app.tally() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE app.board
    SET posts = (SELECT count(*) FROM app.post WHERE post.board_id = board.id)
    WHERE id IN (OLD.board_id, NEW.board_id);
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_tally AFTER INSERT OR DELETE ON app.post FOR EACH ROW EXECUTE FUNCTION app.tally();

CREATE FUNCTION app.number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE app.diary SET page = id WHERE id = NEW.id;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_number AFTER INSERT ON app.diary FOR EACH ROW EXECUTE FUNCTION app.number();

CREATE FUNCTION app.check() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 3 THEN
        UPDATE app.ledger SET checked = true WHERE checked IS NULL;
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_check AFTER INSERT OR UPDATE ON app.ledger FOR EACH STATEMENT EXECUTE FUNCTION app.check();

CREATE FUNCTION app.keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.total = 2 THEN
        INSERT INTO app.vault VALUES (OLD.id, 1);
    END IF;
    RETURN NULL;
END;
$$;
CREATE TRIGGER zz_keep AFTER DELETE ON app.vault FOR EACH ROW EXECUTE FUNCTION app.keep();
INSERT INTO app.stock VALUES (1, 1, 1), (3, 1, 1);
INSERT INTO app.delivery VALUES (1, 1, 1), (2, 3, NULL);
INSERT INTO app.board VALUES (1, 0), (2, 0);
INSERT INTO app.post VALUES (1, 1), (2, 1);
INSERT INTO app.diary VALUES (1);
INSERT INTO app.ledger VALUES (1, 2);
INSERT INTO app.vault VALUES (1, 2), (3, 1);
""",
    ),
}


def cells(spec: Spec, row: str) -> str:
    return f"ARRAY[{', '.join(f'{row}.{ident(name)}::text' for name in spec.columns)}]::text[]"


def witness(spec: Spec) -> Iterator[str]:
    """Yield the SQL that notes what statements truly change: old and new rows pair up by their place."""
    placed = "(SELECT row_number() OVER () AS place, {} AS cells FROM {} AS r) AS was_{}"
    old = placed.format(cells(spec, "r"), "old_rows", "old")
    new = placed.format(cells(spec, "r"), "new_rows", "new")
    function = f"model.witness_{spec.entity_type.lower()}"
    into = f"INSERT INTO model.witness (kind, op, old_row, new_row) SELECT '{spec.entity_type}'"
    yield (
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql {PINNED} AS $body$ BEGIN"
        f" IF TG_OP = 'INSERT' THEN {into}, 'I', NULL, was_new.cells FROM {new};"
        f" ELSIF TG_OP = 'DELETE' THEN {into}, 'D', was_old.cells, NULL FROM {old};"
        f" ELSE {into}, 'U', was_old.cells, was_new.cells FROM {old} JOIN {new} USING (place);"
        " END IF; RETURN NULL; END; $body$"
    )
    tables = {
        "INSERT": "NEW TABLE AS new_rows",
        "UPDATE": "OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "DELETE": "OLD TABLE AS old_rows",
    }
    for relation in [spec.name, *spec.doors]:
        for event, transition in tables.items():
            yield (
                f"CREATE TRIGGER witness_{event} AFTER {event} ON {relation}"
                f" REFERENCING {transition} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            )


def model(scene: Scene) -> Iterator[str]:
    """Yield the SQL of the witness, and of a function that reads all rows there are."""
    yield "CREATE SCHEMA model"
    yield (
        "CREATE TABLE model.witness (id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,"
        " kind text, op text, old_row text[], new_row text[])"
    )
    for spec in scene.specs:
        yield from witness(spec)
        if spec.doors:
            # else MERGE, having routed an INSERT, shows it as the new row of its next UPDATE (PostgreSQL 15 to 18)
            yield (
                "CREATE FUNCTION model.as_it_is() RETURNS trigger LANGUAGE plpgsql"
                " AS $body$ BEGIN RETURN NEW; END; $body$"
            )
            yield (
                f"CREATE TRIGGER as_it_is BEFORE INSERT ON {spec.name}"
                " FOR EACH ROW EXECUTE FUNCTION model.as_it_is()"
            )
    rows = " UNION ALL ".join(
        f"SELECT '{spec.entity_type}', {cells(spec, 'r')} FROM {spec.name} AS r"
        for spec in scene.specs
    )
    yield (
        "CREATE FUNCTION model.state() RETURNS TABLE (kind text, cells text[]) LANGUAGE sql"
        f" {PINNED} AS $body$ {rows} $body$"
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
    "app.folded": ["upper({c})"],
    "jsonb": ["{c} || '{{\"b\": 1.00}}'", "jsonb_build_array({c}, NULL)"],
    "integer[]": ["{c} || {c}"],
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
    "search_path": ["", "app, public"],
    "quote_all_identifiers": ["on"],
    "transform_null_equals": ["on"],
    "plpgsql.variable_conflict": ["use_column"],
}
HOSTILITY = st.sampled_from(
    [f"SET LOCAL {name} = '{value}'" for name in HOSTILE for value in HOSTILE[name]]
)


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
    for name in draw(
        st.lists(st.sampled_from(list(spec.columns)), unique=True, min_size=1, max_size=4)
    ):
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
            st.sampled_from(
                [f"{statement} ON CONFLICT DO NOTHING", f"{statement} {target} NOTHING"]
            ),
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
    matches = draw(
        st.lists(
            st.one_of(st.just(wanted), values(spec, spec.key[0])),
            min_size=len(some),
            max_size=len(some),
        )
    )
    source = tuples([[match, *row] for match, row in zip(matches, some, strict=True)])
    return (
        f"MERGE INTO {spec.name} AS t USING (VALUES {source}) AS s (match, {listed(names)})"
        f" ON t.{ident(spec.key[0])} = s.match"
        f" WHEN MATCHED AND s.match = {draw(values(spec, spec.key[0]))} THEN DELETE"
        f" WHEN MATCHED THEN UPDATE SET {draw(assignments(spec))}"
        f" WHEN NOT MATCHED THEN INSERT ({listed(names)}) VALUES ({', '.join(f's.{ident(n)}' for n in names)})"
    )


@st.composite
def put_back(draw: st.DrawFn, spec: Spec) -> str:
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
    names = [
        *dict.fromkeys(keys(spec) + draw(st.lists(st.sampled_from(list(spec.columns)), max_size=5)))
    ]
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


#: Statements that random ones come upon too seldom: what they do has an order that a log can miss.
TRAPS = {
    "types": [
        # a key that a DELETE gives up and an UPDATE takes
        "MERGE INTO app.wide AS t USING (VALUES (1), (2)) AS s (id) ON t.id = s.id"
        " WHEN MATCHED AND s.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET id = 1",
        "WITH gone AS (DELETE FROM app.wide RETURNING *)"
        " INSERT INTO app.wide (id) SELECT id FROM gone",
    ],
    "family": [
        "UPDATE app.node SET id = id + 10",
        "UPDATE app.shelf SET room = room + 10",
        # a cascade deletes others of the rows that are put back
        "WITH shelf AS (DELETE FROM app.shelf WHERE room = 2),"
        " gone AS (DELETE FROM app.book WHERE id = 1 RETURNING *)"
        " INSERT INTO app.book SELECT * FROM gone",
    ],
    "partitions": [
        "UPDATE app.event SET region = 'north', id = id + 10",
        # an INSERT that is routed before a row of the same statement is changed
        "MERGE INTO app.event AS t USING (VALUES (9), (1)) AS s (id) ON t.id = s.id"
        " WHEN MATCHED THEN UPDATE SET size = 7"
        " WHEN NOT MATCHED THEN INSERT (id, region) VALUES (s.id, 'south')",
    ],
    "triggers": [
        # a row and what is counted in it. Two writes of which the first has a trigger that writes what
        # the second wrote are tried nowhere: no AFTER trigger can tell their order
        "WITH new AS (INSERT INTO app.board (id) VALUES (4) RETURNING id)"
        " INSERT INTO app.post (id, board_id) SELECT id, id FROM new",
        "WITH new AS (INSERT INTO app.stock (id, amount) VALUES (4, 1), (1, 2)"
        " ON CONFLICT (id) DO UPDATE SET amount = excluded.amount RETURNING id)"
        " INSERT INTO app.delivery (id, stock_id, amount) SELECT id + 3, id, -1 FROM new",
        "WITH gone AS (DELETE FROM app.diary RETURNING *) INSERT INTO app.diary SELECT * FROM gone",
        # statement triggers on UPDATE fire before those on INSERT
        "INSERT INTO app.ledger (id) VALUES (1), (2) ON CONFLICT (id) DO UPDATE SET total = 0",
        "DELETE FROM app.vault",
    ],
}


@cache
def statements(name: str) -> st.SearchStrategy[list[str]]:
    specs = SCENES[name].specs
    # where triggers write to other rows: see TRAPS
    together = (
        [[STOCK], [DELIVERY], [BOARD], [POST], [DIARY], [VAULT]] if name == "triggers" else [specs]
    )
    one = st.one_of(
        st.sampled_from(SAVEPOINTS),  # first, since examples shrink to it
        st.sampled_from(SAVEPOINTS),
        HOSTILITY,
        *(
            kind(spec)
            for spec in specs
            for kind in (insert, update, update, delete, merge, put_back, copy)
        ),
        *(two_in_one(some) for some in together),
        st.sampled_from(TRAPS[name]),
        st.sampled_from(specs).flatmap(truncate),
    )
    return st.lists(one, min_size=1, max_size=12)


# -- the proof --------------------------------------------------------------------------------------------------------


class Database:
    """A database with the tables of one scene, all of them watched."""

    def __init__(
        self, conn: psycopg.Connection[Any], name: str, scene: Scene, capture: str, image: str
    ) -> None:
        self.conn, self.scene, self.capture, self.image = conn, name, capture, image
        self.tables = {spec.entity_type: table(spec) for spec in scene.specs}
        self.reader = Reader(conn, self.tables.values())

    def __repr__(self) -> str:
        return f"{self.scene}, {self.capture} capture, image {self.image}"


def table(spec: Spec) -> Table:
    types = {name: kind for name, (kind, _) in spec.columns.items()}
    ignored = frozenset(
        name
        for name, kind in types.items()
        if (name == "updated_at" or kind == "tsvector") and name not in spec.key
    )
    return Table(spec.entity_type, types, spec.key, spec.related, ignored, spec.is_link)


def variants(*scenes: str) -> list[Any]:
    return [
        pytest.param((scene, capture, image), id=f"{scene}-{capture}-{image}")
        for scene in scenes
        for capture in ("rendered", "statement", "tolerant")
        # which says nothing of an UPDATE
        for image in (("none",) if capture == "statement" else ("none", "full"))
        # where it is refused
        if capture != "statement" or scene not in ("triggers", "partitions")
    ]


@pytest.fixture(scope="module")
def migrated(request: pytest.FixtureRequest, server: SimpleNamespace) -> Iterator[dict[str, Any]]:
    """The address of a server, and as dbname a database of the module's to copy, without tables."""
    address = {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
    }
    with psycopg.connect(**address, dbname="postgres", autocommit=True) as admin:
        name = f"{request.module.__name__}_properties"
        # a worker may come back to the module
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        admin.execute(f"CREATE DATABASE {name}".encode())
        with psycopg.connect(**address, dbname=name, autocommit=True) as conn:
            migrate.migrate(conn)
        yield {**address, "dbname": name}


@pytest.fixture(scope="module")
def watched(request: pytest.FixtureRequest, migrated: dict[str, Any]) -> Iterator[Database]:
    """A copy of it with the tables of one scene, watched with one kind of capture and of image."""
    name, capture, image = request.param
    database = f"{migrated['dbname']}_{name}_{capture}_{image}"
    with psycopg.connect(**{**migrated, "dbname": "postgres"}, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)".encode())
        admin.execute(f"CREATE DATABASE {database} TEMPLATE {migrated['dbname']}".encode())
    with psycopg.connect(**{**migrated, "dbname": database}, autocommit=True) as conn:
        conn.execute("CREATE SCHEMA app")
        set_up(conn, SCENES[name], capture, image)
        yield Database(conn, name, SCENES[name], capture, image)


def set_up(conn: psycopg.Connection[Any], scene: Scene, capture: str, image: str) -> None:
    """Make the tables of a scene, watch them, and hang the witness on them."""
    for text in [scene.types, *(spec.ddl for spec in scene.specs), scene.rest]:
        conn.execute(text.encode())
    outcomes = watching.watch(
        conn, [spec.name for spec in scene.specs], Options(capture=capture, image=image)
    )
    assert [outcome.entity_type for outcome in outcomes] == [
        spec.entity_type for spec in scene.specs
    ]
    # event triggers do not see it: a table with triggers of the application is captured otherwise
    conn.execute("SET session_replication_role = replica")
    for text in model(scene):
        conn.execute(text.encode())
    conn.execute("RESET session_replication_role")


class Mark(NamedTuple):
    """How far log and witness had come."""

    seq: int
    noted: int


@dataclass
class Step:
    """A statement that stood, with every row and the marks before and after it."""

    statement: str
    before: State
    after: State
    first: Mark
    last: Mark

    def of(self, log: list[Change]) -> list[Change]:
        """Return what came into the log with it."""
        return [change for change in log if self.first.seq < change.seq <= self.last.seq]


#: A statement may break the rules of the tables; any other error is one of the capture.
REFUSALS = (
    psycopg.errors.IntegrityError,
    psycopg.errors.CardinalityViolation,
    psycopg.errors.TriggeredDataChangeViolation,
    psycopg.errors.FeatureNotSupported,  # ON CONFLICT DO UPDATE that moves the row to another partition
)


def write(
    db: Database, texts: list[str], say: Callable[[str], object] = lambda text: None
) -> list[Step]:
    """Run statements, and return those that stood: neither refused nor rolled back."""
    steps: list[Step] = []
    savepoints: list[int] = []
    for text in texts:
        if text == "SAVEPOINT s":
            savepoints.append(len(steps))
            db.conn.execute(text)
        elif text in SAVEPOINTS:
            if not savepoints:
                continue
            if text == "ROLLBACK TO s":
                del steps[savepoints[-1] :]
            else:
                savepoints.pop()
            db.conn.execute(text.encode())
        else:
            before = steps[-1].after if steps else state_of(db)
            first = steps[-1].last if steps else Mark(0, 0)
            try:
                with db.conn.transaction():
                    run(db.conn, text)
            except REFUSALS as error:
                if error.diag.schema_name == "llamalog":
                    raise
                say(f"-- refused, {error.diag.message_primary}: {text}")
                continue
            steps.append(Step(text, before, state_of(db), first, mark(db)))
        say(f"{text};")
    return steps


def mark(db: Database) -> Mark:
    row = db.conn.execute(
        "SELECT (SELECT coalesce(max(log.seq), 0) FROM llamalog.log AS log),"
        " (SELECT coalesce(max(seen.id), 0) FROM model.witness AS seen)"
    ).fetchone()
    assert row is not None
    return Mark(*row)


def run(conn: psycopg.Connection[Any], text: str) -> None:
    if text.startswith("COPY"):
        head, _, data = text.partition("\n")
        with conn.cursor() as cursor, cursor.copy(head.encode()) as stream:
            stream.write(data + "\n")
    else:
        conn.execute(text.encode())


def state_of(db: Database) -> State:
    state: State = {}
    for kind, texts in db.conn.execute("SELECT * FROM model.state()").fetchall():
        row = row_of(db.tables[kind], texts)
        state[kind, db.tables[kind].key_of(row)] = row
    return state


def row_of(table: Table, texts: list[str | None]) -> Row:
    return dict(zip(table.types, texts, strict=True))


@dataclass(frozen=True)
class Write:
    """One row that a statement changed.  old: None for INSERT.  new: None for DELETE and TRUNCATE."""

    table: Table
    op: str
    old: Row | None
    new: Row | None


def writes(db: Database, step: Step) -> Iterator[Write]:
    """What a statement truly did: by the witness; for TRUNCATE, by what is gone."""
    if step.statement.startswith("TRUNCATE"):
        for at in step.before.keys() - step.after.keys():
            yield Write(db.tables[at[0]], "T", step.before[at], None)
        return
    for kind, op, *images in db.conn.execute(
        "SELECT kind, op, old_row, new_row FROM model.witness WHERE id > %s AND id <= %s",
        [step.first.noted, step.last.noted],
    ).fetchall():
        table = db.tables[kind]
        old, new = (texts and row_of(table, texts) for texts in images)
        if op == "U" and kind == "EVENT" and partition(old) != partition(new):
            op = "move"
        yield Write(table, op, old, new)


def partition(row: Row) -> str:
    return str(row["region"]) if row["region"] in ("north", "south", "east") else "rest"


#: What a row of the log says, leaving its seq aside.
Told = tuple[str, str, Key, Key | None, Key | None, frozenset[str], Row | None, Row | None]


def to_tell(db: Database, write: Write) -> Iterator[Told]:
    """Yield what the log has to say of a row changed; a move to another partition is a D and an I."""
    table, old, new = write.table, write.old, write.new
    kind = table.entity_type
    if write.op == "U":
        yield from update_to_tell(write)
        return
    if old is not None:
        op = "D" if write.op == "move" else write.op
        yield op, kind, table.key_of(old), None, related(table, old), frozenset(), old, None
    if new is not None:
        fields = frozenset(n for n, value in table.watched(new).items() if value is not None)
        image = new if db.image == "full" or table.is_link else None
        yield "I", kind, table.key_of(new), None, related(table, new), fields, None, image


def update_to_tell(write: Write) -> Iterator[Told]:
    """Yield the one row of an UPDATE; none where it changed nothing, or only what is ignored."""
    table, old, new = write.table, write.old, write.new
    assert old is not None
    assert new is not None
    fields = frozenset(name for name in table.watched(old) if old[name] != new[name])
    if not fields:
        return
    previous: Key | None = table.key_of(old, table.key)
    if previous == table.key_of(new, table.key):
        # a link names the end that changed
        is_other_end = table.is_link and related(table, old) != related(table, new)
        previous = related(table, old) if is_other_end else None
    before, after = ({name: row[name] for name in fields} for row in (old, new))
    at = table.key_of(new)
    yield "U", table.entity_type, at, previous, related(table, new), fields, before, after


def related(table: Table, row: Row) -> Key | None:
    found = table.key_of(row, table.related) if table.related else (None,)
    return None if None in found else found


def told(db: Database, change: Change) -> Told:
    """What a row of the log says; the image of an INSERT only where it is promised."""
    previous, after = change.previous, change.after
    if change.op == "I":
        previous = None
        after = after if db.image == "full" or db.tables[change.table].is_link else None
    said = (change.op, change.table, change.key, previous, change.related)
    return (*said, change.fields, change.before, after)


def in_any_order(rows: Iterable[Told]) -> list[str]:
    """Return the rows so that two lists of them can be compared."""
    return sorted(
        repr((*row[:5], sorted(row[5]), *(image and sorted(image.items()) for image in row[6:])))
        for row in rows
    )


def watched_part(db: Database, state: State) -> State:
    return {at: db.tables[at[0]].watched(row) for at, row in state.items()}


def prove(db: Database, steps: list[Step]) -> None:
    """The log has exactly what the steps changed, and plays back to the state before each, and forth again."""
    log = db.reader.changes()
    for step in steps:
        wanted = [row for one in writes(db, step) for row in to_tell(db, one)]
        assert in_any_order(told(db, row) for row in step.of(log)) == in_any_order(wanted)
    assert [row for step in steps for row in step.of(log)] == log

    state = watched_part(db, state_of(db))
    for step in reversed(steps):
        for change in reversed(step.of(log)):
            undo(db.tables, state, change)
        assert state == watched_part(db, step.before)
    if db.image == "full":
        for step in steps:
            for change in step.of(log):
                redo(db.tables, state, change)
            assert state == watched_part(db, step.after)


@pytest.mark.parametrize("watched", sampled(variants(*TRAPS), 2), indirect=True)
@PROFILE
@given(data=st.data())
def test_log_has_every_change_once_and_plays_back_to_every_state(
    watched: Database, data: st.DataObject
) -> None:
    texts = data.draw(statements(watched.scene), label="statements")
    with watched.conn.transaction(force_rollback=True):
        prove(watched, write(watched, texts, note))


@pytest.mark.parametrize("watched", sampled(variants(*TRAPS), 2), indirect=True)
def test_log_has_the_order_of_writes_within_a_statement(watched: Database) -> None:
    for text in TRAPS[watched.scene]:
        with watched.conn.transaction(force_rollback=True):
            steps = write(watched, [text])
            assert [step.statement for step in steps] == [text]
            prove(watched, steps)


def every_value(specs: list[Spec] = NARROW) -> Iterator[str]:
    """Yield statements that take each column through all values of its type."""
    for spec in specs:
        pools = {name: column for name, column in spec.columns.items() if name != "id"}
        for turn in range(max(len(pool) for _, pool in pools.values()) + 1):
            values = [
                f"{ident(name)} = {literal(kind, pool[turn % len(pool)])}"
                for name, (kind, pool) in pools.items()
            ]
            yield f"UPDATE {spec.name} SET {', '.join(values)} WHERE id = 1"
        names = listed([*pools])
        yield f"INSERT INTO {spec.name} (id, {names}) SELECT 2, {names} FROM {spec.name}"
        yield f"DELETE FROM {spec.name} WHERE id = 1"
        yield f"TRUNCATE {spec.name}"


@pytest.mark.parametrize("watched", variants("values"), indirect=True)
def test_every_value_of_every_type_comes_back(watched: Database) -> None:
    texts = [*every_value()]
    with watched.conn.transaction(force_rollback=True):
        steps = write(watched, texts)
        assert [step.statement for step in steps] == texts
        prove(watched, steps)


@pytest.mark.parametrize("watched", variants("values"), indirect=True)
def test_log_is_the_same_whatever_the_session_has_set(watched: Database) -> None:
    logs = []
    for turn in range(max(map(len, HOSTILE.values())) + 1):
        with watched.conn.transaction(force_rollback=True):
            for name, settings_to_try in HOSTILE.items() if turn else []:
                setting = settings_to_try[turn % len(settings_to_try)]
                watched.conn.execute(f"SET LOCAL {name} = '{setting}'".encode())
            for text in every_value():
                watched.conn.execute(text.encode())
            logs.append(
                watched.conn.execute(
                    "SELECT op, entity_type, entity_id, fields_enriched, before::text, after::text"
                    " FROM llamalog.log ORDER BY seq"
                ).fetchall()
            )
    assert all(log == logs[0] for log in logs)


@pytest.mark.parametrize("watched", variants("partitions"), indirect=True)
@PROFILE
@given(data=st.data())
def test_history_shows_a_move_between_partitions_as_one_update(
    watched: Database, data: st.DataObject
) -> None:
    db = watched
    texts = data.draw(statements(db.scene), label="statements")
    with db.conn.transaction(force_rollback=True):
        steps = write(db, texts, note)
        log = db.reader.changes()
        # which half of a MERGE or WITH belongs to which, nobody can tell
        for step in (step for step in steps if step.statement.startswith("UPDATE")):
            for move in (one for one in writes(db, step) if one.op == "move"):
                assert move.old is not None
                assert move.new is not None
                was, became = move.table.key_of(move.old), move.table.key_of(move.new)
                halves = {
                    row.seq
                    for row in step.of(log)
                    if (row.op, row.key) in {("D", was), ("I", became)}
                }
                left = next(
                    (r.seq for r in log if r.previous == became and r.seq > max(halves)), None
                )
                if left is not None and any(r.key == became and r.seq > left for r in log):
                    continue  # the key is another row's by now
                history = db.reader.changes(
                    "llamalog.history('EVENT', %s, 1000)", [",".join(map(str, became))]
                )
                shown = [told(db, row) for row in history if row.seq in halves]
                assert shown == [*update_to_tell(move)]
