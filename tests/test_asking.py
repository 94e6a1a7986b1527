"""Questions as a newcomer puts them: ids in any spelling, entities without a name, words left empty, values of a megabyte."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import test_cli

from llamalog_sql import jobs, output, queries, watching
from llamalog_sql.errors import translate
from llamalog_sql.report import gather, page

llamalog = test_cli.llamalog


def visits(conn):
    """A table with a key of six columns, one of each kind that can be spelled in several ways; one row came and went."""
    conn.execute(
        "CREATE TABLE visits (place int, day date, at timestamptz, noted timestamp(3), share numeric(6, 3), name text,"
        " PRIMARY KEY (place, day, at, noted, share, name))"
    )
    watching.watch(conn, ["visits"])
    conn.execute(
        "INSERT INTO visits VALUES (7, '2026-08-01', '2026-08-01 02:00+02', '2026-08-01 10:00', 1.5, 'a, b')"
    )
    conn.execute("DELETE FROM visits")


VISIT = r"7,2026-08-01,2026-08-01T00:00:00+00:00,2026-08-01T10:00:00,1.5,a\, b"


def test_each_part_of_a_key_is_found_in_any_spelling(db):
    visits(db)
    for spelling in (
        VISIT,
        r"07, 1 Aug 2026,2026-08-01 03:00+03, 2026-08-01 10:00,1.500,a\, b",
        r"+7,20260801,2026-08-01,2026-08-01T10:00,01.50,a\, b",
    ):
        assert queries.resolve(db, "visit", spelling) == VISIT
        assert [row.op for row in queries.history(db, "VISIT", spelling)] == ["D", "I"]


def test_a_key_that_cannot_be_one_is_malformed(db):
    visits(db)
    for spelling in (
        "7",
        f"{VISIT},more",
        "x,2026-08-01,2026-08-01,2026-08-01,1,n",
        "7,2026-02-30,now,now,1,n",
        "7,2026-08-01,25:00,now,1,n",
        "99999999999999999999,2026-08-01,now,now,1,n",
    ):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation) as refused, db.transaction():
            db.execute("SELECT llamalog.entity_id('VISIT', %s)", [spelling])
        error = translate(refused.value)
        assert str(error) == f'malformed id "{spelling}" for VISIT'
        assert (error.detail, error.hint) == (
            "Its key is of type integer, date, timestamp with time zone, timestamp(3) without time zone, numeric(6,3), text.",
            "Give the values of its key with commas between them.",
        )


def test_a_key_that_was_cut_is_taken_as_the_log_has_it(db):
    db.execute("CREATE TABLE pages (site int, path text, PRIMARY KEY (site, path))")
    watching.watch(db, ["pages"])
    db.execute("INSERT INTO pages VALUES (1, repeat('a,', 1000))")
    (cut,) = db.execute("SELECT entity_id FROM llamalog.log").fetchone()
    assert len(cut) == 273
    whole = "01," + r"a\," * 1000
    assert [len(queries.history(db, "PAGE", id)) for id in (cut, whole)] == [1, 1]


def test_what_is_alike_and_has_no_name_is_named_once(db):
    db.execute("CREATE TABLE order_lines (order_no int, line int, PRIMARY KEY (order_no, line))")
    watching.watch(db, ["order_lines"])
    db.execute("INSERT INTO order_lines VALUES (1, 1), (1, 2)")
    with pytest.raises(psycopg.DatabaseError) as refused, db.transaction():
        db.execute("SELECT llamalog.resolve('ORDER_LINE', '1')")
    assert refused.value.diag.message_detail == "Similar: 1,1\nSimilar: 1,2"


def test_an_entity_whose_name_is_empty_goes_by_its_id(db, new):
    artist = new.artist(db, "")
    (told,) = queries.why(db, "ARTIST", artist)
    assert told.sentence.startswith(f"ARTIST “{artist}” was created")
    assert queries.label(db, "ARTIST", artist) is None


def test_a_story_gives_the_reason_that_all_of_a_job_had(db, new):
    album = new.album(db)
    new.track(db, album, "one", 1)
    new.track(db, album, "two", 2)
    for job, reasons in (("same", ["cleanup", "cleanup"]), ("mixed", ["typo", "market"])):
        for track, reason in zip(("one", "two"), reasons, strict=True):
            db.execute("SELECT llamalog.set_context(job_id => %s, reason => %s)", [job, reason])
            db.execute(
                "UPDATE tracks SET title = title || '.' WHERE starts_with(title, %s)", [track]
            )
    told = [line.sentence for line in queries.why(db, "ALBUM", album)][-2:]
    assert [line.partition("job ")[2] for line in told] == ["same: cleanup.", "mixed."]


def test_a_move_between_partitions_shows_no_job_that_did_nothing(db):
    db.execute(
        "CREATE TABLE stock (id int, place text, PRIMARY KEY (id, place)) PARTITION BY LIST (place);"
        " CREATE TABLE stock_a PARTITION OF stock FOR VALUES IN ('a');"
        " CREATE TABLE stock_b PARTITION OF stock FOR VALUES IN ('b')"
    )
    watching.watch(db, ["stock"])
    db.execute("INSERT INTO stock VALUES (1, 'a')")
    db.execute("SELECT llamalog.set_context(source => 'bulk', job_id => 'move')")
    db.execute("UPDATE stock SET place = 'b'")
    assert [(node.job_id, node.categories) for node in jobs.job(db, "move")] == [
        ("move", {"UPDATED": 1})
    ]


def test_a_start_in_the_future_is_not_to_be_swapped_with_now(db):
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="in the future"):
        db.execute("SELECT llamalog.check_span('2999-01-01', now())")


def test_a_source_has_one_colour_in_the_page_of_the_log(db, new):
    sources = ["nightly", "spotify_sync", *(f"path_{number}" for number in range(1, 9))]
    for source in sources:
        db.execute("SELECT llamalog.set_context(source => %s)", [source])
        new.artist(db, source)
    now = datetime.now(UTC)
    text = page.log(gather.log(db, now - timedelta(days=1)), now)
    legend, table = (
        {
            name: colour
            for colour, name in re.findall(r'<span class="chip (\w+)"><bdi>(\w+)</bdi>', part)
        }
        for part in text.split('<section id="shares"')
    )
    assert len(legend) == 7
    assert set(sources) == set(table)
    assert table == {name: legend.get(name, "bright_black") for name in sources}


# -- at the terminal --------------------------------------------------------------------------------------------------


def test_an_empty_word_is_refused_and_widens_no_question(llamalog, new, database):
    new.album(database)
    for words in (
        ["why", "ALBUM", ""],
        ["failures", "ALBUM", ""],
        ["tail", "--type", "ALBUM", "--entity", ""],
        ["export", "prov", "ALBUM", ""],
        ["export", "openlineage", "ALBUM", ""],
    ):
        test_cli.failed(
            llamalog(*words), 2, "error: the id or title of the ALBUM is empty", "Give the id"
        )
    test_cli.failed(llamalog("export", "openlineage"), 2, "error: which story", "--since TIME")


def test_an_empty_key_is_asked_for_as_it_is(llamalog, database):
    database.execute(
        "CREATE TABLE codes (code text PRIMARY KEY, name text); CREATE TABLE words (word text PRIMARY KEY)"
    )
    watching.watch(database, ["codes", "words"])
    database.execute(
        "INSERT INTO codes VALUES ('', 'none'), ('a', 'A'); INSERT INTO words VALUES ('')"
    )
    database.execute("UPDATE codes SET name = 'None' WHERE code = ''; DELETE FROM words")
    now = test_cli.clock(database)
    for words in (
        ["history", "CODE", ""],
        ["chain", "CODE", ""],
        ["tree", "CODE", ""],
        ["why", "CODE", ""],
        ["blame", "CODE", ""],
        ["as-of", "CODE", "", now],
        ["diff", "CODE", "", now, now],
        ["failures", "CODE", ""],
        ["tail", "--type", "CODE", "--entity", ""],
        ["export", "prov", "CODE", ""],
        ["export", "openlineage", "CODE", ""],
        ["report", "CODE", "", "-o", "-"],
        ["revert", "CODE", "", "--to", now, "--dry-run"],
        ["history", "WORD", ""],
    ):
        shown = llamalog(*words)
        assert (shown.exit_code, "error" in shown.stderr) == (0, False), (words, shown.stderr)
    assert [row.op for row in queries.history(database, "CODE", "")] == ["U", "I"]
    assert (
        json.loads(llamalog("as-of", "CODE", "", now, "--format", "json").stdout)["name"] == "None"
    )
    # of a type that has no row of this key it is no word for all of them
    database.execute("DELETE FROM llamalog.llama_logs WHERE entity_type = 'WORD'")
    test_cli.failed(
        llamalog("history", "WORD", ""), 2, "error: the id or title of the WORD is empty", "Give"
    )


def test_one_of_a_thing_is_told_in_the_singular(llamalog, database, new):
    database.execute("SET llamalog.job_id = 'once'")
    album = new.album(database)
    assert [output.plural(n, "row") for n in (0, 1, 1000)] == ["0 rows", "1 row", "1,000 rows"]
    assert ": 1, on 1 entity or link ·" in llamalog("impact", "--job", "once").stdout
    assert f"{album}: 1 of 1 change " in llamalog("chain", "ALBUM", album).stdout
    assert "] 1 change, the last one" in llamalog("export", "log").stderr
    assert llamalog("failures", "--days", "1").stderr == "[🦙 LlamaLog] nothing failed in 1 day\n"
    database.execute(
        "INSERT INTO llamalog.attention_rules (entity_type, rule, period) VALUES ('ALBUM', 'failed', '1 day')"
    )
    assert "  1 day " in llamalog("attention", "ALBUM", "--rules").stdout
    assert "log          1 row, " in llamalog("status").stdout


def test_a_value_of_a_megabyte_is_cut_and_squeezes_nothing(llamalog, database, new):
    album = new.album(database)
    (seq,) = database.execute("SELECT max(seq) FROM llamalog.log").fetchone()
    database.execute("UPDATE albums SET metadata = to_jsonb(repeat('long text ', 100000))")
    for words in (
        ["as-of", "ALBUM", album, test_cli.clock(database)],
        ["diff", "ALBUM", album, "--from-change", str(seq), "--to-change", str(seq + 1)],
    ):
        for width in ("80", "200"):
            shown = llamalog(*words, COLUMNS=width).stdout
            assert "(1,000,000 characters)" in " ".join(shown.split())
            assert shown.split()[0] == "field"
            assert "\nmetadata  " in shown
            assert len(shown) < 10_000
        assert len(llamalog(*words, "--format", "json").stdout) > 1_000_000


def test_seqs_are_shown_where_changes_are(llamalog, database, new):
    album = new.album(database)
    (seq,) = database.execute("SELECT max(seq) FROM llamalog.log").fetchone()
    for command in ("history", "chain"):
        for width in ("60", "200"):
            lines = llamalog(command, "ALBUM", album, COLUMNS=width).stdout.splitlines()
            assert any(line.split()[:1] == [str(seq)] for line in lines)


def test_what_did_not_exist_at_two_times_is_not_called_alike(llamalog, database, new):
    before = test_cli.clock(database)
    album = new.album(database)
    database.execute("DELETE FROM albums")
    shown = llamalog("diff", "ALBUM", album, before, test_cli.clock(database))
    assert (shown.exit_code, shown.stderr) == (0, "[🦙 LlamaLog] it existed at neither time\n")


def test_a_revert_says_that_there_is_nothing_to_undo_and_wants_one_winner(llamalog, database):
    database.execute("SELECT llamalog.start_job(job_id => 'check-1')")
    for more in (["--dry-run"], ["--yes"]):
        shown = llamalog("revert", "--job", "check-1", *more)
        assert (shown.exit_code, shown.stdout) == (0, "")
        assert shown.stderr == "[🦙 LlamaLog] nothing to undo\n"
    test_cli.failed(
        llamalog("revert", "--job", "check-1", "--ours", "--theirs"),
        2,
        "error: --theirs or --ours? (22023)",
        "leave one out",
    )


def test_who_lacks_a_right_is_told_which_role_gives_it(llamalog, database):
    database.execute("CREATE ROLE asker LOGIN")
    own = psycopg.conninfo.make_conninfo("", **{**database.info.get_parameters(), "user": "asker"})
    try:
        for command in (["tail"], ["stats"], ["failures"], ["export", "log"]):
            test_cli.failed(
                llamalog(*command, dsn=own), 1, "error: permission", "GRANT llamalog_reader TO you"
            )
        database.execute("GRANT llamalog_reader TO asker")
        for command in (["watch", "albums"], ["unwatch", "albums"], ["rollback", "--yes"]):
            test_cli.failed(
                llamalog(*command, dsn=own),
                1,
                "error: permission denied to change what is installed or watched (42501)",
                "as the role that installed llamalog; to watch a table it must own that too, or hold TRIGGER on it",
            )
        test_cli.failed(
            llamalog("pause", "albums", "--reason", "x", "--yes", dsn=own),
            1,
            "error: permission denied for function pause (42501)",
            "GRANT llamalog_admin TO you",
        )
    finally:
        database.execute("DROP ROLE asker")


def test_lineage_tells_a_job_before_what_it_caused(llamalog, database):
    for job, parent in (("sync", None), ("repair", "sync")):
        with database.transaction():
            database.execute(
                "SELECT llamalog.set_context(job_id => %s, parent_job_id => %s)", [job, parent]
            )
            database.execute("INSERT INTO artists (name, updated_at) VALUES ('x', now())")
            database.execute("UPDATE artists SET area = %s", [job])
    told = [
        json.loads(line)["run"]["facets"]["llamalog"]["jobId"]
        for line in llamalog("export", "openlineage", "--job", "sync").stdout.splitlines()
    ]
    assert [job for job, _ in itertools.groupby(told) if "/" not in job] == ["sync", "repair"]


def test_what_identifiers_begin_with_is_a_uri(llamalog, database, new):
    album = new.album(database)
    test_cli.failed(
        llamalog("export", "prov", "ALBUM", album, "--base", "not a uri"),
        2,
        'error: "not a uri" is no URI (22023)',
        "urn:example:",
    )
    shown = llamalog("export", "prov", "ALBUM", album, "--base", "urn:x:")
    assert '"job": "urn:x:job/"' in shown.stdout
    assert shown.stderr == "[🦙 LlamaLog] 1 change\n"


def test_the_log_is_exported_by_the_word_that_questions_have(llamalog, database, new):
    new.album(database)
    by_format = llamalog("export", "log", "--format", "csv").stdout
    assert by_format == llamalog("export", "log", "--as", "csv").stdout
    assert by_format.startswith("seq,op,entity_type,")


def test_a_key_that_is_an_array_of_numerics_is_taken_as_the_log_spells_it(db):
    db.execute("CREATE TABLE prices (steps numeric(10, 2)[] PRIMARY KEY)")
    watching.watch(db, ["prices"])
    db.execute("INSERT INTO prices VALUES ('{1.01,2}')")
    assert [row.op for row in queries.history(db, "PRICE", "{1.01,2.00}")] == ["I"]


def test_who_may_not_read_a_table_is_not_told_that_what_came_back_is_deleted(db, new):
    album = new.album(db, "Kid A")
    gone = new.album(db, "Kid B")
    db.execute("CREATE TEMP TABLE kept AS SELECT * FROM albums WHERE id = %s", [album])
    db.execute("DELETE FROM albums WHERE id IN (%s, %s)", [album, gone])
    db.execute("INSERT INTO albums SELECT * FROM kept")

    def found():
        return dict(
            db.execute(
                "SELECT label, is_alive FROM llamalog.find('Kid') WHERE entity_id IS NOT NULL"
            ).fetchall()
        )

    assert found() == {"Kid A": True, "Kid B": False}
    db.execute("SET ROLE llamalog_reader")
    assert found() == {"Kid A": None, "Kid B": False}
    alive = db.execute(
        "SELECT known.is_alive FROM llamalog.labels('ALBUM', ARRAY[%s::text, %s::text]) AS known",
        [album, gone],
    )
    assert sorted(alive.fetchall(), key=str) == [(False,), (None,)]
    db.execute("RESET ROLE")


def test_find_says_which_tables_it_could_not_look_into(llamalog, database, new):
    album, gone = new.album(database, "Kid A"), new.artist(database, "Kid B")
    new.track(database, album, "Kid C")
    database.execute("DELETE FROM artists")
    database.execute("CREATE ROLE analyst LOGIN IN ROLE llamalog_reader")
    database.execute("GRANT SELECT ON albums TO analyst")
    his = psycopg.conninfo.make_conninfo(
        "", **{**database.info.get_parameters(), "user": "analyst"}
    )
    left_out = "[🦙 LlamaLog] left out, since you may not read their tables: "
    try:
        shown = llamalog("find", "kid", dsn=his)
        assert shown.stdout.split() == ["type", "id", "label", "ALBUM", album, "Kid", "A", "ARTIST", gone, "Kid", "B", "deleted"]  # fmt: skip
        assert shown.stderr == f"{left_out}ARTIST, TRACK\n"
        assert f"{left_out}ARTIST\n" in llamalog("find", "Kid", "--type", "ARTIST", dsn=his).stderr
        nothing = llamalog("find", "kid c", "--format", "jsonl", dsn=his)
        assert nothing.exit_code == 1
        assert [json.loads(line) for line in nothing.stdout.splitlines()] == [
            {"entity_type": kind, "entity_id": None, "label": None, "is_alive": None}
            for kind in ("ARTIST", "TRACK")
        ]
        assert nothing.stderr == (
            f'{left_out}ARTIST, TRACK\n[🦙 LlamaLog] nothing that you may read is called "kid c"\n'
        )
        assert llamalog("find", "kid c", "--type", "ALBUM", dsn=his).stderr == (
            '[🦙 LlamaLog] nothing is called "kid c"\n'
        )
        # what was not looked at is no candidate for a title
        missed = llamalog("history", "TRACK", "Kid C", dsn=his)
        assert "detail: No row that you may read is called so" in missed.stderr
    finally:
        database.execute("DROP OWNED BY analyst; DROP ROLE analyst")
