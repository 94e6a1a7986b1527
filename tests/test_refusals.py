"""What a function cannot answer it refuses: what is wrong, the kind of error, and what to do."""

from __future__ import annotations

import psycopg
import pytest

from llamalog_sql import watching
from llamalog_sql.watching import Options

REFUSALS = {
    "llamalog.activity('2026-01-01', '2026-01-02', 'eon')": (
        "22023",
        'changes are not counted by the "eon"',
    ),
    "llamalog.stats('mood')": ("22023", 'changes are not counted by "mood"'),
    "llamalog.recent_failures(entity_id => '1')": (
        "22023",
        "an id without the type of its entity",
    ),
    "llamalog.record_failure('lost', entity_type => 'ALBUM')": (
        "22023",
        "a failure names an entity by type and id, or none",
    ),
    "llamalog.entity_id('ALBUM', NULL)": ("22004", "the id of the ALBUM is missing"),
    "llamalog.revert_plan()": (
        "22023",
        "a revert is of one change, of one job, or of one entity to an instant",
    ),
    "llamalog.revert_plan(change => 77)": ("LL018", "the log has no change 77"),
}


@pytest.mark.parametrize("question", REFUSALS)
def test_refused_in_words_with_a_code_and_a_hint(db, question):
    with pytest.raises(psycopg.Error) as refused:
        db.execute(f"SELECT * FROM {question}".encode())
    said = refused.value.diag
    assert (said.sqlstate, said.message_primary) == REFUSALS[question]
    assert said.message_hint


def test_a_batch_begins_after_a_whole_key_only(db):
    db.execute("CREATE TABLE pages (book integer, page integer, PRIMARY KEY (book, page))")
    watching.watch(db, ["pages"], Options())
    with pytest.raises(psycopg.Error) as refused:
        db.execute(
            "SELECT llamalog.reconciled_batch(watch, '1', 1) FROM llamalog.watches AS watch WHERE entity_type = 'PAGE'"
        )
    said = refused.value.diag
    assert (said.sqlstate, said.message_primary, said.message_detail) == (
        "22P02",
        'malformed id "1" for PAGE',
        "Its key is (book, page).",
    )
