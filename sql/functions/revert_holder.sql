-- Who has the key, or the unique value, that a step of a revert was to write.
CREATE OR REPLACE FUNCTION llamalog.revert_holder(
    step        llamalog.revert_step,
    schema_name text,
    index_name  text
)
    RETURNS text
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
    v_watch  llamalog.watches;
    v_table  oid;
    v_index  oid := to_regclass(format('%I.%I', schema_name, index_name));
    v_wanted jsonb;
    v_where  text;
    v_id     text;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = step.entity_type;
    v_table := llamalog.table_of(v_watch);
    IF step.action = 'update' THEN
        EXECUTE format('SELECT %s %s', llamalog.image_expression(v_table, v_watch.redacted_columns, 'live'), step.found)
        INTO v_wanted;
    END IF;
    v_wanted := coalesce(v_wanted, '{}') || step.after;
    SELECT string_agg(
        CASE
            WHEN known.is_builtin
                THEN format('live.%I = %s', known.name, llamalog.image_literal(v_wanted -> known.name, known.type_name, known.base_type))
            ELSE format('(%s)::text = %L', format(known.image, format('live.%I', known.name)), (v_wanted -> known.name)::text)
        END,
        ' AND '
    )
    INTO v_where
    FROM pg_index AS index
    CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS part (number, position)
    JOIN pg_attribute AS attribute
        ON attribute.attrelid = index.indrelid
        AND attribute.attnum = part.number
    JOIN llamalog.table_columns(v_table) AS known
        ON known.name = attribute.attname
    -- what an expression or a rule of exclusion compares is not read off the columns
    WHERE index.indexrelid = v_index
        -- it may be one of a table that a trigger writes to
        AND coalesce(pg_partition_root(index.indrelid), index.indrelid) = v_table
        AND index.indisunique
        AND index.indexprs IS NULL
        AND part.position <= index.indnkeyatts;
    IF v_where IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'SELECT %s FROM %s AS live WHERE %s LIMIT 1',
        llamalog.key_expression(v_table, v_watch.key_columns, 'live'), v_table::regclass, v_where
    )
    INTO v_id;
    RETURN step.entity_type || ' "' || left(v_id, 100) || '"';  -- null where the caller may not see it
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_holder(llamalog.revert_step, text, text) IS
    'Part of llamalog.revert(): the entity that has what a unique index refuses the step, as ALBUM "7"; null where the index does not tell.';
