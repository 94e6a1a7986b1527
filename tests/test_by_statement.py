"""Capture by statement: all rows of an UPDATE at once, each as if captured alone, in the order of the writes."""

from __future__ import annotations

import pytest
from conftest import default

from llamalog_sql import watching
from llamalog_sql.errors import CannotWatch
from llamalog_sql.watching import Options

BY_STATEMENT = Options(capture="statement")

ORDERS = """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN humour AS mood;
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TABLE orders (
    id integer, place text, n positive DEFAULT 1, "Mood" mood DEFAULT 'sad', tags text[], doc jsonb, weight float8,
    note text, humour humour, old_row text, new_row text, image text, double positive GENERATED ALWAYS AS (n * 2) STORED,
    updated_at timestamptz DEFAULT now(), PRIMARY KEY (id, place)
);
INSERT INTO orders (id, place) SELECT n, 'p' || n % 3 FROM generate_series(1, 50) AS n
"""


def changes(conn, since=0):
    return conn.execute(
        "SELECT op, category, entity_id, previous_id, fields_enriched, before, after FROM llamalog.log"
        " WHERE seq > %s ORDER BY seq",
        [since],
    ).fetchall()


def top(conn):
    return conn.execute("SELECT coalesce(max(seq), 0) FROM llamalog.log").fetchone()[0]


@pytest.fixture
def orders(db):
    db.execute(ORDERS)
    watching.watch(db, ["orders"], BY_STATEMENT)
    return db


@pytest.mark.parametrize(
    "write",
    [
        "UPDATE orders SET n = n + 1",
        "UPDATE orders SET n = n",
        "UPDATE orders SET updated_at = now()",
        "UPDATE orders SET note = 'x' WHERE id = 7",
        "UPDATE orders SET note = 'x' WHERE false",
        "UPDATE orders SET \"Mood\" = 'glad', tags = '{a,NULL}', weight = '-0' WHERE id < 9",
        "UPDATE orders SET doc = CASE id WHEN 1 THEN 'null'::jsonb WHEN 2 THEN '{\"a\": 1.0}' END",
        "UPDATE orders SET old_row = 'a', new_row = 'b', image = 'c' WHERE id % 2 = 0",
        "UPDATE orders SET tags = '{a}'; UPDATE orders SET tags = (ARRAY[NULL, 'a'])[2:2], humour = CASE WHEN id < 3 THEN 'sad' END::mood",
        "UPDATE orders SET place = place || 'x'",
        "UPDATE orders SET id = id + 1000",
        "UPDATE orders SET place = 'q' WHERE id = 3",
        "MERGE INTO orders AS o USING generate_series(40, 60) AS s (id) ON o.id = s.id"
        " WHEN MATCHED AND s.id < 45 THEN DELETE WHEN MATCHED THEN UPDATE SET note = 'merged'"
        " WHEN NOT MATCHED THEN INSERT (id, place) VALUES (s.id, 'new')",
        "INSERT INTO orders (id, place) SELECT n, 'p' || n % 3 FROM generate_series(45, 55) AS n"
        " ON CONFLICT (id, place) DO UPDATE SET note = 'again', n = orders.n + 1",
        "WITH gone AS (DELETE FROM orders WHERE id < 5 RETURNING *) UPDATE orders SET note = 'y' WHERE id IN (10, 11)",
    ],
)
def test_rows_are_those_that_capture_by_row_writes(db, write):
    found = []
    for options in (Options(), BY_STATEMENT):
        with db.transaction(force_rollback=True):
            db.execute(ORDERS)
            watching.watch(db, ["orders"], options)
            before = top(db)
            db.execute(write)
            found.append(sorted(map(repr, changes(db, before))))
    assert found[0] == found[1]


def test_context_of_the_statement_is_in_each_of_its_rows(orders):
    orders.execute(
        "SELECT llamalog.set_context(source => 'admin_correction', job_id => 'j', user_id => 'mia', reason => 'why not')"
    )
    orders.execute("UPDATE orders SET note = 'x' WHERE id < 4")
    assert orders.execute(
        "SELECT DISTINCT category, source, job_id, root_job_id, user_id, reason, operation FROM llamalog.log WHERE op = 'U'"
    ).fetchall() == [
        (
            "CORRECTED",
            "admin_correction",
            "j",
            "j",
            "mia",
            "why not",
            "order:corrected:admin_correction",
        )
    ]


def test_keys_that_rows_exchange_are_paired_with_their_rows(db):
    db.execute(
        "CREATE TABLE seats (id integer PRIMARY KEY DEFERRABLE, guest text);"
        "INSERT INTO seats VALUES (1, 'ann'), (2, 'ben')"
    )
    watching.watch(db, ["seats"], BY_STATEMENT)
    db.execute("UPDATE seats SET id = 3 - id")
    assert [(c.entity_id, c.previous_id, c.before, c.after) for c in changes(db)] == [
        ("2", "1", {"id": 1}, {"id": 2}),
        ("1", "2", {"id": 2}, {"id": 1}),
    ]


def test_row_that_a_foreign_key_writes_again_is_logged_twice_in_order(database):
    database.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY);"
        "CREATE TABLE books (id integer PRIMARY KEY, shelf integer REFERENCES shelves ON UPDATE CASCADE ON DELETE SET NULL,"
        " title text, filler text DEFAULT repeat('x', 500));"
        "INSERT INTO shelves VALUES (1), (2);"
        "INSERT INTO books SELECT n, 1, 'a' FROM generate_series(1, 2000) AS n"
    )
    watching.watch(database, ["shelves", "books"], BY_STATEMENT)
    database.execute(
        "WITH moved AS (UPDATE shelves SET id = 3 WHERE id = 1) UPDATE books SET title = 'b'"
    )
    found = database.execute(
        "SELECT entity_id, array_agg(after ORDER BY seq) AS after FROM llamalog.log WHERE entity_type = 'BOOK'"
        " GROUP BY entity_id"
    ).fetchall()
    assert len(found) == 2000
    assert {repr(row.after) for row in found} == {"[{'title': 'b'}, {'shelf': 3}]"}


def test_table_with_more_columns_than_a_join_of_both_rows_may_have(db):
    columns = ", ".join(f"c{n} integer" for n in range(1, 1000))
    db.execute(f"CREATE TABLE wide (id integer PRIMARY KEY, {columns})".encode())
    db.execute("INSERT INTO wide (id) VALUES (1), (2)")
    watching.watch(db, ["wide"], BY_STATEMENT)
    db.execute("UPDATE wide SET c500 = id")
    assert [(c.entity_id, c.after) for c in changes(db)] == [("1", {"c500": 1}), ("2", {"c500": 2})]


def test_drop_of_a_column_leaves_the_tolerant_capture_until_migrate(orders):
    orders.execute("ALTER TABLE orders DROP COLUMN note, ADD COLUMN remark text")
    kind = "SELECT capture FROM llamalog.watches WHERE entity_type = 'ORDER'"
    assert orders.execute(kind).fetchone() == ("tolerant",)
    orders.execute("UPDATE orders SET remark = 'x' WHERE id < 3")
    watching.watch(orders, ["orders"])
    assert orders.execute(kind).fetchone() == ("statement",)
    orders.execute("UPDATE orders SET remark = 'y' WHERE id < 3")
    assert [c.after for c in changes(orders)] == [{"remark": "x"}] * 2 + [{"remark": "y"}] * 2


@pytest.mark.parametrize(
    ("setup", "why"),
    [
        ("CREATE TABLE t (id integer PRIMARY KEY) PARTITION BY RANGE (id)", "partitions or heirs"),
        (
            "CREATE TABLE t (id integer PRIMARY KEY); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS"
            " 'BEGIN RETURN NULL; END'; CREATE TRIGGER f AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION f()",
            "AFTER triggers",
        ),
    ],
)
@default("capture")
def test_refused_where_the_order_of_the_writes_would_be_lost(db, setup, why):
    db.execute(setup)
    with pytest.raises(CannotWatch, match=why):
        watching.watch(db, ["t"], BY_STATEMENT)


def test_by_row_again_once_the_application_has_a_trigger(orders):
    orders.execute(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER f AFTER UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION f()"
    )
    watching.watch(orders, ["albums"])
    kind = "SELECT capture FROM llamalog.watches WHERE entity_type = 'ORDER'"
    assert orders.execute(kind).fetchone() == ("rendered",)
    orders.execute("UPDATE orders SET note = 'x'")
    assert len(changes(orders)) == 50
