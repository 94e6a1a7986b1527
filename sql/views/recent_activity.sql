-- What happened, the newest first; take as many rows as you need.
CREATE OR REPLACE VIEW llamalog.recent_activity AS
SELECT
    log.created_at,
    shown.category,
    shown.entity_type,
    shown.entity_id,
    shown.link_type,
    shown.related_type,
    shown.related_id,
    shown.source,
    shown.user_id,
    shown.triggered_by,
    shown.db_user,
    llamalog.working_job(shown) AS job_id,
    shown.operation,
    shown.status,
    llamalog.change_detail(
        shown.op, shown.fields_enriched, shown.before, shown.after, shown.data_quality_before, shown.data_quality_after,
        shown.error_code, shown.error_message, shown.reason
    ) AS detail,
    log.seq
FROM llamalog.log AS log
CROSS JOIN LATERAL llamalog.presented(log) AS shown
ORDER BY log.seq DESC;

COMMENT ON VIEW llamalog.recent_activity IS
    'Every change, the newest first: SELECT * FROM llamalog.recent_activity LIMIT 50. Bound it by seq, or ask llamalog.log for a time.';
COMMENT ON COLUMN llamalog.recent_activity.created_at IS
    'Instant of the write.';
COMMENT ON COLUMN llamalog.recent_activity.category IS
    'CREATED, ENRICHED, CORRECTED, CACHED, FAILED, LINKED, UNLINKED, USER_ACTION, UPDATED, DELETED or TRUNCATED.';
COMMENT ON COLUMN llamalog.recent_activity.entity_type IS
    'Type of the entity, as ALBUM; null for a row about no entity.';
COMMENT ON COLUMN llamalog.recent_activity.entity_id IS
    'Key of the entity.';
COMMENT ON COLUMN llamalog.recent_activity.link_type IS
    'Type of the link table whose row changed; null when the change is one of the entity itself.';
COMMENT ON COLUMN llamalog.recent_activity.related_type IS
    'Type of the whole that a part belongs to, or of the other end of a link.';
COMMENT ON COLUMN llamalog.recent_activity.related_id IS
    'Key of that.';
COMMENT ON COLUMN llamalog.recent_activity.source IS
    'Path through which the write entered; null without context.';
COMMENT ON COLUMN llamalog.recent_activity.user_id IS
    'User that the application claims.';
COMMENT ON COLUMN llamalog.recent_activity.triggered_by IS
    'What set the job off; without context the application_name of the session.';
COMMENT ON COLUMN llamalog.recent_activity.db_user IS
    'session_user of the connection that wrote.';
COMMENT ON COLUMN llamalog.recent_activity.job_id IS
    'Job at work; see llamalog.working_job().';
COMMENT ON COLUMN llamalog.recent_activity.operation IS
    'What the application calls it.';
COMMENT ON COLUMN llamalog.recent_activity.status IS
    'SUCCESS for a captured write.';
COMMENT ON COLUMN llamalog.recent_activity.detail IS
    'In a line: fields with old and new value, quality, error, reason; null when there is nothing to say.';
COMMENT ON COLUMN llamalog.recent_activity.seq IS
    'Order of the writes.';
