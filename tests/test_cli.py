"""The command line as a person meets it: answers on stdout, talk on stderr, errors in a line, exit codes."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner
from conftest import default

from llamalog_sql import migrate
from llamalog_sql.cli import main

ALL = sorted(main.commands)
NOW = "2026-01-01"


@pytest.fixture
def llamalog(database):
    """llamalog("why", "ALBUM", ...) runs the command on the test's own database."""

    def run(*arguments: str, dsn: str | None = None, **more):
        address = {**database.info.get_parameters(), "password": database.info.password}
        own = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
        runner = CliRunner(
            env={"LLAMALOG_DSN": own if dsn is None else dsn, "COLUMNS": "200", **more}
        )
        return runner.invoke(main, list(arguments), catch_exceptions=False)

    return run


def failed(result, exit_code, first_line, hint):
    lines = result.stderr.splitlines()
    assert result.exit_code == exit_code, result.stderr
    assert lines[0].startswith(first_line), result.stderr
    assert any(line.startswith("hint: ") and hint in line for line in lines), result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_help_and_an_example(name):
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "Example:" in result.stdout
    assert f"llamalog {name}" in result.stdout


@pytest.mark.parametrize(
    "name",
    ["migrate", "rollback", "watch", "unwatch", "pause", "resume", "maintain", "revert", "doctor"],
)
def test_every_command_that_writes_has_sql_and_dry_run(name):
    options = {option for parameter in main.commands[name].params for option in parameter.opts}
    assert {"--sql", "--dry-run"} <= options


@pytest.mark.parametrize(
    "name",
    [
        *("history", "chain", "tree", "why", "as-of", "blame", "diff", "find", "status", "check"),
        *("attention", "failures", "stats", "job", "impact", "tail", "reconcile", "doctor"),
    ],
)
def test_every_question_answers_in_every_format(name):
    (form,) = [p for p in main.commands[name].params if "--format" in p.opts]
    assert isinstance(form.type, click.Choice)
    assert list(form.type.choices) == ["table", "json", "jsonl", "csv"]


def test_what_programs_read_is_in_utc_whatever_the_session_s_time_zone(llamalog, database, new):
    with database.transaction():
        database.execute("SELECT llamalog.set_context(job_id => 'j', user_id => 'ann')")
        album = new.album(database)
    here = {"PGOPTIONS": "-c timezone=America/New_York"}
    for command in (
        *(["history", "ALBUM", album, "--format", form] for form in ("json", "jsonl", "csv")),
        ["export", "log"],
        ["export", "prov", "ALBUM", album],
        ["export", "openlineage", "ALBUM", album],
    ):
        told = llamalog(*command, **here)
        assert told.exit_code == 0, told.stderr
        assert "+00:00" in told.stdout
        assert not re.search(r":\d\d(\.\d+)?-0[45]:00", told.stdout), command
    late = llamalog("export", "log", "--since", "2101-01-01", **here)
    failed(late, 2, "error: the start, 2101-01-01 00:00:00+00, is in", "Give")


def test_what_the_application_s_triggers_may_go_by_keeps_its_time_zone(llamalog, database, new):
    database.execute(
        """
        CREATE TABLE seen (zone text);
        CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO public.seen VALUES (current_setting('TimeZone'));
            RETURN NULL;
        END $$;
        CREATE TRIGGER look AFTER DELETE ON albums FOR EACH ROW EXECUTE FUNCTION look();
        """
    )
    with database.transaction():
        database.execute("SELECT llamalog.set_context(job_id => 'wrong')")
        new.album(database)
    told = llamalog("revert", "--job", "wrong", "--yes", PGOPTIONS="-c timezone=America/New_York")
    assert told.exit_code == 0, told.stderr
    assert database.execute("SELECT zone FROM seen").fetchall() == [("America/New_York",)]


def test_questions_take_an_id_or_a_title(llamalog, database, new):
    album = new.album(database)
    by_title = llamalog("history", "album", "ok computer", "--format", "json")
    by_id = llamalog("history", "ALBUM", album, "--format", "json")
    assert by_title.stdout == by_id.stdout
    assert [c["category"] for c in json.loads(by_id.stdout)] == ["CREATED"]


def test_history_as_table_json_lines_and_csv(llamalog, database, new):
    new.album(database, 'Album "quoted", 100%')
    database.execute("UPDATE albums SET genres = '{rock,art rock}'")
    title = 'Album "quoted", 100%'
    table = llamalog("history", "ALBUM", title)
    assert "UPDATED" in table.stdout
    assert "🦙 CREATED" in table.stdout
    assert "genres: nothing → [" in table.stdout
    lines = [
        json.loads(line)
        for line in llamalog("history", "ALBUM", title, "--format", "jsonl").stdout.splitlines()
    ]
    assert [line["op"] for line in lines] == ["U", "I"]
    assert lines[0]["after"] == {"genres": ["rock", "art rock"]}
    rows = list(
        csv.DictReader(io.StringIO(llamalog("history", "ALBUM", title, "--format", "csv").stdout))
    )
    assert [row["op"] for row in rows] == ["U", "I"]
    assert json.loads(rows[0]["after"]) == {"genres": ["rock", "art rock"]}


def test_numbers_keep_every_digit_in_every_format(llamalog, database):
    database.execute("CREATE TABLE prices (id int PRIMARY KEY, amount numeric)")
    assert llamalog("watch", "prices").exit_code == 0
    database.execute("INSERT INTO prices VALUES (1, 12345678901234567890.1230)")
    database.execute("UPDATE prices SET amount = 1.10")
    images = ('{"amount": 12345678901234567890.1230}', '{"amount": 1.10}')
    for command in ("history", "chain"):
        for form in ("jsonl", "csv"):
            shown = llamalog(command, "PRICE", "1", "--format", form).stdout.replace('""', '"')
            assert [image for image in images if image not in shown] == []
        shown = " ".join(llamalog(command, "PRICE", "1", "--format", "json").stdout.split())
        assert [
            image for image in images if image.replace("{", "{ ").replace("}", " }") not in shown
        ] == []
        table = llamalog(command, "PRICE", "1").stdout
        assert "amount: 12345678901234567890.1230 → 1.10" in table


def test_as_of_blame_and_diff_in_every_format(llamalog, database, new):
    album = new.album(database, "Ok computer")
    first = clock(database)
    database.execute(
        "UPDATE albums SET title = 'OK Computer', label = '[bold]' WHERE id = %s", [album]
    )
    now = clock(database)
    for form, read in (
        ("json", json.loads),
        ("jsonl", json.loads),
        ("csv", lambda text: next(csv.DictReader(io.StringIO(text)))),
    ):
        row = read(llamalog("as-of", "ALBUM", album, first, "--format", form).stdout)
        assert row["title"] == "Ok computer"
    table = llamalog("as-of", "ALBUM", "ok computer", now)
    assert ["title", "OK", "Computer"] in [line.split() for line in table.stdout.splitlines()]
    assert (table.exit_code, table.stderr) == (0, "")

    blamed = json.loads(llamalog("blame", "ALBUM", album, "--format", "json").stdout)
    assert {b["field"]: b["category"] for b in blamed}["title"] == "UPDATED"
    assert "[bold]" in llamalog("blame", "ALBUM", album).stdout

    (label, title) = json.loads(
        llamalog("diff", "ALBUM", album, first, now, "--format", "json").stdout
    )
    assert label == {"field": "label", "change": "changed", "before": None, "after": "[bold]"}
    assert (title["before"], title["after"]) == ("Ok computer", "OK Computer")
    assert "nothing" in llamalog("diff", "ALBUM", album, first, now).stdout
    assert llamalog("diff", "ALBUM", album, now, now).stderr == "[🦙 LlamaLog] no difference\n"


def test_as_of_says_what_did_not_exist_is_not_known_or_was_not_captured(llamalog, database, new):
    before = clock(database)
    album = new.album(database)
    unborn = llamalog("as-of", "ALBUM", album, before)
    assert (unborn.exit_code, unborn.stdout) == (0, "")
    assert unborn.stderr == "[🦙 LlamaLog] it did not exist then\n"
    assert llamalog("as-of", "ALBUM", album, before, "--format", "json").stdout == "null\n"
    failed(
        llamalog("as-of", "ALBUM", album, "2001-01-01"),
        1,
        f'error: what ALBUM "{album}" was at 2001-01-01 00:00:00+00 is not known (LL016)',
        "Ask for an instant since 20",
    )
    failed(
        llamalog("as-of", "ALBUM", album, "2999-01-01"),
        2,
        "error: the instant 2999-01-01 00:00:00+00 is in the future (22023)",
        "that has passed. Without an offset SQL reads it in the time zone of the session, the command line as UTC.",
    )
    failed(
        llamalog("diff", "ALBUM", album, "2026-02-01", "2026-01-01"), 2, "error: the start", "Swap"
    )
    database.execute("UPDATE albums SET label = 'seen'")
    database.execute("SET session_replication_role = replica")
    database.execute("UPDATE albums SET label = 'unseen'")
    database.execute("RESET session_replication_role")
    assert "in 1 place" in llamalog("blame", "ALBUM", album).stderr


def clock(database):
    return database.execute("SELECT clock_timestamp()").fetchone()[0].isoformat()


def test_of_long_texts_that_begin_alike_history_shows_where_they_part(llamalog, database, new):
    text = "All the king's horses and all the king's men"
    album = new.album(database, title=text * 5 + ". Exit")

    def shown():
        return llamalog("history", "ALBUM", album, COLUMNS="300").stdout

    database.execute("UPDATE albums SET title = %s", [text * 5 + ". Entry"])
    assert "title: …e king's men. Exit → …e king's men. Entry" in shown()
    database.execute("UPDATE albums SET title = 'x' || title")
    assert f"title: {text[:39]}… → x{text[:38]}…" in shown()


def test_history_and_find_say_when_there_is_more(llamalog, database, new):
    album = new.album(database)
    database.execute("UPDATE albums SET label = 'Parlophone'")
    cut = llamalog("history", "ALBUM", album, "--limit", "1", "--format", "jsonl")
    assert [json.loads(line)["op"] for line in cut.stdout.splitlines()] == ["U"]
    assert cut.stderr == "[🦙 LlamaLog] only the newest 1; for more, --limit\n"
    assert llamalog("history", "ALBUM", album, "--limit", "2").stderr == ""
    new.album(database, "Computer World")
    cut = llamalog("find", "computer", "--limit", "1", "--format", "jsonl")
    assert [json.loads(line)["label"] for line in cut.stdout.splitlines()] == ["OK Computer"]
    assert cut.stderr == "[🦙 LlamaLog] only 1; for more, --limit\n"
    assert llamalog("find", "computer", "--limit", "2").stderr == ""


@pytest.mark.parametrize("name", ["history", "chain", "tree", "why"])
def test_times_are_shown_in_utc_wherever_the_reader_sits(llamalog, database, new, name):
    new.album(database)
    there = llamalog(name, "ALBUM", "OK Computer", PGTZ="Asia/Tokyo")
    assert there.stdout == llamalog(name, "ALBUM", "OK Computer", PGTZ="UTC").stdout
    assert (there.exit_code, there.stderr) == (0, "")


@pytest.mark.parametrize("name", ["history", "chain", "tree", "why"])
def test_terminal_that_cannot_show_a_llama_gets_an_answer(database, new, name):
    new.album(database, "Ágætis byrjun")
    address = {**database.info.get_parameters(), "password": database.info.password}
    own = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
    shown = subprocess.run(
        [sys.executable, "-m", "llamalog_sql", name, "ALBUM", "Ágætis byrjun"],
        capture_output=True,
        text=True,
        env={**os.environ, "LLAMALOG_DSN": own, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\\xc1g\\xe6tis byrjun" in shown.stdout


def test_chain_pages_by_cursor(llamalog, database, new):
    album = new.album(database)
    for number in range(1, 5):
        new.track(database, album, f"Track {number}", number)
    first = json.loads(llamalog("chain", "ALBUM", album, "--limit", "3", "--format", "json").stdout)
    second = json.loads(
        llamalog(
            "chain", "ALBUM", album, "--limit", "3", "--cursor", first["cursor"], "--format", "json"
        ).stdout
    )
    assert [
        len(first["logs"]),
        len(second["logs"]),
        first["total_count"],
        second["total_count"],
    ] == [3, 2, 5, 5]
    assert [first["has_more"], second["has_more"], second["cursor"]] == [True, False, None]
    talk = llamalog("chain", "ALBUM", album, "--limit", "3").stderr
    assert talk == f"[🦙 LlamaLog] more: add --cursor {first['cursor']}\n"


def test_chain_filters_by_category_and_time(llamalog, database, new):
    album = new.album(database)
    database.execute("UPDATE albums SET label = 'Parlophone'")
    only = llamalog("chain", "ALBUM", album, "--category", "updated", "--format", "jsonl").stdout
    assert [json.loads(line)["category"] for line in only.splitlines()] == ["UPDATED"]
    none = llamalog("chain", "ALBUM", album, "--until", "2001-01-01", "--format", "jsonl")
    assert (none.exit_code, none.stdout) == (0, "")


def test_tree_shows_fifteen_children_and_how_many_more(llamalog, database, new):
    with database.transaction():
        database.execute("SELECT llamalog.set_context(source => 'addAlbum', job_id => 'add')")
        album = new.album(database)
        for number in range(1, 19):
            new.track(database, album, f"Track {number}", number)
    drawn = llamalog("tree", "ALBUM", album).stdout
    assert drawn.count("TRACK “Track") == 15
    assert "3 more" in drawn
    assert "🦙 CREATED ALBUM “OK Computer”" in drawn
    assert llamalog("tree", "ALBUM", album, "--children", "18").stdout.count("TRACK “Track") == 18


def test_why_tells_the_story(llamalog, database, new):
    new.album(database)
    told = llamalog("why", "ALBUM", "OK Computer").stdout
    assert "ALBUM “OK Computer” was created by role postgres" in told


def test_narrow_terminal_gets_a_paragraph_for_each_change(llamalog, database, new):
    with database.transaction():
        database.execute("SELECT llamalog.set_context(source => 'manual_edit', job_id => 'edit-7')")
        album = new.album(database)
        database.execute("UPDATE albums SET label = 'Parlophone'")
    wide = llamalog("chain", "ALBUM", album).stdout
    narrow = llamalog("chain", "ALBUM", album, COLUMNS="60").stdout
    assert "label: nothing → Parlophone" in wide
    assert " source  " in wide.splitlines()[1]
    lines = [line.rstrip() for line in narrow.splitlines()]
    assert "    label: nothing → Parlophone" in lines
    assert "    manual_edit · role postgres · edit-7" in lines
    blamed = llamalog("blame", "ALBUM", album, COLUMNS="60").stdout.splitlines()
    told = blamed.index("label  Parlophone") + 1
    trail = " ".join(" ".join(blamed[told : told + 2]).split())
    assert trail.endswith("CORRECTED · manual_edit · role postgres · edit-7")
    assert max(map(len, [*lines, *blamed])) <= 60


def test_redacted_field_is_named_without_values(llamalog, database):
    database.execute("CREATE TABLE people (id int PRIMARY KEY, name text, email text)")
    assert llamalog("watch", "people", "--redact", "email").exit_code == 0
    database.execute("INSERT INTO people VALUES (1, 'Ann', 'a@x')")
    database.execute("UPDATE people SET email = 'b@x'")
    for command in ("history", "tree", "why"):
        shown = llamalog(command, "PERSON", "1").stdout
        assert "email (redacted)" in shown
        assert "→" not in shown


def test_columns_with_commas_are_told_how_to_be_given(llamalog, database):
    failed(
        llamalog("watch", "albums", "--ignore", "label,genres"),
        1,
        "error: public.albums has no column label,genres (42703)",
        "Give the option once for each column.",
    )


def test_parameter_that_cannot_be_is_misuse(llamalog, database, new):
    album = new.album(database)
    failed(
        llamalog("chain", "ALBUM", album, "--category", "NEW"),
        2,
        'error: unknown category "NEW" (22023)',
        "CREATED",
    )
    failed(
        llamalog("chain", "ALBUM", album, "--since", "2026-02-01", "--until", "2026-01-01"),
        2,
        "error: the start, 2026-02-01 00:00:00+00, is after the end",
        "Swap",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("chain", "ALBUM", "OK Computer", "--since", "2999-01-01"),
        ("stats", "--since", "2999-01-01"),
        ("export", "log", "--since", "2999-01-01"),
        ("export", "openlineage", "--since", "2999-01-01"),
    ],
)
def test_a_time_that_has_not_begun_is_misuse(llamalog, database, new, arguments):
    new.album(database)
    failed(llamalog(*arguments), 2, "error: the start, 2999-01-01 00:00:00+00, is in", "has passed")


@pytest.mark.parametrize(
    "arguments",
    [
        ("tail", "--job", "nope"),
        ("export", "log", "--job", "nope"),
        ("export", "openlineage", "--job", "nope"),
        ("report", "--job", "nope", "-o", "-"),
        ("revert", "--job", "nope"),
    ],
)
def test_a_job_that_never_was_is_an_error_everywhere(llamalog, arguments):
    failed(
        llamalog(*arguments), 1, 'error: unknown job "nope" (LL017)', "Every change names its job"
    )


def test_a_job_is_known_by_whatever_names_it(db):
    db.execute(
        "SELECT llamalog.start_job(job_id => 'own', source => 'sync', parent_job_id => 'above')"
    )
    db.execute(
        "SELECT llamalog.set_context(job_id => 'j', parent_job_id => 'p', root_job_id => 'r')"
    )
    db.execute("INSERT INTO artists (name, updated_at) VALUES ('Björk', now())")
    for job_id in ("own", "above", "j", "p", "r"):
        db.execute("SELECT llamalog.check_job(%s)", [job_id])
    with pytest.raises(psycopg.Error, match="job_id is missing") as error:
        db.execute("SELECT llamalog.check_job(NULL)")
    assert error.value.sqlstate == "22004"


def test_what_finds_nothing_says_since_when_anything_is_known(llamalog, database, new):
    ago = ("--until", "2001-01-01")
    assert "recorded; the log is empty" in llamalog("impact", *ago).stderr
    album = new.album(database)
    begins = f"; the log begins {database.execute('SELECT created_at FROM llamalog.log').fetchone()[0]:%Y-%m-%d}"
    for arguments in (
        ("chain", "ALBUM", album, *ago),
        ("impact", *ago),
        ("impact", "--list", *ago),
        ("stats", *ago),
        ("export", "log", *ago),
    ):
        result = llamalog(*arguments)
        assert result.exit_code == 0
        assert begins in result.stderr
    assert llamalog("tail", "--source", "nope").stderr == (
        "[🦙 LlamaLog] no such change is among the last million\n"
    )
    later = database.execute("SELECT clock_timestamp()::text").fetchone()[0]
    assert "no job wrote in that time" in llamalog("export", "openlineage", "--since", later).stderr


def test_an_answer_without_rows_is_csv_with_a_header_and_json_with_none(llamalog, database, new):
    album = new.album(database, data_quality="HIGH", spotify_id="4f")
    new.track(database, album)
    seq = database.execute(
        "SELECT max(seq) FROM llamalog.log WHERE entity_type = 'ALBUM'"
    ).fetchone()[0]
    database.execute("SELECT llamalog.start_job(job_id => 'idle', source => 'sync')")
    for header, *arguments in (
        ("seq,created_at,op,", "chain", "ALBUM", album, "--category", "FAILED"),
        ("field,change,before,after", "diff", "ALBUM", album, "--from-change", seq, "--to-change", seq),
        ("entity_type,entity_id,label,", "find", "zzz"),
        ("entity_type,entity_id,label,rule,", "attention"),
        ("seq,created_at,entity_type,", "failures"),
        ("entity_type,entity_count,", "impact", "--source", "zzz"),
        ("touched_type,entity_type,", "impact", "--source", "zzz", "--list"),
        ("seq,op,entity_type,", "tail", "--source", "zzz"),
        ("side,name,change_count,last_at", "stats", "--until", "2001-01-01"),
        ("turn,action,entity_type,", "revert", "--job", "idle", "--dry-run"),
        ("what,problem,hint", "check"),
    ):  # fmt: skip
        asked = [str(argument) for argument in arguments]
        assert llamalog(*asked, "--format", "csv").stdout.startswith(header), asked
        assert len(llamalog(*asked, "--format", "csv").stdout.splitlines()) == 1, asked
        if arguments[0] not in {"chain", "revert"}:  # more than an array
            assert json.loads(llamalog(*asked, "--format", "json").stdout) == []


def test_stored_text_cannot_drive_the_terminal(llamalog, database, new):
    album = new.album(database, "\x1b[31mred\x1b[0m [bold]x[/bold] \u202e")
    for command in ("why", "tree", "history", "chain"):
        shown = llamalog(command, "ALBUM", album).stdout
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "\\x1b[31mred" in llamalog("why", "ALBUM", album).stdout
    assert "[bold]x[/bold]" in llamalog("why", "ALBUM", album).stdout


def test_colour_only_where_it_is_wanted(llamalog, database, new):
    album = new.album(database)
    assert "\x1b[" in llamalog("tree", "ALBUM", album, FORCE_COLOR="1").stdout
    assert "\x1b[1;32m" in llamalog("tree", "ALBUM", album, FORCE_COLOR="1").stdout
    assert "32m" not in llamalog("tree", "ALBUM", album, FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b[" not in llamalog("tree", "ALBUM", album).stdout


def test_find_shows_type_id_and_whether_it_lives(llamalog, database, new):
    album = new.album(database)
    database.execute("DELETE FROM albums")
    found = json.loads(llamalog("find", "comp", "--format", "json").stdout)
    assert found == [
        {"entity_type": "ALBUM", "entity_id": album, "label": "OK Computer", "is_alive": False}
    ]
    nothing = llamalog("find", "Kid A")
    assert (nothing.exit_code, nothing.stdout) == (1, "")


def test_status_shows_what_is_watched(llamalog):
    shown = llamalog("status").stdout
    assert "watched      5 tables" in shown
    assert "part of ALBUM" in shown
    assert (
        json.loads(llamalog("status", "--format", "json").stdout)[0]["watched"][0]["entity_type"]
        == "ALBUM"
    )


def test_check_is_silent_about_a_good_installation_and_finds_a_lost_trigger(llamalog, database):
    assert (llamalog("check").exit_code, llamalog("check").stdout) == (0, "ok\n")
    database.execute('ALTER TABLE albums DISABLE TRIGGER "00_llamalog_update"')
    result = llamalog("check")
    assert result.exit_code == 1
    assert "public.albums: missing or disabled: 00_llamalog_update" in result.stdout


def test_check_finds_a_table_that_took_the_name_of_a_watched_one(llamalog, database):
    database.execute(
        "CREATE TABLE labels (id int PRIMARY KEY); CREATE TABLE labels_new (LIKE labels)"
    )
    assert llamalog("watch", "labels").exit_code == 0
    database.execute("DROP TABLE labels; ALTER TABLE labels_new RENAME TO labels")
    result = llamalog("check")
    assert (result.exit_code, result.stdout) == (
        1,
        "public.labels: took the place of the one watched as LABEL, and is not\n"
        "  hint: Run: llamalog watch public.labels, or llamalog unwatch LABEL if that is meant\n",
    )
    database.execute("ALTER TABLE labels ADD PRIMARY KEY (id)")
    assert llamalog("watch", "labels").exit_code == 0
    assert llamalog("check").stdout == "ok\n"


def test_check_and_status_after_a_rollback_of_one_step_are_short(llamalog):
    assert llamalog("rollback", "--yes").exit_code == 0
    found = llamalog("check")
    assert found.exit_code == 1
    assert len(found.stdout.splitlines()) <= 14
    assert "more functions and views: are not applied" in found.stdout
    assert "watched      5 tables, none captured now: llamalog migrate" in llamalog("status").stdout
    assert json.loads(llamalog("status", "--format", "json").stdout)[0]["registered"] == 5


def test_fast_capture_without_event_triggers_is_warned_of(llamalog, database):
    database.execute("DROP EVENT TRIGGER llamalog_ddl")
    said = llamalog("watch", "albums", "--capture", "rendered").stderr
    assert "without event triggers nothing follows a change of public.albums" in said
    assert (
        "without event triggers" not in llamalog("watch", "albums", "--capture", "tolerant").stderr
    )


def test_unwatch_says_what_other_tables_are_now(llamalog):
    said = llamalog("unwatch", "albums").stderr.splitlines()
    assert [line.split("; ")[0] for line in said] == [
        "[🦙 LlamaLog] unwatched public.albums as ALBUM: its history stays",
        "[🦙 LlamaLog] changed public.tracks as TRACK: entity",
        "[🦙 LlamaLog] changed public.album_artists as ALBUM_ARTIST: part of ARTIST by artist_id",
        "[🦙 LlamaLog] changed public.track_artists as TRACK_ARTIST: link TRACK – ARTIST",
    ]


@default("capture", "image")
def test_watch_says_what_it_took_the_table_for_and_nothing_changes_twice(llamalog, database):
    database.execute("CREATE TABLE labels (id int PRIMARY KEY, name text, founded int)")
    assert llamalog("watch", "labels", "--dry-run").stdout == (
        "would watch public.labels as LABEL: entity; key id; label name\n"
    )
    assert llamalog("watch", "labels").stderr == (
        "[🦙 LlamaLog] watched public.labels as LABEL: entity; key id; label name\n"
    )
    assert "unchanged public.labels" in llamalog("watch", "labels").stderr
    assert "unwatched public.labels" in llamalog("unwatch", "labels").stderr
    assert llamalog("check").exit_code == 0


def test_sql_of_watch_run_by_hand_watches(llamalog, database, changes):
    database.execute('CREATE TABLE "Odd Labels" (id int PRIMARY KEY, "the name" text)')
    script = llamalog("watch", "Odd Labels", "--sql").stdout
    database.execute(script.encode())
    database.execute("INSERT INTO \"Odd Labels\" VALUES (1, 'Parlophone')")
    assert changes(database, "entity_type, entity_id") == [("ODD_LABEL", "1")]
    assert "unchanged" in llamalog("watch", "Odd Labels").stderr
    database.execute(llamalog("unwatch", "Odd Labels", "--sql").stdout.encode())
    assert llamalog("check").exit_code == 0
    failed(
        llamalog("unwatch", "Odd Labels"),
        1,
        'error: "Odd Labels" is not watched (LL002)',
        "status",
    )


def test_maintain_makes_the_months_it_said(llamalog):
    said = llamalog("maintain", "--months", "5", "--dry-run").stdout
    assert said.count("would make llamalog.llama_logs_") == 2
    made = llamalog("maintain", "--months", "5").stderr
    assert made.count("made partition llamalog.llama_logs_") == 2
    assert "every month has its partition" in llamalog("maintain", "--months", "5").stderr


def test_migrate_twice_changes_nothing(llamalog):
    assert "up to date; nothing was changed" in llamalog("migrate").stderr
    assert llamalog("migrate", "--dry-run").stdout == "nothing to do\n"


def test_dry_run_of_migrate_names_the_tables_whose_capture_would_be_renewed(llamalog, database):
    database.execute("ALTER TABLE albums ADD mood text")
    assert llamalog("migrate", "--dry-run").stdout == (
        "would renew the capture of public.albums: the table has changed; the tolerant capture stands in\n"
    )
    assert "renewed the capture of public.albums" in llamalog("migrate").stderr
    assert llamalog("migrate", "--dry-run").stdout == "nothing to do\n"


@pytest.mark.parametrize(
    ("arguments", "first", "hint"),
    [
        (["rollback", "--drop-log"], "error: --drop-log goes with --all", "Add --all"),
        (["adopt", "--verify", "--undo"], "error: --verify and --undo stand alone", "or llamalog adopt --undo"),
        (["adopt", "albums", "--verify"], "error: --verify and --undo stand alone", "llamalog adopt --verify"),
        (["adopt"], "error: which table?", "llamalog adopt public.enrichment_logs"),
    ],
)  # fmt: skip
def test_options_that_do_not_go_together_are_refused(llamalog, arguments, first, hint):
    failed(llamalog(*arguments), 2, first, hint)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("doctor", "--timeout"),
        ("backfill", "--sleep"),
        ("reconcile", "--throttle"),
        ("tail", "--interval"),
    ],
)
def test_seconds_are_a_number(llamalog, command, option):
    first = f"error: invalid value for '{option}': 'nan' is not a number (22023)"
    failed(llamalog(command, option, "nan"), 2, first, f"{command} --help")


def test_rollback_asks_and_is_refused_without_a_terminal(llamalog, database):
    failed(
        llamalog("rollback", "--all"),
        2,
        "error: a yes is needed: Take off capture and undo",
        "--yes",
    )
    assert "would undo 0002_registry" in llamalog("rollback", "--all", "--dry-run").stdout
    assert llamalog("rollback", "--all", "--yes").exit_code == 0
    assert database.execute(
        "SELECT to_regclass('llamalog.llama_logs') AS log, to_regclass('llamalog.watches') AS registry"
    ).fetchone() == (
        "llamalog.llama_logs",
        None,
    )
    failed(
        llamalog("why", "ALBUM", "x"),
        1,
        "error: llamalog is only half installed",
        "llamalog migrate",
    )


def test_migrate_and_rollback_say_what_they_would_do_and_what_they_did(empty):
    address = {**empty.info.get_parameters(), "password": empty.info.password}
    own = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})

    def llamalog(*arguments):
        result = CliRunner(env={"LLAMALOG_DSN": own}).invoke(
            main, [*arguments], catch_exceptions=False
        )
        assert result.exit_code == 0
        return result

    would = llamalog("migrate", "--dry-run").stdout.splitlines()
    assert would[0] == "would apply migrations/0001_log.sql"
    assert any(re.fullmatch(r"would apply \d+ functions and views", line) for line in would)
    assert empty.execute("SELECT to_regnamespace('llamalog')").fetchone() == (None,)
    did = llamalog("migrate").stderr
    assert re.search(
        r"applied .*0001_log.*applied \d+ functions and views.*made partition", did, re.DOTALL
    )
    assert llamalog("migrate", "--dry-run").stdout == "nothing to do\n"
    assert "up to date; nothing was changed" in llamalog("migrate").stderr
    away = llamalog("rollback", "--all", "--drop-log", "--dry-run").stdout.splitlines()
    assert (away[0], away[-1]) == ("would take capture off every table", "would erase the log")
    assert [line for line in away[1:-1] if not line.startswith("would undo ")] == []
    assert "DROP TABLE" in llamalog("rollback", "--all", "--drop-log", "--sql").stdout
    assert empty.execute("SELECT to_regclass('llamalog.log') IS NOT NULL").fetchone() == (True,)


def test_tree_and_why_answer_in_lines_of_json(llamalog, database, new):
    album = new.album(database)
    new.track(database, album)
    tree = [
        json.loads(line)
        for line in llamalog("tree", "ALBUM", album, "--format", "jsonl").stdout.splitlines()
    ]
    assert {node["entity_type"] for node in tree} == {"ALBUM", "TRACK", None}
    told = [
        json.loads(line)
        for line in llamalog("why", "ALBUM", album, "--format", "jsonl").stdout.splitlines()
    ]
    assert "was created" in told[0]["sentence"]


def test_of_a_row_that_the_log_never_saw_history_says_so(llamalog, database, new):
    database.execute("SET session_replication_role = replica")
    album = new.album(database)
    result = llamalog("history", "ALBUM", album)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no change of it is recorded" in result.stderr


def test_the_traceback_is_shown_to_whoever_asks_for_it(llamalog):
    asked, plain = llamalog("--debug", "history", "ALBM", "x"), llamalog("history", "ALBM", "x")
    assert asked.exit_code == plain.exit_code == 1
    assert "Traceback (most recent call last)" in asked.stderr
    assert asked.stderr.endswith(plain.stderr)
    assert "Traceback" not in plain.stderr


def test_an_empty_connection_string_is_not_taken_for_none(llamalog):
    failed(llamalog("status", "--dsn", ""), 2, "error: --dsn is empty", "leave --dsn out")


@pytest.mark.parametrize(
    "arguments",
    [("history",), ("chain",), ("tree",), ("why",), ("blame",), ("as-of", NOW), ("diff", NOW, NOW)],
    ids=" ".join,
)
def test_unknown_type_and_title_are_said_in_a_line(llamalog, arguments):
    name, *times = arguments
    failed(
        llamalog(name, "ALBM", "x", *times),
        1,
        'error: unknown entity type "ALBM" (LL003)',
        "llamalog status",
    )
    failed(
        llamalog(name, "ALBUM", "x", *times),
        1,
        'error: no ALBUM has the id or title "x" (LL004)',
        "llamalog find",
    )


def test_a_link_type_is_asked_by_its_ends(llamalog):
    failed(llamalog("why", "ALBUM_ARTIST", "x"), 1, "error: ALBUM_ARTIST is a link", "ALBUM")


def test_a_malformed_cursor_is_said_in_a_line(llamalog, database, new):
    album = new.album(database)
    failed(
        llamalog("chain", "ALBUM", album, "--cursor", "x"),
        1,
        'error: malformed cursor "x" (LL006)',
        "of the page before",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("history", "ALBUM", "x", "--limit", "-1"),
        ("chain", "ALBUM", "x", "--limit", "0"),
        ("history", "ALBUM", "x", "--limit", "2147483647"),
        ("find", "x", "--limit", "99999999999999999999"),
        ("chain", "ALBUM", "x", "--limit", "9223372036854775808"),
        ("chain", "ALBUM", "x", "--since", "yesterday"),
        ("chain", "ALBUM", "x", "--until", "2026-13-01"),
        ("chain", "ALBUM"),
        ("as-of", "ALBUM", "x", "yesterday"),
        ("diff", "ALBUM", "x", "2026-01-01"),
        ("impact", "--since", "0001-01-01T00:00:00+14:00"),
        ("revert", "--change", "9223372036854775808"),
        ("history", "ALBUM", "-3"),
        ("history", "ALBUM", "x", "--format", "xml"),
        ("maintain", "--months", "-3"),
        ("watch",),
        ("nonsense",),
        ("--nonsense",),
    ],
)
def test_misuse_exits_with_2(llamalog, arguments):
    result = llamalog(*arguments)
    failed(result, 2, "error: ", "--help")
    assert len(result.stderr.splitlines()) == 2
    assert "(22023)" in result.stderr


def test_a_word_that_is_not_utf_8_is_said_in_a_line(llamalog):
    failed(
        llamalog("history", "ALBUM", "caf\udce9"),
        2,
        "error: 'caf\\udce9' is not UTF-8 (22023)",
        "Set the terminal",
    )


def test_an_unreachable_server_is_said_in_a_line_without_the_password(llamalog):
    result = llamalog("status", dsn="postgresql://ann:secret@127.0.0.1:1/nowhere?connect_timeout=1")
    failed(result, 1, "error: ", "LLAMALOG_DSN")
    assert "(08001)" in result.stderr
    assert "secret" not in result.stderr


@pytest.mark.parametrize(
    "dsn", ["postgresql://ann:secret@[bad", "host=x nonsense password=secret", "://"]
)
def test_a_malformed_dsn_is_said_in_a_line_without_the_password(llamalog, dsn):
    result = llamalog("status", dsn=dsn)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert "hint: " in result.stderr
    assert "secret" not in result.stderr


def test_a_database_without_llamalog_is_said_in_a_line(llamalog, empty):
    own = psycopg.conninfo.make_conninfo("", **empty.info.get_parameters())
    for command in (
        ("status",),
        ("check",),
        ("why", "ALBUM", "x"),
        ("watch", "t"),
        ("maintain",),
        ("rollback", "--yes"),
    ):
        failed(
            llamalog(*command, dsn=own),
            1,
            "error: llamalog is not installed in this database (LL001)",
            "llamalog migrate",
        )


def test_a_read_only_session_is_said_in_a_line(llamalog, database):
    database.execute("ALTER DATABASE own_music SET default_transaction_read_only = on")
    failed(llamalog("watch", '"User"'), 1, "error: cannot execute", "read-only")
    assert llamalog("status").exit_code == 0


def test_a_missing_privilege_is_said_in_a_line(llamalog, database):
    database.execute("CREATE ROLE nobody_much LOGIN")
    try:
        own = psycopg.conninfo.make_conninfo(
            "", **{**database.info.get_parameters(), "user": "nobody_much"}
        )
        failed(
            llamalog("watch", "albums", dsn=own),
            1,
            "error: permission denied to change what is installed or watched (42501)",
            "must own that too, or hold TRIGGER on it",
        )
        failed(
            llamalog("why", "ALBUM", "x", dsn=own),
            1,
            "error: permission denied",
            "GRANT llamalog_reader",
        )
        failed(llamalog("migrate", dsn=own), 1, "error: permission denied", "GRANT llamalog_reader")
    finally:
        database.execute("DROP ROLE nobody_much")


def test_a_server_that_is_too_old_is_said_in_a_line(llamalog, monkeypatch):
    monkeypatch.setattr("llamalog_sql.connection.OLDEST_SERVER", 99)
    failed(llamalog("status"), 1, "error: the server is PostgreSQL ", "Upgrade the server")


def test_a_table_in_use_is_given_up_and_nothing_changed(llamalog, database, connect, monkeypatch):
    monkeypatch.setattr("llamalog_sql.watching.LOCK_TIMEOUT", "100ms")
    writer = connect(database)
    with writer.transaction():
        writer.execute("""INSERT INTO "User" (id) VALUES ('cuid')""")
        failed(
            llamalog("watch", "User"),
            1,
            "error: canceling statement due to lock timeout (55P03)",
            "try again",
        )
    assert database.execute(
        "SELECT count(*) FROM llamalog.watches WHERE table_name = 'User'"
    ).fetchone() == (0,)


def test_a_url_of_prisma_or_sqlalchemy_is_understood(llamalog, database):
    address = database.info.get_parameters()
    url = (
        f"postgresql+psycopg://{address['user']}@/{address['dbname']}"
        f"?host={address['host']}&port={database.info.port}&schema=public&connection_limit=5&pgbouncer=true"
    )
    assert llamalog("status", dsn=url).exit_code == 0


def test_dsn_goes_before_the_variables_and_stands_before_or_after_the_command(llamalog, database):
    own = psycopg.conninfo.make_conninfo("", **database.info.get_parameters())
    assert llamalog("--dsn", own, "status", dsn="host=/nowhere").exit_code == 0
    assert llamalog("status", "--dsn", own, dsn="host=/nowhere").exit_code == 0
    assert llamalog("status", dsn="", DATABASE_URL=own).exit_code == 0


def test_the_command_is_installed_and_knows_its_version():
    shown = subprocess.run(
        [sys.executable, "-m", "llamalog_sql", "--version"],
        capture_output=True,
        text=True,
        env={**os.environ},
        check=True,
    )
    assert shown.stdout.startswith("llamalog, version ")


def test_ctrl_c_before_the_command_has_begun_is_no_traceback(tmp_path):
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    told = subprocess.run(
        [sys.executable, "-c", "from llamalog_sql.__main__ import main; main()"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        check=False,
    )
    assert (told.returncode, told.stdout, told.stderr) == (130, "", "")
    assert (
        'llamalog = "llamalog_sql.__main__:main"'
        in (Path(__file__).parents[1] / "pyproject.toml").read_text()
    )


def test_an_instant_cut_to_its_second_is_said_where_the_row_changed_later_in_it(
    llamalog, database, new
):
    album = new.album(database)
    database.execute("UPDATE llamalog.watches SET watched_at = watched_at - interval '1 minute'")
    (at,) = database.execute("SELECT max(created_at) FROM llamalog.log").fetchone()
    second = at.replace(microsecond=0).isoformat()
    said = (
        f"it was changed later in that second, last at {at.isoformat()}; tables show whole seconds"
    )
    for words in (
        ["as-of", "ALBUM", album, second],
        ["diff", "ALBUM", album, second, at.isoformat()],
    ):
        assert said in llamalog(*words).stderr
    assert "second" not in llamalog("as-of", "ALBUM", album, at.isoformat()).stderr


def test_edited_migration_is_found_by_check(llamalog, database):
    database.execute(
        "UPDATE llamalog._yoyo_migration SET content_hash = 'other' WHERE migration_id = '0002_registry'"
    )
    result = llamalog("check")
    assert (result.exit_code, "migration 0002_registry: was edited" in result.stdout) == (1, True)
    failed(
        llamalog("migrate"),
        1,
        "error: migration 0002_registry was edited after it had been applied (LL011)",
        "new migration",
    )
    assert migrate.plan(database).edited == ["0002_registry"]


def test_a_database_of_a_newer_version_is_left_alone(llamalog, database):
    database.execute(
        "INSERT INTO llamalog._yoyo_migration VALUES ('x', '9999_future', now() AT TIME ZONE 'UTC', 'x')"
    )
    failed(llamalog("migrate"), 1, "error: the database has migration 9999_future", "Upgrade")
    assert "is applied, but not known to this version" in llamalog("check").stdout


def test_capture_is_the_same_whatever_the_session_quotes(llamalog, database):
    database.execute("ALTER DATABASE own_music SET quote_all_identifiers = on")
    assert "unchanged public.albums" in llamalog("watch", "albums").stderr
    assert llamalog("check").exit_code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device to write to")
@pytest.mark.parametrize(
    "words", [["history", "ALBUM"], ["stats"], ["stats", "--format", "json"], ["status"]]
)
def test_an_answer_that_cannot_be_written_is_told_in_a_line(words, database, new):
    album = new.album(database)
    words = [*words, album] if words[-1] == "ALBUM" else words
    address = {**database.info.get_parameters(), "password": database.info.password}
    own = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})
    environment = {**os.environ, "LLAMALOG_DSN": own}
    command = [sys.executable, "-m", "llamalog_sql", *words]
    with Path("/dev/full").open("w") as full:
        told = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert (told.returncode, told.stderr) == (
        1,
        "error: cannot read or write: No space left on device (58030)\nhint: Make room, or write elsewhere.\n",
    )
    # whoever has read enough is no error
    shell = f"{shlex.join(command)} | true; exit ${{PIPESTATUS[0]}}"
    closed = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, env=environment, check=False
    )
    assert (closed.returncode, closed.stderr) == (0, "")


def test_a_disk_that_is_full_meanwhile_is_told_in_a_line(llamalog, monkeypatch):
    def full(form):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("llamalog_sql.cli.stats._show_sizes", full)
    failed(
        llamalog("stats", "--size"), 1, "error: cannot read or write: No space left", "Make room"
    )
    told = llamalog("--debug", "stats", "--size")
    assert "Traceback" in told.stderr
