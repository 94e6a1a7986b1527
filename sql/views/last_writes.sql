-- When each watched table was last written to, as far as capture saw: of the last 30 days, since no index has the type.
CREATE OR REPLACE VIEW llamalog.last_writes AS
SELECT
    watch.entity_type,
    format('%I.%I', watch.schema_name, watch.table_name) AS table_name,
    watch.watched_at,
    write.last_written_at,
    coalesce(write.change_count, 0) AS change_count
FROM llamalog.watches AS watch
LEFT JOIN (
    SELECT
        coalesce(log.link_type, log.entity_type) AS entity_type,
        max(log.created_at) AS last_written_at,
        count(*) AS change_count
    FROM llamalog.log AS log
    WHERE log.created_at >= now() - interval '30 days'
        AND log.op IS NOT NULL
    GROUP BY 1
) AS write
    ON write.entity_type = watch.entity_type
WHERE watch.unwatched_at IS NULL;

COMMENT ON VIEW llamalog.last_writes IS
    'Tables watched now, one row each, with the last change that was captured in the last 30 days.';
COMMENT ON COLUMN llamalog.last_writes.entity_type IS
    'Name of one row of the table, as ALBUM.';
COMMENT ON COLUMN llamalog.last_writes.table_name IS
    'The table with its schema, as SQL spells it.';
COMMENT ON COLUMN llamalog.last_writes.watched_at IS
    'Since when changes are captured.';
COMMENT ON COLUMN llamalog.last_writes.last_written_at IS
    'Instant of the last change; null where nothing was written in the last 30 days.';
COMMENT ON COLUMN llamalog.last_writes.change_count IS
    'Changes in the last 30 days.';
