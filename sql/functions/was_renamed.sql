-- Whether any of these keys ever took part in a change of keys; hardly any did, and this is asked of one small table.
CREATE OR REPLACE FUNCTION llamalog.was_renamed(ids text[])
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $function$
BEGIN
    RETURN EXISTS (
            SELECT
            FROM llamalog.renamings AS renaming
            WHERE renaming.old_id = ANY (ids)
        )
        OR EXISTS (
            SELECT
            FROM llamalog.renamings AS renaming
            WHERE renaming.new_id = ANY (ids)
        );
END;
$function$;

COMMENT ON FUNCTION llamalog.was_renamed(text[]) IS
    'False: no row of the log changed a key from one of the ids or to it, of whatever type.';
