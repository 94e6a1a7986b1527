-- What was touched through a source, for a user, in a time; one row for each change, the whole log where none is given.
-- No SET search_path: only so is it inlined into the question that calls it, and a log of any size is read as a stream.
CREATE OR REPLACE FUNCTION llamalog.touched(
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
    WHERE (touched.source IS NULL OR log.source = touched.source)
        AND (touched.user_id IS NULL OR log.user_id = touched.user_id)
        -- a bound that is known only when the question runs leaves months out too
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

COMMENT ON FUNCTION llamalog.touched(text, text, timestamptz, timestamptz) IS
    'The entity or link that each change touched, how, and by whom; of a change about no entity, entity_type is null.';
