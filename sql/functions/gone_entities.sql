-- Entities that no longer live, as the log tells: removed and not made again, or under another key now and gone as that.
CREATE OR REPLACE FUNCTION llamalog.gone_entities()
    RETURNS TABLE (
        entity_type text,
        entity_id   text
    )
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
    WITH RECURSIVE
    removed AS MATERIALIZED (
        SELECT log.entity_type, log.entity_id, max(log.seq) AS seq
        FROM llamalog.log AS log
        WHERE log.op IN ('D', 'T')
            AND log.link_type IS NULL
        GROUP BY log.entity_type, log.entity_id
    ),
    gone (entity_type, entity_id) AS (
        SELECT removed.entity_type, removed.entity_id
        FROM removed
        WHERE NOT EXISTS (
                SELECT
                FROM llamalog.log AS later
                WHERE later.entity_id = removed.entity_id
                    AND later.entity_type = removed.entity_type
                    AND later.link_type IS NULL
                    AND later.seq > removed.seq
                    AND (later.op = 'I' OR later.previous_id IS NOT NULL)
            )
            -- moved to another partition under another key
            AND NOT EXISTS (
                SELECT
                FROM llamalog.log AS moved
                WHERE moved.previous_id = removed.entity_id
                    AND moved.entity_type = removed.entity_type
                    AND moved.link_type IS NULL
                    AND moved.seq > removed.seq
            )
        UNION
        SELECT renamed.entity_type, renamed.previous_id
        FROM gone
        JOIN llamalog.log AS renamed
            ON renamed.entity_id = gone.entity_id
            AND renamed.entity_type = gone.entity_type
            AND renamed.previous_id IS NOT NULL
            AND renamed.link_type IS NULL
        WHERE NOT EXISTS (
            SELECT
            FROM llamalog.log AS later
            WHERE later.entity_id = renamed.previous_id
                AND later.entity_type = renamed.entity_type
                AND later.link_type IS NULL
                AND later.seq > renamed.seq
                AND (later.op = 'I' OR later.previous_id IS NOT NULL)
        )
    )
    SELECT gone.entity_type, gone.entity_id
    FROM gone
    WHERE gone.entity_type IS NOT NULL
        AND gone.entity_id IS NOT NULL;
$function$;

COMMENT ON FUNCTION llamalog.gone_entities() IS
    'Entities that the log saw go and did not see come back; in doubt an entity counts as living.';
