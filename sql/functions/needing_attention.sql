-- The living entities that need a person, and by which rule. Why and since when, llamalog.turning_point() tells of each:
-- the log is asked only about those that are shown.
CREATE OR REPLACE FUNCTION llamalog.needing_attention(
    entity_type text DEFAULT NULL,
    rule        text DEFAULT NULL,
    row_limit   integer DEFAULT NULL
)
    RETURNS SETOF llamalog.needy_entity
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type   text := CASE WHEN entity_type IS NOT NULL THEN llamalog.entity_type(entity_type) END;
    v_unread text[] := llamalog.unreadable_types();
    v_rule   llamalog.attention_rules;
    v_misfit text;
BEGIN
    IF row_limit IS NOT NULL THEN
        PERFORM llamalog.check_row_limit(row_limit);
    END IF;
    IF needing_attention.rule <> ALL (llamalog.attention_kinds()) THEN
        RAISE EXCEPTION 'unknown rule "%"', left(needing_attention.rule, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = format('Rules are %s.', array_to_string(llamalog.attention_kinds(), ', '));
    END IF;
    IF EXISTS (
            SELECT
            FROM llamalog.watches AS watch
            WHERE watch.entity_type = v_type
                AND watch.unwatched_at IS NOT NULL
        )
    THEN
        PERFORM llamalog.reconciled_watch(v_type);  -- which says so
    END IF;
    FOR v_rule IN
        SELECT known.*
        FROM llamalog.rules_in_force(v_type) AS known
        WHERE needing_attention.rule IS NULL
            OR known.rule = needing_attention.rule
    LOOP
        -- what is not for the eyes of a caller is left out, unless he asks for it by name
        CONTINUE WHEN v_type IS NULL
            AND v_rule.entity_type = ANY (v_unread);
        v_misfit := llamalog.misfit(v_rule);
        IF v_misfit IS NOT NULL OR v_rule.part_type = ANY (v_unread) THEN
            -- it would find nothing, whatever there is: that is told, and keeps no other rule from its answer
            RETURN NEXT ROW(
                v_rule.entity_type,
                NULL,
                NULL,
                v_rule.rule,
                coalesce(
                    'attention rule ' || v_rule.id || ' ' || v_misfit || '. Correct or delete it in llamalog.attention_rules.',
                    'not asked: you may not read the table of ' || v_rule.part_type
                ),
                NULL,
                NULL,
                NULL
            )::llamalog.needy_entity;
        ELSIF v_rule.rule = 'failed' THEN
            RETURN QUERY
            SELECT
                v_rule.entity_type,
                living.entity_id,
                living.label,
                v_rule.rule,
                concat(
                    'failed: ',
                    coalesce(failure.error_message, failure.reason, failure.operation),
                    ' (' || failure.error_code || ')'
                ),
                NULL::text[],
                NULL,
                failure.seq
            FROM (
                SELECT DISTINCT ON (present.key) present.key, failed
                FROM llamalog.failed_changes(v_rule.entity_type, NULL, v_rule.period) AS failed
                CROSS JOIN LATERAL llamalog.last_key(v_rule.entity_type, failed.entity_id) AS present (key)
                ORDER BY present.key, failed.seq DESC
            ) AS latest
            CROSS JOIN LATERAL (SELECT (latest.failed).*) AS failure
            CROSS JOIN LATERAL llamalog.labels(v_rule.entity_type, ARRAY[latest.key]) AS living
            WHERE living.is_alive
                AND llamalog.resolved_at(latest.failed) IS NULL
            ORDER BY failure.seq DESC
            LIMIT row_limit;
        ELSIF v_rule.rule = 'unknown_provenance' THEN
            RETURN QUERY
            SELECT
                v_rule.entity_type,
                living.entity_id,
                living.label,
                v_rule.rule,
                'nobody knows how it came here',
                NULL::text[],
                NULL,
                unknown.seq
            FROM llamalog.inferred_creations(v_rule.entity_type) AS unknown
            CROSS JOIN LATERAL llamalog.last_key(v_rule.entity_type, unknown.entity_id) AS present (key)
            CROSS JOIN LATERAL llamalog.labels(v_rule.entity_type, ARRAY[present.key]) AS living
            WHERE living.is_alive
            LIMIT row_limit;
        ELSE
            RETURN QUERY EXECUTE format(
                'SELECT %L, found.entity_id, found.label, %L, found.detail, %L::text[], %L, NULL::bigint FROM (%s) AS found',
                v_rule.entity_type,
                v_rule.rule,
                v_rule.columns,
                v_rule.part_type,
                llamalog.attention_query(v_rule)
            )
            USING row_limit;
        END IF;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.needing_attention(text, text, integer) IS
    'Entities that need a person by llamalog.rules_in_force(), at most row_limit for each rule. Reads the tables with the rights of the caller; without a type, those that he may not read are left out; raises LL002 for one that is no longer watched. A rule that does not fit what is watched, or looks for parts that he may not read, is a row without entity_id.';
