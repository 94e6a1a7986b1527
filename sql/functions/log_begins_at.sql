-- When the first change was logged that the log still has.
CREATE OR REPLACE FUNCTION llamalog.log_begins_at()
    RETURNS timestamptz
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    -- the first by the order of the log, which has an index: the time has none that knows the least
    SET enable_seqscan = off
    SET enable_bitmapscan = off
    SET jit = off
AS $function$
BEGIN
    RETURN (
        SELECT log.created_at
        FROM llamalog.log AS log
        ORDER BY log.seq
        LIMIT 1
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.log_begins_at() IS
    'Time of the first row by seq; null for an empty log. What was before is not known.';
