-- How a type is watched whose rows are to be reconciled with the log; an error where there is nothing to compare.
CREATE OR REPLACE FUNCTION llamalog.reconciled_watch(entity_type text)
    RETURNS llamalog.watches
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch   llamalog.watches;
    v_missing text;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE lower(watch.entity_type) = lower(reconciled_watch.entity_type)
    ORDER BY watch.entity_type = reconciled_watch.entity_type DESC
    LIMIT 1;
    IF NOT FOUND THEN
        PERFORM llamalog.entity_type(reconciled_watch.entity_type);
    END IF;
    IF v_watch.unwatched_at IS NOT NULL OR llamalog.table_of(v_watch) IS NULL THEN
        RAISE EXCEPTION '% is not watched', v_watch.entity_type
            USING ERRCODE = 'LL002',
                  DETAIL  = CASE
                      WHEN v_watch.unwatched_at IS NULL THEN format('Table "%s"."%s" is gone.', v_watch.schema_name, v_watch.table_name)
                      ELSE format('It no longer is since %s.', v_watch.unwatched_at)
                  END,
                  HINT    = format('Run: llamalog watch %I.%I', v_watch.schema_name, v_watch.table_name);
    END IF;
    v_missing := (
        SELECT string_agg(part.name, ', ')
        FROM unnest(v_watch.key_columns) AS part (name)
        WHERE part.name NOT IN (SELECT shown.name FROM llamalog.table_columns(llamalog.table_of(v_watch)) AS shown)
    );
    IF v_missing IS NOT NULL THEN
        RAISE EXCEPTION 'the key of % is no longer there', v_watch.entity_type
            USING ERRCODE = 'undefined_column',
                  DETAIL  = format('Table "%s"."%s" has no column %s.', v_watch.schema_name, v_watch.table_name, v_missing),
                  HINT    = 'Run: llamalog migrate';
    END IF;
    RETURN v_watch;
END;
$function$;

COMMENT ON FUNCTION llamalog.reconciled_watch(text) IS
    'Part of llamalog.reconcile(): the row of llamalog.watches; raises LL003 for an unknown type, LL002 for one that is no longer watched, 42703 when its key is gone.';
