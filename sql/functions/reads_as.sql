-- Whether a text is a value of the type of a column, domains taken off: of an enum one of its labels. Input functions of
-- PostgreSQL's own are asked; of other types only their owner's code could say, and every text passes.
CREATE OR REPLACE FUNCTION llamalog.reads_as(
    value       text,
    relation    oid,
    column_name text
)
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_type text := llamalog.builtin_type(reads_as.relation, reads_as.column_name);
BEGIN
    IF v_type IS NULL THEN
        RETURN (
            SELECT coalesce(bool_or(label.enumlabel = reads_as.value), true)
            FROM pg_attribute AS attribute
            JOIN pg_enum AS label
                ON label.enumtypid = attribute.atttypid
            WHERE attribute.attrelid = reads_as.relation
                AND attribute.attname = reads_as.column_name
        );
    END IF;
    EXECUTE format('SELECT %L::%s', reads_as.value, v_type::regtype);
    RETURN true;
EXCEPTION
    -- names that are not there, as of a regclass, are of the second class
    WHEN data_exception OR syntax_error_or_access_rule_violation OR feature_not_supported OR program_limit_exceeded THEN
        RETURN false;
END;
$function$;

COMMENT ON FUNCTION llamalog.reads_as(text, oid, text) IS
    'Whether the column could hold the value that the text says; true where the type is somebody''s own, and no enum.';
