-- The indexes on keys and jobs in the order of bytes. Questions ask them only for what is equal, and in a database with a language
-- (en_US.UTF-8) comparing by its rules made each lookup half as dear again; nothing asks for the order of the language.
--
-- Locks the log against writes while they are built, about five seconds for a million rows, then exclusively for an instant. On
-- a large log build them before, beside the writers, and this file only drops the old ones: for each name below CREATE INDEX name
-- ON ONLY llamalog.llama_logs with its columns, for each partition CREATE INDEX CONCURRENTLY likewise, then
--     ALTER INDEX llamalog.name ATTACH PARTITION that one.
-- An adopted log keeps the indexes that it has: DROP INDEX CONCURRENTLY llama_logs_lens_entity_id_idx and build it anew likewise.
DO $migration$
DECLARE
    -- llamalog's own log, which has another name beside an adopted one
    v_log   regclass := coalesce(
        to_regclass('llamalog.llama_logs_before_adoption'),
        to_regclass('llamalog.llama_logs')
    );
    v_index record;
BEGIN
    FOR v_index IN
        SELECT *
        FROM (
            VALUES
                ('entity_id', 'entity_id', ''),
                ('related_id', 'related_id', ' WHERE related_id IS NOT NULL'),
                ('previous_id', 'previous_id', ' WHERE previous_id IS NOT NULL'),
                ('renamed_entity_id', 'entity_id', ' WHERE previous_id IS NOT NULL'),
                ('job_id', 'job_id', ' WHERE job_id IS NOT NULL')
        ) AS index (name, key_column, condition)
    LOOP
        EXECUTE format(
            'CREATE INDEX IF NOT EXISTS %I ON %s (%I text_pattern_ops, id)',
            concat('llama_logs_', v_index.name, '_bytes_idx'),
            v_log,
            v_index.key_column
        ) || v_index.condition;
        EXECUTE format('DROP INDEX llamalog.%I', concat('llama_logs_', v_index.name, '_idx'));
    END LOOP;
END;
$migration$;

DROP INDEX llamalog.jobs_job_id_idx;
CREATE INDEX jobs_job_id_idx
    ON llamalog.jobs (job_id text_pattern_ops, id);

DROP INDEX llamalog.renamings_old_id_idx;
CREATE INDEX renamings_old_id_idx
    ON llamalog.renamings (old_id text_pattern_ops);

DROP INDEX llamalog.renamings_new_id_idx;
CREATE INDEX renamings_new_id_idx
    ON llamalog.renamings (new_id text_pattern_ops);
