-- An image value as a person reads it in a line.
CREATE OR REPLACE FUNCTION llamalog.shown_value(image jsonb)
    RETURNS text
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_text text;
BEGIN
    IF image IS NULL OR jsonb_typeof(image) = 'null' THEN
        RETURN 'nothing';
    END IF;
    v_text := CASE WHEN jsonb_typeof(image) = 'object' AND image ? '$json' THEN (image -> '$json')::text ELSE image #>> '{}' END;
    IF length(v_text) > 60 THEN
        v_text := left(v_text, 57) || llamalog.mark('ellipsis');
    END IF;
    IF jsonb_typeof(image) = 'string' THEN
        v_text := llamalog.mark('opening quote') || v_text || llamalog.mark('closing quote');
    END IF;
    RETURN v_text;
END;
$function$;

COMMENT ON FUNCTION llamalog.shown_value(jsonb) IS
    'The value cut to 60 characters, text in quotation marks, SQL NULL as nothing.';
