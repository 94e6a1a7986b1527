-- Refuses a span of time that has not begun, or that ends before it begins.
CREATE OR REPLACE FUNCTION llamalog.check_span(
    since_at timestamptz,
    until_at timestamptz
)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- first: where the end is now, to swap them would help nobody
    IF since_at > clock_timestamp() THEN
        RAISE EXCEPTION 'the start, %, is in the future', since_at
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give an instant that has passed. Without an offset SQL reads it in the time zone of the session, the command line as UTC.';
    END IF;
    IF since_at > until_at THEN
        RAISE EXCEPTION 'the start, %, is after the end, %', since_at, until_at
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Swap them.';
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.check_span(timestamptz, timestamptz) IS
    'Raises 22023 when the start is in the future, or after the end; null stands for no bound.';
