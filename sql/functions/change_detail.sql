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
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT nullif(
        concat_ws(
            '; ',
            CASE
                WHEN change_detail.op = 'U' AND cardinality(change_detail.fields) <= 2 THEN (
                    SELECT string_agg(
                        CASE
                            WHEN change_detail.before -> field.name = '"[redacted]"'
                                AND change_detail.after -> field.name = '"[redacted]"'
                                THEN field.name || ' (redacted)'
                            ELSE format(
                                '%s: %s %s %s',
                                field.name,
                                llamalog.shown_value(change_detail.before -> field.name),
                                llamalog.mark('arrow'),
                                llamalog.shown_value(change_detail.after -> field.name)
                            )
                        END,
                        ', '
                        ORDER BY field.position
                    )
                    FROM unnest(change_detail.fields) WITH ORDINALITY AS field (name, position)
                )
                WHEN (change_detail.op = 'U' OR change_detail.op IS NULL) AND cardinality(change_detail.fields) BETWEEN 1 AND 5
                    THEN array_to_string(change_detail.fields, ', ')
                WHEN (change_detail.op = 'U' OR change_detail.op IS NULL) AND cardinality(change_detail.fields) > 5
                    THEN array_to_string(change_detail.fields[1:4], ', ')
                        || format(' and %s more fields', cardinality(change_detail.fields) - 4)
            END,
            CASE
                WHEN change_detail.quality_before IS DISTINCT FROM change_detail.quality_after
                    AND (change_detail.op = 'U' AND cardinality(change_detail.fields) > 2 OR change_detail.op IS NULL)
                    THEN format(
                        'quality %s %s %s',
                        coalesce(change_detail.quality_before, llamalog.mark('dash')),
                        llamalog.mark('arrow'),
                        coalesce(change_detail.quality_after, llamalog.mark('dash'))
                    )
            END,
            CASE
                WHEN change_detail.error_message IS NOT NULL
                    THEN left(change_detail.error_message, 200) || coalesce(' (' || change_detail.error_code || ')', '')
            END,
            left(change_detail.reason, 200)
        ),
        ''
    );
$function$;

COMMENT ON FUNCTION llamalog.change_detail(text, text[], jsonb, jsonb, text, text, text, text, text) IS
    'One line for a person: fields with old and new value, quality, error, reason; null when there is nothing to say.';
