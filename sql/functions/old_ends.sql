-- The ends that a link had before a change of its ends.
CREATE OR REPLACE FUNCTION llamalog.old_ends(
    change llamalog.log,
    watch  llamalog.watches
)
    RETURNS TABLE (
        subject_id text,
        related_id text
    )
    LANGUAGE sql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- previous_id is that of the first end, where it changed
    SELECT
        CASE WHEN change.before ?| watch.subject_columns THEN change.previous_id ELSE change.entity_id END,
        CASE
            WHEN NOT change.before ?| watch.related_columns THEN change.related_id
            WHEN change.before ?| watch.subject_columns THEN llamalog.key_text(
                VARIADIC ARRAY(
                    SELECT change.before ->> part.name
                    FROM unnest(watch.related_columns) WITH ORDINALITY AS part (name, position)
                    ORDER BY part.position
                )
            )
            ELSE change.previous_id
        END;
$function$;

COMMENT ON FUNCTION llamalog.old_ends(llamalog.log, llamalog.watches) IS
    'Ids of both ends before an UPDATE of a link.';
