"""The log that the music application kept before: its table in both states, and rows as they were spread in it."""

from __future__ import annotations

from typing import Any

import psycopg

_TABLE = """
INSERT INTO "User" VALUES ('cuid-ann', 'USER'), ('cuid-mia', 'ADMIN');
CREATE TABLE public.enrichment_logs (
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    entity_type "EnrichmentEntityType",
    entity_id uuid,
    artist_id uuid,
    album_id uuid,
    track_id uuid,
    operation varchar(100) NOT NULL,
    sources text[],
    status "EnrichmentStatus" NOT NULL,
    reason text,
    fields_enriched text[],
    data_quality_before "DataQuality",
    data_quality_after "DataQuality",
    error_message text,
    error_code varchar(50),
    retry_count integer NOT NULL DEFAULT 0,
    duration_ms integer,
    api_call_count integer NOT NULL DEFAULT 0,
    metadata jsonb,
    preview_data jsonb,
    job_id varchar(100),
    parent_job_id varchar(100),
    is_root_job boolean NOT NULL DEFAULT false,
    triggered_by varchar(50),
    user_id text,
    created_at timestamp(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT enrichment_logs_pkey PRIMARY KEY (id),
    CONSTRAINT enrichment_logs_artist_id_fkey FOREIGN KEY (artist_id) REFERENCES artists ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT enrichment_logs_album_id_fkey FOREIGN KEY (album_id) REFERENCES albums ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT enrichment_logs_track_id_fkey FOREIGN KEY (track_id) REFERENCES tracks ON UPDATE CASCADE ON DELETE CASCADE,
    CONSTRAINT enrichment_logs_user_id_fkey FOREIGN KEY (user_id) REFERENCES "User" ON UPDATE CASCADE ON DELETE SET NULL
);
CREATE INDEX enrichment_logs_entity_type_entity_id_idx ON public.enrichment_logs (entity_type, entity_id);
CREATE INDEX enrichment_logs_artist_id_created_at_idx ON public.enrichment_logs (artist_id, created_at DESC);
CREATE INDEX enrichment_logs_album_id_created_at_idx ON public.enrichment_logs (album_id, created_at DESC);
CREATE INDEX enrichment_logs_track_id_created_at_idx ON public.enrichment_logs (track_id, created_at DESC);
CREATE INDEX enrichment_logs_status_created_at_idx ON public.enrichment_logs (status, created_at DESC);
CREATE INDEX enrichment_logs_operation_idx ON public.enrichment_logs (operation);
CREATE INDEX enrichment_logs_sources_idx ON public.enrichment_logs (sources);
CREATE INDEX enrichment_logs_user_id_idx ON public.enrichment_logs (user_id);
CREATE INDEX enrichment_logs_parent_job_id_idx ON public.enrichment_logs (parent_job_id);
CREATE INDEX enrichment_logs_is_root_job_created_at_idx ON public.enrichment_logs (is_root_job, created_at);
"""

#: What the application's own migration had added: the second state.
_LATER = """
CREATE TYPE "LlamaLogCategory" AS ENUM ('CREATED', 'ENRICHED', 'CORRECTED', 'CACHED', 'FAILED', 'LINKED', 'USER_ACTION');
ALTER TABLE public.enrichment_logs ADD COLUMN category "LlamaLogCategory", ADD COLUMN root_job_id varchar(100);
UPDATE public.enrichment_logs SET
    category = CASE
        WHEN operation ~ 'created|CREATE|added|correction|failed' THEN 'CREATED'
        WHEN operation ~ 'cache' THEN 'CACHED'
        ELSE 'ENRICHED'
    END::"LlamaLogCategory",
    root_job_id = coalesce(parent_job_id, job_id);
ALTER TABLE public.enrichment_logs ALTER COLUMN category SET NOT NULL;
CREATE INDEX enrichment_logs_category_idx ON public.enrichment_logs (category);
CREATE INDEX enrichment_logs_root_job_id_idx ON public.enrichment_logs (root_job_id);
"""

#: Album n: created by its own job, its check, its enrichment with tracks, now and then a failure or a correction.
_ROWS = """
INSERT INTO albums (id, title, updated_at)
SELECT md5('album' || n)::uuid, 'Album ' || n, '2025-01-01' FROM generate_series(1, %(albums)s) AS n;
INSERT INTO tracks (id, album_id, title, track_number, updated_at)
SELECT md5('track' || n || '.' || t)::uuid, md5('album' || n)::uuid, 'Track ' || t, t, '2025-01-01'
FROM generate_series(1, %(albums)s) AS n, generate_series(1, 10) AS t;
INSERT INTO public.enrichment_logs (
    id, entity_type, entity_id, album_id, track_id, operation, sources, status, error_code, fields_enriched, job_id,
    parent_job_id, is_root_job, triggered_by, user_id, created_at, reason, metadata, api_call_count, duration_ms
)
SELECT
    md5('row' || n || '.' || k)::uuid,
    (CASE WHEN k >= 4 THEN 'TRACK' ELSE 'ALBUM' END)::"EnrichmentEntityType",
    CASE WHEN k >= 4 THEN md5('track' || n || '.' || k - 3)::uuid ELSE md5('album' || n)::uuid END,
    md5('album' || n)::uuid,
    CASE WHEN k >= 4 THEN md5('track' || n || '.' || k - 3)::uuid END,
    (ARRAY['album:created:spotify-sync', 'check:album-enrichment', 'enrichment:album'])[k],
    CASE WHEN k >= 3 THEN ARRAY['MUSICBRAINZ'] ELSE ARRAY['SPOTIFY'] END,
    (CASE WHEN k = 3 AND n %% 20 = 0 THEN 'FAILED' ELSE 'SUCCESS' END)::"EnrichmentStatus",
    CASE WHEN k = 3 AND n %% 20 = 0 THEN 'TIMEOUT' END,
    CASE WHEN k = 3 THEN ARRAY['label', 'track_count'] END,
    CASE k WHEN 1 THEN 'create-' || n WHEN 2 THEN 'check-' || n WHEN 3 THEN 'enrich-' || n END,
    CASE k WHEN 1 THEN 'sync-' || n / 50 WHEN 2 THEN 'create-' || n WHEN 3 THEN 'check-' || n ELSE 'enrich-' || n END,
    k = 1,
    'spotify',
    CASE WHEN n %% 7 = 0 THEN 'cuid-ann' END,
    timestamp '2025-03-01' + n * interval '1 minute' + k * interval '100 ms',
    'album found by its title and artist, score ' || n %% 100,
    jsonb_build_object('query', 'Album ' || n, 'score', n %% 100, 'matched', jsonb_build_array('title', 'artist'),
        'spotify', md5('spotify' || n), 'musicbrainz', md5('mb' || n)::uuid),
    k,
    100 * k
FROM generate_series(1, %(albums)s) AS n
CROSS JOIN generate_series(1, 3) AS k;
INSERT INTO public.enrichment_logs (
    id, entity_type, entity_id, track_id, operation, sources, status, parent_job_id, created_at, fields_enriched,
    data_quality_after, triggered_by, metadata
)
SELECT
    md5('row' || n || '.' || t + 3)::uuid, 'TRACK', md5('track' || n || '.' || t)::uuid, md5('track' || n || '.' || t)::uuid,
    'track:created:enrichment', '{MUSICBRAINZ}', 'SUCCESS', 'enrich-' || n,
    timestamp '2025-03-01' + n * interval '1 minute' + (t + 3) * interval '100 ms',
    '{title,track_number,disc_number,duration_ms,musicbrainz_id,isrc}', 'MEDIUM', 'enrichment',
    jsonb_build_object('title', 'Track ' || t, 'position', t, 'recording', md5('mb' || n || '.' || t)::uuid,
        'isrc', left(md5('isrc' || n || '.' || t), 12), 'source', 'musicbrainz')
FROM generate_series(1, %(albums)s) AS n
CROSS JOIN generate_series(1, 10) AS t;
"""


def make(conn: psycopg.Connection[Any], *, albums: int = 20, later: bool = False) -> None:
    """Make the legacy log in a music database, 13 rows an album.  later: in its second state."""
    conn.execute(_TABLE.encode())
    with psycopg.ClientCursor(conn) as cursor:
        cursor.execute(_ROWS, {"albums": albums})
    if later:
        conn.execute(_LATER.encode())
    conn.execute("ANALYZE")
