-- Who may pause and resume capture, and of what; and that nobody else changes the captures meanwhile.
CREATE OR REPLACE FUNCTION llamalog.check_pausing(given text)
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_names text[];
    v_types text[];
BEGIN
    IF NOT llamalog.may_administer() THEN
        RAISE EXCEPTION 'role "%" may not pause or resume capture', coalesce(nullif(current_setting('role'), 'none'), session_user)
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL  = 'It takes a superuser, a member of the owner of the log, or of llamalog_admin; owning the table does not do.',
                  HINT    = 'Log in as one; a function or SET ROLE does not make one of you.';
    END IF;
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'pausing and resuming capture need READ COMMITTED'
            USING ERRCODE = 'invalid_transaction_state',
                  DETAIL  = format('This transaction is %s.', upper(current_setting('transaction_isolation'))),
                  HINT    = 'Ask in a transaction of its own.';
    END IF;
    -- llamalog watch and migrate take it too
    LOCK TABLE llamalog._yoyo_migration IN SHARE ROW EXCLUSIVE MODE;
    SELECT array_agg(watch.entity_type)
    INTO v_types
    FROM llamalog.watches AS watch
    WHERE watch.unwatched_at IS NULL
        AND lower(watch.entity_type) = lower(given);
    IF v_types IS NULL THEN
        BEGIN
            v_names := parse_ident(given);
        EXCEPTION
            WHEN invalid_parameter_value THEN
                v_names := ARRAY[given];  -- no name; nothing is watched as that
        END;
        SELECT array_agg(watch.entity_type)
        INTO v_types
        FROM llamalog.watches AS watch
        WHERE watch.unwatched_at IS NULL
            AND watch.table_name = v_names[cardinality(v_names)]
            AND (cardinality(v_names) = 1 OR watch.schema_name = v_names[cardinality(v_names) - 1]);
    END IF;
    IF v_types IS NULL THEN
        RAISE EXCEPTION '"%" is not watched', left(given, 100)
            USING ERRCODE = 'LL002',
                  DETAIL  = 'No table that is watched has that name or entity type.',
                  HINT    = 'Run llamalog status to see what is.';
    ELSIF cardinality(v_types) > 1 THEN
        RAISE EXCEPTION '% watched tables are called "%"', cardinality(v_types), left(given, 100)
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL  = format('They are watched as %s.', array_to_string(v_types, ', ')),
                  HINT    = 'Name the schema too, or the entity type.';
    END IF;
    RETURN v_types[1];
END;
$function$;

COMMENT ON FUNCTION llamalog.check_pausing(text) IS
    'Part of llamalog.pause() and resume(): the entity type of a watched table, named by that or as SQL does; raises 42501 for who may not, 25000 above READ COMMITTED, LL002.';
