-- What one change did, in a line: the fields and their values when they are few and short.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined; it is asked for each line of a tree.
CREATE OR REPLACE FUNCTION llamalog.change_detail(
    op             text,
    fields         text[],
    before         jsonb,
    after          jsonb,
    quality_before text,
    quality_after  text,
    error_code     text,
    error_message  text,
    reason         text
)
    RETURNS text
    LANGUAGE sql
    STABLE
RETURN nullif(
    concat_ws(
        '; ',
        CASE
            WHEN op = 'U' AND cardinality(fields) <= 2 THEN
                nullif(
                    concat_ws(
                        ', ',
                        llamalog.field_detail(fields[1], before -> fields[1], after -> fields[1]),
                        llamalog.field_detail(fields[2], before -> fields[2], after -> fields[2])
                    ),
                    ''
                )
            WHEN (op = 'U' OR op IS NULL) AND cardinality(fields) > 5 THEN
                array_to_string(fields[1:4], ', ') || format(' and %s more fields', cardinality(fields) - 4)
            WHEN (op = 'U' OR op IS NULL) AND cardinality(fields) > 0 THEN array_to_string(fields, ', ')
        END,
        CASE
            WHEN quality_before IS DISTINCT FROM quality_after
                AND (op = 'U' AND cardinality(fields) > 2 OR op IS NULL)
                THEN format(
                    'quality %s %s %s',
                    coalesce(quality_before, llamalog.mark('dash')),
                    llamalog.mark('arrow'),
                    coalesce(quality_after, llamalog.mark('dash'))
                )
        END,
        CASE
            WHEN error_message IS NOT NULL
                THEN left(error_message, 200) || coalesce(' (' || error_code || ')', '')
        END,
        left(reason, 200)
    ),
    ''
);

COMMENT ON FUNCTION llamalog.change_detail(text, text[], jsonb, jsonb, text, text, text, text, text) IS
    'One line for a person: fields with old and new value, quality, error, reason; null when there is nothing to say.';
