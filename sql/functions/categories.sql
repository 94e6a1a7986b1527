-- The categories that a change can have.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.categories()
    RETURNS text[]
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN ARRAY[
    'CREATED', 'ENRICHED', 'CORRECTED', 'CACHED', 'FAILED', 'LINKED', 'UNLINKED', 'USER_ACTION',
    'UPDATED', 'DELETED', 'TRUNCATED'
];

COMMENT ON FUNCTION llamalog.categories() IS
    'Every category, in the order in which documents list them.';
