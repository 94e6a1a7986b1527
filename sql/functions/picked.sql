-- The values of some columns of an image, as one value to compare; null where one of them is null.
CREATE OR REPLACE FUNCTION llamalog.picked(
    image   jsonb,
    columns text[]
)
    RETURNS jsonb
    LANGUAGE sql
    IMMUTABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
    SELECT CASE WHEN bool_and(coalesce(image -> wanted.name, 'null') <> 'null') THEN jsonb_agg(image -> wanted.name ORDER BY wanted.position) END
    FROM unnest(columns) WITH ORDINALITY AS wanted (name, position);
$function$;

COMMENT ON FUNCTION llamalog.picked(jsonb, text[]) IS
    'Array of the values of these columns; null when one is null, is not there, or there is no image.';
