-- The cursor that leads to the rows behind one row.
CREATE OR REPLACE FUNCTION llamalog.cursor_after(
    page       llamalog.page,
    created_at timestamptz,
    seq        bigint,
    id         text,
    query      text
)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN translate(
        encode(
            convert_to(
                concat_ws(
                    ' ',
                    (page).snapshot,
                    (page).top_seq,
                    (extract(epoch FROM created_at) * 1000000)::bigint,
                    seq,
                    query,
                    id
                ),
                'UTF8'
            ),
            'base64'
        ),
        E'\n',
        ''
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.cursor_after(llamalog.page, timestamptz, bigint, text, text) IS
    'Text that llamalog.open_page() reads back: the snapshot of the first page and the place of the row.';
