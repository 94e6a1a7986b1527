-- The category that the rules give an operation; null when no rule fits. llamalog.category_rules is where it is decided.
CREATE OR REPLACE FUNCTION llamalog.known_category(
    operation  text,
    status     text DEFAULT NULL,
    source     text DEFAULT NULL,
    categories text[] DEFAULT NULL
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_category text;
BEGIN
    SELECT rule.category
    INTO v_category
    FROM llamalog.category_rules AS rule
    WHERE (rule.operation IS NULL OR known_category.operation ILIKE rule.operation)
        AND (rule.status IS NULL OR lower(rule.status) = lower(known_category.status))
        AND (rule.source IS NULL OR rule.source = known_category.source)
        AND (known_category.categories IS NULL OR rule.category = ANY (known_category.categories))
    ORDER BY rule.position
    LIMIT 1;
    IF v_category IS NULL THEN
        SELECT path.category
        INTO v_category
        FROM llamalog.source_paths AS path
        WHERE path.source = known_category.source;
    END IF;
    RETURN v_category;
END;
$function$;

COMMENT ON FUNCTION llamalog.known_category(text, text, text, text[]) IS
    'Category by the first rule that fits (of these categories only, if given), else that of the path; null when neither is known.';
