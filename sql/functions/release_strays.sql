-- Takes the capture off where it should not hang: see llamalog.stray_triggers().
CREATE OR REPLACE FUNCTION llamalog.release_strays()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_stray record;
BEGIN
    FOR v_stray IN
        SELECT stray.name, stray.relation
        FROM llamalog.stray_triggers() AS stray
    LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', v_stray.name, v_stray.relation);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.release_strays() IS
    'Drops the triggers that llamalog.stray_triggers() finds.';
