-- Every change that a job made, and those of the jobs that it caused; unordered.
CREATE OR REPLACE FUNCTION llamalog.caused_changes(job_id text)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- how many jobs a step has is not known when it is planned: each goes by an index
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_jobs  text[] := '{}';
    v_new   text[] := ARRAY[caused_changes.job_id];
    v_found llamalog.log[];
    v_below llamalog.log[];
BEGIN
    -- a circle of jobs ends where it closes
    WHILE v_new <> '{}' LOOP
        v_jobs := v_jobs || v_new;
        SELECT array_agg(log)
        INTO v_below
        FROM llamalog.log AS log
        WHERE log.parent_job_id = ANY (v_new);
        v_found := v_found || v_below;
        v_new := ARRAY(
            SELECT recorded.job_id
            FROM llamalog.jobs AS recorded
            WHERE recorded.parent_job_id = ANY (v_new)
            UNION
            SELECT below.job_id
            FROM unnest(v_below) AS below
            WHERE below.job_id IS NOT NULL
            EXCEPT
            SELECT unnest(v_jobs)
        );
    END LOOP;
    SELECT v_found || array_agg(log)
    INTO v_found
    FROM llamalog.log AS log
    WHERE log.job_id = ANY (v_jobs);
    RETURN QUERY
    SELECT shown.*
    FROM (
        SELECT DISTINCT ON (known.seq, known.id) known::llamalog.log AS change
        FROM unnest(v_found) AS known
        ORDER BY known.seq, known.id
    ) AS found
    CROSS JOIN LATERAL llamalog.presented(found.change) AS shown;
END;
$function$;

COMMENT ON FUNCTION llamalog.caused_changes(text) IS
    'All changes of a job and of the jobs that it caused, directly or not, in no order; none for a job that is not known.';
