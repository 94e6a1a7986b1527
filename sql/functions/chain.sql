-- One page of the story of an entity: it, its parts and links, and what its jobs caused, ordered by time.
CREATE OR REPLACE FUNCTION llamalog.chain(
    entity_type text,
    entity_id   text,
    categories  text[] DEFAULT NULL,
    start_date  timestamptz DEFAULT NULL,
    end_date    timestamptz DEFAULT NULL,
    row_limit   integer DEFAULT 20,
    cursor      text DEFAULT NULL
)
    RETURNS SETOF llamalog.chain_row
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET plan_cache_mode = force_generic_plan
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_type       text := llamalog.entity_type(chain.entity_type);
    v_id         text := llamalog.entity_id(v_type, chain.entity_id);
    v_categories text[];
    v_query      text;
    v_page       llamalog.page;
BEGIN
    PERFORM llamalog.check_row_limit(chain.row_limit);
    v_categories := llamalog.checked_categories(chain.categories);
    PERFORM llamalog.check_span(chain.start_date, chain.end_date);
    v_query := md5(concat_ws('|', 'chain', v_type, v_id, v_categories, chain.start_date, chain.end_date));
    v_page := llamalog.open_page(chain.cursor, v_query);
    RETURN QUERY
    WITH
    wanted AS (
        SELECT change.*
        FROM llamalog.chain_changes(v_type, v_id) AS change
        WHERE (v_categories IS NULL OR change.category = ANY (v_categories))
            AND (chain.start_date IS NULL OR change.created_at >= chain.start_date)
            AND (chain.end_date IS NULL OR change.created_at < chain.end_date)
            -- what nearly every row is; called for the others only
            AND (
                pg_visible_in_snapshot(change.txid, v_page.snapshot)
                OR llamalog.is_on_page(change.seq, change.txid, v_page)
            )
    ),
    remaining AS (
        SELECT wanted.*
        FROM wanted
        WHERE v_page.last_seq IS NULL
            OR (wanted.created_at, wanted.seq, wanted.id) > (v_page.last_at, v_page.last_seq, v_page.last_id)
    )
    SELECT
        shown.seq,
        shown.created_at,
        shown.op,
        shown.entity_type,
        shown.entity_id,
        shown.related_type,
        shown.related_id,
        shown.link_type,
        shown.operation,
        shown.category,
        shown.status,
        shown.source,
        shown.sources,
        shown.reason,
        shown.fields_enriched,
        shown.data_quality_before,
        shown.data_quality_after,
        shown.duration_ms,
        shown.error_code,
        shown.error_message,
        shown.job_id,
        shown.parent_job_id,
        shown.root_job_id,
        shown.is_root_job,
        shown.triggered_by,
        shown.user_id,
        shown.db_user,
        shown.before,
        shown.after,
        shown.metadata,
        (SELECT count(*) FROM wanted),
        (SELECT count(*) FROM remaining) > chain.row_limit,
        llamalog.cursor_after(v_page, shown.created_at, shown.seq, shown.id, v_query)
    FROM remaining AS shown
    ORDER BY shown.created_at, shown.seq, shown.id
    LIMIT chain.row_limit;
END;
$function$;

COMMENT ON FUNCTION llamalog.chain(text, text, text[], timestamptz, timestamptz, integer, text) IS
    'A page of the story of an entity by time, from start_date to before end_date. total_count counts all pages; pass next_cursor of the last row as cursor for the next page, which shows only what the first page could see.';
