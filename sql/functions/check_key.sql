-- Refuses a table that no longer has the columns of its key: without event triggers nobody follows a new name until migrate.
CREATE OR REPLACE FUNCTION llamalog.check_key(
    relation    oid,
    key_columns text[]
)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_missing text := (
        SELECT string_agg(part.name, ', ')
        FROM unnest(key_columns) AS part (name)
        WHERE NOT EXISTS (
                SELECT
                FROM pg_attribute AS attribute
                WHERE attribute.attrelid = relation
                    AND attribute.attname = part.name
                    AND attribute.attnum > 0
                    AND NOT attribute.attisdropped
            )
    );
BEGIN
    IF v_missing IS NOT NULL THEN
        RAISE EXCEPTION 'the key of table % is no longer there', relation::regclass
            USING ERRCODE = 'undefined_column',
                  DETAIL  = format('It has no column %s.', v_missing),
                  HINT    = 'Run: llamalog migrate';
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.check_key(oid, text[]) IS
    'Raises 42703 where the table lacks a column of its key.';
