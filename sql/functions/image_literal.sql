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
            format('%L::%s', CASE WHEN jsonb_typeof(image) = 'object' THEN coalesce(image -> '$json', image) ELSE image END, type_name)
        WHEN base_type = 'money' THEN format('%L::numeric::money::%s', image #>> '{}', type_name)
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
            type_name
        )
        ELSE format('%L::%s', image #>> '{}', type_name)
    END;
$function$;

COMMENT ON FUNCTION llamalog.image_literal(jsonb, text, text) IS
    'SQL literal of the value that has this image in a column of the type; base_type: the same, domains taken off and without modifier.';
