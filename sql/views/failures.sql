-- Failed attempts, and whether they were made good since.
CREATE OR REPLACE VIEW llamalog.failures AS
SELECT
    log.seq,
    log.created_at,
    log.entity_type,
    log.entity_id,
    log.operation,
    log.source,
    log.error_code,
    log.error_message,
    log.reason,
    log.retry_count,
    log.job_id,
    log.parent_job_id,
    log.root_job_id,
    log.user_id,
    llamalog.resolved_at(log) AS resolved_at
FROM llamalog.log AS log
WHERE log.status = 'FAILED'
    OR log.category = 'FAILED';

COMMENT ON VIEW llamalog.failures IS
    'Attempts that failed. Give a bound for created_at: without one the whole log is read. llamalog.recent_failures() has their titles too.';
COMMENT ON COLUMN llamalog.failures.seq IS
    'Order of the writes.';
COMMENT ON COLUMN llamalog.failures.created_at IS
    'When it failed.';
COMMENT ON COLUMN llamalog.failures.entity_type IS
    'Type of the entity that it was about; null for none.';
COMMENT ON COLUMN llamalog.failures.entity_id IS
    'Key of the entity; null for none.';
COMMENT ON COLUMN llamalog.failures.operation IS
    'What the application calls the attempt.';
COMMENT ON COLUMN llamalog.failures.source IS
    'Path on which it failed; null when not said.';
COMMENT ON COLUMN llamalog.failures.error_code IS
    'SQLSTATE or the application''s own code.';
COMMENT ON COLUMN llamalog.failures.error_message IS
    'What went wrong.';
COMMENT ON COLUMN llamalog.failures.reason IS
    'Why, in the words of the application.';
COMMENT ON COLUMN llamalog.failures.retry_count IS
    'How often it had been tried before.';
COMMENT ON COLUMN llamalog.failures.job_id IS
    'Job that failed.';
COMMENT ON COLUMN llamalog.failures.parent_job_id IS
    'Job that caused it.';
COMMENT ON COLUMN llamalog.failures.root_job_id IS
    'First ancestor of the job, as far as the writer knew.';
COMMENT ON COLUMN llamalog.failures.user_id IS
    'User that the application claims.';
COMMENT ON COLUMN llamalog.failures.resolved_at IS
    'When a later attempt of the same path succeeded, or the entity was removed; null while the failure stands.';
