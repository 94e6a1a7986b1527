-- The image of the row of an entity as it is now, without ignored, redacted and generated columns; null when there is none.
--
-- By the reader that was rendered for the table, whose plan the session keeps. Where the table is another by now, or its key
-- a cut one, by a query made for this row: five times as dear.
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
    SET quote_all_identifiers = off
    SET jit = off
AS $function$
DECLARE
    v_table      oid := llamalog.table_of(watch);
    v_hidden     text[] := watch.ignored_columns || watch.redacted_columns;
    -- see llamalog.key_text()
    v_is_cut     boolean := char_length(entity_id) = 273 AND entity_id ~ '~[0-9a-f]{32}$';
    v_reader     regproc := to_regproc(format('llamalog.%I', llamalog.reader_name(watch.entity_type)));
    v_is_current boolean := false;
    v_row        jsonb;
BEGIN
    IF v_table IS NULL THEN
        RETURN NULL;  -- dropped, and nobody told the registry yet
    END IF;
    IF NOT v_is_cut AND has_function_privilege(v_reader, 'EXECUTE') THEN
        EXECUTE format('SELECT read.is_current, read.image FROM %s($1, $2) AS read', v_reader)
        INTO v_is_current, v_row
        USING entity_id, llamalog.reader_shape(v_table, watch.key_columns, v_hidden);
    END IF;
    IF NOT v_is_current THEN
        PERFORM llamalog.check_key(v_table, watch.key_columns);
        EXECUTE llamalog.live_query(v_table, watch.key_columns, v_hidden, v_is_cut)
        INTO v_row
        USING entity_id;
    END IF;
    RETURN v_row;
END;
$function$;

COMMENT ON FUNCTION llamalog.live_row(llamalog.watches, text) IS
    'Image of the live row with that key, read with the rights of the caller.';
