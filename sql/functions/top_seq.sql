-- The highest seq that a row has, or is about to have. By the sequence: an adopted log has no index on its seq.
-- SECURITY DEFINER: who may read the log has no right on its sequence.
CREATE OR REPLACE FUNCTION llamalog.top_seq()
    RETURNS bigint
    LANGUAGE plpgsql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_adopted regclass := to_regclass('llamalog.adopted_seq');
BEGIN
    IF v_adopted IS NOT NULL THEN
        -- whatever was there before counts from below
        RETURN coalesce(pg_sequence_last_value(v_adopted), 10000000000000);
    END IF;
    RETURN coalesce(pg_sequence_last_value(pg_get_serial_sequence('llamalog.llama_logs', 'id')), 0);
END;
$function$;

COMMENT ON FUNCTION llamalog.top_seq() IS
    'The highest seq given out so far.';
