-- The image of the row of an entity as it is now, without ignored, redacted and generated columns; null when there is none.
CREATE OR REPLACE FUNCTION llamalog.live_row(
    watch     llamalog.watches,
    entity_id text
)
    RETURNS jsonb
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
    v_table oid := llamalog.table_of(watch);
    v_name  text := 'live';
    v_row   jsonb;
BEGIN
    -- a column of that name would be taken for the row
    WHILE EXISTS (
        SELECT
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = v_table
            AND attribute.attname = v_name
    ) LOOP
        v_name := v_name || '_';
    END LOOP;
    EXECUTE format(
        'SELECT %s FROM %s AS %s WHERE %s AND %s = $1',
        llamalog.image_expression(v_table, watch.redacted_columns, v_name),
        v_table::regclass,
        v_name,
        -- a long key is cut and hashed: see llamalog.key_text()
        CASE
            WHEN char_length(entity_id) = 273 AND entity_id ~ '~[0-9a-f]{32}$' THEN 'true'
            ELSE llamalog.key_match(v_table, watch.key_columns, v_name, '$1')
        END,
        -- in another spelling, as 1.00 for 1, the log would not know it
        llamalog.key_expression(v_table, watch.key_columns, v_name)
    )
    INTO v_row
    USING entity_id;
    RETURN v_row - (watch.ignored_columns || watch.redacted_columns);
END;
$function$;

COMMENT ON FUNCTION llamalog.live_row(llamalog.watches, text) IS
    'Image of the live row with that key, read with the rights of the caller.';
