-- The failed attempts of a period, newest first: of one entity, of one type, or all.
CREATE OR REPLACE FUNCTION llamalog.failed_changes(
    entity_type text,
    entity_id   text,
    period      interval
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
DECLARE
    v_ids text[];
BEGIN
    IF entity_id IS NOT NULL THEN
        SELECT array_agg(held.id)
        INTO v_ids
        FROM llamalog.key_history(entity_type, entity_id) AS held;
    END IF;
    -- planned for its values: they decide which months are read, and whether by entity or by time. No index has the
    -- status: every write would pay for it
    RETURN QUERY EXECUTE format(
        'SELECT log.* FROM llamalog.log AS log'
            || ' WHERE log.created_at >= $1 AND (log.status = ''FAILED'' OR log.category = ''FAILED'')%s%s'
            || ' ORDER BY log.seq DESC',
        CASE WHEN entity_type IS NOT NULL THEN ' AND log.entity_type = $2 AND log.link_type IS NULL' END,
        CASE WHEN entity_id IS NOT NULL THEN ' AND log.entity_id = ANY ($3)' END
    )
    -- a calendar ends
    USING clock_timestamp() - least(greatest(period, interval '0'), interval '6000 years'), entity_type, v_ids;
END;
$function$;

COMMENT ON FUNCTION llamalog.failed_changes(text, text, interval) IS
    'Changes with status or category FAILED made within the period (type and id as the log spells them, or null), newest first.';
