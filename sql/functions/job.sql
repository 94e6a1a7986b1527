-- A job among its kin: what caused it, what it caused, and for each what it was, how long it took and what it changed.
CREATE OR REPLACE FUNCTION llamalog.job(job_id text)
    RETURNS SETOF llamalog.job_node
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_kin llamalog.family_job[];
    v_ids text[];
BEGIN
    WITH RECURSIVE
    family AS MATERIALIZED (
        SELECT member.*
        FROM llamalog.job_family(job.job_id) AS member
    ),
    ancestry AS MATERIALIZED (
        SELECT known.job_id, known.parent_job_id
        FROM llamalog.job_ancestry(ARRAY[job.job_id]) AS known
    ),
    above (job_id, depth, parent_job_id) AS (
        SELECT own.job_id, 0, own.parent_job_id
        FROM ancestry AS own
        WHERE own.job_id = job.job_id
        UNION ALL
        SELECT cause.job_id, above.depth - 1, cause.parent_job_id
        FROM above
        JOIN ancestry AS cause
            ON cause.job_id = above.parent_job_id
        -- in a circle of jobs, a descendant is an ancestor too
        WHERE cause.job_id NOT IN (SELECT family.job_id FROM family)
    ) CYCLE job_id SET is_repeated USING trail
    SELECT array_agg(kin), array_agg(kin.job_id)
    INTO v_kin, v_ids
    FROM (
        SELECT family.job_id, family.depth, coalesce(family.parent_job_id, above.parent_job_id)
        FROM family
        LEFT JOIN above
            ON above.job_id = family.job_id
        UNION ALL
        SELECT above.job_id, above.depth, above.parent_job_id
        FROM above
        WHERE above.depth < 0
            AND NOT above.is_repeated
    ) AS kin (job_id, depth, parent_job_id);
    RETURN QUERY
    WITH
    recorded AS MATERIALIZED (
        SELECT DISTINCT ON (said.job_id)
            said.job_id,
            said.source,
            said.user_id,
            said.triggered_by,
            said.db_user,
            said.recorded_at AS first_at,
            max(said.recorded_at) OVER (PARTITION BY said.job_id) AS last_at
        FROM llamalog.jobs AS said
        WHERE said.job_id = ANY (v_ids)
        ORDER BY said.job_id, said.id
    ),
    by_category AS MATERIALIZED (
        SELECT
            coalesce(change.job_id, change.parent_job_id) AS job_id,
            change.category,
            count(*) AS changes,
            min(change.source) AS source,
            min(change.user_id) AS user_id,
            min(change.triggered_by) AS triggered_by,
            min(change.db_user) AS db_user,
            min(change.created_at) AS first_at,
            max(change.created_at) AS last_at
        FROM llamalog.changes_of_jobs(v_ids) AS change
        GROUP BY 1, 2
    ),
    made AS MATERIALIZED (
        SELECT
            by_category.job_id,
            sum(by_category.changes)::bigint AS change_count,
            coalesce(sum(by_category.changes) FILTER (WHERE by_category.category = 'FAILED'), 0)::bigint AS failure_count,
            jsonb_object_agg(by_category.category, by_category.changes) AS categories,
            min(by_category.source) AS source,
            min(by_category.user_id) AS user_id,
            min(by_category.triggered_by) AS triggered_by,
            min(by_category.db_user) AS db_user,
            min(by_category.first_at) AS first_at,
            max(by_category.last_at) AS last_at
        FROM by_category
        GROUP BY by_category.job_id
    )
    SELECT
        kin.job_id,
        kin.parent_job_id,
        kin.depth,
        coalesce(recorded.source, made.source),
        coalesce(recorded.user_id, made.user_id),
        coalesce(recorded.triggered_by, made.triggered_by),
        coalesce(recorded.db_user, made.db_user),
        least(recorded.first_at, made.first_at) AS started_at,
        greatest(recorded.last_at, made.last_at),
        coalesce(made.change_count, 0),
        coalesce(made.failure_count, 0),
        coalesce(made.categories, '{}')
    FROM unnest(v_kin) AS kin
    LEFT JOIN recorded
        ON recorded.job_id = kin.job_id
    LEFT JOIN made
        ON made.job_id = kin.job_id
    -- a move between partitions names the job of a head for its second half, as a creation would; it is told with the first
    WHERE kin.depth <= 0
        OR recorded.job_id IS NOT NULL
        OR made.job_id IS NOT NULL
        OR EXISTS (
            SELECT
            FROM unnest(v_kin) AS below
            WHERE below.parent_job_id = kin.job_id
        )
    ORDER BY kin.depth, started_at, kin.job_id;
END;
$function$;

COMMENT ON FUNCTION llamalog.job(text) IS
    'The ancestors of a job (depth below 0), the job, and its descendants, with what each was and changed; raises LL017 for a job that never was.';
