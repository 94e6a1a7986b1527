-- The types whose tables the caller may not read: what their rows need is not for his eyes, and must not pass for nothing.
CREATE OR REPLACE FUNCTION llamalog.unreadable_types()
    RETURNS text[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(watch.entity_type ORDER BY watch.entity_type), '{}')
    FROM llamalog.watches AS watch
    WHERE watch.unwatched_at IS NULL
        AND NOT watch.is_link
        AND CASE
            WHEN llamalog.table_of(watch) IS NOT NULL
                THEN NOT has_schema_privilege(watch.schema_name, 'USAGE')
                    OR NOT has_table_privilege(llamalog.table_of(watch), 'SELECT')
        END;
$function$;

COMMENT ON FUNCTION llamalog.unreadable_types() IS
    'Watched types, links apart, whose tables the caller may not read; llamalog.attention() leaves them out unless asked for them by name.';
