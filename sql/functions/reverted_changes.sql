-- The captured changes that a revert is to take back, newest first: one, those of a job and its descendants, or those of an
-- entity since an instant.
CREATE OR REPLACE FUNCTION llamalog.reverted_changes(
    change      bigint,
    job_id      text,
    entity_type text,
    entity_id   text,
    to_at       timestamptz,
    planned     pg_snapshot
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
AS $function$
#variable_conflict use_column
DECLARE
    v_page    llamalog.page := ROW(coalesce(planned, pg_current_snapshot()), NULL, NULL, 9223372036854775807, NULL);
    v_type    text;
    v_id      text;
    v_found   llamalog.log;
    v_changes llamalog.log[];
    v_lacking record;
BEGIN
    IF num_nonnulls(reverted_changes.change, reverted_changes.job_id, to_at) <> 1
        OR num_nonnulls(reverted_changes.entity_type, reverted_changes.entity_id, to_at) NOT IN (0, 3)
    THEN
        RAISE EXCEPTION 'a revert is of one change, of one job, or of one entity to an instant'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Pass change, or job_id, or entity_type with entity_id and to_at.';
    END IF;
    IF reverted_changes.change IS NOT NULL THEN
        v_found := llamalog.logged_change(reverted_changes.change);
        IF v_found.op IS NULL THEN
            RAISE EXCEPTION 'change % was not captured', v_found.seq
                USING ERRCODE = 'LL019',
                      DETAIL  = format('The application itself wrote it into the log, as %s; it changed no row.', v_found.operation),
                      HINT    = 'Revert the changes that its job made: llamalog revert --job JOB';
        END IF;
        v_changes := ARRAY[v_found];
    ELSIF reverted_changes.job_id IS NOT NULL THEN
        v_changes := ARRAY(
            SELECT made
            FROM llamalog.job_changes(reverted_changes.job_id) AS made
            WHERE made.op IS NOT NULL
                AND llamalog.is_on_page(made.seq, made.txid, v_page)
        );
    ELSE
        v_type := llamalog.entity_type(reverted_changes.entity_type);
        v_id := llamalog.resolve(v_type, reverted_changes.entity_id);
        -- fails where the log does not know what it was then
        PERFORM llamalog.as_of(v_type, v_id, to_at);
        v_changes := ARRAY(
            SELECT made
            FROM llamalog.row_changes(v_type, v_id, to_at) AS made
            WHERE made.created_at > to_at
                AND llamalog.is_on_page(made.seq, made.txid, v_page)
        );
    END IF;
    SELECT made.seq, made.created_at, coalesce(made.link_type, made.entity_type) AS entity_type, watch.watched_at, watch.unwatched_at,
        llamalog.table_of(watch) AS relation, known.archived_before
    INTO v_lacking
    FROM unnest(v_changes) AS made
    LEFT JOIN llamalog.watches AS watch
        ON watch.entity_type = coalesce(made.link_type, made.entity_type)
    CROSS JOIN LATERAL (SELECT llamalog.archived_before(made.entity_type)) AS known (archived_before)
    WHERE watch.unwatched_at IS NOT NULL
        OR llamalog.table_of(watch) IS NULL
        OR made.created_at < watch.watched_at
        OR made.created_at < known.archived_before
    ORDER BY made.seq
    LIMIT 1;
    IF v_lacking.unwatched_at IS NOT NULL OR v_lacking.seq IS NOT NULL AND v_lacking.relation IS NULL THEN
        RAISE EXCEPTION 'the table of % is no longer watched', v_lacking.entity_type
            USING ERRCODE = 'LL002',
                  DETAIL  = format(
                      'Change %s is among those to revert; what has become of its row since %s is not in the log.',
                      v_lacking.seq, coalesce(v_lacking.unwatched_at::text, 'it was dropped')
                  ),
                  HINT    = 'llamalog.history() has the changes that were captured.';
    ELSIF v_lacking.seq IS NOT NULL THEN
        RAISE EXCEPTION 'what became of the % of change % is not known', v_lacking.entity_type, v_lacking.seq
            USING ERRCODE = 'LL016',
                  DETAIL  = CASE
                      WHEN v_lacking.created_at < v_lacking.watched_at
                          THEN format('It was made at %s; its table is watched again since %s.', v_lacking.created_at, v_lacking.watched_at)
                      ELSE format('It was made at %s; changes before %s are archived.', v_lacking.created_at, v_lacking.archived_before)
                  END,
                  HINT    = CASE
                      WHEN v_lacking.created_at < v_lacking.watched_at THEN 'Revert changes that are younger.'
                      ELSE 'Bring the months back: llamalog restore-archive FILE'
                  END;
    END IF;
    RETURN QUERY
    SELECT made.*
    FROM unnest(v_changes) AS made
    ORDER BY made.seq DESC;
END;
$function$;

COMMENT ON FUNCTION llamalog.reverted_changes(bigint, text, text, text, timestamptz, pg_snapshot) IS
    'Captured changes that llamalog.revert() is to take back, of a job or an entity only those that were visible when it was planned; raises LL017, LL018, LL019, LL016 and LL002.';
