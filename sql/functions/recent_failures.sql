-- What failed lately, newest first, and whether it was made good since.
CREATE OR REPLACE FUNCTION llamalog.recent_failures(
    entity_type     text DEFAULT NULL,
    entity_id       text DEFAULT NULL,
    period          interval DEFAULT interval '7 days',
    unresolved_only boolean DEFAULT false,
    row_limit       integer DEFAULT NULL
)
    RETURNS SETOF llamalog.failure
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_variable
DECLARE
    v_type     text := CASE WHEN entity_type IS NOT NULL THEN llamalog.entity_type(entity_type) END;
    v_id       text := CASE WHEN entity_id IS NOT NULL THEN llamalog.entity_id(v_type, entity_id) END;
    v_left     integer := row_limit;
    v_change   llamalog.log;
    v_resolved timestamptz;
BEGIN
    IF row_limit IS NOT NULL THEN
        PERFORM llamalog.check_row_limit(row_limit);
    END IF;
    IF v_type IS NULL AND entity_id IS NOT NULL THEN
        RAISE EXCEPTION 'an id without the type of its entity'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Pass entity_type too.';
    END IF;
    FOR v_change IN
        SELECT failed.*
        FROM llamalog.failed_changes(v_type, v_id, period) AS failed
    LOOP
        v_resolved := llamalog.resolved_at(v_change);
        CONTINUE WHEN unresolved_only AND v_resolved IS NOT NULL;
        RETURN NEXT ROW(
            v_change.seq,
            v_change.created_at,
            v_change.entity_type,
            v_change.entity_id,
            (
                SELECT known.label
                FROM llamalog.last_key(v_change.entity_type, v_change.entity_id) AS present (key)
                CROSS JOIN LATERAL llamalog.labels(v_change.entity_type, ARRAY[present.key]) AS known
            ),
            v_change.operation,
            v_change.source,
            v_change.error_code,
            v_change.error_message,
            v_change.reason,
            v_change.retry_count,
            v_change.job_id,
            v_change.parent_job_id,
            v_change.root_job_id,
            v_change.user_id,
            v_resolved
        )::llamalog.failure;
        v_left := v_left - 1;
        EXIT WHEN v_left < 1;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.recent_failures(text, text, interval, boolean, integer) IS
    'Failures of the period, newest first, of one entity, of one type or all; unresolved_only: those that no later success of the same path has made good.';
