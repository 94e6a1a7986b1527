-- Records that a job failed: called after its transaction was rolled back, in one that commits.
CREATE OR REPLACE FUNCTION llamalog.record_failure(
    error_message text,
    error_code    text DEFAULT NULL,
    job_id        text DEFAULT NULL,
    entity_type   text DEFAULT NULL,
    entity_id     text DEFAULT NULL,
    source        text DEFAULT NULL,
    parent_job_id text DEFAULT NULL,
    root_job_id   text DEFAULT NULL,
    user_id       text DEFAULT NULL,
    operation     text DEFAULT NULL,
    reason        text DEFAULT NULL,
    triggered_by  text DEFAULT NULL,
    sources       text[] DEFAULT NULL,
    retry_count   integer DEFAULT 0,
    duration_ms   integer DEFAULT NULL,
    metadata      jsonb DEFAULT NULL
)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    v_entity_type text := CASE WHEN entity_type IS NOT NULL THEN llamalog.entity_type(entity_type) END;
    v_job_id      text := left(coalesce(nullif(job_id, ''), 'failed:' || gen_random_uuid()), 200);
    v_seq         bigint;
BEGIN
    IF (v_entity_type IS NULL) <> (entity_id IS NULL) THEN
        RAISE EXCEPTION 'a failure names an entity by type and id, or none'
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL  = format('entity_type is %L, entity_id is %L.', entity_type, entity_id),
                  HINT    = 'Pass both entity_type and entity_id, or neither.';
    END IF;
    INSERT INTO llamalog.llama_logs (
        entity_type, entity_id, operation, category, status, source, sources, reason,
        error_message, error_code, retry_count, duration_ms,
        job_id, parent_job_id, root_job_id, triggered_by, user_id, metadata
    )
    VALUES (
        v_entity_type,
        CASE WHEN v_entity_type IS NOT NULL THEN llamalog.entity_id(v_entity_type, entity_id) END,
        left(coalesce(operation, concat_ws(':', coalesce(lower(v_entity_type), 'job'), 'failed', source)), 200),
        'FAILED', 'FAILED', left(nullif(source, ''), 200), sources, reason,
        llamalog.redacted_error(error_message, error_code, v_entity_type), left(error_code, 50),
        coalesce(retry_count, 0), duration_ms,
        v_job_id, left(nullif(parent_job_id, ''), 200),
        left(
            coalesce(
                nullif(root_job_id, ''), llamalog.first_ancestor(nullif(parent_job_id, '')), nullif(parent_job_id, ''), v_job_id
            ),
            200
        ),
        left(triggered_by, 200), left(nullif(user_id, ''), 200),
        -- under "llamalog" only capture speaks
        CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata - 'llamalog' ELSE metadata END
    )
    RETURNING id INTO v_seq;
    RETURN v_seq;
END;
$function$;

COMMENT ON FUNCTION llamalog.record_failure(
    text, text, text, text, text, text, text, text, text, text, text, text, text[], integer, integer, jsonb
) IS
    'Writes a FAILED row linked to the job that failed, and returns its seq. Call it after the rollback.';
