-- The queries of the tolerant capture for the table as it is now: those kept, else made, and kept for the next row.
CREATE OR REPLACE FUNCTION llamalog.current_queries(
    relation    oid,
    entity_type text,
    version     text
)
    RETURNS llamalog.row_queries
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch   llamalog.watches;
    v_shape   text;
    v_queries llamalog.row_queries;
BEGIN
    SELECT *
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = current_queries.entity_type;
    IF FOUND THEN
        PERFORM llamalog.refuse_stranger(relation, v_watch);
        v_shape := llamalog.row_shape(relation, v_watch);
        SELECT *
        INTO v_queries
        FROM llamalog.row_queries AS kept
        WHERE kept.entity_type = current_queries.entity_type
            AND kept.shape = v_shape
            AND kept.version = current_queries.version;
        IF FOUND THEN
            RETURN v_queries;
        END IF;
    END IF;
    v_queries := llamalog.made_queries(relation, entity_type);
    v_queries.version := version;
    -- no writer waits for another one here, or fails: whoever comes second goes on with what he made
    IF current_setting('transaction_isolation') <> 'serializable'
        AND pg_try_advisory_xact_lock(hashtextextended('llamalog.row_queries ' || entity_type, 0))
    THEN
        BEGIN
            INSERT INTO llamalog.row_queries
            SELECT v_queries.*;
        EXCEPTION
            WHEN unique_violation THEN
                NULL;  -- kept since the snapshot of this transaction
        END;
    END IF;
    RETURN v_queries;
END;
$function$;

COMMENT ON FUNCTION llamalog.current_queries(oid, text, text) IS
    'The row of llamalog.row_queries for a table; version: checksum of the functions that make it.';
