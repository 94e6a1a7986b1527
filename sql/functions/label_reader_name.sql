-- The name of the rendered function that reads labels of living rows, within the 63 bytes of an identifier.
CREATE OR REPLACE FUNCTION llamalog.label_reader_name(entity_type text)
    RETURNS text
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN 'labels_' || CASE
        WHEN octet_length(lower(entity_type)) <= 56 THEN lower(entity_type)
        ELSE md5(entity_type)
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.label_reader_name(text) IS
    'labels_album for ALBUM: what llamalog watch renders and llamalog.labels() calls.';
