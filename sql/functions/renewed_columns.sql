-- The names of columns that belonged to another column, or to none, at an earlier instant: it was dropped or renamed since, and
-- another was added under its name, or got it.
CREATE OR REPLACE FUNCTION llamalog.renewed_columns(
    entity_type text,
    from_at     timestamptz,
    to_at       timestamptz
)
    RETURNS text[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT coalesce(array_agg(DISTINCT changed.column_name), '{}')
    FROM llamalog.column_changes AS changed
    WHERE changed.entity_type = renewed_columns.entity_type
        AND changed.change IN ('added', 'renamed')
        AND changed.noticed_at > renewed_columns.from_at
        AND changed.noticed_at <= renewed_columns.to_at
        -- or it got back the name that it had then
        AND NOT EXISTS (
            SELECT
            FROM llamalog.column_names(changed.entity_type, changed.column_name, renewed_columns.to_at) AS known
            WHERE known.name = changed.column_name
                AND known.sure_at <= renewed_columns.from_at
        );
$function$;

COMMENT ON FUNCTION llamalog.renewed_columns(text, timestamptz, timestamptz) IS
    'Part of llamalog.diff(): names that other columns have at the second instant than at the first.';
