"""How much was written in a span, by what, and what fell silent."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo
from rich.console import Console

from llamalog_sql import jobs, output, queries, stats
from llamalog_sql.cli import main
from llamalog_sql.errors import Misuse
from llamalog_sql.jobs import Criteria

NOON = datetime(2021, 5, 31, 12, tzinfo=UTC)


def wrote(db, source, *hours_ago, op=None, **columns):
    """Rows of the log made so many hours before noon."""
    values = {
        "entity_type": "ALBUM",
        "entity_id": "1",
        "operation": "x",
        "category": "UPDATED",
        "source": source,
        "op": op,
        **columns,
    }
    names = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    for hours in hours_ago:
        db.execute(
            f"INSERT INTO llamalog.llama_logs (created_at, {names}) VALUES (%s, {marks})".encode(),
            [NOON - timedelta(hours=hours), *values.values()],
        )


def counted(db, side, since=None, until=NOON):
    return [(row.name, row.change_count) for row in stats.counts(db, side, since, until)]


def silent(db, days=30):
    return [
        (row.name, row.change_count)
        for row in stats.silent(db, NOON - timedelta(days=days), NOON)
        if row.what == "source"
    ]


def test_changes_are_counted_by_each_side(db):
    wrote(db, "addAlbum", 1, 2, 26, user_id="ann")
    wrote(db, None, 3, status="NO_DATA_AVAILABLE", category="ENRICHED")
    wrote(db, "game_pool", 50, entity_type="ARTIST")
    wrote(db, "addAlbum", 4, category="LINKED", link_type="ALBUM_ARTIST", user_id="ann")
    assert counted(db, "category") == [("UPDATED", 4), ("ENRICHED", 1), ("LINKED", 1)]
    assert counted(db, "source") == [("addAlbum", 4), ("game_pool", 1), (None, 1)]
    assert counted(db, "status") == [("SUCCESS", 5), ("NO_DATA_AVAILABLE", 1)]
    assert counted(db, "user") == [("ann", 4), (None, 2)]
    assert counted(db, "type") == [("ALBUM", 4), ("ALBUM_ARTIST", 1), ("ARTIST", 1)]
    assert counted(db, "day") == [("2021-05-29", 1), ("2021-05-30", 1), ("2021-05-31", 4)]
    assert stats.counts(db, "source", None, NOON)[0].last_at == NOON - timedelta(hours=1)


def test_questions_count_users_and_types_alike(db, new):
    since = db.execute("SELECT now()").fetchone()[0]
    db.execute("SET LOCAL application_name = 'psql'")
    album = new.album(db)
    db.execute("SELECT set_config('llamalog.user_id', 'ann', true)")
    new.link(db, album, new.artist(db))
    until = since + timedelta(minutes=1)
    counts = {side: dict(counted(db, side, since, until)) for side in ("user", "type")}
    assert counts == {
        "user": {"ann": 2, None: 1},
        "type": {"ALBUM": 1, "ARTIST": 1, "ALBUM_ARTIST": 1},
    }
    activity = db.execute("SELECT * FROM llamalog.activity(%s, %s)", [since, until]).fetchall()
    for side, counted_alike in counts.items():
        assert {row.name: row.changes for row in activity if row.facet == side} == counted_alike
    impact = {
        row.entity_type: row.change_count for row in jobs.impact(db, Criteria(start_date=since))
    }
    assert impact == counts["type"]
    for user, changes in (("ann", 2), (db.info.user, 0)):
        found = jobs.impact(db, Criteria(start_date=since, user_id=user))
        assert sum(row.change_count for row in found) == changes
    # whoever is named nowhere wrote as a role, and is no user to ask by
    shown = [
        output.actor(row.user_id, row.db_user, row.triggered_by)
        for row in queries.history(db, "ALBUM", album)
    ]
    assert shown == ["ann", f"role {db.info.user} with psql"]
    assert {
        output.actor(row.user_id, row.db_user)
        for row in queries.blame(db, "ALBUM", album)
        if row.seq
    } == {f"role {db.info.user}"}


def test_days_are_those_of_utc_wherever_the_reader_sits(db):
    wrote(db, "addAlbum", 12, 13)
    db.execute("SET LOCAL TimeZone = 'Asia/Tokyo'")
    assert counted(db, "day") == [("2021-05-30", 1), ("2021-05-31", 1)]


def test_a_span_begins_with_its_start_and_ends_before_its_end(db):
    wrote(db, "addAlbum", 0, 1, 24 * 30, 24 * 30 + 1)
    assert counted(db, "source") == [("addAlbum", 2)]
    assert counted(db, "source", NOON - timedelta(hours=1), NOON) == [("addAlbum", 1)]
    assert counted(db, "source", NOON, NOON + timedelta(hours=1)) == [("addAlbum", 1)]
    assert counted(db, "source", NOON, NOON) == []


def test_questions_that_cannot_be_are_refused(db):
    with (
        db.transaction(force_rollback=True),
        pytest.raises(Misuse, match='not counted by "mood"') as no,
    ):
        stats.counts(db, "mood")
    assert no.value.hint == "Count them by category, source, status, user, day or type."
    with pytest.raises(Misuse, match=r"the start, 2021-05-31 .*, is after the end, 2021-05-30"):
        stats.counts(db, "day", NOON, NOON - timedelta(days=1))


def test_a_span_is_read_by_its_blocks_and_not_by_the_whole_month(db):
    db.execute("SELECT llamalog.maintain(0, clock => '2021-05-15')")
    db.execute(
        "INSERT INTO llamalog.llama_logs (created_at, entity_type, entity_id, operation, category)"
        " SELECT timestamptz '2021-05-01' + n * interval '1 minute', 'ALBUM', n::text, 'x', 'UPDATED'"
        " FROM generate_series(0, 44639) AS n"
    )
    db.execute("ANALYZE llamalog.llama_logs_2021_05")
    reads = (
        "SELECT seq_scan, seq_tup_read, idx_scan FROM pg_stat_xact_user_tables"
        " WHERE relid = 'llamalog.llama_logs_2021_05'::regclass"
    )
    before = db.execute(reads).fetchone()
    day = datetime(2021, 5, 8, tzinfo=UTC)
    assert counted(db, "category", day, day + timedelta(days=1)) == [("UPDATED", 1440)]
    after = db.execute(reads).fetchone()
    assert [new - old for new, old in zip(after, before, strict=True)] == [0, 0, 1]


# -- silence ----------------------------------------------------------------------------------------------------------


def test_a_source_has_stopped_when_it_is_silent_for_twice_its_longest_pause(db):
    wrote(db, "nightly_sync", *range(72, 700, 24))
    wrote(db, "late_sync", *range(40, 700, 24))  # 40 hours, after pauses of 24
    wrote(db, "weekly_sync", 160, 328, 496)  # a week, and not yet another
    wrote(db, "hourly_sync", *range(30, 60))
    wrote(db, "busy_sync", *range(20, 60))  # not yet a day
    (nightly, hourly) = stats.silent(db, NOON - timedelta(days=30), NOON)[:2]
    assert (nightly.name, nightly.change_count, nightly.last_at) == (
        "nightly_sync", 27, NOON - timedelta(hours=72),
    )  # fmt: skip
    assert (nightly.longest_pause, nightly.silent_for) == (timedelta(days=1), timedelta(days=3))
    assert (hourly.name, hourly.silent_for) == ("hourly_sync", timedelta(hours=30))


def test_a_source_that_wrote_once_has_stopped_after_half_of_the_span(db):
    wrote(db, "first_half", 24 * 16)
    wrote(db, "second_half", 24 * 14)
    wrote(db, "unknown", 24 * 20)  # what backfill inferred
    wrote(db, None, 24 * 20)
    assert silent(db) == [("first_half", 1)]
    assert silent(db, days=20) == [("first_half", 1), ("second_half", 1)]
    assert silent(db, days=15) == [("second_half", 1)]


def test_a_watched_table_without_captured_writes_is_silent(db):
    db.execute("UPDATE llamalog.watches SET watched_at = '2021-01-01'")
    wrote(db, "addAlbum", 1, op="U")
    wrote(db, "addAlbum", 1, op="I", link_type="ALBUM_ARTIST")
    wrote(db, "enrichment", 1, entity_type="ARTIST")  # only told by the application
    since = NOON - timedelta(days=1)
    tables = [(s.name, s.description) for s in stats.silent(db, since, NOON) if s.what == "table"]
    assert tables == [
        ("ARTIST", "public.artists"),
        ("TRACK", "public.tracks"),
        ("TRACK_ARTIST", "public.track_artists"),
    ]
    assert [s for s in stats.silent(db, None, datetime(2020, 1, 1, tzinfo=UTC))] == []


# -- at the terminal --------------------------------------------------------------------------------------------------


def drawn(rows, lines=None, encoding="utf-8", **console):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    target = Console(file=stream, width=80, **console)
    target.print(stats.chart(rows, lines, stream))
    stream.flush()
    return [line.rstrip() for line in stream.buffer.getvalue().decode(encoding).splitlines()]


def of(side, *pairs):
    return [stats.Count(side, name, count, NOON) for name, count in pairs]


def test_the_most_takes_the_whole_width_and_the_least_is_seen():
    rows = of("source", ("a", 4000), (None, 1000), ("\x1b[31mb", 1))
    assert drawn(rows) == [
        "source     changes",
        "a            4,000  " + "█" * 40,
        "(none)       1,000  " + "█" * 10,
        "\\x1b[31mb        1  █",
    ]


def test_a_terminal_without_utf8_gets_plain_bars():
    assert drawn(of("status", ("SUCCESS", 2), ("FAILED", 1)), encoding="ascii")[1:] == [
        "SUCCESS        2  " + "#" * 40,
        "FAILED         1  " + "#" * 20,
    ]


def test_days_without_changes_are_drawn_too_and_the_last_days_are_kept():
    rows = of("day", ("2021-05-01", 2), ("2021-05-03", 1))
    assert [line.split()[:2] for line in drawn(rows)[1:]] == [
        ["2021-05-01", "2"],
        ["2021-05-02", "0"],
        ["2021-05-03", "1"],
    ]
    assert [line.split() for line in drawn(rows, 2)[1:]] == [
        ["2021-05-02", "0"],
        ["2021-05-03", "1", "█" * 40],
        ["1", "more:", "--by", "day"],
    ]


def test_the_command_draws_each_side_and_says_what_is_silent(database, new):
    address = {**database.info.get_parameters(), "password": database.info.password}
    dsn = make_conninfo("", **{name: value for name, value in address.items() if value})

    def llamalog(*arguments, **more):
        runner = CliRunner(env={"LLAMALOG_DSN": dsn, "COLUMNS": "120", **more})
        return runner.invoke(main, list(arguments), catch_exceptions=False)

    new.album(database)
    database.execute("UPDATE llamalog.watches SET watched_at = '2021-01-01'")
    wrote(database, "nightly_sync", *range(72, 700, 24))
    until = ("--until", NOON.isoformat())
    shown = llamalog("stats", *until)
    heads = [
        line.split()[0] for line in shown.stdout.splitlines() if line.split()[1:] == ["changes"]
    ]
    assert heads == ["category", "source", "status", "user", "day"]
    assert "17 more: --by day" in shown.stdout
    assert (
        "nightly_sync  has stopped: last written 2021-05-28 12:00:00, 3 days ago;"
        " until then it paused for 24 hours at most\n" in shown.stdout
    )
    assert "TRACK  nothing was written to public.tracks\n" in shown.stdout
    coloured = llamalog("stats", *until, FORCE_COLOR="1").stdout
    assert "\x1b[36m█" in coloured
    assert "36m" not in llamalog("stats", *until, FORCE_COLOR="1", NO_COLOR="1").stdout
    days = llamalog("stats", *until, "--by", "day", "--format", "csv").stdout.splitlines()
    assert days[:2] == [
        "side,name,change_count,last_at",
        "day,2021-05-02,1,2021-05-02T12:00:00+00:00",
    ]
    quiet = json.loads(llamalog("stats", *until, "--silent", "--format", "json").stdout)
    assert (quiet[0]["what"], quiet[0]["name"]) == ("source", "nightly_sync")
    nothing = llamalog("stats", "--until", "2001-01-01")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert nothing.stderr.startswith(
        "[🦙 LlamaLog] nothing was written in that time; the log begins 20"
    )
    nothing = llamalog("stats", "--silent", "--since", "2001-01-01", "--until", "2001-01-02")
    assert nothing.stderr == "[🦙 LlamaLog] nothing fell silent\n"
    refused = llamalog("stats", "--size", "--silent")
    assert (refused.exit_code, refused.stderr.splitlines()[0]) == (
        2, "error: these options do not go together (22023)",
    )  # fmt: skip
