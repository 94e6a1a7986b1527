-- Takes the capture off tables that have left the family of the watched one: detached partitions, disinherited heirs.
CREATE OR REPLACE FUNCTION llamalog.release_strays()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_hung record;
BEGIN
    FOR v_hung IN
        SELECT hung.tgname AS name, hung.tgrelid::regclass AS relation
        FROM llamalog.captured_tables() AS captured
        JOIN pg_trigger AS hung
            ON hung.tgrelid = captured.relation
            AND hung.tgparentid = 0
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
            AND called.pronamespace = 'llamalog'::regnamespace
        WHERE captured.is_stray
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', v_hung.name, v_hung.relation);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.release_strays() IS
    'Drops our triggers from tables that are no longer part of a watched one.';
