-- Which keys of rows of a revert are the same to a foreign key: a char(5) has blanks that the text which it refers to has not, a
-- date is equal to a timestamp, and a collation may take capital letters for small ones.
CREATE OR REPLACE FUNCTION llamalog.matching_keys(
    child          oid,
    child_columns  text[],
    child_keys     jsonb[],
    parent         oid,
    parent_columns text[],
    parent_keys    jsonb[],
    condition      text
)
    RETURNS TABLE (
        child_key  jsonb,
        parent_key jsonb
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
DECLARE
    c_numbers CONSTANT text[] := '{smallint,integer,bigint,numeric}';
    c_texts   CONSTANT text[] := '{text,character varying}';
    v_query   text;
BEGIN
    SELECT
        format(
            $query$
                SELECT referring.key, referred.key
                FROM unnest($1) AS referring (key)
                CROSS JOIN LATERAL jsonb_to_record(jsonb_build_object(%s)) AS child (%s)
                CROSS JOIN unnest($2) AS referred (key)
                CROSS JOIN LATERAL jsonb_to_record(jsonb_build_object(%s)) AS live (%s)
                WHERE %s
            $query$,
            string_agg(format('%L, referring.key -> %s', one.name, pair.position - 1), ', '),
            string_agg(format('%I %s', one.name, one.type_name), ', '),
            string_agg(format('%L, referred.key -> %s', other.name, pair.position - 1), ', '),
            string_agg(format('%I %s', other.name, other.type_name), ', '),
            matching_keys.condition
        )
    INTO v_query
    FROM unnest(matching_keys.child_columns, matching_keys.parent_columns) WITH ORDINALITY AS pair (child_column, parent_column, position)
    JOIN llamalog.table_columns(matching_keys.child) AS one
        ON one.name = pair.child_column
    JOIN llamalog.table_columns(matching_keys.parent) AS other
        ON other.name = pair.parent_column
    -- mostly, values are equal where their images are
    HAVING NOT bool_and(
        one.base_type = ANY (c_numbers) AND other.base_type = ANY (c_numbers)
        OR one.compare IN ('distinct', 'enum')
            AND other.compare IN ('distinct', 'enum')
            AND (one.base_type = other.base_type OR one.base_type = ANY (c_texts) AND other.base_type = ANY (c_texts))
    );
    IF v_query IS NULL THEN
        RETURN QUERY
        SELECT given.key, given.key
        FROM unnest(matching_keys.child_keys) AS given (key);
        RETURN;
    END IF;
    RETURN QUERY EXECUTE v_query
    USING matching_keys.child_keys, matching_keys.parent_keys;
END;
$function$;

COMMENT ON FUNCTION llamalog.matching_keys(oid, text[], jsonb[], oid, text[], jsonb[], text) IS
    'Part of llamalog.revert_plan(): pairs of keys, as llamalog.picked() gives them, by which a row of child refers to one of parent; condition: as llamalog.foreign_keys() has it.';
