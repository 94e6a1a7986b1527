"""A log of any size, as capture would have written it: the same columns filled, the same jobs, seq in the order of time.

A music catalogue grows for 36 months: two of three albums come by syncs that make many in one job, the others from users; a
check, an enrichment and a cache job follow, and again each month for those that people like; a weekly sync touches thousands
of albums in one job; attempts fail, administrators correct, albums are deleted with all that belongs to them. About ninety
rows and ten entities for each album. Everything follows from the seed; tests/test_generate.py holds it against real capture.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from llamalog_sql import migrate, watching
from llamalog_sql.connection import Connection

SCHEMA = Path(__file__).parents[1] / "llamalog_sql" / "demo" / "music_schema.sql"
TABLES = ["albums", "artists", "tracks", "album_artists", "track_artists"]

#: First day after the last change, and how many months lie before it.
END = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS = 36

#: Log rows that an album comes to in the end, all that belongs to it included.
ROWS_PER_ALBUM = 91

#: Album that was enriched without pause, and artist of every compilation.
BUSIEST = 1

_MODEL = """
CREATE SCHEMA bench;

CREATE FUNCTION bench.chance(n bigint, what bigint) RETURNS double precision LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (hashint8extended(n, what + {seed}) & 1048575) / 1048576.0;

CREATE FUNCTION bench.id(kind text, n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN md5(concat(kind, ' ', n, ' {seed}'))::uuid;

-- in the last days of a month nothing begins, so that what follows from it falls into the same month
CREATE FUNCTION bench.instant(month integer, n bigint, what bigint) RETURNS timestamptz LANGUAGE sql STABLE PARALLEL SAFE
RETURN timestamptz '{begin}' + make_interval(months => month) + bench.chance(n, what) * interval '27 days';

CREATE FUNCTION bench.words(n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN concat(
    (ARRAY['Silent', 'Golden', 'Broken', 'Electric', 'Distant', 'Hollow', 'Crimson', 'Paper'])[1 + n % 8], ' ',
    (ARRAY['River', 'Machine', 'Garden', 'Signal', 'Winter', 'Mirror', 'Harbour', 'Ghost'])[1 + n / 8 % 8], ' ', n
);

CREATE TABLE bench.album AS
SELECT
    n,
    bench.id('album', n) AS id,
    n % 3 > 0 AS is_synced,
    born,
    -- three of a hundred are deleted within a year
    CASE WHEN n > 1 AND bench.chance(n, 1) < 0.03 THEN born + interval '2 days' + bench.chance(n, 2) * interval '300 days' END
        AS dies,
    -- how likely it is enriched again in a month
    0.48 * bench.chance(n, 3) AS appeal,
    6 + (7 * bench.chance(n, 4))::integer AS tracks,
    CASE
        WHEN n % 3 > 0 THEN to_char(born AT TIME ZONE 'UTC', '"spotify-sync-"YYYY-MM-DD')
        ELSE 'add-album-' || n
    END AS job,
    CASE WHEN bench.chance(n, 5) < 0.02 THEN 1 ELSE (n + 1) / 2 END AS artist
FROM (
    SELECT n, bench.instant((bench.chance(n, 6) * {months})::integer % {months}, n, 7) AS born
    FROM generate_series(1, {albums}) AS n
) AS made;

ALTER TABLE bench.album ADD COLUMN brings_artist boolean;
UPDATE bench.album SET brings_artist = true
FROM (SELECT DISTINCT ON (artist) n FROM bench.album ORDER BY artist, born, n) AS first
WHERE first.n = album.n;
ANALYZE bench.album;
"""

_LIVE = [
    """
    INSERT INTO artists (id, name, formed_year, country_code, artist_type, genres, musicbrainz_id, source, created_at, updated_at)
    SELECT bench.id('artist', artist), CASE artist WHEN 1 THEN 'Various Artists' ELSE 'The ' || bench.words(artist) END,
        1950 + artist % 70, 'GB', 'Group', '{rock}', bench.id('mb artist', artist), 'SPOTIFY', born, born
    FROM bench.album
    WHERE brings_artist
    """,
    """
    INSERT INTO albums (id, title, release_date, release_type, track_count, label, genres, cover_art_url, metadata, source,
        data_quality, enrichment_status, musicbrainz_id, spotify_id, cloudflare_image_id, created_at, updated_at)
    SELECT id, bench.words(n), date '1960-01-01' + (n % 20000)::integer, 'album', tracks, 'Label ' || n % 500, '{rock,jazz}',
        'https://covers.example/' || id, jsonb_build_object('barcode', md5(n::text), 'formats', '["CD"]'::jsonb), 'SPOTIFY',
        'HIGH', 'COMPLETED', bench.id('mb', n), left(md5('s' || n), 22), 'cf-' || n, born, born
    FROM bench.album
    """,
    """
    INSERT INTO album_artists (album_id, artist_id, position)
    SELECT id, bench.id('artist', artist), 1
    FROM bench.album
    """,
    """
    INSERT INTO tracks (id, album_id, title, track_number, duration_ms, isrc, energy, valence, tempo, source, data_quality,
        spotify_id, created_at, updated_at)
    SELECT bench.id('track', n * 100 + t), id, 'Track ' || t || ' of ' || bench.words(n), t, 180000 + t, left(md5(n || 'i' || t), 12),
        0.5, 0.25, 120, 'SPOTIFY', 'MEDIUM', left(md5('t' || n || ' ' || t), 22), born, born
    FROM bench.album, generate_series(1, tracks) AS t
    """,
    """
    INSERT INTO track_artists (track_id, artist_id, position)
    SELECT bench.id('track', n * 100 + t), bench.id('artist', artist), 1
    FROM bench.album, generate_series(1, tracks) AS t
    """,
]

#: What happens in a month, before it becomes rows.
_EVENTS = """
CREATE TEMP TABLE born AS
SELECT * FROM bench.album WHERE born >= %(begin)s AND born < %(end)s;

-- a check, the enrichment that it orders, and what both follow from
CREATE TEMP TABLE enrichment AS
SELECT album.n, album.id, album.tracks, album.artist, true AS is_first, album.is_synced, born + interval '5 minutes' AS at,
    concat('album-', album.n) AS name,
    CASE WHEN is_synced THEN album.job || '/ALBUM:' || id ELSE album.job END AS cause,
    album.job AS root
FROM born AS album
UNION ALL
SELECT album.n, album.id, album.tracks, album.artist, false, album.is_synced, again.at,
    concat('album-', album.n, '-', %(month)s::integer, '-', round), cron.job, cron.job
FROM bench.album
CROSS JOIN generate_series(1, CASE WHEN album.n = 1 THEN 28 ELSE 1 END) AS round
CROSS JOIN LATERAL (SELECT bench.instant(%(month)s, album.n + 7777777 * round, 100 + %(month)s) AS at) AS again
CROSS JOIN LATERAL (SELECT to_char(again.at AT TIME ZONE 'UTC', '"cron-"YYYY-MM-DD') AS job) AS cron
WHERE (album.n = 1 OR bench.chance(album.n, 200 + %(month)s) < album.appeal)
    AND again.at > album.born + interval '1 day'
    AND (again.at < album.dies) IS NOT FALSE;

CREATE TEMP TABLE pending (LIKE llamalog.llama_logs INCLUDING DEFAULTS);
ALTER TABLE pending ALTER id DROP NOT NULL, ALTER txid DROP NOT NULL, ALTER txid DROP DEFAULT;
ANALYZE born;
ANALYZE enrichment;
"""

_ALBUM_FIELDS = "'{id,title,release_date,release_type,track_count,created_at,data_quality,enrichment_status,source,game_status}'"
_TRACK_FIELDS = "'{id,album_id,title,track_number,disc_number,duration_ms,created_at,source,data_quality,enrichment_status}'"
_ARTIST_FIELDS = "'{id,name,formed_year,country_code,created_at,data_quality,enrichment_status,artist_type,genres,source}'"
_LINK_FIELDS = "'{album_id,artist_id,role,position}'"

#: The rows of a month, each statement those of one kind, with the columns that capture fills for it.
_ROWS = [
    # an album by a sync: one job for many, and below it one for each
    f"""
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_after, job_id, parent_job_id, root_job_id, is_root_job)
    SELECT born, born, 'I', 'ALBUM', id, 'album:created:spotify_sync', 'CREATED', 'spotify_sync', '{{SPOTIFY}}',
        {_ALBUM_FIELDS}, 'LOW', job || '/ALBUM:' || id, job, job, true
    FROM born WHERE is_synced
    """,
    f"""
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_after, job_id, root_job_id, is_root_job, user_id)
    SELECT born, born, 'I', 'ALBUM', id, 'album:created:addAlbum', 'CREATED', 'addAlbum', '{{MUSICBRAINZ}}',
        {_ALBUM_FIELDS}, 'LOW', job, job, true, 'user-' || n %% 997
    FROM born WHERE NOT is_synced
    """,
    f"""
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_after, parent_job_id, root_job_id, user_id)
    SELECT born, born + interval '1 ms', 'I', 'ARTIST', bench.id('artist', artist), 'artist:created:' || path.source, 'CREATED',
        path.source, '{{SPOTIFY}}', {_ARTIST_FIELDS}, 'LOW', job, job, CASE WHEN NOT is_synced THEN 'user-' || n %% 997 END
    FROM born, LATERAL (SELECT CASE WHEN is_synced THEN 'spotify_sync' ELSE 'addAlbum' END AS source) AS path
    WHERE brings_artist
    """,
    f"""
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, link_type, operation,
        category, source, fields_enriched, after, parent_job_id, root_job_id, user_id)
    SELECT born, born + interval '2 ms', 'I', 'ALBUM', id, 'ARTIST', bench.id('artist', artist), 'ALBUM_ARTIST',
        'album_artist:linked:' || path.source, 'LINKED', path.source, {_LINK_FIELDS},
        jsonb_build_object('album_id', id, 'artist_id', bench.id('artist', artist), 'role', 'primary', 'position', 1),
        CASE WHEN is_synced THEN job || '/ALBUM:' || id ELSE job END, job, CASE WHEN NOT is_synced THEN 'user-' || n %% 997 END
    FROM born, LATERAL (SELECT CASE WHEN is_synced THEN 'spotify_sync' ELSE 'addAlbum' END AS source) AS path
    """,
    # its tracks and who plays on them: by the sync, or by the first enrichment
    f"""
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, operation, category,
        source, sources, fields_enriched, data_quality_after, parent_job_id, root_job_id)
    SELECT made.at, made.at + (2 + t) * interval '1 ms', 'I', 'TRACK', bench.id('track', n * 100 + t), 'ALBUM', id,
        'track:created:' || made.source, 'CREATED', made.source, '{{SPOTIFY}}', {_TRACK_FIELDS}, 'LOW', made.parent, root
    FROM enrichment
    CROSS JOIN generate_series(1, tracks) AS t
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN is_synced THEN 'spotify_sync' ELSE 'enrichment' END AS source,
            CASE WHEN is_synced THEN cause ELSE 'enrich-' || name END AS parent,
            CASE WHEN is_synced THEN at - interval '5 minutes' ELSE at END AS at
    ) AS made
    WHERE is_first
    """,
    f"""
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, link_type, operation,
        category, source, fields_enriched, after, parent_job_id, root_job_id)
    SELECT made.at, made.at + (30 + t) * interval '1 ms', 'I', 'TRACK', bench.id('track', n * 100 + t), 'ARTIST',
        bench.id('artist', artist), 'TRACK_ARTIST', 'track_artist:linked:' || made.source, 'LINKED', made.source,
        {_LINK_FIELDS.replace("album", "track")},
        jsonb_build_object('track_id', bench.id('track', n * 100 + t), 'artist_id', bench.id('artist', artist), 'role', 'primary',
            'position', 1),
        made.parent, root
    FROM enrichment
    CROSS JOIN generate_series(1, tracks) AS t
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN is_synced THEN 'spotify_sync' ELSE 'enrichment' END AS source,
            CASE WHEN is_synced THEN root ELSE 'enrich-' || name END AS parent,
            CASE WHEN is_synced THEN at - interval '5 minutes' ELSE at END AS at
    ) AS made
    WHERE is_first
    """,
    # an enrichment: the album, and its tracks but for the busiest album
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_before, data_quality_after, before, after, job_id, parent_job_id, root_job_id)
    SELECT at, at + interval '60 ms', 'U', 'ALBUM', id, 'album:enriched:enrichment', 'ENRICHED', 'enrichment',
        '{MUSICBRAINZ,DISCOGS}', '{label,genres,metadata,data_quality}', 'LOW', 'HIGH',
        jsonb_build_object('label', 'Label ' || n %% 77, 'genres', '["rock"]'::jsonb, 'metadata', NULL, 'data_quality', 'LOW'),
        jsonb_build_object('label', 'Label ' || n %% 500, 'genres', '["rock", "jazz"]'::jsonb, 'metadata',
            jsonb_build_object('barcode', md5(name), 'formats', '["CD"]'::jsonb), 'data_quality', 'HIGH'),
        'enrich-' || name, 'check-' || name, root
    FROM enrichment
    """,
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, operation, category,
        source, sources, fields_enriched, data_quality_before, data_quality_after, before, after,
        job_id, parent_job_id, root_job_id)
    SELECT at, at + (60 + t) * interval '1 ms', 'U', 'TRACK', bench.id('track', n * 100 + t), 'ALBUM', id,
        'track:enriched:enrichment', 'ENRICHED', 'enrichment', '{MUSICBRAINZ,DISCOGS}', '{energy,valence,tempo}', 'LOW', 'LOW',
        jsonb_build_object('energy', NULL, 'valence', NULL, 'tempo', NULL),
        jsonb_build_object('energy', t * 0.07, 'valence', 0.25, 'tempo', 100 + t),
        'enrich-' || name, 'check-' || name, root
    FROM enrichment
    CROSS JOIN generate_series(1, tracks) AS t
    WHERE n > 1 AND (NOT is_first OR is_synced)
    """,
    # what an enrichment sets off, when it is the first: the cover is cached
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_before, data_quality_after, before, after, job_id, parent_job_id, root_job_id)
    SELECT at + interval '1 minute', at + interval '1 minute', 'U', 'ALBUM', id, 'cache:album-cover-art', 'CACHED', 'cache',
        '{SPOTIFY}', '{cloudflare_image_id}', 'HIGH', 'HIGH', '{"cloudflare_image_id": null}',
        jsonb_build_object('cloudflare_image_id', 'cf-' || n), 'cache-' || name, 'enrich-' || name, root
    FROM enrichment WHERE is_first
    """,
    # attempts that failed, and attempts that found nothing, as the application writes them
    """
    INSERT INTO pending (transaction_at, created_at, entity_type, entity_id, operation, category, status, source,
        error_message, error_code, retry_count, job_id, parent_job_id, root_job_id)
    SELECT at, at + interval '90 ms', 'ALBUM', id, 'album:failed:enrichment', 'FAILED', 'FAILED', 'enrichment',
        'value too long for type character varying(50)', '22001', 1, 'retry-' || name, 'check-' || name, root
    FROM enrichment WHERE bench.chance(n, 300 + %(month)s) < 0.15
    """,
    """
    INSERT INTO pending (transaction_at, created_at, entity_type, entity_id, operation, category, status, sources, reason,
        api_call_count, duration_ms, job_id, parent_job_id, root_job_id, metadata)
    SELECT at, at + interval '95 ms', 'ALBUM', id, 'enrichment:album', 'ENRICHED', 'NO_DATA_AVAILABLE', '{DISCOGS}',
        'no match above the threshold', 3, 812, 'enrich-' || name, 'check-' || name, root, '{"candidates": 4, "best": 0.61}'
    FROM enrichment WHERE bench.chance(n, 400 + %(month)s) < 0.15
    """,
    # one job for thousands of albums and their first artists
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_before, data_quality_after, before, after, job_id, root_job_id)
    SELECT sync.at, sync.at + album.n %% 100000 * interval '10 us', 'U', 'ALBUM', id, 'album:enriched:similar_artists_sync',
        'ENRICHED', 'similar_artists_sync', '{LISTENBRAINZ}', '{metadata}', 'HIGH', 'HIGH',
        jsonb_build_object('metadata', jsonb_build_object('listeners', n %% 1000)),
        jsonb_build_object('metadata', jsonb_build_object('listeners', n %% 1000 + week)),
        sync.job, sync.job
    FROM bench.album
    CROSS JOIN generate_series(0, 3) AS week
    CROSS JOIN LATERAL (
        SELECT %(begin)s::timestamptz + (1 + 7 * week) * interval '1 day' AS at, concat('similar-', %(month)s::integer, '-', week) AS job
    ) AS sync
    WHERE bench.chance(n, 500 + 4 * %(month)s + week) < 0.1
        AND sync.at > album.born + interval '1 day'
        AND (sync.at < album.dies) IS NOT FALSE
    """,
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_before, data_quality_after, before, after, job_id, root_job_id)
    SELECT sync.at, sync.at + interval '2 s' + album.n %% 100000 * interval '10 us', 'U', 'ARTIST', bench.id('artist', artist),
        'artist:enriched:similar_artists_sync', 'ENRICHED', 'similar_artists_sync', '{LISTENBRAINZ}', '{area}', 'LOW', 'LOW',
        '{"area": null}', jsonb_build_object('area', 'Area ' || week), sync.job, sync.job
    FROM bench.album
    CROSS JOIN generate_series(0, 3) AS week
    CROSS JOIN LATERAL (
        SELECT %(begin)s::timestamptz + (1 + 7 * week) * interval '1 day' AS at, concat('similar-', %(month)s::integer, '-', week) AS job
    ) AS sync
    WHERE brings_artist
        AND bench.chance(n, 700 + 4 * %(month)s + week) < 0.1
        AND sync.at > album.born + interval '1 day'
    """,
    # people: a correction, the game, somebody with a database shell who says nothing
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources, reason,
        fields_enriched, data_quality_before, data_quality_after, before, after, job_id, root_job_id, triggered_by, user_id)
    SELECT done.at, done.at, 'U', 'ALBUM', id, 'album:corrected:admin_correction', 'CORRECTED', 'admin_correction', '{SPOTIFY}',
        'typing error', '{title}', 'HIGH', 'HIGH', jsonb_build_object('title', lower(bench.words(n))),
        jsonb_build_object('title', bench.words(n)), concat('correct-', n, '-', %(month)s::integer),
        concat('correct-', n, '-', %(month)s::integer), 'admin_ui', 'admin-' || n %% 7
    FROM bench.album
    CROSS JOIN LATERAL (SELECT bench.instant(%(month)s, n, 900) AS at) AS done
    WHERE bench.chance(n, 1000 + %(month)s) < 0.02 AND done.at > born + interval '1 day' AND (done.at < dies) IS NOT FALSE
    """,
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources,
        fields_enriched, data_quality_before, data_quality_after, before, after, job_id, root_job_id, user_id)
    SELECT done.at, done.at, 'U', 'ALBUM', id, 'game-pool:added', 'USER_ACTION', 'game_pool', '{SPOTIFY}', '{game_status}', 'HIGH',
        'HIGH', '{"game_status": "NONE"}', '{"game_status": "ELIGIBLE"}', concat('game-', n, '-', %(month)s::integer),
        concat('game-', n, '-', %(month)s::integer), 'user-' || n %% 997
    FROM bench.album
    CROSS JOIN LATERAL (SELECT bench.instant(%(month)s, n, 901) AS at) AS done
    WHERE bench.chance(n, 1100 + %(month)s) < 0.03 AND done.at > born + interval '1 day' AND (done.at < dies) IS NOT FALSE
    """,
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, operation, category,
        sources, fields_enriched, data_quality_before, data_quality_after, before, after, job_id, root_job_id, triggered_by)
    SELECT done.at, done.at, 'U', 'TRACK', bench.id('track', n * 100 + 1), 'ALBUM', id, 'track:updated', 'UPDATED', '{SPOTIFY}',
        '{duration_ms}', 'LOW', 'LOW', '{"duration_ms": 180001}', '{"duration_ms": 180002}', done.job, done.job, 'psql'
    FROM bench.album
    CROSS JOIN LATERAL (SELECT bench.instant(%(month)s, n, 902) AS instant) AS chosen
    CROSS JOIN LATERAL (
        SELECT chosen.instant AS at, to_char(chosen.instant AT TIME ZONE 'UTC', '"tx:"') || n
            || to_char(chosen.instant AT TIME ZONE 'UTC', '"@"YYYYMMDD"T"HH24MISS.US') AS job
    ) AS done
    WHERE bench.chance(n, 1200 + %(month)s) < 0.05 AND done.at > born + interval '1 day' AND (done.at < dies) IS NOT FALSE
    """,
    # a deletion: the album, then what the foreign keys take with it
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, operation, category, source, sources, reason,
        data_quality_before, before, job_id, root_job_id, user_id)
    SELECT dies, dies, 'D', 'ALBUM', id, 'album:deleted:admin_correction', 'DELETED', 'admin_correction', '{SPOTIFY}', 'added twice',
        'HIGH', (SELECT to_jsonb(live) FROM albums AS live WHERE live.id = album.id), 'delete-' || n, 'delete-' || n, 'admin-' || n %% 7
    FROM bench.album WHERE dies >= %(begin)s AND dies < %(end)s
    """,
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, operation, category,
        source, sources, reason, data_quality_before, before, job_id, root_job_id, user_id)
    SELECT dies, dies + (2 * t) * interval '1 ms', 'D', 'TRACK', live.id, 'ALBUM', album.id, 'track:deleted:admin_correction',
        'DELETED', 'admin_correction', '{SPOTIFY}', 'added twice', 'MEDIUM', to_jsonb(live), 'delete-' || n, 'delete-' || n,
        'admin-' || n %% 7
    FROM bench.album
    CROSS JOIN generate_series(1, album.tracks) AS t
    JOIN tracks AS live ON live.id = bench.id('track', n * 100 + t)
    WHERE dies >= %(begin)s AND dies < %(end)s
    """,
    """
    INSERT INTO pending (transaction_at, created_at, op, entity_type, entity_id, related_type, related_id, link_type, operation,
        category, source, reason, before, job_id, root_job_id, user_id)
    SELECT dies, dies + (2 * t + 1) * interval '1 ms', 'D', CASE WHEN t = 0 THEN 'ALBUM' ELSE 'TRACK' END, gone.id, 'ARTIST',
        bench.id('artist', artist), gone.type, lower(gone.type) || ':unlinked:admin_correction', 'UNLINKED', 'admin_correction',
        'added twice', jsonb_build_object(CASE WHEN t = 0 THEN 'album_id' ELSE 'track_id' END, gone.id, 'artist_id',
            bench.id('artist', artist), 'role', 'primary', 'position', 1), 'delete-' || n, 'delete-' || n, 'admin-' || n %% 7
    FROM bench.album
    CROSS JOIN generate_series(0, album.tracks) AS t
    CROSS JOIN LATERAL (
        SELECT
            CASE WHEN t = 0 THEN album.id ELSE bench.id('track', n * 100 + t) END AS id,
            CASE WHEN t = 0 THEN 'ALBUM_ARTIST' ELSE 'TRACK_ARTIST' END AS type
    ) AS gone
    WHERE dies >= %(begin)s AND dies < %(end)s
    """,
]

#: The jobs that said so: those that wrote, the checks that wrote nothing, the nightly one above them.
_JOBS = """
INSERT INTO llamalog.jobs (id, job_id, parent_job_id, root_job_id, source, user_id, triggered_by, recorded_at)
OVERRIDING SYSTEM VALUE
SELECT %(first_job)s::bigint + row_number() OVER (ORDER BY said.at, said.job_id), said.*
FROM (
    SELECT DISTINCT ON (job) job AS job_id, NULL AS parent, job AS root,
        CASE WHEN is_synced THEN 'spotify_sync' ELSE 'addAlbum' END AS source,
        CASE WHEN NOT is_synced THEN 'user-' || n %% 997 END AS user_id, NULL AS triggered_by, born AS at
    FROM born
    UNION ALL
    SELECT DISTINCT root, NULL, root, 'nightly', NULL, 'scheduler', date_trunc('day', at, 'UTC') FROM enrichment WHERE NOT is_first
    UNION ALL
    SELECT 'check-' || name, cause, root, 'enrichment_check', NULL, NULL, at - interval '1 second' FROM enrichment
    UNION ALL
    SELECT 'enrich-' || name, 'check-' || name, root, 'enrichment', NULL, NULL, at FROM enrichment
    UNION ALL
    SELECT 'cache-' || name, 'enrich-' || name, root, 'cache', NULL, NULL, at + interval '1 minute' FROM enrichment WHERE is_first
    UNION ALL
    SELECT DISTINCT ON (job_id) job_id, NULL, root_job_id, source, user_id, triggered_by, transaction_at
    FROM pending
    WHERE op IN ('U', 'D') AND parent_job_id IS NULL AND source IS NOT NULL
) AS said (job_id, parent, root, source, user_id, triggered_by, at)
"""


#: What the deletions left behind goes from the live tables too.
_GONE = [
    "DELETE FROM track_artists USING tracks, bench.album WHERE dies < %s AND tracks.album_id = album.id AND track_id = tracks.id",
    "DELETE FROM tracks USING bench.album WHERE dies < %s AND album_id = album.id",
    "DELETE FROM album_artists USING bench.album WHERE dies < %s AND album_id = album.id",
    "DELETE FROM albums USING bench.album WHERE dies < %s AND albums.id = album.id",
]


@dataclass(frozen=True)
class Made:
    """How many rows the log has, how many entities they are about, and how many jobs were recorded."""

    rows: int
    entities: int
    jobs: int


def generate(dsn: str, rows: int, *, seed: int = 1, workers: int = 2) -> Made:
    """Fill an empty database: the music schema, watched; about `rows` rows of log, a partition for each month; what lives of it.

    The schema `bench` stays, with the albums of the model. The caller is a superuser.
    """
    model = _MODEL.format(
        seed=1_000_000 * seed,
        begin=month_begin(0).isoformat(),
        months=MONTHS,
        albums=max(rows // ROWS_PER_ALBUM, 10),
    )
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute(SCHEMA.read_bytes())
        migrate.migrate(conn)
        watching.watch(conn, TABLES)
        # or as-of would say, rightly, that it knows nothing of the months before
        conn.execute("UPDATE llamalog.watches SET watched_at = %s", [month_begin(0)])
        conn.execute(model.encode())
    with ThreadPoolExecutor(workers) as pool:
        # the long ones first
        list(pool.map(lambda statement: _silently(dsn, statement), reversed(_LIVE)))
        # what numbers a month leaves over are gaps, as sequences leave them
        room = rows // 10 + 10_000
        list(pool.map(lambda month: _fill(dsn, month, room), reversed(range(MONTHS))))
    for statement in _GONE:
        _silently(dsn, statement, [END])
    with psycopg.connect(dsn, autocommit=True) as conn:
        for month in range(MONTHS):
            attach(conn, partition(month), month_begin(month), month_begin(month + 1))
        for table in ("llamalog.llama_logs", "llamalog.jobs"):
            conn.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))".encode()
            )
        conn.execute("VACUUM (ANALYZE, FREEZE)")
        made = conn.execute(
            "SELECT (SELECT count(*) FROM llamalog.llama_logs),"
            " (SELECT sum(1 + tracks + coalesce(brings_artist, false)::integer) FROM bench.album),"
            " (SELECT count(*) FROM llamalog.jobs)"
        ).fetchone()
    assert made is not None
    return Made(*map(int, made))


def in_one_partition(conn: Connection) -> None:
    """Put the months of a generated log into one partition: the same rows, in the same order."""
    make(conn, "llamalog.llama_logs_all")
    for month in range(MONTHS):
        name = partition(month)
        conn.execute(f"ALTER TABLE llamalog.llama_logs DETACH PARTITION {name}".encode())
        conn.execute(f"INSERT INTO llamalog.llama_logs_all SELECT * FROM {name}".encode())
        conn.execute(f"DROP TABLE {name}".encode())
    attach(conn, "llamalog.llama_logs_all", month_begin(0), month_begin(MONTHS))
    conn.execute("VACUUM (ANALYZE, FREEZE) llamalog.llama_logs")


def month_begin(month: int) -> datetime:
    """Return the first instant of a month, counted from 0."""
    months = END.year * 12 + END.month - 1 - MONTHS + month
    return datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def partition(month: int) -> str:
    return f"llamalog.llama_logs_{month_begin(month):%Y_%m}"


def make(conn: Connection, name: str) -> None:
    """Make a partition, not attached, as llamalog.maintain() does, but for the indexes."""
    conn.execute(
        f"CREATE TABLE {name} (LIKE llamalog.llama_logs INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES)".encode()
    )


def attach(conn: Connection, name: str, begin: datetime, end: datetime) -> None:
    """Attach a filled partition: PostgreSQL builds the indexes that the log has, no others."""
    conn.execute(
        f"ALTER TABLE {name} ADD CONSTRAINT created_in_month CHECK (created_at >= '{begin}' AND created_at < '{end}')".encode()
    )
    conn.execute(
        f"ALTER TABLE llamalog.llama_logs ATTACH PARTITION {name} FOR VALUES FROM ('{begin}') TO ('{end}')".encode()
    )
    conn.execute(f"ALTER TABLE {name} DROP CONSTRAINT created_in_month".encode())


def _silently(dsn: str, statement: str, parameters: list[Any] | None = None) -> None:
    """Execute a statement that nothing captures and no foreign key checks."""
    with psycopg.connect(dsn, options="-c session_replication_role=replica") as conn:
        conn.execute(statement.encode(), parameters)


def _fill(dsn: str, month: int, room: int) -> None:
    """Write the rows and the jobs of one month, with numbers of its own."""
    first = month * room
    known = {"month": month, "begin": month_begin(month), "end": month_begin(month + 1)}
    with psycopg.connect(
        dsn, options="-c timezone=UTC -c work_mem=256MB -c temp_buffers=512MB"
    ) as conn:
        with psycopg.ClientCursor(conn) as cursor:
            cursor.execute(_EVENTS.encode(), known)
            for statement in _ROWS:
                cursor.execute(statement.encode(), known)
            cursor.execute(_JOBS.encode(), known | {"first_job": first})
        make(conn, partition(month))
        columns = [
            name
            for (name,) in conn.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'llamalog.llama_logs'::regclass AND attnum > 0"
                " AND NOT attisdropped AND attname NOT IN ('id', 'txid') ORDER BY attnum"
            ).fetchall()
        ]
        named = ", ".join(columns)
        written = conn.execute(
            f"INSERT INTO {partition(month)} (id, {named})"
            f" SELECT {first} + row_number() OVER (ORDER BY created_at, entity_id, op), {named} FROM pending"
            " ORDER BY created_at, entity_id, op".encode()
        ).rowcount
        assert written < room, "more rows in a month than it has numbers"
