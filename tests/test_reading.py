"""What a question reads: the living row, by the function rendered for its table, and whatever the table is by now."""

from __future__ import annotations

import psycopg
import pytest

from llamalog_sql import migrate, queries, watching
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


def readers(db, kind="read"):
    return db.execute(
        "SELECT string_agg(proname, ' ' ORDER BY proname) FROM pg_proc"
        " WHERE pronamespace = 'llamalog'::regnamespace AND proname LIKE %s || '\\_%%'",
        [kind],
    ).fetchone()[0]


def labels(db, entity_type, *entity_ids):
    return sorted(
        db.execute("SELECT * FROM llamalog.labels(%s, %s)", [entity_type, [*entity_ids]]).fetchall()
    )


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


def test_labels_are_read_by_the_function_rendered_for_their_table(each_db):
    db = each_db
    watched(db, PRICES, "prices", options=Options(label="note"))
    db.execute(
        "INSERT INTO prices VALUES (1, 1, 'a'), (2, 2, NULL), (3, 3, 'c'); DELETE FROM prices WHERE id = 3"
    )
    expected = [("1", "a", True), ("2", None, True), ("3", "c", False)]
    assert labels(db, "PRICE", "1", "2", "3", "4") == expected
    db.execute(
        "CREATE OR REPLACE FUNCTION llamalog.labels_price(entity_ids text[], shape text,"
        " OUT is_current boolean, OUT ids text[], OUT labels text[])"
        " LANGUAGE sql AS $$SELECT true, '{1}'::text[], '{rendered}'::text[]$$"
    )
    assert labels(db, "PRICE", "1", "2") == [("1", "rendered", True)]


@pytest.mark.parametrize(
    ("change", "label"),
    [
        ("RENAME COLUMN note TO remark", None),
        (
            "RENAME COLUMN note TO remark; ALTER TABLE prices ADD COLUMN note text DEFAULT 'new'",
            "new",
        ),
        ("ALTER COLUMN note TYPE text[] USING ARRAY[note]", "{a}"),
        ("DROP COLUMN note", None),
    ],
)
def test_labels_of_a_table_that_is_another_by_now_are_read_as_it_is(db, change, label):
    watched(db, PRICES, "prices", options=Options(label="note"))
    db.execute("INSERT INTO prices VALUES (1, 1, 'a')")
    assert labels(db, "PRICE", "1") == [("1", "a", True)]
    without_event_triggers(db)
    db.execute(f"ALTER TABLE prices {change}")
    assert labels(db, "PRICE", "1") == [("1", label, True)]


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
    assert labels(db, entity_type, entity_id) == [(entity_id, None, True)]
    (label_name,) = (n for n in readers(db, "labels").split() if len(n) == 39)
    db.execute(
        f"DROP FUNCTION llamalog.{name}(text, text); DROP FUNCTION llamalog.{label_name}(text[], text)"
    )
    assert now(db, entity_type, entity_id) == expected
    assert labels(db, entity_type, entity_id) == [(entity_id, None, True)]


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


# -- changes of keys --------------------------------------------------------------------------------------------------


def lacking(db):
    """The changes of keys that the log has and llamalog.renamings lacks."""
    return db.execute(
        "SELECT entity_type, previous_id, entity_id FROM llamalog.log WHERE previous_id IS NOT NULL"
        " EXCEPT SELECT entity_type, old_id, new_id FROM llamalog.renamings"
    ).fetchall()


def renamings(db):
    return db.execute("SELECT entity_type, old_id, new_id FROM llamalog.renamings").fetchall()


def story(db, entity_type, entity_id):
    return [change.category for change in queries.history(db, entity_type, entity_id)]


@pytest.mark.parametrize("capture", ["rendered", "statement", "tolerant"])
def test_every_change_of_a_key_is_kept(db, new, capture):
    watched(
        db,
        "CREATE TABLE pages (id integer PRIMARY KEY DEFERRABLE, name text);"
        " CREATE TABLE books (id integer PRIMARY KEY); CREATE TABLE words (id integer PRIMARY KEY);"
        " CREATE TABLE book_words (id integer PRIMARY KEY, book_id integer REFERENCES books,"
        " word_id integer NOT NULL REFERENCES words, UNIQUE (word_id, book_id))",
        *("pages", "books", "words", "book_words", "albums", "artists", "album_artists"),
        options=Options(capture=capture),
    )
    db.execute("INSERT INTO pages VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    db.execute("UPDATE pages SET name = 'd'")
    assert renamings(db) == []
    db.execute("UPDATE pages SET id = 4 WHERE id = 3")
    assert renamings(db) == [("PAGE", "3", "4")]
    db.execute("UPDATE pages SET id = 3 - id, name = 'e' WHERE id < 3")
    assert {("PAGE", "1", "2"), ("PAGE", "2", "1")} < set(renamings(db))
    album, other = new.album(db), new.album(db, "Kid A")
    new.link(db, album, new.artist(db))
    db.execute("UPDATE album_artists SET album_id = %s", [other])
    db.execute("UPDATE album_artists SET artist_id = %s", [new.artist(db, "Thom Yorke")])
    db.execute("INSERT INTO books VALUES (1); INSERT INTO words VALUES (1)")
    db.execute("INSERT INTO book_words VALUES (1, 1, 1)")
    db.execute("UPDATE book_words SET book_id = NULL")  # perhaps the end that it is logged on
    assert lacking(db) == []
    assert len(renamings(db)) >= 5
    assert story(db, "PAGE", "4") == story(db, "PAGE", "3") == ["UPDATED", "UPDATED", "CREATED"]


@pytest.mark.parametrize("capture", ["rendered", "tolerant"])
def test_a_key_that_changes_with_the_partition_is_kept(db, capture):
    watched(
        db,
        "CREATE TABLE sales (region text, id integer, PRIMARY KEY (region, id)) PARTITION BY LIST (region);"
        " CREATE TABLE eu PARTITION OF sales FOR VALUES IN ('eu');"
        " CREATE TABLE us PARTITION OF sales FOR VALUES IN ('us')",
        "sales",
        options=Options(capture=capture),
    )
    db.execute("INSERT INTO sales VALUES ('eu', 1)")
    db.execute("UPDATE sales SET region = 'us'")
    assert renamings(db) == [("SALE", "eu,1", "us,1")]
    assert story(db, "SALE", "us,1") == story(db, "SALE", "eu,1") == ["UPDATED", "CREATED"]
    db.execute("DELETE FROM sales")
    assert story(db, "SALE", "us,1") == ["DELETED", "UPDATED", "CREATED"]


def test_what_the_log_knows_of_keys_is_found_again(db):
    watched(db, PRICES, "prices")
    db.execute("INSERT INTO prices VALUES (1)")
    db.execute("UPDATE prices SET id = 2")
    db.execute("DELETE FROM llamalog.renamings")
    assert story(db, "PRICE", "2") == ["UPDATED"]
    db.execute("SELECT llamalog.maintain()")
    assert renamings(db) == [("PRICE", "1", "2")]
    assert story(db, "PRICE", "2") == ["UPDATED", "CREATED"]
    assert db.execute("SELECT llamalog.fill_renamings()").fetchone() == (0,)


def test_nobody_but_capture_writes_changes_of_keys(db):
    db.execute("CREATE ROLE clerk; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO clerk")
    db.execute("SET ROLE clerk")
    for statement in (
        "INSERT INTO llamalog.renamings VALUES ('A', '1', '2')",
        "DELETE FROM llamalog.renamings",
        "SELECT llamalog.fill_renamings()",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute(statement)
    assert db.execute("SELECT llamalog.was_renamed('{1}')").fetchone() == (False,)


def test_who_could_read_the_log_may_read_its_changes_of_keys_after_the_migration(db):
    db.execute("CREATE ROLE clerk; CREATE ROLE by_default; GRANT SELECT ON llamalog.log TO clerk")
    ((me,),) = db.execute("SELECT current_user").fetchall()
    db.execute(f'ALTER DEFAULT PRIVILEGES FOR ROLE "{me}" GRANT ALL ON TABLES TO by_default')
    migration = migrate.sql_directory() / "migrations" / "0008_renamings"
    db.execute(migration.with_suffix(".rollback.sql").read_text())
    db.execute(migration.with_suffix(".sql").read_text())
    rights = db.execute(
        "SELECT role, has_table_privilege(role, 'llamalog.renamings', privilege)"
        " FROM unnest('{clerk,by_default}'::text[]) AS role, unnest('{SELECT,INSERT}'::text[]) AS privilege"
    ).fetchall()
    assert rights == [
        ("clerk", True), ("clerk", False), ("by_default", False), ("by_default", False),
    ]  # fmt: skip


def test_a_job_that_moved_a_row_of_another_entity_with_the_same_id_shows_one_move(db):
    watched(
        db,
        "CREATE TABLE customers (id integer PRIMARY KEY); CREATE TABLE orders (id integer PRIMARY KEY);"
        " CREATE TABLE tags (id integer PRIMARY KEY);"
        " CREATE TABLE order_tags (order_id integer REFERENCES orders, tag_id integer REFERENCES tags, role text,"
        " PRIMARY KEY (order_id, tag_id, role)) PARTITION BY LIST (role);"
        " CREATE TABLE first_tags PARTITION OF order_tags FOR VALUES IN ('first');"
        " CREATE TABLE other_tags PARTITION OF order_tags FOR VALUES IN ('other')",
        *("customers", "orders", "tags", "order_tags"),
    )
    db.execute(
        "INSERT INTO llamalog.source_paths VALUES ('addCustomer', 'CREATED', 'CUSTOMER', 'one', '')"
    )
    db.execute("SELECT llamalog.set_context(source => 'addCustomer', job_id => 'J')")
    db.execute("INSERT INTO customers VALUES (1); INSERT INTO orders VALUES (1)")
    db.execute("INSERT INTO tags VALUES (1); INSERT INTO order_tags VALUES (1, 1, 'first')")
    db.execute("UPDATE order_tags SET role = 'other'")
    db.execute("DELETE FROM customers")
    assert db.execute("SELECT count(*) FROM llamalog.log WHERE op = 'D'").fetchone() == (2,)
    found = [
        (change.entity_type, change.link_type, change.category)
        for change in queries.chain(db, "CUSTOMER", "1").logs
    ]
    assert found == [
        ("CUSTOMER", None, "CREATED"),
        ("ORDER", None, "CREATED"),
        ("TAG", None, "CREATED"),
        ("ORDER", "ORDER_TAG", "LINKED"),
        ("ORDER", "ORDER_TAG", "UPDATED"),
        ("CUSTOMER", None, "DELETED"),
    ]
