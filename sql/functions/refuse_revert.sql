-- Fails where a step of a plan is refused, and names them all.
CREATE OR REPLACE FUNCTION llamalog.refuse_revert(steps llamalog.revert_step[])
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    c_lines  CONSTANT integer := 20;
    v_first  llamalog.revert_step;
    v_detail text;
    v_remedy text;
    v_rank   text[] := '{lost,conflict,reference,hidden,masked,column}';
BEGIN
    SELECT refused.*
    INTO v_first
    FROM unnest(steps) AS refused
    WHERE refused.is_refused
    ORDER BY array_position(v_rank, refused.action)
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT
        concat_ws(
            E'\n',
            string_agg(line.text, E'\n' ORDER BY line.position) FILTER (WHERE line.position <= c_lines),
            CASE WHEN count(*) > c_lines THEN format('and %s more', count(*) - c_lines) END
        )
    INTO v_detail
    FROM (
        SELECT
            concat(
                concat_ws(' ', refused.entity_type, left(refused.entity_id, 100), left(refused.related_id, 100), left(refused.field, 100)),
                ': ',
                concat_ws(
                    ', ',
                    refused.detail || CASE WHEN refused.seq IS NOT NULL THEN ' by change ' || refused.seq ELSE '' END,
                    'job ' || left(refused.job_id, 100), 'user ' || left(refused.user_id, 100)
                )
            ) AS text,
            row_number() OVER (ORDER BY array_position(v_rank, refused.action)) AS position
        FROM unnest(steps) AS refused
        WHERE refused.is_refused
    ) AS line;
    IF v_first.action IN ('conflict', 'lost') THEN
        RAISE EXCEPTION 'later writers are in the way of the revert'
            USING ERRCODE = 'LL020',
                  DETAIL  = v_detail,
                  HINT    = CASE v_first.action
                      WHEN 'lost' THEN 'Let what is there stand, and revert the rest: --theirs'
                      ELSE 'Let later writers keep what they set, and revert the rest: --theirs. Or let the revert win: --ours'
                  END;
    ELSIF v_first.action = 'reference' THEN
        SELECT string_agg(DISTINCT CASE
            -- what is to come back, or to change, lacks what it refers to; of what is referred to, it says how many refer
            WHEN starts_with(refused.detail, 'the row of ') THEN 'bring back what the rows refer to'
            ELSE 'revert what refers to the rows'
        END, ', and ')
        INTO v_remedy
        FROM unnest(steps) AS refused
        WHERE refused.is_refused
            AND refused.action = 'reference';
        RAISE EXCEPTION 'foreign keys are in the way of the revert'
            USING ERRCODE = 'LL021',
                  DETAIL  = v_detail,
                  HINT    = format('First %s, or let those rows stay as they are: --theirs', v_remedy);
    ELSIF v_first.action = 'hidden' THEN
        RAISE EXCEPTION 'row security may hide rows that the revert would change'
            USING ERRCODE = 'LL028',
                  DETAIL  = v_detail,
                  HINT    = 'Let somebody revert whom these tables hide no rows from, or let what may be referred to stay as it is: --theirs';
    END IF;
    RAISE EXCEPTION 'not all can be brought back'
        USING ERRCODE = 'LL022',
              DETAIL  = v_detail,
              HINT    = 'Bring back the rest: --partial';
END;
$function$;

COMMENT ON FUNCTION llamalog.refuse_revert(llamalog.revert_step[]) IS
    'Part of llamalog.revert(): raises LL020 for later writers, LL021 for foreign keys, LL028 where they may lead to hidden rows, LL022 for what the log does not have.';
