-- The SQL that gives the log the row security that it is to carry over, and takes it off again after the last table; nothing
-- while all is as it should be.
--
-- A type is protected until llamalog watch --no-row-security: unwatching its table, or dropping it, opens no history. One
-- restrictive policy each, so that neither another type nor a policy of somebody else's opens what it closes. The lens
-- becomes security_invoker: it is the one way to the log that every question and view goes; while no type is protected it
-- is not, for who was granted the lens alone reads on. Months are closed themselves: policies of the log do not hold there.
CREATE OR REPLACE FUNCTION llamalog.row_security_steps()
    RETURNS SETOF text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
DECLARE
    c_log          CONSTANT regclass := 'llamalog.llama_logs';
    v_is_protected boolean;
    v_is_ours      boolean;
BEGIN
    IF NOT llamalog.is_partitioned(c_log) THEN
        RETURN;  -- an adopted log is a table of the application's, which its policies would hit
    END IF;
    v_is_protected := EXISTS (
        SELECT
        FROM llamalog.watches AS watch
        WHERE watch.options @> '{"row_security": true}'
    );
    -- policies of somebody else's are left to him
    v_is_ours := v_is_protected OR NOT EXISTS (
        SELECT
        FROM pg_policy AS policy
        WHERE policy.polrelid = c_log
            AND coalesce(obj_description(policy.oid, 'pg_policy'), '') NOT LIKE 'Carried over by llamalog watch%'
    );
    RETURN QUERY
    WITH
    protected AS (
        SELECT
            watch.*,
            llamalog.sight_name(watch.entity_type) AS sight,
            EXISTS (
                SELECT
                FROM pg_proc AS asked
                WHERE asked.pronamespace = 'llamalog'::regnamespace
                    AND asked.proname = llamalog.sight_name(watch.entity_type)
            ) AS can_ask
        FROM llamalog.watches AS watch
        WHERE watch.options @> '{"row_security": true}'
    ),
    wanted AS (
        SELECT made.name, made.definition
        FROM (
            VALUES
                ('llamalog_reads', 'AS PERMISSIVE FOR SELECT USING (true)'),
                ('llamalog_writes', 'AS PERMISSIVE FOR INSERT WITH CHECK (true)')
        ) AS made (name, definition)
        WHERE v_is_protected
        UNION ALL
        SELECT
            protected.sight,
            format(
                -- the cheap first; then who reads all; then, for INSERT ... RETURNING, what this transaction wrote itself
                'AS RESTRICTIVE FOR SELECT USING (%s'
                    ' OR (SELECT llamalog.reads_all())'
                    ' OR op IS NULL AND txid = pg_current_xact_id_if_assigned() AND transaction_at = transaction_timestamp()'
                    ' OR %s)',
                CASE
                    WHEN protected.is_link THEN format('(link_type = %L) IS NOT TRUE', protected.entity_type)
                    ELSE format('(%L IN (entity_type, related_type)) IS NOT TRUE', protected.entity_type)
                END,
                CASE
                    -- the history of a type whose table went before it could be asked
                    WHEN NOT protected.can_ask THEN 'false'
                    WHEN protected.is_link THEN format('llamalog.%I(entity_id, related_id)', protected.sight)
                    -- a link is seen by who sees both its ends; the whole of a part is named in the part itself
                    ELSE format(
                        '((entity_type = %1$L) IS NOT TRUE OR llamalog.%2$I(entity_id, NULL))'
                            ' AND ((link_type IS NOT NULL AND related_type = %1$L) IS NOT TRUE OR llamalog.%2$I(related_id, NULL))',
                        protected.entity_type, protected.sight
                    )
                END
            )
        FROM protected
    ),
    described AS (
        SELECT
            wanted.name,
            wanted.definition,
            format('Carried over by llamalog watch --row-security (%s).', md5(wanted.definition)) AS remark
        FROM wanted
    ),
    present AS (
        SELECT policy.polname::text AS name, obj_description(policy.oid, 'pg_policy') AS remark
        FROM pg_policy AS policy
        WHERE policy.polrelid = c_log
    ),
    step (number, statement) AS (
        SELECT 1, format('DROP POLICY %I ON %s', present.name, c_log)
        FROM present
        WHERE NOT EXISTS (
                SELECT
                FROM described
                WHERE described.name = present.name
                    AND described.remark = present.remark
            )
            AND (
                present.remark LIKE 'Carried over by llamalog watch%'
                OR present.name IN (SELECT described.name FROM described)
            )
        UNION ALL
        SELECT
            2,
            format('CREATE POLICY %I ON %s %s', described.name, c_log, described.definition)
                || format('; COMMENT ON POLICY %I ON %s IS %L', described.name, c_log, described.remark)
        FROM described
        WHERE NOT EXISTS (
            SELECT
            FROM present
            WHERE present.name = described.name
                AND present.remark = described.remark
        )
        UNION ALL
        -- the log first, as who reads and who writes lock it
        SELECT
            3 + member.level,
            format(
                'ALTER TABLE %s %s ROW LEVEL SECURITY', member.relid, CASE WHEN v_is_protected THEN 'ENABLE' ELSE 'DISABLE' END
            )
        FROM pg_partition_tree(c_log) AS member
        JOIN pg_class AS class
            ON class.oid = member.relid
        WHERE class.relrowsecurity <> v_is_protected
            AND v_is_ours
        UNION ALL
        SELECT
            10,
            format(
                'ALTER VIEW llamalog.log %s', CASE WHEN v_is_protected THEN 'SET (security_invoker = true)' ELSE 'RESET (security_invoker)' END
            )
        FROM pg_class AS lens
        WHERE lens.oid = 'llamalog.log'::regclass
            AND coalesce('security_invoker=true' = ANY (lens.reloptions), false) <> v_is_protected
        UNION ALL
        -- who was granted the lens alone, when it read the log for him
        SELECT
            11,
            format('GRANT SELECT ON %s TO %s', c_log, CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END)
        FROM pg_class AS lens
        JOIN pg_class AS log
            ON log.oid = c_log
        CROSS JOIN LATERAL aclexplode(lens.relacl) AS given
        WHERE lens.oid = 'llamalog.log'::regclass
            AND v_is_protected
            AND given.privilege_type = 'SELECT'
            AND given.grantee NOT IN (log.relowner, lens.relowner)
            AND NOT EXISTS (
                SELECT
                FROM aclexplode(log.relacl) AS held
                WHERE held.grantee = given.grantee
                    AND held.privilege_type = 'SELECT'
            )
        UNION ALL
        SELECT 12, format('DROP FUNCTION %s', asked.oid::regprocedure)
        FROM pg_proc AS asked
        JOIN llamalog.watches AS watch
            ON llamalog.sight_name(watch.entity_type) = asked.proname
        WHERE asked.pronamespace = 'llamalog'::regnamespace
            AND NOT watch.options @> '{"row_security": true}'
    )
    SELECT step.statement
    FROM step
    ORDER BY step.number, step.statement;
END;
$function$;

COMMENT ON FUNCTION llamalog.row_security_steps() IS
    'What llamalog.fit_row_security() has to do so that the log is as protected as llamalog.watches says; no rows when nothing.';
