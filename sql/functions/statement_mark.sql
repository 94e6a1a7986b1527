-- A mark that the changes of one statement share: one statement changes no row twice.
CREATE OR REPLACE FUNCTION llamalog.statement_mark()
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT concat_ws(
        ' ', pg_current_xact_id(), (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, pg_trigger_depth()
    );
$function$;

COMMENT ON FUNCTION llamalog.statement_mark() IS
    'Transaction, instant and trigger depth of the statement; called by triggers.';
