-- The SQL that finds the living entities that a rule about live rows applies to, with their labels. A rule is data: names
-- are quoted, and llamalog.misfit() has looked them up in the catalogue.
CREATE OR REPLACE FUNCTION llamalog.attention_query(rule llamalog.attention_rules)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch  llamalog.watches;
    v_part   llamalog.watches;
    v_table  oid;
    v_parts  oid;
    v_column text;
    v_type   text;
    v_where  text;
    v_detail text;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = rule.entity_type;
    v_table := llamalog.table_of(v_watch);
    IF rule.rule = 'no_parts' THEN
        SELECT watch.*
        INTO v_part
        FROM llamalog.watches AS watch
        WHERE watch.entity_type = rule.part_type;
        v_parts := llamalog.table_of(v_part);
        v_where := (
            SELECT CASE
                -- the type of both is PostgreSQL's own: an index serves, and no code of a table's owner runs
                WHEN bool_and(
                    llamalog.builtin_type(v_table, pair.own) IS NOT NULL
                    AND llamalog.builtin_type(v_parts, pair.other) IS NOT NULL
                )
                    THEN string_agg(format('part.%I = live.%I', pair.other, pair.own), ' AND ')
                ELSE format(
                    '%s = %s',
                    llamalog.key_expression(v_parts, v_part.related_columns, 'part'),
                    llamalog.key_expression(v_table, v_watch.key_columns, 'live')
                )
            END
            FROM unnest(v_watch.key_columns, v_part.related_columns) AS pair (own, other)
        );
        v_where := format('NOT EXISTS (SELECT FROM %s AS part WHERE %s)', v_parts::regclass, v_where);
        v_detail := quote_literal('no ' || v_part.entity_type);
    ELSIF rule.rule = 'missing' THEN
        v_where := (
            SELECT string_agg(format('live.%I IS NULL', missing.name), ' AND ')
            FROM unnest(rule.columns) AS missing (name)
        );
        v_detail := quote_literal(
            CASE WHEN cardinality(rule.columns) = 1 THEN 'no ' ELSE 'none of ' END || array_to_string(rule.columns, ', ')
        );
    ELSIF rule.rule = 'value' THEN
        v_column := (
            SELECT format(known.key, format('live.%I', known.name))
            FROM llamalog.table_columns(v_table) AS known
            WHERE known.name = ANY (rule.columns)
        );
        v_type := (
            SELECT llamalog.builtin_type(v_table, named.name)
            FROM unnest(rule.columns) AS named (name)
        );
        v_where := CASE
            -- as equal as PostgreSQL's own types hold it
            WHEN EXISTS (
                SELECT
                FROM pg_type AS type
                JOIN pg_type AS element
                    ON element.oid = CASE
                        WHEN type.typcategory = 'A' AND type.typlen = -1 AND type.typelem <> 0 THEN type.typelem
                        ELSE type.oid
                    END
                WHERE type.oid = v_type::regtype
                    AND (
                        element.typtype IN ('r', 'm')
                        OR EXISTS (
                            SELECT
                            FROM pg_opclass AS class
                            JOIN pg_am AS method
                                ON method.oid = class.opcmethod
                            WHERE method.amname IN ('btree', 'hash')
                                AND class.opcdefault
                                AND class.opcnamespace = 'pg_catalog'::regnamespace
                                AND (
                                    class.opcintype = element.oid
                                    -- a varchar is compared as a text
                                    OR EXISTS (
                                        SELECT
                                        FROM pg_cast AS taken
                                        WHERE taken.castsource = element.oid
                                            AND taken.casttarget = class.opcintype
                                            AND taken.castmethod = 'b'
                                            AND taken.castcontext = 'i'
                                    )
                                )
                        )
                    )
            )
                THEN (
                    SELECT format('live.%I IN (%s)', named.name, string_agg(format('%L::%s', bad.value, v_type), ', '))
                    FROM unnest(rule.columns) AS named (name)
                    CROSS JOIN unnest(rule.bad_values) AS bad (value)
                    GROUP BY named.name
                )
            ELSE format('%s = ANY (%L::text[])', v_column, rule.bad_values)
        END;
        v_detail := format('%L || %s', array_to_string(rule.columns, '') || ' is ', v_column);
    END IF;
    RETURN format(
        'SELECT %1$s AS entity_id, llamalog.short_label(%2$s) AS label, %3$s AS detail FROM %4$s AS live WHERE %5$s ORDER BY %6$s LIMIT $1',
        llamalog.key_expression(v_table, v_watch.key_columns, 'live'),
        llamalog.label_expression(v_table, v_watch.label_column, 'live'),
        v_detail,
        v_table::regclass,
        v_where,
        (
            SELECT string_agg(format('live.%I', key.name), ', ' ORDER BY key.position)
            FROM unnest(v_watch.key_columns) WITH ORDINALITY AS key (name, position)
        )
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.attention_query(llamalog.attention_rules) IS
    'SQL of entity_id, label and detail of what a rule no_parts, missing or value finds, at most $1, by key.';
