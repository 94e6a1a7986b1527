-- The SQL condition that finds the row called live by the ids under which the log knows it.
CREATE OR REPLACE FUNCTION llamalog.row_condition(
    watch      llamalog.watches,
    relation   oid,
    entity_id  text,
    related_id text,
    known      jsonb
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT string_agg(part.condition, ' AND ' ORDER BY part.position)
    FROM (
        SELECT
            CASE
                -- a long key is cut and hashed: see llamalog.key_text()
                WHEN char_length(key.id) = 273 AND key.id ~ '~[0-9a-f]{32}$'
                    THEN format('%s = %L', llamalog.key_expression(relation, key.columns, 'live'), key.id)
                ELSE llamalog.key_match(relation, key.columns, 'live', quote_literal(key.id))
            END AS condition,
            key.position
        FROM (
            SELECT watch.subject_columns, row_condition.entity_id, 0
            UNION ALL
            SELECT watch.related_columns, row_condition.related_id, 1
            WHERE watch.is_link
        ) AS key (columns, id, position)
        UNION ALL
        -- what the ends of a link leave open, as the role
        SELECT format('(%s)::text = %L', format(shown.image, format('live.%I', shown.name)), (known -> shown.name)::text), 2
        FROM llamalog.table_columns(relation) AS shown
        WHERE watch.is_link
            AND shown.name = ANY (watch.key_columns)
            AND shown.name <> ALL (watch.subject_columns || watch.related_columns)
            AND known ? shown.name
    ) AS part;
$function$;

COMMENT ON FUNCTION llamalog.row_condition(llamalog.watches, oid, text, text, jsonb) IS
    'SQL that is true for the row of an entity, or of a link by its ends and the other columns of its key, whose images are known.';
