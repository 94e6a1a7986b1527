-- The registered spelling of an entity type, whichever case it was typed in.
CREATE OR REPLACE FUNCTION llamalog.entity_type(given text)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch llamalog.watches;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = given
        OR lower(watch.entity_type) = lower(given)
    ORDER BY watch.entity_type = given DESC
    LIMIT 1;
    IF v_watch.is_link THEN
        RAISE EXCEPTION '% is a link', v_watch.entity_type
            USING ERRCODE = 'LL003',
                  DETAIL  = format('It joins %s and %s; its changes are logged there.', v_watch.subject_type, v_watch.related_type),
                  HINT    = format('Ask for the %s or the %s.', v_watch.subject_type, v_watch.related_type);
    END IF;
    IF v_watch.entity_type IS NULL THEN
        RAISE EXCEPTION 'unknown entity type "%"', left(given, 100)
            USING ERRCODE = 'LL003',
                  DETAIL  = coalesce(
                      (
                          SELECT 'Known types: ' || string_agg(watch.entity_type, ', ' ORDER BY watch.entity_type) || '.'
                          FROM llamalog.watches AS watch
                          WHERE NOT watch.is_link
                      ),
                      'No table is watched.'
                  ),
                  HINT    = 'Run llamalog status to see what is watched, or watch the table: llamalog watch TABLE';
    END IF;
    RETURN v_watch.entity_type;
END;
$function$;

COMMENT ON FUNCTION llamalog.entity_type(text) IS
    'The entity type as llamalog.watches spells it; raises LL003 for one that never was, and for a link.';
