-- A job and whatever it caused: the jobs of the heads that it made, the jobs that it started, theirs, and so on.
--
-- Level by level, each asking for all its jobs at once: a job is met once, whatever number of rows and ways lead to it, and
-- a circle of jobs ends where it closes.
CREATE OR REPLACE FUNCTION llamalog.job_family(job_id text)
    RETURNS SETOF llamalog.family_job
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
    v_depth    integer := 0;
    v_new      text[] := ARRAY[job_family.job_id];
    v_parents  text[] := ARRAY[NULL];
    v_known    text[] := '{}';
    -- jobs that may have made heads; the job of a head makes none
    v_makers   text[] := v_new;
    v_patterns text[] := ARRAY(
        SELECT concat('/', watch.entity_type, ':')
        FROM llamalog.watches AS watch
    );
BEGIN
    WHILE v_new IS NOT NULL LOOP
        RETURN QUERY
        SELECT unnest(v_new), v_depth, unnest(v_parents);
        v_known := v_known || v_new;
        SELECT array_agg(fresh.job_id), array_agg(fresh.parent_job_id)
        INTO v_new, v_parents
        FROM (
            SELECT DISTINCT ON (caused.job_id) caused.job_id, caused.parent_job_id
            FROM (
                SELECT recorded.job_id, recorded.parent_job_id, recorded.id
                FROM llamalog.jobs AS recorded
                WHERE recorded.parent_job_id = ANY (v_new)
                UNION
                SELECT log.job_id, log.parent_job_id, NULL
                FROM llamalog.log AS log
                WHERE log.parent_job_id = ANY (v_new)
                    AND log.job_id IS NOT NULL
                UNION
                -- the job of a head that somebody else had made, J/ALBUM:7, is known by its name only: parts were made below it.
                -- By bytes: in the order of a language, what begins alike need not stand together
                SELECT named.parent_job_id, maker.job_id, NULL
                FROM unnest(v_makers) AS maker (job_id)
                CROSS JOIN LATERAL (
                    SELECT log.parent_job_id
                    FROM llamalog.log AS log
                    WHERE log.parent_job_id ~>=~ (maker.job_id || '/')
                        AND log.parent_job_id ~<~ (maker.job_id || '0')
                    UNION
                    SELECT recorded.parent_job_id
                    FROM llamalog.jobs AS recorded
                    WHERE recorded.parent_job_id ~>=~ (maker.job_id || '/')
                        AND recorded.parent_job_id ~<~ (maker.job_id || '0')
                ) AS named
                WHERE EXISTS (
                        SELECT
                        FROM unnest(v_patterns) AS pattern
                        WHERE starts_with(named.parent_job_id, maker.job_id || pattern)
                    )
            ) AS caused (job_id, parent_job_id, said)
            WHERE caused.job_id NOT IN (SELECT unnest(v_known))
            -- of several parents the one that was said first
            ORDER BY caused.job_id, caused.said, caused.parent_job_id
        ) AS fresh;
        v_makers := ARRAY(
            SELECT maker.job_id
            FROM unnest(v_new) AS maker (job_id)
            WHERE NOT EXISTS (
                SELECT
                FROM unnest(v_patterns) AS pattern
                WHERE strpos(maker.job_id, pattern) > 0
            )
        );
        v_depth := v_depth + 1;
    END LOOP;
    IF cardinality(v_known) = 1 THEN
        PERFORM llamalog.check_job(job_family.job_id);
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.job_family(text) IS
    'The job (depth 0) and all its descendants, each once with the steps to it and the job before it; raises LL017 for a job that never was.';
