-- How much was written in a span of time, by every side at once.
--
-- One pass over the log, and of each side no more names than a page has room for; llamalog.stats() counts by one side, every
-- name of it.
CREATE OR REPLACE FUNCTION llamalog.activity(
    since_at  timestamptz,
    until_at  timestamptz,
    unit      text DEFAULT 'day',
    row_limit integer DEFAULT 12
)
    RETURNS TABLE (
        facet    text,
        period   timestamptz,
        name     text,
        changes  bigint,
        failures bigint
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_span tstzrange := llamalog.span(activity.since_at, activity.until_at);
BEGIN
    PERFORM llamalog.check_row_limit(activity.row_limit);
    IF (activity.unit IN ('hour', 'day', 'week', 'month', 'year')) IS NOT TRUE THEN
        RAISE EXCEPTION 'changes are not counted by the "%"', left(activity.unit, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Count them by the hour, day, week, month or year.';
    END IF;
    RETURN QUERY
    WITH
    change AS (
        SELECT
            date_trunc(activity.unit, log.created_at) AS period,
            log.source,
            log.category,
            log.status,
            log.user_id,
            coalesce(log.link_type, log.entity_type) AS type
        FROM llamalog.log AS log
        WHERE log.created_at >= lower(v_span)
            AND log.created_at < upper(v_span)
    ),
    counted AS MATERIALIZED (
        SELECT
            CASE
                WHEN grouping(change.period, change.source) = 0 THEN 'period and source'
                WHEN grouping(change.period) = 0 THEN 'period'
                WHEN grouping(change.source) = 0 THEN 'source'
                WHEN grouping(change.category) = 0 THEN 'category'
                WHEN grouping(change.status) = 0 THEN 'status'
                WHEN grouping(change.user_id) = 0 THEN 'user'
                WHEN grouping(change.type) = 0 THEN 'type'
                ELSE 'all'
            END AS facet,
            change.period,
            coalesce(change.source, change.category, change.status, change.user_id, change.type) AS name,
            count(*) AS changes,
            count(*) FILTER (WHERE 'FAILED' IN (change.category, change.status)) AS failures
        FROM change
        GROUP BY GROUPING SETS (
            (),
            (change.period),
            (change.period, change.source),
            (change.source),
            (change.category),
            (change.status),
            (change.user_id),
            (change.type)
        )
    ),
    ranked AS MATERIALIZED (
        SELECT
            counted.*,
            row_number() OVER (PARTITION BY counted.facet ORDER BY counted.changes DESC, counted.name) AS place
        FROM counted
        WHERE counted.facet NOT IN ('period', 'period and source')
    )
    SELECT ranked.facet, ranked.period, ranked.name, ranked.changes, ranked.failures
    FROM ranked
    WHERE ranked.place <= activity.row_limit
    UNION ALL
    SELECT counted.facet, counted.period, counted.name, counted.changes, counted.failures
    FROM counted
    WHERE counted.facet = 'period'
    UNION ALL
    SELECT counted.facet, counted.period, counted.name, counted.changes, counted.failures
    FROM counted
    JOIN ranked
        ON ranked.facet = 'source'
        AND ranked.place <= activity.row_limit
        AND ranked.name IS NOT DISTINCT FROM counted.name
    WHERE counted.facet = 'period and source'
    ORDER BY facet, period, changes DESC, name;
END;
$function$;

COMMENT ON FUNCTION llamalog.activity(timestamptz, timestamptz, text, integer) IS
    'Changes, and failures among them, from since_at to before until_at (as llamalog.stats() takes them): in all, by period (a day, week or month of UTC), source, category, status, user and type, of each the row_limit largest, and by period for the largest sources. A null name: the change says none. A link counts as its own type, as in llamalog.stats().';
