-- Whether the creation of such an entity is a root when its path is not known: neither part nor link.
CREATE OR REPLACE FUNCTION llamalog.is_head_by_default(entity_type text)
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN NOT EXISTS (
        SELECT
        FROM llamalog.watches AS watch
        WHERE watch.entity_type = is_head_by_default.entity_type
            AND watch.related_type IS NOT NULL
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.is_head_by_default(text) IS
    'True for a type that is neither a part of another nor a link.';
