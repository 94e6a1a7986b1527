-- Gives our triggers their names back where somebody renamed them, and drops those that hang a second time.
--
-- The name says when a trigger fires among others. Under another one it is missed, and hung anew beside the old one it would
-- log every change twice. With the rights of the caller: the owner of the table, or a superuser.
CREATE OR REPLACE FUNCTION llamalog.take_back_names()
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_hung record;
BEGIN
    FOR v_hung IN
        SELECT hung.tgrelid, hung.tgname AS name, wanted.name AS wanted
        FROM pg_trigger AS hung
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
            AND called.pronamespace = 'llamalog'::regnamespace
            AND (called.proname LIKE 'capture\_%' OR called.proname = 'mark_update')
        JOIN pg_class AS class
            ON class.oid = hung.tgrelid
            AND class.relpersistence <> 't'
        CROSS JOIN LATERAL (
            SELECT '00_llamalog_' || CASE
                WHEN called.proname = 'mark_update' AND hung.tgtype & 2 > 0 THEN 'begin_update'
                WHEN called.proname = 'mark_update' THEN 'end_update'
                WHEN hung.tgtype & 4 > 0 THEN 'insert'
                WHEN hung.tgtype & 8 > 0 THEN 'delete'
                WHEN hung.tgtype & 16 > 0 THEN 'update'
                ELSE 'truncate'
            END AS name
        ) AS wanted
        -- those of a partition go by that of the whole
        WHERE hung.tgparentid = 0
            AND hung.tgname <> wanted.name
        ORDER BY hung.tgrelid, hung.tgname
    LOOP
        IF EXISTS (
                SELECT
                FROM pg_trigger AS other
                WHERE other.tgrelid = v_hung.tgrelid
                    AND other.tgname = v_hung.wanted
            )
        THEN
            EXECUTE format('DROP TRIGGER %I ON %s', v_hung.name, v_hung.tgrelid::regclass);
        ELSE
            EXECUTE format('ALTER TRIGGER %I ON %s RENAME TO %I', v_hung.name, v_hung.tgrelid::regclass, v_hung.wanted);
        END IF;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.take_back_names() IS
    'Makes each of our triggers hang once, under the name that it was made with.';
