-- Refuses a job that never was.
CREATE OR REPLACE FUNCTION llamalog.check_job(job_id text)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- as in llamalog.chain_changes()
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
BEGIN
    IF check_job.job_id IS NULL THEN
        RAISE EXCEPTION 'job_id is missing'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT    = 'Pass the id of the job, as the log has it.';
    END IF;
    IF NOT EXISTS (
            SELECT
            FROM llamalog.jobs AS recorded
            WHERE recorded.job_id = check_job.job_id
        )
        AND NOT EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.job_id = check_job.job_id
        )
        AND NOT EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.parent_job_id = check_job.job_id
        )
        AND NOT EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.root_job_id = check_job.job_id
        )
        AND NOT EXISTS (
            SELECT
            FROM llamalog.jobs AS recorded
            WHERE recorded.parent_job_id = check_job.job_id
        )
    THEN
        RAISE EXCEPTION 'unknown job "%"', left(check_job.job_id, 100)
            USING ERRCODE = 'LL017',
                  DETAIL  = 'No job of that id was recorded, and no change in the log names it.',
                  HINT    = 'Every change names its job: see llamalog history TYPE ID, or llamalog.job_summary.';
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.check_job(text) IS
    'Raises LL017 for a job that was never recorded and that no change names, as the one that made it or that caused it.';
