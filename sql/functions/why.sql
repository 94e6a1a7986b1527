-- The story of one entity in sentences: how it came here, and what happened to it since.
CREATE OR REPLACE FUNCTION llamalog.why(
    entity_type text,
    entity_id   text
)
    RETURNS TABLE (
        created_at timestamptz,
        sentence   text,
        seq        bigint
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type   text := llamalog.entity_type(why.entity_type);
    v_id     text := llamalog.entity_id(v_type, why.entity_id);
    v_ids    text[];
    v_name   text;
    v_since  timestamptz := llamalog.detail_since(v_type, v_id);
    v_change record;
    v_told   boolean := false;
    v_is_adopted boolean := to_regclass('llamalog.adopted_seq') IS NOT NULL;
    v_first_claimed bigint := llamalog.first_claimed_seq();
BEGIN
    SELECT array_agg(held.id)
    INTO v_ids
    FROM llamalog.key_history(v_type, v_id) AS held;
    -- a key that it had may be another row's by now
    SELECT concat(v_type, ' ', llamalog.mark('opening quote'), coalesce(known.label, known.entity_id), llamalog.mark('closing quote'))
    INTO v_name
    FROM llamalog.labels(v_type, ARRAY[llamalog.last_key(v_type, v_id)]) AS known;
    v_name := coalesce(v_name, format('%s %s', v_type, v_id));

    FOR v_change IN
        WITH
        story AS MATERIALIZED (
            SELECT found.*
            FROM llamalog.chain_changes(v_type, v_id) AS found
        ),
        -- what else the same job did, told with the first thing it did to the entity
        company AS (
            SELECT
                counted.job_id,
                string_agg(
                    format(
                        CASE counted.entities WHEN 1 THEN '1 %2$s %3$s' ELSE '%1$s %4$s %2$s %3$s' END,
                        counted.entities,
                        coalesce(counted.link_type, counted.entity_type),
                        llamalog.category_verb(counted.category),
                        llamalog.mark('times')
                    ),
                    ', '
                    ORDER BY counted.first_seq
                ) AS told,
                -- only what holds for all of it
                CASE WHEN min(counted.least_reason) = max(counted.last_reason) THEN nullif(min(counted.least_reason), '') END AS reason
            FROM (
                SELECT
                    coalesce(story.job_id, story.parent_job_id) AS job_id,
                    story.link_type,
                    story.entity_type,
                    story.category,
                    -- as llamalog.impact() tells them apart
                    count(DISTINCT (story.entity_id, CASE WHEN story.link_type IS NOT NULL THEN story.related_id END))
                        AS entities,
                    min(coalesce(story.reason, '')) AS least_reason,
                    max(coalesce(story.reason, '')) AS last_reason,
                    min(story.seq) AS first_seq
                FROM story
                WHERE story.link_type IS NOT NULL
                    OR story.entity_type <> v_type
                    OR story.entity_id <> ALL (v_ids)
                GROUP BY 1, 2, 3, 4
            ) AS counted
            GROUP BY counted.job_id
        ),
        -- jobs that did nothing to the entity itself, yet something to its parts and links
        told_change AS (
            SELECT
                story.*,
                story.link_type IS NULL
                    AND story.entity_type = v_type
                    AND story.entity_id = ANY (v_ids) AS is_own,
                row_number() OVER (
                    PARTITION BY coalesce(story.job_id, story.parent_job_id)
                    ORDER BY
                        (story.link_type IS NULL AND story.entity_type = v_type AND story.entity_id = ANY (v_ids)) DESC,
                        story.seq
                ) = 1 AS is_first
            FROM story
        ),
        origin AS MATERIALIZED (
            SELECT known.*
            FROM (
                SELECT array_agg(DISTINCT coalesce(told_change.job_id, told_change.parent_job_id)) AS ids
                FROM told_change
                WHERE told_change.is_own
                    OR told_change.is_first
            ) AS mentioned
            CROSS JOIN LATERAL llamalog.job_origins(mentioned.ids) AS known
        ),
        cause AS MATERIALIZED (
            SELECT known.*
            FROM (SELECT array_agg(DISTINCT origin.parent_job_id) AS ids FROM origin) AS mentioned
            CROSS JOIN LATERAL llamalog.job_origins(mentioned.ids) AS known
        )
        SELECT
            told_change.*,
            company.told AS company,
            company.reason AS company_reason,
            origin.parent_job_id AS cause,
            cause.source AS cause_source,
            path.description,
            -- as in llamalog.unknown_provenance
            told_change.op IS NULL
                AND told_change.seq < v_first_claimed
                AND told_change.category = 'CREATED'
                AND told_change.source = 'unknown'
                AND coalesce(told_change.metadata, '{}') @> '{"llamalog": {"inferred": true}}' AS is_inferred
        FROM told_change
        LEFT JOIN company
            ON company.job_id = coalesce(told_change.job_id, told_change.parent_job_id)
            AND told_change.is_first
        LEFT JOIN origin
            ON origin.job_id = coalesce(told_change.job_id, told_change.parent_job_id)
        LEFT JOIN cause
            ON cause.job_id = origin.parent_job_id
        LEFT JOIN llamalog.source_paths AS path
            ON path.source = told_change.source
        WHERE told_change.is_own
            OR told_change.is_first AND company.told IS NOT NULL
        ORDER BY told_change.created_at, told_change.seq
    LOOP
        IF v_since <= v_change.created_at THEN
            RETURN QUERY SELECT v_since, format('Changes of %s before this are archived.', v_name), NULL::bigint;
            v_since := NULL;
        END IF;
        created_at := v_change.created_at;
        seq := v_change.seq;
        sentence := concat(
            CASE
                WHEN NOT v_change.is_own THEN format('%s: %s', v_name, v_change.company)
                WHEN v_change.is_inferred THEN v_name || ' was there already'
                -- where the log was the application's, its rows are all that is known; in ours, a claim is not a creation
                WHEN v_change.category = 'CREATED' AND (v_change.op IS NOT NULL OR v_is_adopted)
                    THEN v_name || ' was created'
                WHEN v_change.category = 'FAILED' THEN format('An attempt on %s was made', v_name)
                WHEN v_change.op = 'U' THEN format('%s was %s', v_name, llamalog.category_verb(v_change.category))
                WHEN v_change.op IN ('D', 'T') THEN format(
                    '%s was deleted%s', v_name, CASE WHEN v_change.op = 'T' THEN ' by TRUNCATE' END
                )
                ELSE format('%s: %s (%s)', v_name, v_change.operation, v_change.status)
            END,
            CASE
                WHEN v_change.is_own AND v_change.is_inferred THEN NULL
                ELSE llamalog.actor_phrase(v_change.user_id, v_change.triggered_by, v_change.db_user, v_change.source,
                    v_change.description, coalesce(v_change.job_id, v_change.parent_job_id), v_change.cause,
                    v_change.cause_source)
            END,
            CASE WHEN v_change.is_own AND v_change.category = 'FAILED' THEN ' and failed' END,
            ': ' || CASE
                WHEN v_change.is_own
                    THEN llamalog.change_detail(v_change.op, v_change.fields_enriched, v_change.before, v_change.after,
                        v_change.data_quality_before, v_change.data_quality_after, v_change.error_code,
                        v_change.error_message, v_change.reason)
                ELSE left(v_change.company_reason, 200)
            END,
            CASE
                WHEN v_change.is_own AND v_change.previous_id IS NOT NULL
                    THEN format('; its key had been %s', v_change.previous_id)
            END,
            '.',
            CASE WHEN v_change.is_own THEN ' With it: ' || v_change.company || '.' END
        );
        v_told := true;
        RETURN NEXT;
    END LOOP;

    IF v_since IS NOT NULL THEN
        RETURN QUERY SELECT v_since, format('Changes of %s before this are archived.', v_name), NULL::bigint;
    ELSIF NOT v_told THEN
        created_at := NULL;
        seq := NULL;
        sentence := format('%s: nothing is known of how it came here; no change of it was recorded.', v_name);
        RETURN NEXT;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.why(text, text) IS
    'How the entity came here and what happened to it, a sentence for each step, by time.';
