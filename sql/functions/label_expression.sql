-- The SQL expression that gives the label of a row; without label column, or where that is gone, null.
CREATE OR REPLACE FUNCTION llamalog.label_expression(
    relation     oid,
    label_column text,
    row_name     text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(
        (
            SELECT
                CASE
                    WHEN known.is_builtin THEN format('%s.%I::text', row_name, known.name)
                    -- ::text would run a cast that the owner of the type has made, with the rights of the reader
                    ELSE format('CASE WHEN %1$s.%2$I IS NOT NULL THEN concat(%1$s.%2$I) END', row_name, known.name)
                END
            FROM llamalog.table_columns(relation) AS known
            WHERE known.name = label_column
        ),
        'NULL::text'
    );
$function$;

COMMENT ON FUNCTION llamalog.label_expression(oid, text, text) IS
    'SQL for the label of the row called row_name; runs no code of the table''s owner.';
