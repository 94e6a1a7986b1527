-- Says, for the rest of the transaction, through which path, by which job and for whom it writes; gives the job id back.
CREATE OR REPLACE FUNCTION llamalog.set_context(
    source        text DEFAULT NULL,
    job_id        text DEFAULT NULL,
    parent_job_id text DEFAULT NULL,
    user_id       text DEFAULT NULL,
    root_job_id   text DEFAULT NULL,
    category      text DEFAULT NULL,
    operation     text DEFAULT NULL,
    reason        text DEFAULT NULL,
    triggered_by  text DEFAULT NULL,
    sources       text[] DEFAULT NULL,
    metadata      jsonb DEFAULT NULL
)
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_variable
DECLARE
    v_job_id text := coalesce(
        nullif(job_id, ''),
        concat_ws(':', nullif(left(source, 150), ''), gen_random_uuid())
    );
    v_root   text := coalesce(nullif(root_job_id, ''), llamalog.first_ancestor(nullif(parent_job_id, '')), '');
    v_path   llamalog.source_paths;
    v_stack  text;
BEGIN
    IF statement_timestamp() = transaction_timestamp()
        -- statements that come in one message begin at the same time
        AND current_query() !~ ';[[:space:]]*[^[:space:]]'
    THEN
        GET DIAGNOSTICS v_stack = PG_CONTEXT;
        -- called by a function, the context serves what that writes
        IF position(E'\n' IN v_stack) = 0 THEN
            RAISE NOTICE 'the context lasts until the end of the transaction, and this one seems to be a single statement'
                USING HINT = 'Set it between BEGIN and COMMIT, before the writes.';
        END IF;
    END IF;
    SELECT path.*
    INTO v_path
    FROM llamalog.source_paths AS path
    WHERE path.source = set_context.source;
    -- the whole context is replaced: nothing of an earlier one shines through
    PERFORM
        set_config('llamalog.source', coalesce(source, ''), true),
        set_config('llamalog.job_id', v_job_id, true),
        set_config('llamalog.parent_job_id', coalesce(parent_job_id, ''), true),
        set_config('llamalog.root_job_id', v_root, true),
        set_config('llamalog.user_id', coalesce(user_id, ''), true),
        set_config('llamalog.category', coalesce(category, ''), true),
        set_config('llamalog.operation', coalesce(operation, ''), true),
        set_config('llamalog.reason', coalesce(reason, ''), true),
        set_config('llamalog.triggered_by', coalesce(triggered_by, ''), true),
        set_config('llamalog.sources', coalesce(array_to_string(sources, ','), ''), true),
        set_config('llamalog.metadata', coalesce(metadata::text, ''), true),
        -- what the path makes, so that capture need not look it up for each row; it holds for this source only
        set_config('llamalog.path', coalesce(source, ''), true),
        set_config(
            'llamalog.head',
            coalesce(CASE v_path.makes WHEN 'one' THEN '1' WHEN 'many' THEN '*' END || coalesce(v_path.head_type, ''), ''),
            true
        ),
        -- and what the rules say of a change, which holds for this source and operation only
        set_config(
            'llamalog.judged',
            format('%L %L', left(nullif(source, ''), 200), left(nullif(operation, ''), 200)),
            true
        ),
        set_config(
            'llamalog.judgement',
            coalesce(
                llamalog.known_category(
                    left(nullif(operation, ''), 200), NULL, left(nullif(source, ''), 200),
                    '{ENRICHED,CORRECTED,CACHED,FAILED,USER_ACTION,UPDATED}'
                ),
                ''
            ),
            true
        );
    -- with a root in any case: it is not looked for twice
    PERFORM llamalog.start_job(v_job_id, parent_job_id, coalesce(nullif(v_root, ''), parent_job_id), source, user_id, triggered_by);
    RETURN left(v_job_id, 200);
END;
$function$;

COMMENT ON FUNCTION llamalog.set_context(text, text, text, text, text, text, text, text, text, text[], jsonb) IS
    'Sets the context of this transaction, records the job and returns its id; a job without id gets one.';
