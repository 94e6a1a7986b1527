-- The lens: the log in canonical names and types, whichever table it is kept in. Columns are only ever appended.
CREATE OR REPLACE VIEW llamalog.log AS
SELECT
    llama_logs.id AS seq,
    llama_logs.op::text,
    llama_logs.entity_type,
    llama_logs.entity_id,
    llama_logs.operation,
    llama_logs.category::text,
    llama_logs.sources,
    llama_logs.status,
    llama_logs.reason,
    llama_logs.fields_enriched,
    llama_logs.data_quality_before,
    llama_logs.data_quality_after,
    llama_logs.error_message,
    llama_logs.error_code,
    llama_logs.retry_count,
    llama_logs.duration_ms,
    llama_logs.api_call_count,
    llama_logs.metadata,
    llama_logs.job_id,
    llama_logs.parent_job_id,
    llama_logs.root_job_id,
    llama_logs.is_root_job,
    llama_logs.triggered_by,
    llama_logs.user_id,
    llama_logs.created_at,
    llama_logs.source,
    llama_logs.before,
    llama_logs.after,
    llama_logs.related_type,
    llama_logs.related_id,
    llama_logs.link_type,
    llama_logs.previous_id,
    llama_logs.db_user,
    llama_logs.txid,
    llama_logs.transaction_at,
    llama_logs.id::text
FROM llamalog.llama_logs AS llama_logs;

COMMENT ON VIEW llamalog.log IS
    'Every change of every watched entity; seq is the order of the writes.';
COMMENT ON COLUMN llamalog.log.seq IS
    'Order of the writes; never depends on a clock.';
COMMENT ON COLUMN llamalog.log.op IS
    'I, U, D or T (TRUNCATE) of a captured write; null for a row that an application wrote itself.';
COMMENT ON COLUMN llamalog.log.entity_type IS
    'Registered type of the entity, as ALBUM; null for a row about no entity.';
COMMENT ON COLUMN llamalog.log.entity_id IS
    'Key of the entity as text; parts of a composite key joined by commas, commas and backslashes in them escaped.';
COMMENT ON COLUMN llamalog.log.operation IS
    'What the application calls it; by default type:category:source, as album:created:addAlbum.';
COMMENT ON COLUMN llamalog.log.category IS
    'CREATED, ENRICHED, CORRECTED, CACHED, FAILED, LINKED, UNLINKED, USER_ACTION, UPDATED, DELETED or TRUNCATED.';
COMMENT ON COLUMN llamalog.log.sources IS
    'Where the data came from, as {SPOTIFY}; from the context, else from the source column of the row.';
COMMENT ON COLUMN llamalog.log.status IS
    'SUCCESS for a captured write; applications also write FAILED, NO_DATA_AVAILABLE, SKIPPED, PREVIEW and others.';
COMMENT ON COLUMN llamalog.log.reason IS
    'Why, in the words of the application.';
COMMENT ON COLUMN llamalog.log.fields_enriched IS
    'CREATED: the columns that were not null. UPDATE: the columns that changed.';
COMMENT ON COLUMN llamalog.log.data_quality_before IS
    'Value of the quality column before the change; null where the table has none.';
COMMENT ON COLUMN llamalog.log.data_quality_after IS
    'Value of the quality column after the change; null where the table has none.';
COMMENT ON COLUMN llamalog.log.error_message IS
    'What went wrong, for FAILED.';
COMMENT ON COLUMN llamalog.log.error_code IS
    'SQLSTATE or the application''s own code, for FAILED.';
COMMENT ON COLUMN llamalog.log.retry_count IS
    'How often the attempt had been tried before.';
COMMENT ON COLUMN llamalog.log.duration_ms IS
    'Wall time of the job, milliseconds; null when unknown.';
COMMENT ON COLUMN llamalog.log.api_call_count IS
    'Calls to outside services that the job made.';
COMMENT ON COLUMN llamalog.log.metadata IS
    'Whatever the application adds; under "llamalog" what capture had to say, as a context value that it cut.';
COMMENT ON COLUMN llamalog.log.job_id IS
    'Job that wrote; without context its transaction. Null on a creation that has no job of its own: see parent_job_id.';
COMMENT ON COLUMN llamalog.log.parent_job_id IS
    'Job that caused this one; on a creation without a job of its own, the job of the entity it belongs to.';
COMMENT ON COLUMN llamalog.log.root_job_id IS
    'First ancestor of the job, as far as the writer knew.';
COMMENT ON COLUMN llamalog.log.is_root_job IS
    'True on the creation of the entity that a job was for (its head).';
COMMENT ON COLUMN llamalog.log.triggered_by IS
    'What set the job off, as admin_ui; without context the application_name of the session.';
COMMENT ON COLUMN llamalog.log.user_id IS
    'User that the application claims; db_user is what nobody can forge.';
COMMENT ON COLUMN llamalog.log.created_at IS
    'Instant of the write (clock_timestamp()).';
COMMENT ON COLUMN llamalog.log.source IS
    'Path through which the write entered, as addAlbum; see llamalog.source_paths. Null without context.';
COMMENT ON COLUMN llamalog.log.before IS
    'UPDATE: the changed columns as they were. DELETE and TRUNCATE: the whole row. Images: see docs/images.md.';
COMMENT ON COLUMN llamalog.log.after IS
    'UPDATE: the changed columns as they became. INSERT: the whole row of a link, and where the image is full.';
COMMENT ON COLUMN llamalog.log.related_type IS
    'Type of the whole that a part belongs to, or of the other end of a link; null when there is none.';
COMMENT ON COLUMN llamalog.log.related_id IS
    'Key of the whole that a part belongs to, or of the other end of a link.';
COMMENT ON COLUMN llamalog.log.link_type IS
    'Registered type of the link table whose row changed; null when the change is one of the entity itself.';
COMMENT ON COLUMN llamalog.log.previous_id IS
    'The key before a change of the key, of the entity or of the end of a link; otherwise null.';
COMMENT ON COLUMN llamalog.log.db_user IS
    'session_user of the connection that wrote.';
COMMENT ON COLUMN llamalog.log.txid IS
    'Transaction that wrote, in the cluster where it wrote; after a restore it names no transaction of the new one.';
COMMENT ON COLUMN llamalog.log.transaction_at IS
    'Start of the transaction that wrote.';
COMMENT ON COLUMN llamalog.log.id IS
    'Key of the row in its table; of an adopted log what the application gave it.';
