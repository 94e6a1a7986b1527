"""The tolerant capture keeps its queries, and they serve no other columns and no other watch than they were made for."""

from __future__ import annotations

import psycopg
import pytest

from llamalog_sql import migrate, watching
from llamalog_sql.errors import NotWatched
from llamalog_sql.watching import Options

THINGS = """
CREATE DOMAIN price AS numeric;
CREATE TABLE things (id integer PRIMARY KEY, name text, email text, price price, tags text[], updated_at timestamptz);
"""


def kept(conn):
    """How many tables' shapes have queries, by type."""
    return dict(
        conn.execute(
            "SELECT entity_type, count(*) FROM llamalog.row_queries GROUP BY 1 ORDER BY 1"
        ).fetchall()
    )


def last(conn):
    return conn.execute(
        "SELECT op, entity_id, fields_enriched, before, after FROM llamalog.log ORDER BY seq DESC LIMIT 1"
    ).fetchone()


def texts(conn):
    return [row[0] for row in conn.execute("SELECT log::text FROM llamalog.log AS log").fetchall()]


@pytest.fixture
def things(db):
    """A table with queries kept for it, in a database where nothing follows its changes."""
    db.execute("DROP EVENT TRIGGER llamalog_ddl; DROP EVENT TRIGGER llamalog_drop")
    db.execute(THINGS)
    watching.watch(db, ["things"], Options(capture="tolerant", image="full", redact=["email"]))
    db.execute("INSERT INTO things VALUES (1, 'a', 'SECRET 1', 1)")
    db.execute("UPDATE things SET name = 'b'")
    assert kept(db) == {"THING": 1}
    return db


def test_queries_are_made_once(things):
    before = things.execute("SELECT ctid, xmin, row_queries FROM llamalog.row_queries").fetchall()
    things.execute("INSERT INTO things SELECT n FROM generate_series(2, 9) AS n")
    things.execute("UPDATE things SET name = id::text; DELETE FROM things")
    after = things.execute("SELECT ctid, xmin, row_queries FROM llamalog.row_queries").fetchall()
    assert after == before


@pytest.mark.parametrize(
    ("ddl", "write", "logged"),
    [
        ("ADD extra text", "extra = 'x'", (["extra"], {"extra": None}, {"extra": "x"})),
        ("DROP tags", "name = 'c'", (["name"], {"name": "b"}, {"name": "c"})),
        ("RENAME name TO title", "title = 'c'", (["title"], {"title": "b"}, {"title": "c"})),
        (
            "ALTER price TYPE text USING price || ' EUR'",
            "price = '2'",
            (["price"], {"price": "1 EUR"}, {"price": "2"}),
        ),
        (
            "DROP name, ADD name integer[] DEFAULT '{1}'",
            "name = '{2}'",
            (["name"], {"name": [1]}, {"name": [2]}),
        ),
        (
            "RENAME email TO mail",
            "mail = 'SECRET 2'",
            (["mail"], {"mail": "[redacted]"}, {"mail": "[redacted]"}),
        ),
        (
            "ADD twice numeric GENERATED ALWAYS AS (price * 2) STORED",
            "price = 3",
            (["price"], {"price": 1}, {"price": 3}),
        ),
        (
            "RENAME id TO number",
            "name = 'c'",
            (["name"], {"name": "b"}, {"name": "c"}),
        ),
    ],
)
def test_the_next_write_after_a_change_of_the_table_is_logged_right(things, ddl, write, logged):
    things.execute(f"ALTER TABLE things {ddl}".encode())
    for _ in range(2):
        with things.transaction(force_rollback=True):
            things.execute(f"UPDATE things SET {write}".encode())
            assert last(things) == ("U", "1", *logged)
    things.execute(f"UPDATE things SET {write}".encode())
    assert last(things) == ("U", "1", *logged)
    things.execute("DELETE FROM things")
    op, entity_id, _, image, _ = last(things)
    (columns,) = things.execute(
        "SELECT array_agg(attname ORDER BY attname) FROM pg_attribute WHERE attrelid = 'things'::regclass"
        " AND attnum > 0 AND NOT attisdropped AND attgenerated = ''"
    ).fetchone()
    assert (op, entity_id, sorted(image)) == ("D", "1", columns)
    assert kept(things) == {"THING": 2}
    assert [text for text in texts(things) if "SECRET" in text] == []


def test_a_table_that_falls_back_keeps_its_queries_too(db):
    db.execute(THINGS)
    watching.watch(db, ["things"])
    db.execute("INSERT INTO things VALUES (1, 'a'); UPDATE things SET name = 'b'")
    assert kept(db) == {}
    db.execute("ALTER TABLE things ADD extra text; UPDATE things SET extra = 'x'")
    assert last(db) == ("U", "1", ["extra"], {"extra": None}, {"extra": "x"})
    assert kept(db) == {"THING": 1}
    migrate.migrate(db)
    db.execute("UPDATE things SET extra = 'y'")
    assert last(db) == ("U", "1", ["extra"], {"extra": "x"}, {"extra": "y"})


def test_redacted_column_whose_name_another_takes_stays_so(things):
    things.execute(
        "ALTER TABLE things RENAME email TO mail; ALTER TABLE things RENAME name TO email"
    )
    things.execute("UPDATE things SET mail = 'SECRET 2'; DELETE FROM things")
    assert [text for text in texts(things) if "SECRET" in text] == []


def test_a_column_is_redacted_from_the_next_write_on(things):
    watching.watch(things, ["things"], Options(redact=["name"]))
    things.execute("UPDATE things SET name = 'SECRET 3'; DELETE FROM things")
    assert [text for text in texts(things) if "SECRET" in text] == []
    assert last(things).before["name"] == "[redacted]"


def test_a_column_redacted_by_hand_is_so_from_the_next_write_on(things):
    things.execute("UPDATE llamalog.watches SET redacted_columns = '{email,name}'")
    things.execute("UPDATE things SET name = 'SECRET 3'; DELETE FROM things")
    assert [text for text in texts(things) if "SECRET" in text] == []


def test_heirs_with_other_columns_have_queries_of_their_own(things):
    things.execute(
        "CREATE TABLE heirs (extra text) INHERITS (things);ALTER TABLE heirs ADD PRIMARY KEY (id)"
    )
    migrate.migrate(things)
    things.execute("INSERT INTO heirs VALUES (2, 'n', 'SECRET 2', NULL, NULL, NULL, 'x')")
    assert last(things).fields_enriched == ["id", "name", "email", "extra"]
    assert last(things).after["extra"] == "x"
    things.execute("UPDATE things SET name = 'both'")
    assert kept(things) == {"THING": 2}
    rows = things.execute(
        "SELECT entity_id, after FROM llamalog.log WHERE op = 'U' AND after ->> 'name' = 'both'"
        " ORDER BY entity_id"
    ).fetchall()
    assert rows == [("1", {"name": "both"}), ("2", {"name": "both"})]
    assert [text for text in texts(things) if "SECRET" in text] == []


def test_partitions_with_columns_in_another_order_are_captured_right(db):
    db.execute(
        "CREATE TABLE events (id integer PRIMARY KEY, v text, w text) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF events FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE high (gone text, w text, v text, id integer NOT NULL);"
        "ALTER TABLE high DROP gone; ALTER TABLE events ATTACH PARTITION high FOR VALUES FROM (10) TO (20)"
    )
    watching.watch(db, ["events"], Options(capture="tolerant", redact=["w"]))
    db.execute("INSERT INTO events VALUES (1, 'a', 'SECRET'), (11, 'a', 'SECRET')")
    db.execute("UPDATE events SET v = 'b', w = 'SECRET 2'")
    assert [
        tuple(row)
        for row in db.execute(
            "SELECT entity_id, after FROM llamalog.log WHERE op = 'U' ORDER BY seq"
        )
    ] == [(i, {"v": "b", "w": "[redacted]"}) for i in ("1", "11")]
    assert kept(db) == {"EVENT": 2}


def test_another_primary_key_stands_in_for_a_lost_one_at_once(things):
    things.execute("ALTER TABLE things DROP id; UPDATE things SET name = 'c'")
    things.execute("ALTER TABLE things ADD PRIMARY KEY (name)")
    things.execute("UPDATE things SET tags = '{x}'")
    assert last(things).entity_id == "c"


def test_queries_of_another_version_are_not_used(things):
    things.execute(
        "UPDATE llamalog.row_queries SET version = 'old', insert_query = 'nonsense', changed_query = 'nonsense'"
    )
    things.execute("INSERT INTO things VALUES (2); UPDATE things SET name = 'c'")
    assert kept(things) == {"THING": 2}


def test_migrate_leaves_no_queries_of_functions_that_it_replaces(things):
    things.execute("UPDATE llamalog.repeatables SET checksum = '' WHERE name LIKE '%history.sql'")
    migrate.migrate(things)
    assert kept(things) == {}
    things.execute("UPDATE things SET name = 'c'")
    assert kept(things) == {"THING": 1}


def test_the_version_is_that_of_every_function_that_makes_a_query(tmp_path, monkeypatch):
    before = migrate._version("made_queries")
    functions = migrate.sql_directory() / "functions"
    texts_of = {path.name: path.read_text() for path in functions.glob("*.sql")}
    (tmp_path / "functions").mkdir()
    monkeypatch.setattr(migrate, "sql_directory", lambda: tmp_path)

    def version(changed):
        for name, text in texts_of.items():
            (tmp_path / "functions" / name).write_text(text + ("\n" if name == changed else ""))
        return migrate._version("made_queries")

    assert version(None) == before
    for name in ("table_columns", "key_expression", "image_expression", "with_new_names"):
        assert version(f"{name}.sql") != before
    assert version("history.sql") == before


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"])
def test_nobody_but_the_owner_of_the_log_touches_the_queries(db, right):
    db.execute("CREATE ROLE clerk")
    (may,) = db.execute(
        "SELECT has_table_privilege('clerk', 'llamalog.row_queries', %s)", [right]
    ).fetchone()
    assert not may


def test_what_tables_are_granted_by_default_is_not_granted_on_the_queries(empty):
    empty.execute("CREATE ROLE by_default")
    try:
        with empty.transaction(force_rollback=True):
            (me,) = empty.execute("SELECT current_user").fetchone()
            empty.execute(
                f'ALTER DEFAULT PRIVILEGES FOR ROLE "{me}" GRANT ALL ON TABLES TO by_default, PUBLIC'.encode()
            )
            empty.execute("CREATE SCHEMA llamalog")
            sql = (migrate.sql_directory() / "migrations" / "0007_row_queries.sql").read_text()
            empty.execute(sql.encode())
            assert empty.execute(
                "SELECT relacl::text LIKE '%by_default%' FROM pg_class WHERE oid = 'llamalog.row_queries'::regclass"
            ).fetchone() == (False,)
            assert empty.execute(
                "SELECT has_table_privilege('by_default', 'llamalog.row_queries', 'SELECT')"
            ).fetchone() == (False,)
    finally:
        empty.execute("DROP ROLE by_default")


def test_settings_that_a_session_makes_up_change_nothing(things):
    for name in ("shape", "version", "row_queries", "insert_query", "changed_query"):
        things.execute(
            "SELECT set_config(%s, 'SELECT ''forged'', NULL, NULL, NULL, NULL', true)",
            [f"llamalog.{name}"],
        )
    things.execute("UPDATE things SET name = 'c'")
    assert last(things) == ("U", "1", ["name"], {"name": "b"}, {"name": "c"})


def test_owner_of_another_table_forges_nothing_by_the_queries_that_are_kept(things):
    things.execute("CREATE ROLE forger; GRANT CREATE, USAGE ON SCHEMA public TO forger")
    things.execute("GRANT EXECUTE ON FUNCTION llamalog.capture_row() TO forger")
    things.execute("SET LOCAL ROLE forger")
    things.execute(
        "CREATE TABLE fake (id integer PRIMARY KEY, name text, email text, price price, tags text[],"
        " updated_at timestamptz);"
        "CREATE TRIGGER forge AFTER INSERT ON fake FOR EACH ROW EXECUTE FUNCTION llamalog.capture_row('THING')"
    )
    with pytest.raises(psycopg.Error) as refusal, things.transaction():
        things.execute("INSERT INTO fake VALUES (1, 'forged')")
    assert refusal.value.sqlstate == NotWatched.code
    things.execute("RESET ROLE")
    assert [text for text in texts(things) if "forged" in text] == []


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_writers_who_come_first_together_wait_for_nobody(database, connect, level):
    watching.watch(database, ["albums"], Options(capture="tolerant"))
    insert = "INSERT INTO albums (title, updated_at) VALUES ('x', now())"
    first, second = connect(database), connect(database)
    for writer in (first, second):
        writer.execute(
            f"SET lock_timeout = '5s'; BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM artists".encode()
        )
    first.execute(insert)
    second.execute(insert)
    first.execute("COMMIT")
    second.execute(insert)
    second.execute("COMMIT")
    # keeping them could make another transaction try again
    assert kept(database) == ({} if level == "SERIALIZABLE" else {"ALBUM": 1})
    assert database.execute(
        "SELECT count(*) FROM llamalog.log WHERE entity_type = 'ALBUM' AND op = 'I'"
    ).fetchone() == (3,)


def test_a_table_of_many_columns_is_captured(db):
    columns = ", ".join(f"c{n} integer" for n in range(1, 1100))
    db.execute(f"CREATE TABLE wide (id integer PRIMARY KEY, {columns})".encode())
    watching.watch(db, ["wide"], Options(capture="tolerant", image="full"))
    db.execute("INSERT INTO wide (id, c5) VALUES (1, 5)")
    assert last(db).fields_enriched == ["id", "c5"]
    changed = ", ".join(f"c{n} = {n}" for n in range(100, 250))
    db.execute(f"UPDATE wide SET {changed}".encode())
    assert last(db).after == {f"c{n}": n for n in range(100, 250)}
    db.execute("DELETE FROM wide")
    assert len(last(db).before) == 1100
