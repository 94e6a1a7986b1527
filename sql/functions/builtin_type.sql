-- The type that PostgreSQL brought along under a column, domains taken off; null where it is somebody's own.
-- As llamalog.table_columns() has it, without the rest: every question asks for it.
CREATE OR REPLACE FUNCTION llamalog.builtin_type(
    relation    oid,
    column_name text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    -- names of types are compared
    SET quote_all_identifiers = off
AS $function$
DECLARE
    v_type pg_type;
BEGIN
    SELECT type.*
    INTO v_type
    FROM pg_attribute AS attribute
    JOIN pg_type AS type
        ON type.oid = attribute.atttypid
    WHERE attribute.attrelid = builtin_type.relation
        AND attribute.attname = builtin_type.column_name
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped;
    WHILE v_type.typtype = 'd' LOOP
        SELECT type.*
        INTO v_type
        FROM pg_type AS type
        WHERE type.oid = v_type.typbasetype;
    END LOOP;
    -- -1: of any length, character alone would be one
    IF v_type.typelem <> 0 AND v_type.typlen = -1 AND v_type.typcategory = 'A' THEN
        -- of an array, its elements tell
        RETURN CASE WHEN v_type.typelem < 16384 THEN format_type(v_type.oid, -1) END;
    END IF;
    RETURN CASE WHEN v_type.oid < 16384 THEN format_type(v_type.oid, -1) END;
END;
$function$;

COMMENT ON FUNCTION llamalog.builtin_type(oid, text) IS
    'Name of the built-in type of a column, without its modifier; null for another type, and where there is no such column.';
