-- What became of one field, in a line with others.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.field_detail(
    field  text,
    before jsonb,
    after  jsonb
)
    RETURNS text
    LANGUAGE sql
    STABLE
    PARALLEL SAFE
RETURN CASE
    WHEN before = '"[redacted]"' AND after = '"[redacted]"' THEN field || ' (redacted)'
    WHEN field IS NOT NULL THEN
        format('%s: %s %s %s', field, llamalog.shown_value(before), llamalog.mark('arrow'), llamalog.shown_value(after))
END;

COMMENT ON FUNCTION llamalog.field_detail(text, jsonb, jsonb) IS
    'The field with its old and new value; null where there is no field.';
