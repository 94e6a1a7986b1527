-- public.albums as ALBUM: entity; key id; label title; quality data_quality; source source; ignores search_vector, updated_at
WITH ended AS (
    UPDATE llamalog.pauses AS pause SET resumed_at = watch.unwatched_at
    FROM llamalog.watches AS watch
    WHERE pause.entity_type = 'ALBUM' AND pause.resumed_at IS NULL
        AND watch.entity_type = pause.entity_type AND watch.unwatched_at IS NOT NULL
)
INSERT INTO llamalog.watches ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered")
VALUES ('ALBUM', 'public', 'albums', false, '{id}', '{uuid}', 'title', 'ALBUM', '{id}', NULL, NULL, 'data_quality', 'source', '{search_vector,updated_at}', '{}', 'none', 'log', 'rendered', '{}', 'f3bb8859ba79b87f9ad151b207033c04', '{"id": 1, "musicbrainz_id": 2, "title": 3, "release_date": 4, "release_type": 5, "track_count": 6, "duration_ms": 7, "cover_art_url": 8, "barcode": 9, "label": 10, "catalog_number": 11, "search_vector": 12, "created_at": 13, "updated_at": 14, "data_quality": 15, "enrichment_status": 16, "last_enriched": 17, "genres": 18, "secondary_types": 19, "release_country": 20, "release_status": 21, "spotify_id": 22, "spotify_url": 23, "discogs_id": 24, "source": 25, "source_url": 26, "submitted_by": 27, "cloudflare_image_id": 28, "metadata": 29, "game_status": 30, "deezer_id": 31}', 'a416dde2dc708683ed91a45fd9dada71')
ON CONFLICT (entity_type) DO UPDATE SET
    ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered") = ROW(excluded."entity_type", excluded."schema_name", excluded."table_name", excluded."is_link", excluded."key_columns", excluded."key_types", excluded."label_column", excluded."subject_type", excluded."subject_columns", excluded."related_type", excluded."related_columns", excluded."quality_column", excluded."source_column", excluded."ignored_columns", excluded."redacted_columns", excluded."image", excluded."on_truncate", excluded."capture", excluded."options", excluded."fingerprint", excluded."column_numbers", excluded."rendered"),
    watched_at = CASE
        WHEN watches.unwatched_at IS NULL AND watches.key_columns = excluded.key_columns THEN watches.watched_at
        ELSE clock_timestamp()
    END,
    unwatched_at = NULL,
    is_lost = false;
SET ROLE "llamalog_owner";
-- Reads the row of public.albums that has a key, for llamalog.as_of() and its kin. Rendered by llamalog watch; change the watch,
-- not this.
-- With the rights of the caller, who may not see every row.
CREATE OR REPLACE FUNCTION llamalog."read_album"(
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
    is_current := shape = '4ab28f0a733ec6df39baaf3f2a8af001';
    IF is_current THEN
        image := (SELECT jsonb_build_object('id', live.id, 'musicbrainz_id', live.musicbrainz_id, 'title', live.title, 'release_date', live.release_date, 'release_type', live.release_type, 'track_count', live.track_count, 'duration_ms', live.duration_ms, 'cover_art_url', live.cover_art_url, 'barcode', live.barcode, 'label', live.label, 'catalog_number', live.catalog_number, 'created_at', live.created_at, 'data_quality', CASE WHEN live.data_quality IS NOT NULL THEN concat(live.data_quality) END, 'enrichment_status', CASE WHEN live.enrichment_status IS NOT NULL THEN concat(live.enrichment_status) END, 'last_enriched', live.last_enriched, 'genres', CASE WHEN cardinality(live.genres) = 0 OR array_ndims(live.genres) = 1 AND array_lower(live.genres, 1) = 1 THEN to_jsonb(live.genres) ELSE to_jsonb(live.genres::text) END, 'secondary_types', CASE WHEN cardinality(live.secondary_types) = 0 OR array_ndims(live.secondary_types) = 1 AND array_lower(live.secondary_types, 1) = 1 THEN to_jsonb(live.secondary_types) ELSE to_jsonb(live.secondary_types::text) END, 'release_country', live.release_country, 'release_status', live.release_status, 'spotify_id', live.spotify_id, 'spotify_url', live.spotify_url, 'discogs_id', live.discogs_id, 'source', CASE WHEN live.source IS NOT NULL THEN concat(live.source) END, 'source_url', live.source_url, 'submitted_by', live.submitted_by, 'cloudflare_image_id', live.cloudflare_image_id, 'metadata', CASE WHEN jsonb_typeof(live.metadata) = 'null' OR live.metadata ? '$json' THEN jsonb_build_object('$json', live.metadata) ELSE live.metadata END, 'game_status', CASE WHEN live.game_status IS NOT NULL THEN concat(live.game_status) END, 'deezer_id', live.deezer_id) FROM public.albums AS live WHERE live.id = $1::uuid AND live.id::text = $1);
    END IF;
END;
$function$;
COMMENT ON FUNCTION llamalog."read_album"(text, text) IS 'Reads a row of public.albums; rendered by llamalog watch.';
-- Reads the labels of living rows of public.albums, for llamalog.labels(). Rendered by llamalog watch; change the watch, not this.
-- With the rights of the caller, who may not see every row.
CREATE OR REPLACE FUNCTION llamalog."labels_album"(
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
    is_current := shape = '831d0c05b0531ec066ffe55eb9441945';
    IF is_current THEN
        SELECT found.*
        INTO ids, labels
        FROM (SELECT array_agg(wanted.id) AS ids, array_agg(llamalog.short_label(live.title::text)) AS labels FROM unnest($1) AS wanted (id) JOIN public.albums AS live ON live.id = wanted.id::uuid) AS found;
    END IF;
END;
$function$;
COMMENT ON FUNCTION llamalog."labels_album"(text[], text) IS 'Reads labels of rows of public.albums; rendered by llamalog watch.';
-- Captures INSERT on public.albums, one log row for each row. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_album_insert"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    v_source        text;
    v_job_id        text;
    v_parent_job_id text;
    v_root_job_id   text;
    v_user_id       text;
    v_category      text;
    v_operation     text;
    v_reason        text;
    v_triggered_by  text;
    v_sources       text[];
    v_metadata      jsonb;
    v_head          text;
    v_head_type     text;
    v_is_many       boolean := true;
    v_is_head       boolean;
BEGIN
    -- two looks tell most writes that there is nothing to read
    IF greatest(
        current_setting('llamalog.category', true) COLLATE "C", current_setting('llamalog.operation', true),
        current_setting('llamalog.reason', true), current_setting('llamalog.triggered_by', true),
        current_setting('llamalog.sources', true), current_setting('llamalog.metadata', true)
    ) <> '' THEN
        v_category := nullif(current_setting('llamalog.category', true), '');
        v_operation := nullif(current_setting('llamalog.operation', true), '');
        v_reason := nullif(current_setting('llamalog.reason', true), '');
        v_triggered_by := nullif(current_setting('llamalog.triggered_by', true), '');
        v_sources := string_to_array(nullif(current_setting('llamalog.sources', true), ''), ',');
        IF current_setting('llamalog.metadata', true) <> '' THEN
            v_metadata := llamalog.readable_metadata(current_setting('llamalog.metadata', true));
        END IF;
        IF length(concat(v_operation, v_triggered_by)) > 200 THEN
            -- a context never fails a write: it is cut, and the row says so
            IF greatest(length(v_operation), length(v_triggered_by)) > 200 THEN
                v_operation := left(v_operation, 200);
                v_triggered_by := left(v_triggered_by, 200);
                v_metadata := llamalog.noted(v_metadata, 'context', '"cut to 200 characters"');
            END IF;
        END IF;
    END IF;
    IF greatest(
        current_setting('llamalog.source', true) COLLATE "C", current_setting('llamalog.job_id', true),
        current_setting('llamalog.parent_job_id', true), current_setting('llamalog.root_job_id', true),
        current_setting('llamalog.user_id', true)
    ) <> '' THEN
        v_source := nullif(current_setting('llamalog.source', true), '');
        v_job_id := nullif(current_setting('llamalog.job_id', true), '');
        v_parent_job_id := nullif(current_setting('llamalog.parent_job_id', true), '');
        v_root_job_id := nullif(current_setting('llamalog.root_job_id', true), '');
        v_user_id := nullif(current_setting('llamalog.user_id', true), '');
        IF length(concat(v_source, v_job_id, v_parent_job_id, v_root_job_id, v_user_id)) > 200 THEN
            -- a context never fails a write: it is cut, and the row says so
            IF greatest(length(v_source), length(v_job_id), length(v_parent_job_id), length(v_root_job_id), length(v_user_id)) > 200 THEN
                v_source := left(v_source, 200);
                v_job_id := left(v_job_id, 200);
                v_parent_job_id := left(v_parent_job_id, 200);
                v_root_job_id := left(v_root_job_id, 200);
                v_user_id := left(v_user_id, 200);
                v_metadata := llamalog.noted(v_metadata, 'context', '"cut to 200 characters"');
            END IF;
        END IF;
        IF v_parent_job_id IS NOT NULL THEN
            IF v_job_id IS NULL THEN
                v_triggered_by := coalesce(
                    v_triggered_by, CASE WHEN v_source IS NULL THEN nullif(current_setting('application_name'), '') END
                );
                v_job_id := 'tx:' || pg_current_xact_id()
                    || to_char(transaction_timestamp() AT TIME ZONE 'UTC', '"@"YYYYMMDD"T"HH24MISS.US');
            END IF;
            IF current_setting('llamalog.recorded', true) IS DISTINCT FROM concat_ws(E'\n', v_job_id, v_parent_job_id) THEN
                -- set by plain settings, the cause of the job would be said nowhere
                PERFORM llamalog.start_job(v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id), v_source, v_user_id, v_triggered_by);
            END IF;
        END IF;
    END IF;
    IF v_job_id IS NULL THEN
        v_triggered_by := coalesce(
            v_triggered_by, CASE WHEN v_source IS NULL THEN nullif(current_setting('application_name'), '') END
        );
        v_job_id := 'tx:' || pg_current_xact_id()
            || to_char(transaction_timestamp() AT TIME ZONE 'UTC', '"@"YYYYMMDD"T"HH24MISS.US');
    END IF;
    v_is_head := true;
    IF v_source IS NOT NULL THEN
        v_head := current_setting('llamalog.head', true);
        IF current_setting('llamalog.path', true) IS DISTINCT FROM v_source THEN
            v_head := coalesce(
                (
                    SELECT CASE path.makes WHEN 'one' THEN '1' ELSE '*' END || coalesce(path.head_type, '')
                    FROM llamalog.source_paths AS path
                    WHERE path.source = v_source
                ),
                ''
            );
            -- for the other writes of the transaction
            PERFORM set_config('llamalog.path', v_source, true), set_config('llamalog.head', v_head, true);
        END IF;
        IF v_head <> '' THEN
            v_is_many := left(v_head, 1) <> '1';
            v_head_type := substr(v_head, 2);
            v_is_head := v_head_type = 'ALBUM';
        END IF;
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type, previous_id,
        operation, category, source, sources, reason, fields_enriched, data_quality_after,
        triggered_by, user_id, after, metadata,
        job_id, parent_job_id, root_job_id, is_root_job
    )
    SELECT
        'I', 'ALBUM', new_row.id::text, NULL, NULL,
        NULL, NULL,
        coalesce(v_operation, 'album:created:' || v_source, 'album:created'), 'CREATED', v_source,
        coalesce(v_sources, ARRAY[CASE WHEN new_row.source IS NOT NULL THEN concat(new_row.source) END]), v_reason,
        array_remove(
            ARRAY[
                CASE WHEN new_row.id IS NOT NULL THEN 'id' END,
                CASE WHEN new_row.musicbrainz_id IS NOT NULL THEN 'musicbrainz_id' END,
                CASE WHEN new_row.title IS NOT NULL THEN 'title' END,
                CASE WHEN new_row.release_date IS NOT NULL THEN 'release_date' END,
                CASE WHEN new_row.release_type IS NOT NULL THEN 'release_type' END,
                CASE WHEN new_row.track_count IS NOT NULL THEN 'track_count' END,
                CASE WHEN new_row.duration_ms IS NOT NULL THEN 'duration_ms' END,
                CASE WHEN new_row.cover_art_url IS NOT NULL THEN 'cover_art_url' END,
                CASE WHEN new_row.barcode IS NOT NULL THEN 'barcode' END,
                CASE WHEN new_row.label IS NOT NULL THEN 'label' END,
                CASE WHEN new_row.catalog_number IS NOT NULL THEN 'catalog_number' END,
                CASE WHEN new_row.created_at IS NOT NULL THEN 'created_at' END,
                CASE WHEN new_row.data_quality IS NOT NULL THEN 'data_quality' END,
                CASE WHEN new_row.enrichment_status IS NOT NULL THEN 'enrichment_status' END,
                CASE WHEN new_row.last_enriched IS NOT NULL THEN 'last_enriched' END,
                CASE WHEN new_row.genres IS NOT NULL THEN 'genres' END,
                CASE WHEN new_row.secondary_types IS NOT NULL THEN 'secondary_types' END,
                CASE WHEN new_row.release_country IS NOT NULL THEN 'release_country' END,
                CASE WHEN new_row.release_status IS NOT NULL THEN 'release_status' END,
                CASE WHEN new_row.spotify_id IS NOT NULL THEN 'spotify_id' END,
                CASE WHEN new_row.spotify_url IS NOT NULL THEN 'spotify_url' END,
                CASE WHEN new_row.discogs_id IS NOT NULL THEN 'discogs_id' END,
                CASE WHEN new_row.source IS NOT NULL THEN 'source' END,
                CASE WHEN new_row.source_url IS NOT NULL THEN 'source_url' END,
                CASE WHEN new_row.submitted_by IS NOT NULL THEN 'submitted_by' END,
                CASE WHEN new_row.cloudflare_image_id IS NOT NULL THEN 'cloudflare_image_id' END,
                CASE WHEN new_row.metadata IS NOT NULL THEN 'metadata' END,
                CASE WHEN new_row.game_status IS NOT NULL THEN 'game_status' END,
                CASE WHEN new_row.deezer_id IS NOT NULL THEN 'deezer_id' END
            ],
            NULL
        ),
        CASE WHEN new_row.data_quality IS NOT NULL THEN concat(new_row.data_quality) END,
        v_triggered_by, v_user_id,
        NULL,
        v_metadata,
        CASE
            WHEN v_is_head AND v_is_many THEN v_job_id || ('/' || 'ALBUM' || ':') || new_row.id::text
            WHEN v_is_head THEN v_job_id
        END,
        CASE
            WHEN v_is_head AND v_is_many THEN v_job_id
            WHEN v_is_head THEN v_parent_job_id
            ELSE v_job_id
        END,
        coalesce(v_root_job_id, v_parent_job_id, v_job_id),
        v_is_head
    FROM new_rows AS new_row;
    RETURN NULL;  -- the result of an AFTER trigger is ignored
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_album_insert"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_album_insert"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_album_insert"() IS 'Capture of public.albums, rendered by llamalog watch.';
-- Captures UPDATE on public.albums: the changed columns, before and after. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_album_update"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    v_fields        text[];
    v_rest          record;
    v_are_several   boolean;
    v_are_many      boolean;
    v_before        jsonb;
    v_after         jsonb;
    v_previous_id   text;
    v_source        text;
    v_job_id        text;
    v_parent_job_id text;
    v_root_job_id   text;
    v_user_id       text;
    v_category      text;
    v_operation     text;
    v_reason        text;
    v_triggered_by  text;
    v_sources       text[];
    v_metadata      jsonb;
    v_judged        text;
BEGIN
    IF OLD OPERATOR(pg_catalog.*=) NEW THEN
        RETURN NULL;
    END IF;
    <<compared>>
    BEGIN
    IF OLD."release_date" IS DISTINCT FROM NEW."release_date"
        OR ARRAY[OLD."title", OLD."release_type"]::text[] COLLATE "C" IS DISTINCT FROM ARRAY[NEW."title", NEW."release_type"]::text[] COLLATE "C"
        OR ARRAY[OLD."id", OLD."musicbrainz_id"]::uuid[] IS DISTINCT FROM ARRAY[NEW."id", NEW."musicbrainz_id"]::uuid[]
    THEN
        IF v_fields IS NULL THEN
            v_rest := OLD;
            v_rest."search_vector" := NEW."search_vector";
            v_rest."updated_at" := NEW."updated_at";
        ELSE
            v_are_many := v_are_several;
            v_are_several := true;
        END IF;
        IF OLD."id" IS DISTINCT FROM NEW."id" THEN
            v_fields := v_fields || 'id'::text;
            v_before['id'] := to_jsonb(OLD."id");
            v_after['id'] := to_jsonb(NEW."id");
            v_rest."id" := NEW."id";
            v_previous_id := nullif(OLD.id::text, NEW.id::text);
            IF v_previous_id IS NOT NULL THEN
                INSERT INTO llamalog.renamings (entity_type, old_id, new_id) VALUES ('ALBUM', v_previous_id, NEW.id::text);
            END IF;
        END IF;
        IF OLD."musicbrainz_id" IS DISTINCT FROM NEW."musicbrainz_id" THEN
            v_fields := v_fields || 'musicbrainz_id'::text;
            v_before['musicbrainz_id'] := to_jsonb(OLD."musicbrainz_id");
            v_after['musicbrainz_id'] := to_jsonb(NEW."musicbrainz_id");
            v_rest."musicbrainz_id" := NEW."musicbrainz_id";
        END IF;
        IF OLD."title" IS DISTINCT FROM NEW."title" THEN
            v_fields := v_fields || 'title'::text;
            v_before['title'] := to_jsonb(OLD."title");
            v_after['title'] := to_jsonb(NEW."title");
            v_rest."title" := NEW."title";
        END IF;
        IF OLD."release_date" IS DISTINCT FROM NEW."release_date" THEN
            v_fields := v_fields || 'release_date'::text;
            v_before['release_date'] := to_jsonb(OLD."release_date");
            v_after['release_date'] := to_jsonb(NEW."release_date");
            v_rest."release_date" := NEW."release_date";
        END IF;
        IF OLD."release_type" IS DISTINCT FROM NEW."release_type" THEN
            v_fields := v_fields || 'release_type'::text;
            v_before['release_type'] := to_jsonb(OLD."release_type");
            v_after['release_type'] := to_jsonb(NEW."release_type");
            v_rest."release_type" := NEW."release_type";
        END IF;
        IF v_are_many IS NULL THEN
            EXIT compared WHEN v_rest OPERATOR(pg_catalog.*=) NEW;
        END IF;
    END IF;
    IF ARRAY[OLD."track_count", OLD."duration_ms"]::integer[] IS DISTINCT FROM ARRAY[NEW."track_count", NEW."duration_ms"]::integer[]
        OR ARRAY[OLD."cover_art_url", OLD."barcode", OLD."label"]::text[] COLLATE "C" IS DISTINCT FROM ARRAY[NEW."cover_art_url", NEW."barcode", NEW."label"]::text[] COLLATE "C"
    THEN
        IF v_fields IS NULL THEN
            v_rest := OLD;
            v_rest."search_vector" := NEW."search_vector";
            v_rest."updated_at" := NEW."updated_at";
        ELSE
            v_are_many := v_are_several;
            v_are_several := true;
        END IF;
        IF OLD."track_count" IS DISTINCT FROM NEW."track_count" THEN
            v_fields := v_fields || 'track_count'::text;
            v_before['track_count'] := to_jsonb(OLD."track_count");
            v_after['track_count'] := to_jsonb(NEW."track_count");
            v_rest."track_count" := NEW."track_count";
        END IF;
        IF OLD."duration_ms" IS DISTINCT FROM NEW."duration_ms" THEN
            v_fields := v_fields || 'duration_ms'::text;
            v_before['duration_ms'] := to_jsonb(OLD."duration_ms");
            v_after['duration_ms'] := to_jsonb(NEW."duration_ms");
            v_rest."duration_ms" := NEW."duration_ms";
        END IF;
        IF OLD."cover_art_url" IS DISTINCT FROM NEW."cover_art_url" THEN
            v_fields := v_fields || 'cover_art_url'::text;
            v_before['cover_art_url'] := to_jsonb(OLD."cover_art_url");
            v_after['cover_art_url'] := to_jsonb(NEW."cover_art_url");
            v_rest."cover_art_url" := NEW."cover_art_url";
        END IF;
        IF OLD."barcode" IS DISTINCT FROM NEW."barcode" THEN
            v_fields := v_fields || 'barcode'::text;
            v_before['barcode'] := to_jsonb(OLD."barcode");
            v_after['barcode'] := to_jsonb(NEW."barcode");
            v_rest."barcode" := NEW."barcode";
        END IF;
        IF OLD."label" IS DISTINCT FROM NEW."label" THEN
            v_fields := v_fields || 'label'::text;
            v_before['label'] := to_jsonb(OLD."label");
            v_after['label'] := to_jsonb(NEW."label");
            v_rest."label" := NEW."label";
        END IF;
        IF v_are_many IS NULL THEN
            EXIT compared WHEN v_rest OPERATOR(pg_catalog.*=) NEW;
        END IF;
    END IF;
    IF OLD."catalog_number" IS DISTINCT FROM NEW."catalog_number"
        OR ARRAY[OLD."created_at", OLD."last_enriched"]::timestamp without time zone[] IS DISTINCT FROM ARRAY[NEW."created_at", NEW."last_enriched"]::timestamp without time zone[]
        OR (enum_eq(OLD."data_quality", NEW."data_quality") IS NOT TRUE AND (OLD."data_quality" IS NOT NULL OR NEW."data_quality" IS NOT NULL))
        OR (enum_eq(OLD."enrichment_status", NEW."enrichment_status") IS NOT TRUE AND (OLD."enrichment_status" IS NOT NULL OR NEW."enrichment_status" IS NOT NULL))
    THEN
        IF v_fields IS NULL THEN
            v_rest := OLD;
            v_rest."search_vector" := NEW."search_vector";
            v_rest."updated_at" := NEW."updated_at";
        ELSE
            v_are_many := v_are_several;
            v_are_several := true;
        END IF;
        IF OLD."catalog_number" IS DISTINCT FROM NEW."catalog_number" THEN
            v_fields := v_fields || 'catalog_number'::text;
            v_before['catalog_number'] := to_jsonb(OLD."catalog_number");
            v_after['catalog_number'] := to_jsonb(NEW."catalog_number");
            v_rest."catalog_number" := NEW."catalog_number";
        END IF;
        IF OLD."created_at" IS DISTINCT FROM NEW."created_at" THEN
            v_fields := v_fields || 'created_at'::text;
            v_before['created_at'] := to_jsonb(OLD."created_at");
            v_after['created_at'] := to_jsonb(NEW."created_at");
            v_rest."created_at" := NEW."created_at";
        END IF;
        IF (enum_eq(OLD."data_quality", NEW."data_quality") IS NOT TRUE AND (OLD."data_quality" IS NOT NULL OR NEW."data_quality" IS NOT NULL)) THEN
            v_fields := v_fields || 'data_quality'::text;
            v_before['data_quality'] := to_jsonb(CASE WHEN OLD."data_quality" IS NOT NULL THEN concat(OLD."data_quality") END);
            v_after['data_quality'] := to_jsonb(CASE WHEN NEW."data_quality" IS NOT NULL THEN concat(NEW."data_quality") END);
            v_rest."data_quality" := NEW."data_quality";
        END IF;
        IF (enum_eq(OLD."enrichment_status", NEW."enrichment_status") IS NOT TRUE AND (OLD."enrichment_status" IS NOT NULL OR NEW."enrichment_status" IS NOT NULL)) THEN
            v_fields := v_fields || 'enrichment_status'::text;
            v_before['enrichment_status'] := to_jsonb(CASE WHEN OLD."enrichment_status" IS NOT NULL THEN concat(OLD."enrichment_status") END);
            v_after['enrichment_status'] := to_jsonb(CASE WHEN NEW."enrichment_status" IS NOT NULL THEN concat(NEW."enrichment_status") END);
            v_rest."enrichment_status" := NEW."enrichment_status";
        END IF;
        IF OLD."last_enriched" IS DISTINCT FROM NEW."last_enriched" THEN
            v_fields := v_fields || 'last_enriched'::text;
            v_before['last_enriched'] := to_jsonb(OLD."last_enriched");
            v_after['last_enriched'] := to_jsonb(NEW."last_enriched");
            v_rest."last_enriched" := NEW."last_enriched";
        END IF;
        IF v_are_many IS NULL THEN
            EXIT compared WHEN v_rest OPERATOR(pg_catalog.*=) NEW;
        END IF;
    END IF;
    IF ARRAY[OLD."release_country", OLD."release_status", OLD."spotify_id"]::text[] COLLATE "C" IS DISTINCT FROM ARRAY[NEW."release_country", NEW."release_status", NEW."spotify_id"]::text[] COLLATE "C"
        OR OLD."genres" IS DISTINCT FROM NEW."genres"
        OR OLD."secondary_types" IS DISTINCT FROM NEW."secondary_types"
    THEN
        IF OLD."genres" IS DISTINCT FROM NEW."genres" THEN
            v_fields := v_fields || 'genres'::text;
            v_before['genres'] := CASE WHEN cardinality(OLD."genres") = 0 OR array_ndims(OLD."genres") = 1 AND array_lower(OLD."genres", 1) = 1 THEN to_jsonb(OLD."genres") ELSE to_jsonb(OLD."genres"::text) END;
            v_after['genres'] := CASE WHEN cardinality(NEW."genres") = 0 OR array_ndims(NEW."genres") = 1 AND array_lower(NEW."genres", 1) = 1 THEN to_jsonb(NEW."genres") ELSE to_jsonb(NEW."genres"::text) END;
        END IF;
        IF OLD."secondary_types" IS DISTINCT FROM NEW."secondary_types" THEN
            v_fields := v_fields || 'secondary_types'::text;
            v_before['secondary_types'] := CASE WHEN cardinality(OLD."secondary_types") = 0 OR array_ndims(OLD."secondary_types") = 1 AND array_lower(OLD."secondary_types", 1) = 1 THEN to_jsonb(OLD."secondary_types") ELSE to_jsonb(OLD."secondary_types"::text) END;
            v_after['secondary_types'] := CASE WHEN cardinality(NEW."secondary_types") = 0 OR array_ndims(NEW."secondary_types") = 1 AND array_lower(NEW."secondary_types", 1) = 1 THEN to_jsonb(NEW."secondary_types") ELSE to_jsonb(NEW."secondary_types"::text) END;
        END IF;
        IF OLD."release_country" IS DISTINCT FROM NEW."release_country" THEN
            v_fields := v_fields || 'release_country'::text;
            v_before['release_country'] := to_jsonb(OLD."release_country");
            v_after['release_country'] := to_jsonb(NEW."release_country");
        END IF;
        IF OLD."release_status" IS DISTINCT FROM NEW."release_status" THEN
            v_fields := v_fields || 'release_status'::text;
            v_before['release_status'] := to_jsonb(OLD."release_status");
            v_after['release_status'] := to_jsonb(NEW."release_status");
        END IF;
        IF OLD."spotify_id" IS DISTINCT FROM NEW."spotify_id" THEN
            v_fields := v_fields || 'spotify_id'::text;
            v_before['spotify_id'] := to_jsonb(OLD."spotify_id");
            v_after['spotify_id'] := to_jsonb(NEW."spotify_id");
        END IF;
    END IF;
    IF ARRAY[OLD."spotify_url", OLD."discogs_id", OLD."source_url"]::text[] COLLATE "C" IS DISTINCT FROM ARRAY[NEW."spotify_url", NEW."discogs_id", NEW."source_url"]::text[] COLLATE "C"
        OR OLD."submitted_by" IS DISTINCT FROM NEW."submitted_by"
        OR (enum_eq(OLD."source", NEW."source") IS NOT TRUE AND (OLD."source" IS NOT NULL OR NEW."source" IS NOT NULL))
    THEN
        IF OLD."spotify_url" IS DISTINCT FROM NEW."spotify_url" THEN
            v_fields := v_fields || 'spotify_url'::text;
            v_before['spotify_url'] := to_jsonb(OLD."spotify_url");
            v_after['spotify_url'] := to_jsonb(NEW."spotify_url");
        END IF;
        IF OLD."discogs_id" IS DISTINCT FROM NEW."discogs_id" THEN
            v_fields := v_fields || 'discogs_id'::text;
            v_before['discogs_id'] := to_jsonb(OLD."discogs_id");
            v_after['discogs_id'] := to_jsonb(NEW."discogs_id");
        END IF;
        IF (enum_eq(OLD."source", NEW."source") IS NOT TRUE AND (OLD."source" IS NOT NULL OR NEW."source" IS NOT NULL)) THEN
            v_fields := v_fields || 'source'::text;
            v_before['source'] := to_jsonb(CASE WHEN OLD."source" IS NOT NULL THEN concat(OLD."source") END);
            v_after['source'] := to_jsonb(CASE WHEN NEW."source" IS NOT NULL THEN concat(NEW."source") END);
        END IF;
        IF OLD."source_url" IS DISTINCT FROM NEW."source_url" THEN
            v_fields := v_fields || 'source_url'::text;
            v_before['source_url'] := to_jsonb(OLD."source_url");
            v_after['source_url'] := to_jsonb(NEW."source_url");
        END IF;
        IF OLD."submitted_by" IS DISTINCT FROM NEW."submitted_by" THEN
            v_fields := v_fields || 'submitted_by'::text;
            v_before['submitted_by'] := to_jsonb(OLD."submitted_by");
            v_after['submitted_by'] := to_jsonb(NEW."submitted_by");
        END IF;
    END IF;
    IF ARRAY[OLD."cloudflare_image_id", OLD."deezer_id"]::text[] COLLATE "C" IS DISTINCT FROM ARRAY[NEW."cloudflare_image_id", NEW."deezer_id"]::text[] COLLATE "C"
        OR (enum_eq(OLD."game_status", NEW."game_status") IS NOT TRUE AND (OLD."game_status" IS NOT NULL OR NEW."game_status" IS NOT NULL))
        OR ROW(OLD."metadata")::record
        OPERATOR(pg_catalog.*<>) ROW(NEW."metadata")::record
    THEN
        IF OLD."cloudflare_image_id" IS DISTINCT FROM NEW."cloudflare_image_id" THEN
            v_fields := v_fields || 'cloudflare_image_id'::text;
            v_before['cloudflare_image_id'] := to_jsonb(OLD."cloudflare_image_id");
            v_after['cloudflare_image_id'] := to_jsonb(NEW."cloudflare_image_id");
        END IF;
        IF ROW(OLD."metadata")::record
        OPERATOR(pg_catalog.*<>) ROW(NEW."metadata")::record THEN
            v_fields := v_fields || 'metadata'::text;
            v_before['metadata'] := CASE WHEN jsonb_typeof(OLD."metadata") = 'null' OR OLD."metadata" ? '$json' THEN jsonb_build_object('$json', OLD."metadata") ELSE OLD."metadata" END;
            v_after['metadata'] := CASE WHEN jsonb_typeof(NEW."metadata") = 'null' OR NEW."metadata" ? '$json' THEN jsonb_build_object('$json', NEW."metadata") ELSE NEW."metadata" END;
        END IF;
        IF (enum_eq(OLD."game_status", NEW."game_status") IS NOT TRUE AND (OLD."game_status" IS NOT NULL OR NEW."game_status" IS NOT NULL)) THEN
            v_fields := v_fields || 'game_status'::text;
            v_before['game_status'] := to_jsonb(CASE WHEN OLD."game_status" IS NOT NULL THEN concat(OLD."game_status") END);
            v_after['game_status'] := to_jsonb(CASE WHEN NEW."game_status" IS NOT NULL THEN concat(NEW."game_status") END);
        END IF;
        IF OLD."deezer_id" IS DISTINCT FROM NEW."deezer_id" THEN
            v_fields := v_fields || 'deezer_id'::text;
            v_before['deezer_id'] := to_jsonb(OLD."deezer_id");
            v_after['deezer_id'] := to_jsonb(NEW."deezer_id");
        END IF;
    END IF;
    END compared;
    IF v_fields IS NULL THEN
        RETURN NULL;  -- nothing changed, or only columns that are ignored
    END IF;
    -- two looks tell most writes that there is nothing to read
    IF greatest(
        current_setting('llamalog.category', true) COLLATE "C", current_setting('llamalog.operation', true),
        current_setting('llamalog.reason', true), current_setting('llamalog.triggered_by', true),
        current_setting('llamalog.sources', true), current_setting('llamalog.metadata', true)
    ) <> '' THEN
        v_category := nullif(current_setting('llamalog.category', true), '');
        v_operation := nullif(current_setting('llamalog.operation', true), '');
        v_reason := nullif(current_setting('llamalog.reason', true), '');
        v_triggered_by := nullif(current_setting('llamalog.triggered_by', true), '');
        v_sources := string_to_array(nullif(current_setting('llamalog.sources', true), ''), ',');
        IF current_setting('llamalog.metadata', true) <> '' THEN
            v_metadata := llamalog.readable_metadata(current_setting('llamalog.metadata', true));
        END IF;
        IF length(concat(v_operation, v_triggered_by)) > 200 THEN
            -- a context never fails a write: it is cut, and the row says so
            IF greatest(length(v_operation), length(v_triggered_by)) > 200 THEN
                v_operation := left(v_operation, 200);
                v_triggered_by := left(v_triggered_by, 200);
                v_metadata := llamalog.noted(v_metadata, 'context', '"cut to 200 characters"');
            END IF;
        END IF;
    END IF;
    IF greatest(
        current_setting('llamalog.source', true) COLLATE "C", current_setting('llamalog.job_id', true),
        current_setting('llamalog.parent_job_id', true), current_setting('llamalog.root_job_id', true),
        current_setting('llamalog.user_id', true)
    ) <> '' THEN
        v_source := nullif(current_setting('llamalog.source', true), '');
        v_job_id := nullif(current_setting('llamalog.job_id', true), '');
        v_parent_job_id := nullif(current_setting('llamalog.parent_job_id', true), '');
        v_root_job_id := nullif(current_setting('llamalog.root_job_id', true), '');
        v_user_id := nullif(current_setting('llamalog.user_id', true), '');
        IF length(concat(v_source, v_job_id, v_parent_job_id, v_root_job_id, v_user_id)) > 200 THEN
            -- a context never fails a write: it is cut, and the row says so
            IF greatest(length(v_source), length(v_job_id), length(v_parent_job_id), length(v_root_job_id), length(v_user_id)) > 200 THEN
                v_source := left(v_source, 200);
                v_job_id := left(v_job_id, 200);
                v_parent_job_id := left(v_parent_job_id, 200);
                v_root_job_id := left(v_root_job_id, 200);
                v_user_id := left(v_user_id, 200);
                v_metadata := llamalog.noted(v_metadata, 'context', '"cut to 200 characters"');
            END IF;
        END IF;
    END IF;
    IF v_job_id IS NULL THEN
        v_triggered_by := coalesce(
            v_triggered_by, CASE WHEN v_source IS NULL THEN nullif(current_setting('application_name'), '') END
        );
        v_job_id := 'tx:' || pg_current_xact_id()
            || to_char(transaction_timestamp() AT TIME ZONE 'UTC', '"@"YYYYMMDD"T"HH24MISS.US');
    END IF;
    IF v_source IS NOT NULL OR v_operation IS NOT NULL OR v_category IS NOT NULL THEN
        IF v_category IS NULL THEN
            v_judged := format('%L %L', v_source, v_operation);
            IF current_setting('llamalog.judged', true) = v_judged THEN
                v_category := nullif(current_setting('llamalog.judgement', true), '');
            ELSE
                v_category := llamalog.known_category(
                    v_operation, NULL, v_source, '{ENRICHED,CORRECTED,CACHED,FAILED,USER_ACTION,UPDATED}'
                );
                -- for the other rows of the transaction: the rules are many times dearer than the log row
                PERFORM
                    set_config('llamalog.judged', v_judged, true),
                    set_config('llamalog.judgement', coalesce(v_category, ''), true);
            END IF;
        END IF;
        IF v_category NOT IN ('ENRICHED', 'CORRECTED', 'CACHED', 'FAILED', 'USER_ACTION', 'UPDATED') THEN
            IF v_category NOT IN ('CREATED', 'DELETED', 'LINKED', 'UNLINKED', 'TRUNCATED') THEN
                v_metadata := llamalog.noted(v_metadata, 'unknown_category', to_jsonb(left(v_category, 200)));
            END IF;
            v_category := NULL;
        END IF;
        v_operation := coalesce(v_operation, concat_ws(':', 'album', lower(coalesce(v_category, 'UPDATED')), v_source));
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type, previous_id,
        operation, category, source, sources, reason, fields_enriched, data_quality_before, data_quality_after,
        triggered_by, user_id, before, after, metadata,
        job_id, parent_job_id, root_job_id
    )
    VALUES (
        'U', 'ALBUM', NEW.id::text, NULL, NULL,
        NULL, v_previous_id,
        coalesce(v_operation, 'album' || ':updated'), coalesce(v_category, 'UPDATED'), v_source,
        coalesce(v_sources, ARRAY[CASE WHEN NEW.source IS NOT NULL THEN concat(NEW.source) END]), v_reason, v_fields,
        CASE WHEN OLD.data_quality IS NOT NULL THEN concat(OLD.data_quality) END,
        CASE WHEN NEW.data_quality IS NOT NULL THEN concat(NEW.data_quality) END,
        v_triggered_by, v_user_id, v_before, v_after, v_metadata,
        v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id)
    );
    RETURN NULL;
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_album_update"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_album_update"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_album_update"() IS 'Capture of public.albums, rendered by llamalog watch.';
-- Captures DELETE on public.albums, the whole row. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_album_delete"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    -- prepared once a transaction, not for each row as it would be inside the INSERT
    v_before        jsonb := jsonb_build_object(
            'id', OLD.id,
            'musicbrainz_id', OLD.musicbrainz_id,
            'title', OLD.title,
            'release_date', OLD.release_date,
            'release_type', OLD.release_type,
            'track_count', OLD.track_count,
            'duration_ms', OLD.duration_ms,
            'cover_art_url', OLD.cover_art_url,
            'barcode', OLD.barcode,
            'label', OLD.label,
            'catalog_number', OLD.catalog_number,
            'search_vector', OLD.search_vector,
            'created_at', OLD.created_at,
            'updated_at', OLD.updated_at,
            'data_quality', CASE WHEN OLD.data_quality IS NOT NULL THEN concat(OLD.data_quality) END,
            'enrichment_status', CASE WHEN OLD.enrichment_status IS NOT NULL THEN concat(OLD.enrichment_status) END,
            'last_enriched', OLD.last_enriched,
            'genres', CASE WHEN cardinality(OLD.genres) = 0 OR array_ndims(OLD.genres) = 1 AND array_lower(OLD.genres, 1) = 1 THEN to_jsonb(OLD.genres) ELSE to_jsonb(OLD.genres::text) END,
            'secondary_types', CASE WHEN cardinality(OLD.secondary_types) = 0 OR array_ndims(OLD.secondary_types) = 1 AND array_lower(OLD.secondary_types, 1) = 1 THEN to_jsonb(OLD.secondary_types) ELSE to_jsonb(OLD.secondary_types::text) END,
            'release_country', OLD.release_country,
            'release_status', OLD.release_status,
            'spotify_id', OLD.spotify_id,
            'spotify_url', OLD.spotify_url,
            'discogs_id', OLD.discogs_id,
            'source', CASE WHEN OLD.source IS NOT NULL THEN concat(OLD.source) END,
            'source_url', OLD.source_url,
            'submitted_by', OLD.submitted_by,
            'cloudflare_image_id', OLD.cloudflare_image_id,
            'metadata', CASE WHEN jsonb_typeof(OLD.metadata) = 'null' OR OLD.metadata ? '$json' THEN jsonb_build_object('$json', OLD.metadata) ELSE OLD.metadata END,
            'game_status', CASE WHEN OLD.game_status IS NOT NULL THEN concat(OLD.game_status) END,
            'deezer_id', OLD.deezer_id
        );
    v_source        text;
    v_job_id        text;
    v_parent_job_id text;
    v_root_job_id   text;
    v_user_id       text;
    v_category      text;
    v_operation     text;
    v_reason        text;
    v_triggered_by  text;
    v_sources       text[];
    v_metadata      jsonb;
BEGIN
    -- two looks tell most writes that there is nothing to read
    IF greatest(
        current_setting('llamalog.category', true) COLLATE "C", current_setting('llamalog.operation', true),
        current_setting('llamalog.reason', true), current_setting('llamalog.triggered_by', true),
        current_setting('llamalog.sources', true), current_setting('llamalog.metadata', true)
    ) <> '' THEN
        v_category := nullif(current_setting('llamalog.category', true), '');
        v_operation := nullif(current_setting('llamalog.operation', true), '');
        v_reason := nullif(current_setting('llamalog.reason', true), '');
        v_triggered_by := nullif(current_setting('llamalog.triggered_by', true), '');
        v_sources := string_to_array(nullif(current_setting('llamalog.sources', true), ''), ',');
        IF current_setting('llamalog.metadata', true) <> '' THEN
            v_metadata := llamalog.readable_metadata(current_setting('llamalog.metadata', true));
        END IF;
        IF length(concat(v_operation, v_triggered_by)) > 200 THEN
            -- a context never fails a write: it is cut, and the row says so
            IF greatest(length(v_operation), length(v_triggered_by)) > 200 THEN
                v_operation := left(v_operation, 200);
                v_triggered_by := left(v_triggered_by, 200);
                v_metadata := llamalog.noted(v_metadata, 'context', '"cut to 200 characters"');
            END IF;
        END IF;
    END IF;
    IF greatest(
        current_setting('llamalog.source', true) COLLATE "C", current_setting('llamalog.job_id', true),
        current_setting('llamalog.parent_job_id', true), current_setting('llamalog.root_job_id', true),
        current_setting('llamalog.user_id', true)
    ) <> '' THEN
        v_source := nullif(current_setting('llamalog.source', true), '');
        v_job_id := nullif(current_setting('llamalog.job_id', true), '');
        v_parent_job_id := nullif(current_setting('llamalog.parent_job_id', true), '');
        v_root_job_id := nullif(current_setting('llamalog.root_job_id', true), '');
        v_user_id := nullif(current_setting('llamalog.user_id', true), '');
        IF length(concat(v_source, v_job_id, v_parent_job_id, v_root_job_id, v_user_id)) > 200 THEN
            -- a context never fails a write: it is cut, and the row says so
            IF greatest(length(v_source), length(v_job_id), length(v_parent_job_id), length(v_root_job_id), length(v_user_id)) > 200 THEN
                v_source := left(v_source, 200);
                v_job_id := left(v_job_id, 200);
                v_parent_job_id := left(v_parent_job_id, 200);
                v_root_job_id := left(v_root_job_id, 200);
                v_user_id := left(v_user_id, 200);
                v_metadata := llamalog.noted(v_metadata, 'context', '"cut to 200 characters"');
            END IF;
        END IF;
    END IF;
    IF v_job_id IS NULL THEN
        v_triggered_by := coalesce(
            v_triggered_by, CASE WHEN v_source IS NULL THEN nullif(current_setting('application_name'), '') END
        );
        v_job_id := 'tx:' || pg_current_xact_id()
            || to_char(transaction_timestamp() AT TIME ZONE 'UTC', '"@"YYYYMMDD"T"HH24MISS.US');
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type,
        operation, category, source, sources, reason, data_quality_before,
        triggered_by, user_id, before, metadata,
        job_id, parent_job_id, root_job_id
    )
    VALUES (
        'D', 'ALBUM', OLD.id::text, NULL, NULL,
        NULL,
        coalesce(v_operation, 'album:deleted:' || v_source, 'album:deleted'), 'DELETED', v_source,
        coalesce(v_sources, ARRAY[CASE WHEN OLD.source IS NOT NULL THEN concat(OLD.source) END]), v_reason, CASE WHEN OLD.data_quality IS NOT NULL THEN concat(OLD.data_quality) END,
        v_triggered_by, v_user_id, v_before, v_metadata,
        v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id)
    );
    RETURN NULL;
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_album_delete"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_album_delete"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_album_delete"() IS 'Capture of public.albums, rendered by llamalog watch.';
RESET ROLE;
SELECT llamalog.hang_truncate_capture(member.oid, 'ALBUM')
FROM llamalog.family('"public"."albums"'::regclass) AS member (oid);
CREATE OR REPLACE TRIGGER "00_llamalog_insert"
    AFTER INSERT ON "public"."albums"
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION llamalog."capture_album_insert"('ALBUM');
CREATE OR REPLACE TRIGGER "00_llamalog_update"
    AFTER UPDATE ON "public"."albums"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_album_update"('ALBUM');
CREATE OR REPLACE TRIGGER "00_llamalog_delete"
    AFTER DELETE ON "public"."albums"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_album_delete"('ALBUM');
SELECT llamalog.fit_pause('ALBUM');
