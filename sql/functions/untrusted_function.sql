-- A function that planning a read of a table may call, and that is in the hands of whom the log does not trust.
--
-- PostgreSQL computes the constant parts of an index, of statistics and of a partition key when it plans, as whoever reads: the
-- owner of a table could so have TRUNCATE, whose rows the owner of the log reads, do anything to the log. To trust a function
-- is to give it to a superuser or to the owner of the log.
CREATE OR REPLACE FUNCTION llamalog.untrusted_function(relation oid)
    RETURNS regprocedure
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
    -- whole and partitions are planned together
    read_table AS (
        SELECT untrusted_function.relation AS oid
        UNION
        SELECT member.relid
        FROM pg_partition_tree(untrusted_function.relation) AS member
    ),
    planned AS (
        SELECT 'pg_class'::regclass AS class, index.indexrelid AS oid
        FROM pg_index AS index
        JOIN read_table
            ON read_table.oid = index.indrelid
        UNION ALL
        SELECT 'pg_statistic_ext'::regclass, statistics.oid
        FROM pg_statistic_ext AS statistics
        JOIN read_table
            ON read_table.oid = statistics.stxrelid
        UNION ALL
        -- the key by which it is partitioned
        SELECT 'pg_class'::regclass, read_table.oid
        FROM read_table
    )
    SELECT called.oid::regprocedure
    FROM planned
    JOIN pg_depend AS needed
        ON needed.classid = planned.class
        AND needed.objid = planned.oid
        AND needed.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
    LEFT JOIN pg_operator AS operator
        ON operator.oid = needed.refobjid
        AND needed.refclassid = 'pg_operator'::regclass
    JOIN pg_proc AS called
        ON called.oid = coalesce(operator.oprcode, needed.refobjid)
    JOIN pg_roles AS owner
        ON owner.oid = called.proowner
    JOIN pg_namespace AS namespace
        ON namespace.nspname = 'llamalog'
    WHERE NOT owner.rolsuper
        AND NOT pg_has_role(owner.oid, namespace.nspowner, 'MEMBER')
    ORDER BY called.oid
    LIMIT 1;
$function$;

COMMENT ON FUNCTION llamalog.untrusted_function(oid) IS
    'The first function in an index, in statistics or in the partition key of the table that belongs neither to a superuser nor to the owner of the log; null when there is none.';
