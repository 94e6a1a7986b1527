-- Refuses a number of rows below one.
CREATE OR REPLACE FUNCTION llamalog.check_row_limit(row_limit integer)
    RETURNS void
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF row_limit IS NULL OR row_limit < 1 THEN
        RAISE EXCEPTION 'row_limit % is not positive', coalesce(row_limit::text, 'null')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Ask for at least one row.';
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.check_row_limit(integer) IS
    'Raises 22023 unless the limit is at least 1.';
