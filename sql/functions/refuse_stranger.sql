-- Who owns another watched table could hang a capture on a table of his own, and forge changes of the watched one.
CREATE OR REPLACE FUNCTION llamalog.refuse_stranger(
    relation oid,
    watch    llamalog.watches
)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_registered oid := to_regclass(format('%I.%I', watch.schema_name, watch.table_name));
BEGIN
    -- nearly always, and cheap
    IF v_registered = relation THEN
        RETURN;
    END IF;
    IF EXISTS (
            SELECT
            FROM pg_class AS captured
            JOIN pg_class AS registered
                ON registered.oid = v_registered
                AND registered.relowner <> captured.relowner
            WHERE captured.oid = relation
                AND NOT pg_has_role(captured.relowner, registered.relowner, 'MEMBER')
                AND relation NOT IN (SELECT llamalog.family(registered.oid))
        )
    THEN
        RAISE EXCEPTION 'table "%" is not watched as %', relation::regclass, watch.entity_type
            USING ERRCODE = 'LL002',
                  DETAIL  = format('%s is watched as %s.', format('%I.%I', watch.schema_name, watch.table_name), watch.entity_type),
                  HINT    = 'Run: llamalog watch ' || relation::regclass;
    END IF;
END;
$function$;

COMMENT ON FUNCTION llamalog.refuse_stranger(oid, llamalog.watches) IS
    'Fails unless the table is the watched one, of its family, or of an owner who may act for its owner.';
