-- The statements that bring rows to what is planned for them, and what of a row they cannot bring back.
CREATE OR REPLACE FUNCTION llamalog.revert_writes(
    touched_rows llamalog.reverted_row[],
    is_partial   boolean
)
    RETURNS SETOF llamalog.revert_step
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH
    touched AS (
        SELECT
            given.*,
            CASE WHEN given.target IS NULL THEN 'delete' WHEN given.live IS NULL THEN 'insert' ELSE 'update' END AS action
        FROM unnest(touched_rows) WITH ORDINALITY AS given
        WHERE num_nonnulls(given.live, given.target) > 0
    ),
    known AS MATERIALIZED (
        SELECT
            shown.*,
            its.relation,
            attribute.attidentity = 'a' AS is_always,
            shown.name = ANY (watch.key_columns) AS is_key
        FROM (SELECT DISTINCT touched.relation, touched.entity_type FROM touched) AS its
        JOIN llamalog.watches AS watch
            ON watch.entity_type = its.entity_type
        CROSS JOIN LATERAL llamalog.table_columns(its.relation) AS shown
        JOIN pg_attribute AS attribute
            ON attribute.attrelid = its.relation
            AND attribute.attname = shown.name
    ),
    field AS (
        SELECT
            touched.ordinality,
            wanted.key AS name,
            wanted.value,
            known.is_always,
            llamalog.image_literal(wanted.value, known.type_name, known.base_type) AS literal,
            CASE
                WHEN wanted.value = '"[redacted]"' THEN 'masked'
                WHEN known.name IS NULL THEN 'column'
                WHEN known.is_always AND touched.action = 'update' THEN 'column'
            END AS obstacle
        FROM touched
        -- a row that comes back has its ignored columns too
        CROSS JOIN LATERAL jsonb_each(
            CASE WHEN touched.action = 'insert' THEN coalesce(touched.stored, '{}') || touched.target ELSE touched.target END
        ) AS wanted
        LEFT JOIN known
            ON known.relation = touched.relation
            AND known.name = wanted.key
        WHERE known.is_generated IS NOT TRUE
            AND (
                touched.action = 'insert'
                -- as text: as jsonb, 1.0 and 1.00 are equal
                OR wanted.value::text IS DISTINCT FROM (touched.live -> wanted.key)::text
                OR wanted.key = ANY (touched.masked)
            )
    ),
    written AS (
        SELECT
            field.ordinality,
            jsonb_object_agg(field.name, field.value) AS image,
            string_agg(quote_ident(field.name), ', ' ORDER BY field.name) AS names,
            string_agg(field.literal, ', ' ORDER BY field.name) AS literals,
            string_agg(format('%I = %s', field.name, field.literal), ', ' ORDER BY field.name) AS assignments,
            bool_or(field.is_always) AS is_always
        FROM field
        WHERE field.obstacle IS NULL
        GROUP BY field.ordinality
    ),
    -- where a row is when it has been written: its key may be another
    placed AS (
        SELECT
            keyed.ordinality,
            keyed.condition,
            -- where its first half has brought it
            CASE
                WHEN keyed.is_half IS NOT TRUE
                    THEN max(keyed.condition) FILTER (WHERE keyed.is_half AND keyed.condition <> keyed.row_found)
                        OVER (PARTITION BY keyed.relation, keyed.row_found)
            END AS halved
        FROM (
            SELECT
                touched.ordinality,
                touched.relation,
                touched.row_found,
                touched.is_half,
                CASE
                    WHEN bool_and((touched.target -> known.name)::text = (touched.live -> known.name)::text) THEN touched.row_found
                    ELSE string_agg(
                        CASE
                            WHEN known.is_builtin THEN format(
                                'live.%I OPERATOR(pg_catalog.=) %s',
                                known.name, llamalog.image_literal(touched.target -> known.name, known.type_name, known.base_type)
                            )
                            ELSE format(
                                '(%s)::text OPERATOR(pg_catalog.=) %L', format(known.image, format('live.%I', known.name)), (touched.target -> known.name)::text
                            )
                        END,
                        ' AND '
                        ORDER BY known.name
                    )
                END AS condition
            FROM touched
            JOIN known
                ON known.relation = touched.relation
                AND known.is_key
            GROUP BY touched.ordinality, touched.relation, touched.row_found, touched.is_half, touched.action
            -- what the server will make of the key is not known, or it stays
            HAVING NOT bool_or(known.is_generated OR known.is_always AND touched.action = 'update')
        ) AS keyed
    )
    SELECT
        touched.ordinality::integer,
        touched.action,
        touched.entity_type,
        touched.entity_id,
        touched.related_id,
        NULL::text,
        CASE touched.action
            WHEN 'update' THEN (
                SELECT jsonb_object_agg(changed.name, touched.live -> changed.name)
                FROM jsonb_object_keys(written.image) AS changed (name)
            )
            ELSE touched.live
        END,
        CASE WHEN touched.action <> 'delete' THEN written.image END,
        false,
        CASE WHEN touched.is_half THEN 'in two halves, since rows wait for each other in a circle' END,
        NULL::bigint,
        NULL::text,
        NULL::text,
        format('FROM %s AS live WHERE %s', touched.relation::regclass, here.condition),
        format('FROM %s AS live WHERE %s', touched.relation::regclass, coalesce(placed.halved, placed.condition, touched.row_found)),
        CASE touched.action
            WHEN 'delete' THEN format('DELETE FROM %s AS live WHERE %s', touched.relation::regclass, here.condition)
            WHEN 'update' THEN
                format('UPDATE %s AS live SET %s WHERE %s', touched.relation::regclass, written.assignments, here.condition)
            ELSE format(
                'INSERT INTO %s (%s)%s VALUES (%s)',
                touched.relation::regclass, written.names, CASE WHEN written.is_always THEN ' OVERRIDING SYSTEM VALUE' END,
                written.literals
            )
        END
    FROM touched
    LEFT JOIN placed
        ON placed.ordinality = touched.ordinality
    LEFT JOIN written
        ON written.ordinality = touched.ordinality
    CROSS JOIN LATERAL (SELECT coalesce(placed.halved, touched.row_found)) AS here (condition)
    WHERE touched.action = 'delete'
        OR written.image IS NOT NULL
    UNION ALL
    SELECT
        NULL,
        field.obstacle,
        touched.entity_type,
        touched.entity_id,
        touched.related_id,
        field.name,
        touched.live -> field.name,
        CASE WHEN field.obstacle = 'column' THEN field.value END,
        NOT is_partial,
        CASE field.obstacle
            WHEN 'masked' THEN 'redacted: its value is not in the log'
            ELSE CASE WHEN field.is_always THEN 'generated always as identity: no UPDATE can set it' ELSE 'the table has no such column any more' END
        END,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL,
        NULL
    FROM field
    JOIN touched
        ON touched.ordinality = field.ordinality
    WHERE field.obstacle = 'masked'
        OR field.obstacle = 'column' AND field.value <> 'null' AND touched.ours ? field.name;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_writes(llamalog.reverted_row[], boolean) IS
    'Part of llamalog.revert_plan(): the steps update, insert and delete, numbered by the places of their rows, and masked and column.';
