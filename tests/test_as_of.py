"""A row at an instant, who set its fields, what became of it: against what was read from the table at that time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import test_properties
from conftest import sampled
from hypothesis import given, note
from hypothesis import strategies as st
from test_properties import PROFILE, every_value, statements, variants, write

from llamalog_sql import queries, watching
from llamalog_sql.errors import LlamaLogError, Misuse, NotKnown, UnknownEntityType
from llamalog_sql.watching import Options

#: The tables of the properties, and whatever is written to them.
migrated, watched = test_properties.migrated, test_properties.watched


def clock(conn):
    return conn.execute("SELECT clock_timestamp()").fetchone()[0]


def at(conn, statement, *parameters):
    """Run a statement, and return the instant after it."""
    conn.execute(statement, parameters)
    return clock(conn)


def prices(conn, options=None):
    conn.execute(
        'CREATE TABLE prices (id integer PRIMARY KEY, "the amount" numeric, tags text[], note jsonb, f float8,'
        " email text, updated_at timestamptz, twice numeric GENERATED ALWAYS AS (id * 2) STORED)"
    )
    watching.watch(conn, ["prices"], options or Options())


# -- as of ------------------------------------------------------------------------------------------------------------


def test_a_row_as_it_was_at_each_instant(each_db):
    db = each_db
    prices(db)
    before = clock(db)
    first = at(
        db,
        "INSERT INTO prices VALUES (1, 1.0, '{a}', 'null', '-0', 'a@b', '2026-01-01')",
    )
    second = at(db, """UPDATE prices SET "the amount" = 1.00, note = NULL, updated_at = now()""")
    third = at(db, "UPDATE prices SET f = 0, tags = NULL, updated_at = now()")
    gone = at(db, "DELETE FROM prices")
    again = at(db, "INSERT INTO prices (id) VALUES (1)")
    rows = [queries.as_of(db, "PRICE", "1", when) for when in (before, first, second, third, gone)]
    common = {"id": 1, "email": "a@b"}
    assert rows == [
        None,
        {**common, "the amount": Decimal("1.0"), "tags": ["a"], "note": {"$json": None}, "f": "-0"},
        {**common, "the amount": Decimal("1.00"), "tags": ["a"], "note": None, "f": "-0"},
        {**common, "the amount": Decimal("1.00"), "tags": None, "note": None, "f": 0},
        None,
    ]
    assert [str(row["the amount"]) for row in rows[1:4]] == ["1.0", "1.00", "1.00"]
    assert queries.as_of(db, "price", "01", again) == {
        "id": 1, "the amount": None, "tags": None, "note": None, "f": None, "email": None,
    }  # fmt: skip


@pytest.mark.parametrize("capture", ["rendered", "statement", "tolerant"])
@pytest.mark.parametrize("image", ["none", "full"])
def test_redacted_ignored_and_generated_columns_are_absent(db, capture, image):
    prices(db, Options(capture=capture, image=image, redact=["email"]))
    first = at(db, "INSERT INTO prices VALUES (1, 1.0, '{a}', 'null', 0, 'a@b', '2026-01-01')")
    db.execute("UPDATE prices SET email = 'c@d', f = 2, updated_at = now()")
    db.execute("DELETE FROM prices")
    names = {"id", "the amount", "tags", "note", "f"}
    row = queries.as_of(db, "PRICE", "1", first)
    assert set(row) == names
    assert row["f"] == 0
    assert {blamed.field for blamed in queries.blame(db, "PRICE", "1")} == names


def test_a_row_is_followed_through_changes_of_its_key(each_db):
    db = each_db
    prices(db)
    first = at(db, "INSERT INTO prices (id, email) VALUES (1, 'one')")
    second = at(db, "UPDATE prices SET id = 2")
    db.execute("INSERT INTO prices (id, email) VALUES (1, 'another')")
    assert [queries.as_of(db, "PRICE", "2", t)["id"] for t in (first, second)] == [1, 2]
    assert queries.as_of(db, "PRICE", "2", first)["email"] == "one"
    assert queries.as_of(db, "PRICE", "1", first) is None
    assert {b.field: b.category for b in queries.blame(db, "PRICE", "2")}["id"] == "UPDATED"


def test_an_old_key_that_nobody_has_leads_to_the_row(db):
    prices(db)
    first = at(db, "INSERT INTO prices (id, email) VALUES (1, 'one')")
    second = at(db, "UPDATE prices SET id = 2")
    assert queries.as_of(db, "PRICE", "1", first)["id"] == 1
    assert queries.as_of(db, "PRICE", "1", second)["id"] == 2


def test_composite_and_text_keys_and_a_column_named_as_our_row(each_db):
    db = each_db
    db.execute(
        'CREATE TABLE "odd ""shelf" (room text, "slot,s" text, live integer, live_ integer, PRIMARY KEY (room, "slot,s"))'
    )
    watching.watch(db, ['"odd ""shelf"'], Options(entity_type="SHELF"))
    first = at(db, """INSERT INTO "odd ""shelf" VALUES ('a,b', E'c\\\\d', 1, 2)""")
    (shelf,) = db.execute("SELECT DISTINCT entity_id FROM llamalog.log WHERE entity_type = 'SHELF'")
    db.execute('UPDATE "odd ""shelf" SET live = 3')
    assert queries.as_of(db, "SHELF", shelf[0], first) == {
        "room": "a,b", "slot,s": "c\\d", "live": 1, "live_": 2,
    }  # fmt: skip
    assert queries.as_of(db, "SHELF", shelf[0], clock(db))["live"] == 3


@pytest.mark.parametrize("key", ["abc", "a" * 2000], ids=["padded", "long"])
@pytest.mark.parametrize("kind", ["char(2005)", "text"])
def test_a_key_of_characters_is_found_whatever_its_length(each_db, kind, key):
    db = each_db
    db.execute(f"CREATE TABLE words (word {kind} PRIMARY KEY, n integer)".encode())
    watching.watch(db, ["words"])
    first = at(db, "INSERT INTO words VALUES (%s, 1)", key)
    ((entity_id,),) = db.execute("SELECT entity_id FROM llamalog.log WHERE entity_type = 'WORD'")
    db.execute("UPDATE words SET n = 2")
    assert queries.as_of(db, "WORD", entity_id, first)["n"] == 1
    assert {b.field: b.value for b in queries.blame(db, "WORD", entity_id)}["n"] == 2


def test_an_id_of_a_type_that_is_taken_as_given_finds_nothing_in_another_spelling(db):
    db.execute("CREATE TABLE sizes (size double precision PRIMARY KEY, n integer)")
    watching.watch(db, ["sizes"])
    first = at(db, "INSERT INTO sizes VALUES (1.0, 1)")
    assert queries.as_of(db, "SIZE", "1", first)["n"] == 1
    assert queries.as_of(db, "SIZE", "1.0", first) is None


def test_a_truncated_row_comes_from_its_image(db):
    prices(db)
    first = at(db, "INSERT INTO prices (id, f) VALUES (1, 2)")
    gone = at(db, "TRUNCATE prices")
    assert queries.as_of(db, "PRICE", "1", first)["f"] == 2
    assert queries.as_of(db, "PRICE", "1", gone) is None


def test_a_column_that_is_gone_is_shown_where_the_log_has_it(db):
    prices(db)
    db.execute("INSERT INTO prices (id, f, email) VALUES (1, 2, 'kept')")
    first = clock(db)
    db.execute("UPDATE prices SET f = 3")
    db.execute("ALTER TABLE prices DROP COLUMN f, DROP COLUMN email")
    row = queries.as_of(db, "PRICE", "1", first)
    assert row["f"] == 2
    assert "email" not in row


def test_an_entity_that_never_was_did_not_exist(db):
    assert queries.as_of(db, "ALBUM", "00000000-0000-0000-0000-000000000000", clock(db)) is None
    assert queries.blame(db, "ALBUM", "00000000-0000-0000-0000-000000000000") == []


# -- what cannot be known ---------------------------------------------------------------------------------------------


def test_before_watching_nothing_is_known(db):
    db.execute("CREATE TABLE prices (id integer PRIMARY KEY, f integer)")
    db.execute("INSERT INTO prices VALUES (1, 1)")
    early = clock(db)
    watching.watch(db, ["prices"])
    (since,) = db.execute(
        "SELECT watched_at FROM llamalog.watches WHERE entity_type = 'PRICE'"
    ).fetchone()
    with pytest.raises(NotKnown, match='what PRICE "1" was at') as error, db.transaction():
        queries.as_of(db, "PRICE", "1", early)
    assert error.value.sqlstate == "LL016"
    assert "is watched since" in error.value.detail
    assert f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S}" in error.value.hint
    assert queries.as_of(db, "PRICE", "1", since) == {"id": 1, "f": 1}
    assert [(b.field, b.seq) for b in queries.blame(db, "PRICE", "1")] == [
        ("f", None),
        ("id", None),
    ]


def test_what_a_row_has_become_since_its_table_was_unwatched_is_not_known(db, new):
    kept, gone = new.artist(db, "kept"), new.artist(db, "gone")
    first = clock(db)
    db.execute("DELETE FROM artists WHERE id = %s", [gone])
    watching.unwatch(db, ["artists"])
    assert queries.as_of(db, "ARTIST", gone, first)["name"] == "gone"
    with pytest.raises(NotKnown, match="is not known") as error, db.transaction():
        queries.as_of(db, "ARTIST", kept, first)
    assert "no longer watched" in error.value.detail


@pytest.mark.parametrize("when", [datetime(2100, 1, 1, tzinfo=UTC), None])
def test_an_instant_that_has_not_come_is_refused(db, when):
    with pytest.raises(Misuse, match=r"in the future|missing"), db.transaction():
        queries.as_of(db, "ALBUM", "00000000-0000-0000-0000-000000000000", when)


def test_questions_refuse_types_ids_and_instants_that_are_none(db):
    now = clock(db)
    some = "00000000-0000-0000-0000-000000000000"
    for ask in (
        lambda kind, key: queries.as_of(db, kind, key, now),
        lambda kind, key: queries.diff(db, kind, key, now, now),
        lambda kind, key: queries.blame(db, kind, key),
        lambda kind, key: queries.breaks(db, kind, key),
    ):
        with pytest.raises(UnknownEntityType), db.transaction():
            ask("ALBM", some)
        with pytest.raises(LlamaLogError, match="malformed id"), db.transaction():
            ask("ALBUM", "7")
    with pytest.raises(Misuse, match="is after the end"), db.transaction():
        queries.diff(db, "ALBUM", some, now, now - timedelta(1))


def test_the_table_is_read_with_the_rights_of_the_caller(db, new):
    album = new.album(db)
    db.execute("CREATE ROLE analyst")
    db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst")
    now = clock(db)
    db.execute("SET ROLE analyst")
    with pytest.raises(LlamaLogError, match="permission denied for table albums"), db.transaction():
        queries.as_of(db, "ALBUM", album, now)
    db.execute("RESET ROLE")
    db.execute("GRANT SELECT ON albums TO analyst")
    db.execute("SET ROLE analyst")
    assert queries.as_of(db, "ALBUM", album, now)["title"] == "OK Computer"
    assert queries.blame(db, "ALBUM", album)
    db.execute("RESET ROLE")


# -- blame, diff and breaks -------------------------------------------------------------------------------------------


def test_blame_names_the_change_that_set_each_field(each_db):
    db = each_db
    prices(db)
    db.execute(
        "SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add', user_id => 'ann')"
    )
    db.execute("INSERT INTO prices (id, f, email) VALUES (1, 1, 'a')")
    db.execute(
        "SELECT llamalog.set_context(source => 'manual_edit', job_id => 'edit', user_id => 'mia')"
    )
    db.execute("UPDATE prices SET f = 2")
    db.execute("UPDATE prices SET f = 3")
    blamed = {b.field: b for b in queries.blame(db, "PRICE", "1")}
    history = queries.history(db, "PRICE", "1")
    assert (blamed["f"].seq, blamed["f"].category, blamed["f"].value) == (
        history[0].seq,
        "CORRECTED",
        3,
    )
    assert (blamed["f"].source, blamed["f"].job_id, blamed["f"].user_id) == (
        "manual_edit",
        "edit",
        "mia",
    )
    assert {blamed[f].seq for f in ("id", "email", "tags", "note")} == {history[2].seq}
    assert (blamed["email"].category, blamed["email"].user_id) == ("CREATED", "ann")
    db.execute("DELETE FROM prices")
    assert {b.field: b for b in queries.blame(db, "PRICE", "1")} == blamed


def test_a_field_that_no_change_in_the_log_set_is_unknown(db):
    prices(db)
    db.execute("INSERT INTO prices (id, f) VALUES (1, 1)")
    db.execute("UPDATE prices SET f = 2")
    db.execute("ALTER TABLE prices ADD COLUMN stock integer DEFAULT 5")
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute("UPDATE prices SET f = 3")
    db.execute("SET LOCAL session_replication_role = origin")
    blamed = {b.field: b for b in queries.blame(db, "PRICE", "1")}
    assert [blamed[name].seq for name in ("f", "stock")] == [None, None]
    assert blamed["id"].category == "CREATED"


def test_diff_shows_the_fields_that_differ(each_db):
    db = each_db
    prices(db)
    before = clock(db)
    first = at(db, """INSERT INTO prices (id, f, "the amount") VALUES (1, 1, 1.0)""")
    second = at(db, """UPDATE prices SET f = NULL, "the amount" = 1.00""")
    gone = at(db, "DELETE FROM prices")

    def told(start, end):
        return [
            (d.field, d.change, d.before, d.after)
            for d in queries.diff(db, "PRICE", "1", start, end)
        ]

    assert told(first, second) == [("f", "changed", 1, None), ("the amount", "changed", 1, 1)]
    assert told(first, first) == told(before, gone) == []
    assert {change for _, change, _, _ in told(before, second)} == {"created"}
    assert ("the amount", "deleted", Decimal("1.00"), None) in told(second, gone)


@pytest.mark.parametrize("image", ["none", "full"])
def test_breaks_shows_writes_that_no_capture_saw(db, image):
    prices(db, Options(image=image))
    db.execute("INSERT INTO prices (id, f) VALUES (1, 1)")
    db.execute("UPDATE prices SET f = 2")
    assert queries.breaks(db, "PRICE", "1") == []
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute("UPDATE prices SET f = 3")
    db.execute("SET LOCAL session_replication_role = origin")
    (now,) = queries.breaks(db, "PRICE", "1")
    assert (now.field, now.left_value, now.found, now.found_seq) == ("f", 2, 3, None)
    db.execute("UPDATE prices SET f = 4")
    (then,) = queries.breaks(db, "PRICE", "1")
    assert (then.field, then.left_value, then.found) == ("f", 2, 3)
    assert then.found_seq > then.after_seq == now.after_seq
    last = clock(db)
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute("DELETE FROM prices")
    db.execute("SET LOCAL session_replication_role = origin")
    gone = queries.breaks(db, "PRICE", "1")[1:]
    assert [(b.field, b.found_seq) for b in gone] == [(None, None)]
    with pytest.raises(NotKnown, match="is not known"), db.transaction():
        queries.as_of(db, "PRICE", "1", last)


# -- whatever is written ----------------------------------------------------------------------------------------------


def image(db, kind, row):
    """Read the image of a row as texts, as its table prints them; None for none."""
    if row is None:
        return None
    table = db.tables[kind]
    texts = {
        name: db.reader._value(table.types[name], text)
        for name, text in row.items()
        if name in table.types
    }
    assert texts.keys() == table.types.keys() - table.ignored
    return texts


def rows_at(db, when):
    """Return every row that the log or the tables know, by type and id, as it was at an instant."""
    found = {}
    for kind in (kind for kind, table in db.tables.items() if not table.is_link):
        key = key_of(db, kind).replace("%", "%%")
        ids = f"SELECT {key} FROM app.{kind.lower()} AS r"
        for key, names, values in db.conn.execute(
            f"SELECT id, (SELECT array_agg(f.key ORDER BY f.key) FROM jsonb_each(row) AS f),"
            " (SELECT array_agg(f.value::text ORDER BY f.key) FROM jsonb_each(row) AS f)"
            " FROM (SELECT id, llamalog.as_of(%s, id, %s) AS row FROM"
            " (SELECT entity_id FROM llamalog.log WHERE entity_type = %s AND link_type IS NULL"
            f" UNION {ids}) AS known (id)) AS known".encode(),
            [kind, when, kind],
        ).fetchall():
            row = None if names is None else dict(zip(names, values, strict=True))
            found[kind, key] = image(db, kind, row)
    return found


def key_of(db, kind):
    (expression,) = db.conn.execute(
        "SELECT llamalog.key_expression(llamalog.table_of(watch), watch.key_columns, 'r')"
        " FROM llamalog.watches AS watch WHERE watch.entity_type = %s",
        [kind],
    ).fetchone()
    return expression


def prove_as_of(db, steps):
    """At the end of each step every row is as it was read then; blame and diff agree with that."""
    # what the driver reads, and what ids are made under
    db.conn.execute("SET LOCAL DateStyle = 'ISO'")
    db.conn.execute("SET LOCAL TimeZone = 'UTC'")
    ever_renamed = {
        key
        for row in db.conn.execute(
            "SELECT entity_type, entity_id, previous_id FROM llamalog.log"
            " WHERE previous_id IS NOT NULL AND link_type IS NULL"
        )
        for key in ((row[0], row[1]), (row[0], row[2]))
    }
    instants = [
        (step.after, db.conn.execute(
            "SELECT created_at FROM llamalog.log WHERE seq = %s", [step.last.seq]
        ).fetchone()[0])
        for step in steps
        if step.last.seq > step.first.seq
    ]  # fmt: skip
    for state, when in instants:
        state = {
            at: db.tables[at[0]].watched(row)
            for at, row in state.items()
            if not db.tables[at[0]].is_link
        }
        found = rows_at(db, when)
        for (kind, key), row in found.items():
            # under a key that changed, it is the row of that time with the key of that time
            assert row is None or row == state[kind, db.tables[kind].key_of(row)], (kind, key, when)
        prove_as_of_all(db, when, state)
        for kind, table in db.tables.items():
            if table.is_link:
                continue
            steady = [
                row
                for (k, key), row in found.items()
                if k == kind and row is not None and (k, key) not in ever_renamed
            ]
            assert len({table.key_of(row) for row in steady}) == len(steady)
        if not ever_renamed:
            assert {(k, db.tables[k].key_of(row)) for (k, _), row in found.items() if row} == set(
                state
            )
    if instants:
        prove_blame(db, instants[-1][1])
        first, middle, last = (instants[n][1] for n in (0, len(instants) // 2, len(instants) - 1))
        prove_diff(db, sorted({first, last}), middle)


def prove_diff(db, ends, middle):
    """From one instant to another, diff says how as_of differs; and what it says of two parts is what it says of the whole."""
    first, last = ends[0], ends[-1]
    for kind in (kind for kind, table in db.tables.items() if not table.is_link):
        keys = db.conn.execute(
            "SELECT entity_id FROM llamalog.log WHERE entity_type = %s AND link_type IS NULL GROUP BY 1 ORDER BY min(seq) LIMIT 3",
            [kind],
        ).fetchall()
        for (key,) in keys:
            whole, one, two = (
                {
                    d.field: (str(d.before), str(d.after))
                    for d in queries.diff(db.conn, kind, key, *span)
                }
                for span in ((first, last), (first, middle), (middle, last))
            )
            composed = {
                field: ((one.get(field) or two[field])[0], (two.get(field) or one[field])[1])
                for field in one.keys() | two.keys()
            }
            assert {f: ends for f, ends in composed.items() if ends[0] != ends[1]} == {
                f: ends for f, ends in whole.items() if ends[0] != ends[1]
            }, (kind, key)


def prove_as_of_all(db, when, state):
    """All rows of each type stand there once, each under the key of that time, and no other does."""
    for kind in (kind for kind, table in db.tables.items() if not table.is_link):
        found = db.conn.execute(
            "SELECT entity_id, (SELECT array_agg(f.key ORDER BY f.key) FROM jsonb_each(image) AS f),"
            " (SELECT array_agg(f.value::text ORDER BY f.key) FROM jsonb_each(image) AS f)"
            " FROM llamalog.as_of_all(%s, %s)",
            [kind, when],
        ).fetchall()
        rows = [
            image(db, kind, dict(zip(names, values, strict=True))) for _, names, values in found
        ]
        by_key = {(kind, db.tables[kind].key_of(row)): row for row in rows}
        assert len({entity_id for entity_id, _, _ in found}) == len(by_key) == len(rows)
        assert by_key == {at: row for at, row in state.items() if at[0] == kind}


def prove_blame(db, now):
    for kind, table in db.tables.items():
        if table.is_link:
            continue
        for key, row in db.conn.execute(
            "SELECT known.id, llamalog.as_of(%s, known.id, %s) FROM (SELECT DISTINCT entity_id FROM llamalog.log"
            " WHERE entity_type = %s AND link_type IS NULL) AS known (id)",
            [kind, now, kind],
        ).fetchall():
            blamed = queries.blame(db.conn, kind, key)
            if row is not None:
                assert {b.field for b in blamed} == row.keys()
            log = {change.seq: change for change in queries.history(db.conn, kind, key, limit=1000)}
            for b in blamed:
                if b.seq is not None:
                    change = log[b.seq]
                    assert b.field in (change.fields_enriched or []) or b.value is None
                    assert change.op == "I" or str(change.after[b.field]) == str(b.value)
                    assert not [
                        s
                        for s, c in log.items()
                        if s > b.seq and c.op == "U" and b.field in c.after
                    ]
                else:
                    assert not any(
                        c.op in ("I", "U") and b.field in (c.fields_enriched or [])
                        for c in log.values()
                    )
            assert queries.breaks(db.conn, kind, key) == []


@pytest.mark.parametrize(
    "watched", sampled(variants("types", "family", "partitions"), 7), indirect=True
)
@PROFILE
@given(data=st.data())
def test_as_of_gives_what_was_read_at_that_time(watched, data):
    texts = data.draw(statements(watched.scene), label="statements")
    with watched.conn.transaction(force_rollback=True):
        prove_as_of(watched, write(watched, texts, note))


@pytest.mark.parametrize("watched", sampled(variants("values"), 5), indirect=True)
def test_as_of_gives_every_value_of_every_type(watched):
    with watched.conn.transaction(force_rollback=True):
        prove_as_of(watched, write(watched, [*every_value()]))
