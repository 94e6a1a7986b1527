-- Takes back what hang_truncate_capture() granted on a table, its partitions and their schema.
--
-- By what the catalogue says now: names that were noted may since have changed. A schema stays open while another
-- captured table is in it. With the rights of the caller, as the grants were made.
CREATE OR REPLACE FUNCTION llamalog.take_back_grants(
    relation    oid,
    entity_type text
)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_owner  oid;
    v_grants text[];
    v_grant  text;
BEGIN
    SELECT namespace.nspowner
    INTO v_owner
    FROM pg_namespace AS namespace
    WHERE namespace.nspname = 'llamalog';
    SELECT watch.grants
    INTO v_grants
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = take_back_grants.entity_type;
    FOR v_grant IN
        SELECT held.grant_text
        FROM llamalog.family(relation) AS member (oid)
        JOIN pg_class AS class
            ON class.oid = member.oid
            AND class.relowner <> v_owner
        CROSS JOIN LATERAL aclexplode(class.relacl) AS privilege
        CROSS JOIN LATERAL (SELECT format('SELECT ON TABLE %s', member.oid::regclass)) AS held (grant_text)
        WHERE privilege.grantee = v_owner
            AND privilege.privilege_type = 'SELECT'
            AND (
                held.grant_text = ANY (v_grants)
                OR EXISTS (
                    SELECT
                    FROM unnest(v_grants) AS noted (grant_text)
                    WHERE noted.grant_text LIKE 'SELECT ON TABLE %'
                        AND to_regclass(substr(noted.grant_text, 17)) IS NULL
                )
            )
        UNION
        -- and on what has left the family since
        SELECT noted.grant_text
        FROM unnest(v_grants) AS noted (grant_text)
        WHERE noted.grant_text LIKE 'SELECT ON TABLE %'
            AND to_regclass(substr(noted.grant_text, 17)) IS NOT NULL
    LOOP
        EXECUTE format('REVOKE %s FROM %s', v_grant, v_owner::regrole);
    END LOOP;
    UPDATE llamalog.watches AS watch
    SET grants = ARRAY(
        SELECT noted.grant_text
        FROM unnest(watch.grants) AS noted (grant_text)
        WHERE noted.grant_text LIKE 'USAGE ON SCHEMA %'
    )
    WHERE watch.entity_type = take_back_grants.entity_type;

    SELECT array_agg(noted.grant_text)
    INTO v_grants
    FROM llamalog.watches AS watch
    CROSS JOIN unnest(watch.grants) AS noted (grant_text)
    WHERE noted.grant_text LIKE 'USAGE ON SCHEMA %';
    FOR v_grant IN
        SELECT DISTINCT held.grant_text
        FROM llamalog.family(relation) AS member (oid)
        JOIN pg_class AS class
            ON class.oid = member.oid
        JOIN pg_namespace AS namespace
            ON namespace.oid = class.relnamespace
            AND namespace.nspowner <> v_owner
        CROSS JOIN LATERAL aclexplode(namespace.nspacl) AS privilege
        CROSS JOIN LATERAL (SELECT format('USAGE ON SCHEMA %s', namespace.oid::regnamespace)) AS held (grant_text)
        WHERE privilege.grantee = v_owner
            AND privilege.privilege_type = 'USAGE'
            AND (
                held.grant_text = ANY (v_grants)
                OR EXISTS (
                    SELECT
                    FROM unnest(v_grants) AS noted (grant_text)
                    WHERE to_regnamespace(substr(noted.grant_text, 17)) IS NULL
                )
            )
            AND NOT EXISTS (
                SELECT
                FROM llamalog.captured_tables() AS other
                JOIN pg_class AS other_class
                    ON other_class.oid = other.relation
                WHERE other_class.relnamespace = class.relnamespace
                    AND other.entity_type <> take_back_grants.entity_type
            )
        UNION
        -- and on a schema that the table has left since
        SELECT noted.grant_text
        FROM llamalog.watches AS watch
        CROSS JOIN unnest(watch.grants) AS noted (grant_text)
        WHERE watch.entity_type = take_back_grants.entity_type
            AND to_regnamespace(substr(noted.grant_text, 17)) IS NOT NULL
            AND NOT EXISTS (
                SELECT
                FROM llamalog.captured_tables() AS other
                JOIN pg_class AS other_class
                    ON other_class.oid = other.relation
                WHERE other_class.relnamespace = to_regnamespace(substr(noted.grant_text, 17))
                    AND other.entity_type <> take_back_grants.entity_type
            )
    LOOP
        EXECUTE format('REVOKE %s FROM %s', v_grant, v_owner::regrole);
        UPDATE llamalog.watches AS watch
        SET grants = array_remove(watch.grants, v_grant)
        WHERE v_grant = ANY (watch.grants);
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.take_back_grants(oid, text) IS
    'Part of llamalog unwatch: revokes what the owner of the log was granted for the capture of TRUNCATE.';
