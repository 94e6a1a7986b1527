-- Lets a role read the log, write rows of its own into it, or administer: what llamalog_reader, llamalog_writer and
-- llamalog_admin may, for a role of any name.
--
-- With the rights of the caller, who owns the log. llamalog migrate calls it for those three, as often as something new is
-- there to be granted; for another role call it again after an upgrade.
CREATE OR REPLACE FUNCTION llamalog.grant_access(
    grantee text,
    access  text
)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_grantee oid;
    v_grant   text;
BEGIN
    IF (access IN ('reader', 'writer', 'admin')) IS NOT TRUE THEN
        RAISE EXCEPTION 'access "%" is unknown', coalesce(left(access, 100), 'null')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'It is reader, writer or admin.';
    END IF;
    SELECT role.oid
    INTO v_grantee
    FROM pg_roles AS role
    WHERE role.rolname = grantee;
    IF v_grantee IS NULL THEN
        RAISE EXCEPTION 'role "%" does not exist', coalesce(grantee, 'null')
            USING ERRCODE = 'undefined_object',
                  HINT    = format('Let somebody who may run: CREATE ROLE %I NOLOGIN', coalesce(grantee, 'name'));
    END IF;
    -- what is not granted already: who runs this again changes nothing
    FOR v_grant IN
        SELECT 'USAGE ON SCHEMA llamalog'
        FROM pg_namespace AS namespace
        WHERE namespace.nspname = 'llamalog'
            AND NOT EXISTS (
                SELECT
                FROM aclexplode(namespace.nspacl) AS given
                WHERE given.grantee = v_grantee
            )
        UNION ALL
        -- months are read through the log
        SELECT format('SELECT ON TABLE %s', class.oid::regclass)
        FROM pg_class AS class
        WHERE access IN ('reader', 'admin')
            AND class.relnamespace = 'llamalog'::regnamespace
            AND class.relkind IN ('r', 'p', 'v')
            AND (NOT class.relispartition OR class.relname = 'llama_logs_default')
            -- SQL that capture runs: nobody's business
            AND class.relname <> 'row_queries'
            AND NOT has_table_privilege(v_grantee, class.oid, 'SELECT')
        UNION ALL
        SELECT format('EXECUTE ON FUNCTION %s', routine.oid::regprocedure)
        FROM pg_proc AS routine
        WHERE routine.pronamespace = 'llamalog'::regnamespace
            AND routine.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype)
            AND CASE
                -- what writes with the rights of the log; the right stays when PUBLIC loses it
                WHEN routine.prosecdef AND routine.provolatile = 'v'
                    THEN (
                            access = 'writer' AND routine.proname IN ('set_context', 'start_job', 'record_failure')
                            OR access = 'admin' AND routine.proname = 'maintain'
                        )
                        AND NOT EXISTS (
                            SELECT
                            FROM aclexplode(routine.proacl) AS given
                            WHERE given.grantee = v_grantee
                        )
                -- PUBLIC runs every question, unless that was taken from it
                ELSE access IN ('reader', 'admin') AND NOT has_function_privilege(v_grantee, routine.oid, 'EXECUTE')
            END
        UNION ALL
        -- what an application may say of an attempt of its own. The rest has defaults and is what capture knows: so its row
        -- is one without op, at its place and instant, of its transaction and session_user, whatever it says
        SELECT format('INSERT (%s), SELECT (id, created_at) ON TABLE llamalog.llama_logs', string_agg(own.name, ', '))
        FROM unnest(
            '{entity_type,entity_id,related_type,related_id,operation,category,status,source,sources,reason,fields_enriched,'
                'data_quality_before,data_quality_after,error_message,error_code,retry_count,duration_ms,api_call_count,'
                'job_id,parent_job_id,root_job_id,triggered_by,user_id,metadata}'::text[]
        ) AS own (name)
        WHERE access = 'writer'
        HAVING NOT bool_and(has_column_privilege(v_grantee, 'llamalog.llama_logs', own.name, 'INSERT'))
        UNION ALL
        SELECT format('INSERT, UPDATE, DELETE ON TABLE llamalog.%s', rules.name)
        FROM unnest('{source_paths,category_rules,attention_rules}'::text[]) AS rules (name)
        WHERE access = 'admin'
            AND NOT has_table_privilege(v_grantee, 'llamalog.' || rules.name, 'DELETE')
    LOOP
        EXECUTE format('GRANT %s TO %I', v_grant, grantee);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.grant_access(text, text) IS
    'Grants a role all that a reader, writer or admin of the log needs; call it as the owner of the log.';
