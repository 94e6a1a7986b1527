-- What orders the writes of a revert now also opens circles of rows: its result is another one, and a row of a plan may be a
-- half. What finds a row by its key can be told by which operator.
--
-- Locks nothing of the application's.
ALTER TYPE llamalog.reverted_row ADD ATTRIBUTE is_half boolean;

DO $do$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT former.oid
        FROM pg_proc AS former
        WHERE former.pronamespace = 'llamalog'::regnamespace
            AND former.proname IN ('revert_order', 'key_match')
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END;
$do$;
