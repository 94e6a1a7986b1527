-- The keys that an entity has had, each with the part of the log in which it was this entity's.
CREATE OR REPLACE FUNCTION llamalog.key_history(
    entity_type text,
    entity_id   text
)
    RETURNS TABLE (
        id         text,
        after_seq  bigint,
        before_seq bigint
    )
    LANGUAGE sql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET enable_seqscan = off
    SET enable_hashjoin = off
    SET enable_mergejoin = off
AS $function$
    WITH RECURSIVE
    renaming AS NOT MATERIALIZED (
        SELECT log.seq, log.entity_id, log.previous_id
        FROM llamalog.log AS log
        WHERE log.entity_type = key_history.entity_type
            AND log.link_type IS NULL
            AND log.previous_id IS NOT NULL
    ),
    -- back to the keys it had before: each held until the change that gave it the next one
    earlier (id, before_seq) AS (
        SELECT key_history.entity_id, 9223372036854775807
        UNION
        SELECT renaming.previous_id, renaming.seq
        FROM earlier
        JOIN renaming
            ON renaming.entity_id = earlier.id
            AND renaming.seq < earlier.before_seq
    ),
    -- and on to the keys it got after: each held until it was given away again
    later (id, after_seq) AS (
        SELECT key_history.entity_id, 0::bigint
        UNION
        SELECT renaming.entity_id, renaming.seq
        FROM later
        JOIN renaming
            ON renaming.previous_id = later.id
            AND renaming.seq > later.after_seq
    )
    SELECT earlier.id, 0::bigint, earlier.before_seq
    FROM earlier
    WHERE earlier.id <> key_history.entity_id
    UNION
    SELECT
        later.id,
        later.after_seq,
        coalesce(
            (
                SELECT min(renaming.seq)
                FROM renaming
                WHERE renaming.previous_id = later.id
                    AND renaming.seq > later.after_seq
                    AND later.id <> key_history.entity_id
            ),
            9223372036854775807
        )
    FROM later;
$function$;

COMMENT ON FUNCTION llamalog.key_history(text, text) IS
    'Every key of the entity that was asked for by one of them; its rows are those with id and after_seq <= seq < before_seq.';
