-- Every table that has a capture hung on it, with its entity type and its place in the family.
CREATE OR REPLACE FUNCTION llamalog.captured_tables()
    RETURNS TABLE (
        entity_type text,
        relation    oid,
        is_top      boolean,
        is_stray    boolean
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
    captured AS (
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
    ),
    placed AS (
        SELECT
            captured.entity_type,
            captured.relation,
            -- of whatever generation: what stands between them may get its capture after it
            EXISTS (
                WITH RECURSIVE ancestor (relation) AS (
                    SELECT inheritance.inhparent
                    FROM pg_inherits AS inheritance
                    WHERE inheritance.inhrelid = captured.relation
                    UNION
                    SELECT inheritance.inhparent
                    FROM ancestor
                    JOIN pg_inherits AS inheritance
                        ON inheritance.inhrelid = ancestor.relation
                )
                SELECT
                FROM ancestor
                JOIN captured AS above
                    ON above.relation = ancestor.relation
                    AND above.entity_type = captured.entity_type
            ) AS is_member
        FROM captured
    ),
    ranked AS (
        SELECT
            placed.entity_type,
            placed.relation,
            placed.is_member,
            -- of two that stand alone, the registered one, or else the one with a family
            row_number() OVER (
                PARTITION BY placed.entity_type
                ORDER BY
                    placed.is_member,
                    watch.entity_type IS NULL,
                    class.relkind <> 'p',
                    NOT class.relhassubclass,
                    placed.relation
            ) AS rank
        FROM placed
        JOIN pg_class AS class
            ON class.oid = placed.relation
        JOIN pg_namespace AS namespace
            ON namespace.oid = class.relnamespace
        LEFT JOIN llamalog.watches AS watch
            ON watch.entity_type = placed.entity_type
            AND watch.schema_name = namespace.nspname
            AND watch.table_name = class.relname
    )
    SELECT
        ranked.entity_type,
        ranked.relation,
        ranked.rank = 1,
        ranked.rank > 1 AND NOT ranked.is_member
    FROM ranked;
$function$;

COMMENT ON FUNCTION llamalog.captured_tables() IS
    'Tables with capture triggers: the watched one (is_top), its partitions and heirs, and those that have left it (is_stray).';
