-- The name of the partition of a month.
CREATE OR REPLACE FUNCTION llamalog.month_partition(month timestamptz)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $function$
    SELECT 'llamalog.llama_logs_' || to_char(month_partition.month, 'YYYY_MM');
$function$;

COMMENT ON FUNCTION llamalog.month_partition(timestamptz) IS
    'llamalog.llama_logs_YYYY_MM of the month that the instant is in, in UTC.';
