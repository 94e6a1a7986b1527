-- Whether one statement may lead several rows through the same key: only then must their changes bear its mark.
CREATE OR REPLACE FUNCTION llamalog.has_deferrable_key(relation oid)
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (
        SELECT
        FROM pg_index AS index
        WHERE index.indrelid = relation
            AND index.indisunique
            AND NOT index.indimmediate
    );
$function$;

COMMENT ON FUNCTION llamalog.has_deferrable_key(oid) IS
    'True for a table with a deferrable unique key; where keys are checked at once, the order of the changes tells rows apart.';
