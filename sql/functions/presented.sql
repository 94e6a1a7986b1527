-- A change as every question shows it: the DELETE and INSERT of a row that moved between partitions are one UPDATE.
CREATE OR REPLACE FUNCTION llamalog.presented(change llamalog.log)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_change  llamalog.log := change;
    v_other   llamalog.log;
    v_ignored text[];
BEGIN
    IF v_change.op = 'D' THEN
        SELECT log.*
        INTO v_other
        FROM llamalog.log AS log
        WHERE log.entity_id = v_change.entity_id
            AND log.entity_type = v_change.entity_type
            AND log.link_type IS NOT DISTINCT FROM v_change.link_type
            AND log.seq > v_change.seq
            AND log.txid = v_change.txid
        ORDER BY log.seq
        LIMIT 1;
        IF llamalog.was_renamed(ARRAY[v_change.entity_id]) THEN
            SELECT found.*
            INTO v_other
            FROM (
                SELECT v_other.*
                UNION ALL
                SELECT log.*
                FROM llamalog.log AS log
                WHERE log.previous_id = v_change.entity_id
                    AND log.entity_type = v_change.entity_type
                    AND log.link_type IS NOT DISTINCT FROM v_change.link_type
                    AND log.seq > v_change.seq
                    AND log.txid = v_change.txid
            ) AS found
            ORDER BY found.seq
            LIMIT 1;
        END IF;
        IF v_other.op = 'I'
            AND v_other.metadata @> '{"llamalog": {"moved": true}}'
            -- another row may have moved to the key
            AND coalesce(v_other.previous_id, v_other.entity_id) = v_change.entity_id
        THEN
            RETURN;  -- shown with its INSERT
        END IF;
    ELSIF v_change.op = 'I' AND v_change.metadata @> '{"llamalog": {"moved": true}}' THEN
        SELECT log.*
        INTO v_other
        FROM llamalog.log AS log
        WHERE log.entity_id = coalesce(v_change.previous_id, v_change.entity_id)
            AND log.entity_type = v_change.entity_type
            AND log.link_type IS NOT DISTINCT FROM v_change.link_type
            AND log.seq < v_change.seq
            AND log.txid = v_change.txid
            AND log.op = 'D'
        ORDER BY log.seq DESC
        LIMIT 1;
        SELECT watch.ignored_columns
        INTO v_ignored
        FROM llamalog.watches AS watch
        WHERE watch.entity_type = coalesce(v_change.link_type, v_change.entity_type);
        SELECT array_agg(new.key ORDER BY new.key), jsonb_object_agg(new.key, old.value), jsonb_object_agg(new.key, new.value)
        INTO v_change.fields_enriched, v_change.before, v_change.after
        FROM jsonb_each(v_change.after) AS new
        LEFT JOIN jsonb_each(v_other.before) AS old
            ON old.key = new.key
        -- as text: as jsonb, 1.0 and 1.00 are equal
        WHERE new.value::text IS DISTINCT FROM old.value::text
            AND new.key <> ALL (coalesce(v_ignored, '{}'));
        v_change.op := 'U';
        v_change.category := CASE
            WHEN current_category.category IS NULL THEN 'UPDATED'
            ELSE current_category.category
        END
        FROM (
            SELECT (
                SELECT path.category
                FROM llamalog.source_paths AS path
                WHERE path.source = v_change.source
                    AND path.category <> 'CREATED'
            ) AS category
        ) AS current_category;
        v_change.operation := replace(v_change.operation, ':created', ':' || lower(v_change.category));
        v_change.data_quality_before := v_other.data_quality_before;
        v_change.is_root_job := false;
        v_change.job_id := v_other.job_id;
        v_change.parent_job_id := v_other.parent_job_id;
    END IF;
    RETURN NEXT v_change;
END;
$function$;

COMMENT ON FUNCTION llamalog.presented(llamalog.log) IS
    'The change itself; for the INSERT half of a move between partitions the UPDATE that it was, for the DELETE half nothing.';
