-- Ends a pause: what is written to the table from now on is logged.
--
-- Waits until every transaction that has written unlogged has ended, and keeps others from writing unlogged meanwhile; for five
-- seconds, or the lock_timeout of the session. EXECUTE is not PUBLIC's: see llamalog.may_administer().
CREATE OR REPLACE FUNCTION llamalog.resume(table_or_type text)
    RETURNS llamalog.pauses
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_type     text := llamalog.check_pausing(table_or_type);
    v_key      bigint := hashtextextended('llamalog.pause ' || v_type, 0);
    v_patience text := current_setting('lock_timeout');
    v_pids     text;
    v_pause    llamalog.pauses;
BEGIN
    IF NOT EXISTS (
        SELECT
        FROM llamalog.pauses AS open
        WHERE open.entity_type = v_type
            AND open.resumed_at IS NULL
    )
    THEN
        RAISE EXCEPTION 'capture of % is not paused', v_type
            USING ERRCODE = 'LL025',
                  DETAIL  = coalesce(
                      (
                          SELECT format('The last time, %s.', llamalog.pause_told(ended))
                          FROM llamalog.pauses AS ended
                          WHERE ended.entity_type = v_type
                          ORDER BY ended.id DESC
                          LIMIT 1
                      ),
                      'It never was.'
                  ),
                  HINT    = 'What is written to it is logged.';
    END IF;
    IF v_patience = '0' THEN
        PERFORM set_config('lock_timeout', '5s', true);
    END IF;
    BEGIN
        PERFORM pg_advisory_xact_lock(v_key);
    EXCEPTION
        WHEN lock_not_available THEN
            SELECT string_agg(DISTINCT coalesce(held.pid::text, 'a prepared transaction'), ', ')
            INTO v_pids
            FROM pg_locks AS held
            WHERE held.locktype = 'advisory'
                AND held.granted
                AND held.database = (SELECT database.oid FROM pg_database AS database WHERE database.datname = current_database())
                AND (held.classid::bigint << 32 | held.objid::bigint) = v_key
                AND held.objsubid = 1;
            RAISE EXCEPTION 'transactions that have written to % unlogged are still open', v_type
                USING ERRCODE = 'lock_not_available',
                      DETAIL  = coalesce(format('Sessions: %s.', v_pids), 'They have ended by now.'),
                      HINT    = 'Try again when they have ended; see pg_stat_activity. It stays paused until then.';
    END;
    PERFORM set_config('lock_timeout', v_patience, true);
    UPDATE llamalog.pauses AS open
    SET
        resumed_at = clock_timestamp(),
        resumed_by = session_user,
        resumed_seq = llamalog.note_pause(v_type, 'llamalog:resumed', open.reason)
    WHERE open.entity_type = v_type
        AND open.resumed_at IS NULL
    RETURNING open.* INTO v_pause;
    PERFORM llamalog.fit_pause(v_type);
    RETURN v_pause;
END;
$function$;

COMMENT ON FUNCTION llamalog.resume(text) IS
    'Resumes capture of a paused table, named by its entity type or as SQL does; the row of llamalog.pauses. Raises 42501, LL002, LL025, 55P03 where writers of the pause do not end.';
