-- Moves the rows of one month from DEFAULT into its partition, attached or not, and counts them.
CREATE OR REPLACE FUNCTION llamalog.move_out_of_default(month timestamptz)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $function$
DECLARE
    v_count bigint;
BEGIN
    EXECUTE format(
        $query$
        WITH leaving AS (
            DELETE FROM llamalog.llama_logs_default
            WHERE created_at >= $1
                AND created_at < $1 + interval '1 month'
            RETURNING *
        )
        INSERT INTO %s
        SELECT *
        FROM leaving
        $query$,
        llamalog.month_partition(month)
    )
    USING month;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END;
$function$;

COMMENT ON FUNCTION llamalog.move_out_of_default(timestamptz) IS
    'Part of llamalog.maintain(): the number of rows moved to the partition of the month that begins at the instant.';
