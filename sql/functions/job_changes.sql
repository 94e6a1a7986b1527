-- Every change that a job made, and those that its descendants made: creations without a job of their own and what deletes
-- cascaded to among them. In no order.
CREATE OR REPLACE FUNCTION llamalog.job_changes(
    job_id           text,
    with_descendants boolean DEFAULT true
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_jobs text[];
BEGIN
    SELECT array_agg(member.job_id)
    INTO v_jobs
    FROM llamalog.job_family(job_changes.job_id) AS member
    WHERE job_changes.with_descendants
        OR member.depth = 0
        -- what it made of each of its heads is its own work
        OR EXISTS (
            SELECT
            FROM llamalog.watches AS watch
            WHERE starts_with(member.job_id, concat(job_changes.job_id, '/', watch.entity_type, ':'))
        );
    RETURN QUERY
    SELECT change.*
    FROM llamalog.changes_of_jobs(v_jobs) AS change;
END;
$function$;

COMMENT ON FUNCTION llamalog.job_changes(text, boolean) IS
    'All changes made by a job and its descendants, or by the job alone (with those of its heads); in no order. Raises LL017 for a job that never was.';
