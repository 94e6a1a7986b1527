-- A digest of all that the query for a living row is made from: where it is the same, so is the query.
--
-- In names, not numbers, so that a restored table has it too. A renamed table has another one: its reader names the old.
CREATE OR REPLACE FUNCTION llamalog.reader_shape(
    relation       oid,
    key_columns    text[],
    hidden_columns text[]
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN md5(concat_ws(
        E'\n',
        relation::regclass,
        key_columns,
        hidden_columns,
        (
            SELECT string_agg(
                concat_ws(
                    ' ',
                    quote_ident(attribute.attname),
                    attribute.attgenerated,
                    -- the numbers of built-in types never change, and their names cost more than all the rest
                    CASE
                        WHEN attribute.atttypid < 16384 THEN attribute.atttypid::text
                        ELSE attribute.atttypid::regtype::text
                    END
                ),
                ',' ORDER BY attribute.attnum
            )
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = relation
                AND attribute.attnum > 0
                AND NOT attribute.attisdropped
        )
    ));
END;
$function$;

COMMENT ON FUNCTION llamalog.reader_shape(oid, text[], text[]) IS
    'Digest of the table''s name and columns, its key, and the columns that llamalog.live_query() leaves out.';
