-- The lens: the log in canonical names and types, whichever table it is kept in. Columns are only ever appended.
CREATE OR REPLACE VIEW llamalog.log AS
SELECT
    llama_logs.id AS seq,
    llama_logs.op,
    llama_logs.entity_type,
    llama_logs.entity_id,
    llama_logs.operation,
    llama_logs.category,
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
    llama_logs.transaction_at
FROM llamalog.llama_logs AS llama_logs;

COMMENT ON VIEW llamalog.log IS
    'Every change of every watched entity; seq is the order of the writes. The columns are those of llamalog.llama_logs.';
