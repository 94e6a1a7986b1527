-- What the changes of a job and its descendants touched; or those of a source, a user, a time. The others narrow a job down.
-- No SET search_path: as llamalog.touched(), it is inlined.
CREATE OR REPLACE FUNCTION llamalog.impact_touches(
    job_id     text,
    source     text,
    user_id    text,
    start_date timestamptz,
    end_date   timestamptz
)
    RETURNS SETOF llamalog.touch
    LANGUAGE sql
    STABLE
AS $function$
    SELECT
        touch.touched_type,
        touch.entity_type,
        touch.entity_id,
        touch.related_type,
        touch.related_id,
        touch.category,
        touch.created_at,
        touch.seq,
        touch.txid,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL
    FROM llamalog.touched(
        impact_touches.source, impact_touches.user_id, impact_touches.start_date, impact_touches.end_date
    ) AS touch
    WHERE impact_touches.job_id IS NULL
    UNION ALL
    SELECT
        coalesce(change.link_type, change.entity_type),
        change.entity_type,
        change.entity_id,
        CASE WHEN change.link_type IS NOT NULL THEN change.related_type END,
        CASE WHEN change.link_type IS NOT NULL THEN change.related_id END,
        change.category,
        change.created_at,
        change.seq,
        change.txid,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL
    FROM llamalog.job_changes(impact_touches.job_id) AS change
    WHERE impact_touches.job_id IS NOT NULL
        AND (impact_touches.source IS NULL OR change.source = impact_touches.source)
        AND (impact_touches.user_id IS NULL OR change.user_id = impact_touches.user_id)
        AND (impact_touches.start_date IS NULL OR change.created_at >= impact_touches.start_date)
        AND (impact_touches.end_date IS NULL OR change.created_at < impact_touches.end_date);
$function$;

COMMENT ON FUNCTION llamalog.impact_touches(text, text, text, timestamptz, timestamptz) IS
    'Part of llamalog.impact(): what each change touched, without by whom.';
