-- The names by which people know some entities: from the live rows, else from the image of the deleted one.
--
-- Live ones by the reader that was rendered for the table, as llamalog.live_row() does.
CREATE OR REPLACE FUNCTION llamalog.labels(
    entity_type text,
    entity_ids  text[]
)
    RETURNS SETOF llamalog.entity_label
    LANGUAGE plpgsql
    STABLE
    ROWS 10
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
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
    v_watch      llamalog.watches;
    v_table      oid;
    v_reader     regproc;
    v_is_current boolean := false;
    v_is_hidden  boolean := false;
    v_alive      text[];
    v_labels     text[];
    v_gone       text[];
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = labels.entity_type;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    v_table := llamalog.table_of(v_watch);
    v_reader := to_regproc(format('llamalog.%I', llamalog.label_reader_name(labels.entity_type)));
    -- it may be dropped
    IF v_table IS NOT NULL THEN
        BEGIN
            IF has_function_privilege(v_reader, 'EXECUTE') THEN
                EXECUTE format('SELECT read.is_current, read.ids, read.labels FROM %s($1, $2) AS read', v_reader)
                INTO v_is_current, v_alive, v_labels
                USING labels.entity_ids, llamalog.reader_shape(v_table, v_watch.key_columns, ARRAY[v_watch.label_column]);
            END IF;
            IF NOT v_is_current THEN
                EXECUTE llamalog.label_query(v_table, v_watch.key_columns, v_watch.label_column)
                INTO v_alive, v_labels
                USING labels.entity_ids;
            END IF;
            RETURN QUERY
            SELECT known.id, known.label, true
            FROM unnest(v_alive, v_labels) AS known (id, label);
        EXCEPTION
            -- the log must be readable where the table is not: no right to it, dropped, renamed, its key of another type now
            WHEN insufficient_privilege OR undefined_table OR undefined_column OR invalid_schema_name OR data_exception
                OR undefined_function OR datatype_mismatch OR cannot_coerce OR null_value_not_allowed
            THEN
                -- whether its rows live is not known then
                v_is_hidden := SQLSTATE = '42501';
        END;
    END IF;
    v_gone := ARRAY(
        SELECT unnest(labels.entity_ids)
        EXCEPT
        SELECT unnest(v_alive)
    );
    IF v_gone <> '{}' THEN
        RETURN QUERY
        SELECT
            wanted.id,
            llamalog.short_label(removed.label),
            CASE
                WHEN NOT v_is_hidden
                    -- as far as the log tells, it did not come back
                    OR NOT EXISTS (
                        SELECT
                        FROM llamalog.log AS later
                        WHERE later.entity_id = wanted.id
                            AND later.entity_type = labels.entity_type
                            AND later.op IS NOT NULL
                            AND later.link_type IS NULL
                            AND later.seq > removed.seq
                    )
                    THEN false
            END
        FROM unnest(v_gone) AS wanted (id)
        CROSS JOIN LATERAL (
            SELECT log.seq, log.before ->> v_watch.label_column AS label
            FROM llamalog.log AS log
            WHERE log.entity_id = wanted.id
                AND log.entity_type = labels.entity_type
                AND log.op IN ('D', 'T')
                AND log.link_type IS NULL
            ORDER BY log.seq DESC
            LIMIT 1
        ) AS removed;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.labels(text, text[]) IS
    'Labels of entities of one type, read with the rights of the caller; long ones cut; entities never seen are left out. is_alive: null of one that came back after it was deleted, where the caller may not read the table.';
