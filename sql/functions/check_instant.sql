-- Refuses an instant about which nothing can be asked yet.
CREATE OR REPLACE FUNCTION llamalog.check_instant(at timestamptz)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF at IS NULL OR at > clock_timestamp() THEN
        RAISE EXCEPTION 'the instant % is %', at, CASE WHEN at IS NULL THEN 'missing' ELSE 'in the future' END
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give an instant that has passed; text without a zone is read in that of the session.';
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.check_instant(timestamptz) IS
    'Raises 22023 for one that is missing, or in the future.';
