-- Refuses an instant before all that the log knows of a type, or of an entity.
CREATE OR REPLACE FUNCTION llamalog.check_known(
    watch           llamalog.watches,
    what            text,
    at              timestamptz,
    archived_before timestamptz
)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_since timestamptz := greatest(watch.watched_at, archived_before);
BEGIN
    IF at < v_since THEN
        RAISE EXCEPTION 'what % was at % is not known', what, at
            USING ERRCODE = 'LL016',
                  DETAIL  = CASE
                      WHEN v_since = watch.watched_at THEN format('Its table is watched since %s.', v_since)
                      ELSE format('Changes before %s are archived.', v_since)
                  END,
                  HINT    = format('Ask for an instant since %s%s.', v_since, CASE
                      WHEN v_since <> watch.watched_at THEN ', or bring months back: llamalog restore-archive FILE'
                  END);
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.check_known(llamalog.watches, text, timestamptz, timestamptz) IS
    'Raises LL016 for an instant before the table was watched, or before what is archived; what: as ALBUM "7".';
