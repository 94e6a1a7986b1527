-- What of the changes of a row stands: neither what a later revert took back nor the revert that did, as far as it left a field, or
-- the row, as what it took back had found it.
--
-- Whoever reverts a revert takes that back, and what it had taken back stands again.
CREATE OR REPLACE FUNCTION llamalog.revert_standing(
    made   llamalog.log[],
    undone boolean[],
    states jsonb[],
    founds jsonb[],
    INOUT written jsonb[],
    INOUT unseen  jsonb[]
)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET jit = off
AS $function$
DECLARE
    v_written jsonb[] := written;
    v_since   jsonb := '{}';  -- the change from which on a field, up to a revert, was written for nothing
    v_reverts jsonb;
    v_taken   integer[];
    v_back    jsonb;
BEGIN
    FOR v_place IN 1 .. cardinality(v_written) LOOP
        v_back := (
            SELECT jsonb_object_agg(back.key, back.value)
            FROM jsonb_each(v_since) AS back
            WHERE back.value::bigint <= made[v_place].seq
        );
        v_since := coalesce(v_back, '{}');
        unseen[v_place] := nullif(unseen[v_place] - ARRAY(SELECT jsonb_object_keys(v_since)), '{}');
        CONTINUE WHEN undone[v_place];
        written[v_place] := written[v_place] - ARRAY(SELECT jsonb_object_keys(v_since));
        CONTINUE WHEN made[v_place].source IS DISTINCT FROM 'revert' OR written[v_place] = '{}';
        v_reverts := made[v_place].metadata -> 'reverts';
        v_taken := ARRAY(
            SELECT place
            FROM generate_series(v_place + 1, cardinality(v_written)) AS place
            WHERE CASE
                WHEN v_reverts ? 'change' THEN made[place].seq::text = v_reverts ->> 'change'
                -- times in UTC are in order as texts, too
                WHEN v_reverts ? 'to' THEN to_jsonb(made[place].created_at) #>> '{}' > v_reverts ->> 'to' COLLATE "C"
                ELSE v_reverts ->> 'job' IN (
                    SELECT above.job_id
                    FROM llamalog.job_ancestry(ARRAY[coalesce(made[place].job_id, made[place].parent_job_id)]) AS above
                )
            END
        );
        v_back := (
            SELECT jsonb_object_agg(first.name, made[first.place].seq)
            FROM (
                SELECT DISTINCT ON (field.name) field.name, taken.place
                FROM unnest(v_taken) AS taken (place)
                CROSS JOIN LATERAL jsonb_object_keys(v_written[taken.place]) AS field (name)
                WHERE NOT v_since ? field.name
                    -- what was as it should be, it did not write
                    AND (
                        written[v_place] ? field.name
                        OR (
                            SELECT min(place)
                            FROM generate_series(v_place + 1, cardinality(v_written)) AS place
                            WHERE v_written[place] ? field.name
                        ) = ANY (v_taken)
                    )
                ORDER BY field.name, taken.place DESC
            ) AS first
            WHERE CASE first.name
                WHEN '' THEN (states[v_place] IS NULL) = (founds[first.place] IS NULL)
                -- as text: as jsonb, 1.0 and 1.00 are equal
                ELSE (states[v_place] -> first.name)::text IS NOT DISTINCT FROM (founds[first.place] -> first.name)::text
            END
        );
        CONTINUE WHEN v_back IS NULL;
        v_since := v_since || v_back;
        written[v_place] := written[v_place] - ARRAY(SELECT jsonb_object_keys(v_back));
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_standing(llamalog.log[], boolean[], jsonb[], jsonb[], jsonb[], jsonb[]) IS
    'Part of llamalog.reverted_rows(): changes of a row, newest first; undone: they are to be reverted; states, founds: as each left and found it; written: what each set, and of which the row as such has no name; unseen: what was otherwise when the next one came. Gives the last two without what is taken back.';
