-- The query for the live entities of a type whose creation nothing in the log tells, with what their rows say of it.
CREATE OR REPLACE FUNCTION llamalog.unseen_query(entity_type text)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
#variable_conflict use_column
DECLARE
    v_watch   llamalog.watches;
    v_table   oid;
    v_created text;
    v_user    text;
BEGIN
    SELECT watch.*
    INTO v_watch
    FROM llamalog.watches AS watch
    WHERE watch.entity_type = unseen_query.entity_type;
    v_table := llamalog.table_of(v_watch);
    SELECT
        max(format(
            CASE
                WHEN known.base_type LIKE 'timestamp%with time zone' THEN 'live.%I'
                ELSE 'live.%I::timestamp AT TIME ZONE ''UTC'''
            END,
            known.name
        )) FILTER (
            WHERE lower(known.name) IN ('created_at', 'createdat', 'inserted_at')
                AND known.name <> ALL (v_watch.redacted_columns)
                AND (known.base_type LIKE 'timestamp%zone' OR known.base_type = 'date')
        ),
        max(format('concat(live.%I)', known.name)) FILTER (
            WHERE lower(known.name) IN ('submitted_by', 'submittedby', 'created_by', 'createdby')
                AND known.name <> ALL (v_watch.redacted_columns)
        )
    INTO v_created, v_user
    FROM llamalog.table_columns(v_table) AS known;
    RETURN format(
        $query$
        SELECT
            %1$L::text AS entity_type,
            live.id AS entity_id,
            live.related_type,
            live.related_id,
            coalesce(
                live.created_at,
                -- by then it was there
                (
                    SELECT min(log.created_at)
                    FROM llamalog.log AS log
                    WHERE log.entity_id = live.id
                        AND log.entity_type = %1$L
                ),
                statement_timestamp()
            ) AS created_at,
            live.sources,
            live.user_id,
            concat(
                'inferred, nobody saw it come; ',
                coalesce('its row says: ' || nullif(concat_ws(
                    ', ',
                    CASE WHEN live.created_at IS NOT NULL THEN 'when' END,
                    'from ' || live.sources[1],
                    'by user ' || live.user_id
                ), ''), 'nothing tells of it')
            ) AS reason,
            jsonb_build_object('llamalog', jsonb_build_object(
                'inferred', true,
                'evidence', array_remove(ARRAY[
                    CASE WHEN live.created_at IS NOT NULL THEN 'created_at' END,
                    CASE WHEN live.sources IS NOT NULL THEN 'source' END,
                    CASE WHEN live.user_id IS NOT NULL THEN 'user' END
                ], NULL)
            )) AS metadata
        FROM (
            SELECT
                %2$s AS id,
                %3$L::text AS related_type,
                %4$s AS related_id,
                CASE WHEN isfinite((%5$s)::timestamptz) THEN %5$s END AS created_at,
                %6$s AS sources,
                nullif(%7$s, '') AS user_id
            FROM %8$s AS live
        ) AS live
        WHERE NOT EXISTS (
                SELECT
                FROM llamalog.log AS log
                WHERE log.entity_id = live.id
                    AND log.entity_type = %1$L
                    AND log.link_type IS NULL
                    AND (log.category = 'CREATED' OR log.previous_id IS NOT NULL)
                    AND (log.op IS NOT NULL OR log.seq < 1 OR %9$L)
            )
        $query$,
        v_watch.entity_type,
        llamalog.key_expression(v_table, v_watch.key_columns, 'live'),
        v_watch.related_type,
        coalesce(llamalog.key_expression(v_table, v_watch.related_columns, 'live'), 'NULL::text'),
        coalesce(v_created, 'NULL::timestamptz'),
        CASE
            WHEN v_watch.source_column IS NULL THEN 'NULL::text[]'
            ELSE format(
                'CASE WHEN concat(live.%1$I) <> '''' THEN ARRAY[concat(live.%1$I)] END', v_watch.source_column
            )
        END,
        coalesce(v_user, 'NULL::text'),
        v_table::regclass,
        -- where the log was the application's, its rows are all that is known; in ours, a claim is not a creation
        to_regclass('llamalog.adopted_seq') IS NOT NULL
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.unseen_query(text) IS
    'SQL that gives, for each live entity of the type without a creation in the log, the row that llamalog backfill infers.';
