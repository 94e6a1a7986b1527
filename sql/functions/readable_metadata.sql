-- The metadata of a context as an object, whatever was set: context never fails a write.
CREATE OR REPLACE FUNCTION llamalog.readable_metadata(given text)
    RETURNS jsonb
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_metadata jsonb;
BEGIN
    v_metadata := given::jsonb;
    IF jsonb_typeof(v_metadata) = 'object' THEN
        RETURN v_metadata - 'llamalog';  -- there only capture speaks
    END IF;
    RETURN jsonb_build_object('metadata', v_metadata);
EXCEPTION
    WHEN data_exception OR program_limit_exceeded THEN
        RETURN jsonb_build_object('llamalog', jsonb_build_object('malformed_metadata', left(given, 200)));
END;
$function$;

COMMENT ON FUNCTION llamalog.readable_metadata(text) IS
    'The object that the text holds; text that is no JSON comes back, cut to 200 characters, under "llamalog".';
