-- An error message without the values that a redacted column may have put into it.
CREATE OR REPLACE FUNCTION llamalog.redacted_error(
    message     text,
    code        text,
    entity_type text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        CASE
            WHEN EXISTS (
                SELECT
                FROM llamalog.watches AS watch
                WHERE watch.redacted_columns <> '{}'
                    AND watch.entity_type = coalesce(redacted_error.entity_type, watch.entity_type)
            )
                -- parentheses hold values, and so do quotation marks, but for the names in classes 23 and 42; greedy, since
                -- a value may hold either; n: within a line
                THEN regexp_replace(
                    CASE
                        WHEN left(coalesce(redacted_error.code, ''), 2) IN ('23', '42') THEN redacted_error.message
                        ELSE regexp_replace(redacted_error.message, '".*"', '"[redacted]"', 'gn')
                    END,
                    '\(.*\)',
                    '([redacted])',
                    'gn'
                )
            ELSE redacted_error.message
        END;
$function$;

COMMENT ON FUNCTION llamalog.redacted_error(text, text, text) IS
    'The message, its quoted values masked where the entity''s table (or, for no entity, any) has redacted columns.';
