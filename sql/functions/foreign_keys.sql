-- The foreign keys that lead from or to some tables; those of partitions are their whole's. One that is NOT ENFORCED
-- keeps no row from anything; what one of a PERIOD refers to are several rows together, as only PostgreSQL itself can tell.
CREATE OR REPLACE FUNCTION llamalog.foreign_keys(relations oid[])
    RETURNS TABLE (
        name           text,
        child          oid,
        child_columns  text[],
        parent         oid,
        parent_columns text[],
        operators      text[],
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
        rule.conrelid,
        array_agg(child.attname::text ORDER BY pair.position),
        rule.confrelid,
        array_agg(parent.attname::text ORDER BY pair.position),
        array_agg(format('OPERATOR(%I.%s)', namespace.nspname, operator.oprname) ORDER BY pair.position),
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
    WHERE rule.contype = 'f'
        AND rule.conparentid = 0
        -- before PostgreSQL 18 there are no such columns
        AND coalesce((to_jsonb(rule) ->> 'conenforced')::boolean, true)
        AND NOT coalesce((to_jsonb(rule) ->> 'conperiod')::boolean, false)
        AND (rule.conrelid = ANY (foreign_keys.relations) OR rule.confrelid = ANY (foreign_keys.relations))
    GROUP BY rule.oid;
$function$;

COMMENT ON FUNCTION llamalog.foreign_keys(oid[]) IS
    'Foreign keys in force, from row to row, of which one of the tables is child or parent, columns in pairs, the operators that compare them, the parent''s column first, whether it can be deferred, and its actions as in pg_constraint.';
