-- The change of that seq, as questions show it; an error where the log has none, or where another one stands for it: for whoever compares it, or takes it back.
CREATE OR REPLACE FUNCTION llamalog.logged_change(seq bigint)
    RETURNS llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_found llamalog.log;
    v_shown llamalog.log;
    v_other bigint;
BEGIN
    SELECT log.*
    INTO v_found
    FROM llamalog.log AS log
    WHERE log.seq = logged_change.seq
    ORDER BY log.op IS NULL
    LIMIT 1;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the log has no change %', logged_change.seq
            USING ERRCODE = 'LL018',
                  DETAIL  = coalesce('Changes before ' || llamalog.archived_before() || ' are archived.', 'No month is archived.'),
                  HINT    = CASE
                      WHEN llamalog.archived_before() IS NULL THEN 'llamalog history TYPE ID shows the seq of each change.'
                      ELSE 'If it is one of them, bring it back: llamalog restore-archive FILE'
                  END;
    END IF;
    SELECT shown.*
    INTO v_shown
    FROM llamalog.presented(v_found) AS shown;
    IF NOT FOUND THEN
        SELECT min(log.seq)
        INTO v_other
        FROM llamalog.log AS log
        WHERE log.seq > v_found.seq
            AND v_found.entity_id IN (log.entity_id, log.previous_id)
            AND log.entity_type = v_found.entity_type
            AND log.txid = v_found.txid
            AND log.op = 'I';
        RAISE EXCEPTION 'change % is one half of a move between partitions', v_found.seq
            USING ERRCODE = 'LL019',
                  DETAIL  = format('The other half, change %s, stands for both.', v_other),
                  HINT    = format('Give change %s.', v_other);
    END IF;
    RETURN v_shown;
END;
$function$;

COMMENT ON FUNCTION llamalog.logged_change(bigint) IS
    'Part of llamalog.diff_changes() and llamalog.revert(): the change; raises LL018 where the log has none, LL019 for the DELETE half of a move between partitions.';
