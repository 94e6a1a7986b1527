-- The parts of a key as one text: joined by commas, commas and backslashes in them escaped; over 1000 bytes, cut and hashed.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.key_text(VARIADIC parts text[])
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    STRICT
    PARALLEL SAFE
RETURN (
    SELECT
        CASE
            WHEN count(*) <> count(part.value) THEN NULL
            -- with the id of a job before it, still short enough for an index
            WHEN octet_length(string_agg(part.escaped, ',' ORDER BY part.position)) > 1000
                THEN left(string_agg(part.escaped, ',' ORDER BY part.position), 240)
                    || '~' || md5(string_agg(part.escaped, ',' ORDER BY part.position))
            ELSE string_agg(part.escaped, ',' ORDER BY part.position)
        END
    FROM (
        SELECT
            given.value,
            given.position,
            CASE
                WHEN cardinality(parts) = 1 THEN given.value
                ELSE replace(replace(given.value, E'\\', E'\\\\'), ',', E'\\,')
            END AS escaped
        FROM unnest(parts) WITH ORDINALITY AS given (value, position)
    ) AS part
);

COMMENT ON FUNCTION llamalog.key_text(text[]) IS
    'Text of a key that entity_id holds; null when a part is null.';
