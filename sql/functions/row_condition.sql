-- The SQL condition that finds the row called live by the ids under which the log knows it, whatever the session has set.
CREATE OR REPLACE FUNCTION llamalog.row_condition(
    watch      llamalog.watches,
    relation   oid,
    entity_id  text,
    related_id text,
    known      jsonb
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_id        text;
    v_columns   text[] := watch.subject_columns;
    v_match     text;
    v_condition text;
BEGIN
    FOREACH v_id IN ARRAY CASE WHEN watch.is_link THEN ARRAY[entity_id, related_id] ELSE ARRAY[entity_id] END LOOP
        v_match := CASE
            -- a long key is cut and hashed: see llamalog.key_text()
            WHEN char_length(v_id) < 273 OR v_id !~ '~[0-9a-f]{32}$'
                THEN llamalog.key_match(relation, v_columns, 'live', quote_literal(v_id), 'OPERATOR(pg_catalog.=)')
        END;
        -- by its text, not by its columns
        IF v_match IS NULL OR starts_with(v_match, 'llamalog.key_text(') THEN
            v_match := (
                SELECT format(
                    'llamalog.key_text(%s) COLLATE "default" OPERATOR(pg_catalog.=) %L',
                    string_agg(
                        format(
                            CASE
                                WHEN known.settings = '{}' THEN known.key
                                WHEN known.base_type = 'timestamp with time zone' THEN 'llamalog.spelled(%s::timestamptz)'
                                ELSE 'llamalog.spelled(%s)'
                            END,
                            format('live.%I', known.name)
                        ),
                        ', '
                        ORDER BY part.position
                    ),
                    v_id
                )
                FROM unnest(v_columns) WITH ORDINALITY AS part (name, position)
                JOIN llamalog.table_columns(relation) AS known
                    ON known.name = part.name
            );
        END IF;
        v_condition := concat_ws(' AND ', v_condition, v_match);
        v_columns := watch.related_columns;
    END LOOP;
    IF watch.is_link THEN
        v_condition := concat_ws(
            ' AND ',
            v_condition,
            -- what the ends of a link leave open, as the role
            (
                SELECT string_agg(
                    CASE
                        WHEN shown.settings = '{}' THEN format(
                            '(%s)::text OPERATOR(pg_catalog.=) %L',
                            format(shown.image, format('live.%I', shown.name)),
                            (known -> shown.name)::text
                        )
                        WHEN shown.is_builtin AND shown.base_type !~ '^reg' THEN format(
                            'live.%I OPERATOR(pg_catalog.=) %s',
                            shown.name,
                            llamalog.image_literal(known -> shown.name, shown.base_type, shown.base_type)
                        )
                        ELSE format('llamalog.spelled(live.%I) OPERATOR(pg_catalog.=) %L', shown.name, known ->> shown.name)
                    END,
                    ' AND '
                )
                FROM llamalog.table_columns(relation) AS shown
                WHERE shown.name = ANY (watch.key_columns)
                    AND shown.name <> ALL (watch.subject_columns || watch.related_columns)
                    AND known ? shown.name
            )
        );
    END IF;
    RETURN v_condition;
END;
$function$;

COMMENT ON FUNCTION llamalog.row_condition(llamalog.watches, oid, text, text, jsonb) IS
    'SQL that is true for the row of an entity, or of a link by its ends and the other columns of its key, whose images are known.';
