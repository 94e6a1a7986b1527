-- Forgets what questions about jobs answer with; the index on parent jobs is in the order of the language again. Locks the log
-- against writes while it is built.
DROP TYPE llamalog.impact_entity;
DROP TYPE llamalog.impact;
DROP TYPE llamalog.touch;
DROP TYPE llamalog.job_node;
DROP TYPE llamalog.family_job;

DO $migration$
DECLARE
    v_log regclass := coalesce(
        to_regclass('llamalog.llama_logs_before_adoption'),
        to_regclass('llamalog.llama_logs')
    );
BEGIN
    EXECUTE format(
        'CREATE INDEX llama_logs_parent_job_id_idx ON %s (parent_job_id, id) WHERE parent_job_id IS NOT NULL',
        v_log
    );
END;
$migration$;

DROP INDEX llamalog.llama_logs_parent_job_id_prefix_idx;

DROP INDEX llamalog.jobs_parent_job_id_idx;
CREATE INDEX jobs_parent_job_id_idx
    ON llamalog.jobs (parent_job_id, id)
    WHERE parent_job_id IS NOT NULL;
