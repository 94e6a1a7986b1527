-- The verb by which a sentence tells a change.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.category_verb(category text)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN CASE category WHEN 'USER_ACTION' THEN 'changed' ELSE lower(category) END;

COMMENT ON FUNCTION llamalog.category_verb(text) IS
    'What a sentence says was done by a change of this category: created, corrected; changed of a USER_ACTION.';
