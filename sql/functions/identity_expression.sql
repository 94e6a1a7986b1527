-- The SQL expressions that read from one row who it is: the ids it is logged under, its quality and its sources.
CREATE OR REPLACE FUNCTION llamalog.identity_expression(
    relation oid,
    watch    llamalog.watches,
    row_name text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format(
        $$coalesce(%s, E'\\N'), %s, %s, %s$$,
        -- a table that has lost its key has nulls in what stands for it, or nothing to stand for it
        coalesce(llamalog.key_expression(relation, watch.subject_columns, row_name), 'NULL::text'),
        coalesce(llamalog.key_expression(relation, watch.related_columns, row_name), 'NULL::text'),
        coalesce(llamalog.text_expression(relation, watch.quality_column, row_name), 'NULL::text'),
        coalesce('ARRAY[' || llamalog.text_expression(relation, watch.source_column, row_name) || ']', 'NULL::text[]')
    );
$function$;

COMMENT ON FUNCTION llamalog.identity_expression(oid, llamalog.watches, text) IS
    'SQL for entity_id, related_id, quality and sources of the row called row_name, with commas between them.';
