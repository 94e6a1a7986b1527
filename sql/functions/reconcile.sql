-- Whether the live rows of a type follow from the log: the next rows after a key, each with a verdict.
--
-- Table and log are read by one statement, hence in one snapshot: no writer beside it makes a false finding.
CREATE OR REPLACE FUNCTION llamalog.reconcile(
    entity_type text,
    after_key   text DEFAULT NULL,
    row_limit   integer DEFAULT 2000,
    is_deep     boolean DEFAULT false
)
    RETURNS TABLE (
        entity_id   text,
        verdict     text,
        field       text,
        after_seq   bigint,
        left_value  jsonb,
        found_seq   bigint,
        found       jsonb,
        unexplained text[]
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_watch llamalog.watches := llamalog.reconciled_watch(reconcile.entity_type);
    v_key   text;
BEGIN
    PERFORM llamalog.check_row_limit(row_limit);
    IF after_key IS NOT NULL THEN
        v_key := llamalog.entity_id(v_watch.entity_type, after_key);
    END IF;
    RETURN QUERY
    SELECT
        judged.entity_id,
        CASE WHEN gap.found_seq IS NULL THEN judged.verdict ELSE 'gap' END,
        coalesce(gap.field, judged.field),
        coalesce(gap.after_seq, judged.after_seq),
        coalesce(gap.left_value, judged.left_value),
        gap.found_seq,
        coalesce(gap.found, judged.live_value),
        judged.unexplained
    FROM llamalog.reconciled_rows(v_watch, llamalog.reconciled_batch(v_watch, v_key, row_limit), NULL, NULL, NULL, NULL) AS judged
    LEFT JOIN LATERAL (
        SELECT broken.*
        FROM llamalog.breaks(v_watch.entity_type, judged.entity_id) AS broken
        -- asked of no other row
        WHERE reconcile.is_deep
            AND NOT v_watch.is_link
            AND judged.verdict = 'agrees'
            AND broken.found_seq IS NOT NULL
        LIMIT 1
    ) AS gap
        ON true;
END;
$function$;

COMMENT ON FUNCTION llamalog.reconcile(text, text, integer, boolean) IS
    'Live rows in the order of their key, each with its verdict: agrees; changed: the field holds found, not the left_value of change after_seq (null: some value); came: change after_seq had removed the row; unknown: the log never saw it; gap (only is_deep): change found_seq found another value than change after_seq had left. unexplained: columns that came later and hold a value that no change gave.';
