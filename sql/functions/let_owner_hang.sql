-- Lets the owner of a captured table hang the generic captures: PostgreSQL asks him when he adds a partition to it.
-- With the rights of the caller: whoever owns the log, or a superuser.
CREATE OR REPLACE FUNCTION llamalog.let_owner_hang(relation oid)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_owner    regrole;
    v_function regprocedure;
BEGIN
    SELECT class.relowner
    INTO v_owner
    FROM pg_class AS class
    WHERE class.oid = relation;
    FOREACH v_function IN ARRAY ARRAY['llamalog.capture_row()', 'llamalog.capture_truncate()', 'llamalog.mark_update()'] LOOP
        IF NOT has_function_privilege(v_owner, v_function, 'EXECUTE') THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', v_function, v_owner);
        END IF;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.let_owner_hang(oid) IS
    'Grants EXECUTE on capture_row(), capture_truncate() and mark_update() to the owner of the table.';
