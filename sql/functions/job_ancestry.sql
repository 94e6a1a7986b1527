-- Jobs with the job that caused each, up to the first.
CREATE OR REPLACE FUNCTION llamalog.job_ancestry(job_ids text[])
    RETURNS TABLE (
        job_id        text,
        parent_job_id text,
        source        text,
        user_id       text,
        triggered_by  text,
        started_at    timestamptz
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
    WITH RECURSIVE
    job (job_id, parent_job_id, source, user_id, triggered_by, started_at) AS (
        SELECT asked.job_id, origin.*
        FROM unnest(job_ancestry.job_ids) AS asked (job_id)
        LEFT JOIN LATERAL llamalog.job_origin(asked.job_id) AS origin
            ON true
        WHERE asked.job_id IS NOT NULL
        -- UNION keeps each job once, so that a circle of jobs ends where it closes
        UNION
        SELECT job.parent_job_id, origin.*
        FROM job
        LEFT JOIN LATERAL llamalog.job_origin(job.parent_job_id) AS origin
            ON true
        WHERE job.parent_job_id IS NOT NULL
    )
    SELECT
        job.job_id,
        nullif(job.parent_job_id, job.job_id),
        job.source,
        job.user_id,
        job.triggered_by,
        job.started_at
    FROM job;
$function$;

COMMENT ON FUNCTION llamalog.job_ancestry(text[]) IS
    'The jobs and all their ancestors, each once with its parent; parent_job_id is null for a first one.';
