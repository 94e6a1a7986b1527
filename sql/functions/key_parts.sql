-- The parts of a key, as llamalog.key_text() joined them.
CREATE OR REPLACE FUNCTION llamalog.key_parts(
    key        text,
    part_count integer
)
    RETURNS text[]
    LANGUAGE sql
    IMMUTABLE
    STRICT
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        CASE
            WHEN key_parts.part_count = 1 THEN ARRAY[key_parts.key]
            ELSE (
                SELECT array_agg(
                    replace(replace(piece.value, E'\x01', ','), E'\x02', E'\\')
                    ORDER BY piece.position
                )
                FROM unnest(
                    string_to_array(
                        -- escaped characters step aside while the commas that join are found
                        replace(replace(key_parts.key, E'\\\\', E'\x02'), E'\\,', E'\x01'),
                        ','
                    )
                ) WITH ORDINALITY AS piece (value, position)
            )
        END;
$function$;

COMMENT ON FUNCTION llamalog.key_parts(text, integer) IS
    'The parts of a key of part_count columns, escapes undone; a key of one column is its only part.';
