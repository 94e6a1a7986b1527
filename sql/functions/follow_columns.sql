-- Keeps the registry true to the columns of a watched table, and notes which came, went or got another name.
CREATE OR REPLACE FUNCTION llamalog.follow_columns(
    entity_type text,
    relation    oid,
    is_at_once  boolean
)
    RETURNS void
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_watch         llamalog.watches;
    v_numbers       jsonb;
    v_is_renumbered boolean;
    v_now           timestamptz := clock_timestamp();
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = follow_columns.entity_type
        AND watch.unwatched_at IS NULL;
    v_numbers := (
        SELECT jsonb_object_agg(attribute.attname, attribute.attnum)
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = relation
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
    );
    -- nearly always; or nobody knows what they were
    IF v_watch.entity_type IS NULL OR v_numbers IS NULL OR v_watch.column_numbers IN (v_numbers, '{}') THEN
        RETURN;
    END IF;
    v_is_renumbered := llamalog.is_renumbered(v_watch, relation);
    INSERT INTO llamalog.column_changes (entity_type, change, column_name, old_name, after_at, noticed_at)
    WITH
    renamed AS MATERIALIZED (
        SELECT each.key AS old_name, each.value AS name
        FROM jsonb_each_text(llamalog.renamed_columns(v_watch, relation)) AS each
    ),
    known AS MATERIALIZED (
        SELECT
            each.key AS name,
            -- by its number, as a column that came in the place of another of its name tells; but a restored table
            -- has other numbers
            v_numbers ? each.key
                AND each.key NOT IN (SELECT renamed.old_name FROM renamed)
                AND (
                    v_is_renumbered
                    OR v_numbers -> each.key = each.value
                    OR NOT EXISTS (
                        SELECT
                        FROM pg_attribute AS attribute
                        WHERE attribute.attrelid = relation
                            AND attribute.attnum = each.value::smallint
                            AND attribute.attisdropped
                    )
                ) AS is_there
        FROM jsonb_each(v_watch.column_numbers) AS each
    ),
    -- in the order in which one table can have seen all of them
    found AS (
        SELECT 1 AS turn, 'dropped' AS change, known.name, NULL AS old_name
        FROM known
        WHERE NOT known.is_there
            AND known.name NOT IN (SELECT renamed.old_name FROM renamed)
        UNION ALL
        SELECT 2, 'renamed', renamed.name, renamed.old_name
        FROM renamed
        UNION ALL
        SELECT 3, 'added', present.name, NULL
        FROM jsonb_object_keys(v_numbers) AS present (name)
        WHERE present.name NOT IN (SELECT renamed.name FROM renamed)
            AND present.name NOT IN (SELECT known.name FROM known WHERE known.is_there)
    )
    SELECT
        v_watch.entity_type,
        found.change,
        found.name,
        found.old_name,
        CASE
            WHEN is_at_once THEN v_now
            ELSE greatest(
                v_watch.watched_at,
                (
                    SELECT max(earlier.noticed_at)
                    FROM llamalog.column_changes AS earlier
                    WHERE earlier.entity_type = v_watch.entity_type
                )
            )
        END,
        v_now
    FROM found
    ORDER BY found.turn, found.name;
    PERFORM llamalog.follow_renames(v_watch.entity_type, relation);
    UPDATE llamalog.watches AS watch
    SET column_numbers = v_numbers
    WHERE watch.entity_type = v_watch.entity_type;
END;
$function$;

COMMENT ON FUNCTION llamalog.follow_columns(text, oid, boolean) IS
    'Adds to llamalog.column_changes what differs from llamalog.watches; is_at_once: it happened just now, not at any time since the columns were last looked at.';
