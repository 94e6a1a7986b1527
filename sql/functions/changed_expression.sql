-- The SQL expression that names the columns in which two versions of a row differ.
CREATE OR REPLACE FUNCTION llamalog.changed_expression(
    relation oid,
    ignored  text[],
    old_row  text,
    new_row  text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format(
        'array_remove(ARRAY[%s]::text[], NULL)',
        string_agg(
            format(
                'CASE WHEN %s THEN %L END',
                format(
                    CASE shown.compare
                        WHEN 'distinct' THEN '%1$s.%3$I IS DISTINCT FROM %2$s.%3$I'
                        WHEN 'enum' THEN
                            'enum_eq(%1$s.%3$I, %2$s.%3$I) IS NOT TRUE AND (%1$s.%3$I IS NOT NULL OR %2$s.%3$I IS NOT NULL)'
                        WHEN 'text' THEN 'concat(%1$s.%3$I) COLLATE "C" IS DISTINCT FROM concat(%2$s.%3$I) COLLATE "C"'
                        ELSE 'ROW(%1$s.%3$I)::record OPERATOR(pg_catalog.*<>) ROW(%2$s.%3$I)::record'
                    END,
                    changed_expression.old_row,
                    changed_expression.new_row,
                    shown.name
                ),
                shown.name
            ),
            ', '
        )
    )
    FROM llamalog.table_columns(changed_expression.relation) AS shown
    WHERE NOT shown.is_generated
        AND shown.name <> ALL (changed_expression.ignored);
$function$;

COMMENT ON FUNCTION llamalog.changed_expression(oid, text[], text, text) IS
    'SQL for the names of the columns in which the rows called old_row and new_row differ; an empty array where in none.';
