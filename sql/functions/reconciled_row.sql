-- The verdict on one row whose key has changed: it is followed through its keys, as every question about one row does.
CREATE OR REPLACE FUNCTION llamalog.reconciled_row(
    watch          llamalog.watches,
    entity_id      text,
    is_there       boolean,
    since_at       timestamptz,
    OUT verdict    text,
    OUT field      text,
    OUT after_seq  bigint,
    OUT left_value jsonb,
    OUT live_value jsonb
)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_key    text := llamalog.last_key(watch.entity_type, reconciled_row.entity_id);
    v_newest llamalog.log;
    v_break  record;
BEGIN
    SELECT made.*
    INTO v_newest
    FROM llamalog.row_changes(watch.entity_type, reconciled_row.entity_id) AS made
    ORDER BY made.seq DESC
    LIMIT 1;
    IF NOT is_there THEN
        IF v_key = reconciled_row.entity_id AND v_newest.op IN ('I', 'U') AND v_newest.created_at >= since_at THEN
            verdict := 'went';
            after_seq := v_newest.seq;
        END IF;
        RETURN;
    END IF;
    IF v_key IS DISTINCT FROM reconciled_row.entity_id THEN
        -- whoever had the key has another now
        verdict := 'came';
        after_seq := (
            llamalog.last_renaming(watch.entity_type, reconciled_row.entity_id, false, 9223372036854775807, NULL)
        ).seq;
        RETURN;
    END IF;
    SELECT broken.*
    INTO v_break
    FROM llamalog.breaks(watch.entity_type, reconciled_row.entity_id) AS broken
    WHERE broken.found_seq IS NULL
    ORDER BY broken.field NULLS FIRST
    LIMIT 1;
    IF FOUND THEN
        verdict := CASE WHEN v_break.field IS NULL THEN 'came' ELSE 'changed' END;
        field := v_break.field;
        after_seq := v_break.after_seq;
        left_value := v_break.left_value;
        live_value := v_break.found;
    ELSE
        verdict := CASE WHEN v_newest.seq IS NULL THEN 'unknown' ELSE 'agrees' END;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.reconciled_row(llamalog.watches, text, boolean, timestamptz) IS
    'Part of llamalog.reconciled_rows(): the verdict on the row that has the key, or should have it; null where there should be none and is none.';
