-- The foreign keys that lead from or to some tables; those of partitions are their whole's, also those that one has by itself.
-- One that is NOT ENFORCED keeps no row from anything; what one of a PERIOD refers to are several rows together, as only
-- PostgreSQL itself can tell.
CREATE OR REPLACE FUNCTION llamalog.foreign_keys(relations oid[])
    RETURNS TABLE (
        name           text,
        child          oid,
        child_columns  text[],
        parent         oid,
        parent_columns text[],
        condition      text,
        may_wait       boolean,
        on_delete      "char",
        on_update      "char"
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        rule.conname::text,
        coalesce(pg_partition_root(rule.conrelid), rule.conrelid),
        array_agg(child.attname::text ORDER BY pair.position),
        coalesce(pg_partition_root(rule.confrelid), rule.confrelid),
        array_agg(parent.attname::text ORDER BY pair.position),
        string_agg(
            format(
                '%s%s OPERATOR(%I.%s) child.%I%s',
                CASE parent.attcollation
                    WHEN 0 THEN format('live.%I', parent.attname)
                    ELSE format('(live.%I COLLATE %s)', parent.attname, parent.attcollation::regcollation)
                END,
                CASE WHEN parent.atttypid <> left_type.oid AND left_type.typtype <> 'p' THEN '::' || format_type(left_type.oid, -1) END,
                namespace.nspname,
                operator.oprname,
                child.attname,
                CASE WHEN child.atttypid <> right_type.oid AND right_type.typtype <> 'p' THEN '::' || format_type(right_type.oid, -1) END
            ),
            ' AND '
            ORDER BY pair.position
        ),
        rule.condeferrable,
        rule.confdeltype,
        rule.confupdtype
    FROM pg_constraint AS rule
    CROSS JOIN LATERAL unnest(rule.conkey, rule.confkey, rule.conpfeqop)
        WITH ORDINALITY AS pair (child_number, parent_number, operator_oid, position)
    JOIN pg_attribute AS child
        ON child.attrelid = rule.conrelid
        AND child.attnum = pair.child_number
    JOIN pg_attribute AS parent
        ON parent.attrelid = rule.confrelid
        AND parent.attnum = pair.parent_number
    JOIN pg_operator AS operator
        ON operator.oid = pair.operator_oid
    JOIN pg_namespace AS namespace
        ON namespace.oid = operator.oprnamespace
    JOIN pg_type AS left_type
        ON left_type.oid = operator.oprleft
    JOIN pg_type AS right_type
        ON right_type.oid = operator.oprright
    WHERE rule.contype = 'f'
        AND rule.conparentid = 0
        -- before PostgreSQL 18 there are no such columns
        AND coalesce((to_jsonb(rule) ->> 'conenforced')::boolean, true)
        AND NOT coalesce((to_jsonb(rule) ->> 'conperiod')::boolean, false)
        AND (
            coalesce(pg_partition_root(rule.conrelid), rule.conrelid) = ANY (foreign_keys.relations)
            OR coalesce(pg_partition_root(rule.confrelid), rule.confrelid) = ANY (foreign_keys.relations)
        )
    GROUP BY rule.oid;
$function$;

COMMENT ON FUNCTION llamalog.foreign_keys(oid[]) IS
    'Foreign keys in force, from row to row, of which one of the tables is child or parent, columns in pairs, the condition that the row called child refers to the one called live, whether it can be deferred, and its actions as in pg_constraint.';
