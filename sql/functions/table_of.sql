-- The table that is watched, found by name whatever the rights of the caller; null when it is gone.
CREATE OR REPLACE FUNCTION llamalog.table_of(watch llamalog.watches)
    RETURNS oid
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT class.oid
        FROM pg_class AS class
        JOIN pg_namespace AS namespace
            ON namespace.oid = class.relnamespace
        WHERE namespace.nspname = watch.schema_name
            AND class.relname = watch.table_name
            -- a view of that name would run whatever it is made of
            AND class.relkind IN ('r', 'p')
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.table_of(llamalog.watches) IS
    'oid of the table named in the row of llamalog.watches.';
