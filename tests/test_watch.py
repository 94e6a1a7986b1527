"""Watching takes any table for what it is, refuses what it cannot watch, and leaves no trace when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import Any

import psycopg
import pytest
from conftest import default
from psycopg.rows import namedtuple_row

from llamalog_sql import migrate, watching
from llamalog_sql.errors import CannotWatch, EntityTypeTaken, LlamaLogError, NotWatched
from llamalog_sql.watching import Options

MUSIC = ["albums", "artists", "tracks", "album_artists", "track_artists"]

each_kind = pytest.mark.parametrize("kind", ["rendered", "tolerant"])


@pytest.fixture(scope="module")
def _bare(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection[Any]]:
    base = request.getfixturevalue("empty_template")
    address = {"host": base.host, "port": base.port, "user": base.user, "password": base.password}
    with psycopg.connect(**address, dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE bare_watch TEMPLATE {base.template_dbname}".encode())
    with psycopg.connect(**address, dbname="bare_watch") as conn:
        migrate.migrate(conn)
        conn.commit()
        conn.row_factory = namedtuple_row
        yield conn


@pytest.fixture
def bare(_bare: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """A database in which nothing is watched yet; what a test does is rolled back."""
    with _bare.transaction(force_rollback=True):
        yield _bare


def told(conn: psycopg.Connection[Any], story: Callable[..., Any], *arguments: Any) -> Any:
    """What the story gives, undone at once; or the error that broke it, so that one name does not hide the others."""
    try:
        with conn.transaction(force_rollback=True):
            return story(conn, *arguments)
    except (psycopg.Error, LlamaLogError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]


def watch(conn: psycopg.Connection[Any], *tables: str, **options: Any) -> None:
    watching.watch(conn, list(tables), Options(**options))


def registered(conn: psycopg.Connection[Any], columns: str, **where: Any) -> list[Any]:
    """Rows of the registry by entity type."""
    condition = " AND ".join(f"{name} = %s" for name in where) or "true"
    rows = conn.execute(
        f"SELECT {columns} FROM llamalog.watches WHERE unwatched_at IS NULL AND {condition}"
        " ORDER BY entity_type".encode(),
        list(where.values()),
    ).fetchall()
    return [row[0] if len(row) == 1 else tuple(row) for row in rows]


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# -- names ------------------------------------------------------------------------------------------------------------

NAMES = [
    "with space",
    "Capital",
    'quo"te',
    "apos'trophe",
    "100%",
    "per%s",
    "per%1$s",
    "back\\slash",
    "$function$",
    "$$",
    "naïve 日本 🦙",
    "n" * 63,
    "select",
    "with.dot",
    "semi; DROP TABLE albums; --",
    "new\nline",
    "new\nSELECT 1/0; --",
    "*/ /* -- ",
    "{{ jinja }}{% raw %}",
    ":name %(name)s {0}",
    "OLD",
    "tab\there",
]


def write_to(conn: psycopg.Connection[Any], name: str, changes: Any, **options: Any) -> list[Any]:
    """Make, watch and write a table that has this name, and a key column that has it too; return what was logged."""
    table = quoted(name)
    conn.execute(
        f"CREATE TABLE {table} (id integer, {table} text, value jsonb, PRIMARY KEY (id, {table}))".encode()
    )
    watch(conn, name, entity_type="ODD", image="full", redact=["value"], **options)
    for statement in (
        f"INSERT INTO {table} VALUES (1, 'a', '1')",
        f"UPDATE {table} SET {table} = 'b'",
        f"DELETE FROM {table}",
        f"INSERT INTO {table} VALUES (2, 'c')",
        f"TRUNCATE {table}",
    ):
        conn.execute(statement.encode())
    return changes(conn, "op, entity_id, previous_id, fields_enriched, before, after")


@each_kind
def test_tables_and_columns_of_any_name_are_captured(bare, changes, kind):
    hidden = "[redacted]"
    found = {
        name: told(bare, lambda conn, name: write_to(conn, name, changes, capture=kind), name)
        for name in NAMES
    }
    assert found == {
        name: [
            ("I", "1,a", None, ["id", name, "value"], None, {"id": 1, name: "a", "value": hidden}),
            ("U", "1,b", "1,a", [name], {name: "a"}, {name: "b"}),
            ("D", "1,b", None, None, {"id": 1, name: "b", "value": hidden}, None),
            ("I", "2,c", None, ["id", name], None, {"id": 2, name: "c", "value": None}),
            ("T", "2,c", None, None, {"id": 2, name: "c", "value": None}, None),
        ]
        for name in NAMES
    }


@each_kind
def test_columns_called_like_a_row_do_not_take_its_place(bare, changes, kind):
    names = ["n", "o", "new_row", "old_row", "new_row1", "old_row_", "new", "old", "live"]
    names += ["any_row", "in any_row_"]
    columns = ", ".join(f"{quoted(name)} text" for name in names)
    bare.execute(f"CREATE TABLE odd (id integer PRIMARY KEY, {columns})".encode())
    watch(bare, "odd", capture=kind, image="full")
    bare.execute("INSERT INTO odd (id, n, old_row) VALUES (1, 'x', 'y')")
    bare.execute("DELETE FROM odd")
    bare.execute("INSERT INTO odd (id, n, old_row) VALUES (1, 'x', 'y')")
    bare.execute("TRUNCATE odd")
    row = {"id": 1, **dict.fromkeys(names), "n": "x", "old_row": "y"}
    assert changes(bare, "op, entity_id, before, after") == [
        ("I", "1", None, row),
        ("D", "1", row, None),
        ("I", "1", None, row),
        ("T", "1", row, None),
    ]


def test_column_of_any_name_can_have_every_part_to_play(bare, changes):
    def play(conn: psycopg.Connection[Any], name: str) -> list[Any]:
        conn.execute(f"CREATE TABLE people (id integer PRIMARY KEY, {quoted(name)} text)".encode())
        watch(conn, "people", label=name, quality=name, source=name)
        conn.execute("INSERT INTO people VALUES (1, 'x')")
        conn.execute(f"UPDATE people SET {quoted(name)} = 'y'".encode())
        (label,) = conn.execute("SELECT label FROM llamalog.labels('PERSON', '{1}')").fetchone()
        return [label, *changes(conn, "sources, data_quality_before, data_quality_after")]

    found = {name: told(bare, play, name) for name in NAMES}
    assert found == {name: ["y", (["x"], None, "x"), (["y"], "x", "y")] for name in NAMES}


@each_kind
def test_script_of_a_table_of_any_name_runs_as_it_stands(bare, changes, kind):
    def run(conn: psycopg.Connection[Any], name: str) -> list[Any]:
        conn.execute(f"CREATE TABLE {quoted(name)} (id integer PRIMARY KEY)".encode())
        options = Options(entity_type="ODD", capture=kind)
        conn.execute("".join(watching.script(conn, [name], options)).encode())
        conn.execute(f"INSERT INTO {quoted(name)} VALUES (1)".encode())
        return changes(conn, "op, entity_type, entity_id")

    found = {name: told(bare, run, name) for name in NAMES}
    assert found == {name: [("I", "ODD", "1")] for name in NAMES}


@pytest.mark.parametrize(
    ("table", "entity_type"),
    [
        ("customers", "CUSTOMER"),
        ("OrderItems", "ORDER_ITEM"),
        ("order statuses", "ORDER_STATUS"),
        ("people", "PERSON"),
        ("news", "NEWS"),
        ("tbl_user", "TBL_USER"),
        ("O'Neills", "O_NEILL"),
        ("größen", "GRÖSSEN"),
        ("--", "ENTITY"),
    ],
)
def test_entity_type_is_the_singular_of_the_table_in_capitals(bare, table, entity_type):
    bare.execute(f"CREATE TABLE {quoted(table)} (id integer PRIMARY KEY)".encode())
    (outcome,) = watching.watch(bare, [table])
    assert outcome.entity_type == entity_type


@each_kind
def test_entity_type_that_was_asked_for_may_be_any_text_without_slash_and_colon(
    bare, changes, kind
):
    bare.execute("CREATE TABLE things (id integer PRIMARY KEY)")
    watch(bare, "things", entity_type='o\'ne \\ "x" %s $function$', capture=kind)
    bare.execute("INSERT INTO things VALUES (1)")
    assert changes(bare, "entity_type") == ['O\'NE \\ "X" %S $FUNCTION$']
    watching.unwatch(bare, ["things"])
    bare.execute("INSERT INTO things VALUES (2)")
    assert changes(bare, "entity_id") == ["1"]


@pytest.mark.parametrize("entity_type", ["A/B", "A:B", " "])
def test_entity_type_that_a_job_id_could_not_hold_is_refused(bare, entity_type):
    bare.execute("CREATE TABLE things (id integer PRIMARY KEY)")
    with pytest.raises(LlamaLogError) as refusal:
        watch(bare, "things", entity_type=entity_type)
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "22023",
        f'"{entity_type}" is no entity type',
        "Use letters, digits and _.",
    )


@pytest.mark.parametrize(
    "name",
    ["My Table", '"My Table"', "Shop.My Table", '"Shop"."My Table"'],
)
def test_table_is_found_as_sql_and_as_people_spell_it(bare, name):
    bare.execute('CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."My Table" (id integer PRIMARY KEY)')
    if "Shop" not in name:
        bare.execute('SET LOCAL search_path = "Shop", public')
    (outcome,) = watching.watch(bare, [name])
    assert (outcome.entity_type, outcome.action) == ("MY_TABLE", "watched")


@each_kind
def test_table_outside_the_search_path_is_captured(bare, changes, kind):
    bare.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id integer PRIMARY KEY, v text)")
    watch(bare, "shop.orders", capture=kind)
    bare.execute("INSERT INTO shop.orders VALUES (1, 'a'); UPDATE shop.orders SET v = 'b'")
    bare.execute("TRUNCATE shop.orders")
    assert changes(bare, "op, entity_type") == [("I", "ORDER"), ("U", "ORDER"), ("T", "ORDER")]


# -- keys -------------------------------------------------------------------------------------------------------------

KEYS = [
    # key columns, values, entity_id
    ("id smallint", "7", "7"),
    ("id bigint", "-9007199254740993", "-9007199254740993"),
    ("id text", "'a,b\\c'", "a,b\\c"),
    ("id text", "''", ""),
    ("id varchar(5)", "'x%s'", "x%s"),
    ("id char(3)", "'x'", "x"),
    (
        "id uuid",
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    ("id date", "'2026-02-01'", "2026-02-01"),
    ("id timestamp", "'2026-02-01 10:00'", "2026-02-01T10:00:00"),
    ("id timestamptz", "'2026-02-01 10:00+09'", "2026-02-01T01:00:00+00:00"),
    ("id numeric", "1.500", "1.5"),
    ("id boolean", "true", "true"),
    ("id inet", "'10.0.0.1/8'", "10.0.0.1/8"),
    ("id bytea", "'\\x00ff'", "\\x00ff"),
    ("id interval", "'1 day'", "P1D"),
    ("id text[]", "'{a,b}'", "{a,b}"),
    ("id color", "'dark red'", "dark red"),
    ("id positive", "3", "3"),
    ("id email", "'a@b.c'", "a@b.c"),
    ("a text, b text", "'x,y', 'c\\d'", "x\\,y,c\\\\d"),
    ("a text, b text", "'', ''", ","),
    ("a integer, b date", "1, '2026-02-01'", "1,2026-02-01"),
    ("a date, b integer", "'2026-02-01', 1", "2026-02-01,1"),
    (
        "a timestamptz, b date",
        "'2026-02-01 10:00+09', '2026-02-01'",
        "2026-02-01T01:00:00+00:00,2026-02-01",
    ),
    ("a color, b numeric, c positive", "'dark red', 1.0, 3", "dark red,1,3"),
]


def write_key(
    conn: psycopg.Connection[Any], changes: Any, kind: str, columns: str, values: str
) -> list[Any]:
    """Write a table with this key under settings that change the text of values; return ids and labels."""
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    conn.execute(f"CREATE TABLE things ({columns}, name text, PRIMARY KEY ({names}))".encode())
    watch(conn, "things", capture=kind)
    conn.execute(
        "SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle = 'SQL, DMY';"
        "SET LOCAL IntervalStyle = 'postgres'; SET LOCAL bytea_output = 'escape'"
    )
    conn.execute(f"INSERT INTO things VALUES ({values}, 'a')".encode())
    conn.execute("UPDATE things SET name = 'b'")
    ((entity_id, label),) = conn.execute(
        "SELECT label.entity_id, label.label FROM llamalog.log AS log"
        " CROSS JOIN LATERAL llamalog.labels(log.entity_type, ARRAY[log.entity_id]) AS label"
        " WHERE log.op = 'U' AND label.is_alive"
    ).fetchall() or [("no living row has the id in the log", "")]
    conn.execute("DELETE FROM things")
    conn.execute(f"INSERT INTO things VALUES ({values}, 'a')".encode())
    conn.execute("TRUNCATE things")
    return [(entity_id, label), *changes(conn, "op, entity_id, previous_id")]


@each_kind
def test_key_of_any_type_names_the_row_whatever_the_settings_and_finds_it_again(
    bare, changes, kind
):
    bare.execute(
        "CREATE TYPE color AS ENUM ('red', 'dark red');"
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0);"
        "CREATE DOMAIN email AS text"
    )
    found = {
        columns + values: told(bare, write_key, changes, kind, columns, values)
        for columns, values, _ in KEYS
    }
    assert found == {
        columns + values: [
            (entity_id, "b"),
            *((op, entity_id, None) for op in ("I", "U", "D", "I", "T")),
        ]
        for columns, values, entity_id in KEYS
    }


@each_kind
@default("image")
def test_numeric_keys_that_are_equal_name_the_same_entity(bare, changes, kind):
    bare.execute("CREATE TABLE things (id numeric PRIMARY KEY)")
    watch(bare, "things", capture=kind)
    bare.execute("INSERT INTO things VALUES (1.50)")
    bare.execute("UPDATE things SET id = 1.500")
    assert changes(bare, "entity_id, previous_id, after::text") == [
        ("1.5", None, None),
        ("1.5", None, '{"id": 1.500}'),
    ]


@each_kind
def test_key_longer_than_an_index_can_hold_is_cut_and_stays_unique(bare, changes, kind):
    bare.execute("CREATE TABLE things (id text PRIMARY KEY)")
    watch(bare, "things", capture=kind)
    bare.execute("INSERT INTO things VALUES (repeat('x', 2000) || 'a'), (repeat('x', 2000) || 'b')")
    bare.execute("DELETE FROM things WHERE id LIKE '%a'")
    first, second, gone = changes(bare, "entity_id")
    assert first[:240] == second[:240] == "x" * 240
    assert (len(first), len(second)) == (273, 273)
    assert gone == first != second


def test_unique_index_without_nulls_is_the_key_where_there_is_no_primary_key(bare, changes):
    bare.execute(
        "CREATE TABLE things (maybe integer UNIQUE, part integer NOT NULL, code text NOT NULL);"
        "CREATE UNIQUE INDEX ON things (part) WHERE part > 0;"
        "CREATE UNIQUE INDEX ON things (lower(code));"
        "CREATE UNIQUE INDEX ON things (code) INCLUDE (part)"
    )
    watch(bare, "things")
    bare.execute("INSERT INTO things VALUES (1, 2, 'x')")
    assert changes(bare, "entity_id") == ["x"]


def test_replica_identity_index_is_the_key_before_other_unique_indexes(bare, changes):
    bare.execute(
        "CREATE TABLE things (a integer NOT NULL UNIQUE, b integer NOT NULL);"
        "CREATE UNIQUE INDEX b_key ON things (b);"
        "ALTER TABLE things REPLICA IDENTITY USING INDEX b_key"
    )
    watch(bare, "things")
    bare.execute("INSERT INTO things VALUES (1, 2)")
    assert changes(bare, "entity_id") == ["2"]


# -- refusals ---------------------------------------------------------------------------------------------------------

SCENE = """
CREATE TABLE keyless (a integer, b integer UNIQUE);
CREATE TABLE shops (id integer PRIMARY KEY);
CREATE VIEW a_view AS SELECT * FROM shops;
CREATE MATERIALIZED VIEW a_matview AS SELECT * FROM shops;
CREATE SEQUENCE a_sequence;
CREATE TYPE a_composite AS (a integer);
CREATE TEMPORARY TABLE a_temporary (id integer PRIMARY KEY);
CREATE TABLE parted (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE a_foreign (id integer) SERVER nowhere;
CREATE TABLE orders (id integer PRIMARY KEY, shop_id integer, note text);
"""

REFUSALS = [
    # table, options, SQLSTATE, message, hint
    (
        "keyless",
        {},
        "LL009",
        "public.keyless has no key",
        "Add a primary key, or a unique index on NOT NULL columns.",
    ),
    ("a_view", {}, "LL009", "public.a_view is a view", "Watch the tables it is made of."),
    (
        "a_matview",
        {},
        "LL009",
        "public.a_matview is a materialized view",
        "Watch the tables it is made of.",
    ),
    (
        "a_foreign",
        {},
        "LL009",
        "public.a_foreign is a foreign table",
        "Watch the table on the server where it lives.",
    ),
    ("a_sequence", {}, "LL009", "public.a_sequence is a sequence", "Only tables can be watched."),
    ("shops_pkey", {}, "LL009", "public.shops_pkey is an index", "Only tables can be watched."),
    (
        "a_composite",
        {},
        "LL009",
        "public.a_composite is a composite type",
        "Only tables can be watched.",
    ),
    (
        "pg_catalog.pg_class",
        {},
        "LL009",
        "pg_catalog.pg_class is a system table",
        "PostgreSQL runs no triggers on it.",
    ),
    (
        "llamalog.llama_logs",
        {},
        "LL009",
        "llamalog.llama_logs is part of the log",
        "Watch the application's tables.",
    ),
    (
        "parted_low",
        {},
        "LL009",
        "public.parted_low is a partition of parted",
        "Watch the whole: llamalog watch parted",
    ),
    (
        "no_such_table",
        {},
        "42P01",
        'table "no_such_table" does not exist',
        "Name the table with its schema, as shop.orders.",
    ),
    (
        '"SHOPS"',
        {},
        "42P01",
        'table ""SHOPS"" does not exist',
        "Perhaps you mean public.shops.",
    ),
    (
        "orders; DROP TABLE shops",
        {},
        "42P01",
        'table "orders; DROP TABLE shops" does not exist',
        "Perhaps you mean public.orders.",
    ),
    (
        "orders",
        {"key": ["shop_id"]},
        "LL009",
        "(shop_id) is no key of public.orders",
        "Name columns of a primary key, or of a unique index on NOT NULL columns.",
    ),
    (
        "orders",
        {"kind": "link"},
        "LL009",
        "public.orders joins no two watched tables",
        "A link has foreign keys to the keys of two watched tables; watch those first.",
    ),
    (
        "orders",
        {"part_of": "shop_id"},
        "LL009",
        "column shop_id of public.orders refers to no watched table",
        "Name a column with a foreign key to the key of a watched table, or none.",
    ),
    (
        "orders",
        {"redact": ["id"]},
        "LL009",
        "column id of public.orders cannot be redacted",
        "It names the entity in every row of the log; give the table another key.",
    ),
    *(
        (
            "orders",
            {option: value},
            "42703",
            "public.orders has no column nope",
            "Its columns are id, shop_id, note.",
        )
        for option, value in (
            ("label", "nope"),
            ("quality", "nope"),
            ("source", "nope"),
            ("ignore", ["note", "nope"]),
            ("redact", ["nope"]),
        )
    ),
]


@pytest.mark.parametrize(("table", "options", "sqlstate", "message", "hint"), REFUSALS)
def test_what_cannot_be_watched_is_refused_with_a_reason_and_a_remedy(
    bare, table, options, sqlstate, message, hint
):
    bare.execute(SCENE)
    with pytest.raises(CannotWatch) as refusal:
        watch(bare, table, **options)
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        sqlstate,
        message,
        hint,
    )
    assert registered(bare, "table_name") == []


def test_temporary_table_is_refused(bare):
    bare.execute(SCENE)
    with pytest.raises(CannotWatch, match="a_temporary is a temporary table") as refusal:
        watch(bare, "a_temporary")
    assert (refusal.value.sqlstate, refusal.value.hint) == (
        "LL009",
        "It ends with the session; watch a lasting one.",
    )


def test_nothing_is_watched_when_one_of_several_tables_is_refused(bare):
    bare.execute(SCENE)
    with pytest.raises(CannotWatch):
        watch(bare, "shops", "keyless")
    assert registered(bare, "1", table_name="shops") == []
    hung = bare.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'shops'::regclass"
    ).fetchall()
    assert hung == []


def test_key_column_cannot_be_ignored(bare):
    bare.execute(SCENE)
    with pytest.raises(CannotWatch, match=r"column id of public\.orders cannot be ignored"):
        watch(bare, "orders", ignore=["id"])


def test_what_a_key_is_made_from_cannot_be_ignored(bare):
    bare.execute(
        "CREATE TABLE slots (id integer GENERATED ALWAYS AS (room * 100 + updated) STORED PRIMARY KEY,"
        " room integer, updated integer, note text)"
    )
    with pytest.raises(CannotWatch, match=r"column updated of public\.slots cannot be ignored"):
        watch(bare, "slots", ignore=["updated"])
    watch(bare, "slots", ignore=["note"])


def test_table_of_somebody_else_is_refused(empty, connect):
    empty.execute("DROP ROLE IF EXISTS llamalog_test_installer")
    empty.execute("CREATE ROLE llamalog_test_installer LOGIN PASSWORD 'x'")
    name = empty.info.dbname
    empty.execute(f"ALTER DATABASE {name} OWNER TO llamalog_test_installer".encode())
    empty.execute("CREATE TABLE orders (id integer PRIMARY KEY)")
    installer = connect(empty, user="llamalog_test_installer", password="x")
    migrate.migrate(installer)
    with pytest.raises(CannotWatch) as refusal:
        watch(installer, "orders")
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "42501",
        "permission denied to create triggers on public.orders",
        "Connect as its owner, or: GRANT TRIGGER ON public.orders TO you",
    )
    empty.execute("ALTER TABLE orders OWNER TO llamalog_test_installer")
    watch(installer, "orders")
    empty.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER".encode())
    empty.execute("DROP OWNED BY llamalog_test_installer CASCADE")
    empty.execute("DROP ROLE llamalog_test_installer")


def test_two_tables_do_not_share_an_entity_type(db):
    db.execute("CREATE SCHEMA shop; CREATE TABLE shop.albums (id integer PRIMARY KEY)")
    with pytest.raises(EntityTypeTaken) as refusal:
        watch(db, "shop.albums")
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "LL010",
        "entity type ALBUM is taken by public.albums",
        "Choose another: llamalog watch shop.albums --as TYPE",
    )
    watch(db, "shop.albums", entity_type="shop_album")
    assert registered(db, "entity_type", schema_name="shop") == ["SHOP_ALBUM"]


def test_entity_type_of_an_earlier_table_is_taken_over_only_on_purpose(db):
    db.execute("CREATE SCHEMA shop; CREATE TABLE shop.albums (id integer PRIMARY KEY)")
    watching.unwatch(db, ["track_artists", "tracks", "album_artists", "albums"])
    with pytest.raises(EntityTypeTaken, match=r"ALBUM was that of public\.albums"):
        watch(db, "shop.albums")
    watch(db, "shop.albums", entity_type="ALBUM")
    assert registered(db, "schema_name", entity_type="ALBUM") == ["shop"]


def test_watched_table_keeps_its_entity_type(db):
    with pytest.raises(CannotWatch) as refusal:
        watch(db, "albums", entity_type="RECORD")
    assert (str(refusal.value), refusal.value.hint) == (
        "public.albums is watched as ALBUM",
        "Its history has that name. Run llamalog unwatch ALBUM first to begin another.",
    )


def test_table_that_is_not_watched_cannot_be_unwatched(bare):
    bare.execute(SCENE)
    with pytest.raises(NotWatched) as refusal:
        watching.unwatch(bare, ["shops"])
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "LL002",
        '"shops" is not watched',
        "Run llamalog status to see what is.",
    )


def test_a_trigger_without_its_watch_stops_the_write_and_says_why(bare):
    """So that nothing is lost in silence; llamalog.watches is nobody's to write but the owner's."""
    bare.execute("CREATE TABLE labels (id integer PRIMARY KEY)")
    watch(bare, "labels")
    bare.execute("DELETE FROM llamalog.watches")
    with pytest.raises(psycopg.Error) as refusal:
        bare.execute("TRUNCATE labels")
    assert (refusal.value.sqlstate, refusal.value.diag.message_primary, refusal.value.diag.message_hint) == (
        "LL002",
        'table "public.labels" is not watched as LABEL',
        "Run: llamalog watch public.labels",
    )  # fmt: skip


# -- once, twice, and no more -----------------------------------------------------------------------------------------


def catalogue(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """Every trigger, function and registration there is, each with the transaction that wrote it."""
    return conn.execute(
        "SELECT 'trigger' AS kind, oid::text AS name, xmin::text FROM pg_trigger"
        " UNION ALL SELECT 'function', oid::text, xmin::text FROM pg_proc"
        " WHERE pronamespace = 'llamalog'::regnamespace"
        " UNION ALL SELECT 'watch', entity_type, xmin::text FROM llamalog.watches"
        " UNION ALL SELECT 'table', oid::text, xmin::text FROM pg_class WHERE relkind IN ('r', 'p')"
        " ORDER BY 1, 2"
    ).fetchall()


@each_kind
def test_watching_twice_changes_nothing(database, kind):
    watch(database, *MUSIC, capture=kind)
    before = catalogue(database)
    outcomes = watching.watch(database, MUSIC)
    assert {outcome.action for outcome in outcomes} == {"unchanged"}
    assert catalogue(database) == before


def table_as_it_is(conn: psycopg.Connection[Any], schema: str) -> list[tuple[Any, ...]]:
    """What an application could see of the tables of a schema: triggers, privileges, comments, options."""
    return conn.execute(
        """
        SELECT
            class.relname,
            class.reloptions,
            class.relrowsecurity,
            class.relreplident,
            obj_description(class.oid),
            (
                SELECT array_agg(held::text ORDER BY held::text)
                FROM aclexplode(coalesce(class.relacl, acldefault('r', class.relowner))) AS held
            ) AS privileges,
            (
                SELECT array_agg(pg_get_triggerdef(hung.oid) ORDER BY hung.tgname)
                FROM pg_trigger AS hung
                WHERE hung.tgrelid = class.oid
            ) AS triggers,
            (
                SELECT array_agg(held::text ORDER BY held::text)
                FROM aclexplode(coalesce(namespace.nspacl, acldefault('n', namespace.nspowner))) AS held
            ) AS schema_privileges
        FROM pg_class AS class
        JOIN pg_namespace AS namespace
            ON namespace.oid = class.relnamespace
        WHERE namespace.nspname = %s
            AND class.relkind IN ('r', 'p')
        ORDER BY class.relname
        """,
        [schema],
    ).fetchall()


SHOP = """
CREATE SCHEMA shop;
CREATE FUNCTION shop.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE shop.customers (id integer PRIMARY KEY, name text);
CREATE TABLE shop.orders (id integer PRIMARY KEY, customer_id integer REFERENCES shop.customers ON DELETE CASCADE);
CREATE TRIGGER theirs AFTER INSERT ON shop.orders FOR EACH ROW EXECUTE FUNCTION shop.nothing();
CREATE TABLE shop.events (id integer PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE shop.events_low PARTITION OF shop.events FOR VALUES FROM (0) TO (10);
CREATE TABLE shop.base (id integer PRIMARY KEY);
CREATE TABLE shop.derived (extra text, PRIMARY KEY (id)) INHERITS (shop.base);
GRANT SELECT ON shop.customers TO PUBLIC;
"""

SHOP_TABLES = ["shop.customers", "shop.orders", "shop.events", "shop.base"]


@each_kind
def test_unwatch_leaves_the_tables_as_they_were_and_keeps_their_history(bare, changes, kind):
    bare.execute(SHOP)
    before = table_as_it_is(bare, "shop")
    functions = bare.execute("SELECT count(*) FROM pg_proc").fetchone()
    watch(bare, *SHOP_TABLES, capture=kind)
    bare.execute("INSERT INTO shop.customers VALUES (1); INSERT INTO shop.events VALUES (1)")
    assert table_as_it_is(bare, "shop") != before
    watching.unwatch(bare, SHOP_TABLES)
    bare.execute("INSERT INTO shop.customers VALUES (2); INSERT INTO shop.events VALUES (2)")
    bare.execute("TRUNCATE shop.events, shop.customers, shop.orders, shop.base")
    assert table_as_it_is(bare, "shop") == before
    assert bare.execute("SELECT count(*) FROM pg_proc").fetchone() == functions
    assert changes(bare, "entity_type, entity_id") == [("CUSTOMER", "1"), ("EVENT", "1")]
    assert bare.execute("SELECT op FROM llamalog.history('customer', '1')").fetchall() == [("I",)]


def test_unwatch_of_one_table_leaves_its_neighbours_captured(bare, changes):
    bare.execute(SHOP)
    watch(bare, "shop.base")
    watch(bare, "shop.events")
    watching.unwatch(bare, ["shop.base"])
    bare.execute("INSERT INTO shop.events VALUES (2)")
    bare.execute("TRUNCATE shop.events")
    assert changes(bare, "op, entity_type, entity_id") == [("I", "EVENT", "2"), ("T", "EVENT", "2")]


@default("image")
def test_unwatched_table_that_is_watched_again_goes_on_with_its_history(db, new, changes):
    album = new.album(db)
    watching.unwatch(db, ["ALBUM"])
    db.execute("UPDATE albums SET barcode = 'not seen'")
    (outcome,) = [o for o in watching.watch(db, ["albums"]) if o.entity_type == "ALBUM"]
    db.execute("UPDATE albums SET barcode = 'seen'")
    assert outcome.action == "watched"
    assert changes(db, "op, entity_id, after") == [
        ("I", album, None),
        ("U", album, {"barcode": "seen"}),
    ]


def test_unwatch_tells_which_other_tables_became_something_else(db):
    outcomes = watching.unwatch(db, ["albums"])
    assert [(o.action, o.table, o.description.split(";")[0]) for o in outcomes] == [
        ("unwatched", "public.albums", "its history stays"),
        ("changed", "public.tracks", "entity"),
        ("changed", "public.album_artists", "part of ARTIST by artist_id"),
        ("changed", "public.track_artists", "link TRACK – ARTIST"),
    ]


def test_parts_of_an_unwatched_table_stand_for_themselves(db, new, changes):
    watching.unwatch(db, ["ALBUM"])
    kinds = "entity_type, is_link, subject_type, related_type"
    assert registered(db, kinds) == [
        ("ALBUM_ARTIST", False, "ALBUM_ARTIST", "ARTIST"),
        ("ARTIST", False, "ARTIST", None),
        ("TRACK", False, "TRACK", None),
        ("TRACK_ARTIST", True, "TRACK", "ARTIST"),
    ]


@each_kind
def test_script_run_by_hand_leaves_what_watching_leaves(bare, kind):
    bare.execute(SHOP)
    tables = ["shop.customers", "shop.orders", "shop.events"]
    look = (
        "SELECT p.proname, pg_get_userbyid(p.proowner) AS owner, p.proacl::text, md5(p.prosrc) AS body,"
        " p.prosecdef, p.proconfig FROM pg_proc AS p WHERE p.pronamespace = 'llamalog'::regnamespace"
        " ORDER BY p.proname, p.oid"
    )

    def left() -> list[Any]:
        return [
            table_as_it_is(bare, "shop"),
            bare.execute(look).fetchall(),
            registered(bare, "entity_type, options, fingerprint, rendered, grants"),
            watching.drifted(bare),
        ]

    with bare.transaction(force_rollback=True):
        watch(bare, *tables, capture=kind)
        watched = left()
    bare.execute("".join(watching.script(bare, tables, Options(capture=kind))).encode())
    assert left() == watched


def test_watching_keeps_the_role_that_the_session_had_taken(bare):
    bare.execute(
        "CREATE ROLE deployer SUPERUSER; SET LOCAL ROLE deployer; CREATE TABLE t (id integer PRIMARY KEY)"
    )
    watch(bare, "t")
    assert bare.execute("SELECT current_user").fetchone() == ("deployer",)
    watching.unwatch(bare, ["t"])
    assert bare.execute("SELECT current_user").fetchone() == ("deployer",)
    migrate.migrate(bare)
    assert bare.execute("SELECT current_user").fetchone() == ("deployer",)


def test_watching_leaves_the_settings_of_the_caller_s_transaction_as_they_were(bare):
    bare.execute("CREATE TABLE t (id integer PRIMARY KEY); SET LOCAL check_function_bodies = off")
    look = "SELECT name, setting FROM pg_settings ORDER BY name"
    before = bare.execute(look).fetchall()
    watch(bare, "t")
    watching.refresh(bare)
    watching.unwatch(bare, ["t"])
    assert bare.execute(look).fetchall() == before


# -- heads, parts and links -------------------------------------------------------------------------------------------


def kinds(conn: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    columns = "entity_type, is_link, subject_type, subject_columns, related_type, related_columns"
    return registered(conn, columns)


MUSIC_KINDS = [
    ("ALBUM", False, "ALBUM", ["id"], None, None),
    ("ALBUM_ARTIST", True, "ALBUM", ["album_id"], "ARTIST", ["artist_id"]),
    ("ARTIST", False, "ARTIST", ["id"], None, None),
    ("TRACK", False, "TRACK", ["id"], "ALBUM", ["album_id"]),
    ("TRACK_ARTIST", True, "TRACK", ["track_id"], "ARTIST", ["artist_id"]),
]


def test_foreign_keys_tell_parts_and_links_from_heads(db):
    assert kinds(db) == MUSIC_KINDS


@pytest.mark.parametrize(
    "order",
    [
        MUSIC[::-1],
        ["track_artists", "album_artists", "tracks", "artists", "albums"],
        ["tracks", "track_artists", "albums", "album_artists", "artists"],
        ["album_artists", "artists", "track_artists", "albums", "tracks"],
    ],
)
def test_tables_watched_one_at_a_time_in_any_order_give_the_same_registry(db, order):
    everything = (
        "entity_type, is_link, subject_columns, related_columns, label_column, quality_column,"
        " source_column, ignored_columns, capture, options, fingerprint, rendered"
    )
    at_once = registered(db, everything)
    functions = (
        "SELECT proname, md5(prosrc) AS body FROM pg_proc WHERE proname LIKE 'capture%' ORDER BY 1"
    )
    rendered = db.execute(functions).fetchall()
    watching.unwatch(db, MUSIC)
    for table in order:
        watch(db, table)
    assert registered(db, everything) == at_once
    assert db.execute(functions).fetchall() == rendered


def test_tables_that_refer_to_each_other_are_the_same_in_any_order(bare):
    for name in ("a", "b", "c"):
        bare.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY)".encode())
    for name, other in permutations(["a", "b", "c"], 2):
        bare.execute(f"ALTER TABLE {name} ADD {other}_id integer REFERENCES {other}".encode())
    found = {}
    for order in permutations(["a", "b", "c"]):
        with bare.transaction(force_rollback=True):
            for table in order:
                watch(bare, table)
            found[order] = kinds(bare)
    first = found["a", "b", "c"]
    assert found == dict.fromkeys(found, first)


def test_part_belongs_to_the_table_whose_deletion_takes_it_along(bare):
    bare.execute(
        "CREATE TABLE shops (id integer PRIMARY KEY); CREATE TABLE customers (id integer PRIMARY KEY);"
        "CREATE TABLE orders (id integer PRIMARY KEY, shop_id integer NOT NULL REFERENCES shops,"
        " customer_id integer NOT NULL REFERENCES customers ON DELETE CASCADE)"
    )
    watch(bare, "shops", "customers", "orders")
    assert registered(bare, "related_type, related_columns", entity_type="ORDER") == [
        ("CUSTOMER", ["customer_id"])
    ]


@each_kind
def test_part_by_a_composite_foreign_key_names_its_whole_in_the_order_of_its_key(
    bare, changes, kind
):
    bare.execute(
        "CREATE TABLE shelves (room text, number integer, PRIMARY KEY (room, number));"
        "CREATE TABLE books (id integer PRIMARY KEY, n integer, r text,"
        " FOREIGN KEY (n, r) REFERENCES shelves (number, room))"
    )
    watch(bare, "shelves", "books", capture=kind)
    bare.execute("INSERT INTO shelves VALUES ('a,b', 1); INSERT INTO books VALUES (7, 1, 'a,b')")
    bare.execute("UPDATE books SET n = NULL")
    columns = "op, entity_type, entity_id, related_type, related_id"
    assert changes(bare, columns) == [
        ("I", "SHELF", "a\\,b,1", None, None),
        ("I", "BOOK", "7", "SHELF", "a\\,b,1"),
        ("U", "BOOK", "7", "SHELF", None),
    ]


def test_table_that_refers_to_itself_is_no_part_of_itself(bare, changes):
    bare.execute("CREATE TABLE nodes (id integer PRIMARY KEY, parent_id integer REFERENCES nodes)")
    watch(bare, "nodes")
    assert registered(bare, "is_link, related_type", entity_type="NODE") == [(False, None)]


def test_link_that_others_refer_to_is_an_entity(db):
    db.execute(
        "ALTER TABLE album_artists ADD UNIQUE (position);"
        "CREATE TABLE payments (id integer PRIMARY KEY, position integer REFERENCES album_artists (position))"
    )
    watch(db, "payments")
    assert registered(db, "is_link", entity_type="ALBUM_ARTIST") == [False]


# -- options ----------------------------------------------------------------------------------------------------------

ORDERS = """
CREATE TABLE shops (id integer PRIMARY KEY);
CREATE TABLE customers (id integer PRIMARY KEY);
CREATE TABLE orders (
    id integer PRIMARY KEY,
    code text NOT NULL UNIQUE,
    shop_id integer NOT NULL REFERENCES shops,
    customer_id integer REFERENCES customers,
    title text,
    remark text,
    grade text,
    origin text,
    updated_at timestamptz
);
"""


def watch_orders(conn: psycopg.Connection[Any], **options: Any) -> None:
    conn.execute(ORDERS)
    watch(conn, "shops", "customers")
    watch(conn, "orders", **options)
    conn.execute("INSERT INTO shops VALUES (1); INSERT INTO customers VALUES (2)")
    conn.execute("INSERT INTO orders VALUES (7, 'c7', 1, 2, 'T', 'R', 'G', 'O', now())")


def test_part_of_chooses_the_whole(bare, changes):
    watch_orders(bare, part_of="customer_id")
    assert changes(bare, "related_type, related_id", entity_type="ORDER") == [("CUSTOMER", "2")]


def test_part_of_none_makes_a_head(bare, changes):
    watch_orders(bare, part_of="none")
    assert changes(bare, "related_type, is_root_job", entity_type="ORDER") == [(None, True)]


def test_kind_link_makes_a_link_of_a_table_with_a_key_of_its_own(bare, changes):
    watch_orders(bare, kind="link")
    columns = "category, entity_type, entity_id, related_type, related_id"
    assert changes(bare, columns, link_type="ORDER") == [("LINKED", "SHOP", "1", "CUSTOMER", "2")]


def test_kind_entity_makes_an_entity_of_a_link_table(db, new, changes):
    watch(db, "album_artists", kind="entity")
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist)
    columns = "category, entity_id, related_type, related_id"
    assert changes(db, columns, entity_type="ALBUM_ARTIST") == [
        ("CREATED", f"{album},{artist},primary", "ALBUM", album)
    ]


def test_key_chooses_another_unique_index(bare, changes):
    watch_orders(bare, key=["code"])
    assert changes(bare, "entity_id", entity_type="ORDER") == ["c7"]


def test_label_chooses_the_name(bare):
    watch_orders(bare, label="remark")
    assert bare.execute("SELECT label FROM llamalog.labels('ORDER', '{7}')").fetchone() == ("R",)


def test_quality_and_source_choose_their_columns(bare, changes):
    watch_orders(bare, quality="grade", source="origin")
    assert changes(bare, "data_quality_after, sources", entity_type="ORDER") == [("G", ["O"])]


def test_quality_and_source_can_be_switched_off(db, new, changes):
    watch(db, "artists", quality="none", source="none")
    new.artist(db)
    assert changes(db, "data_quality_after, sources") == [(None, None)]


def test_ignore_adds_to_what_is_ignored_anyway(bare, changes):
    watch_orders(bare, ignore=["remark"])
    bare.execute("UPDATE orders SET remark = 'x', updated_at = now()")
    bare.execute("UPDATE orders SET remark = 'y', title = 'z'")
    assert changes(bare, "fields_enriched, after", entity_type="ORDER", op="U") == [
        (["title"], {"title": "z"})
    ]


def test_options_are_remembered_until_they_are_given_anew(bare):
    watch_orders(bare, ignore=["remark"], label="remark", image="full")
    watch(bare, "orders")
    watch(bare, "orders", image="none")
    columns = "ignored_columns, label_column, image"
    assert registered(bare, columns, entity_type="ORDER") == [
        (["remark", "updated_at"], "remark", "none")
    ]


def test_redaction_adds_up_and_ends_only_when_that_is_asked(bare):
    watch_orders(bare, redact=["remark"])
    redacted = []
    for options in ({"redact": ["title"]}, {}, {"redact": ["none"]}, {}):
        watch(bare, "orders", **options)
        redacted += registered(bare, "redacted_columns", entity_type="ORDER")
    assert redacted == [["remark", "title"], ["remark", "title"], [], []]


def test_redaction_holds_again_when_a_table_is_watched_again(bare, changes):
    watch_orders(bare, redact=["remark"])
    watching.unwatch(bare, ["orders"])
    watch(bare, "orders", image="full")
    bare.execute("INSERT INTO orders VALUES (8, 'c8', 1, 2, 'T', 'SECRET', 'G', 'O', now())")
    watching.unwatch(bare, ["orders"])
    watch(bare, "orders", redact=["title"])
    bare.execute("DELETE FROM orders WHERE id = 8")
    images = [before or after for before, after in changes(bare, "before, after", entity_id="8")]
    assert [(image["remark"], image["title"]) for image in images] == [
        ("[redacted]", "T"),
        ("[redacted]", "[redacted]"),
    ]


@pytest.mark.parametrize("options", [{"part_of": "nope"}, {"key": ["nope"]}])
def test_option_that_names_no_column_is_refused_as_such(bare, options):
    bare.execute(ORDERS)
    with pytest.raises(CannotWatch) as refusal:
        watch(bare, "orders", **options)
    assert refusal.value.sqlstate == "42703"
    assert "nope" in str(refusal.value)


def test_one_entity_type_for_several_tables_is_a_misuse(bare):
    bare.execute(ORDERS)
    with pytest.raises(LlamaLogError) as refusal:
        watch(bare, "shops", "customers", entity_type="X")
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "22023",
        "one entity type for several tables",
        "Watch them one at a time.",
    )


# -- families ---------------------------------------------------------------------------------------------------------


def test_rows_of_inheriting_tables_are_captured_with_the_columns_they_add(bare, changes):
    bare.execute(SHOP)
    watch(bare, "shop.base", image="full")
    bare.execute("INSERT INTO shop.base VALUES (1); INSERT INTO shop.derived VALUES (2, 'x')")
    bare.execute("UPDATE shop.base SET id = id + 10")
    bare.execute("UPDATE shop.derived SET extra = 'y'")
    bare.execute("DELETE FROM shop.base WHERE id = 12")
    bare.execute("TRUNCATE shop.base")
    assert changes(bare, "op, entity_type, entity_id, before, after") == [
        ("I", "BASE", "1", None, {"id": 1}),
        ("I", "BASE", "2", None, {"id": 2, "extra": "x"}),
        ("U", "BASE", "11", {"id": 1}, {"id": 11}),
        ("U", "BASE", "12", {"id": 2}, {"id": 12}),
        ("U", "BASE", "12", {"extra": "x"}, {"extra": "y"}),
        ("D", "BASE", "12", {"id": 12, "extra": "y"}, None),
        ("T", "BASE", "11", {"id": 11}, None),
    ]


@each_kind
def test_partitions_made_and_attached_later_are_captured(bare, changes, kind):
    bare.execute(SHOP)
    watch(bare, "shop.events", capture=kind)
    bare.execute(
        "CREATE TABLE shop.events_mid PARTITION OF shop.events FOR VALUES FROM (10) TO (20)"
        " PARTITION BY RANGE (id);"
        "CREATE TABLE shop.events_mid_all PARTITION OF shop.events_mid DEFAULT;"
        "CREATE TABLE shop.events_high (id integer PRIMARY KEY);"
        "ALTER TABLE shop.events ATTACH PARTITION shop.events_high FOR VALUES FROM (20) TO (30)"
    )
    bare.execute("INSERT INTO shop.events VALUES (1), (11), (21)")
    bare.execute("INSERT INTO shop.events_mid_all VALUES (12)")
    bare.execute("UPDATE shop.events_high SET id = 22")
    bare.execute("DELETE FROM shop.events_mid WHERE id = 11")
    bare.execute("TRUNCATE shop.events_mid_all")
    bare.execute("TRUNCATE shop.events_high")
    bare.execute("TRUNCATE shop.events")
    assert changes(bare, "op, entity_type, entity_id") == [
        ("I", "EVENT", "1"),
        ("I", "EVENT", "11"),
        ("I", "EVENT", "21"),
        ("I", "EVENT", "12"),
        ("U", "EVENT", "22"),
        ("D", "EVENT", "11"),
        ("T", "EVENT", "12"),
        ("T", "EVENT", "22"),
        ("T", "EVENT", "1"),
    ]


@each_kind
def test_partitions_below_partitions_are_captured_whatever_plan_finds_them(bare, changes, kind):
    """Below one that is not captured yet, a captured one was taken for a stray and let go, and hung again, without end."""
    for plan in ("nestloop", "hashjoin", "mergejoin"):
        bare.execute(f"SET LOCAL enable_{plan} = off".encode())
        bare.execute(
            "CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);"
            "CREATE TABLE late PARTITION OF events DEFAULT PARTITION BY RANGE (id);"
            "CREATE TABLE later PARTITION OF late DEFAULT PARTITION BY RANGE (id);"
            "CREATE TABLE last PARTITION OF later DEFAULT"
        )
        assert bare.execute(
            "SELECT array_agg(member::regclass::text) FROM llamalog.family('events'::regclass) AS member"
        ).fetchone() == (["events", "late", "later", "last"],)
        watch(bare, "events", capture=kind)
        bare.execute("INSERT INTO events VALUES (1); TRUNCATE later; DROP TABLE events")
    assert changes(bare, "op") == ["I", "T"] * 3


# -- wide and narrow --------------------------------------------------------------------------------------------------


@each_kind
def test_table_of_300_columns_is_captured(bare, changes, kind):
    names = [f"c{number:03}" for number in range(1, 300)]
    columns = ", ".join(f"{name} {'jsonb' if name[-1] in '12' else 'text'}" for name in names)
    bare.execute(f"CREATE TABLE wide (id integer PRIMARY KEY, {columns})")
    watch(bare, "wide", capture=kind, image="full")
    bare.execute("INSERT INTO wide (id, c001, c299) VALUES (1, '{}', 'last')")
    bare.execute("UPDATE wide SET c298 = 'x', c002 = '[]'")
    bare.execute("DELETE FROM wide")
    nulls = dict.fromkeys(names)
    row = {"id": 1, **nulls, "c001": {}, "c299": "last"}
    assert changes(bare, "fields_enriched, before, after") == [
        (["id", "c001", "c299"], None, row),
        (["c002", "c298"], {"c002": None, "c298": None}, {"c002": [], "c298": "x"}),
        (None, {**row, "c298": "x", "c002": []}, None),
    ]


@each_kind
@default("image")
def test_table_of_nothing_but_its_key_is_captured(bare, changes, kind):
    bare.execute("CREATE TABLE tags (name text PRIMARY KEY)")
    watch(bare, "tags", capture=kind)
    bare.execute("INSERT INTO tags VALUES ('a')")
    bare.execute("UPDATE tags SET name = name")
    bare.execute("UPDATE tags SET name = 'b'")
    bare.execute("DELETE FROM tags")
    assert changes(bare, "op, entity_id, previous_id, before, after") == [
        ("I", "a", None, None, None),
        ("U", "b", "a", {"name": "a"}, {"name": "b"}),
        ("D", "b", None, {"name": "b"}, None),
    ]


@each_kind
def test_table_whose_other_columns_are_all_ignored_is_captured(bare, changes, kind):
    bare.execute("CREATE TABLE tags (name text PRIMARY KEY, updated_at timestamptz)")
    watch(bare, "tags", capture=kind)
    bare.execute("INSERT INTO tags VALUES ('a')")
    bare.execute("UPDATE tags SET updated_at = now()")
    bare.execute("DELETE FROM tags")
    assert changes(bare, "op, fields_enriched, before ->> 'name'") == [
        ("I", ["name"], None),
        ("D", None, "a"),
    ]
