-- An id as the log holds it: the text that the key's own type gives back.
CREATE OR REPLACE FUNCTION llamalog.entity_id(
    entity_type text,
    given       text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $function$
DECLARE
    v_types text[];
    v_parts text[];
    v_type  text;
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
    -- a long key is cut and hashed: see llamalog.key_text()
    IF coalesce(cardinality(v_types), 0) = 0 OR char_length(given) = 273 AND given ~ '~[0-9a-f]{32}$' THEN
        RETURN given;
    END IF;
    v_parts := CASE WHEN cardinality(v_types) = 1 THEN ARRAY[given] ELSE llamalog.key_parts(given, cardinality(v_types)) END;
    IF cardinality(v_parts) <> cardinality(v_types) THEN
        RAISE invalid_text_representation;
    END IF;
    FOR v_position IN 1 .. cardinality(v_types) LOOP
        v_type := v_types[v_position];
        -- as llamalog.table_columns() makes keys; types of somebody's own run his code, and stay as they were given
        CASE
            WHEN v_type = 'uuid' THEN
                v_parts[v_position] := v_parts[v_position]::uuid::text;
            WHEN v_type IN ('smallint', 'integer', 'bigint') THEN
                v_parts[v_position] := v_parts[v_position]::bigint::text;
            WHEN v_type = 'numeric' OR v_type LIKE 'numeric(%)' THEN
                v_parts[v_position] := trim_scale(v_parts[v_position]::numeric)::text;
            WHEN v_type = 'date' THEN
                v_parts[v_position] := to_jsonb(v_parts[v_position]::date) #>> '{}';
            WHEN v_type LIKE 'timestamp%without time zone' THEN
                v_parts[v_position] := to_jsonb(v_parts[v_position]::timestamp) #>> '{}';
            WHEN v_type LIKE 'timestamp%with time zone' THEN
                v_parts[v_position] := to_jsonb(v_parts[v_position]::timestamptz) #>> '{}';
            ELSE
                NULL;
        END CASE;
    END LOOP;
    RETURN llamalog.key_text(VARIADIC v_parts);
EXCEPTION
    WHEN invalid_text_representation OR numeric_value_out_of_range OR invalid_datetime_format OR datetime_field_overflow THEN
        RAISE EXCEPTION 'malformed id "%" for %', left(given, 100), entity_type
            USING ERRCODE = 'invalid_text_representation',
                  DETAIL  = format('Its key is of type %s.', array_to_string(v_types, ', ')),
                  HINT    = CASE
                      WHEN cardinality(v_types) > 1 THEN 'Give the values of its key with commas between them.'
                      ELSE 'Give the key of the row; llamalog find TEXT looks it up by title.'
                  END;
END;
$function$;

COMMENT ON FUNCTION llamalog.entity_id(text, text) IS
    'The id in the spelling that the log uses (a uuid in lower case, an integer without zeros, each part of a key of several columns); raises 22P02 when malformed.';
