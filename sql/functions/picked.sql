-- The values of some columns of an image, as one value to compare; null where one of them is null, or redacted: what it is in
-- the table is not known then, and no revert writes it.
CREATE OR REPLACE FUNCTION llamalog.picked(
    image   jsonb,
    columns text[]
)
    RETURNS jsonb
    LANGUAGE plpgsql
    IMMUTABLE
    STRICT
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_name   text;
    v_values jsonb := '[]';
BEGIN
    FOREACH v_name IN ARRAY columns LOOP
        IF coalesce(image -> v_name, 'null') IN ('null', '"[redacted]"') THEN
            RETURN NULL;
        END IF;
        v_values := v_values || jsonb_build_array(image -> v_name);
    END LOOP;
    RETURN v_values;
END;
$function$;

COMMENT ON FUNCTION llamalog.picked(jsonb, text[]) IS
    'Array of the values of these columns; null when one is null, redacted or not there, or there is no image.';
