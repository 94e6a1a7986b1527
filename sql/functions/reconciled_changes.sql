-- The query for what the log has of the rows of a batch, by their key: the changes of entities, or of links.
--
-- The log names a link by its ends. An UPDATE that leaves the rest of its key unsaid, as a role, may be one of any row between
-- them, also of one that the log never saw come: none of them is held to what their changes left.
CREATE OR REPLACE FUNCTION llamalog.reconciled_changes(watch llamalog.watches)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_table oid := llamalog.table_of(watch);
    v_key   text := llamalog.key_expression(v_table, watch.key_columns, 'live');
    v_found text;  -- the columns of its key and its ends in the row that a change found
    v_left  text;  -- and left
BEGIN
    IF NOT watch.is_link THEN
        RETURN format(
            $query$
            SELECT
                log.entity_id,
                log.entity_id AS subject_id,
                log.related_id,
                log.seq,
                CASE WHEN was.inferred THEN log.transaction_at ELSE log.created_at END AS created_at,
                CASE WHEN was.inferred THEN 'I' ELSE log.op END AS op,
                log.fields_enriched,
                log.after
            FROM llamalog.log AS log
            -- by llamalog backfill, below the first change: it was there when that ran
            CROSS JOIN LATERAL (SELECT log.op IS NULL AND log.seq < 1 AS inferred) AS was
            WHERE log.entity_id = ANY (ARRAY(SELECT subject.id FROM subject))
                AND log.entity_type = $1
                AND log.link_type IS NULL
                AND (log.op IS NOT NULL OR log.category = 'CREATED' AND %s)
            $query$,
            -- where the log was the application's, its rows are all that is known; in ours, a claim is not a creation
            CASE WHEN to_regclass('llamalog.adopted_seq') IS NULL THEN 'was.inferred' ELSE 'true' END
        );
    END IF;
    SELECT
        string_agg(format('%1$L, coalesce(made.before -> %1$L, made.after -> %1$L, %2$s)', part.name, ends.value), ', '),
        string_agg(format('%1$L, coalesce(made.after -> %1$L, made.before -> %1$L, %2$s)', part.name, ends.value), ', ')
    INTO v_found, v_left
    FROM (
        SELECT DISTINCT given.name
        FROM unnest(watch.key_columns || watch.subject_columns || watch.related_columns) AS given (name)
    ) AS part
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN part.name = ANY (watch.subject_columns) THEN
                format(
                    'to_jsonb((llamalog.key_parts(made.entity_id, %s))[%s])',
                    cardinality(watch.subject_columns),
                    array_position(watch.subject_columns, part.name)
                )
            WHEN part.name = ANY (watch.related_columns) THEN
                format(
                    'to_jsonb((llamalog.key_parts(made.related_id, %s))[%s])',
                    cardinality(watch.related_columns),
                    array_position(watch.related_columns, part.name)
                )
            ELSE 'NULL'
        END AS value
    ) AS ends;
    RETURN format(
        $query$
            WITH
            made AS MATERIALIZED (
                SELECT
                    log.entity_id,
                    log.related_id,
                    log.seq,
                    log.created_at,
                    log.op,
                    log.fields_enriched,
                    log.before,
                    log.after
                FROM llamalog.log AS log
                WHERE log.entity_id = ANY (ARRAY(SELECT subject.subject_id FROM subject))
                    AND log.link_type = $1
                    AND log.op IS NOT NULL
                UNION ALL
                -- went to another end
                SELECT
                    log.entity_id,
                    log.related_id,
                    log.seq,
                    log.created_at,
                    log.op,
                    log.fields_enriched,
                    log.before,
                    log.after
                FROM llamalog.log AS log
                WHERE log.previous_id = ANY (ARRAY(SELECT subject.subject_id FROM subject))
                    AND log.entity_id <> ALL (ARRAY(SELECT subject.subject_id FROM subject))
                    AND log.link_type = $1
                    AND log.op IS NOT NULL
            ),
            keyed AS MATERIALIZED (
                SELECT
                    made.*,
                    left_row.key AS left_key,
                    found_row.key AS found_key,
                    found_row.subject_id AS found_subject_id,
                    found_row.related_id AS found_related_id
                FROM made
                CROSS JOIN LATERAL (
                    SELECT %1$s AS key
                    FROM jsonb_populate_record(NULL::%2$s, jsonb_build_object(%3$s)) AS live
                ) AS left_row
                -- what an UPDATE of the key found
                LEFT JOIN LATERAL (
                    SELECT %1$s AS key, %4$s AS subject_id, %5$s AS related_id
                    FROM jsonb_populate_record(NULL::%2$s, jsonb_build_object(%6$s)) AS live
                    WHERE made.op = 'U'
                        AND made.after ?| %7$L::text[]
                ) AS found_row
                    ON true
            ),
            placed AS (
                SELECT
                    keyed.*,
                    bool_or(keyed.left_key IS NULL) OVER (PARTITION BY keyed.entity_id, keyed.related_id) AS is_unsaid
                FROM keyed
            )
            SELECT
                placed.left_key AS entity_id,
                placed.entity_id AS subject_id,
                placed.related_id,
                placed.seq,
                placed.created_at,
                placed.op,
                placed.fields_enriched,
                CASE WHEN placed.is_unsaid THEN '{}' ELSE placed.after END AS after
            FROM placed
            UNION ALL
            -- it went from there to its other key
            SELECT placed.found_key, placed.entity_id, placed.related_id, placed.seq, placed.created_at, 'D', NULL, NULL
            FROM placed
            WHERE placed.found_key <> placed.left_key
            UNION ALL
            -- which of the rows between these ends came or went is not said: none of them contradicts it
            SELECT
                subject.id,
                placed.entity_id,
                placed.related_id,
                placed.seq,
                placed.created_at,
                CASE WHEN subject.image IS NULL THEN 'D' ELSE 'U' END,
                NULL,
                NULL
            FROM placed
            JOIN subject
                ON subject.subject_id IN (placed.entity_id, placed.found_subject_id)
            WHERE placed.found_subject_id IS NOT NULL
                AND placed.left_key IS NULL
                AND (subject.subject_id, subject.related_id) IN (
                    (placed.entity_id, placed.related_id),
                    (placed.found_subject_id, placed.found_related_id)
                )
        $query$,
        v_key,
        v_table::regclass,
        v_left,
        llamalog.key_expression(v_table, watch.subject_columns, 'live'),
        llamalog.key_expression(v_table, watch.related_columns, 'live'),
        v_found,
        watch.key_columns || watch.subject_columns || watch.related_columns
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.reconciled_changes(llamalog.watches) IS
    'Part of llamalog.reconciled_rows(): SQL that reads the log for the rows of the batch called subject.';
