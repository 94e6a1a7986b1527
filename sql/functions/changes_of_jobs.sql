-- Every change that some jobs made, creations without a job of their own among them. In no order.
CREATE OR REPLACE FUNCTION llamalog.changes_of_jobs(job_ids text[])
    RETURNS SETOF llamalog.log
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
DECLARE
    v_has_moves boolean;
BEGIN
    -- a row moved to another partition looks deleted and created: only then each change is looked at
    SELECT EXISTS (
        SELECT
        FROM llamalog.log AS log
        WHERE log.job_id = ANY (changes_of_jobs.job_ids)
            AND log.op = 'I'
            AND log.metadata @> '{"llamalog": {"moved": true}}'
        UNION ALL
        SELECT
        FROM llamalog.log AS log
        WHERE log.parent_job_id = ANY (changes_of_jobs.job_ids)
            AND log.job_id IS NULL
            AND log.op = 'I'
            AND log.metadata @> '{"llamalog": {"moved": true}}'
    )
    INTO v_has_moves;
    IF v_has_moves THEN
        RETURN QUERY
        SELECT shown.*
        FROM llamalog.log AS log
        CROSS JOIN LATERAL llamalog.presented(log) AS shown
        WHERE log.job_id = ANY (changes_of_jobs.job_ids)
        UNION ALL
        SELECT shown.*
        FROM llamalog.log AS log
        CROSS JOIN LATERAL llamalog.presented(log) AS shown
        WHERE log.parent_job_id = ANY (changes_of_jobs.job_ids)
            AND log.job_id IS NULL;
    ELSE
        RETURN QUERY
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.job_id = ANY (changes_of_jobs.job_ids)
        UNION ALL
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.parent_job_id = ANY (changes_of_jobs.job_ids)
            AND log.job_id IS NULL;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.changes_of_jobs(text[]) IS
    'Part of llamalog.job_changes() and llamalog.job(): the changes that these jobs made, and no other; in no order.';
