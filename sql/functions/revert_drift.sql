-- The statement that sets right what a trigger of the application's has made of a row since a revert wrote it; null when it
-- is as planned. A counter, say, that a trigger keeps has been set back twice: by its own step, and by the trigger.
CREATE OR REPLACE FUNCTION llamalog.revert_drift(step llamalog.revert_step)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET jit = off
AS $function$
DECLARE
    v_watch llamalog.watches;
    v_table oid;
    v_live  jsonb;
BEGIN
    IF step.after IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = step.entity_type;
    v_table := llamalog.table_of(v_watch);
    EXECUTE format('SELECT %s %s', llamalog.image_expression(v_table, v_watch.redacted_columns, 'live'), step.found_after)
    INTO v_live;
    RETURN (
        SELECT format(
            'UPDATE %s AS live SET %s %s',
            v_table::regclass,
            string_agg(
                format('%I = %s', shown.name, llamalog.image_literal(wanted.value, shown.type_name, shown.base_type)),
                ', '
                ORDER BY shown.name
            ),
            substr(step.found_after, position(' WHERE ' IN step.found_after) + 1)
        )
        FROM jsonb_each(step.after) AS wanted
        JOIN llamalog.table_columns(v_table) AS shown
            ON shown.name = wanted.key
        WHERE v_live ? wanted.key
            AND wanted.key <> ALL (v_watch.ignored_columns || v_watch.redacted_columns)
            AND (v_live -> wanted.key)::text <> wanted.value::text
        HAVING count(*) > 0
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_drift(llamalog.revert_step) IS
    'Part of llamalog.revert(): an UPDATE of the fields that are not as the step wrote them.';
