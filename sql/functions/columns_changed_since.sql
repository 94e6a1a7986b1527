-- The columns of a type that came, went or got another name after an instant, in that order; all of them without one.
CREATE OR REPLACE FUNCTION llamalog.columns_changed_since(
    entity_type text,
    at          timestamptz DEFAULT NULL
)
    RETURNS SETOF llamalog.column_changes
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
DECLARE
    v_type text := llamalog.entity_type(columns_changed_since.entity_type);
BEGIN
    RETURN QUERY
    SELECT changed.*
    FROM llamalog.column_changes AS changed
    WHERE changed.entity_type = v_type
        AND changed.noticed_at > coalesce(columns_changed_since.at, '-infinity')
    ORDER BY changed.id;
END;
$function$;

COMMENT ON FUNCTION llamalog.columns_changed_since(text, timestamptz) IS
    'What llamalog.column_changes has of a type since an instant: what as_of() takes back, and blame() does not cross.';
