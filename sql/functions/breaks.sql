-- Where the changes of a row do not meet: somebody wrote in between, and no capture saw it.
CREATE OR REPLACE FUNCTION llamalog.breaks(
    entity_type text,
    entity_id   text
)
    RETURNS TABLE (
        field      text,
        after_seq  bigint,
        left_value jsonb,
        found_seq  bigint,
        found      jsonb
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    c_now   CONSTANT bigint := 9223372036854775807;
    v_type  text := llamalog.entity_type(breaks.entity_type);
    v_id    text := llamalog.entity_id(v_type, breaks.entity_id);
    v_watch llamalog.watches;
    v_row   jsonb;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    IF v_watch.unwatched_at IS NULL THEN
        v_row := llamalog.live_row(v_watch, llamalog.last_key(v_type, v_id));
    END IF;
    RETURN QUERY
    WITH
    change AS MATERIALIZED (
        SELECT made.seq, made.created_at, made.op, made.before, made.after
        FROM llamalog.row_changes(v_type, v_id) AS made
        WHERE made.created_at >= greatest(v_watch.watched_at, llamalog.detail_since(v_type, v_id))
        UNION ALL
        -- the live row is what the next change would find
        SELECT c_now, 'infinity', CASE WHEN v_row IS NULL THEN 'I' ELSE 'D' END, v_row, NULL
        WHERE v_watch.unwatched_at IS NULL
    ),
    -- rows that lived one after the other under the key
    placed AS MATERIALIZED (
        SELECT
            change.*,
            count(*) FILTER (WHERE change.op = 'I') OVER by_seq AS life,
            lag(change.seq) OVER by_seq AS last_seq,
            lag(change.op) OVER by_seq AS last_op
        FROM change
        WINDOW by_seq AS (ORDER BY change.seq)
    ),
    side AS (
        SELECT placed.life, placed.seq, placed.created_at, 0 AS side, each.key AS field, each.value
        FROM placed
        CROSS JOIN LATERAL jsonb_each(placed.before) AS each
        UNION ALL
        SELECT placed.life, placed.seq, placed.created_at, 1, each.key, each.value
        FROM placed
        CROSS JOIN LATERAL jsonb_each(placed.after) AS each
    ),
    met AS (
        SELECT
            side.*,
            lag(side.seq) OVER by_seq AS last_seq,
            lag(side.created_at) OVER by_seq AS last_at,
            lag(side.value) OVER by_seq AS last_value
        FROM side
        WHERE side.field <> ALL (v_watch.ignored_columns || v_watch.redacted_columns)
        WINDOW by_seq AS (PARTITION BY side.life, side.field ORDER BY side.seq, side.side)
    )
    SELECT met.field, met.last_seq, met.last_value, nullif(met.seq, c_now), met.value
    FROM met
    WHERE met.side = 0
        AND met.last_value::text <> met.value::text
        -- redacted then, or until then
        AND '"[redacted]"' NOT IN (met.last_value::text, met.value::text)
        -- another column of that name
        AND NOT EXISTS (
            SELECT
            FROM llamalog.column_changes AS changed
            WHERE changed.entity_type = v_type
                AND changed.column_name = met.field
                AND changed.change IN ('added', 'renamed')
                AND changed.noticed_at > met.last_at
                AND changed.after_at < met.created_at
        )
    UNION ALL
    -- it came or went unseen
    SELECT NULL, placed.last_seq, NULL, nullif(placed.seq, c_now), NULL
    FROM placed
    WHERE (placed.op = 'I') <> (placed.last_op IN ('D', 'T'))
    ORDER BY 4, 1;
END;
$function$;

COMMENT ON FUNCTION llamalog.breaks(text, text) IS
    'Where a change, or the live row (found_seq null), found another value than the change before had left; field null where the row itself came or went unseen.';
