-- The columns of a watched table that have another name now than when its capture was made.
CREATE OR REPLACE FUNCTION llamalog.renamed_columns(
    watch    llamalog.watches,
    relation oid
)
    RETURNS jsonb
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- a column whose new name was known was not renamed: it took the name of another, or another table took its place
    SELECT coalesce(jsonb_object_agg(known.name, attribute.attname), '{}')
    FROM jsonb_each_text(watch.column_numbers) AS known (name, number)
    JOIN pg_attribute AS attribute
        ON attribute.attrelid = renamed_columns.relation
        AND attribute.attnum = known.number::smallint
        AND NOT attribute.attisdropped
    WHERE NOT watch.column_numbers ? attribute.attname::text
        AND NOT llamalog.is_renumbered(watch, renamed_columns.relation);
$function$;

COMMENT ON FUNCTION llamalog.renamed_columns(llamalog.watches, oid) IS
    'Object of old names and new names; empty when no column was renamed.';
