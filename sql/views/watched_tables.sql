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
    watch.watched_at,
    pause.paused_at,
    pause.paused_by,
    pause.reason AS pause_reason,
    watch.options @> '{"row_security": true}' AS has_row_security
FROM llamalog.watches AS watch
LEFT JOIN llamalog.pauses AS pause
    ON pause.entity_type = watch.entity_type
    AND pause.resumed_at IS NULL
WHERE watch.unwatched_at IS NULL;

COMMENT ON VIEW llamalog.watched_tables IS
    'Tables whose changes are captured now, one row each; llamalog.watches has every detail and the past.';
COMMENT ON COLUMN llamalog.watched_tables.entity_type IS
    'Name of one row of the table, as ALBUM.';
COMMENT ON COLUMN llamalog.watched_tables.table_name IS
    'The table with its schema, as SQL spells it.';
COMMENT ON COLUMN llamalog.watched_tables.kind IS
    'entity, part of another type, or link between two.';
COMMENT ON COLUMN llamalog.watched_tables.key_columns IS
    'Columns that name a row, in key order.';
COMMENT ON COLUMN llamalog.watched_tables.label_column IS
    'Column that people know the entity by; null where the key must do.';
COMMENT ON COLUMN llamalog.watched_tables.ignored_columns IS
    'Columns whose change alone is no change.';
COMMENT ON COLUMN llamalog.watched_tables.redacted_columns IS
    'Columns whose values are never stored.';
COMMENT ON COLUMN llamalog.watched_tables.image IS
    'full: an INSERT stores the row; none: it does not.';
COMMENT ON COLUMN llamalog.watched_tables.on_truncate IS
    'log or refuse.';
COMMENT ON COLUMN llamalog.watched_tables.capture IS
    'rendered, statement or tolerant.';
COMMENT ON COLUMN llamalog.watched_tables.watched_at IS
    'Since when changes are captured.';
COMMENT ON COLUMN llamalog.watched_tables.paused_at IS
    'Since when that is paused; null where it is not.';
COMMENT ON COLUMN llamalog.watched_tables.paused_by IS
    'session_user of who paused it.';
COMMENT ON COLUMN llamalog.watched_tables.pause_reason IS
    'Why it is paused.';
COMMENT ON COLUMN llamalog.watched_tables.has_row_security IS
    'True where readers of the log see the changes of those rows only that the policies of the table show them.';
