-- Where a follower of the log stands, as the cursor of llamalog.tail() says.
--
-- seen: the snapshot of which it has all. top: where the log stood. marks: by transaction id, seq below which no transaction
-- with that id or a later one writes. While there is more, next: the snapshot that is being read; after: the last seq read.
CREATE OR REPLACE FUNCTION llamalog.tail_state(cursor text)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_state    jsonb;
    v_is_whole boolean;
    v_is_ours  boolean;
BEGIN
    BEGIN
        v_state := convert_from(decode(cursor, 'base64'), 'UTF8')::jsonb;
        v_is_whole := v_state ?& ARRAY['cluster', 'seen', 'top', 'marks'];
        v_is_ours := (v_state -> 'cluster')::bigint = (SELECT control.system_identifier FROM pg_control_system() AS control)
            AND pg_snapshot_xmax((v_state ->> 'seen')::pg_snapshot) <= pg_snapshot_xmax(pg_current_snapshot());
    EXCEPTION
        WHEN data_exception THEN
            v_is_whole := false;
    END;
    IF v_is_whole IS NOT TRUE THEN
        RAISE EXCEPTION 'malformed cursor "%"', left(cursor, 100)
            USING ERRCODE = 'LL006',
                  HINT    = 'Pass the cursor that llamalog.tail() gave, whole, or none to begin with the newest changes.';
    END IF;
    IF v_is_ours IS NOT TRUE THEN
        RAISE EXCEPTION 'the cursor belongs to another state of the database'
            USING ERRCODE = 'LL006',
                  DETAIL  = 'The database was restored since: what is new cannot be told by it.',
                  HINT    = 'Ask without cursor: that begins with the newest changes.';
    END IF;
    RETURN v_state;
END;
$function$;

COMMENT ON FUNCTION llamalog.tail_state(text) IS
    'Reads a cursor made by llamalog.tail(); raises LL006 for what is none, and for one of another cluster.';
