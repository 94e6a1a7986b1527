"""The systems that the bench compares: what each adds to the music schema, and how an application writes under it.

none: no logging. floor: the application writes the same log rows itself, each write and its log row in one statement.
the seed's way: a second statement into the seed's own log, with its twelve indexes and four foreign keys.
the key alone: triggers that write the key of the row into llamalog's log and nothing else, no context, no fields, no images:
what cannot be had for less by any capture into that log. the fields told: triggers that see whether a row has changed, are told
in which two columns, and write these, with who and why, as the owner of the log; of UPDATE only. llamalog: as installed and watched; and in each of
its modes.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import legacy
import psycopg

from llamalog_sql import migrate, watching
from llamalog_sql.describe import Options

TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]

#: A log as one would write it by hand for this purpose.
_FLOOR = """
CREATE TABLE change_log (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    op text, entity_type text, entity_id text, related_type text, related_id text,
    operation text, category text, status text, fields_enriched text[],
    job_id text, root_job_id text, user_id text, before jsonb, after jsonb
);
CREATE INDEX ON change_log (entity_id, id);
CREATE INDEX ON change_log (related_id, id) WHERE related_id IS NOT NULL;
CREATE INDEX ON change_log (root_job_id, created_at, id) WHERE root_job_id IS NOT NULL;
"""

#: Capture that knows only which row it was: by statement and by row, as ours.
_KEY_ALONE = """
CREATE FUNCTION key_of_inserted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO llamalog.llama_logs (op, entity_type, entity_id, operation, category)
    SELECT 'I', 'ALBUM', {key}::text, 'created', 'CREATED' FROM new_rows;
    RETURN NULL;
END $$;
CREATE FUNCTION key_of_updated() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD OPERATOR(pg_catalog.*=) NEW THEN
        RETURN NULL;
    END IF;
    INSERT INTO llamalog.llama_logs (op, entity_type, entity_id, operation, category)
    VALUES ('U', 'ALBUM', NEW.{key}::text, 'updated', 'UPDATED');
    RETURN NULL;
END $$;
CREATE FUNCTION key_of_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO llamalog.llama_logs (op, entity_type, entity_id, operation, category)
    VALUES ('D', 'ALBUM', OLD.{key}::text, 'deleted', 'DELETED');
    RETURN NULL;
END $$;
CREATE TRIGGER a_inserted AFTER INSERT ON {table} REFERENCING NEW TABLE AS new_rows EXECUTE FUNCTION key_of_inserted();
CREATE TRIGGER a_updated AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION key_of_updated();
CREATE TRIGGER a_deleted AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION key_of_deleted();
"""

#: Capture of an UPDATE that need not find out which columns have changed, in a single statement.
_FIELDS_TOLD = """
CREATE FUNCTION fields_of_updated() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD OPERATOR(pg_catalog.*=) NEW THEN
        RETURN NULL;
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, operation, category, source, user_id, triggered_by, fields_enriched, before, after,
        job_id, parent_job_id, root_job_id
    )
    VALUES (
        'U', 'ALBUM', NEW.id::text, 'updated', 'UPDATED', current_setting('llamalog.source', true),
        current_setting('llamalog.user_id', true), current_setting('application_name'), '{{a},{b}}',
        jsonb_build_object('{a}', OLD.{a}, '{b}', OLD.{b}), jsonb_build_object('{a}', NEW.{a}, '{b}', NEW.{b}),
        coalesce(current_setting('llamalog.job_id', true), pg_current_xact_id()::text),
        current_setting('llamalog.parent_job_id', true),
        coalesce(current_setting('llamalog.root_job_id', true), pg_current_xact_id()::text)
    );
    RETURN NULL;
END $$;
ALTER FUNCTION fields_of_updated() OWNER TO llamalog_owner;
CREATE TRIGGER a_updated AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fields_of_updated();
"""

_FIELDS = "'{id,title,release_date,track_count,label,updated_at,created_at,data_quality,source}'"
_JOB = "current_setting('llamalog.job_id', true)"

_ALBUM = (
    "INSERT INTO albums (id, title, release_date, release_type, track_count, label, genres, cover_art_url, updated_at)"
    " VALUES ({id}, 'In Rainbows', '2007-10-10', 'album', 10, 'XL', '{{rock}}', 'https://covers.example/1.jpg', now())"
)
_TRACKS = (
    "INSERT INTO tracks (album_id, title, track_number, duration_ms, updated_at)"
    " SELECT {album}, 'Track ' || n, n, 200000 + n, now() FROM generate_series(1, 12) AS n"
)
_LINK = "INSERT INTO album_artists (album_id, artist_id) VALUES ({album}, md5('artist1')::uuid)"
_UPDATE = (
    "UPDATE albums SET label = 'label ' || :r, track_count = :r WHERE id = md5('album' || :n)::uuid"
)


def _logged(write: str, kind: str, related: str = "NULL", related_type: str = "NULL") -> str:
    """The write and its log row in one statement, as the floor does it."""
    return (
        f"WITH written AS ({write} RETURNING *) INSERT INTO change_log (op, entity_type, entity_id, related_type, related_id,"
        f" operation, category, status, fields_enriched, job_id, root_job_id) SELECT 'I', '{kind}', {{key}}::text,"
        f" {related_type}, {related}, '{kind}.created.addAlbum', 'CREATED', 'SUCCESS', {_FIELDS}, {_JOB}, {_JOB} FROM written"
    )


def _seeds(kind: str, key: str, operation: str, album: str, track: str = "NULL") -> str:
    """The second statement of the seed's way."""
    return (
        "INSERT INTO llama_logs (entity_type, entity_id, album_id, track_id, operation, category, sources, status,"
        " fields_enriched, job_id, root_job_id, metadata)"
        f" SELECT '{kind}', {key}, {album}, {track}, '{operation}', 'CREATED', '{{MUSICBRAINZ}}', 'SUCCESS',"
        f" {_FIELDS}, {_JOB}, {_JOB}, '{{}}'"
    )


@dataclass
class System:
    """name: as the table shows it.  setup: SQL, after the schema.  watch: what llamalog does, None for the others.

    The rest is what the application executes, single statements for pgbench and those over many rows; empty where there is
    nothing to measure.
    """

    name: str
    setup: str = ""
    watch: dict[str, Any] | None = None
    insert: list[str] = field(default_factory=list)
    update: list[str] = field(default_factory=list)
    noop: list[str] = field(default_factory=list)
    add_album: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)
    many_inserts: list[str] = field(default_factory=list)
    copy_then: list[str] = field(default_factory=list)
    many_updates: list[str] = field(default_factory=list)
    #: The only parts that say something of it, where not all do. It does the rest too: so its tables become like those of others.
    shown: tuple[str, ...] = ()

    def shows(self, part: str) -> bool:
        return not self.shown or part in self.shown

    def install(self, conn: psycopg.Connection) -> None:
        """Make the database, which has the music schema and its rows, one that this system logs."""
        if self.setup == "legacy":
            legacy.make(conn, albums=0, later=True)
            conn.execute("ALTER TABLE enrichment_logs RENAME TO llama_logs")
        elif self.setup:
            conn.execute(self.setup.encode())
        if self.name == "the key alone":
            migrate.migrate(conn)
            for table in TABLES:
                hang = _KEY_ALONE.replace("{table}", table)
                hang = hang.replace(
                    "{key}",
                    {"album_artists": "album_id", "track_artists": "track_id"}.get(table, "id"),
                )
                conn.execute(hang.replace("FUNCTION key_of", f"FUNCTION {table}_key_of").encode())
        elif self.name == "the fields told":
            migrate.migrate(conn)
            for table, (a, b) in {
                "albums": ("label", "track_count"),
                "tracks": ("duration_ms", "energy"),
            }.items():
                hang = _FIELDS_TOLD.replace("{table}", table).replace("{a}", a).replace("{b}", b)
                conn.execute(hang.replace("fields_of_updated", f"{table}_fields").encode())
        elif self.watch is not None:
            migrate.migrate(conn)
            watching.watch(conn, TABLES, Options(**self.watch))


_MANY = (
    "INSERT INTO tracks (album_id, title, track_number, duration_ms, updated_at)"
    " SELECT md5('album' || {albums} - n % 500)::uuid, 'Track ' || n, 100 + n, 1, now() FROM generate_series(1, {rows}) AS n"
)
_MANY_UPDATES = "UPDATE tracks SET duration_ms = coalesce(duration_ms, 0) + 1, energy = 0.5 WHERE track_number <= {share}"
_CONTEXT = "SELECT set_config('llamalog.source', 'addAlbum', true), set_config('llamalog.job_id', 'job' || :r, true)"
_NOOP = (
    "UPDATE albums SET label = label, track_count = track_count WHERE id = md5('album' || :n)::uuid"
)
_DELETE = "DELETE FROM albums WHERE id = md5('album' || :d)::uuid"
_NEW = "md5('new' || :r || :s)::uuid"


def _plain(name: str, **more: Any) -> System:
    """A system under which the application writes as if there were no log."""
    return System(
        name,
        insert=[_ALBUM.format(id="gen_random_uuid()")],
        update=[_UPDATE],
        noop=[_NOOP],
        add_album=[
            _CONTEXT,
            _ALBUM.format(id=_NEW),
            _TRACKS.format(album=_NEW),
            _LINK.format(album=_NEW),
        ],
        delete=[_DELETE],
        many_inserts=[_MANY],
        many_updates=[_MANY_UPDATES],
        **more,
    )


_BEFORE = (
    "WITH old AS MATERIALIZED (SELECT * FROM {table} WHERE {which}),"
    " written AS ({write} RETURNING *) INSERT INTO change_log (op, entity_type, entity_id, operation, category, status,"
    " fields_enriched, job_id, root_job_id, before, after) SELECT 'U', '{kind}', written.id::text, '{kind}.updated', 'UPDATED',"
    " 'SUCCESS', '{fields}', {job}, {job}, {old}, {new} FROM written JOIN old ON old.id = written.id"
)


def _floor() -> System:
    return System(
        "floor",
        _FLOOR,
        insert=[_logged(_ALBUM.format(id="gen_random_uuid()"), "ALBUM").replace("{key}", "id")],
        update=[
            _BEFORE.format(
                table="albums",
                which="id = md5('album' || :n)::uuid",
                write=_UPDATE,
                kind="ALBUM",
                fields="{label,track_count}",
                job=_JOB,
                old="jsonb_build_object('label', old.label, 'track_count', old.track_count)",
                new="jsonb_build_object('label', written.label, 'track_count', written.track_count)",
            )
        ],
        noop=[_NOOP],
        add_album=[
            _CONTEXT,
            _logged(_ALBUM.format(id=_NEW), "ALBUM").replace("{key}", "id"),
            _logged(_TRACKS.format(album=_NEW), "TRACK", "album_id::text", "'ALBUM'").replace(
                "{key}", "id"
            ),
            _logged(_LINK.format(album=_NEW), "ALBUM", "artist_id::text", "'ARTIST'").replace(
                "{key}", "album_id"
            ),
        ],
        delete=[
            "WITH gone AS (SELECT to_jsonb(album) AS image, id, 'ALBUM' AS kind, NULL::uuid AS whole FROM albums AS album"
            " WHERE id = md5('album' || :d)::uuid UNION ALL SELECT to_jsonb(track), id, 'TRACK', album_id FROM tracks AS track"
            " WHERE album_id = md5('album' || :d)::uuid),"
            f" written AS ({_DELETE}) INSERT INTO change_log (op, entity_type, entity_id, related_type, related_id, operation,"
            " category, status, job_id, root_job_id, before) SELECT 'D', kind, id::text, CASE WHEN whole IS NOT NULL THEN 'ALBUM' END,"
            f" whole::text, lower(kind) || '.deleted', 'DELETED', 'SUCCESS', {_JOB}, {_JOB}, image FROM gone"
        ],
        many_inserts=[_logged(_MANY, "TRACK", "album_id::text", "'ALBUM'").replace("{key}", "id")],
        copy_then=[
            "INSERT INTO change_log (op, entity_type, entity_id, related_type, related_id, operation, category, status,"
            f" fields_enriched, job_id, root_job_id) SELECT 'I', 'TRACK', id::text, 'ALBUM', album_id::text, 'TRACK.created',"
            f" 'CREATED', 'SUCCESS', {_FIELDS}, {_JOB}, {_JOB} FROM tracks WHERE track_number > 100"
        ],
        many_updates=[
            _BEFORE.format(
                table="tracks",
                which="track_number <= {share}",
                write=_MANY_UPDATES,
                kind="TRACK",
                fields="{duration_ms,energy}",
                job=_JOB,
                old="jsonb_build_object('duration_ms', old.duration_ms, 'energy', old.energy)",
                new="jsonb_build_object('duration_ms', written.duration_ms, 'energy', written.energy)",
            )
        ],
    )


def _seed() -> System:
    plain = _plain("the seed's way", setup="legacy")
    album = "md5('album' || :n)::uuid"
    of_new = "FROM tracks WHERE track_number > 100"
    plain.insert = [
        _ALBUM.format(id=_NEW),
        _seeds("ALBUM", _NEW, "album.created.addAlbum", _NEW),
    ]
    plain.update = [_UPDATE, _seeds("ALBUM", album, "enrichment.album", album)]
    plain.add_album = [
        *plain.add_album,
        _seeds("ALBUM", _NEW, "album.created.addAlbum", _NEW),
        _seeds("TRACK", "id", "track.created.addAlbum", "album_id", "id")
        + f" FROM tracks WHERE album_id = {_NEW}",
        _seeds("ALBUM", _NEW, "album.linked.addAlbum", _NEW),
    ]
    plain.many_inserts = [
        _MANY,
        _seeds("TRACK", "id", "track.created", "album_id", "id") + f" {of_new}",
    ]
    plain.copy_then = [_seeds("TRACK", "id", "track.created", "album_id", "id") + f" {of_new}"]
    plain.many_updates = [
        _MANY_UPDATES,
        _seeds("TRACK", "id", "enrichment.track", "album_id", "id")
        + " FROM tracks WHERE track_number <= {share}",
    ]
    return plain


def systems() -> list[System]:
    """Return them in the order of the table, none first."""
    return [
        _plain("none"),
        _floor(),
        _seed(),
        _plain("the key alone"),
        _plain("the fields told", shown=("update", "many_updates")),
        _plain("llamalog", watch={}),
        _plain("llamalog, full image", watch={"image": "full"}),
        _plain("llamalog, by statement", watch={"capture": "statement"}),
    ]
