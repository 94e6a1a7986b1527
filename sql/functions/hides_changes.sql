-- Whether changes of a type may be hidden from the caller: what he finds may then not be all.
CREATE OR REPLACE FUNCTION llamalog.hides_changes(entity_type text)
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN row_security_active('llamalog.llama_logs'::regclass)
        AND NOT llamalog.reads_all()
        AND EXISTS (
            SELECT
            FROM llamalog.watches AS watch
            WHERE watch.entity_type = hides_changes.entity_type
                AND watch.options @> '{"row_security": true}'
        );
END;
$function$;

COMMENT ON FUNCTION llamalog.hides_changes(text) IS
    'True where the row security of a table is carried over to the log, and holds for the caller.';
