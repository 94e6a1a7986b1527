-- A label as it is shown: whoever watches a table whose titles are whole texts is not to read them in each line.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.short_label(label text)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN CASE WHEN length(label) > 300 THEN left(label, 297) || '...' ELSE nullif(label, '') END;

COMMENT ON FUNCTION llamalog.short_label(text) IS
    'The label, cut to 300 characters where it is longer; null for an empty one, which names nothing.';
