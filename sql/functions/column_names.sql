-- The names that a column has had, the one of now first, each with the time in which it had it.
CREATE OR REPLACE FUNCTION llamalog.column_names(
    entity_type text,
    field       text,
    at          timestamptz
)
    RETURNS TABLE (
        name     text,
        since_at timestamptz,
        sure_at  timestamptz,
        until_at timestamptz
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_came llamalog.column_changes;
    v_id   bigint := 9223372036854775807;
BEGIN
    name := column_names.field;
    until_at := 'infinity';
    LOOP
        SELECT changed.*
        INTO v_came
        FROM llamalog.column_changes AS changed
        WHERE changed.entity_type = column_names.entity_type
            AND changed.column_name = column_names.name
            AND changed.change IN ('added', 'renamed')
            AND changed.id < v_id
            AND changed.noticed_at <= column_names.at
        ORDER BY changed.id DESC
        LIMIT 1;
        sure_at := coalesce(v_came.noticed_at, '-infinity');
        since_at := coalesce(v_came.after_at, '-infinity');
        -- a change that names it tells that it was there, unless another of its name was there before
        IF EXISTS (
            SELECT
            FROM llamalog.column_changes AS dropped
            WHERE dropped.entity_type = column_names.entity_type
                AND dropped.column_name = column_names.name
                AND dropped.change = 'dropped'
                AND dropped.noticed_at = v_came.noticed_at
        )
        THEN
            since_at := sure_at;
        END IF;
        RETURN NEXT;
        EXIT WHEN v_came.change IS DISTINCT FROM 'renamed';
        name := v_came.old_name;
        until_at := v_came.noticed_at;
        v_id := v_came.id;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.column_names(text, text, timestamptz) IS
    'Part of llamalog.blame(): from since_at to until_at a change of that name is one of the column, if it is captured at all; by sure_at it was there. Up to an instant.';
