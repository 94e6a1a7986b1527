"""Watching takes any table for what it is, refuses what it cannot watch, and leaves no trace when it ends."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import psycopg
import pytest

from llamalog_sql import migrate, watching
from llamalog_sql.errors import CannotWatch, EntityTypeTaken, LlamaLogError, NotWatched
from llamalog_sql.watching import Options

MUSIC = ["albums", "artists", "tracks", "album_artists", "track_artists"]

each_kind = pytest.mark.parametrize("kind", ["rendered", "tolerant"])


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


@each_kind
@pytest.mark.parametrize("name", NAMES)
def test_table_and_columns_of_any_name_are_captured(db, changes, kind, name):
    db.execute(
        f"CREATE TABLE {quoted(name)} (id integer, {quoted(name)} text, value jsonb,"
        f" PRIMARY KEY (id, {quoted(name)}))".encode()
    )
    watch(db, name, entity_type="ODD", capture=kind, image="full", redact=["value"])
    db.execute(f"INSERT INTO {quoted(name)} VALUES (1, 'a', '1')".replace("%", "%%").encode(), [])
    for statement in (
        f"UPDATE {quoted(name)} SET {quoted(name)} = 'b'",
        f"DELETE FROM {quoted(name)}",
        f"INSERT INTO {quoted(name)} VALUES (2, 'c')",
        f"TRUNCATE {quoted(name)}",
    ):
        db.execute(statement.encode())
    columns = "op, entity_id, previous_id, fields_enriched, before, after"
    hidden = "[redacted]"
    assert changes(db, columns) == [
        ("I", "1,a", None, ["id", name, "value"], None, {"id": 1, name: "a", "value": hidden}),
        ("U", "1,b", "1,a", [name], {name: "a"}, {name: "b"}),
        ("D", "1,b", None, None, {"id": 1, name: "b", "value": hidden}, None),
        ("I", "2,c", None, ["id", name], None, {"id": 2, name: "c", "value": None}),
        ("T", "2,c", None, None, {"id": 2, name: "c", "value": None}, None),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_column_of_any_name_can_have_every_part_to_play(db, changes, name):
    db.execute(
        f"CREATE TABLE people (id integer PRIMARY KEY, {quoted(name)} text, other text)".encode()
    )
    watch(db, "people", label=name, quality=name, source=name)
    db.execute("INSERT INTO people VALUES (1, 'x')")
    db.execute(f"UPDATE people SET {quoted(name)} = 'y'".encode())
    columns = "sources, data_quality_before, data_quality_after"
    assert changes(db, columns) == [(["x"], None, "x"), (["y"], "x", "y")]
    assert db.execute("SELECT label FROM llamalog.labels('PERSON', '{1}')").fetchone() == ("y",)


@pytest.mark.parametrize("name", NAMES)
def test_script_of_a_table_of_any_name_runs_as_it_stands(db, changes, name):
    db.execute(f"CREATE TABLE {quoted(name)} (id integer PRIMARY KEY)".encode())
    statements = list(watching.script(db, [name], Options(entity_type="ODD")))
    db.execute("".join(statements).encode())
    db.execute(f"INSERT INTO {quoted(name)} VALUES (1)".encode())
    assert changes(db, "op, entity_type, entity_id") == [("I", "ODD", "1")]


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
def test_entity_type_is_the_singular_of_the_table_in_capitals(db, table, entity_type):
    db.execute(f"CREATE TABLE {quoted(table)} (id integer PRIMARY KEY)".encode())
    (outcome,) = watching.watch(db, [table])
    assert outcome.entity_type == entity_type


@each_kind
def test_entity_type_that_was_asked_for_may_be_any_text_without_slash_and_colon(db, changes, kind):
    db.execute("CREATE TABLE things (id integer PRIMARY KEY)")
    watch(db, "things", entity_type="o'ne \\ \"x\" %s $function$", capture=kind)
    db.execute("INSERT INTO things VALUES (1)")
    assert changes(db, "entity_type") == ["O'NE \\ \"X\" %S $FUNCTION$"]
    watching.unwatch(db, ["things"])
    db.execute("INSERT INTO things VALUES (2)")
    assert changes(db, "entity_id") == ["1"]


@pytest.mark.parametrize("entity_type", ["A/B", "A:B", " "])
def test_entity_type_that_a_job_id_could_not_hold_is_refused(db, entity_type):
    db.execute("CREATE TABLE things (id integer PRIMARY KEY)")
    with pytest.raises(LlamaLogError) as refusal:
        watch(db, "things", entity_type=entity_type)
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "22023",
        f'"{entity_type}" is no entity type',
        "Use letters, digits and _.",
    )


@pytest.mark.parametrize(
    "name",
    ["My Table", '"My Table"', 'Shop.My Table', '"Shop"."My Table"', 'Shop."My Table"'],
)
def test_table_is_found_as_sql_and_as_people_spell_it(db, name):
    db.execute('CREATE SCHEMA "Shop"; CREATE TABLE "Shop"."My Table" (id integer PRIMARY KEY)')
    if "Shop" not in name:
        db.execute('SET LOCAL search_path = "Shop", public')
    (outcome,) = watching.watch(db, [name])
    assert (outcome.entity_type, outcome.action) == ("MY_TABLE", "watched")


@each_kind
def test_table_outside_the_search_path_is_captured(db, changes, kind):
    db.execute("CREATE SCHEMA shop; CREATE TABLE shop.orders (id integer PRIMARY KEY, v text)")
    watch(db, "shop.orders", capture=kind)
    db.execute("INSERT INTO shop.orders VALUES (1, 'a'); UPDATE shop.orders SET v = 'b'")
    db.execute("TRUNCATE shop.orders")
    assert changes(db, "op, entity_type") == [("I", "ORDER"), ("U", "ORDER"), ("T", "ORDER")]


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


@each_kind
@pytest.mark.parametrize(("columns", "values", "entity_id"), KEYS)
def test_key_of_any_type_names_the_row(db, changes, kind, columns, values, entity_id):
    db.execute(
        "CREATE TYPE color AS ENUM ('red', 'dark red');"
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0);"
        "CREATE DOMAIN email AS text"
    )
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    db.execute(f"CREATE TABLE things ({columns}, v text, PRIMARY KEY ({names}))".encode())
    watch(db, "things", capture=kind)
    db.execute(
        "SET LOCAL TimeZone = 'Asia/Tokyo'; SET LOCAL DateStyle = 'German';"
        "SET LOCAL IntervalStyle = 'postgres'; SET LOCAL bytea_output = 'escape'"
    )
    db.execute(f"INSERT INTO things VALUES ({values}, 'a')".encode())
    db.execute("UPDATE things SET v = 'b'")
    db.execute("DELETE FROM things")
    db.execute(f"INSERT INTO things VALUES ({values}, 'a')".encode())
    db.execute("TRUNCATE things")
    assert changes(db, "op, entity_id, previous_id") == [
        (op, entity_id, None) for op in ("I", "U", "D", "I", "T")
    ]


@pytest.mark.parametrize(
    ("columns", "values", "entity_id"),
    [key for key in KEYS if not key[0].startswith("id interval")],
)
def test_entity_of_any_key_is_found_by_the_id_in_the_log(db, columns, values, entity_id):
    db.execute(
        "CREATE TYPE color AS ENUM ('red', 'dark red');"
        "CREATE DOMAIN positive AS integer CHECK (VALUE > 0);"
        "CREATE DOMAIN email AS text"
    )
    names = ", ".join(column.split()[0] for column in columns.split(", "))
    db.execute(f"CREATE TABLE things ({columns}, name text, PRIMARY KEY ({names}))".encode())
    watch(db, "things")
    db.execute(f"INSERT INTO things VALUES ({values}, 'it')".encode())
    assert db.execute(
        "SELECT entity_id, label, is_alive FROM llamalog.labels('THING', ARRAY[%s])", [entity_id]
    ).fetchall() == [(entity_id, "it", True)]


@each_kind
def test_numeric_keys_that_are_equal_name_the_same_entity(db, changes, kind):
    db.execute("CREATE TABLE things (id numeric PRIMARY KEY)")
    watch(db, "things", capture=kind)
    db.execute("INSERT INTO things VALUES (1.50)")
    db.execute("UPDATE things SET id = 1.500")
    assert changes(db, "entity_id, previous_id, after::text") == [
        ("1.5", None, None),
        ("1.5", None, '{"id": 1.500}'),
    ]


@each_kind
def test_key_longer_than_an_index_can_hold_is_cut_and_stays_unique(db, changes, kind):
    db.execute("CREATE TABLE things (id text PRIMARY KEY)")
    watch(db, "things", capture=kind)
    db.execute("INSERT INTO things VALUES (repeat('x', 2000) || 'a'), (repeat('x', 2000) || 'b')")
    db.execute("DELETE FROM things WHERE id LIKE '%a'")
    first, second, gone = changes(db, "entity_id")
    assert first[:460] == second[:460] == "x" * 460
    assert (len(first), len(second)) == (493, 493)
    assert gone == first != second


def test_unique_index_without_nulls_is_the_key_where_there_is_no_primary_key(db, changes):
    db.execute(
        "CREATE TABLE things (maybe integer UNIQUE, part integer NOT NULL, code text NOT NULL);"
        "CREATE UNIQUE INDEX ON things (part) WHERE part > 0;"
        "CREATE UNIQUE INDEX ON things (lower(code));"
        "CREATE UNIQUE INDEX ON things (code) INCLUDE (part)"
    )
    watch(db, "things")
    db.execute("INSERT INTO things VALUES (1, 2, 'x')")
    assert changes(db, "entity_id") == ["x"]


def test_replica_identity_index_is_the_key_before_other_unique_indexes(db, changes):
    db.execute(
        "CREATE TABLE things (a integer NOT NULL UNIQUE, b integer NOT NULL);"
        "CREATE UNIQUE INDEX b_key ON things (b);"
        "ALTER TABLE things REPLICA IDENTITY USING INDEX b_key"
    )
    watch(db, "things")
    db.execute("INSERT INTO things VALUES (1, 2)")
    assert changes(db, "entity_id") == ["2"]


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
        "Name the table with its schema, as shop.orders.",
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
    db, table, options, sqlstate, message, hint
):
    db.execute(SCENE)
    with pytest.raises(CannotWatch) as refusal:
        watch(db, table, **options)
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        sqlstate,
        message,
        hint,
    )
    assert registered(db, "table_name") == sorted(MUSIC, key=lambda name: name[:-1].upper())


def test_temporary_table_is_refused(db):
    db.execute(SCENE)
    with pytest.raises(CannotWatch, match="a_temporary is a temporary table") as refusal:
        watch(db, "a_temporary")
    assert (refusal.value.sqlstate, refusal.value.hint) == (
        "LL009",
        "It ends with the session; watch a lasting one.",
    )


def test_nothing_is_watched_when_one_of_several_tables_is_refused(db):
    db.execute(SCENE)
    with pytest.raises(CannotWatch):
        watch(db, "shops", "keyless")
    assert registered(db, "1", table_name="shops") == []
    assert db.execute(
        "SELECT tgname FROM pg_trigger WHERE tgrelid = 'shops'::regclass"
    ).fetchall() == []


def test_key_column_cannot_be_ignored(db):
    db.execute(SCENE)
    with pytest.raises(CannotWatch, match="column id of public.orders cannot be ignored"):
        watch(db, "orders", ignore=["id"])


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


def test_table_that_is_not_watched_cannot_be_unwatched(db):
    db.execute(SCENE)
    with pytest.raises(NotWatched) as refusal:
        watching.unwatch(db, ["shops"])
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "LL002",
        'table "shops" is not watched',
        "Run llamalog status to see what is.",
    )


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
            (SELECT array_agg(right_held::text ORDER BY right_held::text)
             FROM aclexplode(coalesce(class.relacl, acldefault('r', class.relowner))) AS right_held),
            (SELECT array_agg(pg_get_triggerdef(hung.oid) ORDER BY hung.tgname)
             FROM pg_trigger AS hung WHERE hung.tgrelid = class.oid),
            (SELECT array_agg(right_held::text ORDER BY right_held::text)
             FROM aclexplode(coalesce(namespace.nspacl, acldefault('n', namespace.nspowner))) AS right_held)
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
def test_unwatch_leaves_the_tables_as_they_were_and_keeps_their_history(db, changes, kind):
    db.execute(SHOP)
    before = table_as_it_is(db, "shop")
    functions = db.execute("SELECT count(*) FROM pg_proc").fetchone()
    watch(db, *SHOP_TABLES, capture=kind)
    db.execute("INSERT INTO shop.customers VALUES (1); INSERT INTO shop.events VALUES (1)")
    assert table_as_it_is(db, "shop") != before
    watching.unwatch(db, SHOP_TABLES)
    db.execute("INSERT INTO shop.customers VALUES (2); INSERT INTO shop.events VALUES (2)")
    db.execute("TRUNCATE shop.events, shop.customers, shop.orders, shop.base")
    assert table_as_it_is(db, "shop") == before
    assert db.execute("SELECT count(*) FROM pg_proc").fetchone() == functions
    assert changes(db, "entity_type, entity_id") == [("CUSTOMER", "1"), ("EVENT", "1")]
    assert db.execute("SELECT op FROM llamalog.history('customer', '1')").fetchall() == [("I",)]


def test_unwatch_of_one_table_leaves_its_neighbours_captured(db, changes):
    db.execute(SHOP)
    for table in SHOP_TABLES:
        watch(db, table)
    watching.unwatch(db, ["shop.customers"])
    db.execute("INSERT INTO shop.orders VALUES (1); INSERT INTO shop.events VALUES (2)")
    db.execute("TRUNCATE shop.orders, shop.events")
    assert changes(db, "op, entity_type, entity_id") == [
        ("I", "ORDER", "1"),
        ("I", "EVENT", "2"),
        ("T", "ORDER", "1"),
        ("T", "EVENT", "2"),
    ]


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
def test_script_run_by_hand_leaves_what_watching_leaves(db, kind):
    db.execute(SHOP)
    tables = ["shop.customers", "shop.orders", "shop.events"]
    look = (
        "SELECT p.proname, pg_get_userbyid(p.proowner) AS owner, p.proacl::text, md5(p.prosrc) AS body,"
        " p.prosecdef, p.proconfig FROM pg_proc AS p WHERE p.pronamespace = 'llamalog'::regnamespace"
        " ORDER BY p.proname, p.oid"
    )

    def left() -> list[Any]:
        return [
            table_as_it_is(db, "shop"),
            db.execute(look).fetchall(),
            registered(db, "entity_type, options, fingerprint, rendered, grants"),
            watching.drifted(db),
        ]

    with db.transaction(force_rollback=True):
        watch(db, *tables, capture=kind)
        watched = left()
    db.execute("".join(watching.script(db, tables, Options(capture=kind))).encode())
    assert left() == watched


def test_watching_keeps_the_role_that_the_session_had_taken(db):
    db.execute("CREATE ROLE deployer SUPERUSER; SET LOCAL ROLE deployer; CREATE TABLE t (id integer PRIMARY KEY)")
    watch(db, "t")
    assert db.execute("SELECT current_user").fetchone() == ("deployer",)
    watching.unwatch(db, ["t"])
    assert db.execute("SELECT current_user").fetchone() == ("deployer",)
    migrate.migrate(db)
    assert db.execute("SELECT current_user").fetchone() == ("deployer",)


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
    functions = "SELECT proname, md5(prosrc) AS body FROM pg_proc WHERE proname LIKE 'capture%' ORDER BY 1"
    rendered = db.execute(functions).fetchall()
    watching.unwatch(db, MUSIC)
    for table in order:
        watch(db, table)
    assert registered(db, everything) == at_once
    assert db.execute(functions).fetchall() == rendered


@pytest.mark.parametrize(
    "references",
    [
        "a_id integer REFERENCES a, b_id integer REFERENCES b, c_id integer REFERENCES c",
        "a_id integer REFERENCES a ON DELETE CASCADE, b_id integer REFERENCES b ON DELETE CASCADE,"
        " c_id integer REFERENCES c ON DELETE CASCADE",
    ],
)
def test_tables_that_refer_to_each_other_are_the_same_in_any_order(db, references):
    for name in ("a", "b", "c"):
        db.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY)")
    for name in ("a", "b", "c"):
        for reference in references.split(", "):
            db.execute(f"ALTER TABLE {name} ADD COLUMN {reference}")
    found = set()
    for order in permutations(["a", "b", "c"]):
        with db.transaction(force_rollback=True):
            for table in order:
                watch(db, table)
            found.add(str([row for row in kinds(db) if len(row[0]) == 1]))
        with db.transaction(force_rollback=True):
            watch(db, *order)
            found.add(str([row for row in kinds(db) if len(row[0]) == 1]))
    assert len(found) == 1


def test_part_belongs_to_the_table_whose_deletion_takes_it_along(db):
    db.execute(
        "CREATE TABLE shops (id integer PRIMARY KEY); CREATE TABLE customers (id integer PRIMARY KEY);"
        "CREATE TABLE orders (id integer PRIMARY KEY, shop_id integer NOT NULL REFERENCES shops,"
        " customer_id integer NOT NULL REFERENCES customers ON DELETE CASCADE)"
    )
    watch(db, "shops", "customers", "orders")
    assert registered(db, "related_type, related_columns", entity_type="ORDER") == [
        ("CUSTOMER", ["customer_id"])
    ]


@each_kind
def test_part_by_a_composite_foreign_key_names_its_whole_in_the_order_of_its_key(
    db, changes, kind
):
    db.execute(
        "CREATE TABLE shelves (room text, number integer, PRIMARY KEY (room, number));"
        "CREATE TABLE books (id integer PRIMARY KEY, n integer, r text,"
        " FOREIGN KEY (n, r) REFERENCES shelves (number, room))"
    )
    watch(db, "shelves", "books", capture=kind)
    db.execute("INSERT INTO shelves VALUES ('a,b', 1); INSERT INTO books VALUES (7, 1, 'a,b')")
    db.execute("UPDATE books SET n = NULL")
    columns = "op, entity_type, entity_id, related_type, related_id"
    assert changes(db, columns) == [
        ("I", "SHELF", "a\\,b,1", None, None),
        ("I", "BOOK", "7", "SHELF", "a\\,b,1"),
        ("U", "BOOK", "7", "SHELF", None),
    ]


def test_table_that_refers_to_itself_is_no_part_of_itself(db, changes):
    db.execute("CREATE TABLE nodes (id integer PRIMARY KEY, parent_id integer REFERENCES nodes)")
    watch(db, "nodes")
    assert registered(db, "is_link, related_type", entity_type="NODE") == [(False, None)]


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


def test_part_of_chooses_the_whole(db, changes):
    watch_orders(db, part_of="customer_id")
    assert changes(db, "related_type, related_id", entity_type="ORDER") == [("CUSTOMER", "2")]


def test_part_of_none_makes_a_head(db, changes):
    watch_orders(db, part_of="none")
    assert changes(db, "related_type, is_root_job", entity_type="ORDER") == [(None, True)]


def test_kind_link_makes_a_link_of_a_table_with_a_key_of_its_own(db, changes):
    watch_orders(db, kind="link")
    columns = "category, entity_type, entity_id, related_type, related_id"
    assert changes(db, columns, link_type="ORDER") == [("LINKED", "SHOP", "1", "CUSTOMER", "2")]


def test_kind_entity_makes_an_entity_of_a_link_table(db, new, changes):
    watch(db, "album_artists", kind="entity")
    album, artist = new.album(db), new.artist(db)
    new.link(db, album, artist)
    columns = "category, entity_id, related_type, related_id"
    assert changes(db, columns, entity_type="ALBUM_ARTIST") == [
        ("CREATED", f"{album},{artist},primary", "ALBUM", album)
    ]


def test_key_chooses_another_unique_index(db, changes):
    watch_orders(db, key=["code"])
    assert changes(db, "entity_id", entity_type="ORDER") == ["c7"]


def test_label_chooses_the_name(db):
    watch_orders(db, label="remark")
    assert db.execute("SELECT label FROM llamalog.labels('ORDER', '{7}')").fetchone() == ("R",)


def test_quality_and_source_choose_their_columns(db, changes):
    watch_orders(db, quality="grade", source="origin")
    assert changes(db, "data_quality_after, sources", entity_type="ORDER") == [("G", ["O"])]


def test_quality_and_source_can_be_switched_off(db, new, changes):
    watch(db, "artists", quality="none", source="none")
    new.artist(db)
    assert changes(db, "data_quality_after, sources") == [(None, None)]


def test_ignore_adds_to_what_is_ignored_anyway(db, changes):
    watch_orders(db, ignore=["remark"])
    db.execute("UPDATE orders SET remark = 'x', updated_at = now()")
    db.execute("UPDATE orders SET remark = 'y', title = 'z'")
    assert changes(db, "fields_enriched, after", entity_type="ORDER", op="U") == [
        (["title"], {"title": "z"})
    ]


def test_options_are_remembered_until_they_are_given_anew(db):
    watch_orders(db, ignore=["remark"], label="remark", image="full")
    watch(db, "orders")
    watch(db, "orders", image="none")
    columns = "ignored_columns, label_column, image"
    assert registered(db, columns, entity_type="ORDER") == [
        (["remark", "updated_at"], "remark", "none")
    ]


def test_one_entity_type_for_several_tables_is_a_misuse(db):
    db.execute(ORDERS)
    with pytest.raises(LlamaLogError) as refusal:
        watch(db, "shops", "customers", entity_type="X")
    assert (refusal.value.sqlstate, str(refusal.value), refusal.value.hint) == (
        "22023",
        "one entity type for several tables",
        "Watch them one at a time.",
    )


# -- families ---------------------------------------------------------------------------------------------------------


def test_rows_of_inheriting_tables_are_captured_with_the_columns_they_add(db, changes):
    db.execute(SHOP)
    watch(db, "shop.base", image="full")
    db.execute("INSERT INTO shop.base VALUES (1); INSERT INTO shop.derived VALUES (2, 'x')")
    db.execute("UPDATE shop.base SET id = id + 10")
    db.execute("UPDATE shop.derived SET extra = 'y'")
    db.execute("DELETE FROM shop.base WHERE id = 12")
    db.execute("TRUNCATE shop.base")
    assert changes(db, "op, entity_type, entity_id, before, after") == [
        ("I", "BASE", "1", None, {"id": 1}),
        ("I", "BASE", "2", None, {"id": 2, "extra": "x"}),
        ("U", "BASE", "11", {"id": 1}, {"id": 11}),
        ("U", "BASE", "12", {"id": 2}, {"id": 12}),
        ("U", "BASE", "12", {"extra": "x"}, {"extra": "y"}),
        ("D", "BASE", "12", {"id": 12, "extra": "y"}, None),
        ("T", "BASE", "11", {"id": 11}, None),
    ]


@each_kind
def test_partitions_made_and_attached_later_are_captured(db, changes, kind):
    db.execute(SHOP)
    watch(db, "shop.events", capture=kind)
    db.execute(
        "CREATE TABLE shop.events_mid PARTITION OF shop.events FOR VALUES FROM (10) TO (20)"
        " PARTITION BY RANGE (id);"
        "CREATE TABLE shop.events_mid_all PARTITION OF shop.events_mid DEFAULT;"
        "CREATE TABLE shop.events_high (id integer PRIMARY KEY);"
        "ALTER TABLE shop.events ATTACH PARTITION shop.events_high FOR VALUES FROM (20) TO (30)"
    )
    db.execute("INSERT INTO shop.events VALUES (1), (11), (21)")
    db.execute("INSERT INTO shop.events_mid_all VALUES (12)")
    db.execute("UPDATE shop.events_high SET id = 22")
    db.execute("DELETE FROM shop.events_mid WHERE id = 11")
    db.execute("TRUNCATE shop.events_mid_all")
    db.execute("TRUNCATE shop.events_high")
    db.execute("TRUNCATE shop.events")
    assert changes(db, "op, entity_type, entity_id") == [
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


# -- wide and narrow --------------------------------------------------------------------------------------------------


@each_kind
def test_table_of_300_columns_is_captured(db, changes, kind):
    names = [f"c{number:03}" for number in range(1, 300)]
    columns = ", ".join(f"{name} {'jsonb' if name[-1] in '12' else 'text'}" for name in names)
    db.execute(f"CREATE TABLE wide (id integer PRIMARY KEY, {columns})")
    watch(db, "wide", capture=kind, image="full")
    db.execute("INSERT INTO wide (id, c001, c299) VALUES (1, '{}', 'last')")
    db.execute("UPDATE wide SET c298 = 'x', c002 = '[]'")
    db.execute("DELETE FROM wide")
    nulls = dict.fromkeys(names)
    row = {"id": 1, **nulls, "c001": {}, "c299": "last"}
    assert changes(db, "fields_enriched, before, after") == [
        (["id", "c001", "c299"], None, row),
        (["c002", "c298"], {"c002": None, "c298": None}, {"c002": [], "c298": "x"}),
        (None, {**row, "c298": "x", "c002": []}, None),
    ]


@each_kind
def test_table_of_nothing_but_its_key_is_captured(db, changes, kind):
    db.execute("CREATE TABLE tags (name text PRIMARY KEY)")
    watch(db, "tags", capture=kind)
    db.execute("INSERT INTO tags VALUES ('a')")
    db.execute("UPDATE tags SET name = name")
    db.execute("UPDATE tags SET name = 'b'")
    db.execute("DELETE FROM tags")
    assert changes(db, "op, entity_id, previous_id, before, after") == [
        ("I", "a", None, None, None),
        ("U", "b", "a", {"name": "a"}, {"name": "b"}),
        ("D", "b", None, {"name": "b"}, None),
    ]


@each_kind
def test_table_whose_other_columns_are_all_ignored_is_captured(db, changes, kind):
    db.execute("CREATE TABLE tags (name text PRIMARY KEY, updated_at timestamptz)")
    watch(db, "tags", capture=kind)
    db.execute("INSERT INTO tags VALUES ('a')")
    db.execute("UPDATE tags SET updated_at = now()")
    db.execute("DELETE FROM tags")
    assert changes(db, "op, fields_enriched, before ->> 'name'") == [
        ("I", ["name"], None),
        ("D", None, "a"),
    ]
