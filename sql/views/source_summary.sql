-- What entered through each path in the last 30 days.
CREATE OR REPLACE VIEW llamalog.source_summary AS
SELECT
    touch.source,
    min(touch.created_at) AS first_at,
    max(touch.created_at) AS last_at,
    count(DISTINCT touch.job_id) AS job_count,
    count(DISTINCT touch.user_id) AS user_count,
    count(*) AS change_count,
    count(*) FILTER (WHERE touch.category IN ('CREATED', 'LINKED')) AS created_count,
    count(*) FILTER (WHERE touch.category IN ('DELETED', 'UNLINKED', 'TRUNCATED')) AS deleted_count,
    count(*) FILTER (WHERE touch.category = 'FAILED') AS failure_count
FROM llamalog.touched(NULL, NULL, now() - interval '30 days', NULL) AS touch
GROUP BY touch.source;

COMMENT ON VIEW llamalog.source_summary IS
    'Paths through which something was written in the last 30 days, one row each; of one at any time: llamalog.impact(source => ...).';
COMMENT ON COLUMN llamalog.source_summary.source IS
    'The path; null is what came without context.';
COMMENT ON COLUMN llamalog.source_summary.first_at IS
    'First change in that time.';
COMMENT ON COLUMN llamalog.source_summary.last_at IS
    'Last change.';
COMMENT ON COLUMN llamalog.source_summary.job_count IS
    'Jobs that wrote through it.';
COMMENT ON COLUMN llamalog.source_summary.user_count IS
    'Users for whom they did, as the application claims.';
COMMENT ON COLUMN llamalog.source_summary.change_count IS
    'Changes, of all categories.';
COMMENT ON COLUMN llamalog.source_summary.created_count IS
    'Rows created, of link tables too.';
COMMENT ON COLUMN llamalog.source_summary.deleted_count IS
    'Rows deleted, cascades included, of link tables too.';
COMMENT ON COLUMN llamalog.source_summary.failure_count IS
    'Failures recorded.';
