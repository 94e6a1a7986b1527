-- What is watched, and how.
CREATE OR REPLACE VIEW llamalog.watched_tables AS
SELECT
    watch.entity_type,
    format('%I.%I', watch.schema_name, watch.table_name) AS table_name,
    CASE
        WHEN watch.is_link THEN format('link %s %s %s', watch.subject_type, llamalog.mark('dash'), watch.related_type)
        WHEN watch.related_type IS NOT NULL THEN 'part of ' || watch.related_type
        ELSE 'entity'
    END AS kind,
    watch.key_columns,
    watch.label_column,
    watch.ignored_columns,
    watch.redacted_columns,
    watch.image,
    watch.on_truncate,
    watch.capture,
    watch.watched_at
FROM llamalog.watches AS watch
WHERE watch.unwatched_at IS NULL;

COMMENT ON VIEW llamalog.watched_tables IS
    'Tables whose changes are captured now, one row each; llamalog.watches has every detail and the past.';
