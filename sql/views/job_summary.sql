-- What each job changed in the last 30 days.
CREATE OR REPLACE VIEW llamalog.job_summary AS
SELECT
    touch.job_id,
    min(touch.root_job_id) AS root_job_id,
    min(touch.source) AS source,
    min(touch.user_id) AS user_id,
    min(touch.triggered_by) AS triggered_by,
    min(touch.db_user) AS db_user,
    min(touch.created_at) AS first_at,
    max(touch.created_at) AS last_at,
    count(DISTINCT (touch.touched_type, touch.entity_id, touch.related_id))
        FILTER (WHERE touch.entity_id IS NOT NULL) AS entity_count,
    count(*) AS change_count,
    count(*) FILTER (WHERE touch.category IN ('CREATED', 'LINKED')) AS created_count,
    count(*) FILTER (WHERE touch.category IN ('DELETED', 'UNLINKED', 'TRUNCATED')) AS deleted_count,
    count(*) FILTER (WHERE touch.category = 'FAILED') AS failure_count
FROM llamalog.touched(NULL, NULL, now() - interval '30 days', NULL) AS touch
GROUP BY touch.job_id;

COMMENT ON VIEW llamalog.job_summary IS
    'Jobs that changed something in the last 30 days, one row each; of one and its kin, at any time: llamalog.job(), llamalog.impact().';
COMMENT ON COLUMN llamalog.job_summary.job_id IS
    'The job; of one that gave each head a job of its own, itself. A transaction without context is a job, tx:...';
COMMENT ON COLUMN llamalog.job_summary.root_job_id IS
    'Its first ancestor, as far as the writer knew.';
COMMENT ON COLUMN llamalog.job_summary.source IS
    'Path through which it wrote; null without context, one of them where its changes differ.';
COMMENT ON COLUMN llamalog.job_summary.user_id IS
    'User that the application claims.';
COMMENT ON COLUMN llamalog.job_summary.triggered_by IS
    'What set it off; without context the application_name of the session.';
COMMENT ON COLUMN llamalog.job_summary.db_user IS
    'session_user of the connection that wrote.';
COMMENT ON COLUMN llamalog.job_summary.first_at IS
    'Its first change in that time.';
COMMENT ON COLUMN llamalog.job_summary.last_at IS
    'Its last change.';
COMMENT ON COLUMN llamalog.job_summary.entity_count IS
    'Entities and links that it touched.';
COMMENT ON COLUMN llamalog.job_summary.change_count IS
    'Its changes, of all categories.';
COMMENT ON COLUMN llamalog.job_summary.created_count IS
    'Rows that it created, of link tables too.';
COMMENT ON COLUMN llamalog.job_summary.deleted_count IS
    'Rows that it deleted, cascades included, of link tables too.';
COMMENT ON COLUMN llamalog.job_summary.failure_count IS
    'Failures recorded of it.';
