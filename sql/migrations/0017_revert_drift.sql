-- What looked at one written row of a revert now looks at all of them: the older function would stay beside it.
--
-- Locks nothing of the application's.
DO $do$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT former.oid
        FROM pg_proc AS former
        WHERE former.pronamespace = 'llamalog'::regnamespace
            AND former.proname = 'revert_drift'
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END;
$do$;
