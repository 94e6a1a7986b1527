-- The verdict on each row of a batch: what the log has last of it, against what is there.
--
-- Set by set, with one look at the log for all keys of the batch; only rows whose key ever changed are followed one by one.
CREATE OR REPLACE FUNCTION llamalog.reconciled_rows(
    watch       llamalog.watches,
    batch_query text,
    ids         text[],
    subject_ids text[],
    related_ids text[],
    until_seq   bigint
)
    RETURNS TABLE (
        entity_id   text,
        verdict     text,
        field       text,
        after_seq   bigint,
        left_value  jsonb,
        live_value  jsonb,
        unexplained text[]
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
    -- a row that somebody may not see would pass for one that is gone: he gets an error
    SET row_security = off
    SET jit = off
    -- tables are read through their indexes, and what was read is joined as a whole, whatever the statistics say
    SET enable_seqscan = off
    SET enable_nestloop = off
AS $function$
#variable_conflict use_column
DECLARE
    v_table  oid := llamalog.table_of(watch);
    -- of what is older, the log need not have everything
    v_since  timestamptz := greatest(watch.watched_at, llamalog.archived_before(watch.entity_type));
    v_fields text[];
    v_judged record;
BEGIN
    -- a column that nobody has noticed yet could have come in any way
    v_fields := ARRAY(
        SELECT shown.name
        FROM llamalog.table_columns(v_table) WITH ORDINALITY AS shown
        WHERE NOT shown.is_generated
            AND shown.name <> ALL (watch.ignored_columns || watch.redacted_columns)
            AND (watch.column_numbers ? shown.name OR watch.column_numbers = '{}')
        ORDER BY shown.ordinality
    );
    FOR v_judged IN EXECUTE format(
        $query$
            WITH
            subject AS MATERIALIZED (
                %s
            ),
            -- each field by the names that its column has had
            named AS MATERIALIZED (
                SELECT
                    shown.position,
                    shown.field,
                    shown.field AS name,
                    '-infinity'::timestamptz AS since_at,
                    '-infinity'::timestamptz AS sure_at,
                    'infinity'::timestamptz AS until_at
                FROM unnest($3::text[]) WITH ORDINALITY AS shown (field, position)
                WHERE NOT $4
                UNION ALL
                SELECT shown.position, shown.field, known.name, known.since_at, known.sure_at, known.until_at
                FROM unnest($3::text[]) WITH ORDINALITY AS shown (field, position)
                CROSS JOIN LATERAL llamalog.column_names($1, shown.field, 'infinity') AS known
                WHERE $4
            ),
            -- what was captured, and what tells of a creation that nobody captured
            change AS MATERIALIZED (
                %s
            ),
            known AS MATERIALIZED (
                SELECT
                    change.entity_id,
                    max(change.seq) FILTER (WHERE change.op IS NOT NULL) AS newest_seq,
                    -- what is older is another row's that had the key
                    max(change.seq) FILTER (WHERE change.op <> 'U') AS begin_seq
                FROM change
                GROUP BY change.entity_id
            ),
            left_by AS MATERIALIZED (
                SELECT DISTINCT ON (change.entity_id, named.field)
                    change.entity_id,
                    named.field,
                    named.position,
                    change.seq,
                    each.value
                FROM change
                JOIN known
                    ON known.entity_id = change.entity_id
                CROSS JOIN LATERAL jsonb_each(change.after) AS each
                JOIN named
                    ON named.name = each.key
                WHERE change.op IN ('I', 'U')
                    AND change.created_at >= $2
                    AND (change.seq < known.begin_seq) IS NOT TRUE
                    AND change.created_at BETWEEN named.since_at AND named.until_at
                ORDER BY change.entity_id, named.field, change.seq DESC
            ),
            -- creations whose row does not hold a value in the same fields; without an image, they have their names
            refilled AS MATERIALIZED (
                SELECT subject.id, subject.fields, subject.image, creation.seq, creation.created_at, creation.fields_enriched
                FROM subject
                JOIN known
                    ON known.entity_id = subject.id
                JOIN change AS creation
                    ON creation.seq = known.begin_seq
                    AND creation.entity_id = known.entity_id
                WHERE creation.op = 'I'
                    AND creation.after IS NULL
                    AND creation.created_at >= $2
                    AND (subject.fields <> creation.fields_enriched OR $4)
            ),
            contradiction AS (
                SELECT
                    subject.id,
                    left_by.position,
                    left_by.field,
                    left_by.seq,
                    left_by.value AS left_value,
                    subject.image -> left_by.field AS live_value
                FROM left_by
                JOIN subject
                    ON subject.id = left_by.entity_id
                -- as text: as jsonb, 1.0 and 1.00 are equal
                WHERE (subject.image -> left_by.field)::text <> left_by.value::text
                    -- redacted then
                    AND left_by.value::text <> '"[redacted]"'
                UNION ALL
                SELECT
                    refilled.id,
                    named.position,
                    named.field,
                    refilled.seq,
                    CASE WHEN refilled.image -> named.field <> 'null' THEN 'null'::jsonb END,
                    refilled.image -> named.field
                FROM refilled
                CROSS JOIN named
                LEFT JOIN left_by
                    ON left_by.entity_id = refilled.id
                    AND left_by.field = named.field
                WHERE left_by.seq IS NULL
                    AND refilled.created_at BETWEEN named.since_at AND named.until_at
                    AND (named.name = ANY (refilled.fields_enriched)) <> (named.field = ANY (refilled.fields))
                    -- of an empty field one must know that its column was there
                    AND (named.name = ANY (refilled.fields_enriched) OR refilled.created_at >= named.sure_at)
                    -- between two looks at the table it may have had either name
                    AND (
                        named.name = ANY (refilled.fields_enriched)
                        OR NOT EXISTS (
                            SELECT
                            FROM named AS other
                            WHERE other.field = named.field
                                AND other.name = ANY (refilled.fields_enriched)
                                AND refilled.created_at BETWEEN other.since_at AND other.until_at
                        )
                    )
            ),
            first_contradiction AS (
                SELECT DISTINCT ON (contradiction.id) contradiction.*
                FROM contradiction
                ORDER BY contradiction.id, contradiction.position
            ),
            arrived AS (
                SELECT named.field, min(named.position) AS position, min(named.sure_at) AS came_at
                FROM named
                GROUP BY named.field
                HAVING min(named.sure_at) >= $2
            ),
            -- fields that came with their column
            given AS (
                SELECT subject.id, array_agg(arrived.field ORDER BY arrived.position) AS fields
                FROM subject
                CROSS JOIN arrived
                LEFT JOIN left_by
                    ON left_by.entity_id = subject.id
                    AND left_by.field = arrived.field
                LEFT JOIN known
                    ON known.entity_id = subject.id
                LEFT JOIN change AS birth
                    ON birth.seq = known.begin_seq
                    AND birth.entity_id = known.entity_id
                WHERE arrived.field = ANY (subject.fields)
                    AND left_by.seq IS NULL
                    AND (birth.created_at >= arrived.came_at) IS NOT TRUE
                GROUP BY subject.id
            )
            SELECT
                subject.id,
                subject.image IS NOT NULL AS is_there,
                subject.id = ANY (ARRAY(
                    SELECT renaming.old_id
                    FROM llamalog.renamings AS renaming
                    WHERE renaming.old_id = ANY (ARRAY(SELECT subject.id FROM subject))
                        AND renaming.entity_type = $1
                    UNION ALL
                    SELECT renaming.new_id
                    FROM llamalog.renamings AS renaming
                    WHERE renaming.new_id = ANY (ARRAY(SELECT subject.id FROM subject))
                        AND renaming.entity_type = $1
                )) AS is_renamed,
                CASE
                    WHEN subject.image IS NULL THEN CASE WHEN newest.op IN ('I', 'U') AND newest.created_at >= $2 THEN 'went' END
                    WHEN known.entity_id IS NULL THEN 'unknown'
                    WHEN newest.op IN ('D', 'T') THEN CASE WHEN newest.created_at >= $2 THEN 'came' ELSE 'unknown' END
                    WHEN first_contradiction.id IS NOT NULL THEN 'changed'
                    ELSE 'agrees'
                END AS verdict,
                newest.seq AS newest_seq,
                first_contradiction.field,
                first_contradiction.seq,
                first_contradiction.left_value,
                first_contradiction.live_value,
                given.fields AS unexplained
            FROM subject
            LEFT JOIN known
                ON known.entity_id = subject.id
            LEFT JOIN change AS newest
                ON newest.seq = known.newest_seq
                AND newest.entity_id = known.entity_id
            LEFT JOIN first_contradiction
                ON first_contradiction.id = subject.id
            LEFT JOIN given
                ON given.id = subject.id
            ORDER BY subject.place
        $query$,
        batch_query,
        llamalog.reconciled_changes(watch)
    )
    USING
        watch.entity_type,
        v_since,
        v_fields,
        EXISTS (SELECT FROM llamalog.column_changes AS changed WHERE changed.entity_type = watch.entity_type),
        ids,
        subject_ids,
        related_ids
    LOOP
        entity_id := v_judged.id;
        unexplained := v_judged.unexplained;
        -- what a later part of the log changes is judged there
        CONTINUE WHEN v_judged.newest_seq > until_seq;
        IF v_judged.is_renamed THEN
            SELECT row_judged.verdict, row_judged.field, row_judged.after_seq, row_judged.left_value, row_judged.live_value
            INTO verdict, field, after_seq, left_value, live_value
            FROM llamalog.reconciled_row(watch, entity_id, v_judged.is_there, v_since) AS row_judged;
        ELSE
            verdict := v_judged.verdict;
            field := CASE WHEN verdict = 'changed' THEN v_judged.field END;
            after_seq := CASE verdict WHEN 'changed' THEN v_judged.seq WHEN 'agrees' THEN NULL ELSE v_judged.newest_seq END;
            left_value := CASE WHEN verdict = 'changed' THEN v_judged.left_value END;
            live_value := CASE WHEN verdict = 'changed' THEN v_judged.live_value END;
        END IF;
        IF verdict IS NOT NULL THEN
            RETURN NEXT;
        END IF;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.reconciled_rows(llamalog.watches, text, text[], text[], text[], bigint) IS
    'Part of llamalog.reconcile() and reconcile_log(): batch_query gives place, id, subject_id and related_id (the ends of a link), image (null: no such row) and filled fields; $5 to $7 in it are ids, subject_ids and related_ids. until_seq: rows that have changed later are left out.';
