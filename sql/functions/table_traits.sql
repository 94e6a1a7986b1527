-- What capture must know of a table as a whole, and a fingerprint of all that a rendered capture rests on.
CREATE OR REPLACE FUNCTION llamalog.table_traits(relation oid)
    RETURNS TABLE (
        is_family           boolean,
        insert_is_by_row    boolean,
        has_deferrable_key  boolean,
        fingerprint         text
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
    owner AS (
        -- who may add a partition must be let hang the capture on it
        SELECT pg_get_userbyid(class.relowner) AS name
        FROM pg_class AS class
        WHERE class.oid = table_traits.relation
    ),
    family AS (
        -- a parent's transition table lacks what its children add, and a partition's rows may come by another door
        SELECT
            relation.relkind = 'p'
                OR EXISTS (
                    SELECT
                    FROM pg_inherits AS inheritance
                    WHERE table_traits.relation IN (inheritance.inhparent, inheritance.inhrelid)
                ) AS is_family
        FROM pg_class AS relation
        WHERE relation.oid = table_traits.relation
    ),
    -- those of other tables are no part of the fingerprint: a trigger made anywhere must not lock every watched table
    other_trigger AS (
        -- an application's trigger may write the same row again before our statement trigger has its turn: row triggers
        -- fire first, those of other tables that the statement writes too; and of an upsert or MERGE also the table's own
        -- statement triggers on UPDATE and DELETE
        SELECT
            count(*) > 0 AS fires_first,
            count(*) FILTER (WHERE application.tgrelid = table_traits.relation) > 0 AS is_own
        FROM pg_trigger AS application
        JOIN pg_class AS its_table
            ON its_table.oid = application.tgrelid
            AND its_table.relpersistence <> 't'
        JOIN pg_proc AS called
            ON called.oid = application.tgfoid
        WHERE NOT application.tgisinternal
            AND application.tgtype & 66 = 0
            AND (
                application.tgtype & 1 > 0 AND application.tgtype & 28 > 0
                OR application.tgrelid = table_traits.relation AND application.tgtype & 24 > 0
            )
            AND called.pronamespace <> 'llamalog'::regnamespace
    ),
    shape AS (
        SELECT string_agg(concat_ws(' ', shown.name, shown.type_name, shown.is_generated, shown.compare, shown.image,
            shown.key), E'\n' ORDER BY shown.name) AS columns
        FROM llamalog.table_columns(table_traits.relation) AS shown
    )
    SELECT
        family.is_family,
        family.is_family OR other_trigger.fires_first,
        llamalog.has_deferrable_key(table_traits.relation),
        md5(concat_ws(E'\n', owner.name, family.is_family, other_trigger.is_own,
            llamalog.has_deferrable_key(table_traits.relation), shape.columns))
    FROM owner, family, other_trigger, shape;
$function$;

COMMENT ON FUNCTION llamalog.table_traits(oid) IS
    'Whether a table has partitions or heirs, whether INSERT must be captured row by row, and a fingerprint of its shape.';
