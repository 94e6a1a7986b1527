-- An entity that needs a person, told: since when, and because of which change by which job.
CREATE OR REPLACE FUNCTION llamalog.attention_told(needy llamalog.needy_entity)
    RETURNS SETOF llamalog.attention_row
    LANGUAGE plpgsql
    STABLE
    ROWS 1
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
DECLARE
    v_change  llamalog.log;
    v_because text;
BEGIN
    SELECT change.*
    INTO v_change
    FROM llamalog.turning_point(needy) AS change
    WHERE needy.entity_id IS NOT NULL;
    IF v_change.seq IS NOT NULL AND needy.rule <> 'unknown_provenance' THEN
        v_because := concat(
            CASE WHEN v_change.entity_type <> needy.entity_type THEN v_change.entity_type || ' ' END,
            llamalog.category_verb(v_change.category),
            llamalog.actor_phrase(
                v_change.user_id,
                v_change.triggered_by,
                v_change.db_user,
                v_change.source,
                (
                    SELECT path.description
                    FROM llamalog.source_paths AS path
                    WHERE path.source = v_change.source
                ),
                coalesce(v_change.job_id, v_change.parent_job_id),
                NULL,
                NULL
            )
        );
    END IF;
    RETURN NEXT ROW(
        needy.entity_type,
        needy.entity_id,
        needy.label,
        needy.rule,
        needy.detail,
        v_change.created_at,
        v_because,
        v_change.seq,
        v_change.entity_type,
        v_change.category,
        v_change.source,
        coalesce(v_change.job_id, v_change.parent_job_id),
        v_change.root_job_id,
        v_change.user_id
    )::llamalog.attention_row;
END;
$function$;

COMMENT ON FUNCTION llamalog.attention_told(llamalog.needy_entity) IS
    'The row of llamalog.attention() for one of llamalog.needing_attention().';
