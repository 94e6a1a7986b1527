-- Hangs the capture of TRUNCATE on one table, and lets the owner of the log read the rows that it will have to log.
CREATE OR REPLACE FUNCTION llamalog.hang_truncate_capture(
    relation    oid,
    entity_type text
)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_owner oid;
    v_class pg_class;
    v_grant text;
BEGIN
    SELECT namespace.nspowner
    INTO v_owner
    FROM pg_namespace AS namespace
    WHERE namespace.nspname = 'llamalog';
    SELECT class.*
    INTO v_class
    FROM pg_class AS class
    WHERE class.oid = relation;
    FOR v_grant IN
        SELECT wanted.grant_text
        FROM (
            VALUES
                (
                    format('USAGE ON SCHEMA %s', v_class.relnamespace::regnamespace),
                    has_schema_privilege(v_owner, v_class.relnamespace, 'USAGE')
                ),
                (format('SELECT ON TABLE %s', relation::regclass), has_table_privilege(v_owner, relation, 'SELECT'))
        ) AS wanted (grant_text, is_held)
        WHERE NOT wanted.is_held
    LOOP
        EXECUTE format('GRANT %s TO %s', v_grant, v_owner::regrole);
        UPDATE llamalog.watches AS watch
        SET grants = watch.grants || v_grant
        WHERE watch.entity_type = hang_truncate_capture.entity_type;
    END LOOP;
    PERFORM llamalog.let_owner_hang(relation);
    EXECUTE format(
        'CREATE OR REPLACE TRIGGER "00_llamalog_truncate" BEFORE TRUNCATE ON %s'
            || ' FOR EACH STATEMENT EXECUTE FUNCTION llamalog.capture_truncate(%L)',
        relation::regclass, entity_type
    );
    IF v_class.relkind = 'p' THEN
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER "00_llamalog_begin_update" BEFORE UPDATE OR DELETE ON %s'
                || ' FOR EACH STATEMENT EXECUTE FUNCTION llamalog.mark_update(%L)',
            relation::regclass, entity_type
        );
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER "00_llamalog_end_update" AFTER UPDATE ON %s'
                || ' FOR EACH STATEMENT EXECUTE FUNCTION llamalog.mark_update(%L)',
            relation::regclass, entity_type
        );
    END IF;
    PERFORM llamalog.fire_always(relation, entity_type);
END;
$function$;

COMMENT ON FUNCTION llamalog.hang_truncate_capture(oid, text) IS
    'Makes TRUNCATE of one table captured by llamalog.capture_truncate().';
