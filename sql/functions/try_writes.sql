-- Writes rows into the log as capture writes them, of every kind, and takes them back; fails where one is refused or lost.
-- What a log of the application's own demands of its rows shows only so. It runs with the rights that capture has.
CREATE OR REPLACE FUNCTION llamalog.try_writes()
    RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_rows    jsonb;
    v_wanted  bigint;
    v_written bigint;
BEGIN
    BEGIN
        SELECT
            jsonb_agg(jsonb_build_object(
                'n', category.position + 11 * job.position,
                'entity_type', (SELECT array_agg(watch.entity_type) || ARRAY['ALBUM', 'OF_NO_TABLE'] FROM llamalog.watches AS watch)
                    [1 + (category.position + 11 * job.position) % (2 + (SELECT count(*) FROM llamalog.watches))],
                'category', category.name,
                'job_id', job.id,
                'parent_job_id', job.parent
            )),
            count(*)
        INTO v_rows, v_wanted
        FROM unnest(llamalog.categories()) WITH ORDINALITY AS category (name, position)
        CROSS JOIN (
            VALUES
                (0, 'tx:1@20260101T000000.000000', NULL),
                (1, repeat('j', 200), repeat('p', 200)),
                (2, NULL, 'sync/ALBUM:1')
        ) AS job (position, id, parent);
        -- an update or deletion, by itself; a creation within a job; a failure
        INSERT INTO llamalog.llama_logs (
            op, entity_type, entity_id, related_type, related_id, previous_id, operation, category, source, sources, reason,
            fields_enriched, data_quality_before, data_quality_after, triggered_by, user_id, before, after, metadata,
            job_id, parent_job_id, root_job_id
        )
        SELECT
            (ARRAY['U', 'D', 'T'])[1 + tried.n % 3], tried.entity_type,
            CASE WHEN tried.n % 2 = 0 THEN '4b6f0e2a-5c1d-4e8f-9a3b-7d2c1e0f5a6b' ELSE repeat('7,', 100) END,
            CASE WHEN tried.n % 3 = 0 THEN 'ALBUM' END, CASE WHEN tried.n % 3 = 0 THEN '4b6f0e2a-5c1d-4e8f-9a3b-7d2c1e0f5a6b' END,
            CASE WHEN tried.n % 5 = 0 THEN '6' END,
            CASE WHEN tried.n % 2 = 0 THEN 'album:updated' ELSE repeat('o', 200) END,
            tried.category, CASE WHEN tried.n % 2 = 0 THEN repeat('s', 200) END,
            CASE WHEN tried.n % 2 = 0 THEN ARRAY['SPOTIFY', repeat('x', 100)] END, CASE WHEN tried.n % 2 = 0 THEN 'a reason' END,
            '{title}', CASE WHEN tried.n % 2 = 0 THEN 'LOW' END, 'HIGH', repeat('t', 200),
            CASE WHEN tried.n % 2 = 0 THEN repeat('u', 200) END, '{"title": "a"}', '{"title": null}', NULL,
            tried.job_id, tried.parent_job_id, coalesce(tried.parent_job_id, tried.job_id)
        FROM jsonb_to_recordset(v_rows) AS tried (n integer, entity_type text, category text, job_id text, parent_job_id text);
        GET DIAGNOSTICS v_written = ROW_COUNT;
        IF v_written = v_wanted THEN
            INSERT INTO llamalog.llama_logs (
                op, entity_type, entity_id, related_type, related_id, link_type, operation, category, fields_enriched, after,
                triggered_by, job_id, parent_job_id, root_job_id, is_root_job
            )
            SELECT
                'I', tried.entity_type, tried.n::text, 'ALBUM', '7', CASE WHEN tried.n % 2 = 0 THEN 'A_LINK' END, 'album:created:api',
                tried.category, '{id,title}', '{}', 'psql', tried.job_id, tried.parent_job_id, tried.job_id, tried.n % 2 = 0
            FROM jsonb_to_recordset(v_rows) AS tried (n integer, entity_type text, category text, job_id text, parent_job_id text);
            GET DIAGNOSTICS v_written = ROW_COUNT;
            v_written := v_written + v_wanted;
        END IF;
        IF v_written = 2 * v_wanted THEN
            INSERT INTO llamalog.llama_logs (
                entity_type, entity_id, operation, category, status, error_message, error_code, retry_count, duration_ms, job_id
            )
            SELECT tried.entity_type, NULL, 'enrichment', 'FAILED', 'FAILED', repeat('e', 1000), 'TIMEOUT', 3, 12, tried.job_id
            FROM jsonb_to_recordset(v_rows) AS tried (n integer, entity_type text, category text, job_id text, parent_job_id text);
            GET DIAGNOSTICS v_written = ROW_COUNT;
            v_written := v_written + 2 * v_wanted;
        END IF;
        IF v_written < 3 * v_wanted THEN
            RAISE EXCEPTION 'of % rows only % arrive', 3 * v_wanted, v_written
                USING ERRCODE = 'LL015',
                      HINT    = 'A trigger or a rule of the log keeps the others: drop or disable it.';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'BACK0';
    EXCEPTION
        WHEN SQLSTATE 'BACK0' THEN
            NULL;  -- the rows are gone again
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.try_writes() IS
    'Fails where the log refuses rows as capture writes them, or loses them (LL015); leaves nothing behind.';
