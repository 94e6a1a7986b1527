-- The recorded changes of one entity, newest first.
CREATE OR REPLACE FUNCTION llamalog.history(
    entity_type text,
    entity_id   text,
    row_limit   integer DEFAULT 50
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- how many rows an entity has is not known when it is planned: in their order, the last ones suffice
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type   text := llamalog.entity_type(history.entity_type);
    v_id     text := llamalog.entity_id(v_type, history.entity_id);
    v_left   integer := history.row_limit;
    v_held   record;
    v_change llamalog.log;
    v_later  xid8;
BEGIN
    PERFORM llamalog.check_row_limit(history.row_limit);
    -- key by key, the newest first: each is read backward through its index, and no further than asked for
    FOR v_held IN
        SELECT held.*
        FROM llamalog.key_history(v_type, v_id) AS held
        ORDER BY held.before_seq DESC
    LOOP
        v_later := NULL;
        FOR v_change IN
            SELECT log.*
            FROM llamalog.log AS log
            WHERE log.entity_id = v_held.id
                AND log.entity_type = v_type
                AND log.seq >= v_held.after_seq
                AND log.seq < v_held.before_seq
            ORDER BY log.seq DESC
            -- of a move between partitions two rows are one change
            LIMIT 2 * v_left::bigint
        LOOP
            -- no other row is shown otherwise than it stands: the halves of a move are in one transaction, the DELETE first
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
            v_left := v_left - 1;
            EXIT WHEN v_left < 1;
        END LOOP;
        EXIT WHEN v_left < 1;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.history(text, text, integer) IS
    'Changes of one entity, newest first; also for entities since deleted, and through changes of its key.';
