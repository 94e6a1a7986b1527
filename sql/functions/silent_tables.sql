-- Watched tables that nothing was written to in a span.
CREATE OR REPLACE FUNCTION llamalog.silent_tables(
    since_at timestamptz DEFAULT NULL,
    until_at timestamptz DEFAULT NULL
)
    RETURNS TABLE (
        entity_type text,
        table_name  text,
        watched_at  timestamptz
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
        SELECT watch.entity_type, format('%I.%I', watch.schema_name, watch.table_name), watch.watched_at
        FROM llamalog.watches AS watch
        WHERE watch.unwatched_at IS NULL
            AND watch.watched_at < $2
            -- nobody expects a row of one that is paused
            AND NOT EXISTS (
                SELECT
                FROM llamalog.pauses AS pause
                WHERE pause.entity_type = watch.entity_type
                    AND pause.paused_at < $2
                    AND coalesce(pause.resumed_at, 'infinity') >= $2
            )
            AND watch.entity_type NOT IN (
                SELECT coalesce(log.link_type, log.entity_type)
                FROM llamalog.log AS log
                WHERE log.created_at >= $1
                    AND log.created_at < $2
                    AND log.op IS NOT NULL
                    AND log.entity_type IS NOT NULL
            )
        ORDER BY watch.entity_type
    $query$
    USING lower(v_span), upper(v_span);
END;
$function$;

COMMENT ON FUNCTION llamalog.silent_tables(timestamptz, timestamptz) IS
    'Tables watched now that no captured change names since an instant (by default 30 days ago) and before another (by default now), but for those paused at that one.';
