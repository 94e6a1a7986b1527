-- Keeps the registry true to a table whose columns were renamed: what was redacted, ignored or the key stays so.
CREATE OR REPLACE FUNCTION llamalog.follow_renames(
    entity_type text,
    relation    oid
)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch    llamalog.watches;
    v_renamed  jsonb;
    v_redacted text[];
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = follow_renames.entity_type
        AND watch.unwatched_at IS NULL;
    v_renamed := llamalog.renamed_columns(v_watch, relation);
    v_redacted := llamalog.redacted_now(v_watch, relation);
    IF v_renamed = '{}' AND v_redacted <@ v_watch.redacted_columns THEN
        RETURN;
    END IF;
    v_watch := llamalog.with_new_names(
        v_watch,
        v_renamed,
        ARRAY(
            SELECT attribute.attname::text
            FROM pg_attribute AS attribute
            WHERE attribute.attrelid = relation
                AND attribute.attnum > 0
                AND NOT attribute.attisdropped
        )
    );
    IF NOT v_redacted <@ v_watch.redacted_columns THEN
        v_watch.redacted_columns := ARRAY(
            SELECT unnest(v_watch.redacted_columns)
            UNION
            SELECT unnest(v_redacted)
            ORDER BY 1
        );
        v_watch.options := jsonb_set(v_watch.options, '{redact}', to_jsonb(v_watch.redacted_columns));
    END IF;
    UPDATE llamalog.watches AS watch
    SET
        key_columns = v_watch.key_columns,
        subject_columns = v_watch.subject_columns,
        related_columns = v_watch.related_columns,
        ignored_columns = v_watch.ignored_columns,
        redacted_columns = v_watch.redacted_columns,
        label_column = v_watch.label_column,
        quality_column = v_watch.quality_column,
        source_column = v_watch.source_column,
        options = v_watch.options,
        column_numbers = (
            SELECT jsonb_object_agg(coalesce(v_renamed ->> known.key, known.key), known.value)
            FROM jsonb_each(watch.column_numbers) AS known
        )
    WHERE watch.entity_type = follow_renames.entity_type;
END;
$function$;

COMMENT ON FUNCTION llamalog.follow_renames(text, oid) IS
    'Puts the new names of renamed columns into llamalog.watches.';
