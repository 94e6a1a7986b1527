-- The keys that an entity has had, each with the part of the log in which it was this entity's.
--
-- An id means the entity that has it now, or had it last. Every key has had holders one after the other; one begins where
-- a change of the key leads to it, or where the one before has left. Changes of one statement are of different rows.
CREATE OR REPLACE FUNCTION llamalog.key_history(
    entity_type text,
    entity_id   text
)
    RETURNS TABLE (
        id         text,
        after_seq  bigint,
        before_seq bigint
    )
    LANGUAGE plpgsql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off
AS $function$
#variable_conflict use_column
DECLARE
    c_begin   CONSTANT bigint := -9223372036854775808;
    c_end     CONSTANT bigint := 9223372036854775807;
    v_arrival llamalog.renaming;
    v_leaving llamalog.renaming;
    v_bound   llamalog.renaming;
    v_key     text := key_history.entity_id;
    v_after   bigint;
    v_is_anew boolean;
BEGIN
    -- few keys ever change, and whether this one did is asked faster than when
    IF NOT llamalog.was_renamed(ARRAY[v_key]) THEN
        RETURN QUERY SELECT v_key, c_begin, c_end;
        RETURN;
    END IF;
    v_arrival := llamalog.last_renaming(entity_type, v_key, true, c_end, NULL);
    v_leaving := llamalog.last_renaming(entity_type, v_key, false, c_end, v_arrival.mark);
    IF v_leaving.seq > coalesce(v_arrival.seq, c_begin) THEN
        v_is_anew := EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.entity_id = v_key
                AND log.entity_type = key_history.entity_type
                AND log.link_type IS NULL
                AND log.seq > v_leaving.seq
        );
        IF v_is_anew THEN
            -- somebody else has the key now, and came by it without a change of key
            RETURN QUERY SELECT v_key, v_leaving.seq, c_end;
            RETURN;
        END IF;
        -- nobody has it now: the one who had it last went on under another
        v_arrival := llamalog.last_renaming(entity_type, v_key, true, v_leaving.seq, v_leaving.mark);
        -- whoever left the key by the statement that brought our row was the one before
        v_bound := llamalog.last_renaming(entity_type, v_key, false, v_leaving.seq, v_arrival.mark);
        v_after := greatest(v_arrival.seq, v_bound.seq, c_begin);
        IF v_bound.seq > coalesce(v_arrival.seq, c_begin) THEN
            v_arrival := NULL;
        END IF;
        RETURN QUERY SELECT v_key, v_after, llamalog.end_of_tenure(entity_type, v_leaving);
        WHILE v_leaving.seq IS NOT NULL LOOP
            v_key := v_leaving.new_id;
            v_after := v_leaving.seq;
            v_leaving := llamalog.next_renaming(entity_type, v_key, v_after, v_leaving.mark);
            RETURN QUERY SELECT v_key, v_after, coalesce(v_leaving.seq, c_end);
            EXIT WHEN v_leaving.old_id IS DISTINCT FROM v_key;  -- another row has come to this key
        END LOOP;
    ELSE
        RETURN QUERY SELECT v_key, coalesce(v_arrival.seq, c_begin), c_end;
    END IF;
    -- back to the keys it had before
    WHILE v_arrival.seq IS NOT NULL LOOP
        v_key := v_arrival.old_id;
        v_leaving := v_arrival;
        v_arrival := llamalog.last_renaming(entity_type, v_key, true, v_leaving.seq, v_leaving.mark);
        -- whoever left the key by the statement that brought our row was the one before
        v_bound := llamalog.last_renaming(entity_type, v_key, false, v_leaving.seq, v_arrival.mark);
        RETURN QUERY
        SELECT v_key, greatest(v_arrival.seq, v_bound.seq, c_begin), llamalog.end_of_tenure(entity_type, v_leaving);
        EXIT WHEN v_bound.seq > coalesce(v_arrival.seq, c_begin);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.key_history(text, text) IS
    'Every key of the entity that was asked for by one of them; its rows are those with id and after_seq <= seq < before_seq.';
