-- What looked at one written row of a revert now looks at all of them: the older function would stay beside it.
--
-- Locks nothing of the application's.
DO $do$
BEGIN
    -- a new installation never had it, and would hear so
    IF to_regprocedure('llamalog.revert_drift(llamalog.revert_step)') IS NOT NULL THEN
        DROP FUNCTION llamalog.revert_drift(llamalog.revert_step);
    END IF;
END;
$do$;
