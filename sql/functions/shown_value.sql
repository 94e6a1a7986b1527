-- An image value as a person reads it in a line.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.shown_value(image jsonb)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN CASE
    WHEN image IS NULL OR jsonb_typeof(image) = 'null' THEN 'nothing'
    WHEN jsonb_typeof(image) = 'string' THEN
        llamalog.mark('opening quote') || llamalog.short_value(image #>> '{}') || llamalog.mark('closing quote')
    WHEN jsonb_typeof(image) = 'object' AND image ? '$json' THEN llamalog.short_value((image -> '$json')::text)
    ELSE llamalog.short_value(image #>> '{}')
END;

COMMENT ON FUNCTION llamalog.shown_value(jsonb) IS
    'The value cut to 60 characters, text in quotation marks, SQL NULL as nothing.';
