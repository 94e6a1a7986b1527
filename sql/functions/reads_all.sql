-- Whether the caller reads the whole log, whatever rows of the tables are hidden from him: a member of llamalog_admin.
-- Whom row security does not concern (superusers, BYPASSRLS, the owner of the log) is never asked.
CREATE OR REPLACE FUNCTION llamalog.reads_all()
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- as a policy TO llamalog_admin would ask: by the role that reads, and what it has inherited
    RETURN coalesce(pg_has_role(to_regrole('llamalog_admin')::oid, 'USAGE'), false);
END;
$function$;

COMMENT ON FUNCTION llamalog.reads_all() IS
    'Part of the row security of the log: true for members of llamalog_admin.';
