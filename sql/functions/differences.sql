-- What became of a row between two images of it, field by field.
CREATE OR REPLACE FUNCTION llamalog.differences(
    first_image jsonb,
    last_image  jsonb,
    renewed     text[]
)
    RETURNS TABLE (
        field  text,
        change text,
        before jsonb,
        after  jsonb
    )
    LANGUAGE sql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        coalesce(old.key, new.key),
        CASE
            WHEN first_image IS NULL THEN 'created'
            WHEN last_image IS NULL THEN 'deleted'
            WHEN old.key IS NULL THEN 'added'
            WHEN new.key IS NULL THEN 'dropped'
            ELSE 'changed'
        END,
        old.value,
        new.value
    FROM jsonb_each(first_image) AS old
    FULL JOIN jsonb_each(last_image) AS new
        ON new.key = old.key
        AND new.key <> ALL (renewed)
    -- as text: as jsonb, 1.0 and 1.00 are equal
    WHERE new.value::text IS DISTINCT FROM old.value::text
    ORDER BY 1, old.key IS NULL;
$function$;

COMMENT ON FUNCTION llamalog.differences(jsonb, jsonb, text[]) IS
    'Fields that differ; one of llamalog.renewed_columns() is dropped and added. created, deleted: there was no row at the first, at the last; added, dropped: no such column in it.';
