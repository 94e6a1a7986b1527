-- A row as it was at an instant: replayed backward from the live row, or from the image of the deleted one.
CREATE OR REPLACE FUNCTION llamalog.as_of(
    entity_type text,
    entity_id   text,
    at          timestamptz
)
    RETURNS jsonb
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
    v_type    text := llamalog.entity_type(as_of.entity_type);
    v_id      text := llamalog.entity_id(v_type, as_of.entity_id);
    v_watch   llamalog.watches;
    v_since   timestamptz;
    v_change  llamalog.log;
    v_row     jsonb;
    v_undone  jsonb := '{}';
    v_is_base boolean := false;  -- whether v_row is where the replay begins: it does not need the live row
    v_existed boolean := false;  -- whether the last change by then left a row
BEGIN
    IF as_of.at IS NULL OR as_of.at > clock_timestamp() THEN
        RAISE EXCEPTION 'the instant % is %', as_of.at, CASE WHEN as_of.at IS NULL THEN 'missing' ELSE 'in the future' END
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give an instant that has passed; text without a zone is read in that of the session.';
    END IF;
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = v_type;
    v_since := greatest(v_watch.watched_at, llamalog.detail_since(v_type, v_id));
    IF as_of.at < v_since THEN
        RAISE EXCEPTION 'what % "%" was at % is not known', v_type, left(v_id, 100), as_of.at
            USING ERRCODE = 'LL016',
                  DETAIL  = CASE
                      WHEN v_since = v_watch.watched_at THEN format('Its table is watched since %s.', v_since)
                      ELSE format('Changes before %s are archived.', v_since)
                  END,
                  HINT    = format('Ask for an instant since %s%s.', v_since, CASE
                      WHEN v_since <> v_watch.watched_at THEN ', or bring months back: llamalog restore-archive FILE'
                  END);
    END IF;
    FOR v_change IN
        SELECT change.*
        FROM llamalog.row_changes(v_type, v_id, as_of.at) AS change
    LOOP
        IF v_change.created_at <= as_of.at THEN
            v_existed := v_change.op IN ('I', 'U');
        ELSIF v_change.op = 'U' THEN
            v_undone := v_undone || v_change.before;
        ELSE
            v_is_base := true;
            v_row := v_change.before;  -- of an INSERT null
            v_undone := '{}';
        END IF;
    END LOOP;
    IF NOT v_is_base AND v_watch.unwatched_at IS NOT NULL THEN
        RAISE EXCEPTION 'what % "%" was at % is not known', v_type, left(v_id, 100), as_of.at
            USING ERRCODE = 'LL016',
                  DETAIL  = format('Its table is no longer watched since %s; what the row has become since is not in the log.', v_watch.unwatched_at),
                  HINT    = 'llamalog.history() has the changes that were captured.';
    END IF;
    IF NOT v_is_base THEN
        v_row := llamalog.live_row(v_watch, llamalog.last_key(v_type, v_id));
    END IF;
    IF v_row IS NULL AND (v_existed OR v_undone <> '{}') THEN
        RAISE EXCEPTION 'what % "%" was at % is not known', v_type, left(v_id, 100), as_of.at
            USING ERRCODE = 'LL016',
                  DETAIL  = 'The row is gone, and the log has no row of its removal.',
                  HINT    = 'llamalog.breaks() shows where changes are missing; llamalog.history() has those that were captured.';
    END IF;
    RETURN (v_row || v_undone) - (v_watch.ignored_columns || v_watch.redacted_columns);
END;
$function$;

COMMENT ON FUNCTION llamalog.as_of(text, text, timestamptz) IS
    'Image of the row at an instant, without ignored, redacted and generated columns; null when it did not exist. Raises LL016 where the log cannot know.';
