-- How many changes there were in a span, by one of their sides.
CREATE OR REPLACE FUNCTION llamalog.stats(
    side     text,
    since_at timestamptz DEFAULT NULL,
    until_at timestamptz DEFAULT NULL
)
    RETURNS TABLE (
        name         text,
        change_count bigint,
        last_at      timestamptz
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET jit = off
AS $function$
DECLARE
    c_sides CONSTANT jsonb := '{
        "category": "log.category",
        "source": "log.source",
        "status": "log.status",
        "user": "log.user_id",
        "day": "log.created_at::date::text",
        "type": "coalesce(log.link_type, log.entity_type)"
    }';
    v_span tstzrange := llamalog.span(since_at, until_at);
BEGIN
    IF c_sides -> side IS NULL THEN
        RAISE EXCEPTION 'changes are not counted by "%"', left(side, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Count them by category, source, status, user, day or type.';
    END IF;
    -- planned for its span: it decides which months are read, and of these which blocks (BRIN)
    RETURN QUERY EXECUTE format(
        'SELECT %s, count(*), max(log.created_at) FROM llamalog.log AS log'
            || ' WHERE log.created_at >= $1 AND log.created_at < $2 GROUP BY 1 ORDER BY %s',
        c_sides ->> side,
        CASE WHEN side = 'day' THEN '1' ELSE '2 DESC, 1' END
    )
    USING lower(v_span), upper(v_span);
END;
$function$;

COMMENT ON FUNCTION llamalog.stats(text, timestamptz, timestamptz) IS
    'Changes counted by category, source, status, user, day (UTC) or type, since an instant (by default 30 days ago) and before another (by default now). Null: the change names no source, no user, or is about no entity. A link counts as its own type, as in llamalog.impact().';
