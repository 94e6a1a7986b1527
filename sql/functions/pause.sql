-- Stops logging what is written to a table, until llamalog.resume(); waits for no writer, and keeps none waiting.
--
-- Who writes while this commits may be logged in whole, in part, or not: from paused_at on the log proves nothing. What was
-- committed before is logged. EXECUTE is not PUBLIC's: see llamalog.may_administer().
CREATE OR REPLACE FUNCTION llamalog.pause(
    table_or_type text,
    reason        text
)
    RETURNS llamalog.pauses
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_type  text := llamalog.check_pausing(table_or_type);
    v_pause llamalog.pauses;
BEGIN
    IF coalesce(pause.reason, '') ~ '^\s*$' THEN
        RAISE EXCEPTION 'a pause without reason'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Say why: whoever misses the changes later will ask.';
    END IF;
    SELECT open.*
    INTO v_pause
    FROM llamalog.pauses AS open
    WHERE open.entity_type = v_type
        AND open.resumed_at IS NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'capture of % is paused already', v_type
            USING ERRCODE = 'LL024',
                  DETAIL  = format('Since %s, by %s: %s', v_pause.paused_at, v_pause.paused_by, v_pause.reason),
                  HINT    = 'Who resumes it ends the pause for both.';
    END IF;
    v_pause.paused_at := clock_timestamp();
    INSERT INTO llamalog.pauses (entity_type, reason, paused_at, paused_by, paused_seq)
    VALUES (
        v_type, pause.reason, v_pause.paused_at, session_user, llamalog.note_pause(v_type, 'llamalog:paused', pause.reason)
    )
    RETURNING * INTO v_pause;
    PERFORM llamalog.fit_pause(v_type);
    RETURN v_pause;
END;
$function$;

COMMENT ON FUNCTION llamalog.pause(text, text) IS
    'Pauses capture of a watched table, named by its entity type or as SQL does, with the reason; the row of llamalog.pauses. Raises 42501, LL002, LL024.';
