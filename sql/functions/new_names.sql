-- A list of columns by the names that they have now.
CREATE OR REPLACE FUNCTION llamalog.new_names(
    columns text[],
    renamed jsonb
)
    RETURNS text[]
    LANGUAGE sql
    IMMUTABLE
    STRICT
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(coalesce(renamed ->> given.name, given.name) ORDER BY given.position), '{}')
    FROM unnest(columns) WITH ORDINALITY AS given (name, position);
$function$;

COMMENT ON FUNCTION llamalog.new_names(text[], jsonb) IS
    'The columns, each that is a key of the object by the name that stands there.';
