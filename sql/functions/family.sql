-- A table with all its partitions or heirs, from the top: what hangs on them is hung in this order, and one that is captured
-- below one that is not counts as having left the family.
CREATE OR REPLACE FUNCTION llamalog.family(relation oid)
    RETURNS SETOF oid
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE member (oid, depth) AS (
        SELECT family.relation, 0
        UNION
        SELECT inheritance.inhrelid, member.depth + 1
        FROM member
        JOIN pg_inherits AS inheritance
            ON inheritance.inhparent = member.oid
    )
    SELECT member.oid
    FROM member
    JOIN pg_class AS class
        ON class.oid = member.oid
    WHERE class.relkind IN ('r', 'p')
        -- a heir of one session, and gone with it
        AND class.relpersistence <> 't'
    -- an heir may have several parents
    GROUP BY member.oid
    ORDER BY max(member.depth), member.oid;
$function$;

COMMENT ON FUNCTION llamalog.family(oid) IS
    'The table itself and every table below it in the inheritance tree, parents first.';
