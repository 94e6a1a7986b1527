-- What became of a row from one of its changes to another, field by field: the row as each of them left it.
-- No overload of llamalog.diff(): with two, PostgreSQL could no longer tell which one quoted instants are for.
CREATE OR REPLACE FUNCTION llamalog.diff_changes(
    entity_type text,
    entity_id   text,
    from_change bigint,
    to_change   bigint
)
    RETURNS TABLE (
        field  text,
        change text,
        before jsonb,
        after  jsonb
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type   text := llamalog.entity_type(diff_changes.entity_type);
    v_id     text := llamalog.entity_id(v_type, diff_changes.entity_id);
    v_watch  llamalog.watches;
    v_seq    bigint;
    v_made   llamalog.log;
    v_other  llamalog.log;
    v_images jsonb[] := '{}';
    v_instants timestamptz[] := '{}';
BEGIN
    FOREACH v_seq IN ARRAY ARRAY[diff_changes.from_change, diff_changes.to_change] LOOP
        PERFORM llamalog.logged_change(v_seq);
    END LOOP;
    IF diff_changes.from_change > diff_changes.to_change THEN
        RAISE EXCEPTION 'the start, change %, is after the end, change %', diff_changes.from_change, diff_changes.to_change
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Swap them.';
    END IF;
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    FOREACH v_seq IN ARRAY ARRAY[diff_changes.from_change, diff_changes.to_change] LOOP
        SELECT made.*
        INTO v_made
        FROM llamalog.row_changes(v_type, v_id) AS made
        WHERE made.seq = v_seq;
        IF v_made.seq IS NULL THEN
            v_other := llamalog.logged_change(v_seq);
            RAISE EXCEPTION 'change % is none of the row of % "%"', v_seq, v_type, left(v_id, 100)
                USING ERRCODE = 'invalid_parameter_value',
                      DETAIL  = CASE
                          WHEN v_other.op IS NULL THEN 'The application wrote it itself; it changed no row.'
                          WHEN v_other.link_type IS NOT NULL THEN format('It is one of a link, %s.', v_other.link_type)
                          ELSE format('It is one of %s "%s".', v_other.entity_type, left(v_other.entity_id, 100))
                      END,
                      HINT    = format('The seqs of its changes: llamalog history %s ID', v_type);
        END IF;
        v_instants := v_instants || v_made.created_at;
        v_images := v_images || ARRAY[llamalog.known_row(v_watch, v_id, v_made.created_at, v_seq)];
    END LOOP;
    RETURN QUERY
    SELECT difference.*
    FROM llamalog.differences(
        v_images[1], v_images[2], llamalog.renewed_columns(v_type, v_instants[1], v_instants[2])
    ) AS difference;
END;
$function$;

COMMENT ON FUNCTION llamalog.diff_changes(text, text, bigint, bigint) IS
    'Fields in which a row differs between what one of its changes left and what another did; raises LL018 for a change that the log does not have, LL019 for half of a move between partitions, 22023 for one of another row.';
