-- The pauses of a type that had not ended at an instant, in their order; all of them without one.
CREATE OR REPLACE FUNCTION llamalog.pauses_since(
    entity_type text,
    at          timestamptz DEFAULT NULL
)
    RETURNS SETOF llamalog.pauses
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    v_type text := llamalog.entity_type(pauses_since.entity_type);
BEGIN
    RETURN QUERY
    SELECT pause.*
    FROM llamalog.pauses AS pause
    WHERE pause.entity_type = v_type
        AND coalesce(pause.resumed_at, 'infinity') > coalesce(pauses_since.at, '-infinity')
    ORDER BY pause.paused_at;
END;
$function$;

COMMENT ON FUNCTION llamalog.pauses_since(text, timestamptz) IS
    'What llamalog.pauses has of a type since an instant: what as_of() does not cross.';
