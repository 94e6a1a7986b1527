-- The SQL expression that gives the key of a row as text.
CREATE OR REPLACE FUNCTION llamalog.key_expression(
    relation oid,
    columns  text[],
    row_name text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        CASE
            WHEN count(*) = 0 THEN NULL
            WHEN bool_and(known.key_is_safe) THEN
                string_agg(
                    format(known.key, format('%s.%I', key_expression.row_name, known.name)),
                    $$ || ',' || $$
                    ORDER BY wanted.position
                )
            ELSE
                -- a key is another when its text is, whatever its columns' collations call equal, or cannot compare
                format(
                    'llamalog.key_text(%s) COLLATE "default"',
                    string_agg(
                        format(known.key, format('%s.%I', key_expression.row_name, known.name)),
                        ', '
                        ORDER BY wanted.position
                    )
                )
        END
    FROM unnest(key_expression.columns) WITH ORDINALITY AS wanted (name, position)
    JOIN llamalog.table_columns(key_expression.relation) AS known
        ON known.name = wanted.name;
$function$;

COMMENT ON FUNCTION llamalog.key_expression(oid, text[], text) IS
    'SQL for the text of a key, as it stands in entity_id, read from the row called row_name; null for no columns.';
