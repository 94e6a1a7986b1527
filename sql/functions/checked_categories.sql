-- Categories as the log spells them; refuses unknown ones.
CREATE OR REPLACE FUNCTION llamalog.checked_categories(given text[])
    RETURNS text[]
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_categories text[];
    v_unknown    text;
BEGIN
    SELECT array_agg(upper(wanted.category))
    INTO v_categories
    FROM unnest(given) AS wanted (category);
    SELECT wanted.category
    INTO v_unknown
    FROM unnest(v_categories) AS wanted (category)
    WHERE wanted.category <> ALL (llamalog.categories());
    IF v_unknown IS NOT NULL THEN
        RAISE EXCEPTION 'unknown category "%"', v_unknown
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Categories are ' || array_to_string(llamalog.categories(), ', ') || '.';
    END IF;
    RETURN v_categories;
END;
$function$;

COMMENT ON FUNCTION llamalog.checked_categories(text[]) IS
    'The categories in upper case, null for none given; raises 22023 for one that is not of llamalog.categories().';
