-- Since when every change of an entity is in the log, where some may be archived.
CREATE OR REPLACE FUNCTION llamalog.detail_since(
    entity_type text,
    entity_id   text
)
    RETURNS timestamptz
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_archived timestamptz := llamalog.archived_before(detail_since.entity_type);
    v_begin    record;
BEGIN
    IF v_archived IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT log.created_at, log.category
    INTO v_begin
    FROM llamalog.key_history(detail_since.entity_type, detail_since.entity_id) AS held
    JOIN llamalog.log AS log
        ON log.entity_id = held.id
        AND log.seq >= held.after_seq
        AND log.seq < held.before_seq
    WHERE log.entity_type = detail_since.entity_type
        AND log.link_type IS NULL
    ORDER BY log.seq
    LIMIT 1;
    -- it came later: nothing of it is archived
    RETURN CASE WHEN (v_begin.category = 'CREATED' AND v_begin.created_at >= v_archived) IS NOT TRUE THEN v_archived END;
END;
$function$;

COMMENT ON FUNCTION llamalog.detail_since(text, text) IS
    'The instant before which changes of the entity (type and id as the log spells them) are archived; null when it came later, or none is.';
