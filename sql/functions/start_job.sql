-- Records that a job runs and which one caused it, so that a job that writes no watched row is still a link in the chain.
CREATE OR REPLACE FUNCTION llamalog.start_job(
    job_id        text,
    parent_job_id text DEFAULT NULL,
    root_job_id   text DEFAULT NULL,
    source        text DEFAULT NULL,
    user_id       text DEFAULT NULL,
    triggered_by  text DEFAULT NULL
)
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF nullif(start_job.job_id, '') IS NULL THEN
        RAISE EXCEPTION 'job_id is missing'
            USING ERRCODE = 'null_value_not_allowed',
                  HINT    = 'Pass the id by which the application knows the job.';
    END IF;
    IF current_setting('transaction_read_only')::boolean THEN
        RETURN left(start_job.job_id, 200);
    END IF;
    INSERT INTO llamalog.jobs (job_id, parent_job_id, root_job_id, source, user_id, triggered_by)
    VALUES (
        left(start_job.job_id, 200),
        left(nullif(start_job.parent_job_id, ''), 200),
        left(
            coalesce(
                nullif(start_job.root_job_id, ''),
                llamalog.first_ancestor(nullif(start_job.parent_job_id, '')),
                nullif(start_job.parent_job_id, ''),
                start_job.job_id
            ),
            200
        ),
        left(nullif(start_job.source, ''), 200),
        left(nullif(start_job.user_id, ''), 200),
        left(nullif(start_job.triggered_by, ''), 200)
    );
    -- capture records what was set by plain settings, once a transaction
    PERFORM set_config('llamalog.recorded', concat_ws(E'\n', left(start_job.job_id, 200), left(start_job.parent_job_id, 200)), true);
    RETURN left(start_job.job_id, 200);
END;
$function$;

COMMENT ON FUNCTION llamalog.start_job(text, text, text, text, text, text) IS
    'Records a job and its parent in llamalog.jobs, unless the transaction is read-only; returns the job id.';
