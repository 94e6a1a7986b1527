-- The SQL expression for the text of a column, null where it is empty; by output functions only, never by a cast, which may be
-- somebody's own.
CREATE OR REPLACE FUNCTION llamalog.text_expression(
    relation    oid,
    column_name text,
    row_name    text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format(
        CASE
            -- a label is a value, be it empty
            WHEN shown.compare = 'enum' THEN 'CASE WHEN %1$s.%2$I IS NOT NULL THEN concat(%1$s.%2$I) END'
            ELSE 'nullif(concat(%1$s.%2$I), '''')'
        END,
        row_name,
        shown.name
    )
    FROM llamalog.table_columns(relation) AS shown
    WHERE shown.name = column_name;
$function$;

COMMENT ON FUNCTION llamalog.text_expression(oid, text, text) IS
    'SQL for what data_quality and sources take from a column of the row called row_name; null where there is no such column.';
