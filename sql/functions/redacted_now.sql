-- The names under which the redacted columns of a watched table may be found now, where nobody followed its renames.
--
-- By name, and by number: two columns may have swapped names, or one may have taken that of another which was dropped. A
-- restored table numbers its columns anew but leaves them in their order, so there the names alone are right. In doubt, both.
CREATE OR REPLACE FUNCTION llamalog.redacted_now(
    watch    llamalog.watches,
    relation oid
)
    RETURNS text[]
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
    known AS (
        SELECT each.key AS name, each.value::smallint AS number
        FROM jsonb_each_text(watch.column_numbers) AS each
    ),
    present AS (
        SELECT attribute.attname::text AS name, attribute.attnum AS number
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = redacted_now.relation
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
    ),
    kept_order AS (
        SELECT
            array_agg(present.name ORDER BY present.number)
                = array_agg(present.name ORDER BY known.number) AS is_kept
        FROM known
        JOIN present
            ON present.name = known.name
    )
    SELECT ARRAY(
        SELECT present.name
        FROM present
        WHERE present.name = ANY (watch.redacted_columns)
        UNION
        SELECT present.name
        FROM known
        JOIN present
            ON present.number = known.number
        WHERE known.name = ANY (watch.redacted_columns)
            AND (
                known.name NOT IN (SELECT present.name FROM present)
                OR (SELECT kept_order.is_kept FROM kept_order) IS NOT TRUE
            )
        ORDER BY 1
    );
$function$;

COMMENT ON FUNCTION llamalog.redacted_now(llamalog.watches, oid) IS
    'Columns of the table, by the names that they have now, whose values are not to be stored.';
