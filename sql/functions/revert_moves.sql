-- What a revert does to tables as a whole: only keys of which something comes, goes or changes need to be looked at row by row.
CREATE OR REPLACE FUNCTION llamalog.revert_moves(
    touched_rows llamalog.reverted_row[],
    OUT coming   oid[],
    OUT going    oid[],
    OUT changed  text[]
)
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
    SELECT
        coalesce(array_agg(DISTINCT touched.relation) FILTER (WHERE touched.live IS NULL AND touched.target IS NOT NULL), '{}'),
        coalesce(array_agg(DISTINCT touched.relation) FILTER (WHERE touched.live IS NOT NULL AND touched.target IS NULL), '{}'),
        ARRAY(
            SELECT DISTINCT concat_ws(' ', written.relation, wanted.key)
            FROM unnest(touched_rows) AS written
            CROSS JOIN LATERAL jsonb_each(written.target) AS wanted
            WHERE written.live IS NOT NULL
                AND (written.live -> wanted.key) IS DISTINCT FROM wanted.value
        )
    FROM unnest(touched_rows) AS touched;
$function$;

COMMENT ON FUNCTION llamalog.revert_moves(llamalog.reverted_row[]) IS
    'Part of llamalog.revert_plan(): tables to which rows come back, those from which rows go, and which columns of rows that stay are written, each as its table''s oid and its name.';
