-- The captured changes of a row itself, newest first: all of them, or back to the last one that an instant had seen.
CREATE OR REPLACE FUNCTION llamalog.row_changes(
    entity_type text,
    entity_id   text,
    at          timestamptz DEFAULT NULL
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
    v_held   record;
    v_change llamalog.log;
    v_later  xid8;
    v_id     text;
BEGIN
    FOR v_held IN
        SELECT held.*
        FROM llamalog.key_history(row_changes.entity_type, row_changes.entity_id) AS held
        ORDER BY held.before_seq DESC
    LOOP
        -- as if the row had not been before
        IF v_held.id <> v_id AND llamalog.hides_changes(row_changes.entity_type) THEN
            RAISE EXCEPTION 'changes of % "%" before its key changed are hidden', row_changes.entity_type, left(v_id, 100)
                USING ERRCODE = 'LL027',
                      DETAIL  = format('It was "%s", and row security shows what was logged under the key of a row only.', left(v_held.id, 100)),
                      HINT    = 'A member of llamalog_admin sees them; what is later, everybody does who sees the row.';
        END IF;
        v_id := v_held.id;
        v_later := NULL;
        FOR v_change IN
            SELECT log.*
            FROM llamalog.log AS log
            WHERE log.entity_id = v_held.id
                AND log.entity_type = row_changes.entity_type
                AND log.link_type IS NULL
                AND log.op IS NOT NULL
                AND log.seq >= v_held.after_seq
                AND log.seq < v_held.before_seq
            ORDER BY log.seq DESC
        LOOP
            -- as in llamalog.history()
            IF v_change.op = 'D' AND (v_change.txid = v_later OR llamalog.was_renamed(ARRAY[v_held.id]))
                OR v_change.op = 'I' AND v_change.metadata @> '{"llamalog": {"moved": true}}'
            THEN
                SELECT shown.*
                INTO v_change
                FROM llamalog.presented(v_change) AS shown;
                CONTINUE WHEN NOT FOUND;
            END IF;
            v_later := v_change.txid;
            RETURN NEXT v_change;
            IF v_change.created_at <= row_changes.at THEN
                RETURN;
            END IF;
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.row_changes(text, text, timestamptz) IS
    'Captured changes of the row (type and id as the log spells them), newest first; with an instant, up to and with the newest one made by then.';
