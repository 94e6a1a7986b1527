-- The steps of a revert whose rows are not as they were written, each with the statement that sets its row right.
--
-- Triggers of the application's have written to them since. A counter, say, that a trigger keeps has been set back twice: by its
-- own step, and by the trigger. Of a row that they took away, or brought under another key, or of which no UPDATE can set what they
-- have written, statement is null.
CREATE OR REPLACE FUNCTION llamalog.revert_drift(steps llamalog.revert_step[])
    RETURNS SETOF llamalog.revert_step
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
    SET jit = off
AS $function$
DECLARE
    v_step   llamalog.revert_step;
    v_watch  llamalog.watches;
    v_table  oid;
    v_image  text;
    v_live   jsonb;
    v_read   jsonb;
    v_fields text[];
BEGIN
    FOREACH v_step IN ARRAY steps LOOP
        CONTINUE WHEN v_step.after IS NULL;
        IF v_step.entity_type IS DISTINCT FROM v_watch.entity_type THEN
            SELECT watch.*
            INTO v_watch
            FROM llamalog.watches AS watch
            WHERE watch.entity_type = v_step.entity_type;
            v_table := llamalog.table_of(v_watch);
            v_image := llamalog.image_expression(v_table, v_watch.redacted_columns, 'live');
        END IF;
        EXECUTE format('SELECT %s %s', v_image, v_step.found_after)
        INTO v_live;
        IF v_live IS NULL AND v_step.detail IS NULL THEN
            v_step.statement := NULL;
            RETURN NEXT v_step;
            CONTINUE;
        END IF;
        v_fields := ARRAY(
            SELECT wanted.key
            FROM jsonb_each(v_step.after) AS wanted
            WHERE v_live ? wanted.key
                AND wanted.key <> ALL (v_watch.ignored_columns || v_watch.redacted_columns)
                -- as text: as jsonb, 1.0 and 1.00 are equal
                AND (v_live -> wanted.key)::text <> wanted.value::text
                -- of a row in two halves, the second one says what refers to others
                AND NOT (v_step.detail IS NOT NULL AND wanted.value = 'null')
        );
        CONTINUE WHEN v_fields = '{}';
        -- a column that is of another type by now has another image of the same, if it cuts or rounds nothing
        EXECUTE (
            SELECT concat_ws(' || ', 'SELECT ''{}''::jsonb', string_agg(
                format(
                    'jsonb_build_object(%L, jsonb_build_array(%s, %s))',
                    shown.name,
                    format(shown.image, llamalog.image_literal(v_step.after -> shown.name, shown.type_name, shown.base_type)),
                    format(
                        shown.image,
                        llamalog.image_literal(
                            v_step.after -> shown.name,
                            -- without a length, these are of one character
                            CASE WHEN shown.base_type ~ '^(character|bit)([[]|$)' THEN shown.type_name ELSE shown.base_type END,
                            shown.base_type
                        )
                    )
                ),
                ' || '
            ))
            FROM llamalog.table_columns(v_table) AS shown
            WHERE shown.name = ANY (v_fields)
                AND v_step.after -> shown.name <> 'null'
        )
        INTO v_read;
        v_fields := ARRAY(
            SELECT wrong.name
            FROM unnest(v_fields) AS wrong (name)
            LEFT JOIN jsonb_each(v_read) AS read
                ON read.key = wrong.name
            WHERE read.key IS NULL
                OR (v_live -> read.key)::text <> (read.value -> 0)::text
                OR v_live -> read.key <> read.value -> 1
        );
        CONTINUE WHEN v_fields = '{}';
        v_step.statement := (
            SELECT format(
                'UPDATE %s AS live SET %s%s',
                v_table::regclass,
                string_agg(
                    format('%I = %s', shown.name, llamalog.image_literal(v_step.after -> shown.name, shown.type_name, shown.base_type)),
                    ', '
                    ORDER BY shown.name
                ),
                substr(v_step.found_after, length(format('FROM %s AS live', v_table::regclass)) + 1)
            )
            FROM llamalog.table_columns(v_table) AS shown
            JOIN pg_attribute AS attribute
                ON attribute.attrelid = v_table
                AND attribute.attname = shown.name
                AND attribute.attidentity <> 'a'
            WHERE shown.name = ANY (v_fields)
            HAVING count(*) > 0
        );
        RETURN NEXT v_step;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_drift(llamalog.revert_step[]) IS
    'Part of llamalog.revert(): steps whose fields are not as they were written; statement: an UPDATE of these fields, null where the row is not there, or none of them can be set.';
