-- The captured changes of a row that was deleted and whose key another row has taken since, newest first.
CREATE OR REPLACE FUNCTION llamalog.deleted_row_changes(
    entity_type text,
    entity_id   text,
    before_seq  bigint,
    since_seq   bigint
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- as in llamalog.history()
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_id    text := deleted_row_changes.entity_id;
    v_above bigint;
    v_below bigint := deleted_row_changes.before_seq;
    v_begin bigint;
    v_found llamalog.log;
BEGIN
    WHILE v_below IS NOT NULL LOOP
        v_above := v_below;
        v_below := NULL;
        -- what is older is another row's, which left the key
        v_begin := greatest(
            since_seq, (llamalog.last_renaming(deleted_row_changes.entity_type, v_id, false, v_above, NULL)).seq
        );
        FOR v_found IN
            SELECT shown.*
            FROM llamalog.log AS log
            CROSS JOIN LATERAL llamalog.presented(log) AS shown
            WHERE log.entity_id = v_id
                AND log.entity_type = deleted_row_changes.entity_type
                AND log.link_type IS NULL
                AND log.op IS NOT NULL
                AND log.seq >= v_begin
                AND log.seq < v_above
            ORDER BY log.seq DESC
        LOOP
            RETURN NEXT v_found;
            IF v_found.previous_id IS NOT NULL THEN
                v_id := v_found.previous_id;
                v_below := v_found.seq;
                EXIT;
            END IF;
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.deleted_row_changes(text, text, bigint, bigint) IS
    'Part of llamalog.changes_of_row(): changes from since_seq on of the row that had the key before before_seq.';
