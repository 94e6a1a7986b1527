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
    PERFORM llamalog.check_span(diff.from_at, diff.to_at);
    v_before := llamalog.as_of(diff.entity_type, diff.entity_id, diff.from_at);
    v_after := llamalog.as_of(diff.entity_type, diff.entity_id, diff.to_at);
    RETURN QUERY
    SELECT difference.*
    FROM llamalog.differences(
        v_before, v_after, llamalog.renewed_columns(llamalog.entity_type(diff.entity_type), diff.from_at, diff.to_at)
    ) AS difference;
END;
$function$;

COMMENT ON FUNCTION llamalog.diff(text, text, timestamptz, timestamptz) IS
    'Fields that differ between two instants; created and deleted say that the row did not exist at the first or the second, added and dropped that the column did not.';
