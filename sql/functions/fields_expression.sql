-- The SQL expression that names the columns of a row that hold a value.
CREATE OR REPLACE FUNCTION llamalog.fields_expression(
    relation oid,
    ignored  text[],
    row_name text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        CASE
            WHEN count(*) = 0 THEN 'ARRAY[]::text[]'
            ELSE format(
                E'array_remove(\n            ARRAY[\n                %s\n            ],\n            NULL\n        )',
                string_agg(
                    format(
                        'CASE WHEN %s THEN %L END',
                        format(shown.has_value, format('%s.%I', fields_expression.row_name, shown.name)),
                        shown.name
                    ),
                    E',\n                '
                )
            )
        END
    FROM llamalog.table_columns(fields_expression.relation) AS shown
    WHERE NOT shown.is_generated
        AND shown.name <> ALL (fields_expression.ignored);
$function$;

COMMENT ON FUNCTION llamalog.fields_expression(oid, text[], text) IS
    'SQL for fields_enriched of a creation: the names of the columns that are not null in the row called row_name.';
