-- A value as it is shown in a line with others.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.short_value(value text)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN CASE WHEN length(value) > 60 THEN left(value, 57) || llamalog.mark('ellipsis') ELSE value END;

COMMENT ON FUNCTION llamalog.short_value(text) IS
    'The value, cut to 60 characters where it is longer.';
