-- The SQL expression for the image of a living row called live.
CREATE OR REPLACE FUNCTION llamalog.live_image(
    relation       oid,
    hidden_columns text[]
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        -- not llamalog.image_expression(), which asks for the columns three times
        SELECT coalesce(string_agg(object.expression, ' || ' ORDER BY object.batch), '''{}''::jsonb')
        FROM (
            SELECT
                member.batch,
                format(
                    'jsonb_build_object(%s)',
                    string_agg(format('%L, %s', member.name, format(member.expression, format('live.%I', member.name))), ', ')
                ) AS expression
            FROM (
                SELECT
                    shown.name,
                    shown.member AS expression,
                    -- a function takes 100 arguments at most
                    (row_number() OVER () - 1) / 40 AS batch
                FROM llamalog.table_columns(relation) AS shown
                WHERE NOT shown.is_generated
                    AND shown.name <> ALL (hidden_columns)
            ) AS member
            GROUP BY member.batch
        ) AS object
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.live_image(oid, text[]) IS
    'SQL for the image of a row of the table, without generated and hidden columns.';
