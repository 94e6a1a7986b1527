-- For each field of a row, the change that gave it the value it has; of a row that is gone, had last.
CREATE OR REPLACE FUNCTION llamalog.blame(
    entity_type text,
    entity_id   text
)
    RETURNS TABLE (
        field      text,
        value      jsonb,
        seq        bigint,
        created_at timestamptz,
        category   text,
        source     text,
        job_id     text,
        user_id    text,
        db_user    text
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type  text := llamalog.entity_type(blame.entity_type);
    v_id    text := llamalog.entity_id(v_type, blame.entity_id);
    v_watch llamalog.watches;
    v_since timestamptz;
    v_row   jsonb;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    v_since := llamalog.detail_since(v_type, v_id);
    IF v_watch.unwatched_at IS NULL THEN
        v_row := llamalog.live_row(v_watch, llamalog.last_key(v_type, v_id));
    END IF;
    RETURN QUERY
    WITH
    change AS MATERIALIZED (
        SELECT made.*
        FROM llamalog.row_changes(v_type, v_id) AS made
        WHERE made.created_at >= v_watch.watched_at
    ),
    held AS (
        SELECT each.key AS field, each.value
        FROM jsonb_each(
            coalesce(
                v_row,
                (
                    SELECT CASE WHEN newest.op IN ('D', 'T') THEN newest.before END
                    FROM change AS newest
                    ORDER BY newest.seq DESC
                    LIMIT 1
                )
            )
        ) AS each
        WHERE each.key <> ALL (v_watch.ignored_columns || v_watch.redacted_columns)
    ),
    -- what is older is another row's that had the key
    creation AS (
        SELECT made.*
        FROM change AS made
        WHERE made.op = 'I'
        ORDER BY made.seq DESC
        LIMIT 1
    ),
    -- what is older was another column's of that name, or stands under another name
    arrival AS (
        SELECT DISTINCT ON (changed.column_name)
            changed.column_name AS field,
            changed.noticed_at,
            -- a change that names it tells that it was there, unless one of its name was there before
            CASE
                WHEN EXISTS (
                        SELECT
                        FROM llamalog.column_changes AS dropped
                        WHERE dropped.entity_type = v_type
                            AND dropped.column_name = changed.column_name
                            AND dropped.change = 'dropped'
                            AND dropped.noticed_at = changed.noticed_at
                    )
                    THEN changed.noticed_at
                ELSE changed.after_at
            END AS since_at
        FROM llamalog.column_changes AS changed
        WHERE changed.entity_type = v_type
            AND changed.change IN ('added', 'renamed')
            -- a row that is gone saw no more of them
            AND (v_row IS NOT NULL OR changed.noticed_at <= (SELECT max(made.created_at) FROM change AS made))
        ORDER BY changed.column_name, changed.id DESC
    ),
    naming AS (
        SELECT DISTINCT ON (left_by.key) left_by.key AS field, left_by.value, made.seq
        FROM change AS made
        CROSS JOIN LATERAL jsonb_each(made.after) AS left_by
        LEFT JOIN arrival
            ON arrival.field = left_by.key
        WHERE made.op = 'U'
            AND made.seq > coalesce((SELECT creation.seq FROM creation), made.seq - 1)
            AND made.created_at >= coalesce(arrival.since_at, made.created_at)
        ORDER BY left_by.key, made.seq DESC
    ),
    setter AS (
        SELECT
            held.field,
            held.value,
            CASE
                -- as text: as jsonb, 1.0 and 1.00 are equal; what differs was written unseen
                WHEN naming.seq IS NOT NULL AND naming.value::text = held.value::text THEN naming.seq
                WHEN naming.seq IS NULL
                    AND (v_since IS NULL OR creation.created_at >= v_since)
                    AND (
                        held.value = 'null' AND creation.created_at >= coalesce(arrival.noticed_at, creation.created_at)
                        OR held.field = ANY (creation.fields_enriched)
                    )
                    AND creation.created_at >= coalesce(arrival.since_at, creation.created_at)
                    AND (creation.after IS NULL OR (creation.after -> held.field)::text = held.value::text)
                    THEN creation.seq
            END AS seq
        FROM held
        LEFT JOIN naming
            ON naming.field = held.field
        LEFT JOIN arrival
            ON arrival.field = held.field
        LEFT JOIN creation
            ON true
    )
    SELECT
        setter.field,
        setter.value,
        change.seq,
        change.created_at,
        change.category,
        change.source,
        coalesce(change.job_id, change.parent_job_id),
        change.user_id,
        change.db_user
    FROM setter
    LEFT JOIN change
        ON change.seq = setter.seq
    ORDER BY setter.field;
END;
$function$;

COMMENT ON FUNCTION llamalog.blame(text, text) IS
    'Fields of the live or last deleted row, each with the change that set its value; nulls where no change in the log did, as for a column that came, or got its name, later.';
