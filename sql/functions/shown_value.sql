-- An image value as a person reads it in a line.
CREATE OR REPLACE FUNCTION llamalog.shown_value(image jsonb)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT
        CASE
            WHEN shown_value.image IS NULL OR jsonb_typeof(shown_value.image) = 'null' THEN 'nothing'
            WHEN jsonb_typeof(shown_value.image) = 'string' THEN llamalog.mark('opening quote') || cut.text || llamalog.mark('closing quote')
            ELSE cut.text
        END
    FROM (
        SELECT
            CASE
                WHEN length(whole.text) > 60 THEN left(whole.text, 57) || llamalog.mark('ellipsis')
                ELSE whole.text
            END AS text
        FROM (
            SELECT
                CASE
                    WHEN jsonb_typeof(shown_value.image) = 'object' AND shown_value.image ? '$json'
                        THEN (shown_value.image -> '$json')::text
                    ELSE shown_value.image #>> '{}'
                END AS text
        ) AS whole
    ) AS cut;
$function$;

COMMENT ON FUNCTION llamalog.shown_value(jsonb) IS
    'The value cut to 60 characters, text in quotation marks, SQL NULL as nothing.';
