-- A value as the log spells it, in whatever session: for conditions that the caller himself asks, with his settings.
CREATE OR REPLACE FUNCTION llamalog.spelled(value anyelement)
    RETURNS text
    LANGUAGE sql
    STABLE
    STRICT
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
AS $function$
    SELECT
        CASE
            WHEN pg_typeof(value) = 'timestamptz'::regtype THEN to_jsonb(value) #>> '{}'
            -- runs output functions only, where a cast may be somebody's own
            ELSE concat(value)
        END;
$function$;

COMMENT ON FUNCTION llamalog.spelled(anyelement) IS
    'Text of a value in a key, as llamalog.table_columns() has it where the session has the settings of a capture.';
