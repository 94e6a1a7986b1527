-- Whether what a stretch of the log says of a type is so: the rows whose newest change stands there, each with a verdict.
--
-- The other half of llamalog.reconcile(), which goes through the table and never meets a row that is not there.
CREATE OR REPLACE FUNCTION llamalog.reconcile_log(
    entity_type  text,
    above_seq    bigint,
    until_seq    bigint,
    is_gone_only boolean DEFAULT false
)
    RETURNS TABLE (
        entity_id   text,
        verdict     text,
        field       text,
        after_seq   bigint,
        left_value  jsonb,
        found       jsonb,
        unexplained text[]
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    -- as in llamalog.reconciled_rows(), for the keys
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
    SET row_security = off
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- as in llamalog.history()
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_watch   llamalog.watches := llamalog.reconciled_watch(reconcile_log.entity_type);
    v_table   oid := llamalog.table_of(v_watch);
    v_since   timestamptz := greatest(v_watch.watched_at, llamalog.archived_before(v_watch.entity_type));
    v_key     text := llamalog.key_expression(v_table, v_watch.key_columns, 'live');
    v_row     text := format(
        '%s AS image, %s AS fields',
        llamalog.live_image(v_table, v_watch.ignored_columns || v_watch.redacted_columns),
        llamalog.fields_expression(v_table, v_watch.ignored_columns, 'live')
    );
    v_by_key  text := format(
        '%s AS live WHERE %s AND %s = touched.id LIMIT 1',
        v_table::regclass,
        llamalog.key_match(v_table, v_watch.key_columns, 'live', 'touched.id'),
        v_key
    );
    v_by_text text := format('%s AS live WHERE %s = ANY', v_table::regclass, v_key);
    v_is_text boolean;
    v_ids     text[];
    v_ends    text[];  -- the first ends of links; of entities, the ids
    v_others  text[];  -- their other ends
    v_gone    text[];
BEGIN
    v_ends := ARRAY(
        SELECT DISTINCT log.entity_id
        FROM llamalog.log AS log
        WHERE log.seq > reconcile_log.above_seq
            AND log.seq <= reconcile_log.until_seq
            AND (log.op IS NOT NULL AND log.created_at >= v_since OR log.seq < 1)
            AND log.entity_type = v_watch.subject_type
            AND log.link_type IS NOT DISTINCT FROM CASE WHEN v_watch.is_link THEN v_watch.entity_type END
            AND log.entity_id IS NOT NULL
        ORDER BY log.entity_id
    );
    v_ids := v_ends;
    IF v_watch.is_link THEN
        EXECUTE format(
            $query$
                WITH
                subject AS (
                    SELECT touched.id, touched.id AS subject_id, NULL::text AS related_id, NULL::jsonb AS image
                    FROM unnest($2) AS touched (id)
                )
                SELECT
                    array_agg(found.entity_id ORDER BY found.entity_id),
                    array_agg(found.subject_id ORDER BY found.entity_id),
                    array_agg(found.related_id ORDER BY found.entity_id)
                FROM (
                    SELECT DISTINCT ON (change.entity_id) change.entity_id, change.subject_id, change.related_id
                    FROM (%s) AS change
                    WHERE change.seq > $3
                        AND change.seq <= $4
                        AND change.entity_id IS NOT NULL
                    ORDER BY change.entity_id, change.seq DESC
                ) AS found
            $query$,
            llamalog.reconciled_changes(v_watch)
        )
        INTO v_ids, v_ends, v_others
        USING v_watch.entity_type, v_ends, reconcile_log.above_seq, reconcile_log.until_seq;
    END IF;
    -- see llamalog.key_text(): a key that was cut is compared as text, at the price of a look at the whole table
    v_is_text := EXISTS (SELECT FROM unnest(v_ids) AS touched (id) WHERE char_length(touched.id) = 273);
    IF NOT v_is_text THEN
        BEGIN
            EXECUTE format(
                'SELECT array_agg(touched.id) FROM unnest($1) AS touched (id)'
                    || ' LEFT JOIN LATERAL (SELECT true AS is_there FROM %s) AS live ON true WHERE live.is_there IS NULL',
                v_by_key
            )
            INTO v_gone
            USING v_ids;
        EXCEPTION
            WHEN data_exception THEN
                v_is_text := true;  -- an id that is older than the type of the key
        END;
    END IF;
    IF v_is_text THEN
        EXECUTE format(
            'SELECT array_agg(touched.id) FROM unnest($1) AS touched (id)'
                || ' WHERE touched.id <> ALL (ARRAY(SELECT %s FROM %s ($1)))',
            v_key,
            v_by_text
        )
        INTO v_gone
        USING v_ids;
    END IF;
    IF is_gone_only THEN
        SELECT array_agg(touched.id), array_agg(touched.subject_id), array_agg(touched.related_id)
        INTO v_ids, v_ends, v_others
        FROM unnest(v_ids, v_ends, v_others) AS touched (id, subject_id, related_id)
        WHERE touched.id = ANY (v_gone);
    END IF;
    RETURN QUERY
    SELECT judged.*
    FROM llamalog.reconciled_rows(
        v_watch,
        CASE
            -- they are not there
            WHEN is_gone_only THEN
                'SELECT touched.place, touched.id, touched.subject_id, touched.related_id, NULL::jsonb AS image, NULL::text[] AS fields'
                    || ' FROM unnest($5, $6, $7) WITH ORDINALITY AS touched (id, subject_id, related_id, place)'
            WHEN v_is_text THEN
                format(
                    'SELECT touched.place, touched.id, touched.subject_id, touched.related_id, live.image, live.fields'
                        || ' FROM unnest($5, $6, $7) WITH ORDINALITY AS touched (id, subject_id, related_id, place)'
                        || ' LEFT JOIN (SELECT %s AS id, %s FROM %s ($5)) AS live ON live.id = touched.id',
                    v_key,
                    v_row,
                    v_by_text
                )
            ELSE
                format(
                    'SELECT touched.place, touched.id, touched.subject_id, touched.related_id, live.image, live.fields'
                        || ' FROM unnest($5, $6, $7) WITH ORDINALITY AS touched (id, subject_id, related_id, place)'
                        || ' LEFT JOIN LATERAL (SELECT %s FROM %s) AS live ON true',
                    v_row,
                    v_by_key
                )
        END,
        v_ids,
        v_ends,
        v_others,
        reconcile_log.until_seq
    ) AS judged;
END;
$function$;

COMMENT ON FUNCTION llamalog.reconcile_log(text, bigint, bigint, boolean) IS
    'Rows whose newest change has a seq above above_seq and up to until_seq, by key, each with its verdict as llamalog.reconcile() gives it, or went: gone, though the log says that it lives since change after_seq. is_gone_only: those alone.';
