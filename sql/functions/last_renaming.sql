-- The last change of key to an id, or away from it, before a place in the log and not by a statement.
CREATE OR REPLACE FUNCTION llamalog.last_renaming(
    entity_type text,
    id          text,
    is_arrival  boolean,
    before_seq  bigint,
    not_mark    text
)
    RETURNS llamalog.renaming
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $function$
DECLARE
    v_found llamalog.renaming;
BEGIN
    IF is_arrival THEN
        SELECT log.seq, log.previous_id, log.entity_id, log.metadata #>> '{llamalog,statement}'
        INTO v_found
        FROM llamalog.log AS log
        WHERE log.entity_id = last_renaming.id
            AND log.previous_id IS NOT NULL
            AND log.entity_type = last_renaming.entity_type
            AND log.link_type IS NULL
            AND log.seq < last_renaming.before_seq
            AND (log.metadata #>> '{llamalog,statement}' = last_renaming.not_mark) IS NOT TRUE
        ORDER BY log.seq DESC
        LIMIT 1;
    ELSE
        SELECT log.seq, log.previous_id, log.entity_id, log.metadata #>> '{llamalog,statement}'
        INTO v_found
        FROM llamalog.log AS log
        WHERE log.previous_id = last_renaming.id
            AND log.entity_type = last_renaming.entity_type
            AND log.link_type IS NULL
            AND log.seq < last_renaming.before_seq
            AND (log.metadata #>> '{llamalog,statement}' = last_renaming.not_mark) IS NOT TRUE
        ORDER BY log.seq DESC
        LIMIT 1;
    END IF;
    RETURN v_found;
END;
$function$;

COMMENT ON FUNCTION llamalog.last_renaming(text, text, boolean, bigint, text) IS
    'Part of llamalog.key_history(): the row that changed a key to the id (is_arrival) or from it; nulls when there is none.';
