-- The indexes on keys and jobs are in the order of the language again. Locks the log against writes while they are built.
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
            'CREATE INDEX %I ON %s (%I, id)',
            concat('llama_logs_', v_index.name, '_idx'),
            v_log,
            v_index.key_column
        ) || v_index.condition;
        EXECUTE format('DROP INDEX llamalog.%I', concat('llama_logs_', v_index.name, '_bytes_idx'));
    END LOOP;
END;
$migration$;

DROP INDEX llamalog.jobs_job_id_idx;
CREATE INDEX jobs_job_id_idx
    ON llamalog.jobs (job_id, id);

DROP INDEX llamalog.renamings_old_id_idx;
CREATE INDEX renamings_old_id_idx
    ON llamalog.renamings (old_id);

DROP INDEX llamalog.renamings_new_id_idx;
CREATE INDEX renamings_new_id_idx
    ON llamalog.renamings (new_id);
