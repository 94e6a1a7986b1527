-- What questions about jobs answer with, and the index on parent jobs in the order of bytes: it finds the jobs of the heads of
-- a job (J/ALBUM:7) by how they begin, whatever the language of the database, and is no dearer for a write than the one it
-- replaces.
--
-- Locks the log against writes while it is built, about a second for a million rows, then exclusively for an instant. On a
-- large log build it before, beside the writers, and this file only drops the old one:
--     CREATE INDEX llama_logs_parent_job_id_prefix_idx ON ONLY llamalog.llama_logs (parent_job_id text_pattern_ops, id)
--         WHERE parent_job_id IS NOT NULL;
-- for each partition CREATE INDEX CONCURRENTLY with the same columns and condition, then
--     ALTER INDEX llamalog.llama_logs_parent_job_id_prefix_idx ATTACH PARTITION that one.
-- Of a log that was adopted before: DROP INDEX CONCURRENTLY llama_logs_lens_parent_job_id_idx and build it anew likewise.
DO $migration$
DECLARE
    -- llamalog's own log, which has another name beside an adopted one
    v_log regclass := coalesce(
        to_regclass('llamalog.llama_logs_before_adoption'),
        to_regclass('llamalog.llama_logs')
    );
BEGIN
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS llama_logs_parent_job_id_prefix_idx ON %s (parent_job_id text_pattern_ops, id)'
            || ' WHERE parent_job_id IS NOT NULL',
        v_log
    );
END;
$migration$;

DROP INDEX llamalog.llama_logs_parent_job_id_idx;

CREATE TYPE llamalog.family_job AS (
    job_id text,
    depth  integer
);

COMMENT ON TYPE llamalog.family_job IS
    'A job, and how many steps it is from the one asked about.';
