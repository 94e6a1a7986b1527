-- The first ancestor of a job, as it was recorded when it began; null for one that was not, and at SERIALIZABLE.
CREATE OR REPLACE FUNCTION llamalog.first_ancestor(job_id text)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    STRICT
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- what is read there stands against every job that begins meanwhile: two transactions would fail each other
    IF current_setting('transaction_isolation') = 'serializable' THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT job.root_job_id
        FROM llamalog.jobs AS job
        WHERE job.job_id = left(first_ancestor.job_id, 200)
        ORDER BY job.id
        LIMIT 1
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.first_ancestor(text) IS
    'Part of llamalog.set_context() and its kin: the root of a job whose parent alone is said.';
