-- Whether capture of a table is paused, as a capture asks before it lets a write go unlogged.
--
-- Who does so holds a lock until the end of his transaction, for which llamalog.resume() waits: what is unlogged is so before
-- resumed_at, or rolled back. A body of the capture that a session has kept since before the resume comes here, and learns of it.
CREATE OR REPLACE FUNCTION llamalog.is_paused(entity_type text)
    RETURNS boolean
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM llamalog.pauses AS pause
        WHERE pause.entity_type = is_paused.entity_type
            AND pause.resumed_at IS NULL
    )
    THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('llamalog.pause ' || is_paused.entity_type, 0));
    IF current_setting('transaction_isolation') NOT IN ('repeatable read', 'serializable') THEN
        RETURN EXISTS (
            SELECT
            FROM llamalog.pauses AS pause
            WHERE pause.entity_type = is_paused.entity_type
                AND pause.resumed_at IS NULL
        );
    END IF;
    -- the snapshot may be older than the resume: locking the row looks past it
    BEGIN
        PERFORM
        FROM llamalog.pauses AS pause
        WHERE pause.entity_type = is_paused.entity_type
            AND pause.resumed_at IS NULL
        FOR SHARE;
        RETURN true;
    EXCEPTION
        WHEN serialization_failure THEN
            RETURN false;
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.is_paused(text) IS
    'Called by captures: true where a write of the type is not to be logged, which then holds up llamalog.resume() until the transaction ends.';
