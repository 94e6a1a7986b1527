-- public.album_artists as ALBUM_ARTIST: link ALBUM – ARTIST; key album_id, artist_id, role
WITH ended AS (
    UPDATE llamalog.pauses AS pause SET resumed_at = watch.unwatched_at
    FROM llamalog.watches AS watch
    WHERE pause.entity_type = 'ALBUM_ARTIST' AND pause.resumed_at IS NULL
        AND watch.entity_type = pause.entity_type AND watch.unwatched_at IS NOT NULL
)
INSERT INTO llamalog.watches ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered")
VALUES ('ALBUM_ARTIST', 'public', 'album_artists', true, '{album_id,artist_id,role}', '{uuid,uuid,"character varying(50)"}', NULL, 'ALBUM', '{album_id}', 'ARTIST', '{artist_id}', NULL, NULL, '{}', '{}', 'none', 'log', 'rendered', '{}', 'ddf13259e54aa875042255a82b4d2c6e', '{"album_id": 1, "artist_id": 2, "role": 3, "position": 4}', 'f86f194b8f88d11f4e4c37bf69ac10ac')
ON CONFLICT (entity_type) DO UPDATE SET
    ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered") = ROW(excluded."entity_type", excluded."schema_name", excluded."table_name", excluded."is_link", excluded."key_columns", excluded."key_types", excluded."label_column", excluded."subject_type", excluded."subject_columns", excluded."related_type", excluded."related_columns", excluded."quality_column", excluded."source_column", excluded."ignored_columns", excluded."redacted_columns", excluded."image", excluded."on_truncate", excluded."capture", excluded."options", excluded."fingerprint", excluded."column_numbers", excluded."rendered"),
    watched_at = CASE
        WHEN watches.unwatched_at IS NULL AND watches.key_columns = excluded.key_columns THEN watches.watched_at
        ELSE clock_timestamp()
    END,
    unwatched_at = NULL,
    is_lost = false;
SET ROLE "llamalog_owner";
-- Captures INSERT on public.album_artists, one log row for each row. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_album_artist_insert"()
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
    v_is_head := false;
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
            v_is_head := v_head_type = 'ALBUM_ARTIST';
        END IF;
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type, previous_id,
        operation, category, source, sources, reason, fields_enriched, data_quality_after,
        triggered_by, user_id, after, metadata,
        job_id, parent_job_id, root_job_id, is_root_job
    )
    SELECT
        'I', 'ALBUM', new_row.album_id::text, 'ARTIST', new_row.artist_id::text,
        'ALBUM_ARTIST', NULL,
        coalesce(v_operation, 'album_artist:linked:' || v_source, 'album_artist:linked'), 'LINKED', v_source,
        v_sources, v_reason,
        array_remove(
            ARRAY[
                CASE WHEN new_row.album_id IS NOT NULL THEN 'album_id' END,
                CASE WHEN new_row.artist_id IS NOT NULL THEN 'artist_id' END,
                CASE WHEN new_row.role IS NOT NULL THEN 'role' END,
                CASE WHEN new_row."position" IS NOT NULL THEN 'position' END
            ],
            NULL
        ),
        NULL,
        v_triggered_by, v_user_id,
        to_jsonb("image"),
        v_metadata,
        CASE
            WHEN v_is_head AND v_is_many THEN v_job_id || ('/' || 'ALBUM_ARTIST' || ':') || new_row.album_id::text
            WHEN v_is_head THEN v_job_id
        END,
        CASE
            WHEN v_is_head AND v_is_many THEN v_job_id
            WHEN v_is_head THEN v_parent_job_id
            WHEN v_is_many AND coalesce(v_head_type = 'ALBUM', true) AND new_row.album_id::text IS NOT NULL
                THEN v_job_id || ('/' || 'ALBUM' || ':') || new_row.album_id::text
            WHEN v_is_many AND coalesce(v_head_type = 'ARTIST', true) AND new_row.artist_id::text IS NOT NULL
                THEN v_job_id || ('/' || 'ARTIST' || ':') || new_row.artist_id::text
            ELSE v_job_id
        END,
        coalesce(v_root_job_id, v_parent_job_id, v_job_id),
        v_is_head
    FROM new_rows AS new_row
    CROSS JOIN LATERAL (
        SELECT
            new_row."album_id" AS "album_id",
            new_row."artist_id" AS "artist_id",
            new_row."role" AS "role",
            new_row."position" AS "position"
    ) AS "image";
    RETURN NULL;  -- the result of an AFTER trigger is ignored
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_album_artist_insert"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_album_artist_insert"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_album_artist_insert"() IS 'Capture of public.album_artists, rendered by llamalog watch.';
-- Captures UPDATE on public.album_artists: the changed columns, before and after. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_album_artist_update"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    v_fields        text[];
    v_before        jsonb;
    v_after         jsonb;
    v_subject_id    text;
    v_related_id    text;
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
    IF OLD."position" IS DISTINCT FROM NEW."position"
        OR OLD."role" IS DISTINCT FROM NEW."role"
        OR ARRAY[OLD."album_id", OLD."artist_id"]::uuid[] IS DISTINCT FROM ARRAY[NEW."album_id", NEW."artist_id"]::uuid[]
    THEN
        IF OLD."album_id" IS DISTINCT FROM NEW."album_id" THEN
            v_fields := v_fields || 'album_id'::text;
            v_before['album_id'] := to_jsonb(OLD."album_id");
            v_after['album_id'] := to_jsonb(NEW."album_id");
        END IF;
        IF OLD."artist_id" IS DISTINCT FROM NEW."artist_id" THEN
            v_fields := v_fields || 'artist_id'::text;
            v_before['artist_id'] := to_jsonb(OLD."artist_id");
            v_after['artist_id'] := to_jsonb(NEW."artist_id");
        END IF;
        IF OLD."role" IS DISTINCT FROM NEW."role" THEN
            v_fields := v_fields || 'role'::text;
            v_before['role'] := to_jsonb(OLD."role");
            v_after['role'] := to_jsonb(NEW."role");
        END IF;
        IF OLD."position" IS DISTINCT FROM NEW."position" THEN
            v_fields := v_fields || 'position'::text;
            v_before['position'] := to_jsonb(OLD."position");
            v_after['position'] := to_jsonb(NEW."position");
        END IF;
    END IF;
    IF v_fields IS NULL THEN
        RETURN NULL;  -- nothing changed, or only columns that are ignored
    END IF;
    v_subject_id := OLD.album_id::text;
    v_related_id := OLD.artist_id::text;
    IF v_subject_id IS DISTINCT FROM NEW.album_id::text THEN
        v_previous_id := v_subject_id;
    ELSIF v_related_id IS DISTINCT FROM NEW.artist_id::text THEN
        v_previous_id := v_related_id;
    END IF;
    IF v_previous_id IS NOT NULL THEN
        INSERT INTO llamalog.renamings (entity_type, old_id, new_id) VALUES ('ALBUM', v_previous_id, NEW.album_id::text);
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
        v_operation := coalesce(v_operation, concat_ws(':', 'album_artist', lower(coalesce(v_category, 'UPDATED')), v_source));
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type, previous_id,
        operation, category, source, sources, reason, fields_enriched, data_quality_before, data_quality_after,
        triggered_by, user_id, before, after, metadata,
        job_id, parent_job_id, root_job_id
    )
    VALUES (
        'U', 'ALBUM', NEW.album_id::text, 'ARTIST', NEW.artist_id::text,
        'ALBUM_ARTIST', v_previous_id,
        coalesce(v_operation, 'album_artist' || ':updated'), coalesce(v_category, 'UPDATED'), v_source,
        v_sources, v_reason, v_fields,
        NULL,
        NULL,
        v_triggered_by, v_user_id, v_before, v_after, v_metadata,
        v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id)
    );
    RETURN NULL;
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_album_artist_update"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_album_artist_update"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_album_artist_update"() IS 'Capture of public.album_artists, rendered by llamalog watch.';
-- Captures DELETE on public.album_artists, the whole row. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_album_artist_delete"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    -- prepared once a transaction, not for each row as it would be inside the INSERT
    v_before        jsonb := to_jsonb(OLD);
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
        'D', 'ALBUM', OLD.album_id::text, 'ARTIST', OLD.artist_id::text,
        'ALBUM_ARTIST',
        coalesce(v_operation, 'album_artist:unlinked:' || v_source, 'album_artist:unlinked'), 'UNLINKED', v_source,
        v_sources, v_reason, NULL,
        v_triggered_by, v_user_id, v_before, v_metadata,
        v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id)
    );
    RETURN NULL;
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_album_artist_delete"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_album_artist_delete"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_album_artist_delete"() IS 'Capture of public.album_artists, rendered by llamalog watch.';
RESET ROLE;
SELECT llamalog.hang_truncate_capture(member.oid, 'ALBUM_ARTIST')
FROM llamalog.family('"public"."album_artists"'::regclass) AS member (oid);
CREATE OR REPLACE TRIGGER "00_llamalog_insert"
    AFTER INSERT ON "public"."album_artists"
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION llamalog."capture_album_artist_insert"('ALBUM_ARTIST');
CREATE OR REPLACE TRIGGER "00_llamalog_update"
    AFTER UPDATE ON "public"."album_artists"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_album_artist_update"('ALBUM_ARTIST');
CREATE OR REPLACE TRIGGER "00_llamalog_delete"
    AFTER DELETE ON "public"."album_artists"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_album_artist_delete"('ALBUM_ARTIST');
SELECT llamalog.fit_pause('ALBUM_ARTIST');
