-- Which row of a revert must be written before which other, by their places: parents before the children that come to them,
-- children before the parents that go, or leave them behind under another key, and a unique value is free before it is taken.
CREATE OR REPLACE FUNCTION llamalog.revert_edges(touched_rows llamalog.reverted_row[])
    RETURNS TABLE (
        earlier integer,
        later   integer,
        written integer,
        columns text[],
        waits   boolean
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_moves record := llamalog.revert_moves(touched_rows);
    v_rule  record;
BEGIN
    FOR v_rule IN
        SELECT
            rule.*,
            (
                SELECT array_agg(attribute.attname::text)
                FROM pg_attribute AS attribute
                WHERE attribute.attrelid = rule.child
                    AND attribute.attname = ANY (rule.child_columns)
                    AND NOT attribute.attnotnull
                    AND attribute.attgenerated = ''
            ) AS nullable
        FROM llamalog.foreign_keys(ARRAY(SELECT DISTINCT touched.relation FROM unnest(touched_rows) AS touched)) AS rule
        -- who comes first matters where the parent comes, goes or gets another key
        WHERE rule.parent = ANY (v_moves.coming || v_moves.going)
            OR EXISTS (
                SELECT
                FROM unnest(rule.parent_columns) AS key (name)
                WHERE concat_ws(' ', rule.parent, key.name) = ANY (v_moves.changed)
            )
    LOOP
        RETURN QUERY
        WITH
        parent AS MATERIALIZED (
            SELECT
                touched.ordinality::integer AS place,
                llamalog.picked(touched.live, v_rule.parent_columns) AS has,
                llamalog.picked(touched.target, v_rule.parent_columns) AS gets,
                touched.target IS NULL AS goes
            FROM unnest(touched_rows) WITH ORDINALITY AS touched
            WHERE touched.relation = v_rule.parent
        ),
        child AS MATERIALIZED (
            SELECT
                touched.ordinality::integer AS place,
                llamalog.picked(touched.live, v_rule.child_columns) AS has,
                llamalog.picked(touched.target, v_rule.child_columns) AS gets
            FROM unnest(touched_rows) WITH ORDINALITY AS touched
            WHERE touched.relation = v_rule.child
        ),
        matched AS MATERIALIZED (
            SELECT found.*
            FROM llamalog.matching_keys(
                v_rule.child, v_rule.child_columns, ARRAY(SELECT child.has FROM child UNION SELECT child.gets FROM child),
                v_rule.parent, v_rule.parent_columns, ARRAY(SELECT parent.has FROM parent UNION SELECT parent.gets FROM parent),
                v_rule.condition
            ) AS found
        )
        SELECT parent.place, child.place, child.place, v_rule.nullable, v_rule.may_wait
        FROM parent
        JOIN matched
            ON matched.parent_key = parent.gets
        JOIN child
            ON child.gets = matched.child_key
        WHERE parent.has IS DISTINCT FROM parent.gets
            AND parent.place <> child.place
        UNION ALL
        SELECT
            child.place, parent.place, child.place, v_rule.nullable,
            v_rule.may_wait AND CASE WHEN parent.goes THEN v_rule.on_delete ELSE v_rule.on_update END = 'a'
        FROM parent
        JOIN matched
            ON matched.parent_key = parent.has
        JOIN child
            ON child.has = matched.child_key
        WHERE parent.place <> child.place
            AND (
                parent.goes
                -- no action takes them along, or away
                OR v_rule.on_update IN ('a', 'r')
                    AND parent.has <> parent.gets
                    AND child.gets IS DISTINCT FROM child.has
                    AND child.gets IS DISTINCT FROM parent.gets
            );
    END LOOP;
    -- whoever has a unique value that another is to have gives it up first
    FOR v_rule IN
        SELECT
            index.indrelid AS relation,
            NOT index.indimmediate AS may_wait,
            array_agg(attribute.attname::text ORDER BY part.position) AS columns,
            array_agg(attribute.attname::text) FILTER (WHERE NOT attribute.attnotnull AND attribute.attgenerated = '') AS nullable
        FROM pg_index AS index
        CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS part (number, position)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = index.indrelid
            AND attribute.attnum = part.number
        WHERE index.indrelid IN (SELECT touched.relation FROM unnest(touched_rows) AS touched)
            AND index.indisunique
            AND index.indexprs IS NULL
            AND part.position <= index.indnkeyatts
        GROUP BY index.indexrelid, index.indrelid, index.indimmediate
        HAVING bool_or(concat_ws(' ', index.indrelid, attribute.attname) = ANY (v_moves.changed))
            OR index.indrelid = ANY (v_moves.going) AND index.indrelid = ANY (v_moves.coming)
    LOOP
        RETURN QUERY
        WITH
        holder AS MATERIALIZED (
            SELECT
                touched.ordinality::integer AS place,
                llamalog.picked(touched.live, v_rule.columns) AS has,
                llamalog.picked(touched.target, v_rule.columns) AS gets
            FROM unnest(touched_rows) WITH ORDINALITY AS touched
            WHERE touched.relation = v_rule.relation
        )
        SELECT one.place, other.place, one.place, v_rule.nullable, v_rule.may_wait
        FROM holder AS one
        JOIN holder AS other
            ON other.gets = one.has
        WHERE one.place <> other.place
            AND one.gets IS DISTINCT FROM one.has
            AND other.gets IS DISTINCT FROM other.has;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_edges(llamalog.reverted_row[]) IS
    'Part of llamalog.revert_order(): pairs of places, the earlier and the later; written: which of them is not in the other''s way where columns of it are null, those of the key that may be, null where none may; waits: the key can be deferred.';
