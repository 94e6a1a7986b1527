-- The query for the image of a living row, whose key is $1, as text.
CREATE OR REPLACE FUNCTION llamalog.live_query(
    relation       oid,
    key_columns    text[],
    hidden_columns text[],
    is_cut         boolean DEFAULT false
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN format(
        'SELECT %s FROM %s AS live WHERE %s AND %s = $1',
        llamalog.live_image(relation, hidden_columns),
        relation::regclass,
        CASE WHEN is_cut THEN 'true' ELSE llamalog.key_match(relation, key_columns, 'live', '$1') END,
        -- in another spelling, as 1.00 for 1, the log would not know it
        llamalog.key_expression(relation, key_columns, 'live')
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.live_query(oid, text[], text[], boolean) IS
    'SQL that reads one row by its key, without generated and hidden columns; is_cut: the key is one that llamalog.key_text() has cut.';
