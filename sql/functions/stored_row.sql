-- A row as it was at an instant, replayed forward from the image that its creation stored (image full); null where the log does
-- not have all of it.
CREATE OR REPLACE FUNCTION llamalog.stored_row(
    watch     llamalog.watches,
    entity_id text,
    at        timestamptz,
    seq       bigint
)
    RETURNS jsonb
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_change llamalog.log;
    v_image  jsonb := '{}';
BEGIN
    FOR v_change IN
        SELECT change.*
        FROM llamalog.row_changes(watch.entity_type, stored_row.entity_id) AS change
        WHERE coalesce(change.seq <= stored_row.seq, change.created_at <= stored_row.at)
    LOOP
        v_image := v_change.after || v_image;
        EXIT WHEN v_change.op IS DISTINCT FROM 'U';
    END LOOP;
    RETURN CASE
        -- from its creation on, without a gap, and with the columns that it had
        WHEN v_change.op = 'I'
            AND NOT EXISTS (
                SELECT
                FROM llamalog.pauses AS pause
                WHERE pause.entity_type = watch.entity_type
                    AND pause.paused_at < stored_row.at
                    AND coalesce(pause.resumed_at, 'infinity') > v_change.created_at
            )
            AND NOT EXISTS (
                SELECT
                FROM llamalog.column_changes AS changed
                WHERE changed.entity_type = watch.entity_type
                    AND changed.after_at < stored_row.at
                    AND changed.noticed_at > v_change.created_at
            )
            THEN v_image - (watch.ignored_columns || watch.redacted_columns)
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.stored_row(llamalog.watches, text, timestamptz, bigint) IS
    'Part of llamalog.as_of(): the row, without ignored, redacted and generated columns, as far as images before the instant, or up to the change with that seq, tell.';
