-- Everything that belongs to the story of one entity: its own changes, those of its parts and links, and whatever
-- else the jobs that were about it caused. Unordered; chain, tree and why present it.
--
-- Each step asks for all its keys at once: a statement opens an index of every month, whatever it looks for there
-- (docs/decisions/0007-reading-at-size.md).
CREATE OR REPLACE FUNCTION llamalog.chain_changes(
    entity_type text,
    entity_id   text
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    ROWS 100
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- how many keys a step has is not known when it is planned: each goes by an index, so that the cost follows the family
    -- of the entity and not the size of the log
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_types        text[];
    v_ids          text[];
    v_after        bigint[];
    v_before       bigint[];
    v_own_ids      text[];
    v_member_types text[] := '{}';
    v_member_ids   text[] := '{}';
    v_columns      text[];
    v_found        llamalog.log[];
    v_of_members   llamalog.log[];
    v_own          llamalog.log[];
    v_of_parts     llamalog.log[] := '{}';
    v_of_jobs      llamalog.log[] := '{}';
    v_of_links     llamalog.log[];
    v_changes      llamalog.log[];
    v_new          text[];
    v_jobs         text[] := '{}';
    v_moved        text[];
    v_has_moved    boolean;
BEGIN
    -- the entity under each of its keys, while it had them
    SELECT array_agg(chain_changes.entity_type), array_agg(held.id), array_agg(held.after_seq), array_agg(held.before_seq)
    INTO v_types, v_ids, v_after, v_before
    FROM llamalog.key_history(chain_changes.entity_type, chain_changes.entity_id) AS held;
    v_own_ids := v_ids;
    SELECT array_agg(log)
    INTO v_found
    FROM llamalog.log AS log
    WHERE log.entity_id = ANY (v_own_ids)
        AND log.entity_type = chain_changes.entity_type;
    SELECT array_agg(found)
    INTO v_own
    FROM unnest(v_found) AS found
    JOIN unnest(v_ids, v_after, v_before) AS held (id, after_seq, before_seq)
        ON found.entity_id = held.id
        AND found.seq >= held.after_seq
        AND found.seq < held.before_seq;

    -- its parts, their parts, and the links of all; whoever is a member already ends a circle
    WHILE v_ids IS NOT NULL LOOP
        SELECT array_agg(log)
        INTO v_found
        FROM llamalog.log AS log
        WHERE log.related_id = ANY (v_ids);
        EXIT WHEN v_found IS NULL;
        SELECT array_agg(found)
        INTO v_found
        FROM unnest(v_found) AS found
        JOIN unnest(v_types, v_ids, v_after, v_before) AS whole (entity_type, id, after_seq, before_seq)
            ON found.related_id = whole.id
            AND found.related_type = whole.entity_type
            AND found.seq BETWEEN whole.after_seq AND whole.before_seq;
        v_of_parts := v_of_parts || v_found;
        SELECT
            array_agg(part.entity_type),
            array_agg(part.entity_id),
            array_agg(-9223372036854775808),
            array_agg(9223372036854775807)
        INTO v_types, v_ids, v_after, v_before
        FROM (
            SELECT found.entity_type, found.entity_id
            FROM unnest(v_found) AS found
            WHERE found.link_type IS NULL
                AND found.entity_id IS NOT NULL
            EXCEPT
            SELECT known.entity_type, known.entity_id
            FROM unnest(v_member_types, v_member_ids) AS known (entity_type, entity_id)
        ) AS part;
        v_member_types := v_member_types || v_types;
        v_member_ids := v_member_ids || v_ids;
    END LOOP;
    -- a part's links, what applications wrote about it, and the change by which it left, do not name the whole
    IF v_member_ids <> '{}' THEN
        SELECT array_agg(named.column_name)
        INTO v_columns
        FROM llamalog.watches AS watch
        CROSS JOIN LATERAL unnest(watch.related_columns) AS named (column_name)
        WHERE watch.entity_type = ANY (v_member_types);
        SELECT array_agg(log)
        INTO v_of_members
        FROM llamalog.log AS log
        WHERE log.entity_id = ANY (v_member_ids)
            AND (
                log.link_type IS NOT NULL
                OR log.related_id IS NULL
                OR log.category = 'CREATED'
                OR log.op = 'U' AND log.fields_enriched && v_columns
            );
        SELECT v_of_parts || array_agg(found)
        INTO v_of_parts
        FROM unnest(v_of_members) AS found
        JOIN unnest(v_member_types, v_member_ids) AS member (entity_type, entity_id)
            ON found.entity_id = member.entity_id
            AND found.entity_type = member.entity_type
        WHERE CASE
            WHEN found.link_type IS NOT NULL OR found.related_id IS NULL THEN found.entity_type <> chain_changes.entity_type
            -- it left a whole that it was part of in this story
            WHEN found.op = 'U' THEN (found.entity_type, found.entity_id, llamalog.former_whole(found)) IN (
                SELECT named.entity_type, named.entity_id, named.related_id
                FROM unnest(v_of_parts) AS named
                WHERE named.link_type IS NULL
            )
        END;
    END IF;

    -- jobs that were about this entity: the one that made it, and those whose path is for one entity at a time
    SELECT array_agg(DISTINCT own.job_id)
    INTO v_new
    FROM unnest(v_own) AS own
    LEFT JOIN llamalog.source_paths AS path
        ON path.source = own.source
    WHERE own.job_id IS NOT NULL
        AND own.link_type IS NULL
        AND (own.is_root_job OR path.makes = 'one' AND coalesce(path.head_type, own.entity_type) = own.entity_type);
    -- a row of the application's own says no path: its job is about this entity if it is about no other such
    IF EXISTS (
            SELECT
            FROM unnest(v_own) AS own
            WHERE own.op IS NULL
                AND own.source IS NULL
                AND own.link_type IS NULL
                AND own.job_id <> ALL (coalesce(v_new, '{}'))
        )
    THEN
        SELECT v_new || array_agg(DISTINCT own.job_id)
        INTO v_new
        FROM unnest(v_own) AS own
        WHERE own.op IS NULL
            AND own.source IS NULL
            AND own.link_type IS NULL
            AND own.job_id <> ALL (coalesce(v_new, '{}'))
            AND NOT EXISTS (
                SELECT
                FROM llamalog.log AS other
                WHERE other.job_id = own.job_id
                    AND other.entity_type = own.entity_type
                    AND other.entity_id <> own.entity_id
            );
    END IF;
    -- and the jobs that they caused, recorded ones first: nearly all are
    WHILE v_new IS NOT NULL LOOP
        WITH RECURSIVE
        caused (job_id) AS (
            SELECT unnest(v_new)
            UNION
            SELECT recorded.job_id
            FROM caused
            JOIN llamalog.jobs AS recorded
                ON recorded.parent_job_id = caused.job_id
        )
        SELECT array_agg(fresh.job_id)
        INTO v_new
        FROM (
            SELECT caused.job_id
            FROM caused
            EXCEPT
            SELECT unnest(v_jobs)
        ) AS fresh;
        v_jobs := v_jobs || v_new;
        SELECT array_agg(log)
        INTO v_found
        FROM llamalog.log AS log
        WHERE log.parent_job_id = ANY (v_new);
        v_of_jobs := v_of_jobs || v_found;
        SELECT array_agg(fresh.job_id)
        INTO v_new
        FROM (
            SELECT found.job_id
            FROM unnest(v_found) AS found
            WHERE found.job_id IS NOT NULL
            EXCEPT
            SELECT unnest(v_jobs)
        ) AS fresh;
    END LOOP;
    IF v_jobs <> '{}' THEN
        SELECT v_of_jobs || array_agg(log)
        INTO v_of_jobs
        FROM llamalog.log AS log
        WHERE log.job_id = ANY (v_jobs);
    END IF;

    -- an artist made by the job that made the album names no album: the link between them does
    SELECT array_agg(linked.entity_type), array_agg(linked.entity_id)
    INTO v_types, v_ids
    FROM (
        SELECT own.related_type, own.related_id
        FROM unnest(v_own) AS own
        WHERE own.link_type IS NOT NULL
        UNION
        SELECT unnest(ARRAY[linking.related_type, linking.entity_type]), unnest(ARRAY[linking.related_id, linking.entity_id])
        FROM unnest(v_of_parts) AS linking
        WHERE linking.link_type IS NOT NULL
    ) AS linked (entity_type, entity_id);
    IF v_ids IS NOT NULL THEN
        SELECT array_agg(log)
        INTO v_found
        FROM llamalog.log AS log
        WHERE log.entity_id = ANY (
                ARRAY(
                    SELECT unnest(v_ids)
                    EXCEPT
                    SELECT unnest(v_member_ids)
                )
            )
            AND log.category = 'CREATED';
        WITH
        lineage (job_id) AS (
            SELECT unnest(v_jobs)
            UNION
            SELECT unnest(ARRAY[own.parent_job_id, own.root_job_id])
            FROM unnest(v_own) AS own
            WHERE own.is_root_job
        )
        SELECT array_agg(found)
        INTO v_of_links
        FROM unnest(v_found || v_of_members) AS found
        JOIN unnest(v_types, v_ids) AS linked (entity_type, entity_id)
            ON found.entity_id = linked.entity_id
            AND found.entity_type = linked.entity_type
        WHERE found.category = 'CREATED'
            AND (
                found.job_id IN (SELECT lineage.job_id FROM lineage)
                OR found.parent_job_id IN (SELECT lineage.job_id FROM lineage)
                OR found.root_job_id IN (SELECT lineage.job_id FROM lineage)
            );
    END IF;

    v_changes := v_own || v_of_parts || v_of_jobs || v_of_links;
    -- which of the deleted moved to another partition: of the entity and its parts, what was read tells
    SELECT
        array_agg(change.entity_id) FILTER (WHERE change.op = 'D'),
        array_agg(change.entity_id) FILTER (
            WHERE change.op = 'D'
                AND (
                    change.entity_id = ANY (v_member_ids)
                    OR change.entity_id = ANY (v_own_ids) AND change.entity_type = chain_changes.entity_type
                ) IS NOT TRUE
        ),
        bool_or(change.op = 'I' AND change.metadata @> '{"llamalog": {"moved": true}}')
    INTO v_ids, v_new, v_has_moved
    FROM unnest(v_changes) AS change
    WHERE change.op IN ('D', 'I');
    IF v_ids IS NOT NULL THEN
        SELECT array_agg(read.entity_id)
        INTO v_moved
        FROM unnest(v_own || v_of_members) AS read
        WHERE read.op = 'I'
            AND read.metadata @> '{"llamalog": {"moved": true}}';
        IF v_new IS NOT NULL THEN
            SELECT v_moved || array_agg(log.entity_id)
            INTO v_moved
            FROM llamalog.log AS log
            WHERE log.entity_id = ANY (v_new)
                AND log.op = 'I'
                AND log.metadata @> '{"llamalog": {"moved": true}}';
        END IF;
        IF llamalog.was_renamed(v_ids) THEN
            SELECT v_moved || array_agg(log.previous_id)
            INTO v_moved
            FROM llamalog.log AS log
            WHERE log.previous_id = ANY (v_ids)
                AND log.op = 'I'
                AND log.metadata @> '{"llamalog": {"moved": true}}';
        END IF;
    END IF;
    -- each once; rows of an adopted log may share a provisional seq
    RETURN QUERY
    SELECT DISTINCT ON (change.seq, change.id) change.*
    FROM unnest(v_changes) AS change
    WHERE (
            change.op = 'D' AND change.entity_id = ANY (v_moved)
            OR change.op = 'I' AND change.metadata @> '{"llamalog": {"moved": true}}'
        ) IS NOT TRUE
    ORDER BY change.seq, change.id;
    IF v_has_moved OR v_moved <> '{}' THEN
        RETURN QUERY
        SELECT shown.*
        FROM (
            SELECT DISTINCT ON (change.seq, change.id) change.*
            FROM unnest(v_changes) AS change
            WHERE change.op = 'D' AND change.entity_id = ANY (v_moved)
                OR change.op = 'I' AND change.metadata @> '{"llamalog": {"moved": true}}'
            ORDER BY change.seq, change.id
        ) AS moved
        CROSS JOIN LATERAL llamalog.presented(moved::llamalog.log) AS shown;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.chain_changes(text, text) IS
    'All changes in the story of an entity (type and id as the log spells them), in no order.';
