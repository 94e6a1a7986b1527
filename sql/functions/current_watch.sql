-- How a table is watched, as far as its columns still stand: the tolerant capture works with what is left.
CREATE OR REPLACE FUNCTION llamalog.current_watch(
    relation    oid,
    entity_type text
)
    RETURNS llamalog.watches
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch    llamalog.watches;
    v_columns  text[];
    v_whole    oid := coalesce(pg_partition_root(relation), relation);
    v_redacted text[];
BEGIN
    SELECT *
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = current_watch.entity_type;
    IF NOT FOUND AND current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION 'table "%" is watched since after the snapshot of this transaction', relation::regclass
            USING ERRCODE = 'serialization_failure',
                  HINT    = 'Try the transaction again.';
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'table "%" is not watched as %', relation::regclass, left(entity_type, 100)
            USING ERRCODE = 'LL002',
                  DETAIL  = 'It has a llamalog trigger, but llamalog.watches does not know it.',
                  HINT    = 'Run: llamalog watch ' || relation::regclass;
    END IF;
    PERFORM llamalog.refuse_stranger(relation, v_watch);
    SELECT array_agg(attribute.attname::text ORDER BY attribute.attnum)
    INTO v_columns
    FROM pg_attribute AS attribute
    WHERE attribute.attrelid = relation
        AND attribute.attnum > 0
        AND NOT attribute.attisdropped;
    -- without event triggers nobody followed a rename yet; one that is redacted may have left its name to another
    IF v_watch.redacted_columns <> '{}'
        OR NOT coalesce(v_watch.ignored_columns || v_watch.subject_columns || v_watch.related_columns || v_watch.key_columns, '{}')
            <@ v_columns
    THEN
        v_redacted := llamalog.redacted_now(v_watch, v_whole);
        v_watch := llamalog.with_new_names(v_watch, llamalog.renamed_columns(v_watch, v_whole), v_columns);
        v_watch.redacted_columns := v_watch.redacted_columns || v_redacted;
    END IF;
    IF NOT v_watch.key_columns <@ v_columns THEN
        v_watch.key_columns := coalesce(
            llamalog.primary_key(relation),
            -- the whole row names it then, without what must not be shown
            ARRAY(
                SELECT name
                FROM unnest(v_columns) AS name
                WHERE name <> ALL (v_watch.redacted_columns)
            )
        );
    END IF;
    IF NOT v_watch.is_link THEN
        v_watch.subject_columns := v_watch.key_columns;
    ELSIF NOT v_watch.subject_columns <@ v_columns THEN
        -- a link that lost its first end speaks for itself
        v_watch.is_link := false;
        v_watch.subject_type := v_watch.entity_type;
        v_watch.subject_columns := v_watch.key_columns;
    END IF;
    IF NOT v_watch.related_columns <@ v_columns THEN
        v_watch.related_columns := NULL;
    END IF;
    IF v_watch.quality_column <> ALL (v_columns) THEN
        v_watch.quality_column := NULL;
    END IF;
    IF v_watch.source_column <> ALL (v_columns) THEN
        v_watch.source_column := NULL;
    END IF;
    IF v_watch.label_column <> ALL (v_columns) THEN
        v_watch.label_column := NULL;
    END IF;
    RETURN v_watch;
END;
$function$;

COMMENT ON FUNCTION llamalog.current_watch(oid, text) IS
    'The row of llamalog.watches, without the columns that the table no longer has; a lost key is the primary key of now.';
