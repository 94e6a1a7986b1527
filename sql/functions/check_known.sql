-- Refuses an instant that has not come, or is before all that the log knows of a type, or of an entity.
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
    IF at IS NULL OR at > clock_timestamp() THEN
        RAISE EXCEPTION 'the instant % is %', at, CASE WHEN at IS NULL THEN 'missing' ELSE 'in the future' END
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give an instant that has passed. Without an offset SQL reads it in the time zone of the session, the command line as UTC.';
    END IF;
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
    'Raises 22023 for an instant that is missing or in the future, LL016 for one before the table was watched, or before what is archived; what: as ALBUM "7".';
