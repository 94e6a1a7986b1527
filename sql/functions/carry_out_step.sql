-- Runs one statement of a revert under the search_path of whoever reverts, as triggers and defaults of the table expect it.
--
-- Its row is found before, where search_path is pinned, and named by its place: the condition that finds it may call what
-- somebody has put before PostgreSQL's own. Rows that exchange a key which can be deferred have it both for a moment: the one
-- that is not written yet is where it was.
CREATE OR REPLACE FUNCTION llamalog.carry_out_step(
    statement text,
    finder    text,
    place     text,
    path      text
)
    RETURNS bigint
    LANGUAGE plpgsql
    VOLATILE
    SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    v_begin text := substring(finder FROM '^FROM (?:"(?:[^"]|"")+"|[^". ]+)(?:[.](?:"(?:[^"]|"")+"|[^". ]+))? AS live WHERE ');
    v_count bigint;
    v_table oid;
    v_place tid;
BEGIN
    IF finder IS NOT NULL THEN
        EXECUTE format('SELECT count(*), min(live.tableoid), min(live.ctid) %s', finder)
        INTO v_count, v_table, v_place;
        IF v_count > 1 THEN
            EXECUTE format('SELECT min(live.tableoid), min(live.ctid) %s AND %s', finder, coalesce(place, 'false'))
            INTO v_table, v_place;
        END IF;
        IF v_place IS NULL THEN
            RETURN v_count;
        END IF;
        statement := left(statement, length(v_begin) - length(finder))
            || format('live.tableoid OPERATOR(pg_catalog.=) %L AND live.ctid OPERATOR(pg_catalog.=) %L', v_table, v_place);
    END IF;
    PERFORM set_config('search_path', path, true);
    EXECUTE statement;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_count;
END;
$function$;

COMMENT ON FUNCTION llamalog.carry_out_step(text, text, text, text) IS
    'Part of llamalog.revert(): runs a statement, whose row finder finds (null for an INSERT), of several the one for which place is true, under the search_path path; rows changed, or found where they are not one.';
