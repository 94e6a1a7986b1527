-- A row as it was at an instant, or as a change left it: replayed backward from the live row, or from the image of the
-- deleted one. Where columns came or got another name on the way, so do the values. A pause of capture is not crossed: on its
-- other side nothing is proved of this one, but that the row was created there.
CREATE OR REPLACE FUNCTION llamalog.replayed_row(
    watch       llamalog.watches,
    entity_id   text,
    at          timestamptz,
    seq         bigint,
    taken_seq   bigint,
    OUT id      text,
    OUT image   jsonb,
    OUT problem text
)
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_changes  refcursor;
    v_change   llamalog.log;
    v_row      jsonb;
    v_undone   jsonb := '{}';
    v_is_base  boolean := false;  -- whether v_row is where the replay begins: it does not need the live row
    v_existed  boolean := false;  -- whether the last change by then, or one undone since, knew a row
    v_hidden   text[] := watch.ignored_columns || watch.redacted_columns;
    v_columns  llamalog.column_changes[];  -- since the instant, newest first
    v_ahead    llamalog.column_changes[];  -- those of them that the replay has not come to
    v_passed   llamalog.column_changes[] := '{}';  -- those between v_row and where the replay is
    v_renaming llamalog.column_changes;
    v_pause    llamalog.pauses;  -- the first one that had not ended by then
    v_is_later boolean;  -- whether what comes first after its beginning is the creation, later; null: nothing does
BEGIN
    v_columns := ARRAY(
        SELECT changed
        FROM llamalog.column_changes AS changed
        WHERE changed.entity_type = watch.entity_type
            AND changed.noticed_at > replayed_row.at
        ORDER BY changed.id DESC
    );
    v_ahead := v_columns;
    SELECT pause.*
    INTO v_pause
    FROM llamalog.pauses AS pause
    WHERE pause.entity_type = watch.entity_type
        AND coalesce(pause.resumed_at, 'infinity') > replayed_row.at
    ORDER BY pause.paused_at
    LIMIT 1;
    id := replayed_row.entity_id;
    IF replayed_row.taken_seq IS NULL THEN
        OPEN v_changes FOR
            SELECT change.*
            FROM llamalog.row_changes(
                watch.entity_type, replayed_row.entity_id, CASE WHEN replayed_row.seq IS NULL THEN replayed_row.at END
            ) AS change;
    ELSE
        OPEN v_changes FOR
            SELECT change.*
            FROM llamalog.deleted_row_changes(
                watch.entity_type, replayed_row.entity_id, replayed_row.taken_seq, -9223372036854775808
            ) AS change;
    END IF;
    LOOP
        FETCH v_changes INTO v_change;
        EXIT WHEN NOT FOUND;
        IF v_change.created_at > v_pause.paused_at THEN
            v_is_later := v_change.op = 'I'
                AND coalesce(v_change.seq > replayed_row.seq, v_change.created_at > replayed_row.at);
            CONTINUE;
        END IF;
        IF coalesce(v_change.seq <= replayed_row.seq, v_change.created_at <= replayed_row.at) THEN
            v_existed := v_existed OR v_change.op IN ('I', 'U');
            EXIT;
        END IF;
        -- of unknown instant, it is passed as late as it can be: what a change holds is not thrown away
        WHILE v_ahead[1].after_at > v_change.created_at LOOP
            v_undone := llamalog.before_column_changes(v_undone, v_ahead[1:1]);
            v_passed := v_passed || v_ahead[1:1];
            v_ahead := v_ahead[2:];
        END LOOP;
        id := coalesce(v_change.previous_id, v_change.entity_id);
        IF v_change.op = 'U' THEN
            v_undone := v_undone || v_change.before;
            v_existed := true;
        ELSE
            v_is_base := true;
            v_row := v_change.before;  -- of an INSERT null
            v_undone := '{}';
            v_passed := '{}';
            v_existed := false;
        END IF;
    END LOOP;
    CLOSE v_changes;
    IF NOT v_is_base AND replayed_row.taken_seq IS NOT NULL THEN
        RETURN;  -- it went before the instant, or to another key
    END IF;
    IF NOT v_is_base AND watch.unwatched_at IS NOT NULL THEN
        problem := format(
            'Its table is no longer watched since %s; what the row has become since is not in the log.', watch.unwatched_at
        );
        RETURN;
    END IF;
    IF NOT v_is_base AND v_pause.id IS NOT NULL THEN
        IF v_existed AND replayed_row.at < v_pause.paused_at THEN
            image := llamalog.stored_row(watch, replayed_row.entity_id, replayed_row.at, replayed_row.seq);
        ELSIF NOT v_existed AND v_is_later
            -- removed before, and not there since
            OR v_change.op IN ('D', 'T') AND (
                replayed_row.at < v_pause.paused_at
                OR v_is_later IS NULL
                    AND llamalog.live_row(watch, llamalog.last_key(watch.entity_type, replayed_row.entity_id)) IS NULL
            )
        THEN
            RETURN;
        END IF;
        IF image IS NULL THEN
            problem := format('What was written then is not in the log: %s.', llamalog.pause_told(v_pause));
        END IF;
        RETURN;
    END IF;
    IF NOT v_is_base THEN
        v_row := llamalog.live_row(watch, llamalog.last_key(watch.entity_type, replayed_row.entity_id));
    END IF;
    IF v_row IS NULL
        AND v_existed
        -- it went while capture was paused, for nothing has been missed since
        AND (
            v_undone <> '{}'
            OR NOT EXISTS (
                SELECT
                FROM llamalog.pauses AS pause
                WHERE pause.entity_type = watch.entity_type
                    AND pause.resumed_at > v_change.created_at
                    AND pause.resumed_at <= replayed_row.at
            )
        )
    THEN
        problem := 'The row is gone, and the log has no row of its removal.';
        RETURN;
    END IF;
    IF cardinality(v_columns) > 0 THEN
        v_row := llamalog.before_column_changes(v_row, v_passed || v_ahead);
        v_undone := llamalog.before_column_changes(v_undone, v_ahead);
        FOREACH v_renaming IN ARRAY v_columns LOOP
            IF v_renaming.column_name = ANY (v_hidden) AND v_renaming.change = 'renamed' THEN
                v_hidden := v_hidden || v_renaming.old_name;
            END IF;
        END LOOP;
    END IF;
    image := (v_row || v_undone) - v_hidden;
END;
$function$;

COMMENT ON FUNCTION llamalog.replayed_row(llamalog.watches, text, timestamptz, bigint, bigint) IS
    'Part of llamalog.as_of(): the row, without ignored, redacted and generated columns (null when it did not exist), and the key it had; with seq, as that change, made at the instant, left it; with taken_seq, the row that was deleted before that change brought another to its key. problem: why it is not known.';
