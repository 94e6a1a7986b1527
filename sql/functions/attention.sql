-- The entities that need a person: by which rule, since when, and what made it so.
CREATE OR REPLACE FUNCTION llamalog.attention(
    entity_type text DEFAULT NULL,
    rule        text DEFAULT NULL,
    row_limit   integer DEFAULT 50
)
    RETURNS SETOF llamalog.attention_row
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
BEGIN
    RETURN QUERY
    SELECT told.*
    FROM llamalog.needing_attention(attention.entity_type, attention.rule, attention.row_limit) AS needy
    CROSS JOIN LATERAL llamalog.attention_told(needy) AS told
    -- what went wrong last is what is still to be mended
    ORDER BY array_position(llamalog.attention_kinds(), told.rule), told.entity_type, told.since DESC NULLS LAST, told.entity_id;
END;
$function$;

COMMENT ON FUNCTION llamalog.attention(text, text, integer) IS
    'Entities of one type or of all that need a person, at most row_limit for each rule, the gravest rules first; with the change that made it so. A declared rule that does not fit what is watched, and one about parts that the caller may not read, is told by a row without entity_id.';
