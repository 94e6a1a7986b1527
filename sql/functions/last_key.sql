-- The key under which a row lives, if it lives, asked for by any key that it has had.
CREATE OR REPLACE FUNCTION llamalog.last_key(
    entity_type text,
    entity_id   text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT held.id
        FROM llamalog.key_history(entity_type, entity_id) AS held
        -- an earlier end means that another row has the key now
        WHERE held.before_seq = 9223372036854775807
        LIMIT 1
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.last_key(text, text) IS
    'Part of llamalog.as_of() and its kin: the key to look for in the table; null when the row that had it is gone.';
