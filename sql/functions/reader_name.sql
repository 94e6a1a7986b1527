-- The name of the rendered function that reads the living row of an entity, within the 63 bytes of an identifier.
CREATE OR REPLACE FUNCTION llamalog.reader_name(entity_type text)
    RETURNS text
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN 'read_' || CASE
        WHEN octet_length(lower(entity_type)) <= 58 THEN lower(entity_type)
        ELSE md5(entity_type)
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.reader_name(text) IS
    'read_album for ALBUM: what llamalog watch renders and llamalog.live_row() calls.';
