-- The order in which rows are written by a revert: what was done last is undone first, but for what keys demand.
--
-- Where rows demand of each other to come first, as an album its cover and the cover its album, or two that exchange a unique
-- value, one of them is written in two halves: what is in the way is null in between. A circle of columns that may not be null
-- is left to the server.
CREATE OR REPLACE FUNCTION llamalog.revert_order(
    INOUT touched_rows llamalog.reverted_row[],
    OUT   places       integer[]
)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    -- what llamalog.revert_edges() gives, by the later place
    v_firsts   integer[];
    v_lasts    integer[];
    v_written  integer[];
    v_columns  jsonb[];
    v_waits    boolean[];
    -- those that lead to a place: from v_next to v_ends
    v_next     integer[];
    v_ends     integer[];
    v_marks    text[];
    v_stack    integer[];
    v_place    integer;
    v_top      integer;
    v_member   integer;
    v_first    integer;
    v_edge     integer;
    v_cut      integer;
    v_cuts     integer[];  -- edges that open a circle, by the place of the row that they are opened at
    v_formers  integer[] := '{}';
    v_latters  integer[] := '{}';
    v_row      llamalog.reverted_row;
    v_half     llamalog.reverted_row;
BEGIN
    LOOP
        SELECT
            coalesce(array_agg(edge.earlier ORDER BY edge.position), '{}'),
            coalesce(array_agg(edge.later ORDER BY edge.position), '{}'),
            array_agg(edge.written ORDER BY edge.position),
            array_agg(to_jsonb(edge.columns) ORDER BY edge.position),
            array_agg(edge.waits ORDER BY edge.position)
        INTO v_firsts, v_lasts, v_written, v_columns, v_waits
        FROM (
            SELECT known.*, row_number() OVER (ORDER BY known.later, known.earlier) AS position
            FROM (
                SELECT demanded.*
                FROM llamalog.revert_edges(touched_rows) AS demanded
                UNION ALL
                SELECT half.former, half.latter, NULL, NULL, false
                FROM unnest(v_formers, v_latters) AS half (former, latter)
            ) AS known
        ) AS edge;
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
        v_marks := array_fill('new'::text, ARRAY[cardinality(touched_rows)]);
        v_cuts := array_fill(NULL::integer, ARRAY[cardinality(touched_rows)]);
        places := '{}';
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
                        places := places || v_top;
                        v_marks[v_top] := 'done';
                    END IF;
                    v_stack := trim_array(v_stack, 1);
                ELSE
                    v_marks[v_top] := 'open';
                    v_first := v_firsts[v_next[v_top]];
                    IF v_marks[v_first] = 'new' THEN
                        v_stack := v_stack || v_first;
                    ELSIF v_marks[v_first] = 'open' AND NOT v_waits[v_next[v_top]] THEN
                        -- a circle: from here down the stack to where it was come upon
                        v_cut := NULL;
                        FOR v_level IN REVERSE cardinality(v_stack) .. 1 LOOP
                            v_member := v_stack[v_level];
                            v_edge := v_next[v_member] - CASE WHEN v_member = v_top THEN 0 ELSE 1 END;
                            IF v_cuts[v_written[v_edge]] IS NOT NULL THEN
                                -- opened already, or in the next round
                                v_cut := NULL;
                                EXIT;
                            END IF;
                            v_cut := coalesce(v_cut, CASE WHEN v_columns[v_edge] IS NOT NULL THEN v_edge END);
                            EXIT WHEN v_member = v_first;
                        END LOOP;
                        IF v_cut IS NOT NULL THEN
                            v_cuts[v_written[v_cut]] := v_cut;
                        END IF;
                    END IF;
                    v_next[v_top] := v_next[v_top] + 1;
                END IF;
            END LOOP;
        END LOOP;
        EXIT WHEN num_nonnulls(VARIADIC v_cuts) = 0;
        FOR v_place IN 1 .. cardinality(v_cuts) LOOP
            v_cut := v_cuts[v_place];
            CONTINUE WHEN v_cut IS NULL;
            v_row := touched_rows[v_place];
            v_half := v_row;
            v_row.target := (
                SELECT CASE WHEN v_lasts[v_cut] = v_place THEN v_half.target ELSE v_half.live END || jsonb_object_agg(cut.name, NULL)
                FROM jsonb_array_elements_text(v_columns[v_cut]) AS cut (name)
            );
            v_row.is_half := true;
            v_half.live := v_row.target;
            -- what cannot be brought back is told of once
            IF v_lasts[v_cut] = v_place THEN
                v_half.masked := '{}';
            ELSE
                v_row.masked := '{}';
            END IF;
            touched_rows[v_place] := v_row;
            touched_rows := touched_rows || v_half;
            v_formers := array_replace(v_formers, v_place, cardinality(touched_rows)) || v_place;
            v_latters := v_latters || cardinality(touched_rows);
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_order(llamalog.reverted_row[]) IS
    'Part of llamalog.revert_plan(): the places in the array in the order in which to write them; the array, rows of circles in two halves.';
