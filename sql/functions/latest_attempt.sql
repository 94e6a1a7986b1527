-- The newest row about an entity itself, whoever wrote it: a change, or an attempt that an application wrote down.
-- With a status, the newest of that one; with a period, only if it is no older. What a job asks before it tries again.
CREATE OR REPLACE FUNCTION llamalog.latest_attempt(
    entity_type text,
    entity_id   text,
    status      text DEFAULT NULL,
    period      interval DEFAULT NULL
)
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
    v_type text := llamalog.entity_type(latest_attempt.entity_type);
    v_id   text := llamalog.entity_id(v_type, latest_attempt.entity_id);
    v_held record;
BEGIN
    FOR v_held IN
        SELECT held.*
        FROM llamalog.key_history(v_type, v_id) AS held
        ORDER BY held.before_seq DESC
    LOOP
        RETURN QUERY
        SELECT shown.*
        FROM llamalog.log AS log
        CROSS JOIN LATERAL llamalog.presented(log) AS shown
        WHERE log.entity_id = v_held.id
            AND log.entity_type = v_type
            AND log.link_type IS NULL
            AND log.seq >= v_held.after_seq
            AND log.seq < v_held.before_seq
            AND (latest_attempt.status IS NULL OR upper(latest_attempt.status) IN (log.status, log.category))
            AND (latest_attempt.period IS NULL OR log.created_at >= clock_timestamp() - latest_attempt.period)
        ORDER BY log.seq DESC
        LIMIT 1;
        EXIT WHEN FOUND;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.latest_attempt(text, text, text, interval) IS
    'The newest row of the log about the entity itself, of a status (or category, as FAILED) and within a period if given; its retry_count says how often that had been tried before.';
