-- Hangs the tolerant capture on a table, in place of whatever capture hangs there.
-- With the rights of the caller: whoever may create triggers on the table.
CREATE OR REPLACE FUNCTION llamalog.hang_tolerant_capture(
    relation    oid,
    entity_type text
)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_event text;
BEGIN
    -- first, since it marks the table as captured: see follow_schema_change
    PERFORM llamalog.hang_truncate_capture(relation, entity_type);
    FOREACH v_event IN ARRAY ARRAY['insert', 'update', 'delete'] LOOP
        -- replaced, not dropped: that would wait for readers of the table
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH ROW EXECUTE FUNCTION llamalog.capture_row(%L)',
            '00_llamalog_' || v_event, v_event, relation::regclass, entity_type
        );
    END LOOP;
    PERFORM llamalog.fire_always(relation, entity_type);
END;
$function$;

COMMENT ON FUNCTION llamalog.hang_tolerant_capture(oid, text) IS
    'Makes INSERT, UPDATE, DELETE and TRUNCATE of a table captured by llamalog.capture_row() and capture_truncate().';
