"""What a question reads: the living row, by the function rendered for its table, and whatever the table is by now."""

from __future__ import annotations

import psycopg
import pytest

from llamalog_sql import queries, watching
from llamalog_sql.errors import LlamaLogError
from llamalog_sql.watching import Options

PRICES = 'CREATE TABLE prices (id integer PRIMARY KEY, "the amount" numeric, note text)'


def watched(db, statement, *names, options=None):
    db.execute(statement)
    watching.watch(db, list(names), options or Options())


def now(db, entity_type, entity_id):
    """The row as it is now, as the log knows it."""
    ((at,),) = db.execute("SELECT clock_timestamp()").fetchall()
    return queries.as_of(db, entity_type, entity_id, at)


def readers(db):
    return db.execute(
        "SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc"
        " WHERE pronamespace = 'llamalog'::regnamespace AND proname LIKE 'read\\_%'"
    ).fetchone()[0]


def without_event_triggers(db):
    db.execute("ALTER EVENT TRIGGER llamalog_ddl DISABLE")
    db.execute("ALTER EVENT TRIGGER llamalog_drop DISABLE")


def test_the_row_is_read_by_the_function_rendered_for_its_table(each_db):
    db = each_db
    watched(db, PRICES, "prices")
    db.execute("INSERT INTO prices VALUES (1, 1.00, 'a')")
    assert db.execute(
        "SELECT read.is_current, read.image FROM llamalog.watches AS watch,"
        " llamalog.read_price('1', llamalog.reader_shape('prices'::regclass, watch.key_columns,"
        " watch.ignored_columns || watch.redacted_columns)) AS read WHERE watch.entity_type = 'PRICE'"
    ).fetchall() == [(True, {"id": 1, "the amount": 1.00, "note": "a"})]
    db.execute(
        "CREATE OR REPLACE FUNCTION llamalog.read_price(entity_id text, shape text, OUT is_current boolean, OUT image jsonb)"
        " LANGUAGE sql AS $$SELECT true, '{\"id\": 7}'::jsonb$$"
    )
    assert now(db, "PRICE", "1") == {"id": 7}


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("ADD COLUMN colour text DEFAULT 'red'", {"the amount": 1, "note": "a", "colour": "red"}),
        ("DROP COLUMN note", {"the amount": 1}),
        ("RENAME COLUMN note TO remark", {"the amount": 1, "remark": "a"}),
        ("ALTER COLUMN note TYPE text[] USING ARRAY[note]", {"the amount": 1, "note": ["a"]}),
        ('ALTER COLUMN "the amount" TYPE float8', {"the amount": 1, "note": "a"}),
        ("RENAME TO costs", {"the amount": 1, "note": "a"}),
    ],
)
@pytest.mark.parametrize("is_noticed", [True, False])
def test_a_table_that_is_another_by_now_is_read_as_it_is(db, change, row, is_noticed):
    watched(db, PRICES, "prices")
    db.execute("INSERT INTO prices VALUES (1, 1, 'a')")
    assert now(db, "PRICE", "1") == {"id": 1, "the amount": 1, "note": "a"}
    if not is_noticed:
        without_event_triggers(db)
    db.execute(f"ALTER TABLE prices {change}")
    if "RENAME TO" in change:
        db.execute(PRICES)
        db.execute("INSERT INTO prices VALUES (1, 2, 'of another table')")
        if not is_noticed:
            row = {"the amount": 2, "note": "of another table"}  # as the registry says
    assert now(db, "PRICE", "1") == {"id": 1, **row}
    watching.refresh(db)
    assert (
        now(db, "PRICE", "1") == {"id": 1, "the amount": 1, "note": "a", **row}
        if ("ADD" in change)
        else {"id": 1, **row}
    )


def test_what_is_redacted_later_is_read_no_more(db):
    watched(db, PRICES, "prices")
    db.execute("INSERT INTO prices VALUES (1, 1, 'secret')")
    watching.watch(db, ["prices"], Options(redact=["note"]))
    assert now(db, "PRICE", "1") == {"id": 1, "the amount": 1}
    db.execute("UPDATE llamalog.watches SET redacted_columns = '{}' WHERE entity_type = 'PRICE'")
    assert now(db, "PRICE", "1") == {"id": 1, "the amount": 1, "note": "secret"}


def test_odd_tables_have_readers_too(db):
    watched(
        db,
        """
        CREATE TYPE "Mood" AS ENUM ('glad', 'so, so');
        CREATE DOMAIN points AS integer;
        CREATE TABLE "Odd ""one" (
            "Part" text, number points, moods "Mood"[], "$1" text, "live" text,
            twice integer GENERATED ALWAYS AS (2) STORED, updated_at timestamptz, PRIMARY KEY ("Part", number)
        ) PARTITION BY LIST (number);
        CREATE TABLE odd_ones PARTITION OF "Odd ""one" FOR VALUES IN (1);
        CREATE TABLE keyless (a integer)
        """,
        '"Odd ""one"',
        options=Options(entity_type="Ärgerliche Dinge, deren Name zu lang für eine Funktion ist"),
    )
    (name,) = (n for n in readers(db).split() if len(n) == 37)
    db.execute(
        "INSERT INTO \"Odd \"\"one\" VALUES ('a,b', 1, '{glad}', '$2', 'alive', DEFAULT, now())"
    )
    ((entity_type, entity_id),) = db.execute(
        "SELECT entity_type, entity_id FROM llamalog.log"
    ).fetchall()
    expected = {"Part": "a,b", "number": 1, "moods": ["glad"], "$1": "$2", "live": "alive"}
    assert now(db, entity_type, entity_id) == expected
    db.execute(f"DROP FUNCTION llamalog.{name}(text, text)")
    assert now(db, entity_type, entity_id) == expected


def test_a_reader_reads_with_the_rights_of_the_caller(db):
    watched(db, PRICES, "prices")
    db.execute("INSERT INTO prices VALUES (1, 1, 'a'), (2, 2, 'b')")
    db.execute("CREATE ROLE reader; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO reader")
    db.execute("SET ROLE reader")
    with pytest.raises(LlamaLogError) as refused, db.transaction():
        now(db, "PRICE", "1")
    assert refused.value.sqlstate == "42501"
    db.execute("RESET ROLE")
    db.execute("GRANT SELECT ON prices TO reader; ALTER TABLE prices ENABLE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY own ON prices USING (id = 2)")
    assert now(db, "PRICE", "1") == {"id": 1, "the amount": 1, "note": "a"}
    db.execute("SET ROLE reader")
    assert now(db, "PRICE", "2") == {"id": 2, "the amount": 2, "note": "b"}
    with pytest.raises(LlamaLogError) as hidden, db.transaction():
        now(db, "PRICE", "1")
    assert hidden.value.sqlstate == "LL016"
    db.execute("RESET ROLE; REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA llamalog FROM PUBLIC")
    db.execute(
        "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA llamalog TO reader;"
        " REVOKE EXECUTE ON FUNCTION llamalog.read_price(text, text) FROM reader; SET ROLE reader"
    )
    assert now(db, "PRICE", "2") == {"id": 2, "the amount": 2, "note": "b"}


def test_a_reader_goes_with_the_watch(db):
    watched(db, PRICES, "prices")
    assert readers(db) == "read_album read_artist read_price read_track"
    watching.unwatch(db, ["prices"])
    assert readers(db) == "read_album read_artist read_track"
    with pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("SELECT llamalog.read_price('1', '')")
