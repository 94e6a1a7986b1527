-- Whether a change passes filters; null passes everything.
-- No SET search_path: a standard SQL body is resolved when it is created, and can be inlined.
CREATE OR REPLACE FUNCTION llamalog.is_wanted(
    change       llamalog.log,
    entity_type  text,
    entity_id    text,
    categories   text[],
    status       text,
    source       text,
    user_id      text,
    job_id       text,
    part_columns text[]
)
    RETURNS boolean
    LANGUAGE sql
    STABLE
RETURN (
        is_wanted.entity_type IS NULL
        OR is_wanted.entity_type = (change).entity_type
            AND (is_wanted.entity_id IS NULL OR is_wanted.entity_id IN ((change).entity_id, (change).previous_id))
        -- parts and links are of the entity too, and that a part left it
        OR is_wanted.entity_id IS NOT NULL
            AND is_wanted.entity_type = (change).related_type
            AND (
                is_wanted.entity_id = (change).related_id
                OR (change).fields_enriched && is_wanted.part_columns
                    AND is_wanted.entity_id = llamalog.former_whole(change)
            )
    )
    AND (is_wanted.categories IS NULL OR (change).category = ANY (is_wanted.categories))
    AND (is_wanted.status IS NULL OR upper(is_wanted.status) = upper((change).status))
    AND (is_wanted.source IS NULL OR is_wanted.source = (change).source)
    -- the database's user, where the application claims none
    AND (is_wanted.user_id IS NULL OR is_wanted.user_id = coalesce((change).user_id, (change).db_user))
    AND (is_wanted.job_id IS NULL OR is_wanted.job_id IN ((change).job_id, (change).parent_job_id, (change).root_job_id));

COMMENT ON FUNCTION llamalog.is_wanted(llamalog.log, text, text, text[], text, text, text, text, text[]) IS
    'Whether a change is of the type, the entity or its parts and links, one of the categories, and so on; null for whichever. part_columns: those by which parts of the type name their whole, for those that left the entity.';
