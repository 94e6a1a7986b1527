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
    v_ids       text[] := changes_of_jobs.job_ids;
    v_makers    text[];
    v_has_moves boolean;
BEGIN
    -- a row moved to another partition looks deleted and created: only then each change is looked at
    SELECT
        array_agg(DISTINCT log.job_id) FILTER (WHERE log.op = 'D'),
        bool_or(log.op = 'I' AND log.metadata @> '{"llamalog": {"moved": true}}')
    INTO v_makers, v_has_moves
    FROM llamalog.log AS log
    WHERE log.job_id = ANY (v_ids)
        AND log.op IN ('D', 'I');
    IF v_makers IS NOT NULL THEN
        -- its second half names the job of a head, as a creation would: J/ALBUM:7, or for what stands below it that as parent
        SELECT v_ids || array_agg(half.job_id)
        INTO v_ids
        FROM (
            SELECT log.job_id
            FROM llamalog.log AS log
            WHERE log.parent_job_id = ANY (v_makers)
                AND log.op = 'I'
                AND log.metadata @> '{"llamalog": {"moved": true}}'
            UNION
            SELECT below.parent_job_id
            FROM unnest(v_makers) AS maker (job_id)
            CROSS JOIN LATERAL (
                SELECT log.parent_job_id
                FROM llamalog.log AS log
                WHERE log.parent_job_id ~>=~ (maker.job_id || '/')
                    AND log.parent_job_id ~<~ (maker.job_id || '0')
                    AND log.job_id IS NULL
                    AND log.op = 'I'
                    AND log.metadata @> '{"llamalog": {"moved": true}}'
                -- for each by the index: the whole log is read where they are joined
                OFFSET 0
            ) AS below
        ) AS half (job_id)
        WHERE half.job_id <> ALL (v_ids);
    END IF;
    IF v_has_moves IS NOT TRUE THEN
        v_has_moves := cardinality(v_ids) > cardinality(changes_of_jobs.job_ids)
            OR EXISTS (
                SELECT
                FROM llamalog.log AS log
                WHERE log.parent_job_id = ANY (v_ids)
                    AND log.job_id IS NULL
                    AND log.op = 'I'
                    AND log.metadata @> '{"llamalog": {"moved": true}}'
            );
    END IF;
    IF v_has_moves THEN
        RETURN QUERY
        SELECT shown.*
        FROM (
            SELECT log
            FROM llamalog.log AS log
            WHERE log.job_id = ANY (v_ids)
            UNION ALL
            SELECT log
            FROM llamalog.log AS log
            WHERE log.parent_job_id = ANY (v_ids)
                AND log.job_id IS NULL
        ) AS change (log)
        CROSS JOIN LATERAL llamalog.presented(change.log) AS shown
        -- told of the job that moved it, which the first half names
        WHERE coalesce(shown.job_id, shown.parent_job_id) = ANY (changes_of_jobs.job_ids);
    ELSE
        RETURN QUERY
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.job_id = ANY (v_ids)
        UNION ALL
        SELECT log.*
        FROM llamalog.log AS log
        WHERE log.parent_job_id = ANY (v_ids)
            AND log.job_id IS NULL;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.changes_of_jobs(text[]) IS
    'Part of llamalog.job_changes() and llamalog.job(): the changes that these jobs made, and no other; in no order.';
