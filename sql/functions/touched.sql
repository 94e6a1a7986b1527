-- What the changes of a job and its descendants, of a source, a user or a time touched; one row for each change.
-- No SET search_path: only so is it inlined into the question that calls it, and a log of any size is read as a stream.
CREATE OR REPLACE FUNCTION llamalog.touched(
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
        coalesce(change.link_type, change.entity_type),
        change.entity_type,
        change.entity_id,
        CASE WHEN change.link_type IS NOT NULL THEN change.related_type END,
        CASE WHEN change.link_type IS NOT NULL THEN change.related_id END,
        change.category,
        change.created_at,
        change.seq,
        change.txid,
        llamalog.working_job(change),
        change.root_job_id,
        change.source,
        change.user_id,
        change.triggered_by,
        change.db_user
    FROM llamalog.job_changes(touched.job_id) AS change
    WHERE touched.job_id IS NOT NULL
        AND (touched.source IS NULL OR change.source = touched.source)
        AND (touched.user_id IS NULL OR change.user_id = touched.user_id)
        AND change.created_at >= coalesce(touched.start_date, '-infinity')
        AND change.created_at < coalesce(touched.end_date, 'infinity')
    UNION ALL
    SELECT
        coalesce(log.link_type, log.entity_type),
        log.entity_type,
        log.entity_id,
        CASE WHEN log.link_type IS NOT NULL THEN log.related_type END,
        CASE WHEN log.link_type IS NOT NULL THEN log.related_id END,
        -- a row moved to another partition looks deleted and created
        CASE
            WHEN log.op = 'I' AND log.metadata @> '{"llamalog": {"moved": true}}'
                THEN (SELECT shown.category FROM llamalog.presented(log) AS shown)
            ELSE log.category
        END,
        log.created_at,
        log.seq,
        log.txid,
        llamalog.working_job(log),
        log.root_job_id,
        log.source,
        log.user_id,
        log.triggered_by,
        log.db_user
    FROM llamalog.log AS log
    WHERE touched.job_id IS NULL
        AND (touched.source IS NULL OR log.source = touched.source)
        AND (touched.user_id IS NULL OR log.user_id = touched.user_id)
        AND log.created_at >= coalesce(touched.start_date, '-infinity')
        AND log.created_at < coalesce(touched.end_date, 'infinity')
        AND (
            log.op IS DISTINCT FROM 'D'
            OR coalesce(log.link_type, log.entity_type) NOT IN (
                SELECT watch.entity_type
                FROM llamalog.watches AS watch
                -- of a table that is gone, nobody knows
                WHERE llamalog.is_partitioned(llamalog.table_of(watch)) IS DISTINCT FROM false
            )
            OR EXISTS (SELECT FROM llamalog.presented(log))
        );
$function$;

COMMENT ON FUNCTION llamalog.touched(text, text, text, timestamptz, timestamptz) IS
    'Part of llamalog.impact(): the entity or link that each change touched, and how; of a change about no entity, entity_type is null.';
