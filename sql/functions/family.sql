-- A table with all its partitions or heirs.
CREATE OR REPLACE FUNCTION llamalog.family(relation oid)
    RETURNS SETOF oid
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH RECURSIVE member (oid) AS (
        SELECT family.relation
        UNION
        SELECT inheritance.inhrelid
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
    -- what is noted of each stands in the same order each time
    ORDER BY member.oid;
$function$;

COMMENT ON FUNCTION llamalog.family(oid) IS
    'The table itself and every table below it in the inheritance tree.';
