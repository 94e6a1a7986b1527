-- Sets the context of a revert, a job caused by the one that it takes back, and gives its id.
CREATE OR REPLACE FUNCTION llamalog.revert_context(
    change      bigint,
    job_id      text,
    entity_type text,
    entity_id   text,
    to_at       timestamptz,
    planned     pg_snapshot,
    user_id     text,
    reason      text
)
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $function$
#variable_conflict use_column
DECLARE
    v_parent text := revert_context.job_id;
    v_root   text;
    v_entity text;
BEGIN
    IF revert_context.entity_type IS NOT NULL THEN
        v_entity := concat_ws(
            ' ',
            llamalog.entity_type(revert_context.entity_type),
            llamalog.resolve(revert_context.entity_type, revert_context.entity_id)
        );
    END IF;
    SELECT
        coalesce(v_parent, CASE WHEN count(DISTINCT coalesce(made.job_id, made.parent_job_id)) = 1 THEN min(coalesce(made.job_id, made.parent_job_id)) END),
        CASE WHEN count(DISTINCT made.root_job_id) = 1 THEN min(made.root_job_id) END
    INTO v_parent, v_root
    FROM llamalog.reverted_changes(
        revert_context.change, revert_context.job_id, revert_context.entity_type, revert_context.entity_id, to_at, planned
    ) AS made;
    RETURN llamalog.set_context(
        source => 'revert',
        parent_job_id => v_parent,
        root_job_id => v_root,
        user_id => coalesce(revert_context.user_id, nullif(current_setting('llamalog.user_id', true), '')),
        category => 'CORRECTED',
        reason => revert_context.reason,
        metadata => jsonb_build_object('reverts', jsonb_strip_nulls(jsonb_build_object(
            'change', revert_context.change,
            'job', revert_context.job_id,
            'entity', v_entity,
            'to', to_at
        )))
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_context(bigint, text, text, text, timestamptz, pg_snapshot, text, text) IS
    'Part of llamalog.revert(): sets source, job, user, reason and what is reverted, and returns the job id.';
