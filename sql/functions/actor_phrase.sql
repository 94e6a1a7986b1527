-- Who and what did it, as the end of a sentence.
CREATE OR REPLACE FUNCTION llamalog.actor_phrase(
    user_id      text,
    triggered_by text,
    db_user      text,
    source       text,
    description  text,
    job_id       text,
    cause        text,
    cause_source text
)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT concat(
        CASE
            WHEN actor_phrase.user_id IS NOT NULL THEN ' by user ' || actor_phrase.user_id
            WHEN actor_phrase.source IS NULL
                THEN concat(
                    ' by role ' || actor_phrase.db_user,
                    ' with ' || actor_phrase.triggered_by,
                    CASE WHEN actor_phrase.job_id LIKE 'tx:%' THEN ', outside any known job' END
                )
        END,
        ' through ' || actor_phrase.source,
        ' (' || lower(left(actor_phrase.description, 1)) || substr(actor_phrase.description, 2) || ')',
        CASE WHEN actor_phrase.job_id NOT LIKE 'tx:%' THEN ', job ' || actor_phrase.job_id END,
        CASE
            WHEN actor_phrase.cause NOT LIKE 'tx:%'
                THEN ', caused by ' || coalesce(actor_phrase.cause_source || ' job ', 'job ') || actor_phrase.cause
        END
    );
$function$;

COMMENT ON FUNCTION llamalog.actor_phrase(text, text, text, text, text, text, text, text) IS
    'by user U through S (what S is), job J, caused by C; the parts that are known. Where neither user nor path was named: by role R with what it wrote with.';
