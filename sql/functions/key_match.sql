-- The SQL condition that finds a row by its key, through an index wherever that runs no code of the table's owner.
CREATE OR REPLACE FUNCTION llamalog.key_match(
    relation oid,
    columns  text[],
    row_name text,
    id       text,
    equals   text DEFAULT '='
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_parts text[] := '{}';
    v_type  text;
BEGIN
    FOR v_position IN 1 .. cardinality(columns) LOOP
        v_type := llamalog.builtin_type(relation, columns[v_position]);
        -- from text to regclass there is a cast that does not read every value
        IF v_type IS NULL OR v_type = 'regclass' THEN
            RETURN format('%s %s %s', llamalog.key_expression(relation, columns, row_name), equals, id);
        END IF;
        v_parts := v_parts || format(
            '%s.%I %s %s::%s',
            row_name,
            columns[v_position],
            equals,
            CASE
                WHEN cardinality(columns) = 1 THEN id
                ELSE format('(llamalog.key_parts(%s, %s))[%s]', id, cardinality(columns), v_position)
            END,
            v_type
        );
    END LOOP;
    RETURN array_to_string(v_parts, ' AND ');
END;
$function$;

COMMENT ON FUNCTION llamalog.key_match(oid, text[], text, text, text) IS
    'SQL that is true for the row called row_name with the key that the expression id gives as text; equals: the operator, which is to be named in full where search_path is not pinned.';
