-- From when to when a pause lasted, in words.
CREATE OR REPLACE FUNCTION llamalog.pause_told(pause llamalog.pauses)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN CASE
        WHEN pause.resumed_at IS NULL THEN format('capture is paused since %s', pause.paused_at)
        ELSE format('capture was paused from %s to %s', pause.paused_at, pause.resumed_at)
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.pause_told(llamalog.pauses) IS
    'Part of a sentence, times in the zone of the session.';
