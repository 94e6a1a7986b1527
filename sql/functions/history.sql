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
    -- how many rows an entity has is not known when it is planned: in their order, the last ones suffice
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type text := llamalog.entity_type(history.entity_type);
    v_id   text := llamalog.entity_id(v_type, history.entity_id);
    v_left integer := history.row_limit;
    v_held record;
    v_rows integer;
BEGIN
    PERFORM llamalog.check_row_limit(history.row_limit);
    -- key by key, the newest first: each is read backward through its index, and no further than asked for
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
            AND log.seq >= v_held.after_seq
            AND log.seq < v_held.before_seq
        ORDER BY log.seq DESC
        LIMIT v_left;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_left := v_left - v_rows;
        EXIT WHEN v_left < 1;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.history(text, text, integer) IS
    'Changes of one entity, newest first; also for entities since deleted, and through changes of its key.';
