-- The entities of a type of which nobody knows how they came here: the rows that llamalog backfill inferred.
CREATE OR REPLACE FUNCTION llamalog.inferred_creations(entity_type text)
    RETURNS SETOF llamalog.log
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
BEGIN
    RETURN QUERY EXECUTE
        -- below the first row that anybody else can write, where the key of the log leads
        'SELECT log.* FROM llamalog.log AS log WHERE log.seq < $2 AND log.entity_type = $1'
            -- as in llamalog.unknown_provenance
            || ' AND log.op IS NULL AND log.category = ''CREATED'' AND log.source = ''unknown'''
            || ' AND log.metadata @> ''{"llamalog": {"inferred": true}}'' ORDER BY log.seq'
        USING entity_type, llamalog.first_claimed_seq();
END;
$function$;

COMMENT ON FUNCTION llamalog.inferred_creations(text) IS
    'Rows of llamalog.unknown_provenance for one type, as the log has them.';
