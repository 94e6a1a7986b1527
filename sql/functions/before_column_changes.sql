-- An image as it was before columns came, went or got another name; the changes newest first.
CREATE OR REPLACE FUNCTION llamalog.before_column_changes(
    image   jsonb,
    changes llamalog.column_changes[]
)
    RETURNS jsonb
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_image  jsonb := image;
    v_change llamalog.column_changes;
BEGIN
    FOREACH v_change IN ARRAY changes LOOP
        IF v_change.change = 'added' THEN
            v_image := v_image - v_change.column_name;
        ELSIF v_change.change = 'renamed' AND v_image ? v_change.column_name THEN
            -- a value under the old name is the older one
            v_image := jsonb_build_object(v_change.old_name, v_image -> v_change.column_name)
                || (v_image - v_change.column_name);
        END IF;
        -- of one that was dropped, an image of then has the value, or none has
    END LOOP;
    RETURN v_image;
END;
$function$;

COMMENT ON FUNCTION llamalog.before_column_changes(jsonb, llamalog.column_changes[]) IS
    'Part of llamalog.as_of(): added columns are taken out, renamed ones get the name that they had.';
