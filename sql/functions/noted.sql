-- Metadata with a remark of ours under "llamalog"; what stands there already stays.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.noted(
    metadata jsonb,
    name     text,
    remark   jsonb
)
    RETURNS jsonb
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN coalesce(metadata, '{}')
    || jsonb_build_object(
        'llamalog',
        CASE WHEN jsonb_typeof(metadata -> 'llamalog') = 'object' THEN metadata -> 'llamalog' ELSE '{}' END
            || jsonb_build_object(name, remark)
    );

COMMENT ON FUNCTION llamalog.noted(jsonb, text, jsonb) IS
    'The metadata, with the remark added to its object "llamalog"; null metadata counts as empty.';
