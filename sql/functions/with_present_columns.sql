-- A change with its images under the names that the columns have now, so that they can be compared with the living row.
CREATE OR REPLACE FUNCTION llamalog.with_present_columns(
    change  llamalog.log,
    columns llamalog.column_changes[]
)
    RETURNS llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_change  llamalog.log := change;
    v_columns llamalog.column_changes[];
BEGIN
    IF columns = '{}' THEN
        RETURN v_change;  -- nearly always
    END IF;
    -- where it is not known which came first, the image is taken to be the older one: what was of a column that is gone is
    -- not to be written into another
    v_columns := ARRAY(
        SELECT changed
        FROM unnest(columns) AS changed
        WHERE changed.noticed_at > v_change.created_at
    );
    v_change.before := llamalog.after_column_changes(v_change.before, v_columns);
    v_change.after := llamalog.after_column_changes(v_change.after, v_columns);
    RETURN v_change;
END;
$function$;

COMMENT ON FUNCTION llamalog.with_present_columns(llamalog.log, llamalog.column_changes[]) IS
    'Part of llamalog.reverted_rows(): the change, its images passed through the changes of columns noticed after it.';
