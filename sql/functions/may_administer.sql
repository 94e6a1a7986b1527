-- Whether whoever asks may decide over the log: a superuser, a member of its owner, or of llamalog_admin where there is one.
--
-- All that he acts as must be: who has logged in, whom SET ROLE made of him, and whose rights the caller has. So neither a
-- SECURITY DEFINER function of an administrator's serves an application, nor one of the application's an administrator who calls
-- it, nor a pooler's mighty login the role that it has put on. Within a SECURITY DEFINER function the last is its owner; there
-- EXECUTE on that function asks instead whose rights its caller has.
CREATE OR REPLACE FUNCTION llamalog.may_administer()
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT bool_and(
        pg_has_role(acting.oid, namespace.nspowner, 'MEMBER')
        OR coalesce(pg_has_role(acting.oid, to_regrole('llamalog_admin')::oid, 'MEMBER'), false)
    )
    FROM pg_roles AS acting
    CROSS JOIN pg_namespace AS namespace
    WHERE acting.rolname IN (session_user, current_user, nullif(current_setting('role'), 'none'))
        AND namespace.nspname = 'llamalog';
$function$;

COMMENT ON FUNCTION llamalog.may_administer() IS
    'True for a superuser, a member of the owner of the log and of llamalog_admin, in each role that the session acts in.';
