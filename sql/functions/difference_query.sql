-- The query that tells two versions of a row apart: the changed columns, before and after, by image.
CREATE OR REPLACE FUNCTION llamalog.difference_query(
    relation oid,
    ignored  text[],
    redacted text[]
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT format(
        $query$
        SELECT
            array_agg(field.name ORDER BY field.position),
            jsonb_object_agg(field.name, field.before),
            jsonb_object_agg(field.name, field.after)
        FROM (%s) AS field (position, name, before, after)
        $query$,
        coalesce(
            string_agg(
                format(
                    CASE shown.compare
                        WHEN 'text' THEN 'SELECT %1$s, %2$L::text, %3$s, %4$s WHERE concat($1.%2$I) IS DISTINCT FROM concat($2.%2$I)'
                        ELSE 'SELECT %1$s, %2$L::text, %3$s, %4$s'
                            || ' WHERE ROW($1.%2$I)::record OPERATOR(pg_catalog.*<>) ROW($2.%2$I)::record'
                    END,
                    shown.position,
                    shown.name,
                    format(shown.image, format('$1.%I', shown.name)),
                    format(shown.image, format('$2.%I', shown.name))
                ),
                E'\nUNION ALL '
            ),
            'SELECT 1, NULL::text, NULL::jsonb, NULL::jsonb WHERE false'
        )
    )
    FROM (
        SELECT known.*, row_number() OVER () AS position
        FROM llamalog.table_columns(difference_query.relation, difference_query.redacted) AS known
    ) AS shown
    WHERE NOT shown.is_generated
        AND shown.name <> ALL (difference_query.ignored);
$function$;

COMMENT ON FUNCTION llamalog.difference_query(oid, text[], text[]) IS
    'SQL that gives the names, the old and the new images of the columns in which row $1 and row $2 differ.';
