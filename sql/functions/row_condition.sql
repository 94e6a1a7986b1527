-- The SQL condition that finds the row called live by the ids under which the log knows it.
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
    v_condition text;
BEGIN
    FOREACH v_id IN ARRAY CASE WHEN watch.is_link THEN ARRAY[entity_id, related_id] ELSE ARRAY[entity_id] END LOOP
        v_condition := concat_ws(
            ' AND ',
            v_condition,
            CASE
                -- a long key is cut and hashed: see llamalog.key_text()
                WHEN char_length(v_id) = 273 AND v_id ~ '~[0-9a-f]{32}$'
                    THEN format('%s OPERATOR(pg_catalog.=) %L', llamalog.key_expression(relation, v_columns, 'live'), v_id)
                ELSE llamalog.key_match(relation, v_columns, 'live', quote_literal(v_id), 'OPERATOR(pg_catalog.=)')
            END
        );
        v_columns := watch.related_columns;
    END LOOP;
    IF watch.is_link THEN
        v_condition := concat_ws(
            ' AND ',
            v_condition,
            -- what the ends of a link leave open, as the role
            (
                SELECT string_agg(
                    format('(%s)::text OPERATOR(pg_catalog.=) %L', format(shown.image, format('live.%I', shown.name)), (known -> shown.name)::text), ' AND '
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
