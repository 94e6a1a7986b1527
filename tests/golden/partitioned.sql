-- public.readings as READING: entity; key sensor, day; ignores updated_at; redacts owner_email; full image
WITH ended AS (
    UPDATE llamalog.pauses AS pause SET resumed_at = watch.unwatched_at
    FROM llamalog.watches AS watch
    WHERE pause.entity_type = 'READING' AND pause.resumed_at IS NULL
        AND watch.entity_type = pause.entity_type AND watch.unwatched_at IS NOT NULL
)
INSERT INTO llamalog.watches ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered")
VALUES ('READING', 'public', 'readings', false, '{sensor,day}', '{text,date}', NULL, 'READING', '{sensor,day}', NULL, NULL, NULL, NULL, '{updated_at}', '{owner_email}', 'full', 'log', 'rendered', '{"redact": ["owner_email"], "image": "full"}', 'cc3e63e2ffcf6cd67e63565cc10ed13f', '{"sensor": 1, "day": 2, "value": 3, "raw": 4, "owner_email": 5, "updated_at": 6}', 'c351fa4fbfa255d542e8925ca21ef0b6')
ON CONFLICT (entity_type) DO UPDATE SET
    ("entity_type", "schema_name", "table_name", "is_link", "key_columns", "key_types", "label_column", "subject_type", "subject_columns", "related_type", "related_columns", "quality_column", "source_column", "ignored_columns", "redacted_columns", "image", "on_truncate", "capture", "options", "fingerprint", "column_numbers", "rendered") = ROW(excluded."entity_type", excluded."schema_name", excluded."table_name", excluded."is_link", excluded."key_columns", excluded."key_types", excluded."label_column", excluded."subject_type", excluded."subject_columns", excluded."related_type", excluded."related_columns", excluded."quality_column", excluded."source_column", excluded."ignored_columns", excluded."redacted_columns", excluded."image", excluded."on_truncate", excluded."capture", excluded."options", excluded."fingerprint", excluded."column_numbers", excluded."rendered"),
    watched_at = CASE
        WHEN watches.unwatched_at IS NULL AND watches.key_columns = excluded.key_columns THEN watches.watched_at
        ELSE clock_timestamp()
    END,
    unwatched_at = NULL,
    is_lost = false;
SET ROLE "llamalog_owner";
-- Reads the row of public.readings that has a key, for llamalog.as_of() and its kin. Rendered by llamalog watch; change the watch,
-- not this.
-- With the rights of the caller, who may not see every row.
CREATE OR REPLACE FUNCTION llamalog."read_reading"(
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
    is_current := shape = '72364e52a453d9fc2238af0170cc7e1a';
    IF is_current THEN
        image := (SELECT jsonb_build_object('sensor', live.sensor, 'day', live.day, 'value', CASE WHEN live.value = 0 AND live.value::text = '-0' THEN to_jsonb(live.value::text) ELSE to_jsonb(live.value) END, 'raw', CASE WHEN jsonb_typeof(live.raw) = 'null' OR live.raw ? '$json' THEN jsonb_build_object('$json', live.raw) ELSE live.raw END) FROM public.readings AS live WHERE live.sensor = (llamalog.key_parts($1, 2))[1]::text AND live.day = (llamalog.key_parts($1, 2))[2]::date AND llamalog.key_text(live.sensor::text, (to_jsonb(live.day) #>> '{}')) COLLATE "default" = $1);
    END IF;
END;
$function$;
COMMENT ON FUNCTION llamalog."read_reading"(text, text) IS 'Reads a row of public.readings; rendered by llamalog watch.';
-- Reads the labels of living rows of public.readings, for llamalog.labels(). Rendered by llamalog watch; change the watch, not this.
-- With the rights of the caller, who may not see every row.
CREATE OR REPLACE FUNCTION llamalog."labels_reading"(
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
    is_current := shape = 'b65dd0a9a7b228c8a56dfac93e71ed56';
    IF is_current THEN
        SELECT found.*
        INTO ids, labels
        FROM (SELECT array_agg(wanted.id) AS ids, array_agg(llamalog.short_label(NULL::text)) AS labels FROM unnest($1) AS wanted (id) JOIN public.readings AS live ON live.sensor = (llamalog.key_parts(wanted.id, 2))[1]::text AND live.day = (llamalog.key_parts(wanted.id, 2))[2]::date) AS found;
    END IF;
END;
$function$;
COMMENT ON FUNCTION llamalog."labels_reading"(text[], text) IS 'Reads labels of rows of public.readings; rendered by llamalog watch.';
-- Captures INSERT on public.readings, one log row for each row. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_reading_insert"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET extra_float_digits = '1'
AS $function$
#variable_conflict use_variable
DECLARE
    -- prepared once a transaction, not for each row as it would be inside the INSERT
    v_fields        text[] := array_remove(
            ARRAY[
                CASE WHEN NEW.sensor IS NOT NULL THEN 'sensor' END,
                CASE WHEN NEW.day IS NOT NULL THEN 'day' END,
                CASE WHEN NEW.value IS NOT NULL THEN 'value' END,
                CASE WHEN NEW.raw IS NOT NULL THEN 'raw' END,
                CASE WHEN NEW.owner_email IS NOT NULL THEN 'owner_email' END
            ],
            NULL
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
    v_head          text;
    v_head_type     text;
    v_is_many       boolean := true;
    v_is_head       boolean;
    v_moved         text;
    v_previous_id   text;
    v_after         jsonb;
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
            v_is_head := v_head_type = 'READING';
        END IF;
    END IF;
    IF current_setting('llamalog.moved', true) <> '' THEN
        v_moved := concat_ws(E'\n', llamalog.statement_mark(), 'READING', '');
        v_moved := CASE
            WHEN NOT starts_with(current_setting('llamalog.moved'), v_moved) THEN NULL
            WHEN currval('llamalog.last_move') = hashtextextended(current_setting('llamalog.moved'), 0)
                THEN substr(current_setting('llamalog.moved'), length(v_moved) + 1)
        END;
        IF v_moved IS NOT NULL THEN
            v_previous_id := nullif(v_moved, llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default");
            v_metadata := llamalog.noted(v_metadata, 'moved', 'true');
            IF v_previous_id IS NOT NULL THEN
                INSERT INTO llamalog.renamings (entity_type, old_id, new_id) VALUES ('READING', v_previous_id, llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default");
                IF llamalog.has_deferrable_key(TG_RELID) THEN
                    v_metadata := llamalog.noted(v_metadata, 'statement', to_jsonb(llamalog.statement_mark()));
                END IF;
            END IF;
        END IF;
        PERFORM set_config('llamalog.moved', '', true);
    END IF;
    v_after := to_jsonb(NEW)
        || jsonb_build_object(
            'value', CASE WHEN NEW.value = 0 AND NEW.value::text = '-0' THEN to_jsonb(NEW.value::text) ELSE to_jsonb(NEW.value) END,
            'raw', CASE WHEN jsonb_typeof(NEW.raw) = 'null' OR NEW.raw ? '$json' THEN jsonb_build_object('$json', NEW.raw) ELSE NEW.raw END,
            'owner_email', CASE WHEN NEW.owner_email IS NOT NULL THEN '[redacted]'::text END
        );
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type, previous_id,
        operation, category, source, sources, reason, fields_enriched, data_quality_after,
        triggered_by, user_id, after, metadata,
        job_id, parent_job_id, root_job_id, is_root_job
    )
    VALUES (
        'I', 'READING', llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default", NULL, NULL,
        NULL, v_previous_id,
        coalesce(v_operation, 'reading:created:' || v_source, 'reading:created'), 'CREATED', v_source,
        v_sources, v_reason,
        v_fields,
        NULL,
        v_triggered_by, v_user_id,
        v_after,
        v_metadata,
        CASE
            WHEN v_is_head AND v_is_many THEN v_job_id || ('/' || 'READING' || ':') || llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default"
            WHEN v_is_head THEN v_job_id
        END,
        CASE
            WHEN v_is_head AND v_is_many THEN v_job_id
            WHEN v_is_head THEN v_parent_job_id
            ELSE v_job_id
        END,
        coalesce(v_root_job_id, v_parent_job_id, v_job_id),
        v_is_head
    );
    RETURN NULL;  -- the result of an AFTER trigger is ignored
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_reading_insert"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_reading_insert"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_reading_insert"() IS 'Capture of public.readings, rendered by llamalog watch.';
-- Captures UPDATE on public.readings: the changed columns, before and after. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_reading_update"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET extra_float_digits = '1'
AS $function$
#variable_conflict use_variable
DECLARE
    v_fields        text[];
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
    IF OLD."day" IS DISTINCT FROM NEW."day"
        OR ARRAY[OLD."sensor", OLD."owner_email"]::text[] COLLATE "C" IS DISTINCT FROM ARRAY[NEW."sensor", NEW."owner_email"]::text[] COLLATE "C"
        OR ROW(OLD."value", OLD."raw")::record
        OPERATOR(pg_catalog.*<>) ROW(NEW."value", NEW."raw")::record
    THEN
        IF OLD."sensor" IS DISTINCT FROM NEW."sensor" THEN
            v_fields := v_fields || 'sensor'::text;
            v_before['sensor'] := to_jsonb(OLD."sensor");
            v_after['sensor'] := to_jsonb(NEW."sensor");
            v_previous_id := nullif(llamalog.key_text(OLD.sensor::text, (to_jsonb(OLD.day) #>> '{}')) COLLATE "default", llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default");
            IF v_previous_id IS NOT NULL THEN
                INSERT INTO llamalog.renamings (entity_type, old_id, new_id) VALUES ('READING', v_previous_id, llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default");
            END IF;
        END IF;
        IF OLD."day" IS DISTINCT FROM NEW."day" THEN
            v_fields := v_fields || 'day'::text;
            v_before['day'] := to_jsonb(OLD."day");
            v_after['day'] := to_jsonb(NEW."day");
            v_previous_id := nullif(llamalog.key_text(OLD.sensor::text, (to_jsonb(OLD.day) #>> '{}')) COLLATE "default", llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default");
            IF v_previous_id IS NOT NULL THEN
                INSERT INTO llamalog.renamings (entity_type, old_id, new_id) VALUES ('READING', v_previous_id, llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default");
            END IF;
        END IF;
        IF ROW(OLD."value")::record
        OPERATOR(pg_catalog.*<>) ROW(NEW."value")::record THEN
            v_fields := v_fields || 'value'::text;
            v_before['value'] := CASE WHEN OLD."value" = 0 AND OLD."value"::text = '-0' THEN to_jsonb(OLD."value"::text) ELSE to_jsonb(OLD."value") END;
            v_after['value'] := CASE WHEN NEW."value" = 0 AND NEW."value"::text = '-0' THEN to_jsonb(NEW."value"::text) ELSE to_jsonb(NEW."value") END;
        END IF;
        IF ROW(OLD."raw")::record
        OPERATOR(pg_catalog.*<>) ROW(NEW."raw")::record THEN
            v_fields := v_fields || 'raw'::text;
            v_before['raw'] := CASE WHEN jsonb_typeof(OLD."raw") = 'null' OR OLD."raw" ? '$json' THEN jsonb_build_object('$json', OLD."raw") ELSE OLD."raw" END;
            v_after['raw'] := CASE WHEN jsonb_typeof(NEW."raw") = 'null' OR NEW."raw" ? '$json' THEN jsonb_build_object('$json', NEW."raw") ELSE NEW."raw" END;
        END IF;
        IF OLD."owner_email" IS DISTINCT FROM NEW."owner_email" THEN
            v_fields := v_fields || 'owner_email'::text;
            v_before['owner_email'] := to_jsonb(CASE WHEN OLD."owner_email" IS NOT NULL THEN '[redacted]'::text END);
            v_after['owner_email'] := to_jsonb(CASE WHEN NEW."owner_email" IS NOT NULL THEN '[redacted]'::text END);
        END IF;
    END IF;
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
        v_operation := coalesce(v_operation, concat_ws(':', 'reading', lower(coalesce(v_category, 'UPDATED')), v_source));
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type, previous_id,
        operation, category, source, sources, reason, fields_enriched, data_quality_before, data_quality_after,
        triggered_by, user_id, before, after, metadata,
        job_id, parent_job_id, root_job_id
    )
    VALUES (
        'U', 'READING', llamalog.key_text(NEW.sensor::text, (to_jsonb(NEW.day) #>> '{}')) COLLATE "default", NULL, NULL,
        NULL, v_previous_id,
        coalesce(v_operation, 'reading' || ':updated'), coalesce(v_category, 'UPDATED'), v_source,
        v_sources, v_reason, v_fields,
        NULL,
        NULL,
        v_triggered_by, v_user_id, v_before, v_after, v_metadata,
        v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id)
    );
    RETURN NULL;
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_reading_update"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_reading_update"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_reading_update"() IS 'Capture of public.readings, rendered by llamalog watch.';
-- Captures DELETE on public.readings, the whole row. Rendered by llamalog watch; change the watch, not this.
CREATE OR REPLACE FUNCTION llamalog."capture_reading_delete"()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET extra_float_digits = '1'
AS $function$
#variable_conflict use_variable
DECLARE
    -- prepared once a transaction, not for each row as it would be inside the INSERT
    v_before        jsonb := to_jsonb(OLD)
        || jsonb_build_object(
            'value', CASE WHEN OLD.value = 0 AND OLD.value::text = '-0' THEN to_jsonb(OLD.value::text) ELSE to_jsonb(OLD.value) END,
            'raw', CASE WHEN jsonb_typeof(OLD.raw) = 'null' OR OLD.raw ? '$json' THEN jsonb_build_object('$json', OLD.raw) ELSE OLD.raw END,
            'owner_email', CASE WHEN OLD.owner_email IS NOT NULL THEN '[redacted]'::text END
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
    IF llamalog.is_moving() THEN
        PERFORM set_config('llamalog.moved', concat_ws(E'\n', llamalog.statement_mark(), 'READING', llamalog.key_text(OLD.sensor::text, (to_jsonb(OLD.day) #>> '{}')) COLLATE "default"), true);
        PERFORM setval('llamalog.last_move', hashtextextended(current_setting('llamalog.moved'), 0));
    ELSE
        PERFORM set_config('llamalog.moved', '', true);
    END IF;
    INSERT INTO llamalog.llama_logs (
        op, entity_type, entity_id, related_type, related_id, link_type,
        operation, category, source, sources, reason, data_quality_before,
        triggered_by, user_id, before, metadata,
        job_id, parent_job_id, root_job_id
    )
    VALUES (
        'D', 'READING', llamalog.key_text(OLD.sensor::text, (to_jsonb(OLD.day) #>> '{}')) COLLATE "default", NULL, NULL,
        NULL,
        coalesce(v_operation, 'reading:deleted:' || v_source, 'reading:deleted'), 'DELETED', v_source,
        v_sources, v_reason, NULL,
        v_triggered_by, v_user_id, v_before, v_metadata,
        v_job_id, v_parent_job_id, coalesce(v_root_job_id, v_parent_job_id, v_job_id)
    );
    RETURN NULL;
END;
$function$;
REVOKE ALL ON FUNCTION llamalog."capture_reading_delete"() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION llamalog."capture_reading_delete"() TO "postgres";
COMMENT ON FUNCTION llamalog."capture_reading_delete"() IS 'Capture of public.readings, rendered by llamalog watch.';
RESET ROLE;
SELECT llamalog.hang_truncate_capture(member.oid, 'READING')
FROM llamalog.family('"public"."readings"'::regclass) AS member (oid);
CREATE OR REPLACE TRIGGER "00_llamalog_insert"
    AFTER INSERT ON "public"."readings"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_reading_insert"('READING');
CREATE OR REPLACE TRIGGER "00_llamalog_update"
    AFTER UPDATE ON "public"."readings"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_reading_update"('READING');
CREATE OR REPLACE TRIGGER "00_llamalog_delete"
    AFTER DELETE ON "public"."readings"
    FOR EACH ROW
    EXECUTE FUNCTION llamalog."capture_reading_delete"('READING');
SELECT llamalog.fit_pause('READING');
