-- The id of the entity that somebody means: an id of its type, or a title.
CREATE OR REPLACE FUNCTION llamalog.resolve(
    entity_type text,
    given       text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    c_shown      CONSTANT integer := 20;
    v_type       text := llamalog.entity_type(resolve.entity_type);
    v_id         text;
    v_count      bigint;
    v_candidates text;
BEGIN
    BEGIN
        v_id := llamalog.entity_id(v_type, given);
    EXCEPTION
        WHEN invalid_text_representation THEN
            v_id := NULL;  -- no id, so perhaps a title
    END;
    IF EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.entity_id = v_id
                AND log.entity_type = v_type
        )
        OR EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.previous_id = v_id
                AND log.entity_type = v_type
        )
        OR EXISTS (
            SELECT
            FROM llamalog.labels(v_type, ARRAY[v_id]) AS living
            WHERE living.is_alive
        )
    THEN
        RETURN v_id;
    END IF;
    -- a variable that is not set, say; else it would be the key of a row
    IF given = '' THEN
        RAISE EXCEPTION 'the id or title of the % is empty', v_type
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give the id of a row, or its whole title.';
    END IF;
    SELECT
        count(*),
        min(named.entity_id),
        string_agg(
            format('%s %s%s', named.entity_id, named.label, CASE WHEN NOT named.is_alive THEN ' (deleted)' END),
            E'\n'
            ORDER BY named.position
        ) FILTER (WHERE named.position <= c_shown)
    INTO v_count, v_id, v_candidates
    -- one more tells whether there is more
    FROM llamalog.find(given, v_type, true, c_shown + 1) WITH ORDINALITY AS named (entity_type, entity_id, label, is_alive, position)
    WHERE named.entity_id IS NOT NULL;
    IF v_count = 1 THEN
        RETURN v_id;
    END IF;
    IF v_count > 1 THEN
        RAISE EXCEPTION '% % are called "%"', CASE WHEN v_count > c_shown THEN 'more than ' || c_shown ELSE v_count::text END, v_type, left(given, 100)
            USING ERRCODE = 'LL005',
                  DETAIL  = v_candidates,
                  HINT    = 'Name the one you mean by its id.';
    END IF;
    SELECT string_agg(concat_ws(' ', 'Similar:', near.entity_id, nullif(near.label, near.entity_id)), E'\n')
    INTO v_candidates
    FROM llamalog.find(given, v_type, false, 5) AS near
    WHERE near.entity_id IS NOT NULL;
    RAISE EXCEPTION 'no % has the id or title "%"', v_type, left(given, 100)
        USING ERRCODE = 'LL004',
              DETAIL  = coalesce(v_candidates, 'No row that you may read is called so, and none was when it was deleted.'),
              HINT    = concat(
                  'Run llamalog find TEXT to search all titles.',
                  (
                      -- as llamalog.key_text() writes it
                      SELECT E' A comma within a value of its key is written with a backslash: a\\,b,c.'
                      FROM llamalog.watches AS watch
                      WHERE watch.entity_type = v_type
                          AND cardinality(watch.key_types) > 1
                          AND strpos(given, ',') > 0
                  )
              );
END;
$function$;

COMMENT ON FUNCTION llamalog.resolve(text, text) IS
    'Id of the entity with this id, or else this title; raises LL004 when there is none, LL005 when there are several.';
