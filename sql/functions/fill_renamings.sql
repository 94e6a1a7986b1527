-- Adds the changes of keys that the log has and llamalog.renamings lacks: those of before it was made, of captures of that
-- time still at work when it was, and of archives that were brought back.
CREATE OR REPLACE FUNCTION llamalog.fill_renamings()
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    -- by the index of the few rows that have one
    SET enable_seqscan = off
AS $function$
DECLARE
    v_count bigint;
BEGIN
    INSERT INTO llamalog.renamings (entity_type, old_id, new_id)
    SELECT DISTINCT log.entity_type, log.previous_id, log.entity_id
    FROM llamalog.log AS log
    WHERE log.previous_id IS NOT NULL
        AND log.entity_type IS NOT NULL
        AND NOT EXISTS (
            SELECT
            FROM llamalog.renamings AS known
            WHERE known.old_id = log.previous_id
                AND known.new_id IS NOT DISTINCT FROM log.entity_id
                AND known.entity_type = log.entity_type
        );
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END;
$function$;

COMMENT ON FUNCTION llamalog.fill_renamings() IS
    'How many it has added; llamalog.maintain() calls it.';
