-- The span of time that somebody asks about; by default the last 30 days.
CREATE OR REPLACE FUNCTION llamalog.span(
    since_at timestamptz,
    until_at timestamptz
)
    RETURNS tstzrange
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_until timestamptz := coalesce(until_at, clock_timestamp());
    v_since timestamptz := coalesce(since_at, v_until - interval '30 days');
BEGIN
    PERFORM llamalog.check_span(v_since, until_at);
    RETURN tstzrange(v_since, v_until);
END;
$function$;

COMMENT ON FUNCTION llamalog.span(timestamptz, timestamptz) IS
    'The span from since_at (null: 30 days before its end) to until_at (null: now); raises 22023 as llamalog.check_span() does.';
