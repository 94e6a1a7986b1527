-- The captured changes of one row of a link table, newest first, through changes of its ends.
--
-- The log names a link by its ends. Where several rows join the same two, as under several roles, an UPDATE that changed
-- no role does not say which of them it was: that is refused, not guessed. One that changed it is followed from role to role.
CREATE OR REPLACE FUNCTION llamalog.link_changes(
    change    llamalog.log,
    since_seq bigint
)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
    -- as in llamalog.history()
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_watch   llamalog.watches;
    v_open    text[];
    v_subject text := change.entity_id;
    v_related text := change.related_id;
    v_above   bigint := change.seq;
    v_below   bigint := 9223372036854775807;
    v_own     jsonb;
    v_image   jsonb;
    v_found   llamalog.log;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = change.link_type;
    -- what the ends leave open of the key
    v_open := ARRAY(
        SELECT part.name
        FROM unnest(v_watch.key_columns) AS part (name)
        WHERE part.name <> ALL (v_watch.subject_columns || v_watch.related_columns)
    );
    v_own := llamalog.picked(coalesce(change.after, change.before), v_open);
    -- to the ends, and the role, that it has now
    LOOP
        SELECT later.*
        INTO v_found
        FROM (
            SELECT log.*
            FROM llamalog.log AS log
            CROSS JOIN LATERAL llamalog.old_ends(log, v_watch) AS was
            WHERE log.previous_id IN (v_subject, v_related)
                AND log.link_type = change.link_type
                AND log.seq > v_above
                AND was.subject_id = v_subject
                AND was.related_id = v_related
                AND (llamalog.picked(log.before, v_open) <> v_own) IS NOT TRUE
            UNION ALL
            SELECT log.*
            FROM llamalog.log AS log
            WHERE v_open <> '{}'
                AND log.entity_id = v_subject
                AND log.related_id = v_related
                AND log.link_type = change.link_type
                AND log.seq > v_above
                AND log.op = 'U'
                AND log.previous_id IS NULL
                AND llamalog.picked(log.before, v_open) = v_own
        ) AS later
        ORDER BY later.seq
        LIMIT 1;
        EXIT WHEN NOT FOUND;
        v_above := v_found.seq;
        v_subject := v_found.entity_id;
        v_related := v_found.related_id;
        IF v_own IS NOT NULL THEN
            v_own := coalesce(llamalog.picked(v_found.after, v_open), v_own);
        END IF;
    END LOOP;
    -- and back through those that it had
    WHILE v_below IS NOT NULL LOOP
        v_above := v_below;
        v_below := NULL;
        FOR v_found IN
            SELECT shown.*
            FROM llamalog.log AS log
            CROSS JOIN LATERAL llamalog.presented(log) AS shown
            WHERE log.entity_id = v_subject
                AND log.related_id = v_related
                AND log.link_type = change.link_type
                AND log.entity_type = change.entity_type
                AND log.op IS NOT NULL
                AND log.seq >= link_changes.since_seq
                AND log.seq < v_above
            ORDER BY log.seq DESC
        LOOP
            v_image := llamalog.picked(coalesce(v_found.after, v_found.before), v_open);
            IF v_open <> '{}' AND v_image IS DISTINCT FROM v_own THEN
                IF v_image IS NOT NULL AND v_own IS NOT NULL THEN
                    CONTINUE;  -- another row between the same ends
                END IF;
                IF EXISTS (
                    SELECT
                    FROM llamalog.log AS log
                    WHERE log.entity_id = v_subject
                        AND log.related_id = v_related
                        AND log.link_type = change.link_type
                        AND llamalog.picked(coalesce(log.after, log.before), v_open) <> coalesce(v_image, v_own)
                ) THEN
                    RAISE EXCEPTION 'the row of change % cannot be told from others',
                        CASE WHEN v_image IS NULL THEN v_found.seq ELSE change.seq END
                        USING ERRCODE = 'LL019',
                              DETAIL  = format(
                                  'Several rows of %s join %s "%s" and %s "%s", and the change does not say its %s.',
                                  change.link_type, change.entity_type, left(v_subject, 100), change.related_type,
                                  left(v_related, 100), array_to_string(v_open, ', ')
                              ),
                              HINT    = 'Write the row as it should be; llamalog.history() shows what it was.';
                END IF;
            END IF;
            RETURN NEXT v_found;
            IF v_found.op = 'U' AND v_own IS NOT NULL THEN
                v_own := coalesce(llamalog.picked(v_found.before, v_open), v_own);
            END IF;
            IF v_found.op = 'U' AND v_found.previous_id IS NOT NULL THEN
                SELECT v_found.seq, was.subject_id, was.related_id
                INTO v_below, v_subject, v_related
                FROM llamalog.old_ends(v_found, v_watch) AS was;
                EXIT;
            END IF;
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.link_changes(llamalog.log, bigint) IS
    'Captured changes, from since_seq on, of the link of a change, newest first; raises LL019 where they cannot be told from those of another.';
