-- A digest of all that the queries of the tolerant capture are made from: the columns of the table, and how it is watched.
CREATE OR REPLACE FUNCTION llamalog.row_shape(
    relation oid,
    watch    llamalog.watches
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_root oid := pg_partition_root(relation);
BEGIN
    -- each name in quotes where it needs them: none can pass for two
    RETURN md5(concat(
        ROW(
            watch.is_link, watch.subject_type, watch.related_type, watch.key_columns, watch.subject_columns,
            watch.related_columns, watch.quality_column, watch.source_column, watch.ignored_columns, watch.redacted_columns,
            watch.image, watch.column_numbers
        ),
        (
            -- what stands for a lost key
            SELECT ROW(index.indkey, index.indnkeyatts)
            FROM pg_index AS index
            WHERE index.indrelid = relation
                AND index.indisprimary
        ),
        (
            SELECT string_agg(
                concat_ws(
                    ' ',
                    known.attnum, known.atttypid, known.attcollation, quote_ident(known.attname), known.attgenerated,
                    -- after a restore another type may have the number
                    CASE WHEN known.atttypid >= 16384 THEN known.atttypid::regtype END,
                    CASE WHEN known.attcollation >= 16384 THEN known.attcollation::regcollation END
                ),
                ','
            )
            FROM (
                SELECT attribute.*
                FROM pg_attribute AS attribute
                WHERE attribute.attrelid = relation
                    AND attribute.attnum > 0
                    AND NOT attribute.attisdropped
                ORDER BY attribute.attnum
            ) AS known
        ),
        -- by its numbers renamed columns are known again
        CASE
            WHEN v_root <> relation THEN (
                SELECT string_agg(concat_ws(' ', attribute.attnum, quote_ident(attribute.attname)), ',' ORDER BY attribute.attnum)
                FROM pg_attribute AS attribute
                WHERE attribute.attrelid = v_root
                    AND attribute.attnum > 0
                    AND NOT attribute.attisdropped
            )
        END
    ));
END;
$function$;

COMMENT ON FUNCTION llamalog.row_shape(oid, llamalog.watches) IS
    'Digest of the columns of a table and of its row of llamalog.watches: where it is the same, so are the queries made from them.';
