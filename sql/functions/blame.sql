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
    v_type       text := llamalog.entity_type(blame.entity_type);
    v_id         text := llamalog.entity_id(v_type, blame.entity_id);
    v_watch      llamalog.watches;
    v_since      timestamptz;
    v_row        jsonb;
    v_is_altered boolean;  -- whether columns of the table came or got another name
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    v_since := llamalog.detail_since(v_type, v_id);
    IF v_watch.unwatched_at IS NULL THEN
        v_row := llamalog.live_row(v_watch, llamalog.last_key(v_type, v_id));
    END IF;
    v_is_altered := EXISTS (SELECT FROM llamalog.column_changes AS changed WHERE changed.entity_type = v_type);
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
    -- what a creation of before a pause gave may have been changed unseen
    pause AS (
        SELECT max(coalesce(paused.resumed_at, 'infinity')) AS ends_at
        FROM llamalog.pauses AS paused
        WHERE paused.entity_type = v_type
            AND paused.paused_at < CASE WHEN v_row IS NULL THEN (SELECT max(made.created_at) FROM change AS made) ELSE 'infinity' END
    ),
    -- each field by the names that its column has had; a row that is gone saw no more than it saw
    named AS MATERIALIZED (
        SELECT
            held.field,
            held.field AS name,
            '-infinity'::timestamptz AS since_at,
            '-infinity'::timestamptz AS sure_at,
            'infinity'::timestamptz AS until_at
        FROM held
        WHERE NOT v_is_altered
        UNION ALL
        SELECT held.field, known.name, known.since_at, known.sure_at, known.until_at
        FROM held
        CROSS JOIN LATERAL llamalog.column_names(
            v_type,
            held.field,
            CASE WHEN v_row IS NULL THEN (SELECT max(made.created_at) FROM change AS made) ELSE 'infinity' END
        ) AS known
        WHERE v_is_altered
    ),
    naming AS (
        SELECT DISTINCT ON (named.field) named.field, left_by.value, made.seq
        FROM change AS made
        CROSS JOIN LATERAL jsonb_each(made.after) AS left_by
        JOIN named
            ON named.name = left_by.key
            AND made.created_at BETWEEN named.since_at AND named.until_at
        WHERE made.op = 'U'
            AND made.seq > coalesce((SELECT creation.seq FROM creation), made.seq - 1)
        ORDER BY named.field, made.seq DESC
    ),
    -- what the creation gave, or left empty
    created AS (
        SELECT DISTINCT named.field, creation.seq
        FROM named
        JOIN held
            ON held.field = named.field
        JOIN creation
            ON creation.created_at BETWEEN named.since_at AND named.until_at
        WHERE (v_since IS NULL OR creation.created_at >= v_since)
            AND (
                named.name = ANY (creation.fields_enriched)
                OR held.value = 'null' AND creation.created_at >= named.sure_at
            )
            AND (creation.after IS NULL OR (creation.after -> named.name)::text = held.value::text)
            AND (
                creation.after IS NOT NULL
                OR creation.created_at >= coalesce((SELECT pause.ends_at FROM pause), '-infinity')
                OR held.value = 'null' AND named.name <> ALL (creation.fields_enriched)
            )
    ),
    setter AS (
        SELECT
            held.field,
            held.value,
            CASE
                -- as text: as jsonb, 1.0 and 1.00 are equal; what differs was written unseen
                WHEN naming.value::text = held.value::text THEN naming.seq
                WHEN naming.seq IS NULL THEN created.seq
            END AS seq
        FROM held
        LEFT JOIN naming
            ON naming.field = held.field
        LEFT JOIN created
            ON created.field = held.field
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
    'Fields of the live or last deleted row, each with the change that set its value; nulls where no change in the log did, as for a column that came later.';
