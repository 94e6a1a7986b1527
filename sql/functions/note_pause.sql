-- Writes into the log that capture was paused, resumed or kept on, with the context of whoever did it.
CREATE OR REPLACE FUNCTION llamalog.note_pause(
    entity_type text,
    operation   text,
    reason      text
)
    RETURNS bigint
    LANGUAGE sql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
    INSERT INTO llamalog.llama_logs (
        entity_type, operation, category, reason, triggered_by, user_id, source, job_id, parent_job_id, root_job_id
    )
    SELECT
        note_pause.entity_type, note_pause.operation, 'USER_ACTION', note_pause.reason, 'llamalog',
        context.user_id, context.source, context.job_id, context.parent_job_id,
        coalesce(context.root_job_id, context.parent_job_id, context.job_id)
    FROM (
        SELECT
            left(nullif(current_setting('llamalog.user_id', true), ''), 200) AS user_id,
            left(nullif(current_setting('llamalog.source', true), ''), 200) AS source,
            left(nullif(current_setting('llamalog.job_id', true), ''), 200) AS job_id,
            left(nullif(current_setting('llamalog.parent_job_id', true), ''), 200) AS parent_job_id,
            left(nullif(current_setting('llamalog.root_job_id', true), ''), 200) AS root_job_id
    ) AS context
    RETURNING id;
$function$;

COMMENT ON FUNCTION llamalog.note_pause(text, text, text) IS
    'Part of llamalog.pause() and resume(): seq of a row about the type, about no entity; db_user says who.';
