-- The name of the rendered function that says whether the caller sees a row, and of the policy that asks it: within the 63
-- bytes of an identifier.
CREATE OR REPLACE FUNCTION llamalog.sight_name(entity_type text)
    RETURNS text
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN 'sees_' || CASE
        WHEN octet_length(lower(entity_type)) <= 58 THEN lower(entity_type)
        ELSE md5(entity_type)
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.sight_name(text) IS
    'sees_album for ALBUM: what llamalog watch --row-security renders, and the policy of the log that calls it.';
