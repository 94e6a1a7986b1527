-- The query for the labels of living rows: two arrays, the ids found among those of $1 and their labels.
CREATE OR REPLACE FUNCTION llamalog.label_query(
    relation     oid,
    key_columns  text[],
    label_column text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    PERFORM llamalog.check_key(relation, key_columns);
    RETURN format(
        'SELECT array_agg(wanted.id) AS ids, array_agg(llamalog.short_label(%s)) AS labels'
        ' FROM unnest($1) AS wanted (id) JOIN %s AS live ON %s',
        llamalog.label_expression(relation, label_column, 'live'),
        relation::regclass,
        llamalog.key_match(relation, key_columns, 'live', 'wanted.id')
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.label_query(oid, text[], text) IS
    'SQL for the ids, of those in $1, that have a living row, and its label.';
