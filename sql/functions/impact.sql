-- The blast radius of a job and its descendants, of a source, a user or a time: how much of each type was touched, and how.
-- Without a job there is no index but that of the time: a question without start and end reads the whole log.
CREATE OR REPLACE FUNCTION llamalog.impact(
    job_id     text DEFAULT NULL,
    source     text DEFAULT NULL,
    user_id    text DEFAULT NULL,
    start_date timestamptz DEFAULT NULL,
    end_date   timestamptz DEFAULT NULL
)
    RETURNS SETOF llamalog.impact
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    -- what is not asked for is left out of the plan, and so are the months outside the time
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $function$
#variable_conflict use_column
BEGIN
    PERFORM llamalog.check_impact(impact.job_id, impact.source, impact.user_id, impact.start_date, impact.end_date);
    RETURN QUERY
    WITH
    counted AS MATERIALIZED (
        SELECT
            touch.touched_type,
            touch.entity_id,
            touch.related_id,
            touch.category,
            count(*) AS changes,
            min(touch.created_at) AS first_at,
            max(touch.created_at) AS last_at
        FROM llamalog.impact_touches(impact.job_id, impact.source, impact.user_id, impact.start_date, impact.end_date) AS touch
        GROUP BY 1, 2, 3, 4
    ),
    by_category AS (
        SELECT
            counted.touched_type,
            counted.category,
            sum(counted.changes)::bigint AS changes,
            min(counted.first_at) AS first_at,
            max(counted.last_at) AS last_at
        FROM counted
        GROUP BY counted.touched_type, counted.category
    ),
    entities AS (
        SELECT entity.touched_type, count(entity.entity_id) AS entity_count
        FROM (
            SELECT DISTINCT counted.touched_type, counted.entity_id, counted.related_id
            FROM counted
        ) AS entity
        GROUP BY entity.touched_type
    )
    SELECT
        by_category.touched_type,
        entities.entity_count,
        sum(by_category.changes)::bigint AS change_count,
        jsonb_object_agg(by_category.category, by_category.changes),
        min(by_category.first_at),
        max(by_category.last_at)
    FROM by_category
    JOIN entities
        ON entities.touched_type IS NOT DISTINCT FROM by_category.touched_type
    GROUP BY by_category.touched_type, entities.entity_count
    ORDER BY change_count DESC, by_category.touched_type;
END;
$function$;

COMMENT ON FUNCTION llamalog.impact(text, text, text, timestamptz, timestamptz) IS
    'What was touched, from start_date to before end_date, a row for each type; entity_type is null for changes about no entity. At least one must be given, several narrow it down. Raises LL017 for a job that never was.';
