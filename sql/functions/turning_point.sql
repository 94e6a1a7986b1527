-- The change since which an entity needs a person: the one that a rule has found itself, or that took the last part, or that
-- left the columns as they are; where there is none, the creation.
CREATE OR REPLACE FUNCTION llamalog.turning_point(needy llamalog.needy_entity)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- as in llamalog.history()
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_archived timestamptz := greatest(
        llamalog.archived_before(needy.entity_type),
        CASE WHEN needy.part_type IS NOT NULL THEN llamalog.archived_before(needy.part_type) END
    );
    v_ids      text[] := ARRAY(
        SELECT held.id
        FROM llamalog.key_history(needy.entity_type, needy.entity_id) AS held
    );
    v_change   llamalog.log;
    v_leaving  llamalog.log;
BEGIN
    IF needy.seq IS NOT NULL THEN
        RETURN QUERY
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.entity_id = ANY (v_ids)
            AND log.entity_type = needy.entity_type
            AND log.seq = needy.seq;
        RETURN;
    END IF;
    IF needy.part_type IS NOT NULL THEN
        -- what the log has last of each part while it belonged here
        FOR v_change IN
            SELECT DISTINCT ON (log.entity_id) log.*
            FROM llamalog.log AS log
            WHERE log.related_id = ANY (v_ids)
                AND log.related_type = needy.entity_type
                AND log.entity_type = needy.part_type
                AND log.link_type IS NULL
            ORDER BY log.entity_id, log.seq DESC
        LOOP
            IF v_change.op IS DISTINCT FROM 'D' AND v_change.op IS DISTINCT FROM 'T' THEN
                -- it has gone to another whole
                SELECT log.*
                INTO v_change
                FROM llamalog.log AS log
                WHERE (log.entity_id = v_change.entity_id OR log.previous_id = v_change.entity_id)
                    AND log.entity_type = v_change.entity_type
                    AND log.link_type IS NULL
                    AND log.seq > v_change.seq
                ORDER BY log.seq
                LIMIT 1;
            END IF;
            IF v_change.seq > v_leaving.seq OR v_leaving.seq IS NULL THEN
                v_leaving := v_change;
            END IF;
        END LOOP;
        IF v_leaving.seq IS NOT NULL THEN
            RETURN NEXT v_leaving;
            RETURN;
        END IF;
    END IF;
    -- the change that left the columns as they are
    SELECT shown.*
    INTO v_change
    FROM llamalog.key_history(needy.entity_type, needy.entity_id) AS held
    JOIN llamalog.log AS log
        ON log.entity_id = held.id
        AND log.seq >= held.after_seq
        AND log.seq < held.before_seq
    CROSS JOIN LATERAL llamalog.presented(log) AS shown
    WHERE log.entity_type = needy.entity_type
        AND log.link_type IS NULL
        AND (shown.category = 'CREATED' OR shown.category <> 'FAILED' AND shown.fields_enriched && needy.columns)
    ORDER BY shown.seq DESC
    LIMIT 1;
    -- between it and what the log has in full there may have been another
    IF v_change.seq IS NOT NULL AND (v_archived IS NULL OR v_change.created_at >= v_archived) THEN
        RETURN NEXT v_change;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.turning_point(llamalog.needy_entity) IS
    'The change that made an entity of llamalog.needing_attention() need a person; none where the log does not have it.';
