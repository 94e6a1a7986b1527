-- The SQL expression that gives the label of a row; without label column, or where that is gone, null.
CREATE OR REPLACE FUNCTION llamalog.label_expression(
    relation     oid,
    label_column text,
    row_name     text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF llamalog.builtin_type(relation, label_column) IS NOT NULL THEN
        RETURN format('%s.%I::text', row_name, label_column);
    END IF;
    IF EXISTS (
            SELECT
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = relation
                AND attribute.attname = label_column
                AND attribute.attnum > 0
                AND NOT attribute.attisdropped
        )
    THEN
        -- ::text would run a cast that the owner of the type has made, with the rights of the reader
        RETURN format('CASE WHEN %1$s.%2$I IS NOT NULL THEN concat(%1$s.%2$I) END', row_name, label_column);
    END IF;
    RETURN 'NULL::text';
END;
$function$;

COMMENT ON FUNCTION llamalog.label_expression(oid, text, text) IS
    'SQL for the label of the row called row_name; runs no code of the table''s owner.';
