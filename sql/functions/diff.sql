-- What became of a row from one instant to another, field by field.
CREATE OR REPLACE FUNCTION llamalog.diff(
    entity_type text,
    entity_id   text,
    from_at     timestamptz,
    to_at       timestamptz
)
    RETURNS TABLE (
        field  text,
        change text,
        before jsonb,
        after  jsonb
    )
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
    v_before jsonb;
    v_after  jsonb;
BEGIN
    IF diff.from_at > diff.to_at THEN
        RAISE EXCEPTION 'the start, %, is after the end, %', diff.from_at, diff.to_at
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Swap them.';
    END IF;
    v_before := llamalog.as_of(diff.entity_type, diff.entity_id, diff.from_at);
    v_after := llamalog.as_of(diff.entity_type, diff.entity_id, diff.to_at);
    RETURN QUERY
    SELECT
        coalesce(old.key, new.key),
        CASE WHEN v_before IS NULL THEN 'created' WHEN v_after IS NULL THEN 'deleted' ELSE 'changed' END,
        old.value,
        new.value
    FROM jsonb_each(v_before) AS old
    FULL JOIN jsonb_each(v_after) AS new
        ON new.key = old.key
    -- as text: as jsonb, 1.0 and 1.00 are equal
    WHERE new.value::text IS DISTINCT FROM old.value::text
    ORDER BY 1;
END;
$function$;

COMMENT ON FUNCTION llamalog.diff(text, text, timestamptz, timestamptz) IS
    'Fields that differ between two instants; created and deleted say that the row did not exist at the first or the second.';
