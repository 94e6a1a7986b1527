-- The SQL literal that reads an image back into a value of its type, to the byte: docs/images.md read backward.
CREATE OR REPLACE FUNCTION llamalog.image_literal(
    image     jsonb,
    type_name text,
    base_type text
)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    -- a quoted literal is read by the type itself: a cast from text may be somebody's own
    SELECT CASE
        WHEN image IS NULL OR image = 'null' THEN 'NULL'
        WHEN base_type = 'jsonb' THEN
            format('%L::%s', CASE WHEN jsonb_typeof(image) = 'object' THEN coalesce(image -> '$json', image) ELSE image END, typed.name)
        WHEN base_type = 'money' THEN format('%L::numeric::pg_catalog.money::%s', image #>> '{}', typed.name)
        WHEN jsonb_typeof(image) = 'array' THEN format(
            '%L::%s',
            (
                SELECT concat(
                    '{',
                    string_agg(
                        coalesce('"' || replace(replace(element.value, E'\\', E'\\\\'), '"', E'\\"') || '"', 'NULL'),
                        ','
                        ORDER BY element.position
                    ),
                    '}'
                )
                FROM jsonb_array_elements_text(image) WITH ORDINALITY AS element (value, position)
            ),
            typed.name
        )
        ELSE format('%L::%s', image #>> '{}', typed.name)
    END
    FROM (
        SELECT
            CASE
                -- a type of PostgreSQL's that its grammar does not know is looked up in the search_path of whoever writes
                WHEN type_name ~ '^([a-z0-9_]+|"bit"|"char")([[][]])*$'
                    AND type_name !~ '^(bigint|bit|boolean|character|integer|interval|numeric|real|smallint|time|timestamp)([[][]])*$'
                    THEN 'pg_catalog.' || type_name
                ELSE type_name
            END AS name
    ) AS typed;
$function$;

COMMENT ON FUNCTION llamalog.image_literal(jsonb, text, text) IS
    'SQL literal of the value that has this image in a column of the type; base_type: the same, domains taken off and without modifier.';
