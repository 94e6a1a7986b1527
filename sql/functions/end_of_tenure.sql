-- Where the rows of a key's holder end that left it by a change of key: at that change, or at the arrival of the next
-- holder, should the same statement have brought him first.
CREATE OR REPLACE FUNCTION llamalog.end_of_tenure(
    entity_type text,
    leaving     llamalog.renaming
)
    RETURNS bigint
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
AS $function$
    SELECT coalesce(min(log.seq), (end_of_tenure.leaving).seq)
    FROM llamalog.log AS log
    WHERE log.entity_id = (end_of_tenure.leaving).old_id
        AND log.previous_id IS NOT NULL
        AND log.entity_type = end_of_tenure.entity_type
        AND log.link_type IS NULL
        AND log.seq < (end_of_tenure.leaving).seq
        AND log.metadata #>> '{llamalog,statement}' = (end_of_tenure.leaving).mark;
$function$;

COMMENT ON FUNCTION llamalog.end_of_tenure(text, llamalog.renaming) IS
    'Part of llamalog.key_history(): the seq before which the rows of the old key are those of the row that left it.';
