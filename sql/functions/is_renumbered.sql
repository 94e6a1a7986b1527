-- Whether a table counts its columns otherwise than when they were last looked at: it was restored from a dump.
--
-- A number is given once, and each new column gets a higher one. So a column whose number lies below those that were known,
-- and is none of them, shows that the gaps of dropped columns are gone: by its number no column is known again then.
CREATE OR REPLACE FUNCTION llamalog.is_renumbered(
    watch    llamalog.watches,
    relation oid
)
    RETURNS boolean
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT EXISTS (
        SELECT
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = is_renumbered.relation
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
            AND attribute.attnum < (
                SELECT max(known.value::integer)
                FROM jsonb_each_text(watch.column_numbers) AS known
            )
            AND attribute.attnum NOT IN (
                SELECT known.value::integer
                FROM jsonb_each_text(watch.column_numbers) AS known
            )
    );
$function$;

COMMENT ON FUNCTION llamalog.is_renumbered(llamalog.watches, oid) IS
    'True where column_numbers of the watch cannot be those of the table: its columns are known by name alone.';
