-- The SQL condition that finds a row by its key, through an index wherever that runs no code of the table's owner.
CREATE OR REPLACE FUNCTION llamalog.key_match(
    relation oid,
    columns  text[],
    row_name text,
    id       text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        CASE
            WHEN bool_and(known.is_builtin) AND count(*) = cardinality(key_match.columns)
                THEN string_agg(
                    format(
                        '%s.%I = (llamalog.key_parts(%s, %s))[%s]::%s',
                        row_name, known.name, id, cardinality(key_match.columns), wanted.position, known.base_type
                    ),
                    ' AND '
                    ORDER BY wanted.position
                )
            ELSE format('%s = %s', llamalog.key_expression(relation, key_match.columns, row_name), id)
        END
    FROM unnest(key_match.columns) WITH ORDINALITY AS wanted (name, position)
    JOIN llamalog.table_columns(relation) AS known
        ON known.name = wanted.name;
$function$;

COMMENT ON FUNCTION llamalog.key_match(oid, text[], text, text) IS
    'SQL that is true for the row called row_name with the key that the expression id gives as text.';
