-- The queries of the tolerant capture for one table, made from the catalogue and from how the table is watched.
-- STABLE, so that shape and queries are of one snapshot: what is kept for one watch never serves another.
CREATE OR REPLACE FUNCTION llamalog.made_queries(
    relation    oid,
    entity_type text
)
    RETURNS llamalog.row_queries
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch      llamalog.watches := llamalog.current_watch(relation, entity_type);
    v_identity   text := llamalog.identity_expression(relation, v_watch, '$1');
    -- empty for a table without columns
    v_image      text := coalesce(nullif(llamalog.image_expression(relation, v_watch.redacted_columns, '$1'), ''), 'NULL::jsonb');
    v_registered llamalog.watches;
    v_made       llamalog.row_queries;
BEGIN
    SELECT *
    INTO v_registered
    FROM llamalog.watches AS registered
    WHERE registered.entity_type = made_queries.entity_type;
    v_made.shape := llamalog.row_shape(relation, v_registered);
    v_made.entity_type := v_watch.entity_type;
    v_made.is_link := v_watch.is_link;
    v_made.subject_type := v_watch.subject_type;
    v_made.related_type := v_watch.related_type;
    v_made.image := v_watch.image;
    v_made.insert_query := format(
        'SELECT %s, %s', v_identity, llamalog.fields_expression(relation, v_watch.ignored_columns, '$1')
    );
    v_made.delete_query := format('SELECT %s, %s', v_identity, v_image);
    v_made.image_query := format('SELECT %s', v_image);
    v_made.changed_query := format(
        'SELECT %s', llamalog.changed_expression(relation, v_watch.ignored_columns, '$1', '$2')
    );
    v_made.changed_images := (
        SELECT coalesce(jsonb_object_agg(known.name, known.member), '{}')
        FROM llamalog.table_columns(relation, v_watch.redacted_columns) AS known
        WHERE NOT known.is_generated
            AND known.name <> ALL (v_watch.ignored_columns)
    );
    v_made.identities := format('%s, %s', v_identity, llamalog.identity_expression(relation, v_watch, '$2'));
    RETURN v_made;
END;
$function$;

COMMENT ON FUNCTION llamalog.made_queries(oid, text) IS
    'The row of llamalog.row_queries for a table; version is null.';
