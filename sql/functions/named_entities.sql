-- Entities with the names that people know them by, in the order in which they are given.
CREATE OR REPLACE FUNCTION llamalog.named_entities(entities llamalog.impact_entity[])
    RETURNS SETOF llamalog.impact_entity
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    -- planned for as many entities as there are
    SET plan_cache_mode = force_custom_plan
    SET jit = off
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH
    mentioned AS MATERIALIZED (
        SELECT named.entity_type, named.entity_id, llamalog.last_key(named.entity_type, named.entity_id) AS key
        FROM (
            SELECT entity.entity_type, entity.entity_id
            FROM unnest(named_entities.entities) AS entity
            UNION
            SELECT entity.related_type, entity.related_id
            FROM unnest(named_entities.entities) AS entity
            WHERE entity.related_id IS NOT NULL
        ) AS named (entity_type, entity_id)
    ),
    label AS MATERIALIZED (
        SELECT mentioned.entity_type, mentioned.entity_id, known.label, known.is_alive
        FROM (
            SELECT mentioned.entity_type, array_agg(DISTINCT mentioned.key) AS keys
            FROM mentioned
            GROUP BY mentioned.entity_type
        ) AS named
        CROSS JOIN LATERAL llamalog.labels(named.entity_type, named.keys) AS known
        -- the row may be listed under several of its keys
        JOIN mentioned
            ON mentioned.entity_type = named.entity_type
            AND mentioned.key = known.entity_id
    )
    SELECT
        entity.touched_type,
        entity.entity_type,
        entity.entity_id,
        own.label,
        entity.related_type,
        entity.related_id,
        other.label,
        CASE WHEN entity.related_id IS NULL THEN own.is_alive END,
        entity.change_count,
        entity.categories,
        entity.first_at,
        entity.last_at,
        entity.next_cursor
    FROM unnest(named_entities.entities) WITH ORDINALITY AS entity
    LEFT JOIN label AS own
        ON own.entity_type = entity.entity_type
        AND own.entity_id = entity.entity_id
    LEFT JOIN label AS other
        ON other.entity_type = entity.related_type
        AND other.entity_id = entity.related_id
    ORDER BY entity.ordinality;
END;
$function$;

COMMENT ON FUNCTION llamalog.named_entities(llamalog.impact_entity[]) IS
    'Part of llamalog.impact_entities(): fills in label, related_label and is_alive, by the key that each has now, with the rights of the caller.';
