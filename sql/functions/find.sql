-- Entities whose label contains a text, living ones first, deleted ones as they were last; then, without an entity, the
-- types whose tables the caller may not read: what lives there must not pass for not there.
CREATE OR REPLACE FUNCTION llamalog.find(
    search      text,
    entity_type text DEFAULT NULL,
    is_exact    boolean DEFAULT false,
    row_limit   integer DEFAULT 20
)
    RETURNS SETOF llamalog.found_entity
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
DECLARE
    v_watch  llamalog.watches;
    v_left   integer := find.row_limit;
    v_id     text;
    v_name   text;
    v_table  oid;
    v_key    text;
    v_label  text;
    v_unread text[] := '{}';
BEGIN
    PERFORM llamalog.check_row_limit(find.row_limit);
    IF coalesce(find.search, '') = '' THEN
        RAISE EXCEPTION 'the text to find is empty'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give a part of a title or name.';
    END IF;
    FOR v_watch IN
        SELECT watch.*
        FROM llamalog.watches AS watch
        WHERE NOT watch.is_link
            AND watch.unwatched_at IS NULL
            AND (find.entity_type IS NULL OR watch.entity_type = llamalog.entity_type(find.entity_type))
        -- wholes before parts: an album before its tracks
        ORDER BY watch.related_type IS NOT NULL, watch.entity_type
    LOOP
        v_table := llamalog.table_of(v_watch);
        CONTINUE WHEN v_table IS NULL;  -- dropped or renamed since
        v_key := llamalog.key_expression(v_table, v_watch.key_columns, 'live');
        v_label := CASE
            WHEN v_watch.label_column IS NULL THEN v_key
            ELSE llamalog.label_expression(v_table, v_watch.label_column, 'live')
        END;
        BEGIN
            PERFORM llamalog.check_key(v_table, v_watch.key_columns);
            FOR v_id, v_name IN EXECUTE format(
                'SELECT %1$s AS id, llamalog.short_label(%2$s) AS label FROM %3$s AS live WHERE %4$s'
                    || ' ORDER BY lower(%2$s) = lower($1) DESC, length(%2$s), %1$s LIMIT $2',
                v_key,
                v_label,
                v_table::regclass,
                CASE
                    WHEN find.is_exact THEN format('lower(%s) = lower($1)', v_label)
                    ELSE format('strpos(lower(%s), lower($1)) > 0', v_label)
                END
            )
            USING find.search, v_left
            LOOP
                RETURN NEXT ROW(v_watch.entity_type, v_id, v_name, true)::llamalog.found_entity;
                v_left := v_left - 1;
            END LOOP;
        EXCEPTION
            WHEN insufficient_privilege THEN
                v_unread := v_unread || v_watch.entity_type;
            -- columns that were dropped since
            WHEN undefined_column OR null_value_not_allowed THEN
                NULL;
        END;
        EXIT WHEN v_left < 1;
    END LOOP;
    RETURN QUERY
    WITH
    -- by its label in any of its deletions; what else there is to know is asked about these only
    candidate AS MATERIALIZED (
        SELECT DISTINCT log.entity_type, log.entity_id, watch.label_column
        FROM llamalog.watches AS watch
        JOIN llamalog.log AS log
            ON log.entity_type = watch.entity_type
        WHERE NOT watch.is_link
            AND (find.entity_type IS NULL OR watch.entity_type = llamalog.entity_type(find.entity_type))
            AND log.op IN ('D', 'T')
            AND log.link_type IS NULL
            AND CASE
                WHEN find.is_exact THEN lower(coalesce(log.before ->> watch.label_column, log.entity_id)) = lower(find.search)
                ELSE strpos(lower(coalesce(log.before ->> watch.label_column, log.entity_id)), lower(find.search)) > 0
            END
    )
    SELECT gone.entity_type, gone.entity_id, llamalog.short_label(gone.label), living.is_alive
    FROM (
        SELECT DISTINCT ON (candidate.entity_type, candidate.entity_id)
            candidate.entity_type,
            candidate.entity_id,
            coalesce(log.before ->> candidate.label_column, log.entity_id) AS label
        FROM candidate
        JOIN llamalog.log AS log
            ON log.entity_id = candidate.entity_id
            AND log.entity_type = candidate.entity_type
        WHERE log.op IN ('D', 'T')
            AND log.link_type IS NULL
            -- a row that moved to another partition under another key lives on
            AND NOT EXISTS (
                SELECT
                FROM llamalog.log AS moved
                WHERE moved.previous_id = log.entity_id
                    AND moved.entity_type = log.entity_type
                    AND moved.op = 'I'
                    AND moved.txid = log.txid
                    AND moved.seq > log.seq
            )
        ORDER BY candidate.entity_type, candidate.entity_id, log.seq DESC
    ) AS gone
    -- null where the caller may not read the table
    LEFT JOIN LATERAL llamalog.labels(gone.entity_type, ARRAY[gone.entity_id]) AS living
        ON true
    WHERE CASE
            WHEN find.is_exact THEN lower(gone.label) = lower(find.search)
            ELSE strpos(lower(gone.label), lower(find.search)) > 0
        END
        AND living.is_alive IS NOT TRUE
    ORDER BY gone.label, gone.entity_id
    LIMIT v_left;
    RETURN QUERY
    SELECT unread.entity_type, NULL::text, NULL::text, NULL::boolean
    FROM unnest(v_unread) AS unread (entity_type);
END;
$function$;

COMMENT ON FUNCTION llamalog.find(text, text, boolean, integer) IS
    'Entities by label, upper and lower case alike; is_exact: the whole label. Reads the tables with the rights of the caller; a type whose table he may not read is told by a row without entity_id.';
