-- The next change of key from an id or to it, after a place in the log and not by a statement.
CREATE OR REPLACE FUNCTION llamalog.next_renaming(
    entity_type text,
    id          text,
    after_seq   bigint,
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
    SELECT found.seq, found.previous_id, found.entity_id, found.metadata #>> '{llamalog,statement}'
    INTO v_found
    FROM (
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.previous_id = next_renaming.id
            AND log.entity_type = next_renaming.entity_type
        UNION ALL
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.entity_id = next_renaming.id
            AND log.previous_id IS NOT NULL
            AND log.entity_type = next_renaming.entity_type
    ) AS found
    WHERE found.link_type IS NULL
        AND found.seq > next_renaming.after_seq
        AND (found.metadata #>> '{llamalog,statement}' = next_renaming.not_mark) IS NOT TRUE
    ORDER BY found.seq
    LIMIT 1;
    RETURN v_found;
END;
$function$;

COMMENT ON FUNCTION llamalog.next_renaming(text, text, bigint, text) IS
    'Part of llamalog.key_history(): the next row that changed a key from the id or to it; nulls when there is none.';
