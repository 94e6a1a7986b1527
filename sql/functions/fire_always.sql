-- Lets the capture of a table, its partitions and heirs see the rows that replication applies too, where it is watched so.
--
-- To replace a trigger makes it an ordinary one again, so whoever hangs one comes by here. With the rights of the caller: the
-- owner of the table, or a superuser.
CREATE OR REPLACE FUNCTION llamalog.fire_always(
    relation    oid,
    entity_type text
)
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
        FROM llamalog.watches AS watch
        CROSS JOIN llamalog.family(relation) AS member (oid)
        JOIN pg_trigger AS hung
            ON hung.tgrelid = member.oid
            AND hung.tgname LIKE '00\_llamalog\_%'
            AND hung.tgenabled <> 'A'
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
            AND called.pronamespace = 'llamalog'::regnamespace
        WHERE watch.entity_type = fire_always.entity_type
            AND (watch.options ->> 'always')::boolean
    LOOP
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', v_hung.relation, v_hung.name);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.fire_always(oid, text) IS
    'ENABLE ALWAYS for our triggers on a table watched with --always; for any other it does nothing.';
