-- Makes the captures of a table ask whether it is paused while it is, and only then: a write pays nothing for what may be.
--
-- What llamalog watch has rendered is wrapped in a block that asks first; the generic captures always ask. Needs no lock on the
-- table and no right to it, and whatever renders a capture anew calls this, so that nothing ends a pause but llamalog.resume().
-- SECURITY DEFINER: it changes nothing that does not follow from llamalog.pauses.
CREATE OR REPLACE FUNCTION llamalog.fit_pause(entity_type text)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    -- the type as the trigger gives it; no name of the application's comes into the text
    c_opening   CONSTANT text := E'BEGIN\n    IF llamalog.is_paused(TG_ARGV[0]) THEN\n        RETURN NULL;\n    END IF;\n';
    c_ending    CONSTANT text := E'END;\n';
    v_is_paused boolean;
    v_capture   record;
    v_directive text;
    v_block     text;
BEGIN
    v_is_paused := EXISTS (
        SELECT
        FROM llamalog.pauses AS pause
        WHERE pause.entity_type = fit_pause.entity_type
            AND pause.resumed_at IS NULL
    );
    FOR v_capture IN
        SELECT DISTINCT called.oid, called.prosrc AS body
        FROM llamalog.captured_tables() AS captured
        JOIN pg_trigger AS hung
            ON hung.tgrelid = captured.relation
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
            AND called.pronamespace = 'llamalog'::regnamespace
        WHERE captured.entity_type = fit_pause.entity_type
            AND called.proname LIKE 'capture\_%'
            AND called.proname NOT IN ('capture_row', 'capture_truncate')
    LOOP
        v_directive := substring(v_capture.body FROM '^\n(?:#variable_conflict [a-z_]+\n)?');
        v_block := substr(v_capture.body, length(v_directive) + 1);
        CONTINUE WHEN v_is_paused = starts_with(v_block, c_opening);
        v_block := CASE
            WHEN v_is_paused THEN c_opening || v_block || c_ending
            ELSE substr(left(v_block, -length(c_ending)), length(c_opening) + 1)
        END;
        EXECUTE replace(pg_get_functiondef(v_capture.oid), v_capture.body, v_directive || v_block);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.fit_pause(text) IS
    'Part of llamalog.pause() and resume(): the rendered captures of a type ask llamalog.is_paused() where llamalog.pauses has an open pause, and do not where it has none.';
