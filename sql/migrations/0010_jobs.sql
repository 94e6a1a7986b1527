-- What questions about jobs answer with, and the index on parent jobs in the order of bytes: it finds the jobs of the heads of
-- a job (J/ALBUM:7) by how they begin, whatever the language of the database, and is no dearer for a write than the one it
-- replaces.
--
-- Locks the log against writes while it is built, about a second for a million rows, then exclusively for an instant. On a
-- large log build it before, beside the writers, and this file only drops the old one:
--     CREATE INDEX llama_logs_parent_job_id_prefix_idx ON ONLY llamalog.llama_logs (parent_job_id text_pattern_ops, id)
--         WHERE parent_job_id IS NOT NULL;
-- for each partition CREATE INDEX CONCURRENTLY with the same columns and condition, then
--     ALTER INDEX llamalog.llama_logs_parent_job_id_prefix_idx ATTACH PARTITION that one.
-- Of a log that was adopted before: DROP INDEX CONCURRENTLY llama_logs_lens_parent_job_id_idx and build it anew likewise.
DO $migration$
DECLARE
    -- llamalog's own log, which has another name beside an adopted one
    v_log regclass := coalesce(
        to_regclass('llamalog.llama_logs_before_adoption'),
        to_regclass('llamalog.llama_logs')
    );
BEGIN
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS llama_logs_parent_job_id_prefix_idx ON %s (parent_job_id text_pattern_ops, id)'
            || ' WHERE parent_job_id IS NOT NULL',
        v_log
    );
END;
$migration$;

DROP INDEX llamalog.llama_logs_parent_job_id_idx;

-- likewise; a row for each transaction that named its job is soon indexed
DROP INDEX llamalog.jobs_parent_job_id_idx;
CREATE INDEX jobs_parent_job_id_idx
    ON llamalog.jobs (parent_job_id text_pattern_ops, id)
    WHERE parent_job_id IS NOT NULL;

CREATE TYPE llamalog.family_job AS (
    job_id        text,
    depth         integer,
    parent_job_id text
);

COMMENT ON TYPE llamalog.family_job IS
    'A job, how many steps it is from the one asked about (ancestors below 0), and the job that caused it.';

CREATE TYPE llamalog.job_node AS (
    job_id        text,
    parent_job_id text,
    depth         integer,
    source        text,
    user_id       text,
    triggered_by  text,
    db_user       text,
    started_at    timestamptz,
    ended_at      timestamptz,
    change_count  bigint,
    failure_count bigint,
    categories    jsonb
);

COMMENT ON TYPE llamalog.job_node IS
    'A job in llamalog.job(): what was said of it first, else what its changes say; its first and last sign of life; its own changes, by category.';

CREATE TYPE llamalog.touch AS (
    touched_type text,
    entity_type  text,
    entity_id    text,
    related_type text,
    related_id   text,
    category     text,
    created_at   timestamptz,
    seq          bigint,
    txid         xid8,
    job_id       text,
    root_job_id  text,
    source       text,
    user_id      text,
    triggered_by text,
    db_user      text
);

COMMENT ON TYPE llamalog.touch IS
    'What a change touched: an entity, or a link (touched_type is that of the link then, and related_* its other end), and by whom; job_id is that of llamalog.working_job().';

CREATE TYPE llamalog.impact AS (
    entity_type  text,
    entity_count bigint,
    change_count bigint,
    categories   jsonb,
    first_at     timestamptz,
    last_at      timestamptz
);

COMMENT ON TYPE llamalog.impact IS
    'What llamalog.impact() says of a type: how many of its entities (of a link table, its links) were touched, by how many changes, by category.';

CREATE TYPE llamalog.impact_entity AS (
    touched_type  text,
    entity_type   text,
    entity_id     text,
    label         text,
    related_type  text,
    related_id    text,
    related_label text,
    is_alive      boolean,
    change_count  bigint,
    categories    jsonb,
    first_at      timestamptz,
    last_at       timestamptz,
    next_cursor   text
);

COMMENT ON TYPE llamalog.impact_entity IS
    'An entity or link that llamalog.impact_entities() lists; is_alive is null of a link and where the caller cannot know, next_cursor is on the last of a page with more behind it.';
