-- When a failure was made good: by a later success of the same path, or by the removal of the entity.
CREATE OR REPLACE FUNCTION llamalog.resolved_at(failure llamalog.log)
    RETURNS timestamptz
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    SET enable_seqscan = off
AS $function$
DECLARE
    -- months before it need not be opened; a clock may be set back a little
    c_since   CONSTANT timestamptz := failure.created_at - interval '1 hour';
    v_id      text := failure.entity_id;
    v_seq     bigint := failure.seq + 1;
    v_renamed record;
    v_at      timestamptz;
BEGIN
    IF v_id IS NULL THEN
        -- a job failed as a whole
        RETURN (
            SELECT later.created_at
            FROM llamalog.log AS later
            WHERE later.job_id = failure.job_id
                AND later.seq >= v_seq
                AND later.created_at >= c_since
                AND later.category <> 'FAILED'
                AND later.status IN ('SUCCESS', 'COMPLETED', 'PARTIAL_SUCCESS')
            ORDER BY later.seq
            LIMIT 1
        );
    END IF;
    LOOP
        -- under each key that the entity has had since, as long as it had it
        SELECT log.entity_id, log.seq
        INTO v_renamed
        FROM llamalog.log AS log
        WHERE log.previous_id = v_id
            AND log.entity_type = failure.entity_type
            AND log.link_type IS NULL
            AND log.seq >= v_seq
            AND log.created_at >= c_since
        ORDER BY log.seq
        LIMIT 1;
        SELECT later.created_at
        INTO v_at
        FROM llamalog.log AS later
        WHERE later.entity_id = v_id
            AND later.entity_type = failure.entity_type
            AND later.link_type IS NULL
            AND later.seq >= v_seq
            AND (v_renamed.seq IS NULL OR later.seq < v_renamed.seq)
            AND later.created_at >= c_since
            AND CASE
                -- but not where it only moved to another partition
                WHEN later.op IN ('D', 'T') THEN EXISTS (SELECT FROM llamalog.presented(later))
                -- that an administrator corrects a title does not make a failed enrichment succeed
                ELSE later.category <> 'FAILED'
                    AND later.status IN ('SUCCESS', 'COMPLETED', 'PARTIAL_SUCCESS')
                    AND (failure.source IS NULL OR later.source = failure.source OR later.job_id = failure.job_id)
            END
        ORDER BY later.seq
        LIMIT 1;
        IF v_at IS NOT NULL OR v_renamed.seq IS NULL THEN
            RETURN v_at;
        END IF;
        v_id := v_renamed.entity_id;
        v_seq := v_renamed.seq;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.resolved_at(llamalog.log) IS
    'Instant of the first later success of the same source or job (of any, where the failure names no source), or of the removal of the entity; null while the failure stands.';
