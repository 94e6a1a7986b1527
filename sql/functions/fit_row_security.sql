-- Gives the log the row security that llamalog.watches asks for, and takes off what it no longer asks for.
-- With the rights of the caller, who owns the log. Where there is something to do, locks the log exclusively for moments.
CREATE OR REPLACE FUNCTION llamalog.fit_row_security()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN
        SELECT step
        FROM llamalog.row_security_steps() AS step
    LOOP
        EXECUTE v_statement;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.fit_row_security() IS
    'Part of llamalog watch --row-security: policies of the log, its months, and security_invoker of the lens, in step with llamalog.watches.';
