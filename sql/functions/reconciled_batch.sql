-- The query for the next living rows after a key, through the index of the key wherever there is one to read in order.
CREATE OR REPLACE FUNCTION llamalog.reconciled_batch(
    watch     llamalog.watches,
    after_key text,
    row_limit integer
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_table   oid := llamalog.table_of(watch);
    v_text    text := llamalog.key_expression(v_table, watch.key_columns, 'live');
    v_columns text := (
        SELECT string_agg(format('live.%I', part.name), ', ' ORDER BY part.position)
        FROM unnest(watch.key_columns) WITH ORDINALITY AS part (name, position)
    );
    v_parts   text[] := llamalog.key_parts(after_key, cardinality(watch.key_columns));
    v_values  text;  -- the columns of after_key
    v_after   text := 'true';
    v_row     text;
    v_is_row  boolean;
BEGIN
    IF after_key IS NOT NULL AND cardinality(v_parts) <> cardinality(watch.key_columns) THEN
        RAISE EXCEPTION 'malformed id "%" for %', left(after_key, 100), watch.entity_type
            USING ERRCODE = 'invalid_text_representation',
                  DETAIL  = format('Its key is (%s).', array_to_string(watch.key_columns, ', ')),
                  HINT    = 'Give the key as llamalog history writes it: the parts joined by commas.';
    END IF;
    IF EXISTS (
        SELECT
        FROM unnest(watch.key_columns) AS part (name)
        WHERE llamalog.builtin_type(v_table, part.name) IS NULL
    )
    THEN
        -- to read its text back into a type of somebody's own would run his code
        v_text := format('(%s) COLLATE "C"', v_text);
        v_columns := v_text;
        v_values := quote_nullable(after_key);
    ELSE
        v_values := (
            SELECT string_agg(
                format('%L::%s', piece.value, llamalog.builtin_type(v_table, part.name)), ', ' ORDER BY part.position
            )
            FROM unnest(watch.key_columns) WITH ORDINALITY AS part (name, position)
            JOIN unnest(v_parts) WITH ORDINALITY AS piece (value, position)
                ON piece.position = part.position
        );
    END IF;
    -- see llamalog.key_text(): where a cut key stands in the order only its row tells
    IF char_length(after_key) = 273 AND after_key ~ '~[0-9a-f]{32}$' THEN
        v_row := format('SELECT %s FROM %s AS live WHERE %s = %L', v_columns, v_table::regclass, v_text, after_key);
        EXECUTE format('SELECT EXISTS (%s)', v_row)
        INTO v_is_row;
        IF NOT v_is_row THEN
            RAISE EXCEPTION 'no % has the key to go on after', watch.entity_type
                USING ERRCODE = 'no_data_found',
                      DETAIL  = format('It is one that the log has cut: "%s".', left(after_key, 100)),
                      HINT    = 'Give the key of another row, or begin at the first.';
        END IF;
        v_after := format('ROW(%s) > (%s)', v_columns, v_row);
    ELSIF after_key IS NOT NULL THEN
        v_after := format('ROW(%s) > ROW(%s)', v_columns, v_values);
    END IF;
    RETURN format(
        $query$
            SELECT row_number() OVER () AS place, ordered.*
            FROM (
                SELECT %s AS id, %s AS subject_id, %s AS related_id, %s AS image, %s AS fields
                FROM %s AS live
                WHERE %s
                ORDER BY %s
                LIMIT %s
            ) AS ordered
        $query$,
        v_text,
        llamalog.key_expression(v_table, watch.subject_columns, 'live'),
        coalesce(llamalog.key_expression(v_table, watch.related_columns, 'live'), 'NULL::text'),
        llamalog.live_image(v_table, watch.ignored_columns || watch.redacted_columns),
        llamalog.fields_expression(v_table, watch.ignored_columns, 'live'),
        v_table::regclass,
        v_after,
        v_columns,
        row_limit
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.reconciled_batch(llamalog.watches, text, integer) IS
    'Part of llamalog.reconcile(): SQL for place, key, both ends, image and filled fields of the next rows in the order of the key.';
