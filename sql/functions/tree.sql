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
    v_last text := llamalog.last_key(v_type, v_id);
BEGIN
    RETURN QUERY
    WITH RECURSIVE
    -- what is shown of them and no more: they are carried through all of what follows
    change AS MATERIALIZED (
        SELECT
            found.id,
            found.seq,
            found.created_at,
            found.category,
            found.status,
            found.entity_type,
            found.entity_id,
            found.related_type,
            found.related_id,
            found.link_type,
            found.operation,
            found.source,
            found.user_id,
            found.triggered_by,
            found.job_id,
            found.parent_job_id,
            found.root_job_id,
            found.is_root_job,
            llamalog.change_detail(found.op, found.fields_enriched, found.before, found.after,
                found.data_quality_before, found.data_quality_after, found.error_code, found.error_message, found.reason) AS detail
        FROM llamalog.chain_changes(v_type, v_id) AS found
    ),
    -- the row that created a job's head stands for the job
    head AS MATERIALIZED (
        SELECT DISTINCT ON (change.job_id) change.job_id, change.id, change.seq
        FROM change
        WHERE change.is_root_job
            AND change.job_id IS NOT NULL
        ORDER BY change.job_id, change.entity_type = v_type AND change.entity_id = v_id DESC, change.seq
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
    -- a key that the entity had may be another row's by now
    former AS MATERIALIZED (
        SELECT
            held.id,
            held.after_seq,
            held.before_seq,
            (
                SELECT known.label
                FROM llamalog.labels(v_type, ARRAY[v_last]) AS known
            ) AS label
        FROM llamalog.key_history(v_type, v_id) AS held
        WHERE held.id IS DISTINCT FROM v_last
    ),
    -- a job that is known by name only began no later than what it caused
    begun AS MATERIALIZED (
        SELECT mention.job_id, min(mention.created_at) AS started_at
        FROM (
            SELECT unnest(ARRAY[change.job_id, change.parent_job_id, change.root_job_id]) AS job_id, change.created_at
            FROM change
            UNION ALL
            SELECT job.parent_job_id, job.started_at
            FROM job
        ) AS mention
        WHERE EXISTS (
                SELECT
                FROM job
                WHERE job.started_at IS NULL
            )
        GROUP BY mention.job_id
    ),
    placed AS MATERIALIZED (
        SELECT
            node.*,
            row_number() OVER (ORDER BY node.created_at, coalesce(node.change_seq, 0), node.name)::integer AS place
        FROM (
            SELECT
                CASE WHEN head.id IS NOT NULL THEN 'job ' || change.job_id ELSE 'change ' || change.id END AS name,
                'job ' || CASE
                    WHEN head.id IS NOT NULL THEN nullif(change.parent_job_id, change.job_id)
                    ELSE coalesce(change.job_id, change.parent_job_id)
                END AS parent,
                head.id IS NOT NULL AS is_job,
                change.seq AS change_seq,
                change.id AS change_id,
                coalesce(change.job_id, change.parent_job_id) AS job_id,
                change.created_at
            FROM change
            LEFT JOIN head
                ON head.id = change.id
                AND head.seq = change.seq
            UNION ALL
            SELECT
                'job ' || job.job_id,
                'job ' || job.parent_job_id,
                true,
                NULL,
                NULL,
                job.job_id,
                coalesce(job.started_at, begun.started_at)
            FROM job
            LEFT JOIN begun
                ON begun.job_id = job.job_id
            WHERE NOT EXISTS (
                SELECT
                FROM head
                WHERE head.job_id = job.job_id
            )
        ) AS node
    ),
    -- only below jobs is there anything
    branch AS MATERIALIZED (
        SELECT placed.name, placed.parent, placed.place
        FROM placed
        WHERE placed.is_job
    ),
    walk (depth, name, trail) AS (
        SELECT 0, branch.name, ARRAY[branch.place]
        FROM branch
        WHERE NOT EXISTS (
            SELECT
            FROM branch AS above
            WHERE above.name = branch.parent
        )
        UNION ALL
        SELECT
            walk.depth + 1,
            branch.name,
            walk.trail || branch.place
        FROM walk
        JOIN branch
            ON branch.parent = walk.name
    ),
    -- jobs that cause each other in a circle hang below nothing
    arranged AS (
        SELECT
            placed.*,
            coalesce(CASE WHEN placed.is_job THEN walk.depth ELSE walk.depth + 1 END, 0) AS depth,
            CASE WHEN placed.is_job AND walk.name IS NOT NULL THEN walk.trail ELSE walk.trail || placed.place END AS trail
        FROM placed
        LEFT JOIN walk
            ON walk.name = CASE WHEN placed.is_job THEN placed.name ELSE placed.parent END
    )
    SELECT
        arranged.depth,
        arranged.name,
        CASE WHEN arranged.depth > 0 THEN arranged.parent END,
        arranged.job_id,
        change.seq,
        arranged.created_at,
        change.category,
        change.status,
        change.entity_type,
        change.entity_id,
        CASE WHEN entity_former.id IS NULL THEN entity_label.label ELSE entity_former.label END,
        change.related_type,
        change.related_id,
        CASE WHEN related_former.id IS NULL THEN related_label.label ELSE related_former.label END,
        change.link_type,
        change.operation,
        coalesce(change.source, job.source),
        coalesce(change.user_id, job.user_id),
        coalesce(change.triggered_by, job.triggered_by),
        change.detail
    FROM arranged
    LEFT JOIN change
        ON change.id = arranged.change_id
    LEFT JOIN job
        ON job.job_id = arranged.job_id
    LEFT JOIN label AS entity_label
        ON entity_label.entity_type = change.entity_type
        AND entity_label.entity_id = change.entity_id
    LEFT JOIN label AS related_label
        ON related_label.entity_type = change.related_type
        AND related_label.entity_id = change.related_id
    LEFT JOIN former AS entity_former
        ON change.entity_type = v_type
        AND change.entity_id = entity_former.id
        AND change.seq >= entity_former.after_seq
        AND change.seq < entity_former.before_seq
    LEFT JOIN former AS related_former
        ON change.related_type = v_type
        AND change.related_id = related_former.id
        AND change.seq >= related_former.after_seq
        AND change.seq < related_former.before_seq
    ORDER BY arranged.trail;
END;
$function$;

COMMENT ON FUNCTION llamalog.tree(text, text) IS
    'The changes that llamalog.chain() pages, nested: parents before their children, siblings by time. A job that wrote nothing is a node without seq.';
