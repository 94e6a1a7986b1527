"""What needs a person, since when and because of which job; what failed, and whether it was made good."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.conninfo import make_conninfo

from llamalog_sql import attention, installation, queries, watching
from llamalog_sql.cli import main
from llamalog_sql.demo.application import Application
from llamalog_sql.errors import LlamaLogError, Misuse, NotWatched, UnknownEntityType
from llamalog_sql.watching import Options

ROOT = Path(__file__).parents[1]
#: Of good quality and with an id: only what a test takes away is missing.
SOUND = {"data_quality": "HIGH", "spotify_id": "4f"}


def said(db, **context):
    """What the next writes say of themselves; a test is one transaction, so it stays until it is said anew."""
    for name in ("source", "job_id", "user_id"):
        db.execute("SELECT set_config('llamalog.' || %s, %s, true)", [name, context.get(name, "")])


def needy(db, *columns, entity_type="ALBUM", **asked):
    found = attention.attention(db, entity_type, **asked)
    return [tuple(getattr(finding, column) for column in columns) for finding in found]


def rule(db, **values):
    names = ", ".join(values)
    marks = ", ".join(["%s"] * len(values))
    db.execute(
        f"INSERT INTO llamalog.attention_rules ({names}) VALUES ({marks})".encode(),
        list(values.values()),
    )


def fail(db, album, source="enrichment", job="e-1", **more):
    arguments = {
        "error_message": "no answer",
        "error_code": "E1",
        "entity_type": "ALBUM",
        "entity_id": album,
        "source": source,
        "job_id": job,
        **more,
    }
    names = ", ".join(f"{name} => %({name})s" for name in arguments)
    row = db.execute(f"SELECT llamalog.record_failure({names})".encode(), arguments).fetchone()
    return row[0]


def seq_of(changes, db, **where):
    return changes(db, "seq", **where)[-1]


# -- by rules that the catalogue gives --------------------------------------------------------------------------------


def test_an_album_whose_tracks_a_job_deleted_names_that_job(each_db, new, changes):
    db = each_db
    sound = new.album(db, "Kid A", **SOUND)
    new.track(db, sound)
    album = new.album(db, "OK Computer", **{**SOUND, "spotify_id": "5a"})
    new.track(db, album)
    new.track(db, album, "Lucky", 11)
    assert needy(db, "label") == []
    said(db, source="spotify_sync", job_id="sync-2")
    db.execute("DELETE FROM tracks WHERE album_id = %s", [album])
    said(db, source="manual_edit", job_id="edit-1")
    db.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album])
    (finding,) = attention.attention(db, "album")
    assert (finding.entity_id, finding.label, finding.rule, finding.detail) == (
        album, "OK Computer", "no_parts", "no TRACK",
    )  # fmt: skip
    assert (finding.change_type, finding.category, finding.source, finding.job_id) == (
        "TRACK", "DELETED", "spotify_sync", "sync-2",
    )  # fmt: skip
    last = seq_of(changes, db, op="D", related_id=album)
    assert finding.seq == last
    assert (finding.since,) == tuple(changes(db, "created_at", seq=last))
    assert (
        finding.because
        == "TRACK deleted through spotify_sync (sync of new releases from Spotify), job sync-2"
    )
    assert list(finding.commands()) == [
        f"llamalog why ALBUM {album}",
        "llamalog revert --job sync-2",
    ]


def test_an_album_that_never_had_tracks_needs_them_since_its_creation(db, new):
    said(db, source="addAlbum", job_id="add-1", user_id="ann")
    album = new.album(db, **SOUND)
    assert needy(db, "entity_id", "detail", "category", "because") == [
        (album, "no TRACK", "CREATED", "created by user ann through addAlbum (a user adds an album), job add-1")
    ]  # fmt: skip


def test_an_album_whose_tracks_went_to_another_needs_them_since_then(each_db, new, changes):
    db = each_db
    album, other = (
        new.album(db, "A", **SOUND),
        new.album(db, "B", data_quality="HIGH", deezer_id="1"),
    )
    new.track(db, other)
    new.track(db, album)
    said(db, source="manual_edit", job_id="merge-1")
    db.execute("UPDATE tracks SET album_id = %s WHERE album_id = %s", [other, album])
    db.execute("UPDATE tracks SET title = 'Lucky'")
    moved = changes(db, "seq", op="U", related_id=other)[0]
    assert needy(db, "label", "seq", "job_id") == [("A", moved, "merge-1")]


def test_missing_ids_are_missed_since_the_last_was_taken(each_db, new):
    db = each_db
    album = new.album(
        db,
        data_quality="HIGH",
        spotify_id="4f",
        musicbrainz_id="6e335887-60ba-38f0-95af-fae7774336bf",
    )
    new.track(db, album)
    db.execute("UPDATE albums SET spotify_id = NULL")
    assert needy(db, "rule") == []
    said(db, source="musicbrainz_sync", job_id="sync-3")
    db.execute("UPDATE albums SET musicbrainz_id = NULL")
    said(db, source="manual_edit", job_id="edit-1")
    db.execute("UPDATE albums SET label = 'Parlophone'")
    assert needy(db, "rule", "detail", "job_id") == [
        ("missing", "none of deezer_id, musicbrainz_id, spotify_id", "sync-3")
    ]


def test_an_id_that_looks_like_an_option_is_told_from_one(db):
    db.execute(
        "CREATE TABLE shelves (id integer PRIMARY KEY);"
        " CREATE TABLE slots (id integer PRIMARY KEY, shelf_id integer REFERENCES shelves ON DELETE CASCADE)"
    )
    watching.watch(db, ["shelves", "slots"])
    db.execute("INSERT INTO shelves VALUES (-3)")
    (finding,) = attention.attention(db, "SHELF")
    assert [*finding.commands()] == ["llamalog why -- SHELF -3"]


def test_low_quality_is_since_it_fell(db, new):
    album = new.album(db, **SOUND)
    new.track(db, album)
    said(db, source="enrichment", job_id="enrichment-4")
    db.execute("UPDATE albums SET data_quality = 'LOW'")
    assert needy(db, "rule", "detail", "category", "job_id") == [
        ("value", "data_quality is LOW", "ENRICHED", "enrichment-4")
    ]
    (finding,) = attention.attention(db, "ALBUM")
    assert [*finding.commands()][1:] == [f"llamalog revert --change {finding.seq}"]


def test_since_when_is_not_told_where_the_change_may_be_archived(db, new):
    new.album(db, **SOUND)
    archived = (
        "INSERT INTO llamalog.archived_months (month, partition, row_count, removed_count, checksum, archived_at)"
        " VALUES (date_trunc('month', now() + %s), 'x', 1, 1, 'x', now())"
    )
    db.execute(archived, [timedelta(days=-62)])
    ((since, because),) = needy(db, "since", "because")
    assert since is not None
    assert because.startswith("created by role")
    db.execute(archived, [timedelta()])
    assert needy(db, "rule", "since", "because") == [("no_parts", None, None)]


def test_a_failure_needs_a_person_until_the_same_path_succeeds(db, new):
    album = new.album(db, **SOUND)
    new.track(db, album)
    fail(db, album, job="e-1")
    last = fail(db, album, job="e-2")
    said(db, source="admin_correction", job_id="c-1")
    db.execute("UPDATE albums SET title = 'OK'")  # another path
    assert needy(db, "rule", "detail", "seq", "job_id") == [
        ("failed", "failed: no answer (E1)", last, "e-2")
    ]
    said(db, source="enrichment", job_id="e-3")
    db.execute("UPDATE albums SET label = 'Parlophone'")
    assert needy(db, "rule") == []


def test_an_old_failure_and_one_of_a_deleted_album_need_nobody(db, new):
    album, gone = new.album(db, **SOUND), new.album(db, "Gone")
    new.track(db, album)
    fail(db, gone)
    db.execute("DELETE FROM albums WHERE id = %s", [gone])
    db.execute(
        "INSERT INTO llamalog.llama_logs (created_at, entity_type, entity_id, operation, category, status)"
        " VALUES (now() - interval '8 days', 'ALBUM', %s, 'x', 'FAILED', 'FAILED')",
        [album],
    )
    assert needy(db, "rule") == []
    rule(db, entity_type="ALBUM", rule="failed", period="9 days")
    assert needy(db, "rule", "detail") == [("failed", "failed: x")]


def test_an_album_of_unknown_provenance_is_found(db, new):
    album = new.album(db, **SOUND)
    new.track(db, album)
    db.execute("ALTER TABLE albums DISABLE TRIGGER USER")
    unseen = new.album(db, "Unseen", data_quality="HIGH", spotify_id="5a")
    new.track(db, unseen)
    db.execute(
        "INSERT INTO llamalog.llama_logs (id, created_at, entity_type, entity_id, operation, category, source, reason, metadata)"
        " OVERRIDING SYSTEM VALUE SELECT -n, '2020-01-01', 'ALBUM', id, 'album:created:unknown', 'CREATED', 'unknown',"
        """ 'created_at', '{"llamalog": {"inferred": true}}' FROM unnest(%s::text[]) WITH ORDINALITY AS a (id, n)""",
        [[unseen, "6e335887-60ba-38f0-95af-fae7774336bf"]],
    )
    assert needy(db, "entity_id", "rule", "detail", "since", "because") == [
        (unseen, "unknown_provenance", "nobody knows how it came here", db.execute("SELECT timestamptz '2020-01-01'").fetchone()[0], None)
    ]  # fmt: skip


def test_since_is_followed_through_a_change_of_the_key(db, new, changes):
    album = new.album(db, **SOUND)
    new.track(db, album)
    said(db, source="spotify_sync", job_id="sync-2")
    db.execute("DELETE FROM tracks")
    db.execute("UPDATE albums SET data_quality = 'LOW'")
    said(db, source="manual_edit", job_id="edit-1")
    db.execute("UPDATE albums SET id = '6e335887-60ba-38f0-95af-fae7774336bf'")
    assert needy(db, "rule", "job_id") == [("no_parts", "sync-2"), ("value", "sync-2")]


def test_what_failed_under_a_former_key_and_what_nobody_knows_the_origin_of_stands_under_the_new(
    db, new
):
    album = new.album(db, **SOUND)
    new.track(db, album)
    fail(db, album, job="e-1")
    db.execute(
        "INSERT INTO llamalog.llama_logs (id, created_at, entity_type, entity_id, operation, category, source, reason, metadata)"
        " OVERRIDING SYSTEM VALUE VALUES (-1, '2020-01-01', 'ALBUM', %s, 'album:created:unknown', 'CREATED', 'unknown',"
        """ 'created_at', '{"llamalog": {"inferred": true}}')""",
        [album],
    )
    now = "6e335887-60ba-38f0-95af-fae7774336bf"
    db.execute("UPDATE albums SET id = %s", [now])
    last = fail(db, now, job="e-2")
    assert needy(db, "entity_id", "label", "rule", "job_id") == [
        (now, "OK Computer", "failed", "e-2"),
        (now, "OK Computer", "unknown_provenance", None),
    ]
    assert [finding.seq for finding in attention.attention(db, "ALBUM")] == [last, -1]
    failures = [(f.entity_id, f.label) for f in attention.failures(db)]
    assert failures == [(now, "OK Computer"), (album, "OK Computer")]


def test_what_the_catalogue_gives_without_a_rule_declared(db):
    given = [
        (r.entity_type, r.rule, r.part_type, r.columns, r.bad_values, r.period)
        for r in attention.rules(db)
    ]
    ids = ["deezer_id", "musicbrainz_id", "spotify_id"]
    assert given == [
        ("ALBUM", "no_parts", "TRACK", None, None, None),
        ("ALBUM", "failed", None, None, None, timedelta(days=7)),
        ("ARTIST", "failed", None, None, None, timedelta(days=7)),
        ("TRACK", "failed", None, None, None, timedelta(days=7)),
        ("ALBUM", "value", None, ["data_quality"], ["LOW"], None),
        ("ARTIST", "value", None, ["data_quality"], ["LOW"], None),
        ("ALBUM", "missing", None, ids, None, None),
        ("ARTIST", "missing", None, ids, None, None),
        ("ALBUM", "unknown_provenance", None, None, None, None),
        ("ARTIST", "unknown_provenance", None, None, None, None),
    ]


@pytest.mark.parametrize(
    ("ddl", "rules"),
    [
        ("ALTER TABLE albums DROP COLUMN data_quality", {"no_parts", "missing"}),
        ("ALTER TABLE albums DROP COLUMN id CASCADE", set()),
        ("ALTER TABLE tracks DROP COLUMN album_id", {"value", "missing"}),
        ("DROP TABLE tracks CASCADE", {"value", "missing"}),
        ("ALTER TABLE albums SET SCHEMA elsewhere", {"no_parts", "value", "missing"}),
    ],
)
def test_a_table_that_changed_is_asked_what_it_still_can_say(db, new, ddl, rules):
    new.album(db)
    db.execute("CREATE SCHEMA elsewhere")
    db.execute(ddl.encode())
    assert {rule for (rule,) in needy(db, "rule")} == rules


# -- by rules of one's own --------------------------------------------------------------------------------------------


def odd_schema(db):
    """Names to be quoted, a composite key, a domain, an enum, an array, a generated column, partitions."""
    db.execute("""CREATE TYPE "Mood" AS ENUM ('fine', 'it''s bad')""")
    db.execute("CREATE DOMAIN town AS text CHECK (value <> '')")
    db.execute(
        'CREATE TABLE "Order Book" ("the shop" town, "No" integer, "Mood" "Mood", tags text[], twice integer'
        ' GENERATED ALWAYS AS ("No" * 2) STORED, PRIMARY KEY ("the shop", "No")) PARTITION BY LIST ("the shop")'
    )
    db.execute("""CREATE TABLE "B 1" PARTITION OF "Order Book" FOR VALUES IN ('Bonn')""")
    db.execute('CREATE TABLE "B 2" PARTITION OF "Order Book" DEFAULT')
    db.execute(
        'CREATE TABLE "Line" (id integer PRIMARY KEY, "Shop" town, "No" integer,'
        ' FOREIGN KEY ("No", "Shop") REFERENCES "Order Book" ("No", "the shop") ON DELETE CASCADE)'
    )
    watching.watch(db, ['"Order Book"'], Options(entity_type="ORDER"))
    watching.watch(db, ['"Line"'], Options(entity_type="LINE"))


def test_any_schema_is_looked_after(each_db):
    db = each_db
    odd_schema(db)
    rule(db, entity_type="order", rule="no_parts", part_type="line")
    rule(db, entity_type="order", rule="value", columns=["Mood"], bad_values=["it's bad"])
    rule(db, entity_type="ORDER", rule="missing", columns=["tags"])
    db.execute(
        """INSERT INTO "Order Book" VALUES ('Bonn', 1, 'fine', '{a}'), ('Ulm, a/D', 2, 'it''s bad', NULL)"""
    )
    db.execute("""INSERT INTO "Line" VALUES (1, 'Bonn', 1)""")
    assert needy(db, "entity_id", "rule", "detail", entity_type="ORDER") == [
        ("Ulm\\, a/D,2", "no_parts", "no LINE"),
        ("Ulm\\, a/D,2", "value", "Mood is it's bad"),
        ("Ulm\\, a/D,2", "missing", "no tags"),
    ]
    # a move to another partition is one change of the columns that it changed: the mood is as it was
    said(db, source="manual_edit", job_id="move-1")
    db.execute("""UPDATE "Order Book" SET "the shop" = 'Bonn' WHERE "No" = 2""")
    (first, mood, _) = needy(db, "entity_id", "category", "job_id", entity_type="ORDER")
    assert first[:2] == ("Bonn,2", "CREATED")
    assert mood[1] == "CREATED"
    assert "move-1" not in {first[2], mood[2]}


def test_declared_rules_take_the_place_of_what_the_catalogue_gives(db, new):
    album = new.album(db, source="SPOTIFY")
    assert needy(db, "rule") == [("no_parts",), ("value",), ("missing",)]
    rule(db, entity_type="ALBUM", rule="no_parts", is_enabled=False)
    rule(db, entity_type="ALBUM", rule="value", columns=["source"], bad_values=["SPOTIFY"])
    rule(db, entity_type="ALBUM", rule="missing", columns=["label"])
    rule(db, entity_type="ALBUM", rule="missing", columns=["genres", "barcode"])
    assert needy(db, "entity_id", "rule", "detail") == [
        (album, "value", "source is SPOTIFY"),
        (album, "missing", "no label"),
        (album, "missing", "none of genres, barcode"),
    ]


@pytest.mark.parametrize(
    ("values", "constraint"),
    [
        ({"rule": "sad"}, "rule_is_known"),
        ({"rule": "no_parts"}, "no_parts_names_a_part_type"),
        ({"rule": "missing", "columns": []}, "missing_names_columns"),
        ({"rule": "value", "columns": ["a", "b"], "bad_values": ["x"]}, "value_names_one_column_and_its_bad_values"),
    ],
)  # fmt: skip
def test_a_rule_that_says_nothing_cannot_be_declared(db, values, constraint):
    with pytest.raises(psycopg.errors.CheckViolation) as refused:
        rule(db, entity_type="ALBUM", **values)
    assert refused.value.diag.constraint_name == constraint


def test_a_rule_of_a_longer_time_than_there_is_and_one_in_brackets_are_rules_as_any(db, new):
    album = new.album(db, source="SPOTIFY")
    fail(db, album)
    rule(db, entity_type="ALBUM", rule="failed", period="1000000 years")
    rule(db, entity_type="ALBUM", rule="value", columns=[["source"]], bad_values=["SPOTIFY"])
    found = needy(db, "rule", "detail")
    assert [name for name, _ in found] == ["no_parts", "failed", "value", "missing"]
    assert found[2] == ("value", "source is SPOTIFY")


def test_a_rule_that_does_not_fit_its_table_is_named(db):
    album = db.execute(
        "INSERT INTO albums (title, data_quality, updated_at) VALUES ('a', 'LOW', now()) RETURNING id::text"
    ).fetchone()[0]
    rule(db, entity_type="ALBUM", rule="missing", columns=['isbn"; DROP TABLE albums; --'])
    rule(db, entity_type="ALBUM", rule="missing", columns=["label"])
    found = needy(db, "rule", "entity_id", "detail", "since", "because")
    assert [(kind, entity) for kind, entity, *_ in found] == [
        ("no_parts", album),
        ("value", album),
        ("missing", album),
        ("missing", None),
    ]
    *_, (_, _, detail, since, because) = found
    assert re.fullmatch(
        r'attention rule \d+ needs column "isbn"; DROP TABLE albums; --", which public.albums does not have\.'
        r" Correct or delete it in llamalog\.attention_rules\.",
        detail,
    )
    assert (since, because) == (None, None)


@pytest.mark.parametrize(
    ("kind", "held", "bad"),
    [
        ("numeric(10,2)", "0", "0.00"),
        ("numeric(10,2)", "0", "0"),
        ("integer", "7", " 7"),
        ("double precision", "0", "-0"),
        ("money", "1000", "$1,000.00"),
        ("boolean", "f", "no"),
        ("interval", "72:00:00", "3 days"),
        ("timestamptz", "2026-01-01T00:00Z", "2026-01-01 01:00+01"),
        ("date", "2026-01-01", "January 1, 2026"),
        ("uuid", "6e335887-60ba-38f0-95af-000000000001", "6E33588760BA38F095AF000000000001"),
        ("jsonb", '{"a": 1.0, "b": 2}', '{"b":2,"a":1}'),
        ("json", '{"a":  1}', '{"a":  1}'),
        ("box", "(1,1),(0,0)", "(1,1),(0,0)"),
        ("varchar(9)", "LOW", "LOW"),
        ("char(9)", "LOW", "LOW"),
        ("cidr", "10.0.0.0/8", "10/8"),
        ("int4range", "[1,3)", "[1,2]"),
        ("numeric[]", "{1,2}", "{1.0,2.0}"),
        ("json[]", "{1}", "{1}"),
        ("few", "5", "05"),
        ("mood", "low", "low"),
    ],
)
def test_a_bad_value_is_read_as_the_column_s_type(db, kind, held, bad):
    db.execute("CREATE TYPE mood AS ENUM ('low', 'high')")
    db.execute("CREATE DOMAIN few AS integer CHECK (value < 10)")
    db.execute(f"CREATE TABLE things (id integer PRIMARY KEY, state {kind})".encode())
    watching.watch(db, ["things"])
    db.execute(f"INSERT INTO things VALUES (1, '{held}'), (2, NULL)".encode())
    rule(db, entity_type="THING", rule="value", columns=["state"], bad_values=[bad])
    assert needy(db, "entity_id", "rule", entity_type="THING") == [("1", "value")]


@pytest.mark.parametrize(
    ("kind", "bad", "told"),
    [
        ("numeric(10,2)", "'; DROP TABLE things; --", "it is numeric(10,2)"),
        ("interval", "soon", "it is interval"),
        ("date", "2026-02-30", "it is date"),
        ("jsonb", "{", "it is jsonb"),
        ("regclass", "nowhere", "it is regclass"),
        ("mood", "sad", "it is public.mood"),
    ],
)
def test_a_bad_value_that_the_column_cannot_hold_is_told(db, kind, bad, told):
    db.execute("CREATE TYPE mood AS ENUM ('low', 'high')")
    db.execute(f"CREATE TABLE things (id integer PRIMARY KEY, state {kind})".encode())
    watching.watch(db, ["things"])
    rule(db, entity_type="THING", rule="value", columns=["state"], bad_values=[bad])
    ((entity, detail),) = needy(db, "entity_id", "detail", entity_type="THING")
    assert entity is None
    assert f'looks for "{bad}" in column "state", which can hold no such value: {told}.' in detail
    db.execute("ALTER TABLE things DROP state")
    ((entity, detail),) = needy(db, "entity_id", "detail", entity_type="THING")
    assert 'needs column "state", which public.things does not have' in detail


def test_a_quality_that_cannot_be_low_makes_no_rule(db):
    db.execute("CREATE TABLE things (id integer PRIMARY KEY, data_quality integer)")
    watching.watch(db, ["things"])
    assert [known.rule for known in attention.rules(db, "THING")] == [
        "failed",
        "unknown_provenance",
    ]


@pytest.mark.parametrize("period", ["-1 day", "0"])
def test_a_period_in_which_nothing_can_have_failed_is_told(db, new, period):
    fail(db, new.album(db, **SOUND))
    rule(db, entity_type="ALBUM", rule="failed", period=period)
    ((entity, detail),) = needy(db, "entity_id", "detail", rule="failed")
    assert entity is None
    assert ", in which nothing can have failed. Correct or delete it" in detail


@pytest.mark.parametrize(
    ("part", "detail"),
    [
        ("ARTIST", "ARTIST is part of nothing (see llamalog watch --part-of)."),
        ("SONG", "no table is watched as SONG."),
    ],
)
def test_a_rule_about_parts_that_are_none_is_named(db, part, detail):
    rule(db, entity_type="ALBUM", rule="no_parts", part_type=part)
    ((entity, told),) = needy(db, "entity_id", "detail")
    assert entity is None
    assert f"takes {part} for parts of ALBUM, which they are not: {detail} Correct or" in told


def test_a_rule_about_parts_that_no_longer_name_their_whole_keeps_no_other_from_its_answer(db, new):
    new.album(db)
    rule(db, entity_type="ALBUM", rule="no_parts", part_type="TRACK")
    db.execute("DROP EVENT TRIGGER llamalog_ddl; ALTER TABLE tracks RENAME album_id TO record_id")
    (unasked, *others) = needy(db, "entity_id", "rule", "detail")
    assert unasked[:2] == (None, "no_parts")
    assert 'needs column "album_id", which public.tracks does not have.' in unasked[2]
    assert [kind for _, kind, _ in others] == ["value", "missing"]


def test_a_rule_for_a_type_that_nothing_is_watched_as_is_told_everywhere(llamalog, database):
    for entity_type, kind in (("ALBM", "unknown_provenance"), ("album_artist", "failed")):
        rule(database, entity_type=entity_type, rule=kind)
    rule(database, entity_type="TRACK", rule="missing", columns=["isbn"])
    rule(database, entity_type="ARTST", rule="failed", is_enabled=False)
    assert needy(database, "entity_type", "entity_id", "rule", "detail", entity_type=None) == [
        (entity_type, None, kind, f"attention rule {number} {what}. Correct or delete it in llamalog.attention_rules.")
        for entity_type, kind, number, what in (
            ("album_artist", "failed", 2, "is for album_artist, as which no table is watched"),
            ("TRACK", "missing", 3, 'needs column "isbn", which public.tracks does not have'),
            ("ALBM", "unknown_provenance", 1, "is for ALBM, as which no table is watched"),
        )
    ]  # fmt: skip
    told = llamalog("attention", "--rules", "--format", "jsonl")
    misfits = {rule["id"]: rule["misfit"] for rule in map(json.loads, told.stdout.splitlines())}
    assert misfits == {
        None: None,
        1: "is for ALBM, as which no table is watched",
        2: "is for album_artist, as which no table is watched",
        3: 'needs column "isbn", which public.tracks does not have',
    }
    assert sorted(told.stderr.splitlines()) == [
        f"[🦙 LlamaLog] attention rule {number} {misfits[number]}" for number in (1, 2, 3)
    ]
    found = [
        (finding.what, finding.problem, finding.is_fault)
        for finding in installation.check(database)
        if finding.id == "rule-misfit"
    ]
    assert sorted(found) == [(f"attention rule {n}", misfits[n], True) for n in (1, 2, 3)]
    database.execute("DELETE FROM llamalog.attention_rules")
    assert "rule-misfit" not in {finding.id for finding in installation.check(database)}


def test_a_type_that_is_no_longer_watched_is_not_said_to_be_sound(db):
    watching.unwatch(db, ["artists"])
    with pytest.raises(NotWatched, match="ARTIST is not watched") as refused, db.transaction():
        attention.attention(db, "artist")
    assert refused.value.detail.startswith("It no longer is since ")
    assert {found.entity_type for found in attention.attention(db)} <= {"ALBUM", "TRACK"}


def test_questions_that_cannot_be_are_refused(db):
    with (
        db.transaction(force_rollback=True),
        pytest.raises(Misuse, match='unknown rule "sad"') as no,
    ):
        attention.attention(db, rule="sad")
    assert no.value.hint == "Rules are no_parts, failed, value, missing, unknown_provenance."
    with db.transaction(force_rollback=True), pytest.raises(UnknownEntityType):
        attention.attention(db, "ALBM")
    with db.transaction(force_rollback=True), pytest.raises(Misuse, match="limit"):
        attention.attention(db, limit=0)
    with (
        db.transaction(force_rollback=True),
        pytest.raises(Misuse, match="an id without the type") as no,
    ):
        attention.failures(db, None, "1")
    assert no.value.hint == "Pass entity_type too."
    with pytest.raises(Misuse, match="limit"):
        attention.failures(db, limit=0)


# -- whose rights, and how much ---------------------------------------------------------------------------------------


def test_live_rows_are_read_with_the_rights_of_the_caller(db, new):
    new.album(db, **SOUND)
    new.artist(db)
    db.execute("CREATE ROLE reader")
    db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO reader")
    db.execute("GRANT SELECT ON artists TO reader")
    db.execute("SET LOCAL ROLE reader")
    assert {t for (t,) in needy(db, "entity_type", entity_type=None)} == {"ARTIST"}
    db.execute("RESET ROLE")
    db.execute("GRANT SELECT ON albums TO reader")
    db.execute("UPDATE albums SET spotify_id = NULL")
    db.execute("SET LOCAL ROLE reader")
    # whether it has tracks is not his to know, and that is told
    unasked = ("ALBUM", None, "no_parts", "not asked: you may not read the table of TRACK")
    missing = "none of deezer_id, musicbrainz_id, spotify_id"
    of_all = needy(db, "entity_type", "label", "rule", "detail", entity_type=None)
    assert of_all == [
        unasked,
        ("ARTIST", "Radiohead", "value", "data_quality is LOW"),
        ("ALBUM", "OK Computer", "missing", missing),
        ("ARTIST", "Radiohead", "missing", missing),
    ]
    assert needy(db, "entity_type", "label", "rule", "detail") == [unasked, of_all[2]]
    db.execute("RESET ROLE")
    db.execute("REVOKE SELECT ON albums FROM reader")
    db.execute("SET LOCAL ROLE reader")
    for question in ("llamalog.attention('ALBUM')", "llamalog.albums_needing_attention"):
        with (
            db.transaction(force_rollback=True),
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            db.execute(f"SELECT * FROM {question}".encode())
    with db.transaction(force_rollback=True), pytest.raises(psycopg.errors.InsufficientPrivilege):
        rule(db, entity_type="ALBUM", rule="unknown_provenance")
    db.execute("RESET ROLE")
    db.execute("REVOKE SELECT ON llamalog.attention_rules FROM reader")
    db.execute("SET LOCAL ROLE reader")
    with pytest.raises(LlamaLogError, match="permission denied for table attention_rules") as no:
        attention.attention(db)
    assert "GRANT llamalog_reader TO you" in str(no.value.hint)


def test_what_one_may_not_read_does_not_pass_for_sound(llamalog, database, new):
    new.album(database, **SOUND)
    database.execute("CREATE ROLE analyst LOGIN")
    database.execute("GRANT USAGE ON SCHEMA llamalog TO analyst")
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog TO analyst")
    database.execute("GRANT SELECT ON artists TO analyst")
    try:
        shown = llamalog("--dsn", make_conninfo(llamalog.dsn, user="analyst"), "attention")
    finally:
        database.execute("DROP OWNED BY analyst; DROP ROLE analyst")
    assert (shown.exit_code, shown.stdout, shown.stderr) == (
        0,
        "",
        "[🦙 LlamaLog] left out, since you may not read their tables: ALBUM, TRACK\n",
    )


def test_row_security_hides_albums_from_whoever_may_not_see_them(db, new):
    new.album(db, "Seen", **SOUND)
    new.album(db, "Hidden", data_quality="HIGH", spotify_id="5a")
    db.execute("ALTER TABLE albums ENABLE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY seen ON albums USING (title = 'Seen')")
    db.execute("CREATE ROLE reader")
    db.execute("GRANT SELECT ON ALL TABLES IN SCHEMA llamalog, public TO reader")
    db.execute("SET LOCAL ROLE reader")
    assert db.execute("SELECT title FROM llamalog.albums_needing_attention").fetchall() == [
        ("Seen",)
    ]


def test_no_code_of_a_types_owner_runs(db):
    db.execute("CREATE TYPE mood AS ENUM ('low', 'high')")
    db.execute(
        "CREATE FUNCTION trap(mood) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''caught''; END'"
    )
    db.execute("CREATE CAST (mood AS text) WITH FUNCTION trap(mood)")
    db.execute("CREATE TABLE days (mood mood PRIMARY KEY, other mood)")
    db.execute(
        "CREATE TABLE hours (id integer PRIMARY KEY, mood mood REFERENCES days ON DELETE CASCADE)"
    )
    watching.watch(db, ["days", "hours"])
    rule(db, entity_type="DAY", rule="value", columns=["other"], bad_values=["low"])
    db.execute("INSERT INTO days VALUES ('low', 'high'), ('high', 'low')")
    db.execute("INSERT INTO hours VALUES (1, 'high')")
    assert needy(db, "entity_id", "detail", entity_type="DAY") == [
        ("low", "no HOUR"),
        ("high", "other is low"),
    ]


def test_the_view_is_there_whatever_is_watched_and_asks_no_more_than_it_shows(db, new, changes):
    assert db.execute("SELECT * FROM llamalog.albums_needing_attention").fetchall() == []
    album = new.album(db, **SOUND)
    new.album(db, "Kid A")
    shown = db.execute(
        "SELECT title, rule, detail, source, seq FROM llamalog.albums_needing_attention WHERE album_id = %s LIMIT 1",
        [album],
    ).fetchall()
    assert shown == [
        ("OK Computer", "no_parts", "no TRACK", None, changes(db, "seq", entity_id=album)[0])
    ]
    watching.unwatch(db, ["albums"])
    assert db.execute("SELECT * FROM llamalog.albums_needing_attention").fetchall() == []


def test_a_title_of_a_whole_text_is_cut_where_it_is_shown(db):
    db.execute(
        "CREATE TABLE notes (id integer PRIMARY KEY, title text);"
        " CREATE TABLE pages (note_id integer REFERENCES notes ON DELETE CASCADE, id integer PRIMARY KEY)"
    )
    watching.watch(db, ["notes", "pages"])
    title = "T" * 1_000_000
    cut = f"{'T' * 297}..."
    db.execute("INSERT INTO notes VALUES (1, %s)", [title])
    fail(db, "1", entity_type="NOTE")
    assert needy(db, "rule", "label", entity_type="NOTE") == [("no_parts", cut), ("failed", cut)]
    assert [failure.label for failure in attention.failures(db)] == [cut]
    assert queries.resolve(db, "NOTE", title) == "1"
    assert max(len(told.sentence) for told in queries.why(db, "NOTE", "1")) < 500
    db.execute("DELETE FROM notes")
    assert [found.label for found in queries.find(db, title[:400])] == [cut]
    assert queries.label(db, "NOTE", "1") == cut


def test_the_limit_is_of_each_rule(db, new):
    for number in range(3):
        new.album(db, str(number))
    assert needy(db, "rule", limit=2) == [("no_parts",)] * 2 + [("value",)] * 2 + [("missing",)] * 2
    assert needy(db, "rule", rule="missing", limit=1) == [("missing",)]


# -- failures ---------------------------------------------------------------------------------------------------------


def test_failures_are_listed_newest_first_with_what_became_of_them(db, new, changes):
    album, other = new.album(db), new.album(db, "Kid A")
    first = fail(db, album, retry_count=2, root_job_id="root-1", parent_job_id="check-1")
    job = fail(db, None, entity_type=None, job="nightly", source="spotify_sync")
    said(db, source="enrichment", job_id="e-2")
    db.execute("UPDATE albums SET label = 'Parlophone' WHERE id = %s", [album])
    second = fail(db, other)
    found = attention.failures(db)
    assert [(f.seq, f.label, f.job_id, f.root_job_id, f.retry_count) for f in found] == [
        (second, "Kid A", "e-1", "e-1", 0),
        (job, None, "nightly", "nightly", 0),
        (first, "OK Computer", "e-1", "root-1", 2),
    ]
    made_good = changes(db, "created_at", op="U")
    assert [f.resolved_at for f in found] == [None, None, *made_good]
    assert [f.seq for f in attention.failures(db, unresolved_only=True)] == [second, job]
    assert [f.seq for f in attention.failures(db, "album", album)] == [first]
    assert [f.seq for f in attention.failures(db, "ALBUM", limit=1)] == [second]
    view = db.execute("SELECT seq, resolved_at FROM llamalog.failures ORDER BY seq").fetchall()
    assert view == [(first, *made_good), (job, None), (second, None)]


def test_a_job_that_failed_as_a_whole_is_made_good_by_its_own_success(db, new):
    fail(db, None, entity_type=None, job="nightly", source="spotify_sync")
    said(db, source="spotify_sync", job_id="other")
    new.album(db)
    assert len(attention.failures(db, unresolved_only=True)) == 1
    said(db, source="manual_edit", job_id="nightly")
    db.execute("UPDATE albums SET label = 'Parlophone'")
    assert attention.failures(db, unresolved_only=True) == []


def test_a_failure_that_names_no_source_is_made_good_by_any_success_but_not_by_a_failing_one(
    db, new
):
    album = new.album(db)
    fail(db, album, source=None)
    db.execute("SELECT set_config('llamalog.category', 'FAILED', true)")
    db.execute("UPDATE albums SET enrichment_status = 'FAILED'")
    assert [f.resolved_at for f in attention.failures(db)] == [None, None]
    db.execute("SELECT set_config('llamalog.category', '', true)")
    db.execute("UPDATE albums SET label = 'Parlophone'")
    assert attention.failures(db, unresolved_only=True) == []


def test_a_removal_ends_a_failure_and_a_move_to_another_partition_does_not(db):
    db.execute(
        "CREATE TABLE notes (id integer, half integer, PRIMARY KEY (id, half)) PARTITION BY LIST (half)"
    )
    db.execute("CREATE TABLE notes_1 PARTITION OF notes FOR VALUES IN (1)")
    db.execute("CREATE TABLE notes_2 PARTITION OF notes FOR VALUES IN (2)")
    watching.watch(db, ["notes"])
    db.execute("INSERT INTO notes VALUES (1, 1)")
    fail(db, "1,1", entity_type="NOTE", source="import")
    db.execute("UPDATE notes SET half = 2")
    assert [f.resolved_at for f in attention.failures(db, "NOTE", "1,2")] == [None]
    db.execute("INSERT INTO notes VALUES (1, 1)")  # another one
    db.execute("DELETE FROM notes WHERE half = 1")
    assert len(attention.failures(db, "NOTE", "1,2", unresolved_only=True)) == 1
    db.execute("DELETE FROM notes")
    assert attention.failures(db, "NOTE", "1,2", unresolved_only=True) == []


def test_what_a_job_asks_before_it_tries_again(db, new):
    album = new.album(db)
    fail(db, album, retry_count=3)
    db.execute(
        "INSERT INTO llamalog.llama_logs (created_at, entity_type, entity_id, operation, category, status)"
        " VALUES (now() - interval '80 days', 'ALBUM', %s, 'enrichment:album', 'ENRICHED', 'NO_DATA_AVAILABLE')",
        [album],
    )
    new.link(db, album, new.artist(db))

    def latest(*more):
        marks = ", %s" * len(more)
        return db.execute(
            f"SELECT operation, retry_count FROM llamalog.latest_attempt('album', %s{marks})".encode(),
            [album, *more],
        ).fetchall()

    assert latest() == [("enrichment:album", 0)]
    assert latest("NO_DATA_AVAILABLE", "90 days") == [("enrichment:album", 0)]
    assert latest("no_data_available", "70 days") == []
    assert latest("FAILED", "7 days") == [("album:failed:enrichment", 3)]
    assert latest("SUCCESS") == [("album:created", 0)]


# -- at the terminal --------------------------------------------------------------------------------------------------


@pytest.fixture
def llamalog(database):
    address = {**database.info.get_parameters(), "password": database.info.password}
    dsn = make_conninfo("", **{name: value for name, value in address.items() if value})

    def run(*arguments):
        runner = CliRunner(env={"LLAMALOG_DSN": dsn, "COLUMNS": "110"})
        return runner.invoke(main, list(arguments), catch_exceptions=False)

    run.dsn = dsn
    return run


def test_commands_say_what_needs_a_person_and_what_failed(llamalog, database, new):
    quiet = llamalog("attention", "--fail")
    assert (quiet.exit_code, quiet.stdout) == (0, "")
    assert quiet.stderr == "[🦙 LlamaLog] nothing needs attention\n"
    assert llamalog("failures").stderr == "[🦙 LlamaLog] nothing failed in 7 days\n"
    album = new.album(database, "\x1b[31mred [b]x[/b]", **SOUND)
    new.album(database, "Kid A", data_quality="HIGH", spotify_id="5a")
    fail(database, album, job="e 1;", root_job_id="root-1", retry_count=1)

    shown = llamalog("attention")
    assert shown.exit_code == 0
    lines = [re.sub(r"  since .*", "", line) for line in shown.stdout.splitlines()]
    first = lines.index("ALBUM “\\x1b[31mred [b]x[/b]”  no TRACK")
    assert lines[first + 1].startswith("    created by role postgres")
    assert lines[first + 2] == f"    llamalog why ALBUM {album}"
    assert "ALBUM “\\x1b[31mred [b]x[/b]”  failed: no answer (E1)" in lines
    assert llamalog("attention", "--fail").exit_code == 1
    rule(database, entity_type="TRACK", rule="missing", columns=["isbn"])
    told = llamalog("attention", "TRACK", "--fail")
    assert told.exit_code == 1
    assert told.stdout.splitlines()[0] == "TRACK missing"
    assert 'needs column "isbn", which public.tracks does not have.' in " ".join(
        told.stdout.split()
    )
    assert "why" not in told.stdout
    database.execute("DELETE FROM llamalog.attention_rules")
    cut = llamalog("attention", "ALBUM", "--limit", "1", "--format", "jsonl")
    assert [json.loads(line)["rule"] for line in cut.stdout.splitlines()] == ["no_parts", "failed"]
    assert cut.stderr == "[🦙 LlamaLog] there are more than 1 of ALBUM no_parts: --limit\n"
    rules = llamalog("attention", "ALBUM", "--rules").stdout.splitlines()
    assert rules[1].split() == ["ALBUM", "no_parts", "TRACK", "catalogue"]
    assert (
        json.loads(llamalog("attention", "--rules", "--format", "json").stdout)[0]["rule"]
        == "no_parts"
    )

    failed = llamalog("failures", "ALBUM", album, "--unresolved").stdout.splitlines()
    assert failed[0].endswith("FAILED ALBUM “\\x1b[31mred [b]x[/b]”  no answer (E1)")
    assert (
        failed[1].strip() == "enrichment · job e 1; · root job root-1 · tried 2 times · unresolved"
    )
    fail(database, album)
    cut = llamalog("failures", "--limit", "1", "--format", "csv")
    assert (len(cut.stdout.splitlines()), cut.stderr) == (
        2, "[🦙 LlamaLog] only the newest 1; for more, --limit\n",
    )  # fmt: skip
    database.execute("DELETE FROM albums")
    assert llamalog("failures", "--unresolved").stderr == "[🦙 LlamaLog] nothing is unresolved\n"


def plain(text):
    """The text without what differs from run to run."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text)
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def answered(llamalog, command, answer):
    """What a person at a terminal is shown, who types the answer."""
    master, terminal = pty.openpty()
    os.write(master, answer.encode())
    run = subprocess.run(
        [sys.executable, "-m", "llamalog_sql", *shlex.split(command)[1:]],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "LLAMALOG_DSN": llamalog.dsn, "COLUMNS": "110"},
    )
    os.close(terminal)
    os.close(master)
    assert run.returncode == 0
    return run.stdout.replace("[y/N]: ", f"[y/N]: {answer}")


def test_the_session_of_the_readme_repairs_the_album(llamalog, database):
    Application(llamalog.dsn).run()
    section = (
        (ROOT / "README.md").read_text("utf-8").split("## From what is broken to what is mended")[1]
    )
    session = section.split("```\n")[1]
    typed = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", session, re.MULTILINE)
    for command, shown in typed:
        if "[y/N]: y" in shown:
            said = answered(llamalog, command, "y\n")
        else:
            said = llamalog(*shlex.split(command)[1:]).stdout
        assert plain(said) == plain(shown)
    assert [command.split()[1] for command, _ in typed] == [
        "attention", "why", "revert", "attention", "why",
    ]  # fmt: skip
    restored = database.execute(
        "SELECT count(*) FROM tracks JOIN albums ON albums.id = album_id WHERE albums.title = 'Rumours'"
    )
    assert restored.fetchone() == (11,)
