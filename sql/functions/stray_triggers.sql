-- Triggers that run a capture where it should not run: on tables that have left the family of the watched one, and under
-- other names than ours, as whoever may hang a capture on his table can hang it twice.
CREATE OR REPLACE FUNCTION llamalog.stray_triggers()
    RETURNS TABLE (
        name     name,
        relation regclass
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT hung.tgname, hung.tgrelid::regclass
    FROM pg_trigger AS hung
    JOIN pg_proc AS called
        ON called.oid = hung.tgfoid
        AND called.pronamespace = 'llamalog'::regnamespace
    WHERE hung.tgparentid = 0
        -- what fills an adopted log hangs there by right
        AND called.proname NOT IN ('fill_adopted', 'refill_adopted')
        AND (
            hung.tgname <> ALL (
                '{00_llamalog_insert,00_llamalog_update,00_llamalog_delete,00_llamalog_truncate,00_llamalog_begin_update,'
                    '00_llamalog_end_update}'
            )
            OR (hung.tgrelid, hung.tgargs) IN (
                SELECT
                    captured.relation,
                    convert_to(captured.entity_type, getdatabaseencoding()) || decode('00', 'hex')
                FROM llamalog.captured_tables() AS captured
                WHERE captured.is_stray
            )
        );
$function$;

COMMENT ON FUNCTION llamalog.stray_triggers() IS
    'Triggers of ours that hang where they should not; llamalog.release_strays() drops them.';
