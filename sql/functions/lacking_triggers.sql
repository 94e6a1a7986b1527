-- The events that the triggers of capture miss on a table: no trigger, one that is off, or one hung otherwise than we hang it.
CREATE OR REPLACE FUNCTION llamalog.lacking_triggers(
    relation    oid,
    entity_type text
)
    RETURNS text[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(wanted.event ORDER BY wanted.event), '{}')
    FROM (VALUES ('insert', 4), ('delete', 8), ('update', 16), ('truncate', 32)) AS wanted (event, bit)
    WHERE NOT EXISTS (
        SELECT
        FROM pg_trigger AS hung
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
            AND called.pronamespace = 'llamalog'::regnamespace
        WHERE hung.tgrelid = lacking_triggers.relation
            AND hung.tgname = '00_llamalog_' || wanted.event
            AND (
                hung.tgenabled = 'A'
                OR hung.tgenabled = 'O' AND NOT EXISTS (
                    SELECT
                    FROM llamalog.watches AS watch
                    WHERE watch.entity_type = lacking_triggers.entity_type
                        AND (watch.options ->> 'always')::boolean
                )
            )
            AND CASE called.proname
                WHEN 'capture_truncate' THEN wanted.event = 'truncate'
                WHEN 'capture_row' THEN wanted.event <> 'truncate' AND hung.tgtype & 1 > 0
                ELSE called.proname LIKE 'capture%' AND right(called.proname, length(wanted.event) + 1) = '_' || wanted.event
            END
            -- for this event and no other, at its time, for every row and column, under its own type, not put off
            AND hung.tgtype & 60 = wanted.bit
            AND hung.tgtype & 66 = CASE wanted.event WHEN 'truncate' THEN 2 ELSE 0 END
            AND hung.tgqual IS NULL
            AND hung.tgattr::text = ''
            AND hung.tgconstraint = 0
            AND hung.tgargs = convert_to(lacking_triggers.entity_type, getdatabaseencoding()) || decode('00', 'hex')
    );
$function$;

COMMENT ON FUNCTION llamalog.lacking_triggers(oid, text) IS
    'Of insert, update, delete and truncate those that capture would not see on the table; empty when all is well.';
