"""Old months leave for files, proved row by row; how living entities came stays; whatever is killed, no row is lost."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from conftest import sampled, until_alone
from psycopg import sql

from llamalog_sql import archive, errors, migrate, queries, retention, sizes, watching
from llamalog_sql.adoption import adopt
from llamalog_sql.cli import main

TWO_YEARS = retention.Policy(24)
ROOT = Path(__file__).parents[1]


def values(conn, query, parameters=None):
    return [row[0] for row in conn.execute(query, parameters).fetchall()]


def value(conn, query, parameters=None):
    return values(conn, query, parameters)[0]


def age(conn, months):
    """Make the changes of this minute `months` old, and give them their month."""
    conn.execute(
        "UPDATE llamalog.llama_logs SET created_at = created_at - make_interval(months => %(m)s),"
        " transaction_at = transaction_at - make_interval(months => %(m)s)"
        " WHERE created_at > now() - interval '1 day'",
        {"m": months},
    )
    migrate.maintain(conn)


def everything(conn):
    """Every row of the log but those about retention, as text."""
    with conn.transaction():
        conn.execute("SET LOCAL TimeZone = 'UTC'")
        return values(
            conn,
            "SELECT log::text FROM llamalog.llama_logs AS log WHERE operation NOT LIKE 'maintain:%' ORDER BY id",
        )


def story(conn, album, kind="ALBUM"):
    return [change.category for change in reversed(queries.history(conn, kind, album))]


def archived(conn, columns="*"):
    return conn.execute(f"SELECT {columns} FROM llamalog.archived_months ORDER BY id").fetchall()


@pytest.fixture
def own_dsn(database):
    address = {**database.info.get_parameters(), "password": database.info.password}
    return psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})


@pytest.fixture
def llamalog(own_dsn):
    def run(*arguments):
        runner = CliRunner(env={"LLAMALOG_DSN": own_dsn, "COLUMNS": "200"})
        return runner.invoke(main, list(arguments), catch_exceptions=False)

    return run


@pytest.fixture
def old_album(database, new):
    """An album of three years ago, with a track, a link, and changes; its last change is of today."""
    conn = database
    with conn.transaction():
        conn.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add-1')")
        album, artist = new.album(conn), new.artist(conn)
        new.link(conn, album, artist)
        track = new.track(conn, album)
    conn.execute("UPDATE albums SET label = 'Parlophone'")
    conn.execute("UPDATE tracks SET title = 'Airbag (live)'")
    age(conn, 36)
    conn.execute("UPDATE albums SET label = 'XL'")
    return album, artist, track


# -- what stays -------------------------------------------------------------------------------------------------------


def test_of_a_living_entity_stays_how_it_came(database, old_album, tmp_path):
    album, artist, track = old_album
    before = [(c.category, c.seq) for c in queries.chain(database, "ALBUM", album, limit=99).logs]
    retention.keep(database, TWO_YEARS, tmp_path)
    assert story(database, album) == ["CREATED", "LINKED", "UPDATED"]
    assert story(database, track, "TRACK") == ["CREATED"]
    assert story(database, artist, "ARTIST") == ["CREATED"]
    after = [(c.category, c.seq) for c in queries.chain(database, "ALBUM", album, limit=99).logs]
    assert set(after) < set(before)
    assert [category for category, _ in after].count("CREATED") == 3
    root = queries.tree(database, "ALBUM", album)[0]
    assert (root.category, root.entity_id, root.job_id) == ("CREATED", album, "add-1")


def test_why_begins_at_the_beginning_and_says_what_is_archived(database, old_album, tmp_path):
    album, *_ = old_album
    retention.keep(database, TWO_YEARS, tmp_path)
    told = queries.why(database, "ALBUM", album)
    assert "was created" in told[0].sentence
    assert told[1].sentence == "Changes of ALBUM “OK Computer” before this are archived."
    assert told[1].created_at == value(database, "SELECT llamalog.archived_before()")
    assert "was updated" in told[2].sentence
    assert len(told) == 3


def test_what_came_later_is_not_said_to_be_archived(database, old_album, new, tmp_path):
    retention.keep(database, TWO_YEARS, tmp_path)
    album = new.album(database, "In Rainbows")
    assert not any("archived" in s.sentence for s in queries.why(database, "ALBUM", album))
    assert queries.detail_since(database, "ALBUM", album) is None


def test_nothing_of_a_deleted_entity_stays(database, old_album, tmp_path):
    album, _, track = old_album
    database.execute("DELETE FROM tracks")
    retention.keep(database, TWO_YEARS, tmp_path)
    assert story(database, track, "TRACK") == ["DELETED"]
    assert story(database, album)[0] == "CREATED"


def test_an_entity_that_was_deleted_and_made_again_lives(database, old_album, new, tmp_path):
    album, _, _ = old_album
    database.execute("DELETE FROM albums")
    new.album(database, id=album)
    retention.keep(database, TWO_YEARS, tmp_path)
    assert story(database, album)[0] == "CREATED"


def test_truncated_entities_do_not_live(database, old_album, tmp_path):
    album, _, _ = old_album
    database.execute("TRUNCATE albums CASCADE")
    retention.keep(database, TWO_YEARS, tmp_path)
    assert "CREATED" not in story(database, album)


def test_a_story_begins_under_the_first_of_its_keys(database, tmp_path):
    database.execute("CREATE TABLE prices (id int PRIMARY KEY, amount int)")
    watching.watch(database, ["prices"])
    database.execute("INSERT INTO prices VALUES (1, 1), (11, 1)")
    database.execute("UPDATE prices SET amount = 2")
    for step in ("id = 2 WHERE id = 1", "id = 3 WHERE id = 2", "id = 12 WHERE id = 11"):
        database.execute(f"UPDATE prices SET {step}")
    database.execute("UPDATE prices SET amount = 3")
    database.execute("DELETE FROM prices WHERE id = 12")
    age(database, 30)
    retention.keep(database, TWO_YEARS, tmp_path)
    kept = [(c.category, c.previous_id) for c in queries.history(database, "PRICE", "3")]
    assert kept == [("UPDATED", "2"), ("UPDATED", "1"), ("CREATED", None)]
    # the other went, under each of its keys
    assert (
        values(database, "SELECT entity_id FROM llamalog.log WHERE entity_id IN ('11', '12')") == []
    )


def test_a_move_between_partitions_leaves_as_a_whole(database, tmp_path):
    database.execute(
        "CREATE TABLE offers (id int, region text, amount int, PRIMARY KEY (id, region)) PARTITION BY LIST (region);"
        "CREATE TABLE offers_eu PARTITION OF offers FOR VALUES IN ('eu');"
        "CREATE TABLE offers_us PARTITION OF offers FOR VALUES IN ('us', 'ca')"
    )
    watching.watch(database, ["offers"])
    database.execute("INSERT INTO offers VALUES (1, 'eu', 5)")
    database.execute("UPDATE offers SET region = 'us'")
    age(database, 30)
    before = [(c.category, c.before, c.after) for c in queries.history(database, "OFFER", "1,us")]
    retention.keep(database, TWO_YEARS, tmp_path)
    after = [(c.category, c.before, c.after) for c in queries.history(database, "OFFER", "1,us")]
    # the key changed: both halves stay, and say what changed
    assert after == before
    assert [category for category, *_ in after] == ["UPDATED", "CREATED"]


# -- the file ---------------------------------------------------------------------------------------------------------

STRANGE = [
    {"reason": "", "metadata": "null", "sources": ["", "NULL", 'a"b', "c,d", "e\\f", "\n"]},
    {"reason": 'line\r\nbreak, "quoted" \\. \t🦙', "before": '{"a": 1.00, "b": [null, 1e400]}'},
    {"reason": None, "sources": [], "fields_enriched": [None], "duration_ms": -(2**31)},
    {"transaction_at": "infinity", "txid": "18446744073709551615"},
    {"transaction_at": "-infinity", "after": '"\\u0041"'},
    {"transaction_at": "0044-03-15 00:00:00.000001+00 BC", "status": "\\N"},
    {"transaction_at": "9999-12-31 23:59:59.999999+00", "error_message": "x" * 3_000_000},
]


def test_every_value_comes_back_as_it_was(database, tmp_path):
    database.execute("SET TimeZone = 'Pacific/Auckland'; SET DateStyle = 'SQL, DMY'")
    for number, row in enumerate(STRANGE):
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        database.execute(
            sql.SQL(
                "INSERT INTO llamalog.llama_logs (operation, category, created_at, {}) VALUES"
                " ('strange', 'UPDATED', date_trunc('month', now(), 'UTC') - interval '30 months'"
                "  + %s * interval '0.000001 s', {})"
            ).format(names, sql.SQL(", ").join([sql.Placeholder()] * len(row))),
            [number, *row.values()],
        )
    migrate.maintain(database)
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert everything(database) == []
    assert retention.restore(database, Path(done.file)).restored_rows == len(STRANGE)
    assert everything(database) == before


def test_numbers_and_times_are_numbers_and_times_in_the_file(database, old_album, tmp_path):
    import pyarrow.parquet

    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    table = pyarrow.parquet.read_table(done.file)
    kinds = {
        name: str(table.schema.field(name).type) for name in ("id", "created_at", "is_root_job")
    }
    assert kinds == {"id": "int64", "created_at": "timestamp[us, tz=UTC]", "is_root_job": "bool"}
    assert table.num_rows == done.archived_rows
    assert {row["category"] for row in table.to_pylist()} == {"CREATED", "LINKED", "UPDATED"}
    summary = archive.read(Path(done.file))
    assert (summary.row_count, summary.checksum) == (done.archived_rows, done.checksum)


def test_the_run_is_in_the_log(database, old_album, tmp_path):
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    row = database.execute(
        "SELECT entity_type, op, metadata FROM llamalog.log WHERE operation = 'maintain:archived'"
    ).fetchone()
    assert tuple(row) == (
        None,
        None,
        {
            "month": done.month,
            "rows": done.archived_rows,
            "changed_rows": done.removed_rows,
            "checksum": done.checksum,
            "file": done.file,
        },
    )
    (noted,) = archived(database)
    assert (noted.row_count, noted.removed_count, noted.file) == (
        done.archived_rows,
        done.removed_rows,
        done.file,
    )
    assert noted.compacted_at > noted.archived_at
    assert sorted(path.name for path in tmp_path.iterdir()) == [Path(done.file).name]


def test_a_second_run_finds_nothing_to_do(database, old_album, tmp_path):
    retention.keep(database, TWO_YEARS, tmp_path)
    before = everything(database)
    assert retention.keep(database, TWO_YEARS, tmp_path) == []
    assert everything(database) == before
    # entities that died since are no reason to archive a month again
    database.execute("DELETE FROM tracks")
    assert retention.keep(database, TWO_YEARS, tmp_path) == []


def test_months_without_rows_are_passed_over(database, tmp_path):
    for back in (40, 30):
        clock = value(database, "SELECT now() - make_interval(months => %s)", [back])
        database.execute("SELECT llamalog.maintain(0, clock => %s)", [clock])
    assert retention.keep(database, TWO_YEARS, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_month_leaves_when_the_whole_of_it_is_old(database, tmp_path):
    month = "date_trunc('month', now(), 'UTC') - interval '24 months'"
    for at in (month, f"{month} - interval '1 microsecond'"):
        database.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, created_at)"
            f" VALUES ('edge', 'UPDATED', {at})"
        )
    migrate.maintain(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert done.archived_rows == 1
    assert value(
        database, f"SELECT created_at = {month} FROM llamalog.log WHERE operation = 'edge'"
    )


def test_rows_of_the_far_past_leave_from_default(database, tmp_path):
    for instant in (
        "0044-03-15 00:00+00 BC",
        "-infinity",
        "1999-12-31 23:00+00",
        "1999-12-01 00:00+00",
        "infinity",
    ):
        database.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, created_at) VALUES ('far', 'UPDATED', %s)",
            [instant],
        )
    migrate.maintain(database)
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert (done.month, done.removed_rows) == ("1999-12", 2)
    assert value(database, "SELECT count(*) FROM llamalog.llama_logs_default") == 3
    retention.restore(database, Path(done.file))
    assert everything(database) == before


def test_rows_that_come_late_leave_next_time_for_a_file_of_their_own(database, old_album, tmp_path):
    (first,) = retention.keep(database, TWO_YEARS, tmp_path)
    late = "INSERT INTO llamalog.llama_logs (operation, category, created_at) VALUES ('late', 'UPDATED', %s)"
    database.execute(late, [f"{first.month}-02"])
    (second,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert second.removed_rows == 1
    assert Path(second.file).name == Path(first.file).name.replace(".parquet", "-2.parquet")


def test_a_row_written_while_its_month_is_archived_stays(
    database, old_album, connect, tmp_path, monkeypatch
):
    writer = connect(database)
    month = value(database, "SELECT min(created_at) FROM llamalog.log")
    written = archive.write

    def write_and_let_write(*arguments):
        written(*arguments)
        writer.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, created_at) VALUES ('late', 'UPDATED', %s)",
            [month],
        )

    monkeypatch.setattr(archive, "write", write_and_let_write)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert value(database, "SELECT count(*) FROM llamalog.log WHERE operation = 'late'") == 1
    assert archive.read(Path(done.file)).row_count == done.archived_rows


# -- types with a period of their own ---------------------------------------------------------------------------------


def test_a_type_may_leave_earlier_and_another_later(database, new, tmp_path):
    album = new.album(database)
    track = new.track(database, album)
    artist = new.artist(database)
    for table in ("albums", "tracks", "artists"):
        database.execute(f"UPDATE {table} SET updated_at = now(), spotify_id = 'x'")
    age(database, 30)
    before = everything(database)
    policy = retention.policy_of("24 months", ["track=6 months", "ARTIST=10 years"])
    (done,) = retention.keep(database, policy, tmp_path)
    assert story(database, album) == story(database, track, "TRACK") == ["CREATED"]
    assert story(database, artist, "ARTIST") == ["CREATED", "UPDATED"]
    assert queries.detail_since(database, "ARTIST", artist) is None
    assert queries.detail_since(database, "ALBUM", album) is not None
    assert done.archived_rows == 4
    retention.restore(database, Path(done.file))
    assert everything(database) == before


def test_a_type_leaves_first_and_its_month_later(database, new, tmp_path):
    album = new.album(database)
    track = new.track(database, album)
    database.execute("UPDATE albums SET label = 'XL'")
    database.execute("UPDATE tracks SET title = 'Live'")
    age(database, 30)
    before = everything(database)
    tracks = retention.policy_of(None, ["TRACK=6 months"])
    (first,) = retention.keep(database, tracks, tmp_path)
    assert retention.keep(database, tracks, tmp_path) == []
    assert story(database, album) == ["CREATED", "UPDATED"]
    assert story(database, track, "TRACK") == ["CREATED"]
    assert archived(database, "only_types")[0][0] == ["TRACK"]
    assert queries.detail_since(database, "ALBUM", album) is None
    (second,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert (first.archived_rows, second.archived_rows) == (2, 3)
    for file in (second.file, first.file):
        retention.restore(database, Path(file))
    assert everything(database) == before


# -- bringing back ----------------------------------------------------------------------------------------------------


def test_restoring_twice_changes_nothing_more(database, old_album, tmp_path, llamalog):
    album, *_ = old_album
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert len(everything(database)) == len(before) - done.removed_rows
    first = llamalog("restore-archive", done.file, "--format", "json")
    assert json.loads(first.stdout)[0]["restored_rows"] == done.removed_rows
    assert everything(database) == before
    assert queries.detail_since(database, "ALBUM", album) is None
    second = llamalog("restore-archive", done.file)
    assert f"0 of {done.archived_rows} rows brought back" in second.stderr
    assert everything(database) == before
    # a month brought back is archived by the next run
    (again,) = retention.keep(database, TWO_YEARS, tmp_path)
    assert again.checksum == done.checksum


def damaged(path, tmp_path):
    """Copies of an archive that are not what they say, by name."""
    whole = path.read_bytes()
    for name, content in {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "flipped": bytes([*whole[:200], whole[200] ^ 1, *whole[201:]]),
    }.items():
        broken = tmp_path / f"{name}.parquet"
        broken.write_bytes(content)
        yield broken


def test_a_damaged_file_brings_nothing_back(database, old_album, tmp_path, llamalog):
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    before = everything(database)
    for path in [*damaged(Path(done.file), tmp_path), tmp_path / "missing.parquet", tmp_path]:
        result = llamalog("restore-archive", str(path))
        assert result.exit_code == 1, path
        assert result.stderr.startswith("error: "), path
        assert path.name in result.stderr
        assert "hint: " in result.stderr
        assert everything(database) == before
    # nor does a whole one before it
    assert llamalog("restore-archive", done.file, str(tmp_path / "missing.parquet")).exit_code == 1
    assert everything(database) == before


def test_a_file_whose_rows_are_not_what_it_says_is_refused(database, old_album, tmp_path):
    import pyarrow
    import pyarrow.parquet

    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    table = pyarrow.parquet.read_table(done.file)
    forged = tmp_path / "forged.parquet"
    changed = pyarrow.array(["forged"] * table.num_rows)
    place = table.schema.get_field_index("user_id")
    pyarrow.parquet.write_table(table.set_column(place, table.schema.field(place), changed), forged)
    with pytest.raises(errors.LlamaLogError, match="is damaged") as caught:
        retention.restore(database, forged)
    assert caught.value.sqlstate == "XX001"
    assert archived(database, "restored_at")[0][0] is None


def test_a_file_that_says_nonsense_of_itself_is_refused(database, old_album, tmp_path):
    import pyarrow.parquet

    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    table = pyarrow.parquet.read_table(done.file)
    said = table.schema.metadata[b"llamalog"]
    garbled = tmp_path / "garbled.parquet"
    for other in (
        said[:-1],
        b"[]",
        b"{}",
        said.replace(b"checksum", b"\xff"),
        said.replace(b"checksum", b"check"),
        said.replace(b'"name"', b'"mame"'),
    ):
        pyarrow.parquet.write_table(table.replace_schema_metadata({"llamalog": other}), garbled)
        with pytest.raises(errors.LlamaLogError, match="is damaged") as caught:
            retention.restore(database, garbled)
        assert caught.value.sqlstate == "XX001"


def test_a_file_of_a_newer_version_is_refused(database, old_album, tmp_path):
    import pyarrow.parquet

    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    table = pyarrow.parquet.read_table(done.file)
    said = json.loads(table.schema.metadata[b"llamalog"])
    later = [*said["columns"], {**said["columns"][0], "name": "mood"}]
    for change, message in (
        ({"format": said["format"] + 1}, "was written by a newer version"),
        ({"columns": later}, "has columns that the log has not: mood"),
    ):
        newer = tmp_path / "newer.parquet"
        about = {"llamalog": json.dumps({**said, **change})}
        pyarrow.parquet.write_table(table.replace_schema_metadata(about), newer)
        with pytest.raises(errors.LlamaLogError, match=message) as caught:
            retention.restore(database, newer)
        assert caught.value.sqlstate == "0A000"
        assert (caught.value.hint or "").startswith("Upgrade llamalog-sql")


def test_rows_are_read_by_as_many_as_were_written_together(
    database, old_album, tmp_path, monkeypatch
):
    import pyarrow.parquet

    monkeypatch.setattr(archive, "_GROUP", 1)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    with pyarrow.parquet.ParquetFile(done.file) as file:
        assert {batch.num_rows for batch in archive._batches(file)} == {1}
    assert retention.restore(database, Path(done.file)).restored_rows == done.removed_rows


def test_a_parquet_file_of_somebody_else_is_refused(database, tmp_path, llamalog):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "other.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path)
    result = llamalog("restore-archive", str(path))
    assert result.stderr.startswith(f"error: {path} is no archive of llamalog (22023)")


def test_the_archive_of_another_log_is_refused_unless_that_is_meant(database, old_album, tmp_path):
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    database.execute("DELETE FROM llamalog.archived_months")
    with pytest.raises(errors.Misuse, match="was not archived from this log"):
        retention.restore(database, Path(done.file))
    # as where rows of another log have the same keys
    database.execute("UPDATE llamalog.llama_logs SET user_id = 'other' WHERE category = 'CREATED'")
    with pytest.raises(errors.Misuse, match="other rows where"):
        retention.restore(database, Path(done.file), is_foreign=True)
    database.execute("UPDATE llamalog.llama_logs SET user_id = NULL WHERE category = 'CREATED'")
    retention.restore(database, Path(done.file), is_foreign=True)
    assert everything(database) == before


def test_a_file_written_before_a_column_was_added_comes_back(database, old_album, tmp_path):
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    database.execute("ALTER TABLE llamalog.llama_logs ADD COLUMN later text")
    retention.restore(database, Path(done.file))
    database.execute("ALTER TABLE llamalog.llama_logs DROP COLUMN later")
    assert everything(database) == before


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "period",
    ["0 months", "-1", "-1 months", "", "24", "3 fortnights", "1.5 years", "99999 years", "months"],
)
def test_a_period_that_makes_no_sense_is_refused(llamalog, period, tmp_path):
    for option in (("--keep", period), ("--keep-type", f"TRACK={period}")):
        result = llamalog("maintain", *option, "--archive", str(tmp_path), "--yes")
        assert result.exit_code == 2
        assert re.match(
            r'error: ".*" is (no period|not TYPE=PERIOD) \(22023\)\nhint: ', result.stderr
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--keep", "2 years"], "--keep takes rows out of the log: where to?"),
        (["--keep", "2 years", "--archive", "/tmp", "--drop-rows"], "--keep takes rows"),
        (["--archive", "/tmp"], "--archive, --drop-rows and --format go with --keep"),
        (
            ["--keep", "2 years", "--archive", "/nowhere/at/all", "--yes"],
            "cannot write to /nowhere/at/all",
        ),
        (["--keep", "2 years", "--archive", "/proc", "--yes"], "cannot write to /proc"),
        (["--keep", "2 years", "--archive", __file__, "--yes"], "cannot write to"),
        (["--keep", "2 years", "--archive", "/tmp"], "a yes is needed: Archive 1 month to /tmp?"),
        (
            ["--keep", "2 years", "--drop-rows"],
            "a yes is needed: Archive 1 month NOWHERE, for good?",
        ),
        (["--keep-type", "NOTHING=2 years", "--drop-rows"], 'unknown entity type "NOTHING"'),
    ],
)
def test_what_cannot_be_meant_is_refused(llamalog, database, old_album, arguments, message):
    before = everything(database)
    result = llamalog("maintain", *arguments)
    assert result.exit_code != 0
    assert f"error: {message}" in result.stderr
    assert "hint: " in result.stderr
    assert everything(database) == before


def test_without_pyarrow_it_says_what_to_install(llamalog, old_album, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = llamalog("maintain", "--keep", "2 years", "--archive", str(tmp_path), "--yes")
    assert result.exit_code == 1
    assert "hint: Run: pip install 'llamalog-sql[archive]'" in result.stderr
    # to drop rows needs none
    assert llamalog("maintain", "--keep", "2 years", "--drop-rows", "--yes").exit_code == 0


def test_only_the_owner_of_the_log_may(database, old_album, connect, tmp_path):
    database.execute("DROP ROLE IF EXISTS keeper; CREATE ROLE keeper LOGIN PASSWORD 'k'")
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO keeper")
    stranger = connect(database, user="keeper", password="k")
    for attempt in (
        lambda: retention.keep(stranger, TWO_YEARS, tmp_path),
        lambda: retention.restore(stranger, tmp_path / "x.parquet"),
    ):
        with pytest.raises(errors.LlamaLogError) as caught:
            attempt()
        assert (caught.value.sqlstate, caught.value.hint) == (
            "42501",
            "Connect as the role that installed llamalog.",
        )
    assert list(tmp_path.iterdir()) == []
    stranger.close()
    database.execute("DROP OWNED BY keeper; DROP ROLE keeper")


def test_whoever_could_ask_before_archives_were_there_can_ask_still(
    database, old_album, connect, tmp_path
):
    album, *_ = old_album
    database.execute("DROP ROLE IF EXISTS analyst; CREATE ROLE analyst LOGIN PASSWORD 'a'")
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst")
    database.execute("REVOKE SELECT ON llamalog.archived_months FROM analyst")
    retention.keep(database, TWO_YEARS, tmp_path)
    analyst = connect(database, user="analyst", password="a")
    assert any("archived" in said.sentence for said in queries.why(analyst, "ALBUM", album))
    analyst.close()
    database.execute("DROP OWNED BY analyst; DROP ROLE analyst")


def test_an_adopted_log_is_the_applications_to_keep(database, tmp_path, llamalog):
    database.execute(
        "CREATE TABLE audit (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), operation text, created_at timestamptz)"
    )
    adopt.adopt(database, "public.audit")
    result = llamalog("maintain", "--keep", "2 years", "--archive", str(tmp_path), "--yes")
    assert result.exit_code == 2
    assert "the application's own, and has no months (22023)\nhint: " in result.stderr
    assert llamalog("stats", "--size").exit_code == 0


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_shows_its_plan_and_asks_nothing_of_dry_run_and_sql(
    llamalog, database, old_album, tmp_path
):
    before = everything(database)
    keeping = ["maintain", "--keep", "24 months", "--archive", str(tmp_path)]
    planned = llamalog(*keeping, "--dry-run")
    assert re.search(r"would archive \d{4}-\d\d: 6 rows, 2 leave the log, 4 stay\n", planned.stdout)
    (month,) = json.loads(llamalog(*keeping, "--dry-run", "--format", "json").stdout)
    assert (month["archived_rows"], month["removed_rows"]) == (6, 2)
    script = llamalog(*keeping, "--sql").stdout
    assert [
        word
        for word in ("maintain(", "COPY (SELECT", "DELETE FROM", "VACUUM (FULL)")
        if word not in script
    ] == []
    assert everything(database) == before
    assert list(tmp_path.iterdir()) == []


def test_the_command_archives_and_questions_say_so(llamalog, database, old_album, tmp_path):
    album, *_ = old_album
    result = llamalog(
        "maintain", "--keep", "24 months", "--archive", str(tmp_path), "--yes", "--format", "json"
    )
    (done,) = json.loads(result.stdout)
    assert (done["removed_rows"], done["kept_rows"]) == (2, 4)
    since = value(
        database, "SELECT to_char(llamalog.archived_before() AT TIME ZONE 'UTC', 'YYYY-MM')"
    )
    for question in ("history", "chain", "tree"):
        asked = llamalog(question, "ALBUM", album)
        assert f"changes before {since} are archived" in asked.stderr
        assert "archived" not in asked.stdout
    assert "before this are archived." in llamalog("why", "ALBUM", album).stdout
    assert (
        "no month is to be archived"
        in llamalog("maintain", "--keep", "24 months", "--archive", str(tmp_path), "--yes").stderr
    )


def test_rows_may_be_dropped_for_good_if_that_is_meant(llamalog, database, old_album):
    album, *_ = old_album
    result = llamalog("maintain", "--keep", "2 years", "--drop-rows", "--yes")
    assert result.exit_code == 0, result.stderr
    assert story(database, album) == ["CREATED", "LINKED", "UPDATED"]
    assert archived(database, "file")[0][0] is None


def test_stats_say_what_takes_the_room(llamalog, database, old_album):
    database.execute("ANALYZE llamalog.llama_logs")
    found = json.loads(llamalog("stats", "--size", "--format", "json").stdout)
    by_kind = {
        kind: [line for line in found if line["what"] == kind]
        for kind in ("partition", "other", "type", "total")
    }
    assert sum(line["row_count"] for line in by_kind["partition"]) == len(everything(database))
    assert {line["name"] for line in by_kind["type"]} == {"ALBUM", "ARTIST", "TRACK"}
    (total,) = by_kind["total"]
    assert total["total_bytes"] == sum(
        line["total_bytes"] for line in by_kind["partition"] + by_kind["other"]
    )
    for line in by_kind["partition"]:
        assert line["heap_bytes"] + line["toast_bytes"] + line["index_bytes"] == line["total_bytes"]
    assert abs(sum(line["share"] for line in by_kind["type"]) - 1) < 0.1
    assert "MiB" in llamalog("stats", "--size").stdout
    assert llamalog("stats", "--size", "--by", "day").exit_code == 2
    assert sizes.sizes(database)


def test_a_reader_of_the_log_sees_what_takes_the_room(database, old_album):
    written = {
        row.name
        for row in database.execute(
            "SELECT DISTINCT class.relname AS name FROM llamalog.llama_logs AS log JOIN pg_class AS class ON class.oid = log.tableoid"
        )
    }
    database.execute("SET ROLE llamalog_reader")
    found = sizes.sizes(database)
    database.execute("RESET ROLE")
    counts = {line.name: line.row_count for line in found if line.what == "partition"}
    assert written
    # a month is read through the log only; one that nobody wrote to needs no counting
    assert {name for name, count in counts.items() if count is None} == written
    assert {count for name, count in counts.items() if name not in written} == {0}
    assert {line.name for line in found if line.what == "type"} >= {"ALBUM"}


def test_rolling_back_forgets_the_archives_and_their_files_still_come_back(
    database, old_album, tmp_path
):
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    migrate.rollback(database, everything=True)
    migrate.migrate(database)
    retention.restore(database, Path(done.file), is_foreign=True)
    assert everything(database) == before


# -- beside others ----------------------------------------------------------------------------------------------------


def test_an_open_snapshot_goes_on_seeing_every_row(database, old_album, connect, tmp_path):
    reader = connect(database)
    reader.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with reader.transaction():
        value(reader, "SELECT count(*) FROM albums")
        seen = len(everything(database))
        (done,) = retention.keep(database, TWO_YEARS, tmp_path)
        assert done.removed_rows > 0
        assert value(reader, "SELECT count(*) FROM llamalog.log") == seen
    # its rows had to be kept where they were
    assert archived(database, "compacted_at")[0][0] is None
    assert retention.keep(database, TWO_YEARS, tmp_path) == []
    assert archived(database, "compacted_at")[0][0] is not None


def test_a_snapshot_in_another_database_delays_nothing(database, old_album, connect, tmp_path):
    elsewhere = connect(database, dbname="postgres")
    elsewhere.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    elsewhere.execute("SELECT")
    retention.keep(database, TWO_YEARS, tmp_path)
    assert [row.compacted_at is None for row in archived(database)] == [False]


def test_a_reader_of_the_month_only_delays_the_room(
    database, old_album, connect, tmp_path, monkeypatch
):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    reader = connect(database)
    with reader.transaction():
        value(reader, "SELECT count(*) FROM llamalog.log")
        (done,) = retention.keep(database, TWO_YEARS, tmp_path, lock_timeout=5)
        assert done.removed_rows == 2
        assert archived(database, "compacted_at")[0][0] is None
    retention.keep(database, TWO_YEARS, tmp_path)
    assert archived(database, "compacted_at")[0][0] is not None


def test_of_two_runs_at_once_the_second_is_refused(database, connect, tmp_path):
    first = connect(database)
    first.execute("SELECT pg_advisory_lock(hashtext('llamalog.maintain'))")
    with pytest.raises(errors.LlamaLogError) as caught:
        retention.keep(database, TWO_YEARS, tmp_path)
    assert (str(caught.value), caught.value.sqlstate) == (
        "another llamalog maintain is at work in this database",
        "55006",
    )


def test_a_failure_leaves_neither_file_nor_trace(database, old_album, tmp_path, monkeypatch):
    before = everything(database)

    def fail(*_):
        raise OSError(28, "No space left on device")

    for name in ("load", "rename", "write"):
        with monkeypatch.context() as patch:
            patch.setattr(archive, name, fail)
            with pytest.raises(OSError, match="No space"):
                retention.keep(database, TWO_YEARS, tmp_path)
        assert everything(database) == before
        assert list(tmp_path.iterdir()) == []
        assert archived(database) == []


# -- killed -----------------------------------------------------------------------------------------------------------

#: Kills the process before or after a step of the first or second month.
KILLING = """
import os, signal, sys
from llamalog_sql import archive, retention
module, name, when, nth = sys.argv.pop(1).split(":")
owner = {"archive": archive, "retention": retention}[module]
true, calls = getattr(owner, name), [0]
def killing(*arguments, **more):
    calls[0] += 1
    if calls[0] == int(nth) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = true(*arguments, **more)
    if calls[0] == int(nth) and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return result
setattr(owner, name, killing)
from llamalog_sql.cli import main
main()
"""

#: After a step is before the next one; of the first month, and of the second, while the first is done.
POINTS = [
    "retention:_reserve:before:1",
    *(
        f"{point}:after:{nth}"
        for point in (
            "retention:_reserve",
            "archive:proof",
            "archive:write",
            "archive:load",
            "archive:rename",
            "retention:_note",
            "retention:_archive",
            "retention:_compact",
            "retention:_compacted",
        )
        for nth in (1, 2)
        if not (point == "retention:_compact" and nth == 2)
    ),
]


def command(own_dsn, *arguments, killed_at=None):
    start = ["-c", KILLING, killed_at] if killed_at else ["-m", "llamalog_sql"]
    environment = {**os.environ, "LLAMALOG_DSN": own_dsn, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *start, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def fill(conn, months, rows=300):
    """Albums of each of the last months: ten changes each, every tenth album deleted."""
    conn.execute(
        "INSERT INTO llamalog.llama_logs (op, category, entity_type, entity_id, operation, created_at, is_root_job, before)"
        " SELECT CASE n %% 10 WHEN 0 THEN 'I' WHEN 9 THEN CASE WHEN n %% 100 = 99 THEN 'D' ELSE 'U' END ELSE 'U' END,"
        " CASE n %% 10 WHEN 0 THEN 'CREATED' WHEN 9 THEN CASE WHEN n %% 100 = 99 THEN 'DELETED' ELSE 'UPDATED' END"
        "  ELSE 'UPDATED' END, 'ALBUM', md5(m || '-' || n / 10)::uuid, 'fill',"
        " date_trunc('month', now(), 'UTC') - make_interval(months => m) + n * interval '1 minute', n %% 10 = 0,"
        " jsonb_build_object('n', n)"
        " FROM generate_series(1, %s) AS m, generate_series(0, %s) AS n",
        [months, rows - 1],
    )
    migrate.maintain(conn)


def no_row_is_lost(conn, before, directory):
    """Every row is in the log, or in a file that is noted and whole."""
    present = everything(conn)
    assert set(present) <= set(before)
    noted = {row.file for row in archived(conn) if row.archived_at}
    removed = sum(row.removed_count for row in archived(conn) if row.archived_at)
    assert len(before) - len(present) == removed
    assert noted <= {str(path) for path in directory.iterdir()}
    for file in noted:
        with archive.pinned(conn):
            archive.load(conn, Path(file), archive.read(Path(file)))


@pytest.mark.parametrize("point", sampled(POINTS, 6))
def test_killed_between_any_two_steps_it_goes_on_where_it_was(database, own_dsn, tmp_path, point):
    fill(database, months=27, rows=200)
    before = everything(database)
    keeping = ["maintain", "--keep", "24 months", "--archive", str(tmp_path), "--yes"]
    assert command(own_dsn, *keeping, killed_at=point).wait(120) == -signal.SIGKILL
    until_alone(database)
    no_row_is_lost(database, before, tmp_path)
    finishing = command(own_dsn, *keeping)
    assert finishing.wait(120) == 0, finishing.stderr.read()
    no_row_is_lost(database, before, tmp_path)
    files = sorted(tmp_path.iterdir())
    # a kill in the instant between a name's reservation and its note leaves an empty file, nothing else
    assert len([path for path in files if path.stat().st_size]) == 3
    assert all(path.suffix == ".parquet" for path in files)
    assert (
        value(database, "SELECT count(*) FROM llamalog.archived_months WHERE compacted_at IS NULL")
        == 0
    )
    for path in files:
        if path.stat().st_size:
            retention.restore(database, path)
    assert everything(database) == before


def test_killed_at_random_beside_writers_and_questions_no_row_is_lost(
    database, own_dsn, connect, new, tmp_path
):
    fill(database, months=36, rows=1000)
    before = everything(database)
    living = values(
        database,
        "SELECT entity_id FROM llamalog.log WHERE category = 'CREATED' AND operation = 'fill'"
        " AND entity_id NOT IN (SELECT entity_id FROM llamalog.gone_entities())",
    )
    done = threading.Event()
    chosen = random.Random(5)

    def write(conn):
        count = 0
        while not done.is_set():
            with conn.transaction():
                album = new.album(conn, f"{conn.info.backend_pid}-{count}")
                conn.execute("UPDATE albums SET label = 'XL' WHERE id = %s", [album])
            count += 1
        return count

    def ask(conn):
        wrong = []
        while not done.is_set():
            album = chosen.choice(living)
            told = queries.why(conn, "ALBUM", album)
            if "was created" not in told[0].sentence or story(conn, album)[0] != "CREATED":
                wrong.append((album, told))
        return wrong

    keeping = ["maintain", "--keep", "24 months", "--archive", str(tmp_path), "--yes"]
    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write, connect(database)) for _ in range(2)]
        asking = pool.submit(ask, connect(database))
        try:
            for _ in range(6):
                running = command(own_dsn, *keeping)
                time.sleep(random.uniform(0.5, 4))
                running.kill()
                running.wait(60)
                until_alone(database)
                held = [row for row in everything(database) if ",fill," in row]
                removed = value(
                    database, "SELECT coalesce(sum(removed_count), 0) FROM llamalog.archived_months"
                )
                assert len(before) - len(held) == removed
            finishing = command(own_dsn, *keeping)
            assert finishing.wait(300) == 0, finishing.stderr.read()
        finally:
            done.set()
        written = sum(writer.result(60) for writer in writers)
        assert asking.result(60) == []
    assert (
        value(
            database,
            "SELECT count(*) FROM llamalog.log WHERE op IS NOT NULL AND operation <> 'fill'",
        )
        == 2 * written
    )
    files = [path for path in sorted(tmp_path.iterdir()) if path.stat().st_size]
    assert len(files) == len({path.name[:18] for path in files}) == 12
    for path in files:
        retention.restore(database, path)
    assert [row for row in everything(database) if ",fill," in row] == before


def test_an_archive_can_be_moved_elsewhere(database, old_album, tmp_path):
    before = everything(database)
    (done,) = retention.keep(database, TWO_YEARS, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = shutil.move(done.file, elsewhere / "renamed")
    retention.restore(database, Path(moved))
    assert everything(database) == before
