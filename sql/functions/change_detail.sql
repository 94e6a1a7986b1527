-- What one change did, in a line: the fields and their values when they are few and short.
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
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_fields text;
    v_field  text;
BEGIN
    IF op = 'U' AND cardinality(fields) <= 2 THEN
        FOREACH v_field IN ARRAY fields LOOP
            v_fields := concat_ws(
                ', ',
                v_fields,
                CASE
                    WHEN before -> v_field = '"[redacted]"' AND after -> v_field = '"[redacted]"' THEN v_field || ' (redacted)'
                    ELSE format(
                        '%s: %s %s %s',
                        v_field,
                        llamalog.shown_value(before -> v_field),
                        llamalog.mark('arrow'),
                        llamalog.shown_value(after -> v_field)
                    )
                END
            );
        END LOOP;
    ELSIF (op = 'U' OR op IS NULL) AND cardinality(fields) > 5 THEN
        v_fields := array_to_string(fields[1:4], ', ') || format(' and %s more fields', cardinality(fields) - 4);
    ELSIF (op = 'U' OR op IS NULL) AND cardinality(fields) > 0 THEN
        v_fields := array_to_string(fields, ', ');
    END IF;
    RETURN nullif(
        concat_ws(
            '; ',
            v_fields,
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
END;
$function$;

COMMENT ON FUNCTION llamalog.change_detail(text, text[], jsonb, jsonb, text, text, text, text, text) IS
    'One line for a person: fields with old and new value, quality, error, reason; null when there is nothing to say.';
