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
    v_image text;
    v_row   jsonb;
BEGIN
    -- not llamalog.image_expression(), which asks for the columns three times
    SELECT string_agg(object.expression, ' || ')
    INTO v_image
    FROM (
        SELECT
            format(
                'jsonb_build_object(%s)',
                string_agg(format('%L, %s', member.name, format(member.expression, format('live.%I', member.name))), ', ')
            ) AS expression
        FROM (
            SELECT
                shown.name,
                shown.member AS expression,
                -- a function takes 100 arguments at most
                (row_number() OVER () - 1) / 40 AS batch
            FROM llamalog.table_columns(v_table) AS shown
            WHERE NOT shown.is_generated
                AND shown.name <> ALL (watch.ignored_columns || watch.redacted_columns)
        ) AS member
        GROUP BY member.batch
    ) AS object;
    EXECUTE format(
        'SELECT %s FROM %s AS live WHERE %s AND %s = $1',
        coalesce(v_image, '''{}''::jsonb'),
        v_table::regclass,
        -- a long key is cut and hashed: see llamalog.key_text()
        CASE
            WHEN char_length(entity_id) = 273 AND entity_id ~ '~[0-9a-f]{32}$' THEN 'true'
            ELSE llamalog.key_match(v_table, watch.key_columns, 'live', '$1')
        END,
        -- in another spelling, as 1.00 for 1, the log would not know it
        llamalog.key_expression(v_table, watch.key_columns, 'live')
    )
    INTO v_row
    USING entity_id;
    RETURN v_row;
END;
$function$;

COMMENT ON FUNCTION llamalog.live_row(llamalog.watches, text) IS
    'Image of the live row with that key, read with the rights of the caller.';
