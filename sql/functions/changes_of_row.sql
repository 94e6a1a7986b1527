-- The captured changes of the row that a change was made to, newest first: of an entity through all its keys, of a link
-- through all its ends.
CREATE OR REPLACE FUNCTION llamalog.changes_of_row(
    change    llamalog.log,
    since_seq bigint
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
    v_id       text := change.entity_id;
    v_seq      bigint := change.seq;
    v_mark     text := change.metadata #>> '{llamalog,statement}';
    v_renaming llamalog.renaming;
    v_found    llamalog.log;
    v_is_found boolean := false;
BEGIN
    IF change.link_type IS NULL THEN
        LOOP
            v_renaming := llamalog.next_renaming(change.entity_type, v_id, v_seq, v_mark);
            -- whoever came to the key found it free: the row had been deleted
            EXIT WHEN v_renaming.old_id IS DISTINCT FROM v_id;
            v_id := v_renaming.new_id;
            v_seq := v_renaming.seq;
            v_mark := v_renaming.mark;
        END LOOP;
        FOR v_found IN
            SELECT made.*
            FROM llamalog.row_changes(change.entity_type, v_id) AS made
            WHERE v_renaming.seq IS NULL
                AND made.seq >= changes_of_row.since_seq
            UNION ALL
            SELECT made.*
            FROM llamalog.deleted_row_changes(change.entity_type, v_id, v_renaming.seq, changes_of_row.since_seq) AS made
            WHERE v_renaming.seq IS NOT NULL
        LOOP
            v_is_found := v_is_found OR v_found.seq = change.seq;
            RETURN NEXT v_found;
        END LOOP;
    ELSE
        FOR v_found IN
            SELECT made.*
            FROM llamalog.link_changes(change, changes_of_row.since_seq) AS made
        LOOP
            v_is_found := v_is_found OR v_found.seq = change.seq;
            RETURN NEXT v_found;
        END LOOP;
    END IF;
    IF NOT v_is_found THEN
        RAISE EXCEPTION 'the row of change % cannot be followed', change.seq
            USING ERRCODE = 'LL019',
                  DETAIL  = format('It is not among the changes of %s "%s".', change.entity_type, left(v_id, 100)),
                  HINT    = 'Write the row as it should be; llamalog.history() shows what it was.';
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.changes_of_row(llamalog.log, bigint) IS
    'Captured changes, from since_seq on, of the row of a change, newest first; raises LL019 where they cannot be told from those of others.';
