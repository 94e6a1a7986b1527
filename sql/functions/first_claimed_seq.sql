-- Where rows begin that others than llamalog may have written: what one says of llamalog from there on is a claim.
CREATE OR REPLACE FUNCTION llamalog.first_claimed_seq()
    RETURNS bigint
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- of an adopted log, where the rows of our own that were written by then are shown
    RETURN CASE WHEN to_regclass('llamalog.adopted_seq') IS NULL THEN 1 ELSE 9000000000001 END;
END;
$function$;

COMMENT ON FUNCTION llamalog.first_claimed_seq() IS
    'The lowest seq of a row that an application may have written; what llamalog backfill inferred stands below.';
