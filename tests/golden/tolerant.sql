-- public.artists as ARTIST: entity; key id; label name; quality data_quality; source source; ignores search_vector, updated_at; tolerant capture
WITH ended AS (
    UPDATE llamalog.pauses AS pause SET resumed_at = watch.unwatched_at
    FROM llamalog.watches AS watch
    WHERE pause.entity_type = 'ARTIST' AND pause.resumed_at IS NULL
        AND watch.entity_type = pause.entity_type AND watch.unwatched_at IS NOT NULL
)
INSERT INTO llamalog.watches ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered")
VALUES ('ARTIST', 'public', 'artists', false, '{id}', '{uuid}', 'name', 'ARTIST', '{id}', NULL, NULL, 'data_quality', 'source', '{search_vector,updated_at}', '{}', 'none', 'log', 'tolerant', '{"capture": "tolerant"}', 'de512110d7f479f1e1c3146dfd5f172b', '{"id": 1, "musicbrainz_id": 2, "name": 3, "biography": 4, "formed_year": 5, "country_code": 6, "image_url": 7, "search_vector": 8, "created_at": 9, "updated_at": 10, "data_quality": 11, "enrichment_status": 12, "last_enriched": 13, "spotify_id": 14, "artist_type": 15, "genres": 16, "area": 17, "discogs_id": 18, "source": 19, "source_url": 20, "submitted_by": 21, "cloudflare_image_id": 22, "deezer_id": 23}', '042b497de96383c46be2d34ed467a978')
ON CONFLICT (entity_type) DO UPDATE SET
    ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered") = ROW(excluded."entity_type", excluded."schema_name", excluded."table_name", excluded."is_link", excluded."key_columns", excluded."key_types", excluded."label_column", excluded."subject_type", excluded."subject_columns", excluded."related_type", excluded."related_columns", excluded."quality_column", excluded."source_column", excluded."ignored_columns", excluded."redacted_columns", excluded."image", excluded."on_truncate", excluded."capture", excluded."options", excluded."fingerprint", excluded."column_numbers", excluded."rendered"),
    watched_at = CASE
        WHEN watches.unwatched_at IS NULL AND watches.key_columns = excluded.key_columns THEN watches.watched_at
        ELSE clock_timestamp()
    END,
    unwatched_at = NULL,
    is_lost = false;
SET ROLE "llamalog_owner";
-- Reads the row of public.artists that has a key, for llamalog.as_of() and its kin. Rendered by llamalog watch; change the watch,
-- not this.
-- With the rights of the caller, who may not see every row.
CREATE OR REPLACE FUNCTION llamalog."read_artist"(
    entity_id      text,
    shape          text,
    OUT is_current boolean,
    OUT image      jsonb
)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    is_current := shape = '7ffeef01c928c1cac09cadbe216eff53';
    IF is_current THEN
        image := (SELECT jsonb_build_object('id', live.id, 'musicbrainz_id', live.musicbrainz_id, 'name', live.name, 'biography', live.biography, 'formed_year', live.formed_year, 'country_code', live.country_code, 'image_url', live.image_url, 'created_at', live.created_at, 'data_quality', CASE WHEN live.data_quality IS NOT NULL THEN concat(live.data_quality) END, 'enrichment_status', CASE WHEN live.enrichment_status IS NOT NULL THEN concat(live.enrichment_status) END, 'last_enriched', live.last_enriched, 'spotify_id', live.spotify_id, 'artist_type', live.artist_type, 'genres', CASE WHEN cardinality(live.genres) = 0 OR array_ndims(live.genres) = 1 AND array_lower(live.genres, 1) = 1 THEN to_jsonb(live.genres) ELSE to_jsonb(live.genres::text) END, 'area', live.area, 'discogs_id', live.discogs_id, 'source', CASE WHEN live.source IS NOT NULL THEN concat(live.source) END, 'source_url', live.source_url, 'submitted_by', live.submitted_by, 'cloudflare_image_id', live.cloudflare_image_id, 'deezer_id', live.deezer_id) FROM public.artists AS live WHERE live.id = $1::uuid AND live.id::text = $1);
    END IF;
END;
$function$;
COMMENT ON FUNCTION llamalog."read_artist"(text, text) IS 'Reads a row of public.artists; rendered by llamalog watch.';
-- Reads the labels of living rows of public.artists, for llamalog.labels(). Rendered by llamalog watch; change the watch, not this.
-- With the rights of the caller, who may not see every row.
CREATE OR REPLACE FUNCTION llamalog."labels_artist"(
    entity_ids     text[],
    shape          text,
    OUT is_current boolean,
    OUT ids        text[],
    OUT labels     text[]
)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    is_current := shape = '0399717d4d97df6cd755f2d11e892f1e';
    IF is_current THEN
        SELECT found.*
        INTO ids, labels
        FROM (SELECT array_agg(wanted.id) AS ids, array_agg(llamalog.short_label(live.name::text)) AS labels FROM unnest($1) AS wanted (id) JOIN public.artists AS live ON live.id = wanted.id::uuid) AS found;
    END IF;
END;
$function$;
COMMENT ON FUNCTION llamalog."labels_artist"(text[], text) IS 'Reads labels of rows of public.artists; rendered by llamalog watch.';
RESET ROLE;
SELECT llamalog.hang_tolerant_capture(member.oid, 'ARTIST')
FROM llamalog.family('"public"."artists"'::regclass) AS member (oid)
WHERE member.oid = '"public"."artists"'::regclass OR NOT llamalog.is_partitioned(member.oid);
SELECT llamalog.hang_truncate_capture(member.oid, 'ARTIST')
FROM llamalog.family('"public"."artists"'::regclass) AS member (oid);
SELECT llamalog.fit_pause('ARTIST');
