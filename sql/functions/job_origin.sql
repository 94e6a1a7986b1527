-- Where one job came from: what was recorded of it, else what its first row says, else what its name does.
CREATE OR REPLACE FUNCTION llamalog.job_origin(job_id text)
    RETURNS TABLE (
        parent_job_id text,
        source        text,
        user_id       text,
        triggered_by  text,
        started_at    timestamptz
    )
    LANGUAGE sql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $function$
    (
        SELECT recorded.parent_job_id, recorded.source, recorded.user_id, recorded.triggered_by, recorded.recorded_at
        FROM llamalog.jobs AS recorded
        WHERE recorded.job_id = job_origin.job_id
        ORDER BY recorded.id
        LIMIT 1
    )
    UNION ALL
    (
        SELECT log.parent_job_id, log.source, log.user_id, log.triggered_by, log.created_at
        FROM llamalog.log AS log
        WHERE log.job_id = job_origin.job_id
        ORDER BY log.seq
        LIMIT 1
    )
    UNION ALL
    (
        -- the job of a head, J/ALBUM:7, of which nobody knows: parts were made below it by J
        SELECT left(job_origin.job_id, head.position - 1), NULL, NULL, NULL, NULL
        FROM llamalog.watches AS watch
        CROSS JOIN LATERAL strpos(job_origin.job_id, concat('/', watch.entity_type, ':')) AS head (position)
        WHERE head.position > 1
        ORDER BY head.position
        LIMIT 1
    )
    LIMIT 1;
$function$;

COMMENT ON FUNCTION llamalog.job_origin(text) IS
    'Parent, source, user and start of a job; no row for a job that neither was recorded nor wrote.';
