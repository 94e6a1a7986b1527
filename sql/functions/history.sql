-- The recorded changes of one entity, newest first.
CREATE OR REPLACE FUNCTION llamalog.history(
    entity_type text,
    entity_id   text,
    row_limit   integer DEFAULT 50
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type text := llamalog.entity_type(history.entity_type);
    v_id   text := llamalog.entity_id(v_type, history.entity_id);
BEGIN
    PERFORM llamalog.check_row_limit(history.row_limit);
    RETURN QUERY
    SELECT shown.*
    FROM llamalog.key_history(v_type, v_id) AS held
    JOIN llamalog.log AS log
        ON log.entity_id = held.id
        AND log.seq >= held.after_seq
        AND log.seq < held.before_seq
    CROSS JOIN LATERAL llamalog.presented(log) AS shown
    WHERE log.entity_type = v_type
    ORDER BY log.seq DESC
    LIMIT history.row_limit;
END;
$function$;

COMMENT ON FUNCTION llamalog.history(text, text, integer) IS
    'Changes of one entity, newest first; also for entities since deleted, and through changes of its key.';
