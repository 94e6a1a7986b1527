"""The capture that is rendered for three tables, byte for byte, so that a reviewer sees what a change of the templates does.

After a change that is meant, renew the copies and read their diff:

    LLAMALOG_RENEW_GOLDEN=1 python -m pytest tests/test_golden.py && git diff tests/golden
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import default

from llamalog_sql import watching
from llamalog_sql.watching import Options

GOLDEN = Path(__file__).parent / "golden"

READINGS = """
CREATE TABLE readings (
    sensor text NOT NULL,
    day date NOT NULL,
    value double precision,
    raw jsonb,
    owner_email text,
    updated_at timestamptz,
    PRIMARY KEY (sensor, day)
) PARTITION BY RANGE (day);
CREATE TABLE readings_2026 PARTITION OF readings FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
"""


@pytest.mark.parametrize(
    ("name", "table", "options"),
    [
        ("albums", "albums", Options()),
        ("link", "album_artists", Options()),
        ("partitioned", "readings", Options(redact=["owner_email"], image="full")),
        ("tolerant", "artists", Options(capture="tolerant")),
    ],
)
@default("capture", "image")
def test_rendered_capture_is_the_golden_copy_byte_for_byte(db, name, table, options):
    db.execute(READINGS)
    rendered = "".join(watching.script(db, [table], options)).encode()
    copy = GOLDEN / f"{name}.sql"
    if os.environ.get("LLAMALOG_RENEW_GOLDEN"):
        copy.write_bytes(rendered)
        pytest.skip(f"renewed {copy.relative_to(Path.cwd())}")
    assert rendered.decode() == copy.read_bytes().decode()


def test_every_golden_copy_belongs_to_a_table():
    copies = sorted(path.name for path in GOLDEN.iterdir())
    assert copies == ["albums.sql", "link.sql", "partitioned.sql", "tolerant.sql"]
