"""What as-of can tell beside one row at one time: all rows of a type, two changes, columns that came and went."""

from __future__ import annotations

import csv
import io
import json

import psycopg
import pytest
import test_cli
from test_as_of import at, clock

from llamalog_sql import instants, migrate, queries, watching
from llamalog_sql.errors import CannotRevert, LlamaLogError, Misuse, NotKnown, UnknownChange
from llamalog_sql.watching import Options

llamalog = test_cli.llamalog


def shop(conn, **options):
    conn.execute('CREATE TABLE "Goods" (id integer PRIMARY KEY, name text, "Price" numeric)')
    watching.watch(conn, ["Goods"], Options(entity_type="GOOD", **options))


def seqs(conn):
    return [row[0] for row in conn.execute("SELECT seq FROM llamalog.log ORDER BY seq DESC")][::-1]


def told(differences):
    return [(d.field, d.change, d.before, d.after) for d in differences]


# -- between two changes ----------------------------------------------------------------------------------------------


def test_diff_of_two_changes_compares_what_each_left(each_db):
    db = each_db
    shop(db)
    start = max(seqs(db), default=0)
    db.execute("""
        INSERT INTO "Goods" VALUES (1, 'tea', 1.0);
        UPDATE "Goods" SET "Price" = 1.00;
        UPDATE "Goods" SET name = 'green tea';
        UPDATE "Goods" SET id = 2;
        DELETE FROM "Goods";
    """)
    created, priced, named, moved, gone = (seq for seq in seqs(db) if seq > start)

    def diff(first, last):
        return told(instants.diff_changes(db, "good", "2", first, last))

    assert [str(value) for value in diff(created, priced)[0]] == ["Price", "changed", "1.0", "1.00"]
    assert diff(priced, moved) == [
        ("id", "changed", 1, 2),
        ("name", "changed", "tea", "green tea"),
    ]
    assert diff(named, named) == []
    assert ("Price", "deleted", 1, None) in diff(moved, gone)


@pytest.mark.parametrize(
    ("ddl", "differing"),
    [
        (
            'ALTER TABLE "Goods" DROP name; ALTER TABLE "Goods" ADD name text',
            [("name", "dropped", "tea", None), ("name", "added", None, "green tea")],
        ),
        (
            'ALTER TABLE "Goods" RENAME name TO old; ALTER TABLE "Goods" ADD name text',
            [
                ("name", "dropped", "tea", None),
                ("name", "added", None, "green tea"),
                ("old", "added", None, "tea"),
            ],
        ),
        # away and back: the same one
        (
            'ALTER TABLE "Goods" RENAME name TO other; ALTER TABLE "Goods" RENAME other TO name',
            [("name", "changed", "tea", "green tea")],
        ),
    ],
)
def test_diff_tells_columns_of_one_name_apart(database, ddl, differing):
    conn = database
    shop(conn)
    start = max(seqs(conn), default=0)
    first = at(conn, """INSERT INTO "Goods" VALUES (1, 'tea', 1.0)""")
    conn.execute("""UPDATE "Goods" SET name = 'coffee'; UPDATE "Goods" SET name = 'tea'""")
    for statement in ddl.split(";"):
        conn.execute(statement.encode())
    last = at(conn, """UPDATE "Goods" SET name = 'green tea'""")
    assert told(queries.diff(conn, "GOOD", "1", first, last)) == differing
    changes = [seq for seq in seqs(conn) if seq > start]
    assert told(instants.diff_changes(conn, "GOOD", "1", changes[0], changes[-1])) == differing


def test_diff_refuses_changes_of_other_rows_and_those_that_are_none(db, new):
    album, other = new.album(db), new.album(db, "Kid A")
    artist = new.artist(db)
    new.link(db, album, artist)
    db.execute(
        "INSERT INTO llamalog.llama_logs (entity_type, entity_id, operation, category)"
        " VALUES ('ALBUM', %s, 'preview', 'ENRICHED')",
        [album],
    )
    first, second, _, link, own = seqs(db)[-5:]
    for seq, detail in (
        (second, f'It is one of ALBUM "{other}".'),
        (link, "It is one of a link, ALBUM_ARTIST."),
        (own, "The application wrote it itself; it changed no row."),
    ):
        with (
            pytest.raises(Misuse, match=f"change {seq} is none of the row of ALBUM") as error,
            db.transaction(),
        ):
            instants.diff_changes(db, "ALBUM", album, first, seq)
        assert error.value.detail == detail
    with pytest.raises(Misuse, match="is after the end, change"), db.transaction():
        instants.diff_changes(db, "ALBUM", album, second, first)
    for ends in ((first, own + 1000), (own + 1000, first)):
        with (
            pytest.raises(UnknownChange, match=f"the log has no change {own + 1000}"),
            db.transaction(),
        ):
            instants.diff_changes(db, "ALBUM", album, *ends)


def test_diff_names_the_half_of_a_move_that_stands_for_both(db):
    db.execute(
        "CREATE TABLE ships (region text, no integer, PRIMARY KEY (region, no)) PARTITION BY LIST (region);"
        "CREATE TABLE ships_eu PARTITION OF ships FOR VALUES IN ('eu');"
        "CREATE TABLE ships_us PARTITION OF ships FOR VALUES IN ('us');"
    )
    watching.watch(db, ["ships"])
    db.execute("INSERT INTO ships VALUES ('eu', 1)")
    db.execute("UPDATE ships SET region = 'us'")
    created, gone, came = seqs(db)[-3:]
    with (
        pytest.raises(CannotRevert, match=f"change {gone} is one half of a move") as refused,
        db.transaction(),
    ):
        instants.diff_changes(db, "SHIP", "us,1", created, gone)
    assert refused.value.detail == f"The other half, change {came}, stands for both."
    assert refused.value.hint == f"Give change {came}."
    assert told(instants.diff_changes(db, "SHIP", "us,1", created, came)) == [
        ("region", "changed", "eu", "us")
    ]


# -- all of a type ----------------------------------------------------------------------------------------------------


def everything(conn, when, kind="GOOD"):
    return {
        row.entity_id: row.image for batch in instants.as_of_all(conn, kind, when) for row in batch
    }


def test_all_rows_of_a_type_at_an_instant_each_under_its_key_of_then(each_db):
    db = each_db
    shop(db)
    none = clock(db)
    first = at(
        db, """INSERT INTO "Goods" SELECT n, 'good ' || n, n FROM generate_series(1, 6) AS n"""
    )
    db.execute("""
        UPDATE "Goods" SET name = 'dear', "Price" = 9 WHERE id = 2;
        DELETE FROM "Goods" WHERE id = 3;
        UPDATE "Goods" SET id = 40 WHERE id = 4;
        UPDATE "Goods" SET id = 41 WHERE id = 40;
        INSERT INTO "Goods" VALUES (4, 'another', 1), (7, 'new', 7);
        DELETE FROM "Goods" WHERE id = 6;
        INSERT INTO "Goods" VALUES (6, 'again', 6);
    """)
    now = clock(db)
    assert everything(db, none) == {}
    assert everything(db, first) == {
        str(n): {"id": n, "name": f"good {n}", "Price": n} for n in range(1, 7)
    }
    assert {key: row["name"] for key, row in everything(db, now).items()} == {
        "1": "good 1", "2": "dear", "4": "another", "41": "good 4", "5": "good 5", "6": "again", "7": "new",
    }  # fmt: skip


def test_a_row_whose_key_another_took_after_it_was_removed_stands_among_all(each_db):
    db = each_db
    shop(db)
    first = at(db, """INSERT INTO "Goods" VALUES (1, 'removed', 1), (2, 'heir', 2)""")
    db.execute("""UPDATE "Goods" SET name = 'x' WHERE id = 1; DELETE FROM "Goods" WHERE id = 1""")
    second = at(db, """UPDATE "Goods" SET id = 1""")
    assert {key: row["name"] for key, row in everything(db, first).items()} == {
        "1": "removed", "2": "heir",
    }  # fmt: skip
    assert {key: row["name"] for key, row in everything(db, second).items()} == {"1": "heir"}


def test_a_removed_row_that_had_swapped_keys_stands_among_all_once_another_has_its_key(each_db):
    db = each_db
    db.execute("CREATE TABLE pages (id integer PRIMARY KEY DEFERRABLE, name text)")
    watching.watch(db, ["pages"])
    times = [
        at(db, statement)
        for statement in (
            "INSERT INTO pages VALUES (1, 'a'), (2, 'b')",
            "UPDATE pages SET id = 3 - id",
            "DELETE FROM pages WHERE name = 'b'",
            "UPDATE pages SET id = 1",
        )
    ]
    assert [
        {key: row["name"] for key, row in everything(db, when, "PAGE").items()} for when in times
    ] == [{"1": "a", "2": "b"}, {"1": "b", "2": "a"}, {"2": "a"}, {"1": "a"}]


def test_all_rows_of_a_type_are_as_as_of_gives_each(db, new):
    kept, changed, gone = (new.album(db, title) for title in ("kept", "changed", "gone"))
    when = clock(db)
    db.execute("UPDATE albums SET label = 'x', genres = '{rock}' WHERE id = %s", [changed])
    db.execute("DELETE FROM albums WHERE id = %s", [gone])
    new.album(db, "later")
    assert everything(db, when, "album") == {
        album: queries.as_of(db, "ALBUM", album, when) for album in (kept, changed, gone)
    }


def test_all_rows_of_a_partitioned_table_with_a_composite_key(each_db):
    db = each_db
    db.execute(
        "CREATE TABLE sales (region text, n integer, v text, PRIMARY KEY (region, n)) PARTITION BY LIST (region);"
        "CREATE TABLE eu PARTITION OF sales FOR VALUES IN ('e,u'); CREATE TABLE us PARTITION OF sales DEFAULT"
    )
    watching.watch(db, ["sales"])
    first = at(db, "INSERT INTO sales VALUES ('e,u', 1, 'a'), ('us', 2, 'b'), ('us', 3, 'c')")
    db.execute("UPDATE sales SET region = 'us' WHERE n = 1; DELETE FROM sales WHERE n = 2")
    assert {key: row["v"] for key, row in everything(db, first, "SALE").items()} == {
        "e\\,u,1": "a", "us,2": "b", "us,3": "c",
    }  # fmt: skip


def test_a_row_that_went_unseen_stands_among_all_of_them_without_image(db):
    shop(db)
    first = at(db, """INSERT INTO "Goods" VALUES (1, 'a', 1), (2, 'b', 2)""")
    db.execute("""UPDATE "Goods" SET name = 'c'""")
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute("""DELETE FROM "Goods" WHERE id = 1""")
    db.execute("SET LOCAL session_replication_role = origin")
    assert everything(db, first) == {"1": None, "2": {"id": 2, "name": "b", "Price": 2}}


def test_all_rows_of_a_type_are_refused_where_one_would_be(db):
    early = clock(db)
    shop(db)
    with pytest.raises(NotKnown, match="what every GOOD was at") as error, db.transaction():
        everything(db, early)
    assert "is watched since" in error.value.detail
    with pytest.raises(Misuse, match="in the future"), db.transaction():
        everything(db, clock(db).replace(year=2100))
    with pytest.raises(LlamaLogError, match="unknown entity type"), db.transaction():
        everything(db, early, "GOODY")
    watching.unwatch(db, ["Goods"])
    with pytest.raises(NotKnown, match="what every GOOD was at") as error, db.transaction():
        everything(db, clock(db))
    assert "no longer watched" in error.value.detail


def test_all_rows_are_read_with_the_rights_of_the_caller(db, new):
    album = new.album(db)
    db.execute("CREATE ROLE analyst; GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst")
    now = clock(db)
    db.execute("SET ROLE analyst")
    with pytest.raises(LlamaLogError, match="permission denied for table albums"), db.transaction():
        everything(db, now, "ALBUM")
    db.execute("RESET ROLE; GRANT SELECT ON albums TO analyst; SET ROLE analyst")
    assert [*everything(db, now, "ALBUM")] == [album]
    db.execute("RESET ROLE")


# -- columns that came and went ---------------------------------------------------------------------------------------


@pytest.fixture(params=["event triggers", "none"])
def alter(request, db):
    """alter("ALTER TABLE ...") returns the instant after it was noticed: at once, or else by llamalog migrate."""
    shop(db)
    if request.param == "none":
        db.execute("DROP EVENT TRIGGER llamalog_ddl; DROP EVENT TRIGGER llamalog_drop")
        watching.watch(db, ["Goods"], Options(capture="tolerant"))

    def run(statement):
        db.execute(statement)
        if request.param == "none":
            watching.refresh(db)
        return clock(db)

    run.is_at_once = request.param != "none"
    return run


def test_a_column_added_since_is_left_out_of_older_instants(db, alter):
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1), (2, 'milk', 2)""")
    first = clock(db)
    second = alter("""ALTER TABLE "Goods" ADD "Stock" integer DEFAULT 5""")
    db.execute("""UPDATE "Goods" SET "Stock" = 4, name = 'green tea' WHERE id = 1""")
    assert queries.as_of(db, "GOOD", "1", first) == {"id": 1, "name": "tea", "Price": 1}
    assert queries.as_of(db, "GOOD", "1", second)["Stock"] == 5
    assert everything(db, first) == {
        "1": {"id": 1, "name": "tea", "Price": 1},
        "2": {"id": 2, "name": "milk", "Price": 2},
    }
    assert everything(db, second)["2"] == {"id": 2, "name": "milk", "Price": 2, "Stock": 5}
    assert ("Stock", "added", None, 5) in told(queries.diff(db, "GOOD", "1", first, second))
    (found,) = instants.columns_changed_since(db, "good", first)
    assert (found.change, found.column_name, found.old_name) == ("added", "Stock", None)
    assert first < found.noticed_at < second
    assert (found.after_at == found.noticed_at) is (first < found.after_at) is alter.is_at_once
    assert instants.columns_changed_since(db, "GOOD", second) == []


def test_a_renamed_column_has_the_name_that_it_had_then(db, alter):
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1), (2, 'milk', 2)""")
    first = at(db, """UPDATE "Goods" SET "Price" = 3 WHERE id = 1""")
    second = at(db, """UPDATE "Goods" SET "Price" = 4, name = 'x' WHERE id = 1""")
    third = alter("""ALTER TABLE "Goods" RENAME "Price" TO cost""")
    db.execute("""UPDATE "Goods" SET cost = 5 WHERE id = 1""")
    rows = [queries.as_of(db, "GOOD", "1", when) for when in (first, second, third)]
    assert rows == [
        {"id": 1, "name": "tea", "Price": 3},
        {"id": 1, "name": "x", "Price": 4},
        {"id": 1, "name": "x", "cost": 4},
    ]
    assert everything(db, first)["2"] == {"id": 2, "name": "milk", "Price": 2}
    (found,) = instants.columns_changed_since(db, "GOOD")
    assert (found.change, found.column_name, found.old_name) == ("renamed", "cost", "Price")
    assert queries.breaks(db, "GOOD", "1") == []


def test_a_column_that_comes_again_under_its_name_is_another(db, alter):
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1)""")
    first = clock(db)
    second = at(db, """UPDATE "Goods" SET name = 'green tea'""")
    third = alter("""ALTER TABLE "Goods" DROP name, ADD name text DEFAULT 'new'""")
    db.execute("""UPDATE "Goods" SET name = 'newer'""")
    rows = [queries.as_of(db, "GOOD", "1", when) for when in (first, second, third)]
    assert rows == [
        # where nobody knows which column it was that held it, it is nobody's
        {"id": 1, "Price": 1, **({"name": "tea"} if alter.is_at_once else {})},
        {"id": 1, "Price": 1},
        {"id": 1, "name": "new", "Price": 1},
    ]
    assert queries.breaks(db, "GOOD", "1") == []
    assert [(c.change, c.column_name) for c in instants.columns_changed_since(db, "GOOD")] == [
        ("dropped", "name"), ("added", "name"),
    ]  # fmt: skip


def test_blame_does_not_take_an_older_change_for_the_setter_of_a_newer_column(db, alter):
    db.execute("""INSERT INTO "Goods" VALUES (1, 'new', NULL)""")
    db.execute("""UPDATE "Goods" SET name = 'other'""")
    alter("""ALTER TABLE "Goods" DROP name, ADD name text DEFAULT 'other', ADD stock integer""")
    alter("""ALTER TABLE "Goods" RENAME "Price" TO cost""")
    blamed = {b.field: b.category for b in queries.blame(db, "GOOD", "1")}
    assert blamed == {"id": "CREATED", "name": None, "stock": None, "cost": "CREATED"}
    db.execute("""UPDATE "Goods" SET name = 'set', cost = 1""")
    blamed = {b.field: b.category for b in queries.blame(db, "GOOD", "1")}
    assert blamed == {"id": "CREATED", "name": "UPDATED", "stock": None, "cost": "UPDATED"}
    db.execute("""INSERT INTO "Goods" (id, cost) VALUES (2, 7)""")
    assert {b.category for b in queries.blame(db, "GOOD", "2")} == {"CREATED"}


def test_blame_follows_a_column_through_its_names(db, alter):
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1), (2, 'milk', 2), (3, 'gone', 3)""")
    db.execute("""UPDATE "Goods" SET "Price" = 9 WHERE id = 1""")
    db.execute("""DELETE FROM "Goods" WHERE id = 3""")
    alter("""ALTER TABLE "Goods" RENAME "Price" TO cost""")
    alter("""ALTER TABLE "Goods" RENAME cost TO amount""")
    alter("""ALTER TABLE "Goods" ADD "Price" numeric""")
    blamed = [
        {b.field: b.category for b in queries.blame(db, "GOOD", key)} for key in ("1", "2", "3")
    ]
    assert blamed == [
        {"id": "CREATED", "name": "CREATED", "amount": "UPDATED", "Price": None},
        {"id": "CREATED", "name": "CREATED", "amount": "CREATED", "Price": None},
        {"id": "CREATED", "name": "CREATED", "Price": "CREATED"},
    ]


def test_a_hidden_column_stays_hidden_under_the_name_that_it_had(db):
    shop(db, ignore=["name"])
    db.execute("""INSERT INTO "Goods" VALUES (1, 'tea', 1)""")
    first = clock(db)
    db.execute("""DELETE FROM "Goods"; ALTER TABLE "Goods" RENAME name TO title""")
    assert queries.as_of(db, "GOOD", "1", first) == {"id": 1, "Price": 1}


def test_columns_are_noted_once_and_only_where_they_differ(db, alter):
    alter("""ALTER TABLE "Goods" ADD a integer, ADD b integer""")
    alter("""ALTER TABLE "Goods" ALTER a TYPE bigint""")
    alter("""ALTER TABLE "Goods" RENAME TO goods_""")
    watching.refresh(db)
    migrate.migrate(db)
    with db.transaction(force_rollback=True):
        alter("ALTER TABLE goods_ DROP a")
    assert [c.column_name for c in instants.columns_changed_since(db, "GOOD")] == ["a", "b"]


def test_numbers_that_a_restore_gave_anew_are_no_change(db):
    shop(db)
    db.execute(
        """UPDATE llamalog.watches SET column_numbers = '{"id": 1, "name": 3, "Price": 5}'"""
        " WHERE entity_type = 'GOOD'"
    )
    watching.refresh(db)
    assert instants.columns_changed_since(db, "GOOD") == []
    assert db.execute(
        "SELECT column_numbers FROM llamalog.watches WHERE entity_type = 'GOOD'"
    ).fetchone() == ({"id": 1, "name": 2, "Price": 3},)


def test_who_could_read_the_log_reads_what_came_of_columns_and_nobody_writes_it(db):
    db.execute("CREATE ROLE clerk; CREATE ROLE by_default; GRANT SELECT ON llamalog.log TO clerk")
    ((me,),) = db.execute("SELECT current_user").fetchall()
    db.execute(f'ALTER DEFAULT PRIVILEGES FOR ROLE "{me}" GRANT ALL ON TABLES TO by_default')
    migration = migrate.sql_directory() / "migrations" / "0012_column_changes"
    db.execute(
        "DROP FUNCTION llamalog.columns_changed_since, llamalog.before_column_changes,"
        " llamalog.after_column_changes, llamalog.with_present_columns"
    )
    db.execute(migration.with_suffix(".rollback.sql").read_text())
    db.execute(migration.with_suffix(".sql").read_text())
    rights = db.execute(
        "SELECT role, has_table_privilege(role, 'llamalog.column_changes', privilege)"
        " FROM unnest('{clerk,by_default}'::text[]) AS role, unnest('{SELECT,INSERT}'::text[]) AS privilege"
    ).fetchall()
    assert rights == [
        ("clerk", True), ("clerk", False), ("by_default", False), ("by_default", False),
    ]  # fmt: skip
    db.execute("SET ROLE clerk")
    for statement in (
        "SELECT llamalog.follow_columns('ALBUM', 'albums'::regclass, true)",
        "DELETE FROM llamalog.column_changes",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege), db.transaction():
            db.execute(statement)
    db.execute("RESET ROLE")


# -- on the command line ----------------------------------------------------------------------------------------------


def test_a_line_of_a_row_leaves_out_its_key_and_no_value_that_is_like_it(llamalog, database):
    database.execute("CREATE TABLE shelves (id integer PRIMARY KEY, room integer)")
    database.execute(
        "CREATE TABLE places (shelf integer, place text, room integer, PRIMARY KEY (shelf, place))"
    )
    watching.watch(database, ["shelves", "places"])
    database.execute("INSERT INTO shelves VALUES (1, 1); INSERT INTO places VALUES (1, 'a', 1)")
    now = clock(database).isoformat()
    assert llamalog("as-of", "SHELF", now).stdout == "1  room: 1\n"
    assert llamalog("as-of", "PLACE", now).stdout == "1,a  room: 1\n"


def test_the_commands_show_all_rows_two_changes_and_what_came_of_columns(llamalog, database):
    shop(database)
    none = clock(database).isoformat()
    database.execute("""INSERT INTO "Goods" VALUES (1, E'te\\x1ba', 1.10), (2, NULL, 2)""")
    first = clock(database).isoformat()
    database.execute("""UPDATE "Goods" SET name = 'x' WHERE id = 1""")
    database.execute("""ALTER TABLE "Goods" ADD "Sto\x1bck" integer""")
    database.execute("""ALTER TABLE "Goods" DROP "Price" """)

    rows = json.loads(llamalog("as-of", "GOOD", first, "--format", "json").stdout)
    assert rows == [
        {"entity_id": "1", "image": {"id": 1, "name": "te\x1ba"}},
        {"entity_id": "2", "image": {"id": 2, "name": None}},
    ]
    lines = llamalog("as-of", "good", first, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows
    cells = [
        *csv.DictReader(io.StringIO(llamalog("as-of", "GOOD", first, "--format", "csv").stdout))
    ]
    assert [json.loads(cell["image"]) for cell in cells] == [row["image"] for row in rows]
    shown = llamalog("as-of", "GOOD", first)
    assert shown.stdout == "1  name: te\\x1ba\n2\n"
    added, dropped = shown.stderr.splitlines()
    assert "column Sto\\x1bck was added at 20" in added
    assert "column Price was dropped at 20" in dropped
    assert llamalog("as-of", "GOOD", "1", first).stderr == shown.stderr
    empty = llamalog("as-of", "GOOD", none, "--format", "json")
    assert (empty.stdout, empty.stderr.splitlines()[-1]) == (
        "[]\n",
        "[🦙 LlamaLog] none existed then",
    )
    assert "Sto\\x1bck was added" in llamalog("blame", "GOOD", "1").stderr

    created, changed = seqs(database)[-3], seqs(database)[-1]
    between = ("--from-change", str(created), "--to-change", str(changed))
    (difference,) = json.loads(llamalog("diff", "GOOD", "1", *between, "--format", "json").stdout)
    assert (difference["field"], difference["after"]) == ("name", "x")
    assert llamalog("diff", "GOOD", "1", *between).stderr == shown.stderr

    test_cli.failed(
        llamalog("as-of", "GOOD", "tea"),
        2,
        'error: invalid value: "tea" is no time',
        "as-of --help",
    )
    for wrong in ((), (first,), between[:2], (first, *between), (first, first, *between)):
        test_cli.failed(
            llamalog("diff", "GOOD", "1", *wrong), 2, "error: give two times", "diff --help"
        )
