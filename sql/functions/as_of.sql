-- A row as it was at an instant: replayed backward from the live row, or from the image of the deleted one.
CREATE OR REPLACE FUNCTION llamalog.as_of(
    entity_type text,
    entity_id   text,
    at          timestamptz
)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type  text := llamalog.entity_type(as_of.entity_type);
    v_id    text := llamalog.entity_id(v_type, as_of.entity_id);
    v_watch llamalog.watches;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    RETURN llamalog.known_row(v_watch, v_id, as_of.at, NULL);
END;
$function$;

COMMENT ON FUNCTION llamalog.as_of(text, text, timestamptz) IS
    'Image of the row at an instant, without ignored, redacted and generated columns and those that came later; null when it did not exist. Raises LL016 where the log cannot know.';
