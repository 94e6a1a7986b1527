-- How a table is watched, its columns by the names that they have now.
CREATE OR REPLACE FUNCTION llamalog.with_new_names(
    watch   llamalog.watches,
    renamed jsonb,
    columns text[]
)
    RETURNS llamalog.watches
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch  llamalog.watches := watch;
    v_option record;
BEGIN
    v_watch.key_columns := llamalog.new_names(watch.key_columns, renamed);
    v_watch.subject_columns := llamalog.new_names(watch.subject_columns, renamed);
    v_watch.related_columns := llamalog.new_names(watch.related_columns, renamed);
    v_watch.ignored_columns := llamalog.new_names(watch.ignored_columns, renamed);
    -- another column may have taken the old name: in doubt, both
    v_watch.redacted_columns := ARRAY(
        SELECT redacted.name
        FROM (
            SELECT unnest(llamalog.new_names(watch.redacted_columns, renamed))
            UNION
            SELECT unnest(watch.redacted_columns)
        ) AS redacted (name)
        WHERE redacted.name = ANY (columns)
        ORDER BY redacted.name
    );
    v_watch.label_column := coalesce(renamed ->> watch.label_column, watch.label_column);
    v_watch.quality_column := coalesce(renamed ->> watch.quality_column, watch.quality_column);
    v_watch.source_column := coalesce(renamed ->> watch.source_column, watch.source_column);
    FOR v_option IN
        SELECT given.key AS name, given.value
        FROM jsonb_each(watch.options) AS given
        WHERE given.key IN ('key', 'ignore', 'label', 'quality', 'source', 'part_of')
    LOOP
        v_watch.options := jsonb_set(
            v_watch.options,
            ARRAY[v_option.name],
            CASE jsonb_typeof(v_option.value)
                WHEN 'array' THEN to_jsonb(
                    llamalog.new_names(ARRAY(SELECT jsonb_array_elements_text(v_option.value)), renamed)
                )
                ELSE coalesce(renamed -> (v_option.value #>> '{}'), v_option.value)
            END
        );
    END LOOP;
    IF watch.options ? 'redact' THEN
        v_watch.options := jsonb_set(v_watch.options, '{redact}', to_jsonb(v_watch.redacted_columns));
    END IF;
    RETURN v_watch;
END;
$function$;

COMMENT ON FUNCTION llamalog.with_new_names(llamalog.watches, jsonb, text[]) IS
    'The row of llamalog.watches with renamed columns followed, in its options too; columns: those that the table has now.';
