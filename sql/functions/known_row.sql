-- A row as it was at an instant, or as a change left it; an error where the log cannot know.
CREATE OR REPLACE FUNCTION llamalog.known_row(
    watch     llamalog.watches,
    entity_id text,
    at        timestamptz,
    seq       bigint
)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_what     text := format('%s "%s"', watch.entity_type, left(entity_id, 100));
    v_replayed record;
BEGIN
    PERFORM llamalog.check_known(watch, v_what, at, llamalog.detail_since(watch.entity_type, entity_id));
    v_replayed := llamalog.replayed_row(watch, entity_id, at, seq, NULL);
    IF v_replayed.problem IS NOT NULL THEN
        RAISE EXCEPTION 'what % was at % is not known', v_what, at
            USING ERRCODE = 'LL016',
                  DETAIL  = v_replayed.problem,
                  HINT    = 'llamalog.history() has the changes that were captured; llamalog.breaks() shows where some are missing.';
    END IF;
    RETURN v_replayed.image;
END;
$function$;

COMMENT ON FUNCTION llamalog.known_row(llamalog.watches, text, timestamptz, bigint) IS
    'Image of the row, or null when it did not exist; raises LL016 where it is not known. With seq, as that change, made at the instant, left it.';
