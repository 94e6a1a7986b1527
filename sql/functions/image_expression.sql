-- The SQL expression that gives the image of a whole row: generated columns left out, redacted ones masked.
CREATE OR REPLACE FUNCTION llamalog.image_expression(
    relation oid,
    redacted text[],
    row_name text
)
    RETURNS text
    LANGUAGE sql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    WITH
    shape AS (
        -- of a type that is not built in, to_jsonb() of the row would run the owner's casts with our rights; of a row that is
        -- called as one of its columns, SQL would take the column
        SELECT bool_and(shown.is_builtin AND shown.name <> image_expression.row_name) AS is_whole
        FROM llamalog.table_columns(image_expression.relation) AS shown
    ),
    special AS (
        SELECT
            shown.name,
            format(shown.member, format('%s.%I', image_expression.row_name, shown.name)) AS member,
            -- a function takes 100 arguments at most
            (row_number() OVER () - 1) / 40 AS batch
        FROM llamalog.table_columns(image_expression.relation, image_expression.redacted) AS shown
        CROSS JOIN shape
        WHERE NOT shown.is_generated
            AND NOT (shown.is_plain AND shape.is_whole)
    ),
    object AS (
        SELECT
            special.batch,
            format(
                E'jsonb_build_object(\n            %s\n        )',
                string_agg(format('%L, %s', special.name, special.member), E',\n            ')
            ) AS expression
        FROM special
        GROUP BY special.batch
    ),
    generated AS (
        SELECT array_agg(shown.name) AS names
        FROM llamalog.table_columns(image_expression.relation) AS shown
        WHERE shown.is_generated
    )
    SELECT concat_ws(
        E'\n        || ',
        CASE
            WHEN NOT shape.is_whole THEN NULL
            WHEN generated.names IS NULL THEN format('to_jsonb(%s)', image_expression.row_name)
            ELSE format('(to_jsonb(%s) - %L::text[])', image_expression.row_name, generated.names)
        END,
        (
            SELECT string_agg(object.expression, E'\n        || ' ORDER BY object.batch)
            FROM object
        )
    )
    FROM generated
    CROSS JOIN shape;
$function$;

COMMENT ON FUNCTION llamalog.image_expression(oid, text[], text) IS
    'SQL for the jsonb image of the row called row_name; reading a value back into its column gives the value again.';
