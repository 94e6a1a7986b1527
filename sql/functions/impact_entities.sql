-- A page of the entities and links that llamalog.impact() counts, by type and id, with what was done to each.
-- Each page reads what the whole answer reads; a high row_limit gives all of it at once, and takes no more memory.
CREATE OR REPLACE FUNCTION llamalog.impact_entities(
    job_id     text DEFAULT NULL,
    source     text DEFAULT NULL,
    user_id    text DEFAULT NULL,
    start_date timestamptz DEFAULT NULL,
    end_date   timestamptz DEFAULT NULL,
    row_limit  integer DEFAULT 50,
    cursor     text DEFAULT NULL
)
    RETURNS SETOF llamalog.impact_entity
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_query  text;
    v_page   llamalog.page;
    v_after  jsonb;
    v_entity llamalog.impact_entity;
    v_batch  llamalog.impact_entity[] := '{}';
    v_count  integer := 0;
BEGIN
    PERFORM
        llamalog.check_row_limit(impact_entities.row_limit),
        llamalog.check_impact(
            impact_entities.job_id, impact_entities.source, impact_entities.user_id,
            impact_entities.start_date, impact_entities.end_date
        );
    v_query := llamalog.question_key(
        jsonb_build_array(
            'impact', impact_entities.job_id, impact_entities.source, impact_entities.user_id,
            impact_entities.start_date, impact_entities.end_date
        )::text
    );
    v_page := llamalog.open_page(impact_entities.cursor, v_query);
    BEGIN
        v_after := v_page.last_id::jsonb;
    EXCEPTION
        WHEN invalid_text_representation THEN
            RAISE EXCEPTION 'malformed cursor "%"', left(impact_entities.cursor, 100)
                USING ERRCODE = 'LL006',
                      HINT    = 'Pass the cursor of the page before, whole, or none for the first page.';
    END;
    FOR v_entity IN
        SELECT
            counted.touched_type,
            counted.entity_type,
            counted.entity_id,
            NULL,
            counted.related_type,
            counted.related_id,
            NULL,
            NULL,
            sum(counted.changes),
            jsonb_object_agg(counted.category, counted.changes),
            min(counted.first_at),
            max(counted.last_at),
            NULL
        FROM (
            SELECT
                touch.touched_type,
                touch.entity_type,
                touch.entity_id,
                touch.related_type,
                touch.related_id,
                touch.category,
                count(*) AS changes,
                min(touch.created_at) AS first_at,
                max(touch.created_at) AS last_at
            FROM llamalog.impact_touches(
                impact_entities.job_id, impact_entities.source, impact_entities.user_id,
                impact_entities.start_date, impact_entities.end_date
            ) AS touch
            WHERE touch.entity_id IS NOT NULL
                AND (
                    v_after IS NULL
                    OR (touch.touched_type, touch.entity_id, coalesce(touch.related_id, ''))
                        > (v_after ->> 0, v_after ->> 1, v_after ->> 2)
                )
                AND (
                    impact_entities.cursor IS NULL
                    OR pg_visible_in_snapshot(touch.txid, v_page.snapshot)
                    OR llamalog.is_on_page(touch.seq, touch.txid, v_page)
                )
            GROUP BY 1, 2, 3, 4, 5, 6
        ) AS counted
        GROUP BY counted.touched_type, counted.entity_type, counted.entity_id, counted.related_type, counted.related_id
        ORDER BY counted.touched_type, counted.entity_id, coalesce(counted.related_id, '')
        -- one more tells whether there is more
        LIMIT impact_entities.row_limit::bigint + 1
    LOOP
        v_count := v_count + 1;
        IF v_count > impact_entities.row_limit THEN
            v_entity := v_batch[cardinality(v_batch)];
            v_entity.next_cursor := llamalog.cursor_after(
                v_page,
                'epoch',
                0,
                jsonb_build_array(v_entity.touched_type, v_entity.entity_id, coalesce(v_entity.related_id, ''))::text,
                v_query
            );
            v_batch[cardinality(v_batch)] := v_entity;
            EXIT;
        END IF;
        IF cardinality(v_batch) = 1000 THEN
            RETURN QUERY
            SELECT named.*
            FROM llamalog.named_entities(v_batch) AS named;
            v_batch := '{}';
        END IF;
        v_batch := v_batch || v_entity;
    END LOOP;
    RETURN QUERY
    SELECT named.*
    FROM llamalog.named_entities(v_batch) AS named;
END;
$function$;

COMMENT ON FUNCTION llamalog.impact_entities(text, text, text, timestamptz, timestamptz, integer, text) IS
    'Entities and links touched, by type and id, with their labels; pass next_cursor of the last row as cursor for the next page, which shows only what the first page could see.';
