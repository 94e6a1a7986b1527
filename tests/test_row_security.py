"""Row security of a table, carried over to the log: a reader sees the changes of the rows that he sees."""

from __future__ import annotations

import psycopg
import pytest

from llamalog_sql import installation, migrate, watching
from llamalog_sql.errors import CannotWatch
from llamalog_sql.watching import Options

SECRETS = """
CREATE TABLE secrets (id integer PRIMARY KEY, owner text, title text);
ALTER TABLE secrets ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON secrets USING (owner = current_user);
CREATE ROLE ann; CREATE ROLE ben; CREATE ROLE chief;
GRANT SELECT ON secrets TO ann, ben, chief;
GRANT llamalog_reader TO ann, ben; GRANT llamalog_admin TO chief;
"""

WRITES = """
INSERT INTO secrets VALUES (1, 'ann', 'a'), (2, 'ben', 'b'), (3, 'ben', 'c');
UPDATE secrets SET title = title || '!';
DELETE FROM secrets WHERE id = 3;
"""


def watch(conn, table, **options):
    return watching.watch(conn, [table], Options(row_security=True, **options))


def asked_by(conn, role, query, *values):
    """The rows that the query gives this role."""
    conn.execute(f"SET LOCAL ROLE {role}".encode())
    try:
        with conn.transaction(force_rollback=True):
            return [
                row[0] if len(row) == 1 else tuple(row)
                for row in conn.execute(query.encode(), values).fetchall()
            ]
    finally:
        conn.execute("RESET ROLE")


def refusal(conn, role, query, *values):
    with pytest.raises(psycopg.Error) as caught:
        asked_by(conn, role, query, *values)
    return caught.value.sqlstate


LOG = "SELECT op, entity_id FROM llamalog.log WHERE entity_type = 'SECRET' ORDER BY seq"


@pytest.fixture
def secrets(db):
    db.execute(SECRETS)
    watch(db, "secrets")
    db.execute(WRITES)
    return db


def test_a_reader_sees_the_changes_of_rows_that_he_sees(secrets):
    assert asked_by(secrets, "ann", LOG) == [("I", "1"), ("U", "1")]
    assert asked_by(secrets, "ben", LOG) == [("I", "2"), ("U", "2")]
    everything = [("I", "1"), ("I", "2"), ("I", "3"), ("U", "1"), ("U", "2"), ("U", "3"), ("D", "3")]
    assert asked_by(secrets, "chief", LOG) == everything
    assert [tuple(row) for row in secrets.execute(LOG)] == everything
