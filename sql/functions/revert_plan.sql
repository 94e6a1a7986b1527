-- What llamalog.revert() would write, in its order, and what stands in the way.
--
-- A step with a number is a write: update, insert or delete. The others are in the way: conflict (a later writer has set the
-- field, or the row), reference (a foreign key), hidden (rows that a foreign key would change unseen), masked (redacted: the
-- value is not in the log), column (it was dropped, or cannot be set), lost (the row went unseen). While one of them
-- is_refused, nothing is written.
CREATE OR REPLACE FUNCTION llamalog.revert_plan(
    change      bigint DEFAULT NULL,
    job_id      text DEFAULT NULL,
    entity_type text DEFAULT NULL,
    entity_id   text DEFAULT NULL,
    to_at       timestamptz DEFAULT NULL,
    wins        text DEFAULT NULL,
    is_partial  boolean DEFAULT false,
    planned     pg_snapshot DEFAULT NULL
)
    RETURNS SETOF llamalog.revert_step
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_rows    llamalog.reverted_row[];
    v_in_way  record;
    v_kept    jsonb;
    v_left    jsonb;
    v_order   integer[];
    v_is_kept boolean := true;
BEGIN
    IF wins NOT IN ('theirs', 'ours') THEN
        RAISE EXCEPTION 'unknown winner "%"', left(wins, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Pass theirs, ours, or null to be refused where there is a conflict.';
    END IF;
    v_rows := ARRAY(
        SELECT touched
        FROM llamalog.reverted_rows(
            ARRAY(
                SELECT made
                FROM llamalog.reverted_changes(
                    revert_plan.change, revert_plan.job_id, revert_plan.entity_type, revert_plan.entity_id, to_at, planned
                ) AS made
            )
        ) AS touched
    );
    FOR v_place IN 1 .. cardinality(v_rows) LOOP
        v_rows[v_place].target := CASE wins WHEN 'ours' THEN v_rows[v_place].ours ELSE v_rows[v_place].theirs END;
    END LOOP;
    RETURN QUERY
    SELECT met.*
    FROM llamalog.revert_conflicts(v_rows, wins) AS met;
    -- a row that must stay may need others to stay
    WHILE v_is_kept LOOP
        v_is_kept := false;
        FOR v_in_way IN
            SELECT blocked.*, touched.*
            FROM llamalog.revert_references(v_rows) AS blocked
            JOIN unnest(v_rows) WITH ORDINALITY AS touched
                ON touched.ordinality = blocked.place
        LOOP
            SELECT jsonb_object_agg(kept.name, v_in_way.live -> kept.name), jsonb_object_agg(kept.name, v_in_way.target -> kept.name)
            INTO v_kept, v_left
            FROM unnest(v_in_way.columns) AS kept (name);
            RETURN NEXT ROW(
                NULL, v_in_way.action, v_in_way.entity_type, v_in_way.entity_id, v_in_way.related_id,
                array_to_string(v_in_way.columns, ', '),
                CASE WHEN v_in_way.live IS NOT NULL THEN coalesce(v_kept, v_in_way.live) END,
                CASE WHEN v_in_way.target IS NOT NULL THEN coalesce(v_left, v_in_way.target) END,
                wins IS DISTINCT FROM 'theirs', v_in_way.detail, NULL, NULL, NULL, NULL, NULL, NULL
            )::llamalog.revert_step;
            CONTINUE WHEN wins IS DISTINCT FROM 'theirs';
            v_is_kept := true;
            v_rows[v_in_way.place].target := CASE
                WHEN num_nonnulls(v_in_way.live, v_in_way.target) = 2 THEN v_rows[v_in_way.place].target || v_kept
                ELSE v_in_way.live
            END;
        END LOOP;
    END LOOP;
    -- not in the query: its planner would ask for it too
    SELECT ordered.touched_rows, ordered.places
    INTO v_rows, v_order
    FROM llamalog.revert_order(v_rows) AS ordered;
    RETURN QUERY
    SELECT
        CASE WHEN step.turn IS NOT NULL THEN row_number() OVER (ORDER BY ordered.position) END::integer,
        step.action, step.entity_type, step.entity_id, step.related_id, step.field, step.before, step.after, step.is_refused,
        step.detail, step.seq, step.job_id, step.user_id, step.found, step.found_after, step.statement
    FROM llamalog.revert_writes(v_rows, is_partial) AS step
    LEFT JOIN unnest(v_order) WITH ORDINALITY AS ordered (place, position)
        ON ordered.place = step.turn
    ORDER BY ordered.position;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_plan(bigint, text, text, text, timestamptz, text, boolean, pg_snapshot) IS
    'What reverting a change, a job with its descendants, or an entity to an instant would write, and what stands in the way. wins: theirs (later writers) or ours (the revert); is_partial: leave what the log does not have; planned: only changes visible then.';
