-- The page that a cursor leads to; without cursor the first one, which sees what the current snapshot sees.
CREATE OR REPLACE FUNCTION llamalog.open_page(
    cursor text,
    query  text
)
    RETURNS llamalog.page
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
AS $function$
DECLARE
    v_page  llamalog.page;
    v_parts text[];
BEGIN
    IF cursor IS NULL THEN
        v_page.snapshot := pg_current_snapshot();
        v_page.top_seq := llamalog.top_seq();
        RETURN v_page;
    END IF;
    v_parts := string_to_array(convert_from(decode(cursor, 'base64'), 'UTF8'), ' ');
    IF coalesce(cardinality(v_parts), 0) < 6 THEN
        RAISE EXCEPTION USING ERRCODE = 'LL006';
    END IF;
    v_page.snapshot := v_parts[1]::pg_snapshot;
    v_page.top_seq := v_parts[2]::bigint;
    v_page.last_at := to_timestamp(0) + v_parts[3]::bigint * interval '1 microsecond';
    v_page.last_seq := v_parts[4]::bigint;
    v_page.last_id := array_to_string(v_parts[6:], ' ');
    IF split_part(v_parts[5], '@', 1) = split_part(query, '@', 1)
        AND (
            v_parts[5] <> query
            -- of a later state than the one that was restored
            OR pg_snapshot_xmax(v_page.snapshot) > pg_snapshot_xmax(pg_current_snapshot())
        )
    THEN
        RAISE EXCEPTION 'the cursor belongs to another state of the database'
            USING ERRCODE = 'LL006',
                  DETAIL  = 'The database was restored or upgraded since: what the first page could see cannot be told by it.',
                  HINT    = 'Ask without cursor.';
    END IF;
    IF v_parts[5] <> query THEN
        RAISE EXCEPTION 'the cursor belongs to another question'
            USING ERRCODE = 'LL006',
                  DETAIL  = 'A cursor holds for the entity and the filters that it came from.',
                  HINT    = 'Repeat the entity and the filters of the page before, or ask without cursor.';
    END IF;
    RETURN v_page;
EXCEPTION
    WHEN data_exception OR SQLSTATE 'LL006' THEN
        IF SQLERRM LIKE 'the cursor belongs%' THEN
            RAISE;
        END IF;
        RAISE EXCEPTION 'malformed cursor "%"', left(cursor, 100)
            USING ERRCODE = 'LL006',
                  HINT    = 'Pass the cursor of the page before, whole, or none for the first page.';
END;
$function$;

COMMENT ON FUNCTION llamalog.open_page(text, text) IS
    'Reads a cursor made by llamalog.cursor_after() for the same query; raises LL006 for any other.';
