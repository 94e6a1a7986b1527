-- The story of an entity as a tree: jobs below the jobs that caused them, changes below the jobs that made them.
CREATE OR REPLACE FUNCTION llamalog.tree(
    entity_type text,
    entity_id   text
)
    RETURNS SETOF llamalog.tree_node
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type text := llamalog.entity_type(tree.entity_type);
    v_id   text := llamalog.entity_id(v_type, tree.entity_id);
BEGIN
    RETURN QUERY
    WITH RECURSIVE
    change AS MATERIALIZED (
        SELECT
            found.*,
            -- the row that created a job's head stands for the job
            found.is_root_job
                AND found.job_id IS NOT NULL
                AND row_number() OVER (
                    PARTITION BY found.job_id
                    ORDER BY found.is_root_job DESC, found.entity_type = v_type AND found.entity_id = v_id DESC, found.seq
                ) = 1 AS is_job
        FROM llamalog.chain_changes(v_type, v_id) AS found
    ),
    job AS MATERIALIZED (
        SELECT ancestry.*
        FROM (
            SELECT array_agg(DISTINCT coalesce(change.job_id, change.parent_job_id)) AS ids
            FROM change
        ) AS mentioned
        CROSS JOIN LATERAL llamalog.job_ancestry(mentioned.ids) AS ancestry
    ),
    label AS MATERIALIZED (
        SELECT named.entity_type, known.entity_id, known.label
        FROM (
            SELECT mentioned.entity_type, array_agg(DISTINCT mentioned.entity_id) AS ids
            FROM (
                SELECT change.entity_type, change.entity_id
                FROM change
                UNION
                SELECT change.related_type, change.related_id
                FROM change
            ) AS mentioned (entity_type, entity_id)
            WHERE mentioned.entity_id IS NOT NULL
            GROUP BY mentioned.entity_type
        ) AS named
        CROSS JOIN LATERAL llamalog.labels(named.entity_type, named.ids) AS known
    ),
    placed AS MATERIALIZED (
        SELECT
            CASE WHEN change.is_job THEN 'job ' || change.job_id ELSE 'change ' || change.id END AS node,
            'job ' || CASE
                WHEN change.is_job THEN nullif(change.parent_job_id, change.job_id)
                ELSE coalesce(change.job_id, change.parent_job_id)
            END AS parent_node,
            change.seq AS change_seq,
            change.id AS change_id,
            coalesce(change.job_id, change.parent_job_id) AS job_id,
            change.created_at
        FROM change
        UNION ALL
        SELECT
            'job ' || job.job_id,
            'job ' || job.parent_job_id,
            NULL,
            NULL,
            job.job_id,
            coalesce(
                job.started_at,
                (
                    SELECT min(change.created_at)
                    FROM change
                    WHERE job.job_id IN (change.job_id, change.parent_job_id)
                )
            )
        FROM job
        WHERE NOT EXISTS (
            SELECT
            FROM change
            WHERE change.is_job
                AND change.job_id = job.job_id
        )
    ),
    walk (depth, node, trail) AS (
        SELECT 0, placed.node, ARRAY[ROW(placed.created_at, coalesce(placed.change_seq, 0), placed.node)]
        FROM placed
        WHERE NOT EXISTS (
            SELECT
            FROM placed AS above
            WHERE above.node = placed.parent_node
        )
        UNION ALL
        SELECT
            walk.depth + 1,
            placed.node,
            walk.trail || ROW(placed.created_at, coalesce(placed.change_seq, 0), placed.node)
        FROM walk
        JOIN placed
            ON placed.parent_node = walk.node
    ),
    arranged AS (
        SELECT walk.depth, walk.node, walk.trail
        FROM walk
        UNION ALL
        -- jobs that cause each other in a circle hang below nothing
        SELECT 0, placed.node, ARRAY[ROW(placed.created_at, coalesce(placed.change_seq, 0), placed.node)]
        FROM placed
        WHERE NOT EXISTS (
            SELECT
            FROM walk
            WHERE walk.node = placed.node
        )
    )
    SELECT
        arranged.depth,
        arranged.node,
        CASE WHEN arranged.depth > 0 THEN placed.parent_node END,
        placed.job_id,
        change.seq,
        placed.created_at,
        change.category,
        change.status,
        change.entity_type,
        change.entity_id,
        entity_label.label,
        change.related_type,
        change.related_id,
        related_label.label,
        change.link_type,
        change.operation,
        coalesce(change.source, job.source),
        coalesce(change.user_id, job.user_id),
        coalesce(change.triggered_by, job.triggered_by),
        llamalog.change_detail(change.op, change.fields_enriched, change.before, change.after,
            change.data_quality_before, change.data_quality_after, change.error_code, change.error_message, change.reason)
    FROM arranged
    JOIN placed
        ON placed.node = arranged.node
    LEFT JOIN change
        ON change.id = placed.change_id
    LEFT JOIN job
        ON job.job_id = placed.job_id
    LEFT JOIN label AS entity_label
        ON entity_label.entity_type = change.entity_type
        AND entity_label.entity_id = change.entity_id
    LEFT JOIN label AS related_label
        ON related_label.entity_type = change.related_type
        AND related_label.entity_id = change.related_id
    ORDER BY arranged.trail;
END;
$function$;

COMMENT ON FUNCTION llamalog.tree(text, text) IS
    'The changes that llamalog.chain() pages, nested: parents before their children, siblings by time. A job that wrote nothing is a node without seq.';
