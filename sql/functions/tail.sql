-- What was committed since the cursor, in the order of the log; without cursor the newest changes, to begin with.
--
-- Seen and unseen are told apart by snapshots: rows of a slow transaction, whose seq is lower than what was shown before,
-- are neither skipped nor repeated. Where to look for them, marks tell: of a transaction that began when the log stood at a
-- seq, every row stands above it. So a poll reads what is new and little more, and costs writers nothing.
--
-- VOLATILE: each statement sees what was committed before it, and the first one measures where the log stands.
CREATE OR REPLACE FUNCTION llamalog.tail(
    cursor      text DEFAULT NULL,
    row_limit   integer DEFAULT 10,
    entity_type text DEFAULT NULL,
    entity_id   text DEFAULT NULL,
    categories  text[] DEFAULT NULL,
    status      text DEFAULT NULL,
    source      text DEFAULT NULL,
    user_id     text DEFAULT NULL,
    job_id      text DEFAULT NULL
)
    RETURNS TABLE (
        change      llamalog.log,
        next_cursor text,
        has_more    boolean
    )
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- how much is new is not known when it is planned: nearly always a few rows, which the index has in order
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_top        bigint := llamalog.top_seq();
    v_now        pg_snapshot := pg_current_snapshot();
    -- which the next transaction will have: a snapshot tells it only of those that have ended
    v_next_xid   bigint := pg_snapshot_xmax(v_now)::text::bigint + age(pg_snapshot_xmax(v_now)::xid);
    v_first_seq  bigint;
    v_type       text;
    v_id         text;
    v_categories text[];
    v_columns    text[];  -- by which parts name the entity
    v_state      jsonb;
    v_seen       pg_snapshot;
    v_from       bigint;
    v_changes    llamalog.log[];
    v_has_more   boolean := false;
BEGIN
    PERFORM llamalog.check_row_limit(tail.row_limit);
    IF current_setting('transaction_isolation') <> 'read committed'
        OR pg_current_xact_id_if_assigned() IS NOT NULL
        OR current_setting('llamalog.tail_is_read', true) <> ''
    THEN
        RAISE EXCEPTION 'this transaction cannot follow the log'
            USING ERRCODE = 'invalid_transaction_state',
                  DETAIL  = 'It keeps to one snapshot, has written itself, or has asked before: some changes it would miss, others show twice.',
                  HINT    = 'Ask once in a READ COMMITTED transaction that has written nothing, as each is with autocommit.';
    END IF;
    -- age() counts from the id that was next when the transaction first asked
    PERFORM set_config('llamalog.tail_is_read', 'true', true);
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'a standby cannot follow the log'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL  = 'It does not know which transactions are open on the primary.',
                  HINT    = 'Connect to the primary.';
    END IF;
    IF tail.entity_type IS NOT NULL THEN
        v_type := llamalog.entity_type(tail.entity_type);
    END IF;
    IF tail.entity_id IS NOT NULL THEN
        IF v_type IS NULL THEN
            RAISE EXCEPTION 'of which type "%" is, is not said', left(tail.entity_id, 100)
                USING ERRCODE = 'invalid_parameter_value',
                      HINT    = 'Pass its entity_type too.';
        END IF;
        v_id := llamalog.entity_id(v_type, tail.entity_id);
        v_columns := ARRAY(
            SELECT unnest(watch.related_columns)
            FROM llamalog.watches AS watch
            WHERE watch.related_type = v_type
                AND NOT watch.is_link
        );
    END IF;
    v_categories := llamalog.checked_categories(tail.categories);

    IF tail.cursor IS NULL THEN
        SELECT array_agg(newest.change ORDER BY newest.seq)
        INTO v_changes
        FROM (
            SELECT (latest.change).seq, shown::llamalog.log AS change
            FROM (
                SELECT log AS change
                FROM llamalog.log AS log
                ORDER BY log.seq DESC
                LIMIT 1000000
            ) AS latest
            CROSS JOIN LATERAL llamalog.presented(latest.change) AS shown
            WHERE (
                    pg_visible_in_snapshot((latest.change).txid, v_now)
                    OR llamalog.is_on_page(
                        (latest.change).seq, (latest.change).txid, ROW(v_now, NULL, NULL, v_top, NULL)::llamalog.page
                    )
                )
                -- most are passed over before they are presented, which takes longer
                AND (
                    llamalog.is_wanted(
                        latest.change, v_type, v_id, v_categories, tail.status, tail.source, tail.user_id, tail.job_id, v_columns
                    )
                    OR (latest.change).metadata @> '{"llamalog": {"moved": true}}'
                )
                AND llamalog.is_wanted(
                    shown, v_type, v_id, v_categories, tail.status, tail.source, tail.user_id, tail.job_id, v_columns
                )
            ORDER BY (latest.change).seq DESC
            LIMIT tail.row_limit
        ) AS newest;
        -- when those began that are open now, nobody tells; so far back may their rows be
        v_state := jsonb_build_object('top', v_top, 'marks', jsonb_build_object('0', v_top - 1000000));
    ELSE
        v_state := llamalog.tail_state(tail.cursor);
        v_seen := (v_state ->> 'seen')::pg_snapshot;
        -- the rest of what was new to the page before
        v_now := coalesce((v_state ->> 'next')::pg_snapshot, v_now);
        IF v_now::text = v_seen::text THEN
            next_cursor := tail.cursor;  -- nothing has ended since
            has_more := false;
            RETURN NEXT;
            RETURN;
        END IF;
        IF v_top < (v_state -> 'top')::bigint THEN
            v_state := v_state || '{"top": 0, "marks": {"0": 0}}';  -- another table became the log
        END IF;
        SELECT greatest(max(mark.value::bigint), (v_state -> 'after')::bigint)
        INTO v_from
        FROM jsonb_each_text(v_state -> 'marks') AS mark
        WHERE mark.key::xid8 <= (
                SELECT min(ended.xid)
                FROM (
                    SELECT pg_snapshot_xip(v_seen)
                    UNION ALL
                    SELECT pg_snapshot_xmax(v_seen)
                ) AS ended (xid)
                WHERE ended.xid = pg_snapshot_xmax(v_seen)
                    OR pg_visible_in_snapshot(ended.xid, v_now)
            );
        -- rows that came by dump and restore carry transaction ids of another cluster: they are old
        SELECT coalesce(max(cluster.first_seq), 0)
        INTO v_first_seq
        FROM llamalog.clusters AS cluster;
        SELECT array_agg(unseen.change ORDER BY unseen.seq)
        INTO v_changes
        FROM (
            SELECT log.seq, shown::llamalog.log AS change
            FROM llamalog.log AS log
            CROSS JOIN LATERAL llamalog.presented(log) AS shown
            WHERE log.seq > v_from
                AND log.seq >= v_first_seq
                AND NOT pg_visible_in_snapshot(log.txid, v_seen)
                AND pg_visible_in_snapshot(log.txid, v_now)
                AND llamalog.is_wanted(
                    shown, v_type, v_id, v_categories, tail.status, tail.source, tail.user_id, tail.job_id, v_columns
                )
            ORDER BY log.seq
            LIMIT tail.row_limit::bigint + 1
        ) AS unseen;
        v_has_more := coalesce(cardinality(v_changes) > tail.row_limit, false);
        v_changes := v_changes[:tail.row_limit];
    END IF;

    -- What takes its id from now on writes above what was measured before. Above what was measured now, too, but for an
    -- application's own INSERT: its row has a seq an instant before its transaction has an id.
    v_state := v_state
        || jsonb_build_object('marks', v_state -> 'marks' || jsonb_build_object(v_next_xid::text, v_state -> 'top'), 'top', v_top);
    IF v_has_more THEN
        v_state := v_state || jsonb_build_object('next', v_now, 'after', v_changes[tail.row_limit].seq);
    ELSE
        v_state := v_state - ARRAY['next', 'after'] || jsonb_build_object(
            'cluster', (SELECT control.system_identifier FROM pg_control_system() AS control),
            'seen', v_now,
            -- those that are asked for yet: the last one before each transaction that may still write
            'marks', (
                SELECT jsonb_object_agg(mark.key, mark.value)
                FROM (
                    SELECT mark.key::xid8 AS xid, lead(mark.key::xid8) OVER (ORDER BY mark.key::xid8) AS next_xid, mark.*
                    FROM jsonb_each(v_state -> 'marks') AS mark
                ) AS mark
                WHERE mark.next_xid IS NULL
                    OR mark.next_xid > pg_snapshot_xmax(v_now)
                    OR EXISTS (
                        SELECT
                        FROM pg_snapshot_xip(v_now) AS running (xid)
                        WHERE running.xid >= mark.xid
                            AND running.xid < mark.next_xid
                    )
            )
        );
    END IF;
    next_cursor := translate(encode(convert_to(v_state::text, 'UTF8'), 'base64'), E'\n', '');
    has_more := v_has_more;
    IF v_changes IS NULL THEN
        RETURN NEXT;
    END IF;
    FOREACH change IN ARRAY coalesce(v_changes, '{}') LOOP
        RETURN NEXT;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.tail(text, integer, text, text, text[], text, text, text, text) IS
    'What was committed since the cursor, filtered; without cursor the newest changes, among the last million. Pass next_cursor for what follows, at once where has_more is true. One row at least: its change is null where there is none.';
