-- The columns of a table's primary key, in key order; null when it has none.
CREATE OR REPLACE FUNCTION llamalog.primary_key(relation oid)
    RETURNS text[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT array_agg(attribute.attname::text ORDER BY part.position)
    FROM pg_index AS index
    CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS part (attnum, position)
    JOIN pg_attribute AS attribute
        ON attribute.attrelid = index.indrelid
        AND attribute.attnum = part.attnum
    WHERE index.indrelid = primary_key.relation
        AND index.indisprimary
        AND part.position <= index.indnkeyatts;
$function$;

COMMENT ON FUNCTION llamalog.primary_key(oid) IS
    'Names of the primary key columns, in key order; null when there is no primary key.';
