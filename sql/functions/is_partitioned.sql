-- Whether a table is partitioned, or a partition.
CREATE OR REPLACE FUNCTION llamalog.is_partitioned(relation oid)
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT class.relkind = 'p' OR class.relispartition
    FROM pg_class AS class
    WHERE class.oid = is_partitioned.relation;
$function$;

COMMENT ON FUNCTION llamalog.is_partitioned(oid) IS
    'True for a partitioned table and for a partition; null when there is no such table.';
