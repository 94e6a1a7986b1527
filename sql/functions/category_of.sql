-- The category of a change that does not say it itself; UPDATED where no rule knows the operation.
CREATE OR REPLACE FUNCTION llamalog.category_of(
    operation text,
    status    text DEFAULT NULL,
    source    text DEFAULT NULL
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(llamalog.known_category(category_of.operation, category_of.status, category_of.source), 'UPDATED');
$function$;

COMMENT ON FUNCTION llamalog.category_of(text, text, text) IS
    'Category by llamalog.category_rules, else UPDATED.';
