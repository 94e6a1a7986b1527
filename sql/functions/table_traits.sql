-- What capture must know of a table as a whole, and a fingerprint of all that a rendered capture rests on.
CREATE OR REPLACE FUNCTION llamalog.table_traits(relation oid)
    RETURNS TABLE (
        is_family           boolean,
        insert_is_by_row    boolean,
        delete_is_by_row    boolean,
        fingerprint         text
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
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
    other_trigger AS (
        -- an application's row trigger may write the same row again before our statement trigger has its turn
        SELECT
            coalesce(bool_or(application.tgtype & 4 > 0), false) AS on_insert,
            coalesce(bool_or(application.tgtype & 8 > 0), false) AS on_delete
        FROM pg_trigger AS application
        JOIN pg_proc AS called
            ON called.oid = application.tgfoid
        WHERE application.tgrelid = table_traits.relation
            AND NOT application.tgisinternal
            AND application.tgtype & 1 > 0
            AND application.tgtype & 66 = 0
            AND called.pronamespace <> 'llamalog'::regnamespace
    ),
    cascade AS (
        -- rows that a foreign key deletes or changes are logged after the row that caused it
        SELECT count(*) > 0 AS on_delete
        FROM pg_constraint AS reference
        WHERE reference.confrelid = table_traits.relation
            AND reference.contype = 'f'
            AND reference.confdeltype IN ('c', 'd', 'n')
    ),
    shape AS (
        SELECT string_agg(concat_ws(' ', shown.name, shown.type_name, shown.is_generated, shown.compare, shown.image,
            shown.key), E'\n' ORDER BY shown.name) AS columns
        FROM llamalog.table_columns(table_traits.relation) AS shown
    )
    SELECT
        family.is_family,
        family.is_family OR other_trigger.on_insert,
        family.is_family OR other_trigger.on_delete OR cascade.on_delete,
        md5(concat_ws(E'\n', family.is_family, other_trigger.on_insert, other_trigger.on_delete, cascade.on_delete,
            shape.columns))
    FROM family, other_trigger, cascade, shape;
$function$;

COMMENT ON FUNCTION llamalog.table_traits(oid) IS
    'Whether a table has partitions or heirs, which events must be captured row by row, and a fingerprint of its shape.';
