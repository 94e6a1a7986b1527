"""Reports: what a page shows, that nothing stored can take it over, that it stays small, and where it is written."""

from __future__ import annotations

import itertools
import os
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from llamalog_sql import queries, report, watching
from llamalog_sql.cli import main
from llamalog_sql.errors import LlamaLogError, Misuse, UnknownEntity, UnknownEntityType, UnknownJob
from llamalog_sql.report import gather, page
from llamalog_sql.saving import writing
from llamalog_sql.watching import Options

NOW = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
HOSTILE = """<script>alert(1)</script>"' onclick='x' </style></title> javascript:alert(2)"""


class Read(HTMLParser):
    """A page as a browser takes it: its elements, and the text of each section."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"": []}
        self._section = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._apart(tag)
        if tag == "section":
            self._section = dict(attrs)["id"]
            self.texts[self._section] = []

    def handle_endtag(self, tag):
        self._apart(tag)
        if tag == "section":
            self._section = ""

    def handle_data(self, data):
        if self.lasttag not in {"style", "script"}:
            self.texts[self._section].append(data)

    def _apart(self, tag):
        """Cells and lines stand apart, parts of a line do not."""
        if tag not in {"bdi", "code", "del", "ins", "span", "strong"}:
            self.texts[self._section].append(" ")

    def __getitem__(self, section: str) -> str:
        return " ".join("".join(self.texts[section]).split())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def context(conn, **values):
    names = ", ".join(f"{name} => %s" for name in values)
    conn.execute(f"SELECT llamalog.set_context({names})".encode(), list(values.values()))


def told(conn, album, **columns):
    """A row that the application writes itself."""
    row = {"entity_type": "ALBUM", "entity_id": album, "category": "ENRICHED", **columns}
    conn.execute(
        f"INSERT INTO llamalog.llama_logs ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})".encode(),
        list(row.values()),
    )


def scene(conn, new, title="OK Computer"):
    """An album that came by a sync, was enriched with twenty tracks, and met every status and source there is."""
    context(conn, source="spotify_sync", job_id="sync-1", triggered_by="scheduler")
    album = new.album(conn, title, source="SPOTIFY")
    artist = new.artist(conn, title)
    new.link(conn, album, artist)
    context(
        conn,
        source="enrichment",
        job_id="enrich-1",
        parent_job_id="sync-1",
        user_id="ann",
        reason="the label was missing",
        sources=["MUSICBRAINZ", "LASTFM", "DISCOGS", "DEEZER"],
    )
    conn.execute(
        "UPDATE albums SET label = %s, data_quality = 'HIGH', genres = '{rock}' WHERE id = %s",
        [title, album],
    )
    for number in range(1, 21):
        new.track(conn, album, f"Track {number}", number)
    for status in ("PARTIAL_SUCCESS", "NO_DATA_AVAILABLE", "SKIPPED", "PREVIEW"):
        told(
            conn,
            album,
            operation="enrichment:album",
            status=status,
            job_id="enrich-1",
            duration_ms=1234,
            api_call_count=3,
        )
    told(
        conn,
        album,
        operation="enrichment:album",
        category="FAILED",
        status="FAILED",
        source="enrichment",
        error_message=f"no answer {title}",
        error_code="TIMEOUT",
        retry_count=2,
        job_id="enrich-2",
        parent_job_id="enrich-1",
    )
    return album


def of_entity(conn, entity_type, entity_id):
    return page.entity(gather.entity(conn, entity_type, entity_id), NOW)


def of_job(conn, job_id):
    return page.job(gather.job(conn, job_id), NOW)


def of_log(conn, days=30):
    return page.log(gather.log(conn, datetime.now(UTC) - timedelta(days=days)), NOW)


# -- what an entity's page shows --------------------------------------------------------------------------------------


def test_the_page_shows_what_the_admin_screens_show(db, new):
    album = scene(db, new)
    shown = Read(of_entity(db, "album", "OK Computer"))
    head, timeline = shown[""], shown["timeline"]
    for fact in (
        f"ALBUM OK Computer {album} Last change FAILED",
        "Changes 29 by 4 jobs, parts and links included",
        "Data quality HIGH",
    ):
        assert fact in head
    for row in (
        "🦙 CREATED success ALBUM “OK Computer” SPOTIFY",
        "LINKED success ALBUM “OK Computer” – ARTIST “OK Computer”",
        "ENRICHED success ALBUM “OK Computer” MUSICBRAINZ LASTFM DISCOGS DEEZER",
        "label nothing →became OK Computer",
        'genres nothing →became ["rock"]',
        "the label was missing quality LOW → HIGH",
        "ENRICHED partial success ALBUM “OK Computer”",
        "ENRICHED no data available ALBUM “OK Computer”",
        "ENRICHED skipped ALBUM “OK Computer”",
        "ENRICHED preview ALBUM “OK Computer” 1,234 ms 3 calls to outside services enrichment:album",
        "no answer OK Computer TIMEOUT retry 2",
        "The oldest first",
    ):
        assert row in timeline
    assert "was created through spotify_sync" in shown["story"]
    assert "FAILED" in shown["jobs"]
    assert "label nothing OK Computer ENRICHED enrichment ann" in shown["fields"]
    assert "label OK Computer ENRICHED enrichment ann enrich-1" in shown["blame"]
    assert f"llamalog report ALBUM {album} -o report.html" in head


def test_children_stand_below_their_parent_fifteen_and_show_more(db, new):
    scene(db, new)
    timeline = Read(of_entity(db, "ALBUM", "OK Computer"))["timeline"]
    # the update, twenty tracks, four attempts, and the job that failed, of which one line is left
    assert "26 below" in timeline
    assert "show 11 more" in timeline
    first, more = timeline.split("show 11 more")
    assert "Track 14" in first
    assert "Track 15" not in first
    assert "Track 15" in more


def test_badges_and_sources_have_the_colours_of_the_admin_screens(db, new):
    scene(db, new)
    text = of_entity(db, "ALBUM", "OK Computer")
    squeezed = " ".join(text.split())
    for colour, status in (
        ("green", "success"),
        ("yellow", "partial success"),
        ("bright_black", "no data available"),
        ("blue", "skipped"),
        ("magenta", "preview"),
    ):
        assert f'<span class="badge {colour}">' in squeezed
        assert f"<small><bdi>{status}</bdi></small>" in squeezed
    assert '<span class="badge red"> <bdi>FAILED</bdi> </span>' in squeezed
    for colour, source in (
        ("green", "SPOTIFY"),
        ("blue", "MUSICBRAINZ"),
        ("red", "LASTFM"),
        ("dark_orange", "DISCOGS"),
        ("purple", "DEEZER"),
    ):
        assert f'<span class="chip {colour}"><bdi>{source}</bdi></span>' in text


def test_a_deleted_entity_has_a_page(db, new):
    album = new.album(db, "Gone")
    db.execute("DELETE FROM albums")
    shown = Read(of_entity(db, "ALBUM", album))
    assert "its row is no longer there" in shown[""]
    assert "DELETED" in shown["timeline"]
    assert "title Gone" in shown["blame"]


def test_an_entity_of_which_nothing_is_recorded_has_a_page(db, new):
    db.execute("SET LOCAL session_replication_role = replica")
    album = new.album(db, "Unseen")
    shown = Read(of_entity(db, "ALBUM", album))
    assert "nothing is known of how it came here" in shown["story"]
    assert shown["timeline"].endswith("No change of it is recorded.")
    assert shown["jobs"].endswith("No job is known.")
    assert shown["fields"].endswith("No field was changed since it came.")
    assert "unknown: no change in the log set it" in shown["blame"]


def test_a_write_that_was_not_captured_is_said(db, new):
    album = new.album(db)
    db.execute("UPDATE albums SET label = 'a'")
    db.execute("SET LOCAL session_replication_role = replica")
    db.execute("UPDATE albums SET label = 'b'")
    story = Read(of_entity(db, "ALBUM", album))["story"]
    assert "In 1 place its changes do not meet: a write was not captured." in story


def test_a_pause_is_said_where_it_may_have_left_something_out(db, new):
    album = new.album(db)
    for reason in ("one", "<b>", "three", "four"):
        db.execute("SELECT llamalog.pause('ALBUM', %s)", [reason])
        db.execute("SELECT llamalog.resume('ALBUM')")
    story = Read(of_entity(db, "ALBUM", album))["story"]
    assert "by postgres: one" not in story
    assert "by postgres: <b>; what was written then is not in the log" in story
    assert "1 earlier pause: llamalog.pauses_since(type) lists them." in story
    later = new.album(db, "Kid A")
    assert "paused" not in Read(of_entity(db, "ALBUM", later))["story"]


def test_the_page_of_a_former_key_is_that_of_the_row_which_lives(db, new):
    album, other = new.album(db), new.album(db, "Kid A")
    db.execute("UPDATE albums SET id = gen_random_uuid() WHERE id = %s", [album])
    assert "OK Computer" in of_entity(db, "ALBUM", album)
    free = db.execute("SELECT id FROM albums WHERE title = 'OK Computer'").fetchone()[0]
    db.execute("UPDATE albums SET id = %s WHERE id = %s", [album, other])
    page = of_entity(db, "ALBUM", str(free))
    assert "OK Computer" in page
    assert "Kid A" not in page


def test_a_row_that_one_may_not_read_leaves_its_blame_out(db, new):
    album = new.album(db)
    db.execute("CREATE ROLE report_reader")
    db.execute("GRANT USAGE ON SCHEMA llamalog TO report_reader")
    db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO report_reader")
    db.execute("SET LOCAL ROLE report_reader")
    shown = Read(of_entity(db, "ALBUM", album))
    assert "you may not read it: permission denied for table albums" in shown["blame"], shown[
        "blame"
    ]
    assert "CREATED" in shown["timeline"]


def test_odd_schemas_have_pages(db):
    db.execute("CREATE TYPE \"Mood\" AS ENUM ('Calm', 'Wild \"one\"')")
    db.execute("CREATE DOMAIN score AS integer CHECK (value > 0)")
    db.execute(
        'CREATE TABLE "OrderLines" ("OrderId" integer, "Line" integer, "Mood" "Mood", tags text[], points score,'
        ' twice integer GENERATED ALWAYS AS ("Line" * 2) STORED, PRIMARY KEY ("OrderId", "Line"))'
        ' PARTITION BY LIST ("OrderId")'
    )
    db.execute('CREATE TABLE lines_7 PARTITION OF "OrderLines" FOR VALUES IN (7)')
    watching.watch(db, ['"OrderLines"'], Options(entity_type="LINE"))
    db.execute("INSERT INTO \"OrderLines\" VALUES (7, 1, 'Calm')")
    db.execute("""UPDATE "OrderLines" SET "Mood" = 'Wild "one"', tags = '{a,"b c"}', points = 3""")
    shown = Read(of_entity(db, "LINE", "7,1"))
    assert shown[""].startswith(
        "LINE “7,1” 🦙 LlamaLog Skip to the content", shown[""].index("LINE")
    )
    assert 'Mood Calm →became Wild "one" tags nothing →became ["a", "b c"]' in shown["timeline"]


def test_what_is_redacted_is_not_on_the_page(db):
    db.execute("CREATE TABLE people (id integer PRIMARY KEY, name text, email text)")
    watching.watch(db, ["people"], Options(redact=["email"]))
    db.execute("INSERT INTO people VALUES (1, 'Ann', 'secret@one')")
    db.execute("UPDATE people SET email = 'secret@two'")
    text = of_entity(db, "PERSON", "1")
    assert "email (redacted)" in Read(text)["timeline"]
    assert "secret" not in text


def test_unknown_types_and_titles_are_refused_as_everywhere(db):
    with pytest.raises(UnknownEntityType), db.transaction():
        gather.entity(db, "ALBM", "x")
    with pytest.raises(UnknownEntity), db.transaction():
        gather.entity(db, "ALBUM", "no such title")


# -- what is stored is shown, never obeyed ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["entity", "job", "log"])
def test_stored_text_becomes_no_markup(db, new, kind):
    scene(db, new, HOSTILE)
    context(db, source=HOSTILE, job_id=HOSTILE, user_id=HOSTILE, reason=HOSTILE, sources=[HOSTILE])
    db.execute("UPDATE albums SET label = %s", [f"again {HOSTILE}"])
    told(
        db,
        HOSTILE,
        entity_type=HOSTILE,
        operation=HOSTILE,
        category="FAILED",
        status=HOSTILE,
        error_message=HOSTILE,
        error_code=HOSTILE,
    )
    shown = Read(
        {
            "entity": lambda: of_entity(db, "ALBUM", HOSTILE),
            "job": lambda: of_job(db, HOSTILE),
            "log": lambda: of_log(db),
        }[kind]()
    )
    assert (shown.count("script"), shown.count("style"), shown.count("head")) == (1, 1, 1)
    names = {name for _, attributes in shown.elements for name in attributes}
    assert {name for name in names if name.startswith("on")} == set()
    assert names & {"style", "src", "srcset", "action", "formaction", "background"} == set()
    links = [
        value
        for _, attributes in shown.elements
        for name, value in attributes.items()
        if "href" in name
    ]
    assert [link for link in links if not (link or "").startswith("#")] == []
    assert HOSTILE in shown[{"entity": "story", "job": "", "log": "failures"}[kind]]


def test_the_policy_lets_only_the_page_s_own_script_and_style_run(db, new):
    album = new.album(db)
    (policy,) = [
        attributes["content"]
        for tag, attributes in Read(of_entity(db, "ALBUM", album)).elements
        if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.split("'sha256-")[0] == "default-src 'none'; style-src "
    assert policy.count("'sha256-") == 2
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("a\u202eb", "<bdi>a\\u202eb</bdi>"),
        ("a\x01\x1b[31mb", "<bdi>a\\u0001\\u001b[31mb</bdi>"),
        ("a\u200bb\ufeff", "<bdi>a\\u200bb\\ufeff</bdi>"),
        ("👩\u200d🎤 مرحبا", "<bdi>👩\u200d🎤 مرحبا</bdi>"),
        ("two\nlines", "<bdi>two\nlines</bdi>"),
        ("a & b < c", "<bdi>a &amp; b &lt; c</bdi>"),
        ("", '<span class="nothing">empty text</span>'),
        (gather.cut(None), '<span class="nothing">nothing</span>'),
        (gather.cut({"$json": None}), "<bdi>null</bdi>"),
        (gather.cut([1, "é"]), "<bdi>[1, &#34;é&#34;]</bdi>"),
        ("x" * 301, f'<bdi>{"x" * 300}</bdi><span class="cut">… 301 characters in all</span>'),
    ],
)
def test_a_value_is_shown_as_it_is(stored, shown):
    assert page._stored(stored) == shown


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_from_the_page_as_it_was_stored(text):
    read = Read(page._stored(text, 1000))
    assert {tag for tag, _ in read.elements} <= {"bdi", "span"}
    shown = page._UNSEEN.sub(lambda seen: f"\\u{ord(seen[0]):04x}", text)
    assert "".join(read.texts[""]) == (shown or "empty text")


def test_a_large_value_is_cut_and_its_length_said(db, new):
    album = new.album(db)
    db.execute(
        "UPDATE albums SET cover_art_url = repeat('x', 1048576), metadata = jsonb_build_object('y', repeat('y', 1048576))"
    )
    told(db, album, operation="o", status="FAILED", error_message="z" * 1048576, reason="r" * 9999)
    text = of_entity(db, "ALBUM", album)
    assert len(text) < 100_000
    shown = Read(text)
    assert "1,048,576 characters in all" in shown["fields"]
    assert "1,048,576 characters in all" in shown["timeline"]
    assert "9,999 characters in all" in shown["timeline"]


def test_an_entity_with_thousands_of_changes_has_a_page_that_says_what_it_leaves_out(db, new):
    album = new.album(db)
    db.execute(
        "INSERT INTO tracks (album_id, title, track_number, updated_at) SELECT %s, 't' || n, n, now()"
        " FROM generate_series(1, 1500) AS n",
        [album],
    )
    for number in range(gather.FIELD_CHANGES + 1):
        db.execute("UPDATE albums SET track_count = %s", [number])
    text = of_entity(db, "ALBUM", album)
    assert len(text) < 1_000_000
    shown = Read(text)
    assert "Changes 1,902 by 2 jobs, parts and links included" in shown[""]
    assert (
        "1,403 changes more, left out of this page:"
        f" llamalog chain ALBUM {album} --limit 1902" in shown["timeline"]
    )
    assert "1,501 CREATED" in shown["jobs"]
    assert (
        "Older changes are left out of this page:"
        f" llamalog history ALBUM {album} --limit 10000" in shown["fields"]
    )
    assert f"more: llamalog why ALBUM {album}" in shown["story"]


def test_jobs_deeper_and_more_than_a_screen_holds_are_counted(db, new):
    album = new.album(db)
    for number in range(gather.JOBS + 20):
        context(db, source="addAlbum", job_id=f"job-{number}", parent_job_id=f"job-{number - 1}")
        db.execute("UPDATE albums SET track_count = %s", [number])
    shown = Read(of_entity(db, "ALBUM", album))
    assert f"more: llamalog tree ALBUM {album}" in shown["jobs"]
    assert "job-199" in shown["timeline"]
    last = gather.job(db, f"job-{gather.JOBS + 19}")
    assert (last.own.job_id, last.own.depth, last.job_count) == ("job-219", 0, 1)


# -- the whole log ----------------------------------------------------------------------------------------------------


def test_the_page_of_the_log_shows_how_much_by_what_and_whom(db, new):
    scene(db, new)
    shown = Read(of_log(db))
    assert "THE LOG shared_music from" in shown[""]
    assert "Changes 29 Failed attempts 1 Unknown provenance 0" in shown[""]
    assert "CREATED 22 –" in shown["shares"]
    assert "FAILED 1 1" in shown["shares"]
    assert "enrichment 22 1" in shown["shares"]
    assert "spotify_sync 3 –" in shown["shares"]
    assert "ann 21 –" in shown["shares"]
    assert "TRACK 20 –" in shown["shares"]
    assert (
        "ALBUM “OK Computer” no answer OK Computer TIMEOUT retry 2 enrichment enrich-2"
        in (shown["failures"])
    )
    assert "UNRESOLVED" in shown["failures"]
    assert "ALBUM “OK Computer” failed: no answer OK Computer (TIMEOUT)" in shown["attention"]


def test_what_one_may_not_read_does_not_pass_for_sound(db, new):
    new.album(db)
    db.execute("CREATE ROLE report_reader")
    db.execute("GRANT USAGE ON SCHEMA llamalog TO report_reader")
    db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO report_reader")
    db.execute("SET LOCAL ROLE report_reader")
    assert Read(of_log(db))["attention"].endswith(
        "may not read their tables: ALBUM, ARTIST, TRACK."
    )


def test_what_needs_a_person_is_said_with_what_to_do_and_more_is_counted(db, new):
    context(db, source="addAlbum", job_id="add-1")
    # a page holds the first by key
    keys = [f"6e335887-60ba-38f0-95af-{number:012}" for number in range(12)]
    albums = [new.album(db, f"Without tracks {n}", id=key) for n, key in enumerate(keys)]
    attention = Read(of_log(db))["attention"]
    assert "ALBUM “Without tracks 3” no TRACK" in attention
    assert f"llamalog why ALBUM {albums[3]}" in attention
    assert "There are more of ALBUM no_parts" in attention
    assert "Without tracks" in attention


def test_a_log_without_changes_has_a_page(db):
    shown = Read(of_log(db, days=0))
    assert "Changes 0 Failed attempts 0" in shown[""]
    assert shown["activity"].endswith("Nothing was written in this time.")
    assert shown["failures"].endswith("No attempt failed here.")
    assert shown["attention"].endswith("Nothing does.")


def test_activity_is_counted_by_period_and_side_the_largest_first(db):
    day = datetime(2026, 11, 2, tzinfo=UTC)
    for days, source, category, user in (
        (0, "a", "UPDATED", "ann"),
        (0, "a", "FAILED", "ann"),
        (0, None, "UPDATED", None),
        (9, "b", "UPDATED", "ben"),
        (40, "b", "UPDATED", "ben"),
    ):
        db.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, source, user_id, created_at) VALUES ('o', %s, %s, %s, %s)",
            [category, source, user, day + timedelta(days=days, hours=1)],
        )

    def counted(unit, row_limit=12):
        return [
            (row.facet, row.period and f"{row.period:%d %b}", row.name, row.changes, row.failures)
            for row in db.execute(
                "SELECT * FROM llamalog.activity(%s, %s, %s, %s)",
                [day, day + timedelta(days=40), unit, row_limit],
            )
        ]

    assert counted("week", 1) == [
        ("all", None, None, 4, 1),
        ("category", None, "UPDATED", 3, 0),
        ("period", "02 Nov", None, 3, 1),
        ("period", "09 Nov", None, 1, 0),
        ("period and source", "02 Nov", "a", 2, 1),
        ("source", None, "a", 2, 1),
        ("status", None, "SUCCESS", 4, 1),
        ("type", None, None, 4, 1),
        ("user", None, "ann", 2, 1),
    ]
    assert [row for row in counted("month") if row[0] in {"period and source", "user"}] == [
        ("period and source", "01 Nov", "a", 2, 1),
        ("period and source", "01 Nov", "b", 1, 0),
        ("period and source", "01 Nov", None, 1, 0),
        ("user", None, "ann", 2, 1),
        ("user", None, "ben", 1, 0),
        ("user", None, None, 1, 0),
    ]


def test_activity_from_a_time_that_has_not_begun_is_refused(db):
    with pytest.raises(Misuse, match="is in the future") as raised:
        gather.log(db, datetime(2101, 1, 1, tzinfo=UTC))
    assert (raised.value.sqlstate, str(raised.value.hint)[:16]) == ("22023", "Give an instant ")


def test_a_long_time_is_drawn_by_weeks_or_months(db, new):
    new.album(db)
    for days, unit in ((92, "day"), (400, "week"), (1100, "month")):
        found = gather.log(db, datetime.now(UTC) - timedelta(days=days))
        assert found.unit == unit
        drawn = page.layout.chart(found.counts, found.since, found.until, unit)
        assert [(bar.count, bar.name) for bar in drawn.bars] == [(1, None)]
        assert drawn.bars[0].x + drawn.bars[0].width <= drawn.width


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Pacific/Kiritimati"])
def test_a_page_is_of_utc_whatever_the_session_s_time_zone(database, zone):
    for at in ("2024-03-31 23:30Z", "2024-06-01 00:30Z", "2025-01-31 12:00Z"):
        database.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, source, created_at) VALUES ('o', 'UPDATED', 's', %s)",
            [at],
        )
    database.execute("SELECT set_config('TimeZone', %s, false)", [zone])
    text = report.log(database, datetime(2024, 1, 1, tzinfo=UTC))
    for month in ("2024-03-01", "2024-06-01", "2025-01-01"):
        assert f"<title>{month}: 1 s</title>" in text
        assert f'<time datetime="{month}T00:00:00+00:00">{month}</time>' in text
    assert database.execute("SHOW TimeZone").fetchone() == (zone,)


# -- a job ------------------------------------------------------------------------------------------------------------


def test_the_page_of_a_job_shows_its_kin_and_what_they_touched(db, new):
    scene(db, new)
    shown = Read(of_job(db, "enrich-1"))
    assert "JOB enrich-1 FAILED 1 attempt of it, or of what it caused" in shown[""]
    assert "Source enrichment By ann" in shown[""]
    assert "Changes 26 by 2 jobs, 25 by itself" in shown[""]
    assert "spotify_sync sync-1" in shown["jobs"]
    assert "enrichment enrich-2" in shown["jobs"]
    assert "ALBUM “OK Computer” no answer OK Computer TIMEOUT retry 2" in shown["failures"]
    assert "TRACK 20 20 20 🦙 CREATED" in shown["types"]
    assert "ALBUM 1 6 5 ENRICHED 1 FAILED" in shown["types"]
    assert "TRACK “Track 7” 1 1 🦙 CREATED" in shown["entities"]


def test_the_page_of_a_job_that_wrote_nothing_says_so(db):
    context(db, source="enrichment_check", job_id="check-1", parent_job_id="cron-1")
    shown = Read(of_job(db, "check-1"))
    assert shown["failures"].endswith("No attempt failed here.")
    assert "wrote no row of a watched table" in shown["types"]
    assert shown["entities"].endswith("None.")
    with pytest.raises(UnknownJob), db.transaction():
        gather.job(db, "no such job")


def test_the_page_of_a_job_says_what_it_leaves_out(db, new):
    context(db, source="spotify_sync", job_id="sync-1")
    db.execute(
        "INSERT INTO albums (title, updated_at) SELECT 'a' || n, now() FROM generate_series(1, 400) AS n"
    )
    text = of_job(db, "sync-1")
    assert len(text) < 500_000
    shown = Read(text)
    assert "Changes 400 by 401 jobs, 0 by itself" in shown[""]
    assert "201 jobs more: llamalog job sync-1" in shown["jobs"]
    assert "llamalog impact --job sync-1 --list --limit 1000000" in shown["entities"]


def test_jobs_that_cause_each_other_in_a_circle_have_a_page(db, new):
    for job, parent in (("a", "c"), ("b", "a"), ("c", "b")):
        context(db, source="enrichment", job_id=job, parent_job_id=parent)
        new.album(db, job)
    for job in "abc":
        assert len(gather.job(db, job).kin) == 3
    assert "3 by 3 jobs" in Read(of_job(db, "a"))[""]


# -- where it goes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def llamalog(database):
    def run(*arguments: str):
        address = {**database.info.get_parameters(), "password": database.info.password}
        dsn = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
        return CliRunner(env={"LLAMALOG_DSN": dsn}).invoke(main, list(arguments))

    return run


def test_the_command_writes_a_page_and_says_where_and_how_large(llamalog, database, new, tmp_path):
    new.album(database)
    target = tmp_path / "album.html"
    result = llamalog("report", "ALBUM", "ok computer", "-o", str(target))
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == f"[🦙 LlamaLog] wrote {target}: {target.stat().st_size:,} bytes\n"
    assert "OK Computer" in target.read_text(encoding="utf-8")

    target.chmod(0o640)
    assert llamalog("report", "-o", str(target)).exit_code == 0
    assert "THE LOG" in target.read_text(encoding="utf-8")
    assert target.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["album.html"]

    on_stdout = llamalog("report", "--since", "2026-01-01", "-o", "-")
    assert (on_stdout.exit_code, on_stdout.stderr) == (0, "")
    assert on_stdout.stdout.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("arguments", "exit_code", "error", "hint"),
    [
        (["-o", "{}/no/page.html"], 2, "error: there is no directory {}/no", "Make it first"),
        (["-o", "{}"], 2, "error: {} is a directory", "Name a file: -o"),
        (["-o", "/dev/full"], 1, "error: cannot write /dev/full: No space left on device (58030)", "or - for stdout"),
        (["-o", "/proc/page.html"], 1, "error: cannot write /proc/page.html: ", "or - for stdout"),
        ([], 2, "error: missing option '-o'", "report --help"),
        (["ALBUM", "-o", "{}/a"], 2, "error: which ALBUM?", "llamalog report ALBUM ID -o FILE"),
        (
            ["ALBUM", "x", "--since", "2026-01-01", "-o", "{}/a"],
            2,
            "error: --since is for the whole log",
            "leave it out",
        ),
        (["ALBUM", "x", "--job", "y", "-o", "{}/a"], 2, "error: an entity or a job?", "leave one"),
        (["--job", "y", "-o", "{}/a"], 1, 'error: unknown job "y"', "llamalog history"),
        (
            ["--since", "2101-01-01", "-o", "{}/a"],
            2,
            "error: the start, 2101-01-01 00:00:00+00, is in the future",
            "that has passed",
        ),
        (["ALBUM", "x", "-o", "{}/a"], 1, 'error: no ALBUM has the id or title "x"', "find"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_said_in_a_line(
    server, arguments, exit_code, error, hint, tmp_path, request
):
    dsn = psycopg.conninfo.make_conninfo(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        dbname=request.getfixturevalue("_shared_music").info.dbname,
    )
    given = [argument.format(tmp_path) for argument in arguments]
    result = CliRunner(env={"LLAMALOG_DSN": dsn}).invoke(main, ["report", *given])
    assert result.exit_code == exit_code, result.output
    assert result.stderr.startswith(error.format(tmp_path))
    assert hint in result.stderr
    assert (result.stdout, list(tmp_path.iterdir())) == ("", [])


def test_a_link_is_followed_and_what_is_no_file_is_written_to(tmp_path):
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    with writing(tmp_path / "link.html") as stream:
        stream.write("🦙")
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == "🦙"
    # a pipe, where a link of /proc leads, has no name
    reader, writer = os.pipe()
    with writing(Path(f"/proc/self/fd/{writer}")) as stream:
        stream.write("x")
    assert os.read(reader, 9) == b"x"
    os.close(reader)
    os.close(writer)


def test_a_page_is_read_from_one_snapshot_and_writes_nothing(database, connect, new, monkeypatch):
    album = new.album(database)
    counter = itertools.count()
    told_why = queries.blame

    def write_meanwhile(conn, *entity):
        connect(database).execute("UPDATE albums SET label = %s", [str(next(counter))])
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), conn.transaction():
            conn.execute("UPDATE albums SET label = 'x'")
        return told_why(conn, *entity)

    monkeypatch.setattr(queries, "blame", write_meanwhile)
    shown = Read(report.entity(database, "ALBUM", album))
    assert "label nothing 🦙 CREATED" in shown["blame"]
    assert (database.read_only, database.isolation_level) == (None, None)
    assert next(counter) == 1


def test_a_connection_in_a_transaction_is_refused(db, new):
    with pytest.raises(ValueError, match="in a transaction"):
        report.entity(db, "ALBUM", new.album(db))


def test_other_errors_of_the_row_are_not_hidden(db, new, monkeypatch):
    def fail(*_):
        raise LlamaLogError("broken", sqlstate="XX000")

    monkeypatch.setattr(queries, "blame", fail)
    album = new.album(db)
    with pytest.raises(LlamaLogError, match="broken"):
        gather.entity(db, "ALBUM", album)
