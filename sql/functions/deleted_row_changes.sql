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
    v_id      text := deleted_row_changes.entity_id;
    v_end     bigint := deleted_row_changes.before_seq;
    v_begin   bigint;
    v_arrival llamalog.renaming;
    v_leaving llamalog.renaming;
    v_bound   llamalog.renaming;
BEGIN
    v_leaving.seq := deleted_row_changes.before_seq;
    LOOP
        v_arrival := llamalog.last_renaming(
            deleted_row_changes.entity_type, v_id, true, v_leaving.seq, v_leaving.mark
        );
        -- what is older is another row's, which left the key; perhaps by the statement that brought ours, and later
        v_bound := llamalog.last_renaming(
            deleted_row_changes.entity_type, v_id, false, v_leaving.seq, v_arrival.mark
        );
        v_begin := greatest(v_arrival.seq, v_bound.seq, since_seq);
        RETURN QUERY
        SELECT shown.*
        FROM llamalog.log AS log
        CROSS JOIN LATERAL llamalog.presented(log) AS shown
        WHERE log.entity_id = v_id
            AND log.entity_type = deleted_row_changes.entity_type
            AND log.link_type IS NULL
            AND log.op IS NOT NULL
            AND log.seq >= v_begin
            AND log.seq < v_end
        ORDER BY log.seq DESC;
        EXIT WHEN (v_arrival.seq >= greatest(v_bound.seq, since_seq)) IS NOT TRUE;
        v_leaving := v_arrival;
        v_id := v_leaving.old_id;
        v_end := llamalog.end_of_tenure(deleted_row_changes.entity_type, v_leaving);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.deleted_row_changes(text, text, bigint, bigint) IS
    'Part of llamalog.changes_of_row(): changes from since_seq on of the row that had the key before before_seq.';
