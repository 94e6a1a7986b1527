-- The whole that a part belonged to before a change that took it to another, or to none.
CREATE OR REPLACE FUNCTION llamalog.former_whole(change llamalog.log)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_columns text[];
    v_types   text[];
    v_now     text[];
BEGIN
    IF change.op IS DISTINCT FROM 'U' OR change.link_type IS NOT NULL OR change.related_type IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT part.related_columns, whole.key_types
    INTO v_columns, v_types
    FROM llamalog.watches AS part
    JOIN llamalog.watches AS whole
        ON whole.entity_type = part.related_type
    WHERE part.entity_type = change.entity_type
        AND part.related_type = change.related_type
        AND change.before ?| part.related_columns;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    v_now := llamalog.key_parts(change.related_id, cardinality(v_columns));
    RETURN llamalog.key_text(
        VARIADIC ARRAY(
            SELECT
                CASE
                    -- what did not change is as it was
                    WHEN NOT change.before ? part.name THEN v_now[part.position]
                    -- an image has the digits and the blanks that a key goes without: see llamalog.table_columns()
                    WHEN jsonb_typeof(change.before -> part.name) = 'number'
                        THEN trim_scale((change.before ->> part.name)::numeric)::text
                    WHEN part.type LIKE 'character(%' THEN rtrim(change.before ->> part.name, ' ')
                    ELSE change.before ->> part.name
                END
            FROM unnest(v_columns, v_types) WITH ORDINALITY AS part (name, type, position)
            ORDER BY part.position
        )
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.former_whole(llamalog.log) IS
    'Id of the whole that a part left by this UPDATE; null where it left none, or the log does not have which.';
