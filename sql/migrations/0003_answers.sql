-- What questions answer with, what a cursor carries, and since when this cluster writes the log.
-- Locks nothing of the application's.

CREATE TYPE llamalog.page AS (
    snapshot pg_snapshot,
    last_at  timestamptz,
    last_seq bigint,
    top_seq  bigint,
    last_id  text
);

COMMENT ON TYPE llamalog.page IS
    'Where a reader stands: what the first page could see, the last row shown, and the highest seq that it saw.';

CREATE TABLE llamalog.clusters (
    system_identifier bigint      PRIMARY KEY,
    first_seq         bigint      NOT NULL,
    noticed_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

COMMENT ON TABLE llamalog.clusters IS
    'Database clusters that this log has lived in: rows below first_seq came by dump and restore, and their txid means nothing here.';
COMMENT ON COLUMN llamalog.clusters.system_identifier IS
    'system_identifier of pg_control_system().';
COMMENT ON COLUMN llamalog.clusters.first_seq IS
    'First seq that this cluster gave out itself.';
COMMENT ON COLUMN llamalog.clusters.noticed_at IS
    'When llamalog migrate or maintain noticed the cluster.';

CREATE TYPE llamalog.chain_row AS (
    seq                 bigint,
    created_at          timestamptz,
    op                  text,
    entity_type         text,
    entity_id           text,
    related_type        text,
    related_id          text,
    link_type           text,
    operation           text,
    category            text,
    status              text,
    source              text,
    sources             text[],
    reason              text,
    fields_enriched     text[],
    data_quality_before text,
    data_quality_after  text,
    duration_ms         integer,
    error_code          text,
    error_message       text,
    job_id              text,
    parent_job_id       text,
    root_job_id         text,
    is_root_job         boolean,
    triggered_by        text,
    user_id             text,
    db_user             text,
    before              jsonb,
    after               jsonb,
    metadata            jsonb,
    total_count         bigint,
    has_more            boolean,
    next_cursor         text
);

COMMENT ON TYPE llamalog.chain_row IS
    'A change as llamalog.chain() pages it, with how many there are in all and the cursor to what follows it.';

CREATE TYPE llamalog.tree_node AS (
    depth          integer,
    node           text,
    parent_node    text,
    job_id         text,
    seq            bigint,
    created_at     timestamptz,
    category       text,
    status         text,
    entity_type    text,
    entity_id      text,
    label          text,
    related_type   text,
    related_id     text,
    related_label  text,
    link_type      text,
    operation      text,
    source         text,
    user_id        text,
    triggered_by   text,
    detail         text
);

COMMENT ON TYPE llamalog.tree_node IS
    'A node of llamalog.tree(): a change, or a job that has none to stand for it.';

CREATE TYPE llamalog.entity_label AS (
    entity_id text,
    label     text,
    is_alive  boolean
);

COMMENT ON TYPE llamalog.entity_label IS
    'An entity with the name that people know it by, and whether it still lives.';

CREATE TYPE llamalog.found_entity AS (
    entity_type text,
    entity_id   text,
    label       text,
    is_alive    boolean
);

COMMENT ON TYPE llamalog.found_entity IS
    'An entity that llamalog.find() found.';

CREATE TYPE llamalog.renaming AS (
    seq    bigint,
    old_id text,
    new_id text,
    mark   text
);

COMMENT ON TYPE llamalog.renaming IS
    'A change of an entity''s key, and the mark of the statement that made it.';
