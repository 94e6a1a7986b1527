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
    LANGUAGE plpgsql
    STABLE
    ROWS 20
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_asked   text[] := array_remove(job_ancestry.job_ids, NULL);
    v_known   text[] := '{}';
    v_parents text[];
BEGIN
    -- a circle of jobs ends where it closes
    WHILE v_asked <> '{}' LOOP
        v_parents := '{}';
        FOR job_id, parent_job_id, source, user_id, triggered_by, started_at IN
            SELECT asked.job_id, origin.parent_job_id, origin.source, origin.user_id, origin.triggered_by, origin.started_at
            FROM (SELECT DISTINCT unnest(v_asked)) AS asked (job_id)
            LEFT JOIN llamalog.job_origins(v_asked) AS origin
                ON origin.job_id = asked.job_id
        LOOP
            v_parents := v_parents || parent_job_id;
            parent_job_id := nullif(parent_job_id, job_id);
            RETURN NEXT;
        END LOOP;
        v_known := v_known || v_asked;
        v_asked := ARRAY(
            SELECT above.job_id
            FROM unnest(v_parents) AS above (job_id)
            WHERE above.job_id IS NOT NULL
            EXCEPT
            SELECT unnest(v_known)
        );
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.job_ancestry(text[]) IS
    'The jobs and all their ancestors, each once with its parent; parent_job_id is null for a first one.';
