-- What is wrong with a rule by which entities need a person, so that it would find nothing for ever.
CREATE OR REPLACE FUNCTION llamalog.misfit(rule llamalog.attention_rules)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch llamalog.watches;
    v_part  llamalog.watches;
    v_lacks text;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = rule.entity_type
        AND watch.unwatched_at IS NULL
        AND NOT watch.is_link;
    IF NOT FOUND THEN
        RETURN format('is for %s, as which no table is watched', rule.entity_type);
    END IF;
    IF rule.rule = 'no_parts' THEN
        SELECT watch.*
        INTO v_part
        FROM llamalog.watches AS watch
        WHERE watch.entity_type = rule.part_type
            AND watch.unwatched_at IS NULL
            AND NOT watch.is_link
            AND llamalog.table_of(watch) IS NOT NULL;
        IF v_part.related_type IS DISTINCT FROM rule.entity_type THEN
            RETURN format(
                'takes %s for parts of %s, which they are not: %s',
                rule.part_type,
                rule.entity_type,
                CASE
                    WHEN v_part.entity_type IS NULL THEN format('no table is watched as %s', rule.part_type)
                    ELSE format('%s is part of %s (see llamalog watch --part-of)', v_part.entity_type, coalesce(v_part.related_type, 'nothing'))
                END
            );
        END IF;
    END IF;
    v_lacks := (
        SELECT format('needs column "%s", which %s does not have', needed.name, needed.relation::regclass)
        FROM (
            SELECT llamalog.table_of(v_watch), given.name, given.position
            FROM unnest(rule.columns) WITH ORDINALITY AS given (name, position)
            UNION ALL
            SELECT llamalog.table_of(v_part), given.name, given.position
            FROM unnest(v_part.related_columns) WITH ORDINALITY AS given (name, position)
        ) AS needed (relation, name, position)
        WHERE NOT EXISTS (
            SELECT
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = needed.relation
                AND attribute.attname = needed.name
                AND attribute.attnum > 0
                AND NOT attribute.attisdropped
        )
        ORDER BY needed.position
        LIMIT 1
    );
    IF v_lacks IS NULL AND rule.rule = 'value' THEN
        RETURN (
            SELECT format(
                'looks for "%s" in column "%s", which can hold no such value: it is %s',
                left(bad.value, 100),
                named.name,
                format_type(attribute.atttypid, attribute.atttypmod)
            )
            FROM unnest(rule.columns) AS named (name)
            JOIN pg_attribute AS attribute
                ON attribute.attrelid = llamalog.table_of(v_watch)
                AND attribute.attname = named.name
            CROSS JOIN unnest(rule.bad_values) WITH ORDINALITY AS bad (value, position)
            WHERE NOT llamalog.reads_as(bad.value, attribute.attrelid, named.name)
            ORDER BY bad.position
            LIMIT 1
        );
    END IF;
    IF rule.rule = 'failed' AND rule.period <= interval '0' THEN
        RETURN format('has the period %s, in which nothing can have failed', rule.period);
    END IF;
    RETURN v_lacks;
END;
$function$;

COMMENT ON FUNCTION llamalog.misfit(llamalog.attention_rules) IS
    'In what a rule of llamalog.rules_in_force() does not fit what is watched, as a predicate: is for ALBM, as which no table is watched. Null where it does.';
