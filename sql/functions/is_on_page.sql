-- Whether a row could be seen when the first page was read.
CREATE OR REPLACE FUNCTION llamalog.is_on_page(
    seq  bigint,
    txid xid8,
    page llamalog.page
)
    RETURNS boolean
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN pg_visible_in_snapshot(txid, (page).snapshot)
        OR seq <= (page).top_seq
            AND (
                -- rows that came by dump and restore carry transaction ids of another cluster: they are old
                seq < coalesce((SELECT max(cluster.first_seq) FROM llamalog.clusters AS cluster), 0)
                -- so is what we can see though no such transaction has ended here
                OR txid >= pg_snapshot_xmax(pg_current_snapshot())
                OR txid = pg_current_xact_id_if_assigned()
            );
END;
$function$;

COMMENT ON FUNCTION llamalog.is_on_page(bigint, xid8, llamalog.page) IS
    'True for rows committed before the first page was read.';
