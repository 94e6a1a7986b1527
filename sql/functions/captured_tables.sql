-- Every table that has a capture hung on it, with its entity type and the watched table it belongs to.
CREATE OR REPLACE FUNCTION llamalog.captured_tables()
    RETURNS TABLE (
        entity_type text,
        relation    oid,
        is_top      boolean
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH captured AS (
        SELECT DISTINCT
            -- the one argument, ended by a zero byte
            convert_from(substring(hung.tgargs FROM 1 FOR length(hung.tgargs) - 1), getdatabaseencoding()) AS entity_type,
            hung.tgrelid AS relation
        FROM pg_trigger AS hung
        JOIN pg_proc AS called
            ON called.oid = hung.tgfoid
        WHERE called.pronamespace = 'llamalog'::regnamespace
            AND hung.tgname LIKE '00\_llamalog\_%'
            AND hung.tgnargs = 1
    )
    SELECT
        captured.entity_type,
        captured.relation,
        NOT EXISTS (
            SELECT
            FROM pg_inherits AS inheritance
            JOIN captured AS above
                ON above.relation = inheritance.inhparent
                AND above.entity_type = captured.entity_type
            WHERE inheritance.inhrelid = captured.relation
        )
    FROM captured;
$function$;

COMMENT ON FUNCTION llamalog.captured_tables() IS
    'Tables with capture triggers; is_top is false for the partitions and heirs of another.';
