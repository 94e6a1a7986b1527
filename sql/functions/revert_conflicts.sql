-- Where later writers are in the way of a revert, field by field, each with the change that set it last.
CREATE OR REPLACE FUNCTION llamalog.revert_conflicts(
    touched_rows llamalog.reverted_row[],
    wins         text
)
    RETURNS SETOF llamalog.revert_step
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
    in_the_way AS (
        SELECT touched.*, 'conflict' AS action, field.key AS field, touched.live -> field.key AS before, field.value AS after,
            CASE WHEN touched.set_by ? field.key THEN (touched.set_by ->> field.key)::bigint ELSE touched.row_set_by END AS seq
        FROM unnest(touched_rows) AS touched
        CROSS JOIN LATERAL jsonb_each(touched.ours) AS field
        WHERE touched.theirs IS NOT NULL
            -- as text: as jsonb, 1.0 and 1.00 are equal
            AND (touched.theirs -> field.key)::text <> field.value::text
        UNION ALL
        SELECT touched.*, 'conflict', NULL, touched.live, touched.ours, touched.row_set_by
        FROM unnest(touched_rows) AS touched
        WHERE (touched.theirs IS NULL) <> (touched.ours IS NULL)
        UNION ALL
        SELECT touched.*, 'lost', NULL, NULL, NULL, NULL
        FROM unnest(touched_rows) AS touched
        WHERE touched.is_lost
    )
    SELECT
        NULL::integer,
        met.action,
        met.entity_type,
        met.entity_id,
        met.related_id,
        met.field,
        met.before,
        met.after,
        wins IS NULL OR met.action = 'lost' AND wins = 'ours',
        CASE
            WHEN met.is_lost THEN 'the row is gone, or hidden from you, and the log has no row of its removal'
            WHEN met.seq IS NULL AND met.live IS NOT NULL AND met.ours IS NULL AND pause.told IS NOT NULL
                THEN 'perhaps written to since: ' || pause.told
            WHEN met.seq IS NULL THEN concat_ws(': ', 'a write that was not captured', pause.told)
            WHEN met.field IS NOT NULL THEN 'set since'
            WHEN met.live IS NULL THEN 'deleted since'
            WHEN met.ours IS NULL THEN 'written to since'
            ELSE 'created anew since'
        END,
        met.seq,
        coalesce(writer.job_id, writer.parent_job_id),
        writer.user_id,
        NULL::text,
        NULL::text,
        NULL::text
    FROM in_the_way AS met
    LEFT JOIN LATERAL (
        SELECT log.job_id, log.parent_job_id, log.user_id
        FROM llamalog.log AS log
        WHERE log.seq = met.seq
        LIMIT 1
    ) AS writer
        ON true
    LEFT JOIN LATERAL (
        SELECT llamalog.pause_told(paused) AS told
        FROM llamalog.pauses AS paused
        WHERE paused.entity_type = met.entity_type
            AND (paused.resumed_seq > met.first_seq) IS NOT FALSE
            AND met.seq IS NULL
        ORDER BY paused.paused_at DESC
        LIMIT 1
    ) AS pause
        ON true;
$function$;

COMMENT ON FUNCTION llamalog.revert_conflicts(llamalog.reverted_row[], text) IS
    'Part of llamalog.revert_plan(): the steps conflict and lost.';
