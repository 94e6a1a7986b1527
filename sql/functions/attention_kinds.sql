-- The kinds of rules by which an entity needs a person, the gravest first.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.attention_kinds()
    RETURNS text[]
    LANGUAGE sql
    IMMUTABLE
    PARALLEL SAFE
RETURN ARRAY['no_parts', 'failed', 'value', 'missing', 'unknown_provenance'];

COMMENT ON FUNCTION llamalog.attention_kinds() IS
    'Every value of llamalog.attention_rules.rule, in the order in which llamalog.attention() answers.';
