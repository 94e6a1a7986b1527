-- Says, while an UPDATE of a partitioned table runs, that a DELETE of a row there is the first half of a move.
--
-- A row that an UPDATE moves to another partition reaches row triggers as a DELETE and an INSERT, next to each other. The
-- setting llamalog.updates holds the trigger depths of the UPDATEs that are running, the innermost last. A MERGE, or a
-- WITH, that both updates and deletes leaves it open which of the two a DELETE is: then none counts as a move.
CREATE OR REPLACE FUNCTION llamalog.mark_update()
    RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_depths text[] := string_to_array(nullif(current_setting('llamalog.updates', true), ''), ' ');
    v_mine   text := (pg_trigger_depth())::text;
BEGIN
    IF TG_WHEN = 'BEFORE' AND TG_OP = 'UPDATE' THEN
        v_depths := v_depths || v_mine;
    ELSE
        -- the UPDATE has ended, or is not alone
        v_depths := array_remove(v_depths, v_mine);
    END IF;
    PERFORM set_config('llamalog.updates', coalesce(array_to_string(v_depths, ' '), ''), true);
    RETURN NULL;
END;
$function$;

COMMENT ON FUNCTION llamalog.mark_update() IS
    'Statement trigger of partitioned tables, before and after UPDATE and before DELETE.';
