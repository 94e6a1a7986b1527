-- Does what llamalog.revert() is asked for.
--
-- Planned, its rows locked, and planned again, until nothing is left to lock: what somebody committed meanwhile is a conflict
-- like any other. The writes go the way of all others, through the caller's rights, through every trigger, and under the
-- search_path that he has; nothing else looks there, where somebody may have put an operator before PostgreSQL's own.
CREATE OR REPLACE FUNCTION llamalog.carry_out_revert(
    change      bigint,
    job_id      text,
    entity_type text,
    entity_id   text,
    to_at       timestamptz,
    wins        text,
    is_partial  boolean,
    planned     pg_snapshot,
    user_id     text,
    reason      text,
    path        text
)
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    -- decides how our literals are read
    SET array_nulls = true
AS $function$
#variable_conflict use_column
DECLARE
    v_planned  pg_snapshot := coalesce(planned, pg_current_snapshot());
    v_steps    llamalog.revert_step[];
    v_locked   text[] := '{}';
    v_locks    text[];
    v_lock     text;
    v_table    oid;
    v_tuple    tid;
    v_places   text[] := '{}';  -- of the rows, as they are locked; later, of those of the steps
    v_job_id   text;
    v_step     llamalog.revert_step;
    v_turn     integer;
    v_waiting  integer[];
    v_todo     integer[] := '{}';
    v_size     integer;  -- how many of them are tried together
    v_round    integer;  -- how many steps there were in this round
    v_count    bigint;
    v_is_amiss boolean := false;
    v_schema   text;
    v_index    text;
    v_detail   text;
    v_holder   text;
    -- the context of whoever calls
    v_outer    jsonb := (
        SELECT jsonb_object_agg(setting.name, coalesce(current_setting('llamalog.' || setting.name, true), ''))
        FROM unnest(
            '{source,job_id,parent_job_id,root_job_id,user_id,category,operation,reason,triggered_by,sources,metadata,path,head}'::text[]
        ) AS setting (name)
    );
BEGIN
    -- who takes the same back at the same time waits, and finds it done
    PERFORM pg_advisory_xact_lock(hashtextextended(
        concat_ws(
            ' ', 'llamalog.revert', carry_out_revert.change, carry_out_revert.job_id, carry_out_revert.entity_type,
            carry_out_revert.entity_id
        ),
        0
    ));
    LOOP
        v_steps := ARRAY(
            SELECT step
            FROM llamalog.revert_plan(
                carry_out_revert.change, carry_out_revert.job_id, carry_out_revert.entity_type, carry_out_revert.entity_id,
                to_at, wins, is_partial, v_planned
            ) AS step
        );
        PERFORM llamalog.refuse_revert(v_steps);
        v_locks := ARRAY(
            SELECT step.found
            FROM unnest(v_steps) AS step
            WHERE step.action IN ('update', 'delete')
            EXCEPT
            SELECT unnest(v_locked)
            ORDER BY 1
        );
        EXIT WHEN v_locks = '{}';
        FOREACH v_lock IN ARRAY v_locks LOOP
            EXECUTE format('SELECT live.tableoid, live.ctid %s FOR UPDATE', v_lock)
            INTO v_table, v_tuple;
            v_places := v_places
                || format('live.tableoid OPERATOR(pg_catalog.=) %L AND live.ctid OPERATOR(pg_catalog.=) %L', v_table, v_tuple);
        END LOOP;
        v_locked := v_locked || v_locks;
    END LOOP;
    SELECT array_agg(step ORDER BY step.turn), array_agg(locked.place ORDER BY step.turn)
    INTO v_steps, v_places
    FROM unnest(v_steps) AS step
    LEFT JOIN unnest(v_locked, v_places) AS locked (found, place)
        ON locked.found = step.found
    WHERE step.turn IS NOT NULL;
    IF v_steps IS NULL THEN
        RETURN NULL;
    END IF;
    v_waiting := ARRAY(SELECT generate_series(1, cardinality(v_steps)));
    SET CONSTRAINTS ALL DEFERRED;
    v_job_id := llamalog.revert_context(
        carry_out_revert.change, carry_out_revert.job_id, carry_out_revert.entity_type, carry_out_revert.entity_id, to_at,
        v_planned, user_id, reason
    );
    BEGIN
        -- what a step needs, others may be yet to give up, by rules that no image tells: it waits until they are done
        LOOP
            IF v_todo = '{}' THEN
                EXIT WHEN v_waiting = '{}';
                v_todo := v_waiting;
                v_waiting := '{}';
                v_size := cardinality(v_todo);
                v_round := v_size;
            END IF;
            BEGIN
                FOREACH v_turn IN ARRAY v_todo[: v_size] LOOP
                    v_step := v_steps[v_turn];
                    v_count := llamalog.carry_out_step(
                        v_step.statement, CASE WHEN v_step.action <> 'insert' THEN v_step.found END, v_places[v_turn], path
                    );
                    -- a key that cascades has brought it there already, or removed it
                    IF v_count = 0 AND v_step.action = 'update' AND v_step.found_after <> v_step.found THEN
                        EXECUTE format('SELECT count(*) %s', v_step.found_after) INTO v_count;
                    ELSIF v_count = 0 AND v_step.action = 'delete' THEN
                        EXECUTE format('SELECT 1 - count(*) %s', v_step.found) INTO v_count;
                    END IF;
                    IF v_count <> 1 THEN
                        RAISE EXCEPTION '% of % "%" changed % rows, not 1', upper(v_step.action), v_step.entity_type, left(v_step.entity_id, 100), v_count
                            USING ERRCODE = 'LL023',
                                  DETAIL  = v_step.statement,
                                  HINT    = 'A trigger, a rule or a row security policy of the table is in the way; nothing was reverted.';
                    END IF;
                END LOOP;
                v_todo := v_todo[v_size + 1 :];
                v_size := cardinality(v_todo);
            EXCEPTION
                -- and whoever refers to one that waits
                WHEN unique_violation OR exclusion_violation OR foreign_key_violation THEN
                    v_waiting := v_waiting || v_turn;
                    IF cardinality(v_waiting) = v_round THEN
                        RAISE;
                    END IF;
                    -- those before it are undone with it, and done again without it
                    v_size := array_position(v_todo, v_turn) - 1;
                    v_todo := array_remove(v_todo, v_turn);
            END;
        END LOOP;
        FOR v_step IN
            SELECT drifted.*
            FROM llamalog.revert_drift(v_steps) AS drifted
        LOOP
            IF v_step.statement IS NOT NULL THEN
                PERFORM llamalog.carry_out_step(v_step.statement, v_step.found_after, NULL, path);
            END IF;
            v_is_amiss := true;
        END LOOP;
        IF v_is_amiss THEN
            FOR v_step IN
                SELECT drifted.*
                FROM llamalog.revert_drift(v_steps) AS drifted
            LOOP
                RAISE WARNING '% "%" is not as it was: a trigger of its table, or the type of a column, insists',
                    v_step.entity_type, left(v_step.entity_id, 100);
            END LOOP;
        END IF;
    EXCEPTION
        WHEN unique_violation OR exclusion_violation THEN
            GET STACKED DIAGNOSTICS
                v_schema = SCHEMA_NAME,
                v_index = CONSTRAINT_NAME,
                v_detail = PG_EXCEPTION_DETAIL;
            v_holder := llamalog.revert_holder(v_step, v_schema, v_index);
            RAISE EXCEPTION '% of % "%" needs what % has', upper(v_step.action), v_step.entity_type, left(v_step.entity_id, 100),
                coalesce(v_holder, 'another row')
                USING ERRCODE = 'LL026',
                      DETAIL  = concat_ws(E'\n', v_detail, format('By the rule %I.%I.', v_schema, v_index)),
                      HINT    = 'Give that row another value, or take back what gave it this one; nothing was reverted.';
    END;
    PERFORM set_config('llamalog.' || setting.key, setting.value, true)
    FROM jsonb_each_text(v_outer) AS setting;
    RETURN v_job_id;
END;
$function$;

COMMENT ON FUNCTION llamalog.carry_out_revert(bigint, text, text, text, timestamptz, text, boolean, pg_snapshot, text, text, text) IS
    'Part of llamalog.revert(), with the same arguments; path: the search_path under which to write.';
