-- All entities of a type as they were at an instant, each under the key that it had then.
--
-- A row whose key no change has named since is as it is now; only the others are replayed, one by one. Whatever their
-- number, memory is that of a sort, which goes to disk.
CREATE OR REPLACE FUNCTION llamalog.as_of_all(
    entity_type text,
    at          timestamptz
)
    RETURNS TABLE (
        entity_id text,
        image     jsonb
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type     text := llamalog.entity_type(as_of_all.entity_type);
    v_watch    llamalog.watches;
    v_table    oid;
    v_hidden   text[];
    v_columns  llamalog.column_changes[];
    v_image    text;
    v_pause    llamalog.pauses;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    PERFORM llamalog.check_known(v_watch, 'every ' || v_type, as_of_all.at, llamalog.archived_before(v_type));
    v_table := llamalog.table_of(v_watch);
    IF v_watch.unwatched_at IS NOT NULL OR v_table IS NULL THEN
        RAISE EXCEPTION 'what every % was at % is not known', v_type, as_of_all.at
            USING ERRCODE = 'LL016',
                  DETAIL  = format('Its table is no longer watched since %s; what its rows have become since is not in the log.', coalesce(v_watch.unwatched_at::text, 'it was dropped')),
                  HINT    = format('llamalog as-of %s ID TIME answers for a row whose removal is in the log.', v_type);
    END IF;
    PERFORM llamalog.check_key(v_table, v_watch.key_columns);
    SELECT pause.*
    INTO v_pause
    FROM llamalog.pauses AS pause
    WHERE pause.entity_type = v_type
        AND coalesce(pause.resumed_at, 'infinity') > as_of_all.at
    ORDER BY pause.paused_at
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'what every % was at % is not known', v_type, as_of_all.at
            USING ERRCODE = 'LL016',
                  DETAIL  = format('What was written then is not in the log: %s.', llamalog.pause_told(v_pause)),
                  HINT    = format('llamalog as-of %s ID TIME answers for a row that was removed before it, or created after it.', v_type);
    END IF;
    v_hidden := v_watch.ignored_columns || v_watch.redacted_columns;
    v_columns := ARRAY(
        SELECT changed
        FROM llamalog.column_changes AS changed
        WHERE changed.entity_type = v_type
            AND changed.noticed_at > as_of_all.at
        ORDER BY changed.id DESC
    );
    v_image := llamalog.live_image(v_table, v_hidden);
    IF cardinality(v_columns) > 0 THEN
        v_image := format('llamalog.before_column_changes(%s, $4)', v_image);
    END IF;
    RETURN QUERY EXECUTE format(
        $query$
            WITH
            change AS MATERIALIZED (
                SELECT log.seq, log.entity_id, log.previous_id
                FROM llamalog.log AS log
                WHERE log.created_at > $2
                    AND log.entity_type = $1
                    AND log.link_type IS NULL
                    AND log.op IS NOT NULL
            ),
            touched AS MATERIALIZED (
                SELECT change.entity_id AS id
                FROM change
                WHERE change.entity_id IS NOT NULL
                UNION
                SELECT change.previous_id
                FROM change
                WHERE change.previous_id IS NOT NULL
            ),
            -- a key leads to the row that has it now, or had it last; whoever came to it by a change of key, to one deleted before
            met AS (
                SELECT touched.id, NULL::bigint AS taken_seq
                FROM touched
                UNION ALL
                SELECT change.entity_id, change.seq
                FROM change
                WHERE change.previous_id IS NOT NULL
                    AND change.entity_id IS NOT NULL
            ),
            -- a row that has had several keys since is met under each of them; at one instant no two rows had one key
            earlier AS (
                SELECT DISTINCT ON (replayed.id) replayed.id, replayed.image
                FROM met
                CROSS JOIN LATERAL llamalog.replayed_row($3, met.id, $2, NULL, met.taken_seq) AS replayed
                WHERE replayed.image IS NOT NULL
                    OR replayed.problem IS NOT NULL
                ORDER BY replayed.id, replayed.image IS NULL
            )
            SELECT earlier.id, earlier.image
            FROM earlier
            UNION ALL
            SELECT %1$s, %2$s
            FROM %3$s AS live
            WHERE NOT EXISTS (
                SELECT
                FROM touched
                WHERE touched.id = %1$s
            )
            ORDER BY 1
        $query$,
        llamalog.key_expression(v_table, v_watch.key_columns, 'live'),
        v_image,
        v_table::regclass
    )
    USING v_type, as_of_all.at, v_watch, v_columns;
END;
$function$;

COMMENT ON FUNCTION llamalog.as_of_all(text, timestamptz) IS
    'Key and image of every row that existed at an instant, as llamalog.as_of() gives it, by key; image null: the row is gone unseen, what it was is not known. Raises LL016 as as_of() does.';
