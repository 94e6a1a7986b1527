-- An image with the names that its columns got by changes of the table, in whatever order these are given.
--
-- A column that was dropped is none of the table's, even if one of its name is there again: its value goes on under a name
-- that says so.
CREATE OR REPLACE FUNCTION llamalog.after_column_changes(
    image   jsonb,
    changes llamalog.column_changes[]
)
    RETURNS jsonb
    LANGUAGE plpgsql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
AS $function$
DECLARE
    v_image      jsonb := image;
    v_noticed_at timestamptz;
BEGIN
    IF image IS NULL THEN
        RETURN NULL;
    END IF;
    -- what was noticed at once is done at once: two columns may have changed their names for each other's
    FOR v_noticed_at IN
        SELECT DISTINCT changed.noticed_at
        FROM unnest(changes) AS changed
        WHERE changed.change <> 'added'
        ORDER BY changed.noticed_at
    LOOP
        v_image := (
            SELECT coalesce(jsonb_object_agg(coalesce(changed.new_name, field.key), field.value), '{}')
            FROM jsonb_each(v_image) AS field
            LEFT JOIN (
                SELECT
                    coalesce(known.old_name, known.column_name) AS name,
                    CASE known.change
                        WHEN 'renamed' THEN known.column_name
                        ELSE format('%s (dropped %s)', known.column_name, date_trunc('second', known.noticed_at))
                    END AS new_name
                FROM unnest(changes) AS known
                WHERE known.change <> 'added'
                    AND known.noticed_at = v_noticed_at
            ) AS changed
                ON changed.name = field.key
        );
    END LOOP;
    RETURN v_image;
END;
$function$;

COMMENT ON FUNCTION llamalog.after_column_changes(jsonb, llamalog.column_changes[]) IS
    'The image under the names that renamed columns have now; values of dropped columns under a name like "size (dropped 2026-11-28 18:30:00+00)".';
