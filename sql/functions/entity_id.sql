-- An id as the log holds it: the text that the key's own type gives back.
CREATE OR REPLACE FUNCTION llamalog.entity_id(
    entity_type text,
    given       text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_types text[];
    v_id    text := given;
BEGIN
    IF given IS NULL THEN
        RAISE EXCEPTION 'the id of the % is missing', entity_type
            USING ERRCODE = 'null_value_not_allowed',
                  HINT    = 'Pass the key of the row as text.';
    END IF;
    SELECT watch.key_types
    INTO v_types
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = entity_id.entity_type;
    IF cardinality(v_types) = 1 THEN
        CASE
            WHEN v_types[1] = 'uuid' THEN
                v_id := given::uuid::text;
            WHEN v_types[1] IN ('smallint', 'integer', 'bigint') THEN
                v_id := given::bigint::text;
            ELSE
                v_id := llamalog.key_text(given);
        END CASE;
    END IF;
    RETURN v_id;
EXCEPTION
    WHEN invalid_text_representation OR numeric_value_out_of_range THEN
        RAISE EXCEPTION 'malformed id "%" for %', left(given, 100), entity_type
            USING ERRCODE = 'invalid_text_representation',
                  DETAIL  = format('Its key is of type %s.', v_types[1]),
                  HINT    = 'Give the key of the row; llamalog find TEXT looks it up by title.';
END;
$function$;

COMMENT ON FUNCTION llamalog.entity_id(text, text) IS
    'The id in the spelling that the log uses (a uuid in lower case, an integer without zeros); raises 22P02 when malformed.';
