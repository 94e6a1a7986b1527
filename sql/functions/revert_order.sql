-- The order in which rows are written by a revert: what was done last is undone first, but for what keys demand.
CREATE OR REPLACE FUNCTION llamalog.revert_order(touched_rows llamalog.reverted_row[])
    RETURNS integer[]
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_moves  record := llamalog.revert_moves(touched_rows);
    v_rule   record;
    v_pair   record;
    v_firsts integer[] := '{}';
    v_lasts  integer[] := '{}';
    v_next   integer[];
    v_ends   integer[];
    v_marks  text[] := array_fill('new'::text, ARRAY[cardinality(touched_rows)]);
    v_stack  integer[];
    v_place  integer;
    v_top    integer;
    v_order  integer[] := '{}';
BEGIN
    FOR v_rule IN
        SELECT rule.*
        FROM llamalog.foreign_keys(ARRAY(SELECT DISTINCT touched.relation FROM unnest(touched_rows) AS touched)) AS rule
        -- who comes first matters where the parent comes, goes or gets another key
        WHERE rule.parent = ANY (v_moves.coming || v_moves.going)
            OR EXISTS (
                SELECT
                FROM unnest(rule.parent_columns) AS key (name)
                WHERE concat_ws(' ', rule.parent, key.name) = ANY (v_moves.changed)
            )
    LOOP
        FOR v_pair IN
            WITH
            parent AS MATERIALIZED (
                SELECT
                    touched.ordinality AS place,
                    llamalog.picked(touched.live, v_rule.parent_columns) AS has,
                    llamalog.picked(touched.target, v_rule.parent_columns) AS gets,
                    touched.target IS NULL AS goes
                FROM unnest(touched_rows) WITH ORDINALITY AS touched
                WHERE touched.relation = v_rule.parent
            ),
            child AS MATERIALIZED (
                SELECT
                    touched.ordinality AS place,
                    llamalog.picked(touched.live, v_rule.child_columns) AS has,
                    llamalog.picked(touched.target, v_rule.child_columns) AS gets
                FROM unnest(touched_rows) WITH ORDINALITY AS touched
                WHERE touched.relation = v_rule.child
            )
            SELECT parent.place AS earlier, child.place AS later
            FROM parent
            JOIN child
                ON child.gets = parent.gets
            WHERE parent.has IS DISTINCT FROM parent.gets
                AND parent.place <> child.place
            UNION
            SELECT child.place, parent.place
            FROM parent
            JOIN child
                ON child.has = parent.has
            WHERE parent.goes
                AND parent.place <> child.place
        LOOP
            v_firsts := v_firsts || v_pair.earlier::integer;
            v_lasts := v_lasts || v_pair.later::integer;
        END LOOP;
    END LOOP;
    -- whoever has a unique value that another is to have gives it up first
    FOR v_rule IN
        SELECT index.indrelid AS relation, array_agg(attribute.attname::text ORDER BY part.position) AS columns
        FROM pg_index AS index
        CROSS JOIN LATERAL unnest(index.indkey::int2[]) WITH ORDINALITY AS part (number, position)
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = index.indrelid
            AND attribute.attnum = part.number
        WHERE index.indrelid IN (SELECT touched.relation FROM unnest(touched_rows) AS touched)
            AND index.indisunique
            AND index.indexprs IS NULL
            AND part.position <= index.indnkeyatts
        GROUP BY index.indexrelid, index.indrelid
        HAVING bool_or(concat_ws(' ', index.indrelid, attribute.attname) = ANY (v_moves.changed))
            OR index.indrelid = ANY (v_moves.going) AND index.indrelid = ANY (v_moves.coming)
    LOOP
        FOR v_pair IN
            WITH
            holder AS MATERIALIZED (
                SELECT
                    touched.ordinality AS place,
                    llamalog.picked(touched.live, v_rule.columns) AS has,
                    llamalog.picked(touched.target, v_rule.columns) AS gets
                FROM unnest(touched_rows) WITH ORDINALITY AS touched
                WHERE touched.relation = v_rule.relation
            )
            SELECT one.place AS earlier, other.place AS later
            FROM holder AS one
            JOIN holder AS other
                ON other.gets = one.has
            WHERE one.place <> other.place
                AND one.gets IS DISTINCT FROM one.has
        LOOP
            v_firsts := v_firsts || v_pair.earlier::integer;
            v_lasts := v_lasts || v_pair.later::integer;
        END LOOP;
    END LOOP;
    -- what must come before each place: v_firsts from v_next to v_ends
    SELECT array_agg(edge.earlier ORDER BY edge.later, edge.earlier)
    INTO v_firsts
    FROM unnest(v_firsts, v_lasts) AS edge (earlier, later);
    SELECT array_agg(place.starts ORDER BY place.number), array_agg(place.starts + place.edge_count - 1 ORDER BY place.number)
    INTO v_next, v_ends
    FROM (
        SELECT
            number,
            count(edge.later) AS edge_count,
            1 + coalesce(sum(count(edge.later)) OVER (ORDER BY number ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS starts
        FROM generate_series(1, cardinality(touched_rows)) AS number
        LEFT JOIN unnest(v_lasts) AS edge (later)
            ON edge.later = number
        GROUP BY number
    ) AS place;
    FOR v_place IN
        SELECT touched.ordinality
        FROM unnest(touched_rows) WITH ORDINALITY AS touched
        ORDER BY CASE WHEN touched.target IS NULL THEN touched.first_seq ELSE touched.last_seq END DESC
    LOOP
        v_stack := ARRAY[v_place];
        WHILE v_stack <> '{}' LOOP
            v_top := v_stack[cardinality(v_stack)];
            IF v_marks[v_top] = 'done' OR v_next[v_top] > v_ends[v_top] THEN
                IF v_marks[v_top] <> 'done' THEN
                    v_order := v_order || v_top;
                    v_marks[v_top] := 'done';
                END IF;
                v_stack := trim_array(v_stack, 1);
            ELSE
                v_marks[v_top] := 'open';
                -- a circle of rows is opened where it was come upon
                IF v_marks[v_firsts[v_next[v_top]]] = 'new' THEN
                    v_stack := v_stack || v_firsts[v_next[v_top]];
                END IF;
                v_next[v_top] := v_next[v_top] + 1;
            END IF;
        END LOOP;
    END LOOP;
    RETURN v_order;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_order(llamalog.reverted_row[]) IS
    'Part of llamalog.revert_plan(): places in the array, parents before the children that come to them, children before the parents that go, and a unique value free before it is taken.';
