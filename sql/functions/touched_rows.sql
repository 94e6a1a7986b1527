-- The rows that changes of one type touched: the newest of these changes, all changes of the row since a place in the log, the
-- newest first, where it is found now, and its image, if it is there.
--
-- Nearly every row has had one key only: the log and the table are asked for all of them at once. Links, and whoever has had
-- several keys, are followed one by one.
CREATE OR REPLACE FUNCTION llamalog.touched_rows(
    changes   llamalog.log[],
    watch     llamalog.watches,
    since_seq bigint
)
    RETURNS TABLE (
        change    llamalog.log,
        made      llamalog.log[],
        row_found text,
        living    jsonb[]
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
    SET jit = off
    -- as in llamalog.history()
    SET enable_seqscan = off
    SET enable_bitmapscan = off
AS $function$
#variable_conflict use_column
DECLARE
    v_table   oid := llamalog.table_of(watch);
    v_image   text := llamalog.image_expression(v_table, watch.redacted_columns, 'live');
    v_columns llamalog.column_changes[];
    v_ids     text[];
    v_moves   boolean;
    v_covered bigint[] := '{}';
    v_known   jsonb;
BEGIN
    v_columns := ARRAY(
        SELECT changed
        FROM llamalog.column_changes AS changed
        WHERE changed.entity_type = watch.entity_type
    );
    v_ids := ARRAY(
        SELECT DISTINCT given.entity_id
        FROM unnest(changes) AS given
        WHERE NOT watch.is_link
            -- see llamalog.key_text()
            AND char_length(given.entity_id) < 273
            AND NOT EXISTS (
                SELECT
                FROM llamalog.renamings AS renaming
                WHERE renaming.old_id = given.entity_id
            )
            AND NOT EXISTS (
                SELECT
                FROM llamalog.renamings AS renaming
                WHERE renaming.new_id = given.entity_id
            )
    );
    IF v_ids <> '{}' THEN
        v_moves := EXISTS (
            SELECT
            FROM llamalog.log AS log
            WHERE log.entity_id = ANY (v_ids)
                AND log.entity_type = watch.entity_type
                AND log.op = 'I'
                AND log.metadata @> '{"llamalog": {"moved": true}}'
        );
        RETURN QUERY EXECUTE format(
            $query$
                WITH
                newest AS (
                    SELECT DISTINCT ON (given.entity_id) given.entity_id AS id, given AS change
                    FROM unnest($1) AS given
                    WHERE given.entity_id = ANY ($2)
                    ORDER BY given.entity_id, given.seq DESC
                ),
                known AS (
                    SELECT log.entity_id AS id, array_agg(%1$s ORDER BY log.seq DESC) AS made
                    FROM llamalog.log AS log
                    %2$s
                    WHERE log.entity_id = ANY ($2)
                        AND log.entity_type = $3
                        AND log.link_type IS NULL
                        AND log.op IS NOT NULL
                        AND log.seq >= $4
                    GROUP BY log.entity_id
                )
                SELECT
                    newest.change::llamalog.log,
                    known.made,
                    llamalog.row_condition($5, $6, known.id, NULL, NULL),
                    (
                        SELECT array_agg(%3$s)
                        FROM %4$s AS live
                        WHERE %5$s
                    )
                FROM newest
                JOIN known
                    ON known.id = newest.id
                ORDER BY (newest.change).seq DESC
            $query$,
            format(
                CASE WHEN v_columns = '{}' THEN '%s' ELSE 'llamalog.with_present_columns(%s, $7)' END,
                CASE WHEN v_moves THEN 'shown' ELSE 'log' END
            ),
            CASE WHEN v_moves THEN 'CROSS JOIN LATERAL llamalog.presented(log) AS shown' END,
            v_image,
            v_table::regclass,
            llamalog.key_match(v_table, watch.key_columns, 'live', 'known.id')
        )
        USING changes, v_ids, watch.entity_type, since_seq, watch, v_table, v_columns;
    END IF;
    FOR change IN
        SELECT given.*
        FROM unnest(changes) AS given
        WHERE given.entity_id <> ALL (v_ids)
        ORDER BY given.seq DESC
    LOOP
        CONTINUE WHEN change.seq = ANY (v_covered);
        made := ARRAY(
            SELECT llamalog.with_present_columns(known, v_columns)
            FROM llamalog.changes_of_row(change, since_seq) AS known
        );
        v_known := '{}';
        FOR v_place IN 1 .. cardinality(made) LOOP
            v_covered := v_covered || made[v_place].seq;
            v_known := coalesce(made[v_place].after, made[v_place].before, '{}') || v_known;
        END LOOP;
        row_found := llamalog.row_condition(
            watch, v_table, made[1].entity_id, CASE WHEN watch.is_link THEN made[1].related_id END, v_known
        );
        EXECUTE format('SELECT array_agg(%s) FROM %s AS live WHERE %s', v_image, v_table::regclass, row_found)
        INTO living;
        RETURN NEXT;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.touched_rows(llamalog.log[], llamalog.watches, bigint) IS
    'Part of llamalog.reverted_rows(): a row for each row of the table that the changes touched; images under the names that the columns have now. living: images of the living rows that the condition row_found finds.';
