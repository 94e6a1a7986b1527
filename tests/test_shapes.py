"""A table of any shape is captured, answered for, reverted and let go: any type, key, name, layout and number of columns.

Each table leads a life: rows come, each column takes other values, rows go. What the log must say of it is proved as in
test_properties; then every question is asked, the life is taken back, and the table is no longer watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
import test_properties
from conftest import sampled
from hypothesis import given, note, reject, settings
from hypothesis import strategies as st
from replay import comparable
from test_as_of import prove_as_of_all, prove_blame, rows_at
from test_properties import (
    GROUPS,
    IDS,
    PROFILE,
    TEXTS,
    TYPES,
    Database,
    Scene,
    Spec,
    copied,
    every_value,
    ident,
    kinds,
    listed,
    literal,
    odd_table,
    set_up,
    state_of,
    watched_part,
)
from test_revert import clock, job, revert, undisguised
from test_watch import NAMES

from llamalog_sql import watching

#: An empty database with llamalog in it.
migrated = test_properties.migrated
FEW = settings(PROFILE, max_examples=5 if PROFILE.max_examples < 100 else PROFILE.max_examples)

MODES = [
    ("rendered", "none"),
    ("statement", "none"),
    ("rendered", "full"),
    ("tolerant", "none"),
    ("tolerant", "full"),
]

# -- the types --------------------------------------------------------------------------------------------------------

#: What the tables of test_properties leave out: each type that PostgreSQL brings along is here or there.
REST = kinds(r"""
text:  | it's | a,b
integer: -1 | 0 | 2147483647
aclitem: =r/postgres | postgres=arwdDxt/postgres
bpchar:  | a |  a
cid: 0 | 4294967295
tid: (0,0) | (4294967295,65535)
xid: 0 | 4294967295
int2vector:  | 1 | 1 -2 3
oidvector:  | 4294967295 0
line: {1,-1,0} | {0,1,-5}
lseg: [(0,-0),(1,1)] | [(0,0),(1,1)]
macaddr8: 08:00:2b:ff:fe:01:02:03
refcursor:  | it's
regclass: - | pg_class | 4294967295
regcollation: - | "C"
regconfig: - | simple
regdictionary: - | simple
regnamespace: - | pg_catalog | app
regoper: 0 | 4294967295
regoperator: 0 | *(integer,integer)
regproc: - | now | 4294967295
regprocedure: - | sum(integer)
regrole: - | postgres
regtype: - | app.mood | timestamp with time zone | 4294967295
pg_snapshot: 1:1: | 10:20:10,14
txid_snapshot: 1:1: | 10:20:10,14
tsvector:  | 'a':1A 'it''s':2
int8range: empty | [1,5)
numrange: [1.0,2.00) | [1,2)
daterange: empty | [2024-02-29,infinity)
tsrange: (,"2024-02-29 12:00:00")
int4multirange: {} | {[1,3),[5,7)}
int8multirange: {} | {[1,3)}
datemultirange: {[2024-02-29,2024-03-01)}
tsmultirange: {[infinity,)}
tstzmultirange: {["2024-02-29 12:00:00+02",)}
app.spans_multirange: {} | {[1.0,2.00)}
app.between: ["a","it's") | empty
app.moods: [sad,"a,b {}"] | (,)
""")
#: Where the server was built with libxml.
XML = {"xml": ["<a/>", "text <b>x</b>", None]}
#: Their input functions refuse every text; a column of theirs can only be null.
NEVER_READ = [
    *("gtsvector", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary", "pg_dependencies"),
    *("pg_mcv_list", "pg_ndistinct", "pg_node_tree"),
]
MORE_TYPES = """
CREATE TYPE app.between AS RANGE (subtype = text);
CREATE TYPE app.moods AS RANGE (subtype = app.mood);
"""

Pool = dict[str, list[str | None]]


def pool_of(conn: psycopg.Connection[Any]) -> Pool:
    """Return every type with texts that it reads: scalars, arrays, domains over them, arrays of domains, and composites of all.

    Makes the types that are not there yet.
    """
    plain: Pool = {}
    for group in [*GROUPS, REST, XML]:
        plain |= {name: texts for name, texts in group.items() if not name.endswith("[]")}
    if not _reads(conn, "xml", "<a/>"):
        del plain["xml"]
    arrays = {f"{name}[]": _arrays(name, texts) for name, texts in plain.items()}
    arrays |= {name: texts for group in GROUPS for name, texts in group.items() if "[]" in name}
    domains: Pool = {}
    for number, (name, texts) in enumerate([*plain.items(), *arrays.items()]):
        conn.execute(f"CREATE DOMAIN app.d{number} AS {name}".encode())
        conn.execute(f"CREATE DOMAIN app.deeper{number} AS app.d{number}".encode())
        domains[f"app.deeper{number}"] = texts
        if name in plain:
            domains[f"app.d{number}[]"] = _arrays(name, texts)
    members = ", ".join(f"m{number} {name}" for number, name in enumerate(plain))
    conn.execute(f"CREATE TYPE app.everything AS ({members})".encode())
    whole = [_composite([texts[turn] for texts in plain.values()]) for turn in (0, -1)]
    composites: Pool = {
        "app.everything": [*whole, None],
        "app.everything[]": _arrays("app.everything", whole),
    }
    never: Pool = {name: [None] for name in NEVER_READ}
    return {**plain, **arrays, **domains, **composites, **never}


def _reads(conn: psycopg.Connection[Any], name: str, text: str) -> bool:
    try:
        with conn.transaction():
            conn.execute(f"SELECT {literal(name, text)}".encode())
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def _arrays(name: str, texts: list[str | None]) -> list[str | None]:
    """Return arrays of these elements: none, some with a null, one that begins elsewhere, one of two dimensions."""
    apart = ";" if name == "box" else ","
    first, *others = (_quoted(text, '\\"', "\\\\") for text in texts if text is not None)
    some = apart.join([first, "NULL", *others])
    return ["{}", f"{{{some}}}", f"[0:0]={{{first}}}", f"{{{{{first}}}{apart}{{{first}}}}}", None]


def _composite(texts: list[str | None]) -> str:
    members = ("" if text is None else _quoted(text, '""', "\\\\") for text in texts)
    return f"({','.join(members)})"


def _quoted(text: str, quote: str, backslash: str) -> str:
    return '"' + text.replace("\\", backslash).replace('"', quote) + '"'


@pytest.fixture(scope="module")
def ground(migrated: dict[str, Any]) -> Iterator[SimpleNamespace]:
    """conn: to a database with these types and no tables.  pool: the types.  keys: those of which a key can be made."""
    with psycopg.connect(**migrated, autocommit=True) as conn:
        for text in ["CREATE SCHEMA app", TYPES, MORE_TYPES]:
            conn.execute(text.encode())
        pool = pool_of(conn)
        keys = {name: told for name, texts in pool.items() if (told := keys_of(conn, name, texts))}
        yield SimpleNamespace(conn=conn, pool=pool, keys=keys)


def keys_of(conn: psycopg.Connection[Any], name: str, texts: list[str | None]) -> list[str | None]:
    """Return those values of a type that can stand in one key, none of them equal; none where it cannot be one."""
    found: list[str | None] = []
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(f"CREATE TABLE app.probe (key {name} PRIMARY KEY)".encode())
            # a numeric is named without its zeros, and a domain over one is not known for that here
            for text in (one for one in texts if one and comparable("numeric", one) == one):
                value = literal(name, text)
                once = f"INSERT INTO app.probe VALUES ({value}) ON CONFLICT DO NOTHING".encode()
                found += [text] * conn.execute(once).rowcount
                conn.execute(once)  # equal ones are compared to their last member
    # there is no order for it, or for its elements
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction):
        return []
    return found


def test_no_type_of_postgresql_is_left_out(ground):
    with ground.conn.transaction(force_rollback=True):
        columns = ", ".join(f"c{number} {name}" for number, name in enumerate(ground.pool))
        ground.conn.execute(f"CREATE TABLE app.thing ({columns})".encode())
        left_out = ground.conn.execute(
            "SELECT format_type(oid, NULL) FROM pg_type WHERE typnamespace = 'pg_catalog'::regnamespace"
            " AND typtype IN ('b', 'r', 'm') AND oid NOT IN"
            " (SELECT atttypid FROM pg_attribute WHERE attrelid = 'app.thing'::regclass)"
            # arrays of rows of the catalogue, and of what is always null
            " AND (SELECT e.typtype = 'c' FROM pg_type AS e WHERE e.oid = pg_type.typelem) IS NOT TRUE"
            " AND ltrim(typname, '_') <> ALL (%s) ORDER BY 1",
            # without libxml nothing of it can be written
            [[*NEVER_READ, "cstring", *(["xml"] if "xml" not in ground.pool else [])]],
        ).fetchall()
        assert [name for (name,) in left_out] == []


# -- a life, and what is proved of it ---------------------------------------------------------------------------------

#: Where capture hangs, and what it calls.
TRACES = """
SELECT proname
FROM pg_proc
WHERE pronamespace = 'llamalog'::regnamespace
    AND proname ~ '^(capture_.*_(insert|update|delete)|read_.*)$'
UNION ALL
SELECT hung.tgname || ' on ' || hung.tgrelid::regclass
FROM pg_trigger AS hung
JOIN pg_proc AS called
    ON called.oid = hung.tgfoid
    AND called.pronamespace = 'llamalog'::regnamespace
JOIN pg_class AS class
    ON class.oid = hung.tgrelid
    AND class.relnamespace = 'app'::regnamespace
"""


@contextmanager
def standing(
    conn: psycopg.Connection[Any], scene: Scene, capture: str, image: str
) -> Iterator[Database]:
    """The tables of the scene, watched; gone afterwards."""
    with conn.transaction(force_rollback=True):
        set_up(conn, scene, capture, image)
        yield Database(conn, "shapes", scene, capture, image)


def prove(db: Database, texts: list[str], say: Callable[[str], object] = lambda text: None) -> None:
    """What is written is logged exactly once and comes back from it; nothing is left when it is no longer watched."""
    conn = db.conn
    before = watched_part(db, state_of(db))
    test_properties.prove(db, job(db, "job", undisguised(texts), say))
    prove_answers(db)
    revert(conn, job_id="job")
    assert watched_part(db, state_of(db)) == before
    watching.unwatch(conn, [*db.tables])
    assert conn.execute(TRACES.encode()).fetchall() == []


def prove_answers(db: Database) -> None:
    """As of now each row is as it lives, and blame names each of its fields; no other question stumbles."""
    conn, now = db.conn, clock(db.conn)
    living = watched_part(db, state_of(db))
    assert living == {
        (kind, db.tables[kind].key_of(row)): row
        for (kind, _), row in rows_at(db, now).items()
        if row is not None
    }
    prove_as_of_all(db, now, living)
    prove_blame(db, now)
    for question in ("why", "tree", "chain"):
        silent = conn.execute(
            "SELECT * FROM (SELECT DISTINCT entity_type, entity_id FROM llamalog.log ORDER BY 1, 2 LIMIT 9)"
            f" AS log WHERE NOT EXISTS (SELECT FROM llamalog.{question}(entity_type, entity_id))".encode()
        )
        assert (question, silent.fetchall()) == (question, [])
    for kind in db.tables:
        unnamed = conn.execute(
            "SELECT living.entity_id FROM llamalog.as_of_all(%(kind)s, %(now)s) AS living WHERE NOT EXISTS"
            " (SELECT FROM llamalog.labels(%(kind)s, ARRAY[living.entity_id]) AS named WHERE named.is_alive)",
            {"kind": kind, "now": now},
        )
        assert (kind, unnamed.fetchall()) == (kind, [])


# -- every type -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capture", "image"), sampled((pytest.param(*mode) for mode in MODES), len(MODES))
)
def test_every_type_is_captured_answered_for_and_reverted(ground, capture, image):
    names = [*ground.pool]
    # side by side are types of one kind, which images take together
    specs = [
        odd_table(
            f"app.types{start}", {name: ground.pool[name] for name in names[start : start + 60]}
        )
        for start in range(0, len(names), 60)
    ]
    rest = "\n".join(f"INSERT INTO {spec.name} (id) VALUES (1);" for spec in specs)
    with standing(ground.conn, Scene(specs, rest=rest), capture, image) as db:
        prove(db, [*every_value(specs)])


PARTS = 32


@pytest.mark.parametrize(
    ("capture", "image", "part"),
    sampled((pytest.param(*mode, part) for mode in MODES for part in range(PARTS)), 3 * PARTS + 1),
)
def test_key_of_every_type_that_can_be_one_names_its_row(ground, capture, image, part):
    specs = [
        Spec(
            f"app.key{number}",
            {"key": (kind, texts), "note": TEXTS},
            "PRIMARY KEY (key)",
            key=["key"],
        )
        for number, (kind, texts) in list(enumerate(ground.keys.items()))[part::PARTS]
    ]
    with standing(ground.conn, Scene(specs), capture, image) as db:
        prove(db, [text for spec in specs for text in life_of_a_key(spec)])


def life_of_a_key(spec: Spec) -> Iterator[str]:
    """Yield statements: rows of every key, of which the last is given up for the first.

    Found by their text: a domain over an enum has no operator.
    """
    keys = [literal(spec.columns["key"][0], text) for text in spec.columns["key"][1]]
    for key in keys:
        yield f"INSERT INTO {spec.name} (key) VALUES ({key})"
    yield f"UPDATE {spec.name} SET key = key, note = 'x'"
    yield f"DELETE FROM {spec.name} WHERE key::text = ({keys[-1]})::text"
    yield f"UPDATE {spec.name} SET key = {keys[-1]} WHERE key::text = ({keys[0]})::text"
    yield f"INSERT INTO {spec.name} VALUES ({keys[0]}, 'y')"


@pytest.mark.parametrize("capture", ["rendered", "tolerant"])
def test_an_id_is_found_as_the_log_spells_it_whatever_the_session_has_set(ground, capture):
    """Also beside a type of the application's own, where no index can look it up."""
    scene = Scene(
        [
            Spec(
                "app.thing",
                {
                    "mood": ("app.mood", []),
                    "span": ("interval", []),
                    "code": ("bytea", []),
                    "name": ("text", []),
                },
                "PRIMARY KEY (mood, span, code)",
                key=["mood", "span", "code"],
            )
        ],
        rest="INSERT INTO app.thing VALUES ('sad', '1 day', '\\x00', 'Airbag')",
    )
    with standing(ground.conn, scene, capture, "none") as db:
        db.conn.execute("SET LOCAL IntervalStyle = 'postgres'; SET LOCAL bytea_output = 'escape'")
        db.conn.execute("UPDATE app.thing SET name = 'Lucky'")
        key = "sad,P1D,\\\\x00"
        assert db.conn.execute("SELECT entity_id FROM llamalog.log").fetchall() == [(key,)]
        assert db.conn.execute("SELECT entity_id FROM llamalog.find('Luck')").fetchall() == [(key,)]
        assert db.conn.execute(
            "SELECT label, is_alive FROM llamalog.labels('THING', ARRAY[%s])", [key]
        ).fetchall() == [("Lucky", True)]


# -- any shape --------------------------------------------------------------------------------------------------------

#: Names that capture, readers and questions use themselves, or take for something.
OURS = [
    *("NEW", "OLD", "new", "old", "v_new", "v_old", "new_row", "old_row", "new_rows", "old_rows"),
    *("v_before", "v_after", "v_fields", "v_previous_id", "v_category", "v_metadata", "v_moved"),
    *("entity_id", "entity_type", "log", "change", "image", "place", "compared", "c1", "live"),
    *("any_row", "watch", "shape", "is_current", "read", "key", "value", "row", "found", "t", "n"),
    *("r", "id", "op", "seq", "name", "title", "source", "data_quality", "TG_OP", "TG_ARGV"),
    *(
        "after",
        "before",
        "tenure",
        "llamalog",
        "pg_catalog",
        "NULL",
        "",
        " ",
        "$json",
        "created_at",
    ),
]


@dataclass(frozen=True)
class Shape:
    """A table, how it is watched, and what is written to it."""

    scene: Scene
    capture: str
    image: str
    texts: list[str]


@st.composite
def shapes(draw: st.DrawFn, pool: Pool, key_pool: Pool, newest: bool) -> Shape:
    """newest: whether the server has virtual columns."""
    layout = draw(st.sampled_from(["plain", "plain", "heir", "list", "range", "hash"]))
    names = draw(
        st.lists(
            st.sampled_from([*NAMES, *filter(None, OURS)]), min_size=3, max_size=10, unique=True
        )
    )
    key = names[: draw(st.integers(1, 2))]
    columns = {
        name: (kind, some[kind])
        for name in names
        for some in [key_pool if name in key else pool]
        for kind in [draw(st.sampled_from([*some]))]
    }
    generated = draw(st.sampled_from(["STORED", "VIRTUAL"] if newest else ["STORED"]))
    rules = [
        f'gone integer, "gen \' "" " boolean GENERATED ALWAYS AS (true) {generated}',
        f"PRIMARY KEY ({listed(key)})",
    ]
    made: dict[str, tuple[str, list[str | None]]] = {}
    if layout == "plain" and draw(st.booleans()):
        kind = draw(st.sampled_from(["ALWAYS", "BY DEFAULT"]))
        made["made of itself"] = ("bigint", [])
    doors, rest = draw(parts(layout, key, columns[key[0]]))
    if made:
        rest = (
            'ALTER TABLE app.thing ALTER "made of itself" SET NOT NULL,'
            f' ALTER "made of itself" ADD GENERATED {kind} AS IDENTITY;'
        )
    spec = Spec(
        "app.thing",
        {**columns, **made},
        ", ".join(rules),
        suffix=f"PARTITION BY {layout} ({ident(key[0])})"
        if layout in ("list", "range", "hash")
        else "",
        key=key,
        doors=doors,
    )
    texts = draw(life(spec, [name for name in names if not spec.suffix or name not in key]))
    capture, image = draw(st.sampled_from(MODES))
    if capture == "statement" and layout != "plain":
        capture = "rendered"  # it is refused
    return Shape(
        Scene([spec], rest=f"{rest} ALTER TABLE app.thing DROP COLUMN gone;"), capture, image, texts
    )


@st.composite
def parts(
    draw: st.DrawFn, layout: str, key: list[str], column: tuple[str, list[str | None]]
) -> tuple[list[str], str]:
    """The heir, or the partitions at two levels, that a table has beside it: their names, and the SQL that makes them."""
    if layout == "plain":
        return [], ""
    if layout == "heir":
        heir = f"CREATE TABLE app.heir (PRIMARY KEY ({listed(key)})) INHERITS (app.thing);"
        return ["app.heir"], heir
    kind, texts = column
    some = literal(kind, draw(st.sampled_from(texts)))
    first, others = {
        "list": (f"FOR VALUES IN ({some})", "DEFAULT"),
        "range": (f"FOR VALUES FROM (MINVALUE) TO ({some})", "DEFAULT"),
        "hash": [f"FOR VALUES WITH (MODULUS 2, REMAINDER {n})" for n in (0, 1)],
    }[layout]
    return ["app.first", "app.others", "app.rest"], (
        f"CREATE TABLE app.first PARTITION OF app.thing {first};"
        f" CREATE TABLE app.others PARTITION OF app.thing {others} PARTITION BY LIST ({ident(key[0])});"
        " CREATE TABLE app.rest PARTITION OF app.others DEFAULT;"
    )


@st.composite
def life(draw: st.DrawFn, spec: Spec, changing: list[str]) -> list[str]:
    """Rows come one by one, several at a time and by COPY; columns are set to nothing, to others and to what they are; rows go."""
    pools = {name: column for name, column in spec.columns.items() if column[1]}

    def some(name: str) -> str:
        return literal(pools[name][0], draw(st.sampled_from(pools[name][1])))

    def a_row(names: list[str]) -> str:
        return f"({', '.join(some(name) for name in names)})"

    everything = [*pools]
    door = draw(st.sampled_from(spec.doors[:1] or [spec.name]))
    texts = [
        f"INSERT INTO {spec.name} ({listed(spec.key)}) VALUES {a_row(spec.key)}",
        f"INSERT INTO {spec.name} ({listed(everything)}) VALUES {a_row(everything)}, {a_row(everything)}"
        " ON CONFLICT DO NOTHING",
        # an heir may have the key of a row of its parent
        *([f"DELETE FROM {spec.name}"] if door == "app.heir" else []),
        # the head of a COPY stands in one line
        f"INSERT INTO {door} ({listed(everything)}) VALUES {a_row(everything)}"
        if "\n" in "".join(everything)
        else "\n".join(
            [
                f"COPY {door} ({listed(everything)}) FROM STDIN",
                "\t".join(copied(draw(st.sampled_from(pools[name][1]))) for name in everything),
            ]
        ),
    ]
    for name in changing:
        wanted = [
            some(name),
            some(name),
            f"t.{ident(name)}",
            *(["NULL"] if name not in spec.key else []),
        ]
        chosen = draw(st.lists(st.sampled_from(wanted), min_size=1, max_size=3))
        texts += [f"UPDATE {spec.name} AS t SET {ident(name)} = {value}" for value in chosen]
    names = draw(st.lists(st.sampled_from(changing or [*spec.key]), min_size=1, unique=True))
    if changing:
        everywhere = ", ".join(f"{ident(name)} = {some(name)}" for name in names)
        texts.append(f"UPDATE {spec.name} AS t SET {everywhere}")
    mine = " AND ".join(f"t.{ident(name)}::text = ({some(name)})::text" for name in spec.key)
    texts.append(f"DELETE FROM {spec.name} AS t WHERE {mine}")
    end = draw(st.sampled_from(["DELETE FROM {}", "TRUNCATE {}", None]))
    if end:
        texts.append(end.format(draw(st.sampled_from([spec.name, *spec.doors]))))
        texts.append(texts[1])
    return texts


@FEW
@given(data=st.data())
def test_table_of_any_shape_is_captured_answered_for_and_reverted(ground, data):
    newest = ground.conn.info.server_version >= 180000
    shape = data.draw(shapes(ground.pool, ground.keys, newest))
    note(f"{shape.scene.specs[0].ddl} {shape.scene.rest}")
    note(f"-- {shape.capture}, image {shape.image}")
    try:
        with standing(ground.conn, shape.scene, shape.capture, shape.image) as db:
            prove(db, shape.texts, note)
    except (psycopg.errors.UndefinedObject, psycopg.errors.UndefinedFunction) as error:
        # keys of that type can be ordered, and not be hashed
        if "for type" not in str(error) and "operator class" not in str(error):
            raise
        reject()


# -- as wide as can be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capture", "image"), sampled((pytest.param(*mode) for mode in MODES), len(MODES))
)
def test_table_of_as_many_columns_as_there_can_be_is_captured(ground, capture, image):
    kinds_in_turn = ["text", "integer", "jsonb", "double precision", "integer[]"]
    columns = {f"c{n}": (kinds_in_turn[n % 5], [None]) for n in range(1599)}
    spec = Spec("app.wide", {"id": IDS, **columns}, "PRIMARY KEY (id)")
    with standing(ground.conn, Scene([spec]), capture, image) as db:
        prove(
            db,
            [
                "INSERT INTO app.wide (id, c0, c1598) VALUES (1, 'a', 1.5), (2, NULL, NULL)",
                "UPDATE app.wide SET c0 = 'b', c1597 = '{}', c1596 = 7 WHERE id = 1",
                "UPDATE app.wide SET c800 = 'x', c1598 = c1598",
                "DELETE FROM app.wide WHERE id = 1",
                "TRUNCATE app.wide",
            ],
        )
