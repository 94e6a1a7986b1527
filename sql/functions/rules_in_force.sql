-- The rules by which entities need a person: those declared in llamalog.attention_rules, and for each type and kind that
-- it is silent about, what the catalogue gives.
CREATE OR REPLACE FUNCTION llamalog.rules_in_force(entity_type text DEFAULT NULL)
    RETURNS SETOF llamalog.attention_rules
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
    WITH
    watched AS MATERIALIZED (
        SELECT watch.*, stands.relation, stands.columns
        FROM llamalog.watches AS watch
        CROSS JOIN LATERAL (
            SELECT attribute.attrelid AS relation, array_agg(attribute.attname::text) AS columns
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = llamalog.table_of(watch)
                AND attribute.attnum > 0
                AND NOT attribute.attisdropped
            GROUP BY attribute.attrelid
        ) AS stands
        WHERE watch.unwatched_at IS NULL
            AND NOT watch.is_link
            -- or it has changed, and waits for llamalog migrate
            AND watch.key_columns <@ stands.columns
    ),
    given (entity_type, rule, part_type, columns, bad_values) AS (
        SELECT whole.entity_type, 'no_parts', part.entity_type, NULL::text[], NULL::text[]
        FROM watched AS whole
        JOIN watched AS part
            ON part.related_type = whole.entity_type
        -- what dies with its whole makes it up: an album is nothing without tracks, a customer is one before he orders
        WHERE EXISTS (
            SELECT
            FROM pg_constraint AS reference
            WHERE reference.conrelid = part.relation
                AND reference.confrelid = whole.relation
                AND reference.contype = 'f'
                AND reference.confdeltype = 'c'
                AND part.related_columns = ARRAY(
                    SELECT attribute.attname::text
                    FROM unnest(whole.key_columns) WITH ORDINALITY AS key (name, position)
                    JOIN pg_attribute AS referenced
                        ON referenced.attrelid = whole.relation
                        AND referenced.attname = key.name
                    JOIN unnest(reference.conkey, reference.confkey) AS pair (own, other)
                        ON pair.other = referenced.attnum
                    JOIN pg_attribute AS attribute
                        ON attribute.attrelid = part.relation
                        AND attribute.attnum = pair.own
                    ORDER BY key.position
                )
        )
        UNION ALL
        SELECT watched.entity_type, 'failed', NULL, NULL, NULL
        FROM watched
        UNION ALL
        -- parts are repaired by way of their whole
        SELECT watched.entity_type, 'value', NULL, ARRAY[watched.quality_column], ARRAY['LOW']
        FROM watched
        WHERE watched.quality_column = ANY (watched.columns)
            AND watched.related_type IS NULL
            AND llamalog.reads_as('LOW', watched.relation, watched.quality_column)
        UNION ALL
        -- what is unique and may be null is the id that somebody else has given
        SELECT watched.entity_type, 'missing', NULL, array_agg(DISTINCT attribute.attname::text), NULL
        FROM watched
        JOIN pg_index AS index
            ON index.indrelid = watched.relation
            AND index.indisunique
            AND index.indnkeyatts = 1
            AND index.indpred IS NULL
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = watched.relation
            AND attribute.attnum = index.indkey[0]
            AND NOT attribute.attnotnull
        WHERE watched.related_type IS NULL
            AND attribute.attname <> ALL (watched.key_columns || watched.ignored_columns || watched.redacted_columns)
        GROUP BY watched.entity_type
        UNION ALL
        SELECT watched.entity_type, 'unknown_provenance', NULL, NULL, NULL
        FROM watched
        WHERE watched.related_type IS NULL
    ),
    known AS (
        SELECT
            declared.id,
            coalesce(watched.entity_type, declared.entity_type) AS entity_type,
            declared.rule,
            coalesce(
                (
                    SELECT part.entity_type
                    FROM watched AS part
                    WHERE lower(part.entity_type) = lower(declared.part_type)
                ),
                declared.part_type
            ) AS part_type,
            declared.columns,
            declared.bad_values,
            declared.period,
            declared.is_enabled
        FROM llamalog.attention_rules AS declared
        LEFT JOIN watched
            ON lower(watched.entity_type) = lower(declared.entity_type)
        WHERE watched.entity_type IS NOT NULL
            -- of no type that is watched: llamalog.misfit() says so
            OR NOT EXISTS (
                SELECT
                FROM llamalog.watches AS watch
                WHERE lower(watch.entity_type) = lower(declared.entity_type)
                    AND watch.unwatched_at IS NULL
                    AND NOT watch.is_link
            )
        UNION ALL
        SELECT
            NULL,
            given.entity_type,
            given.rule,
            given.part_type,
            given.columns,
            given.bad_values,
            NULL,
            true
        FROM given
        WHERE NOT EXISTS (
            SELECT
            FROM llamalog.attention_rules AS declared
            WHERE lower(declared.entity_type) = lower(given.entity_type)
                AND declared.rule = given.rule
        )
    )
    SELECT
        known.id,
        known.entity_type,
        known.rule,
        known.part_type,
        known.columns,
        known.bad_values,
        CASE WHEN known.rule = 'failed' THEN coalesce(known.period, interval '7 days') END,
        known.is_enabled
    FROM known
    WHERE known.is_enabled
        AND (rules_in_force.entity_type IS NULL OR lower(known.entity_type) = lower(rules_in_force.entity_type))
    -- the gravest first
    ORDER BY
        array_position(llamalog.attention_kinds(), known.rule),
        known.entity_type,
        known.part_type,
        known.id;
$function$;

COMMENT ON FUNCTION llamalog.rules_in_force(text) IS
    'Rules of all types or of one, the gravest first, those too that llamalog.misfit() finds fault with; id is null where the catalogue gives it: parts that die with their whole, the quality column, unique columns that may be null.';
