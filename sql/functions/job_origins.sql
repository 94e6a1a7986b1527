-- Where jobs came from: what was recorded of each, else what its first row says, else what its name does.
CREATE OR REPLACE FUNCTION llamalog.job_origins(job_ids text[])
    RETURNS TABLE (
        job_id        text,
        parent_job_id text,
        source        text,
        user_id       text,
        triggered_by  text,
        started_at    timestamptz
    )
    LANGUAGE plpgsql
    STABLE
    ROWS 20
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    SET enable_seqscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_left text[];
BEGIN
    RETURN QUERY
    SELECT DISTINCT ON (recorded.job_id)
        recorded.job_id,
        recorded.parent_job_id,
        recorded.source,
        recorded.user_id,
        recorded.triggered_by,
        recorded.recorded_at
    FROM llamalog.jobs AS recorded
    WHERE recorded.job_id = ANY (job_origins.job_ids)
    ORDER BY recorded.job_id, recorded.id;
    v_left := ARRAY(
        SELECT asked.job_id
        FROM unnest(job_origins.job_ids) AS asked (job_id)
        WHERE asked.job_id IS NOT NULL
        EXCEPT
        SELECT recorded.job_id
        FROM llamalog.jobs AS recorded
        WHERE recorded.job_id = ANY (job_origins.job_ids)
    );
    IF v_left = '{}' THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH
    written AS MATERIALIZED (
        SELECT asked.job_id, first.*
        FROM unnest(v_left) AS asked (job_id)
        CROSS JOIN LATERAL (
            SELECT log.parent_job_id, log.source, log.user_id, log.triggered_by, log.created_at
            FROM llamalog.log AS log
            WHERE log.job_id = asked.job_id
            ORDER BY log.seq
            LIMIT 1
        ) AS first
    )
    SELECT written.*
    FROM written
    UNION ALL
    -- the job of a head, J/ALBUM:7, of which nobody knows: parts were made below it by J
    SELECT asked.job_id, above.job_id, NULL, NULL, NULL, NULL
    FROM unnest(v_left) AS asked (job_id)
    CROSS JOIN LATERAL (
        SELECT left(asked.job_id, head.position - 1)
        FROM llamalog.watches AS watch
        CROSS JOIN LATERAL strpos(asked.job_id, concat('/', watch.entity_type, ':')) AS head (position)
        WHERE head.position > 1
        ORDER BY head.position
        LIMIT 1
    ) AS above (job_id)
    WHERE asked.job_id NOT IN (SELECT written.job_id FROM written);
END;
$function$;

COMMENT ON FUNCTION llamalog.job_origins(text[]) IS
    'Parent, source, user and start of jobs, each once; no row for a job that neither was recorded nor wrote.';
