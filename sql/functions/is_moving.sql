-- Whether the row that a trigger was fired for is deleted by an UPDATE that moves it to another partition.
CREATE OR REPLACE FUNCTION llamalog.is_moving()
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(
        (pg_trigger_depth())::text
            = ANY (string_to_array(nullif(current_setting('llamalog.updates', true), ''), ' ')),
        false
    );
$function$;

COMMENT ON FUNCTION llamalog.is_moving() IS
    'For row triggers on DELETE of a partitioned table: true inside an UPDATE.';
