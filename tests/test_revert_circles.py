"""A revert of rows that refer to each other in a circle, and of those that triggers take away again."""

from __future__ import annotations

import psycopg
import pytest
from click.testing import CliRunner

from llamalog_sql import reverting, watching
from llamalog_sql.cli import main
from llamalog_sql.reverting import Target


def in_job(conn, job, *statements):
    conn.execute("SELECT llamalog.set_context(source => 'test', job_id => %s)", [job])
    for statement in statements:
        conn.execute(statement)


def revert(conn, job):
    return conn.execute("SELECT llamalog.revert(job_id => %s)", [job]).fetchone()[0]


def plan(conn, job):
    return [
        (step.action, step.entity_type, step.entity_id, step.after)
        for step in reverting.plan(conn, Target(job_id=job)).steps
    ]


def covers(conn, on_delete, of_tracks="CASCADE", null=""):
    conn.execute(f"""
        CREATE TABLE records (id integer PRIMARY KEY, title text, cover integer {null});
        CREATE TABLE songs (id integer PRIMARY KEY, record integer NOT NULL REFERENCES records ON DELETE {of_tracks});
        ALTER TABLE records ADD FOREIGN KEY (cover) REFERENCES songs ON DELETE {on_delete}
    """)
    watching.watch(conn, ["records", "songs"])


MADE = (
    "INSERT INTO records (id, title) VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO songs VALUES (10, 1), (11, 1), (20, 2)",
    "UPDATE records SET cover = id * 10",
)


def both(conn):
    return (
        conn.execute("SELECT * FROM records ORDER BY id").fetchall(),
        conn.execute("SELECT * FROM songs ORDER BY id").fetchall(),
    )


FULL = ([(1, "a", 10), (2, "b", 20)], [(10, 1), (11, 1), (20, 2)])


@pytest.mark.parametrize("on_delete", ["SET NULL", "NO ACTION"])
@pytest.mark.parametrize("of_tracks", ["CASCADE", "RESTRICT"])
def test_rows_that_refer_to_each_other_go_and_come_back(db, on_delete, of_tracks):
    covers(db, on_delete, of_tracks)
    in_job(db, "made", *MADE)
    undone = revert(db, "made")
    assert both(db) == ([], [])
    revert(db, undone)
    assert both(db) == FULL


def test_a_row_in_a_circle_is_planned_in_two_halves(db):
    covers(db, "SET NULL")
    in_job(db, "made", *MADE)
    in_job(
        db, "gone", "DELETE FROM records WHERE id = 1"
    )  # its songs go with it, and it loses its cover
    assert plan(db, "gone") == [
        ("insert", "RECORD", "1", {"id": 1, "title": "a", "cover": None}),
        ("insert", "SONG", "11", {"id": 11, "record": 1}),
        ("insert", "SONG", "10", {"id": 10, "record": 1}),
        ("update", "RECORD", "1", {"cover": 10}),
    ]
    revert(db, "gone")
    assert both(db) == FULL


def test_a_row_in_two_halves_is_counted_once(database):
    covers(database, "SET NULL")
    with database.transaction():
        in_job(database, "made", *MADE)
    with database.transaction():
        in_job(database, "gone", "DELETE FROM records WHERE id = 1")
    dsn = f"{database.info.dsn} password={database.info.password or ''}"
    done = CliRunner().invoke(main, ["revert", "--job", "gone", "--yes", "--dsn", dsn])
    assert "brought back 3 rows; to take that back" in done.output
    assert both(database) == FULL


def test_a_circle_through_three_rows_of_one_table_is_opened(db):
    db.execute(
        "CREATE TABLE nodes (id integer PRIMARY KEY, up integer REFERENCES nodes ON DELETE CASCADE, n integer)"
    )
    watching.watch(db, ["nodes"])
    in_job(
        db,
        "made",
        "INSERT INTO nodes VALUES (1, 1), (2, 1), (3, 2), (4, 3)",
        "UPDATE nodes SET up = 4 WHERE id = 2",
    )
    undone = revert(db, "made")
    assert db.execute("SELECT * FROM nodes").fetchall() == []
    revert(db, undone)
    left = [(1, 1, None), (2, 4, None), (3, 2, None), (4, 3, None)]
    assert db.execute("SELECT * FROM nodes ORDER BY id").fetchall() == left


def test_rows_exchange_a_unique_value_where_it_may_be_null(db):
    db.execute("CREATE TABLE players (id integer PRIMARY KEY, seat integer UNIQUE)")
    watching.watch(db, ["players"])
    in_job(db, "sat", "INSERT INTO players VALUES (1, 1), (2, 2), (3, 3)")
    in_job(
        db,
        "moved",
        "UPDATE players SET seat = -seat",
        "UPDATE players SET seat = CASE seat WHEN -3 THEN 1 ELSE 1 - seat END",
    )
    undone = revert(db, "moved")
    seats = "SELECT seat FROM players ORDER BY id"
    assert db.execute(seats).fetchall() == [(1,), (2,), (3,)]
    revert(db, undone)
    assert db.execute(seats).fetchall() == [(2,), (3,), (1,)]


@pytest.mark.parametrize(
    "kind",
    ["integer PRIMARY KEY DEFERRABLE", "varchar(3) PRIMARY KEY DEFERRABLE INITIALLY DEFERRED"],
)
def test_rows_exchange_a_key_that_can_wait(db, kind):
    db.execute(f"CREATE TABLE players (id {kind}, name text)")
    watching.watch(db, ["players"])
    in_job(db, "sat", "INSERT INTO players VALUES (1, 'a'), (2, 'a'), (3, 'c'), (4, 'd')")
    names = "SELECT id::text, name FROM players ORDER BY id"
    sat = db.execute(names).fetchall()
    in_job(
        db,
        "moved",
        "UPDATE players SET id = CASE id::integer WHEN 3 THEN 1 ELSE id::integer + 1 END WHERE id::integer < 4",
        "UPDATE players SET name = 'b' WHERE id::integer = 3",
        "SET CONSTRAINTS ALL IMMEDIATE",
    )
    moved = db.execute(names).fetchall()
    assert moved == [("1", "c"), ("2", "a"), ("3", "b"), ("4", "d")]
    undone = revert(db, "moved")
    assert db.execute(names).fetchall() == sat
    in_job(db, "left", "DELETE FROM players WHERE name = 'c'")
    revert(db, "left")
    revert(db, undone)
    db.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert db.execute(names).fetchall() == moved


def test_rows_that_exchange_a_key_and_cannot_be_told_apart_are_left(db):
    db.execute(
        """
        CREATE TABLE players (id integer PRIMARY KEY DEFERRABLE, name text);
        CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN UPDATE players SET name = name WHERE id = NEW.id; RETURN NULL; END';
        """
    )
    watching.watch(db, ["players"])
    in_job(db, "sat", "INSERT INTO players VALUES (1, 'a'), (2, 'b')")
    in_job(db, "moved", "UPDATE players SET id = 3 - id")
    # what is written takes the other along to another place
    db.execute(
        "CREATE TRIGGER touch AFTER UPDATE ON players FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION touch()"
    )
    with pytest.raises(psycopg.Error, match="changed 2 rows, not 1") as error, db.transaction():
        revert(db, "moved")
    assert error.value.sqlstate == "LL023"


RULES = {
    "partial": "CREATE UNIQUE INDEX first ON players (club) WHERE bench IS NULL",
    "expression": "CREATE UNIQUE INDEX first ON players (club, coalesce(bench, -1))",
    "exclusion": "ALTER TABLE players ADD CONSTRAINT first EXCLUDE USING btree (club WITH =) WHERE (bench IS NULL)",
    "nulls": "ALTER TABLE players ADD CONSTRAINT first UNIQUE NULLS NOT DISTINCT (club, bench)",
}


@pytest.mark.parametrize("rule", RULES)
def test_rows_wait_for_what_others_give_up_by_a_rule_that_no_image_tells(db, rule):
    db.execute(
        "CREATE TABLE players (id integer PRIMARY KEY, club integer, bench integer, name text)"
    )
    db.execute(RULES[rule].encode())
    watching.watch(db, ["players"])
    in_job(
        db,
        "sat",
        "INSERT INTO players SELECT n, n / 4, nullif(n % 4, 0), 'a' FROM generate_series(0, 39) AS n",
    )
    players = "SELECT * FROM players ORDER BY id"
    sat = db.execute(players).fetchall()
    # each club has another first one, and then those who no longer are get another name
    in_job(
        db,
        "moved",
        "UPDATE players SET bench = 4 WHERE bench IS NULL",
        "UPDATE players SET bench = NULL WHERE bench = 1",
        "UPDATE players SET name = 'b' WHERE id % 4 = 0",
    )
    moved = db.execute(players).fetchall()
    undone = revert(db, "moved")
    assert db.execute(players).fetchall() == sat
    revert(db, undone)
    assert db.execute(players).fetchall() == moved
    # what a row outside of the plan has is not waited for
    in_job(db, "left", "UPDATE players SET bench = 5, name = 'c' WHERE bench IS NULL")
    db.execute("SELECT llamalog.set_context(job_id => 'other')")
    db.execute("UPDATE players SET bench = NULL WHERE id = 2")
    with (
        pytest.raises(psycopg.Error, match='UPDATE of PLAYER "1" needs what') as error,
        db.transaction(),
    ):
        revert(db, "left")
    assert error.value.sqlstate == "LL026"


def test_who_refers_to_a_row_that_waits_waits_too(db):
    db.execute(
        """
        CREATE TABLE clubs (id integer PRIMARY KEY, town text, is_open boolean);
        CREATE UNIQUE INDEX one_open ON clubs (town) WHERE is_open;
        CREATE TABLE players (id integer PRIMARY KEY, club integer REFERENCES clubs ON DELETE CASCADE);
        """
    )
    watching.watch(db, ["clubs", "players"])
    in_job(
        db,
        "made",
        "INSERT INTO clubs VALUES (1, 'Bath', false)",
        "INSERT INTO clubs VALUES (2, 'Bath', true)",
        "INSERT INTO players VALUES (10, 2)",
    )
    in_job(
        db,
        "moved",
        "UPDATE clubs SET is_open = false WHERE id = 2",
        "UPDATE clubs SET is_open = true WHERE id = 1",
        "DELETE FROM clubs WHERE id = 2",
    )
    revert(db, "moved")
    assert db.execute("SELECT * FROM clubs ORDER BY id").fetchall() == [
        (1, "Bath", False),
        (2, "Bath", True),
    ]
    assert db.execute("SELECT * FROM players").fetchall() == [(10, 2)]


def test_keys_that_take_rows_along_in_two_ways_change_and_change_back(db):
    db.execute(
        """
        CREATE TABLE nodes (id integer PRIMARY KEY, up integer REFERENCES nodes ON UPDATE CASCADE);
        CREATE TABLE lamps (id integer PRIMARY KEY, node integer REFERENCES nodes ON UPDATE CASCADE,
            spare integer REFERENCES nodes ON UPDATE SET NULL);
        """
    )
    watching.watch(db, ["nodes", "lamps"])
    in_job(
        db,
        "made",
        "INSERT INTO nodes VALUES (1, NULL), (2, 1), (3, 2)",
        "INSERT INTO lamps VALUES (1, 1, 2), (2, 2, 2), (3, 3, 1)",
    )
    in_job(db, "moved", "UPDATE nodes SET id = id + 10")
    rows = "SELECT 'node' AS kind, id, up, NULL AS spare FROM nodes UNION ALL SELECT 'lamp', * FROM lamps ORDER BY 1, 2"
    moved = db.execute(rows).fetchall()
    undone = revert(db, "moved")
    assert db.execute(rows).fetchall() != moved
    revert(db, undone)
    assert db.execute(rows).fetchall() == moved


def test_a_row_that_a_key_has_removed_with_another_is_gone_as_planned(db):
    covers(db, "CASCADE DEFERRABLE INITIALLY DEFERRED", null="NOT NULL")
    in_job(
        db, "made", "INSERT INTO records VALUES (1, 'a', 10)", "INSERT INTO songs VALUES (10, 1)"
    )
    revert(db, "made")
    assert both(db) == ([], [])


def test_a_field_of_a_row_in_two_halves_that_a_trigger_counts_is_set_right(db):
    covers(db, "SET NULL")
    db.execute("""
        ALTER TABLE records ADD COLUMN songs integer NOT NULL DEFAULT 0;
        CREATE FUNCTION count_songs() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            UPDATE records SET songs = songs + 1 WHERE id = NEW.record;
            UPDATE records SET songs = songs - 1 WHERE id = OLD.record;
            RETURN NULL;
        END $$;
        CREATE TRIGGER count_songs AFTER INSERT OR DELETE ON songs FOR EACH ROW EXECUTE FUNCTION count_songs()
    """)
    watching.watch(db, ["records"])
    in_job(db, "made", *MADE)
    in_job(db, "gone", "DELETE FROM records WHERE id = 1")
    revert(db, "gone")
    left = [(1, "a", 10, 2), (2, "b", 20, 1)]
    assert db.execute("SELECT * FROM records ORDER BY id").fetchall() == left


@pytest.mark.parametrize(
    ("when", "body", "left"),
    [
        ("AFTER INSERT", "DELETE FROM notes WHERE id = NEW.id; RETURN NULL;", []),
        ("BEFORE INSERT", "NEW.id := NEW.id + 100; RETURN NEW;", [(101,)]),
    ],
)
def test_a_row_that_a_trigger_takes_away_again_is_warned_of(db, when, body, left):
    db.execute("CREATE TABLE notes (id integer PRIMARY KEY)")
    watching.watch(db, ["notes"])
    in_job(db, "made", "INSERT INTO notes VALUES (1)")
    in_job(db, "gone", "DELETE FROM notes")
    db.execute(
        f"CREATE FUNCTION insist() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;"
        f" CREATE TRIGGER insist {when} ON notes FOR EACH ROW EXECUTE FUNCTION insist()"
    )
    said = []

    def hear(notice):
        said.append(notice.message_primary)

    db.add_notice_handler(hear)
    revert(db, "gone")
    db.remove_notice_handler(hear)
    assert said == [
        'NOTE "1" is not as it was: a trigger of its table, or the type of a column, insists'
    ]
    assert db.execute("SELECT id FROM notes").fetchall() == left


def test_a_null_in_an_array_comes_back_where_the_session_reads_none(db):
    db.execute("CREATE TABLE notes (id integer PRIMARY KEY, words text[])")
    watching.watch(db, ["notes"])
    in_job(db, "made", "INSERT INTO notes VALUES (1, '{a,NULL,\"NULL\"}')")
    in_job(db, "gone", "DELETE FROM notes")
    db.execute("SET LOCAL array_nulls = off")
    revert(db, "gone")
    assert db.execute("SELECT words FROM notes").fetchall() == [(["a", None, "NULL"],)]


@pytest.mark.parametrize("null", ["", "NOT NULL"])
def test_rows_of_a_circle_that_all_get_other_keys_get_their_own_back(db, null):
    db.execute(f"""
        CREATE TABLE records (id integer PRIMARY KEY, title text, cover integer);
        CREATE TABLE songs (id integer PRIMARY KEY, record integer {null} REFERENCES records ON UPDATE CASCADE);
        ALTER TABLE records ADD FOREIGN KEY (cover) REFERENCES songs ON UPDATE CASCADE
    """)
    watching.watch(db, ["records", "songs"])
    in_job(db, "made", *MADE)
    in_job(db, "moved", "UPDATE records SET id = id + 100", "UPDATE songs SET id = id + 100")
    moved = both(db)
    undone = revert(db, "moved")
    assert both(db) == FULL
    revert(db, undone)
    assert both(db) == moved
