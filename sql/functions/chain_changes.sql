-- Everything that belongs to the story of one entity: its own changes, those of its parts and links, and whatever
-- else the jobs that were about it caused. Unordered; chain, tree and why present it.
CREATE OR REPLACE FUNCTION llamalog.chain_changes(
    entity_type text,
    entity_id   text
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- how many parts and jobs there are is not known when the query is planned: each step goes by an index, so that the
    -- cost follows the family of the entity and not the size of the log
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE
    own AS MATERIALIZED (
        SELECT log.*
        FROM llamalog.key_history(chain_changes.entity_type, chain_changes.entity_id) AS held
        JOIN llamalog.log AS log
            ON log.entity_id = held.id
            AND log.seq >= held.after_seq
            AND log.seq < held.before_seq
        WHERE log.entity_type = chain_changes.entity_type
    ),
    -- the entity under each of its keys, while it had them; its parts, their parts; UNION ends a circle of them
    member (entity_type, entity_id, after_seq, before_seq) AS (
        SELECT chain_changes.entity_type, held.id, held.after_seq, held.before_seq
        FROM llamalog.key_history(chain_changes.entity_type, chain_changes.entity_id) AS held
        UNION
        SELECT part.entity_type, part.entity_id, -9223372036854775808, 9223372036854775807
        FROM member
        JOIN llamalog.log AS part
            ON part.related_id = member.entity_id
            AND part.related_type = member.entity_type
            AND part.link_type IS NULL
            AND part.seq BETWEEN member.after_seq AND member.before_seq
    ),
    of_parts AS (
        SELECT log.*
        FROM member
        JOIN llamalog.log AS log
            ON log.related_id = member.entity_id
            AND log.related_type = member.entity_type
            AND log.seq BETWEEN member.after_seq AND member.before_seq
        UNION ALL
        -- a part's links, and what applications wrote about it, do not name the whole
        SELECT log.*
        FROM member
        JOIN llamalog.log AS log
            ON log.entity_id = member.entity_id
            AND log.entity_type = member.entity_type
        WHERE (log.link_type IS NOT NULL OR log.related_id IS NULL)
            AND log.entity_type <> chain_changes.entity_type
    ),
    -- jobs that were about this entity: the one that made it, and those whose path is for one entity at a time
    job (job_id) AS (
        SELECT own.job_id
        FROM own
        LEFT JOIN llamalog.source_paths AS path
            ON path.source = own.source
        WHERE own.job_id IS NOT NULL
            AND own.link_type IS NULL
            AND (
                own.is_root_job
                OR path.makes = 'one' AND coalesce(path.head_type, own.entity_type) = own.entity_type
                -- a row of the application's own says no path: its job is about this entity if it is about no other such
                OR own.op IS NULL AND own.source IS NULL AND NOT EXISTS (
                    SELECT
                    FROM llamalog.log AS other
                    WHERE other.job_id = own.job_id
                        AND other.entity_type = own.entity_type
                        AND other.entity_id <> own.entity_id
                )
            )
        UNION
        SELECT caused.job_id
        FROM job
        CROSS JOIN LATERAL (
            SELECT recorded.job_id
            FROM llamalog.jobs AS recorded
            WHERE recorded.parent_job_id = job.job_id
            UNION ALL
            SELECT log.job_id
            FROM llamalog.log AS log
            WHERE log.parent_job_id = job.job_id
                AND log.job_id IS NOT NULL
        ) AS caused
    ),
    of_jobs AS (
        SELECT log.*
        FROM job
        JOIN llamalog.log AS log
            ON log.job_id = job.job_id
        UNION ALL
        SELECT log.*
        FROM job
        JOIN llamalog.log AS log
            ON log.parent_job_id = job.job_id
    ),
    lineage (job_id) AS (
        SELECT job.job_id
        FROM job
        UNION
        SELECT unnest(ARRAY[own.parent_job_id, own.root_job_id])
        FROM own
        WHERE own.is_root_job
    ),
    -- an artist made by the job that made the album names no album: the link between them does
    linked (entity_type, entity_id) AS (
        SELECT own.related_type, own.related_id
        FROM own
        WHERE own.link_type IS NOT NULL
        UNION
        SELECT of_parts.related_type, of_parts.related_id
        FROM of_parts
        WHERE of_parts.link_type IS NOT NULL
        UNION
        SELECT of_parts.entity_type, of_parts.entity_id
        FROM of_parts
        WHERE of_parts.link_type IS NOT NULL
    ),
    of_links AS (
        SELECT log.*
        FROM linked
        JOIN llamalog.log AS log
            ON log.entity_id = linked.entity_id
            AND log.entity_type = linked.entity_type
        WHERE log.category = 'CREATED'
            AND EXISTS (
                SELECT
                FROM lineage
                WHERE lineage.job_id IN (log.job_id, log.parent_job_id, log.root_job_id)
            )
    ),
    everything AS (
        SELECT * FROM own
        UNION ALL
        SELECT * FROM of_parts
        UNION ALL
        SELECT * FROM of_jobs
        UNION ALL
        SELECT * FROM of_links
    ),
    -- each once; rows of an adopted log may share a provisional seq
    numbered AS (
        SELECT DISTINCT ON (everything.seq, everything.id) everything.*
        FROM everything
        ORDER BY everything.seq, everything.id
    )
    SELECT shown.*
    FROM numbered
    CROSS JOIN LATERAL llamalog.presented(numbered::llamalog.log) AS shown;
END;
$function$;

COMMENT ON FUNCTION llamalog.chain_changes(text, text) IS
    'All changes in the story of an entity (type and id as the log spells them), in no order.';
