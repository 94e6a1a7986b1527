"""The log for other tools: every row exactly, PROV that holds together, OpenLineage that its own classes accept."""

from __future__ import annotations

import csv
import json
import re
import sys
from importlib import resources

import jsonschema
import psycopg
import pytest
from click.testing import CliRunner
from openlineage.client import event_v2, serde
from openlineage.client.generated import (
    error_message_run,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
)
from prov.model import ProvDocument

from llamalog_sql import queries, watching
from llamalog_sql.cli import main
from llamalog_sql.export import openlineage, prov, rows
from llamalog_sql.tailing import Filter

HOSTILE = "-a b/c:é.%\"'<\\\n🦙."


@pytest.fixture
def llamalog(database):
    address = {**database.info.get_parameters(), "password": database.info.password}
    dsn = psycopg.conninfo.make_conninfo("", **{k: v for k, v in address.items() if v})

    def run(*arguments):
        runner = CliRunner(env={"LLAMALOG_DSN": dsn})
        return runner.invoke(main, ["export", *map(str, arguments)], catch_exceptions=False)

    return run


def context(conn, **values):
    names = ", ".join(f"{name} => %s" for name in values)
    conn.execute(f"SELECT llamalog.set_context({names})".encode(), list(values.values()))


@pytest.fixture
def story(db, new):
    """An album made by a user, enriched by a job that this caused, failed once, deleted with its track by hand."""
    with db.transaction():
        context(db, source="addAlbum", job_id="add-1", user_id="ann")
        album = new.album(db, source="SPOTIFY")
        artist = new.artist(db)
        new.link(db, album, artist)
        new.link(db, album, artist, "producer")
    with db.transaction():
        context(
            db, source="enrichment", job_id="enrich-1", parent_job_id="check-1", root_job_id="add-1"
        )
        db.execute(
            "SELECT llamalog.start_job(job_id => 'check-1', parent_job_id => 'add-1', source => 'check')"
        )
        db.execute("UPDATE albums SET label = 'Parlophone'")
        new.track(db, album)
    db.execute(
        "SELECT llamalog.record_failure(entity_type => 'ALBUM', entity_id => %s, job_id => 'enrich-2',"
        " parent_job_id => 'check-1', source => 'enrichment', error_message => 'too slow', error_code => '57014')",
        [album],
    )
    with db.transaction():
        context(db, source="manual_edit", job_id="edit-1", user_id="mia")
        db.execute("DELETE FROM albums")
    return album


# -- the log itself ---------------------------------------------------------------------------------------------------


def exported(conn, **options):
    return [row for batch in rows.log(conn, Filter(), **options) for row in batch]


def test_an_export_holds_every_row_of_the_log_in_its_order(db, story):
    whole = db.execute("SELECT seq, category FROM llamalog.log ORDER BY seq").fetchall()
    assert [(row.seq, row.category) for row in exported(db)] == [tuple(row) for row in whole]
    assert len(whole) == 11


def test_an_export_is_filtered_by_what_it_names(db, story):
    def only(**wanted):
        found = [row for batch in rows.log(db, Filter(**wanted)) for row in batch]
        return sorted({(row.entity_type, row.category) for row in found})

    assert only(entity_type="track") == [("TRACK", "CREATED"), ("TRACK", "DELETED")]
    assert only(categories=["enriched", "FAILED"]) == [("ALBUM", "ENRICHED"), ("ALBUM", "FAILED")]
    assert only(source="manual_edit", entity_type="TRACK") == [("TRACK", "DELETED")]
    assert only(user_id="ann", categories=["LINKED"]) == [("ALBUM", "LINKED")]
    assert only(job_id="check-1") == [("ALBUM", "ENRICHED"), ("ALBUM", "FAILED")]
    assert only(status="failed") == [("ALBUM", "FAILED")]


def test_an_export_begins_and_ends_where_it_is_told(db, story):
    all_of_it = exported(db)
    seqs = [row.seq for row in all_of_it]
    middle = all_of_it[5]
    assert [row.seq for row in exported(db, after=middle.seq)] == seqs[6:]
    assert [row.seq for row in exported(db, since=middle.created_at)] == seqs[5:]
    assert [row.seq for row in exported(db, until=middle.created_at)] == seqs[:5]


def test_more_rows_than_a_batch_are_streamed_batch_by_batch(db):
    db.execute(
        "INSERT INTO llamalog.llama_logs (operation, category) SELECT 'noise', 'UPDATED' FROM generate_series(1, 4500)"
    )
    assert [len(batch) for batch in rows.log(db, Filter())] == [2000, 2000, 500]


def test_the_command_writes_the_same_rows_as_lines_and_as_csv(llamalog, database, new, tmp_path):
    database.execute("CREATE TABLE prices (id int PRIMARY KEY, price numeric)")
    watching.watch(database, ["prices"])
    database.execute("INSERT INTO prices VALUES (1, 1.10)")
    database.execute("UPDATE prices SET price = 1.100")
    lines = llamalog("log")
    assert (lines.exit_code, lines.stderr) == (0, "[🦙 LlamaLog] 2 changes, the last one 2\n")
    created, updated = lines.stdout.splitlines()
    assert '"before": {"price": 1.10}, "after": {"price": 1.100}' in updated
    assert json.loads(created)["entity_type"] == "PRICE"
    assert llamalog("log", "--as", "csv", "-o", tmp_path / "log.csv").stdout == ""
    with (tmp_path / "log.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["seq"] for row in table] == ["1", "2"]
    assert table[1]["after"] == '{"price": 1.100}'
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert set(json.loads(created)) == {
        f.name for f in queries.Change.__dataclass_fields__.values()
    }


def test_cells_are_exact_unless_a_spreadsheet_shall_read_them(llamalog, database):
    formulas = ["=1+1", "+1", "-1", "@a", "\tx", "\n=1", "\uff1d1", "plain", "'quoted"]
    for text in formulas:
        database.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, reason) VALUES ('noise', 'UPDATED', %s)",
            [text],
        )

    def reasons(*options):
        written = llamalog("log", "--as", "csv", *options).stdout
        return [row["reason"] for row in csv.DictReader(written.splitlines(keepends=True))]

    assert reasons() == formulas
    assert reasons("--spreadsheet-safe") == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@a",
        "'\tx",
        "'\n=1",
        "'\uff1d1",
        "plain",
        "'quoted",
    ]


def test_no_stored_text_is_taken_for_a_number(llamalog, database):
    # the second is what stood around numbers until they were written
    for text in ["1.50", "\ue000...\ue001", "\ue0001.50\ue001"]:
        database.execute(
            "INSERT INTO llamalog.llama_logs (operation, category, metadata) VALUES ('noise', 'UPDATED', %s)",
            [json.dumps({"text": text})],
        )
    found = [json.loads(line)["metadata"]["text"] for line in llamalog("log").stdout.splitlines()]
    assert found == ["1.50", "\ue000...\ue001", "\ue0001.50\ue001"]


def test_an_export_that_fails_leaves_the_older_file(llamalog, database, new, tmp_path, monkeypatch):
    new.album(database)
    target = tmp_path / "log.jsonl"
    target.write_text("older")

    first = exported(database)

    def broken(*_, **__):
        yield first
        raise psycopg.OperationalError("gone")

    monkeypatch.setattr(rows, "log", broken)
    assert llamalog("log", "-o", target).exit_code == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_an_empty_log_makes_a_table_with_nothing_but_its_header(llamalog):
    assert llamalog("log", "--as", "csv").stdout.startswith("seq,op,entity_type,")
    assert llamalog("log").stdout == ""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "message"),
    [
        (["log", "--spreadsheet-safe"], 2, "error: --spreadsheet-safe goes with --as csv (22023)"),
        (["log", "--category", "new"], 2, 'error: unknown category "NEW" (22023)'),
        (["log", "--type", "ALBM"], 1, 'error: unknown entity type "ALBM" (LL003)'),
        (
            ["log", "-o", "/nowhere/log"],
            2,
            "error: there is no directory /nowhere (22023)",
        ),
        (["prov"], 2, "error: which story to export is not said, or twice (22023)"),
        (
            ["prov", "ALBUM", "x", "--job", "y"],
            2,
            "error: which story to export is not said, or twice (22023)",
        ),
        (["openlineage"], 2, "error: which story to export is not said, or twice (22023)"),
        (["prov", "--job", "nope"], 1, 'error: unknown job "nope" (LL017)'),
        (["openlineage", "ALBUM", "nope"], 1, 'error: no ALBUM has the id or title "nope" (LL004)'),
    ],
)
def test_what_cannot_be_exported_is_said_in_a_line(llamalog, arguments, exit_code, message):
    result = llamalog(*arguments)
    said = result.stderr.splitlines()
    assert (result.exit_code, result.stdout, said[0]) == (exit_code, "", message)
    assert any(line.startswith("hint: ") for line in said)


def test_a_job_that_wrote_nothing_is_told_from_one_that_never_was(llamalog, database):
    database.execute("SELECT llamalog.start_job(job_id => 'idle', source => 'sync')")
    result = llamalog("openlineage", "--job", "idle")
    assert (result.exit_code, result.stderr.splitlines()) == (
        1,
        [
            'error: no change of a job "idle" is recorded (P0002)',
            "hint: It is known, but wrote nothing: see llamalog job idle",
        ],
    )


# -- what a job caused ------------------------------------------------------------------------------------------------


def test_of_a_job_all_that_it_caused_is_exported_also_by_way_of_jobs_that_wrote_nothing(db, story):
    assert [c.category for c in rows.of_job(db, "check-1")] == ["ENRICHED", "CREATED", "FAILED"]
    assert {c.job_id or c.parent_job_id for c in rows.of_job(db, "add-1")} == {
        "add-1",
        "enrich-1",
        "enrich-2",
    }


def test_what_a_job_added_to_what_another_had_made_is_exported_with_it(db, new):
    with db.transaction():
        context(db, job_id="first", source="addAlbum")
        albums = [new.album(db), new.album(db)]
    with db.transaction():
        context(db, job_id="feed", source="lab_feed")
        for album in albums:
            new.track(db, album)
    with db.transaction():
        context(db, job_id="feed-below", source="lab_feed", parent_job_id="feed")
        new.track(db, albums[0])
    for job, count in (("feed", 3), ("feed-below", 1)):
        found = rows.of_job(db, job)
        assert len(found) == count
        ((touched,),) = db.execute(
            "SELECT sum(change_count)::integer FROM llamalog.impact(job_id => %s)", [job]
        ).fetchall()
        assert touched == count
        ran = list(openlineage.events(db, rows.jobs_of(found)))
        assert len(ran) >= 2
        assert check_prov(prov.document(db, found))


def test_jobs_that_cause_each_other_are_told_once(db, new):
    for job, parent in (("a", "b"), ("b", "a")):
        with db.transaction():
            context(db, job_id=job, parent_job_id=parent, source="enrichment")
            new.album(db, job)
    assert len(rows.of_job(db, "a")) == 2
    ran = list(openlineage.events(db, rows.jobs_of(rows.of_job(db, "a"))))
    assert [event["eventType"] for event in ran] == ["START", "COMPLETE"] * 2
    assert check_prov(prov.document(db, rows.of_job(db, "a")))


# -- PROV -------------------------------------------------------------------------------------------------------------

PROV_SCHEMA = json.loads(
    resources.files("prov.tests").joinpath("schemas/prov-json.schema.json").read_text()
)


def check_prov(document):
    """The document as JSON, proved: by the schema of PROV-JSON, by reading it back, and that every name it uses is told."""
    text = document.serialize(format="json")
    told = json.loads(text)
    validator = jsonschema.validators.validator_for(PROV_SCHEMA)
    assert [str(error) for error in validator(PROV_SCHEMA).iter_errors(told)] == []
    assert ProvDocument.deserialize(content=text, format="json") == document
    names = {name for kind in ("entity", "activity", "agent") for name in told.get(kind, {})}
    used = {
        value
        for relation, statements in told.items()
        if relation not in {"prefix", "entity", "activity", "agent"}
        for statement in statements.values()
        for role, value in statement.items()
        if role.startswith("prov:") and role not in {"prov:time", "prov:label", "prov:type"}
    }
    assert used - names == set()
    # PN_LOCAL of PROV-N
    local = re.compile(r"[^:]+:(?![-.])([\w~/-]|%[0-9A-F]{2})+", re.ASCII)
    assert [name for name in names if not local.fullmatch(name)] == []
    return told


def related(told, relation, *roles):
    return sorted(
        tuple(statement.get(f"prov:{role}") for role in roles)
        for statement in told[relation].values()
    )


def test_prov_tells_versions_jobs_agents_and_plans(db, story):
    told = check_prov(prov.document(db, rows.of_entity(db, "album", story), base="urn:x:"))
    entity = f"entity:ALBUM/{story}"
    labels = {name: facts.get("prov:label") for name, facts in told["entity"].items()}
    versions = {label: name for name, label in labels.items() if name.startswith("version:")}
    created, enriched = versions[f"ALBUM/{story} CREATED"], versions[f"ALBUM/{story} ENRICHED"]
    assert told["prefix"]["entity"] == "urn:x:entity/"
    assert set(told["activity"]) > {
        "job:add-1",
        "job:check-1",
        "job:enrich-1",
        "job:enrich-2",
        "job:edit-1",
    }
    assert related(told, "wasInformedBy", "informed", "informant")[-3:] == [
        ("job:check-1", "job:add-1"),
        ("job:enrich-1", "job:check-1"),
        ("job:enrich-2", "job:check-1"),
    ]
    assert (enriched, created, "job:enrich-1") in related(
        told, "wasDerivedFrom", "generatedEntity", "usedEntity", "activity"
    )
    assert (created, "job:add-1") in related(told, "wasGeneratedBy", "entity", "activity")
    gone = related(told, "wasInvalidatedBy", "entity", "activity")
    assert {(created, "job:enrich-1"), (enriched, "job:edit-1"), (entity, "job:edit-1")} <= set(
        gone
    )
    assert (created, "user:ann") in related(told, "wasAttributedTo", "entity", "agent")
    assert ("job:add-1", "user:ann", "source:addAlbum") in related(
        told, "wasAssociatedWith", "activity", "agent", "plan"
    )
    assert told["entity"]["source:addAlbum"]["prov:type"]["$"] == "prov:Plan"
    (attempt,) = (name for name in told["activity"] if name.startswith("attempt:"))
    assert told["activity"][attempt]["llamalog:error_message"] == "too slow"
    assert (attempt, entity) in related(told, "used", "activity", "entity")
    # each of the two links, one entity in two roles, came and went
    links = [name for name, label in labels.items() if "LINKED" in label]
    assert len(links) == len([pair for pair in gone if pair[0] in links]) == 2


def test_any_text_is_a_valid_name_in_prov(db):
    db.execute('CREATE TABLE "Odd Things" ("the Id" text, n int, PRIMARY KEY ("the Id", n))')
    watching.watch(db, ['"Odd Things"'])
    context(db, job_id=HOSTILE, source=HOSTILE, user_id=HOSTILE, parent_job_id="." + HOSTILE)
    db.execute('INSERT INTO "Odd Things" VALUES (%s, 1)', [HOSTILE])
    db.execute('UPDATE "Odd Things" SET "the Id" = %s', ["." + HOSTILE])
    (kind, entity_id) = db.execute(
        "SELECT entity_type, entity_id FROM llamalog.log ORDER BY seq DESC"
    ).fetchone()
    told = check_prov(prov.document(db, rows.of_entity(db, kind, entity_id)))
    assert len(told["alternateOf"]) == 1
    assert len([name for name in told["entity"] if name.startswith("version:")]) == 2


def test_prov_of_a_row_older_than_its_watch_begins_with_what_is_known(db):
    db.execute("CREATE TABLE things (id int PRIMARY KEY, name text)")
    db.execute("INSERT INTO things VALUES (1, 'a')")
    watching.watch(db, ["things"])
    db.execute("DELETE FROM things")
    told = check_prov(prov.document(db, rows.of_entity(db, "THING", "1")))
    assert related(told, "wasInvalidatedBy", "entity") == [("entity:THING/1",)]
    assert "wasGeneratedBy" not in told


def test_the_command_writes_prov(llamalog, database, new, tmp_path):
    with database.transaction():
        context(database, job_id="sync-7", source="spotify_sync")
        new.album(database)
    target = tmp_path / "album.json"
    assert llamalog("prov", "ALBUM", "OK Computer", "-o", target).exit_code == 0
    document = ProvDocument.deserialize(str(target), format="json")
    assert check_prov(document)["prefix"]["job"] == f"urn:llamalog:{database.info.dbname}:job/"
    assert json.loads(llamalog("prov", "--job", "sync-7").stdout)["wasGeneratedBy"]


def test_without_the_library_the_command_says_how_to_get_it(llamalog, monkeypatch):
    monkeypatch.setitem(sys.modules, "prov", None)
    monkeypatch.setitem(sys.modules, "prov.model", None)
    result = llamalog("prov", "--job", "x")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "error: prov, which writes PROV documents, is not installed (58000)",
        "hint: Run: pip install 'llamalog-sql[export]'",
    ]


# -- OpenLineage ------------------------------------------------------------------------------------------------------

FACETS = {
    "parent": parent_run.ParentRunFacet,
    "nominalTime": nominal_time_run.NominalTimeRunFacet,
    "errorMessage": error_message_run.ErrorMessageRunFacet,
    "processing_engine": processing_engine_run.ProcessingEngineRunFacet,
    "jobType": job_type_job.JobTypeJobFacet,
    "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
}


def without_empty(told):
    """The same without {}, which the classes write where nothing is said."""
    if isinstance(told, list):
        return [without_empty(item) for item in told]
    if isinstance(told, dict):
        return {key: without_empty(value) for key, value in told.items() if value != {}}
    return told


def facet(name, told):
    """The facet as OpenLineage's own class has it, which must say the same."""
    kind = FACETS[name]
    content = {key: value for key, value in told.items() if not key.startswith("_")}
    if name == "parent":
        content = {
            "run": parent_run.Run(**told["run"]),
            "job": parent_run.Job(**told["job"]),
            "root": parent_run.Root(
                run=parent_run.RootRun(**told["root"]["run"]),
                job=parent_run.RootJob(**told["root"]["job"]),
            ),
        }
    made = kind(**content, producer=told["_producer"])
    assert told == without_empty(json.loads(serde.Serde.to_json(made)))
    return made


def check_event(told):
    """The event as OpenLineage's own classes have it: they check ids and times, and must say the same."""
    assert set(told) == {
        "eventType",
        "eventTime",
        "producer",
        "schemaURL",
        "run",
        "job",
        "inputs",
        "outputs",
    }
    run_facets = {
        name: facet(name, content)
        for name, content in told["run"]["facets"].items()
        if name != "llamalog"
    }
    assert {"_producer", "_schemaURL"} < set(told["run"]["facets"]["llamalog"])
    made = event_v2.RunEvent(
        eventType=event_v2.RunState(told["eventType"]),
        eventTime=told["eventTime"],
        run=event_v2.Run(runId=told["run"]["runId"], facets=run_facets),
        job=event_v2.Job(
            namespace=told["job"]["namespace"],
            name=told["job"]["name"],
            facets={name: facet(name, content) for name, content in told["job"]["facets"].items()},
        ),
        inputs=[event_v2.InputDataset(**dataset) for dataset in told["inputs"]],
        outputs=[
            event_v2.OutputDataset(
                dataset["namespace"],
                dataset["name"],
                outputFacets={n: facet(n, c) for n, c in dataset["outputFacets"].items()},
            )
            for dataset in told["outputs"]
        ],
        producer=told["producer"],
    )
    again = json.loads(serde.Serde.to_json(made))
    again["run"]["facets"]["llamalog"] = told["run"]["facets"]["llamalog"]
    assert without_empty(again) == without_empty(told)


def test_openlineage_tells_runs_with_parent_root_and_tables(db, story):
    jobs = sorted(rows.jobs_of(rows.of_entity(db, "ALBUM", story)))
    events = list(openlineage.events(db, jobs, namespace="postgres://db:5432"))
    database = db.info.dbname
    by_job = {event["run"]["facets"]["llamalog"]["jobId"]: event for event in events}
    assert [(e["eventType"], e["job"]["name"]) for e in events] == [
        ("START", f"{database}.addAlbum"),
        ("COMPLETE", f"{database}.addAlbum"),
        ("START", f"{database}.manual_edit"),
        ("COMPLETE", f"{database}.manual_edit"),
        ("START", f"{database}.enrichment"),
        ("COMPLETE", f"{database}.enrichment"),
        ("START", f"{database}.enrichment"),
        ("FAIL", f"{database}.enrichment"),
    ]
    enriched = by_job["enrich-1"]
    assert [
        (o["name"], o["outputFacets"]["outputStatistics"]["rowCount"]) for o in enriched["outputs"]
    ] == [
        (f"{database}.public.albums", 1),
        (f"{database}.public.tracks", 1),
    ]
    assert {"namespace": "postgres://db:5432", "name": f"{database}.public.albums"} in enriched[
        "inputs"
    ]
    assert {"namespace": "llamalog:sources", "name": "SPOTIFY"} in by_job["add-1"]["inputs"]
    parent = enriched["run"]["facets"]["parent"]
    assert parent["job"]["name"] == f"{database}.check"
    assert parent["root"]["run"]["runId"] == by_job["add-1"]["run"]["runId"]
    assert parent["run"]["runId"] == by_job["enrich-2"]["run"]["facets"]["parent"]["run"]["runId"]
    assert by_job["enrich-2"]["run"]["facets"]["errorMessage"]["message"] == "too slow"
    again = list(openlineage.events(db, jobs, namespace="postgres://db:5432"))
    assert again == events
    for event in events:
        check_event(event)


def test_openlineage_of_all_jobs_since_a_time_is_that_of_each(llamalog, database, new):
    for job in ("b", "a"):
        with database.transaction():
            context(database, job_id=job, source="enrichment")
            new.album(database, job)
    (between,) = database.execute("SELECT max(created_at) FROM llamalog.log").fetchone()
    events = [
        json.loads(line)
        for line in llamalog("openlineage", "--since", "2020-01-01").stdout.splitlines()
    ]
    jobs = [(e["run"]["facets"]["llamalog"]["jobId"], e["eventType"]) for e in events]
    assert jobs == [("a", "START"), ("a", "COMPLETE"), ("b", "START"), ("b", "COMPLETE")]
    assert events[0]["job"]["namespace"].startswith("postgres://")
    alone = llamalog("openlineage", "--job", "a").stdout.splitlines()
    assert [json.loads(line) for line in alone] == events[:2]
    later = llamalog("openlineage", "--since", between.isoformat()).stdout.splitlines()
    assert [json.loads(line) for line in later] == events[:2]


@pytest.mark.parametrize(
    ("source", "written"),
    [("enrichment", [("albums", 4), ("tracks", 2)]), ("spotify_sync", [("albums", 2)])],
)
def test_a_run_is_the_same_however_it_is_asked_for(llamalog, database, new, source, written):
    for title in ("Kid A", "Amnesiac"):
        with database.transaction():
            context(database, job_id="sync", source=source)
            album = new.album(database, title)
            database.execute("UPDATE albums SET label = 'Parlophone'")
            new.track(database, album)
    context(database)
    (late,) = database.execute(
        "SELECT max(created_at) FROM llamalog.log WHERE job_id = 'sync'"
    ).fetchone()

    def of_sync(*arguments):
        told = llamalog("openlineage", *arguments)
        assert told.exit_code == 0, told.stderr
        events = map(json.loads, told.stdout.splitlines())
        return [e for e in events if e["run"]["facets"]["llamalog"]["jobId"] == "sync"]

    whole = of_sync("--job", "sync")
    assert [
        (table["name"].rpartition(".")[2], table["outputFacets"]["outputStatistics"]["rowCount"])
        for table in whole[1]["outputs"]
    ] == written
    assert of_sync("ALBUM", album) == whole
    assert of_sync("--since", late.isoformat()) == whole
