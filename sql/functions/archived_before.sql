-- The instant before which changes are archived.
-- SECURITY DEFINER: every question asks it, also of those whose right to read the log is older than archives.
CREATE OR REPLACE FUNCTION llamalog.archived_before(entity_type text DEFAULT NULL)
    RETURNS timestamptz
    LANGUAGE plpgsql
    STABLE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT (max(archived.month) + interval '1 month') AT TIME ZONE 'UTC'
        FROM llamalog.archived_months AS archived
        WHERE archived.archived_at IS NOT NULL
            AND archived.restored_at IS NULL
            AND (
                archived_before.entity_type IS NULL
                OR (archived.only_types IS NULL OR archived_before.entity_type = ANY (archived.only_types))
                    AND archived_before.entity_type <> ALL (archived.spared_types)
            )
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.archived_before(text) IS
    'End of the last archived month, of all types or of one; null when none is archived. Of what is older, the log keeps how living entities came.';
