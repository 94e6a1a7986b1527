-- Sources that wrote in a span and fell silent: for more than a day and twice the longest pause that they had made before, or
-- for more than half of the span.
CREATE OR REPLACE FUNCTION llamalog.silent_sources(
    since_at timestamptz DEFAULT NULL,
    until_at timestamptz DEFAULT NULL
)
    RETURNS TABLE (
        source        text,
        description   text,
        change_count  bigint,
        last_at       timestamptz,
        longest_pause interval,
        silent_for    interval
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_span tstzrange := llamalog.span(since_at, until_at);
BEGIN
    RETURN QUERY EXECUTE $query$
        WITH
        hour_of_writing AS (
            SELECT
                log.source,
                count(*) AS change_count,
                min(log.created_at) AS first_at,
                max(log.created_at) AS last_at
            FROM llamalog.log AS log
            WHERE log.created_at >= $1
                AND log.created_at < $2
                AND log.source IS NOT NULL
                -- a failure is a sign of life, a row that backfill inferred is not
                AND log.source <> 'unknown'
            GROUP BY log.source, date_trunc('hour', log.created_at)
        ),
        paused AS (
            SELECT
                writing.*,
                writing.first_at - lag(writing.last_at) OVER (PARTITION BY writing.source ORDER BY writing.first_at) AS pause
            FROM hour_of_writing AS writing
        ),
        known AS (
            SELECT
                paused.source,
                sum(paused.change_count)::bigint AS change_count,
                max(paused.last_at) AS last_at,
                max(paused.pause) AS longest_pause
            FROM paused
            GROUP BY paused.source
        )
        SELECT
            known.source,
            path.description,
            known.change_count,
            known.last_at,
            known.longest_pause,
            $2 - known.last_at
        FROM known
        LEFT JOIN llamalog.source_paths AS path
            ON path.source = known.source
        WHERE $2 - known.last_at > least(
            CASE WHEN known.longest_pause IS NOT NULL THEN greatest(2 * known.longest_pause, interval '1 day') END,
            ($2 - $1) / 2
        )
        ORDER BY known.last_at, known.source
    $query$
    USING lower(v_span), upper(v_span);
END;
$function$;

COMMENT ON FUNCTION llamalog.silent_sources(timestamptz, timestamptz) IS
    'Sources that wrote since an instant (by default 30 days ago) and had stopped before another (by default now), the longest silent first; longest_pause is null where they wrote in one hour only.';
