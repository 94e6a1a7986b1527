-- The log: one row for each change of each watched entity, in monthly partitions; and which job caused which.
--
-- Locks nothing of the application's. Takes milliseconds: every table made here is new.
--
-- The rules it states are domains, whose constraints are named by what they demand: a table with a CHECK reads all of
-- them anew at each statement, which is dearer than writing the row (docs/decisions/0003-no-checks.md). No foreign key
-- leads out of it: a reference to an application's table would let a cascade erase history, or make the logging of a
-- DELETE fail.

CREATE DOMAIN llamalog.op AS text
    CONSTRAINT op_is_insert_update_delete_or_truncate
        CHECK (value IN ('I', 'U', 'D', 'T'));

COMMENT ON DOMAIN llamalog.op IS
    'The write that was captured: I, U, D or T (TRUNCATE).';

CREATE DOMAIN llamalog.category AS text
    CONSTRAINT category_is_known
        CHECK (value IN (
            'CREATED', 'ENRICHED', 'CORRECTED', 'CACHED', 'FAILED', 'LINKED', 'UNLINKED', 'USER_ACTION',
            'UPDATED', 'DELETED', 'TRUNCATED'
        ));

COMMENT ON DOMAIN llamalog.category IS
    'What kind of change it was, as llamalog.categories() lists them.';

CREATE TABLE llamalog.llama_logs (
    id                  bigint            NOT NULL GENERATED ALWAYS AS IDENTITY,
    created_at          timestamptz       NOT NULL DEFAULT clock_timestamp(),
    transaction_at      timestamptz       NOT NULL DEFAULT transaction_timestamp(),
    txid                xid8              NOT NULL DEFAULT pg_current_xact_id(),
    retry_count         integer           NOT NULL DEFAULT 0,
    duration_ms         integer,
    api_call_count      integer           NOT NULL DEFAULT 0,
    is_root_job         boolean           NOT NULL DEFAULT false,
    op                  llamalog.op,
    entity_type         text,
    entity_id           text,
    related_type        text,
    related_id          text,
    link_type           text,
    previous_id         text,
    operation           text              NOT NULL,
    category            llamalog.category NOT NULL,
    status              text              NOT NULL DEFAULT 'SUCCESS',
    source              text,
    sources             text[],
    reason              text,
    fields_enriched     text[],
    data_quality_before text,
    data_quality_after  text,
    error_message       text,
    error_code          text,
    job_id              text,
    parent_job_id       text,
    root_job_id         text,
    triggered_by        text,
    user_id             text,
    db_user             text              NOT NULL DEFAULT session_user,
    before              jsonb,
    after               jsonb,
    metadata            jsonb,
    CONSTRAINT llama_logs_pkey
        PRIMARY KEY (id, created_at)
)
    PARTITION BY RANGE (created_at);

COMMENT ON TABLE llamalog.llama_logs IS
    'What changed, who or what did it, and which job caused it. Written by capture; read it through llamalog.log.';
COMMENT ON COLUMN llamalog.llama_logs.id IS
    'Order of the writes; never depends on a clock.';
COMMENT ON COLUMN llamalog.llama_logs.created_at IS
    'Instant of the write (clock_timestamp()).';
COMMENT ON COLUMN llamalog.llama_logs.transaction_at IS
    'Start of the transaction that wrote.';
COMMENT ON COLUMN llamalog.llama_logs.txid IS
    'Transaction that wrote, in the cluster where it wrote; after a restore it names no transaction of the new one.';
COMMENT ON COLUMN llamalog.llama_logs.retry_count IS
    'How often the attempt had been tried before.';
COMMENT ON COLUMN llamalog.llama_logs.duration_ms IS
    'Wall time of the job, milliseconds; null when unknown.';
COMMENT ON COLUMN llamalog.llama_logs.api_call_count IS
    'Calls to outside services that the job made.';
COMMENT ON COLUMN llamalog.llama_logs.is_root_job IS
    'True on the creation of the entity that a job was for (its head).';
COMMENT ON COLUMN llamalog.llama_logs.op IS
    'I, U, D or T (TRUNCATE) of a captured write; null for a row that an application wrote itself.';
COMMENT ON COLUMN llamalog.llama_logs.entity_type IS
    'Registered type of the entity, as ALBUM; null for a row about no entity.';
COMMENT ON COLUMN llamalog.llama_logs.entity_id IS
    'Key of the entity as text; parts of a composite key joined by commas, commas and backslashes in them escaped.';
COMMENT ON COLUMN llamalog.llama_logs.related_type IS
    'Type of the whole that a part belongs to, or of the other end of a link; null when there is none.';
COMMENT ON COLUMN llamalog.llama_logs.related_id IS
    'Key of the whole that a part belongs to, or of the other end of a link.';
COMMENT ON COLUMN llamalog.llama_logs.link_type IS
    'Registered type of the link table whose row changed; null when the change is one of the entity itself.';
COMMENT ON COLUMN llamalog.llama_logs.previous_id IS
    'The key before a change of the key, of the entity or of the end of a link; otherwise null.';
COMMENT ON COLUMN llamalog.llama_logs.operation IS
    'What the application calls it; by default type:category:source, as album:created:addAlbum.';
COMMENT ON COLUMN llamalog.llama_logs.category IS
    'CREATED, ENRICHED, CORRECTED, CACHED, FAILED, LINKED, UNLINKED, USER_ACTION, UPDATED, DELETED or TRUNCATED.';
COMMENT ON COLUMN llamalog.llama_logs.status IS
    'SUCCESS for a captured write; applications also write FAILED, NO_DATA_AVAILABLE, SKIPPED, PREVIEW and others.';
COMMENT ON COLUMN llamalog.llama_logs.source IS
    'Path through which the write entered, as addAlbum; see llamalog.source_paths. Null without context.';
COMMENT ON COLUMN llamalog.llama_logs.sources IS
    'Where the data came from, as {SPOTIFY}; from the context, else from the source column of the row.';
COMMENT ON COLUMN llamalog.llama_logs.reason IS
    'Why, in the words of the application.';
COMMENT ON COLUMN llamalog.llama_logs.fields_enriched IS
    'CREATED: the columns that were not null. UPDATE: the columns that changed.';
COMMENT ON COLUMN llamalog.llama_logs.data_quality_before IS
    'Value of the quality column before the change; null where the table has none.';
COMMENT ON COLUMN llamalog.llama_logs.data_quality_after IS
    'Value of the quality column after the change; null where the table has none.';
COMMENT ON COLUMN llamalog.llama_logs.error_message IS
    'What went wrong, for FAILED.';
COMMENT ON COLUMN llamalog.llama_logs.error_code IS
    'SQLSTATE or the application''s own code, for FAILED.';
COMMENT ON COLUMN llamalog.llama_logs.job_id IS
    'Job that wrote; without context its transaction. Null on a creation that has no job of its own: see parent_job_id.';
COMMENT ON COLUMN llamalog.llama_logs.parent_job_id IS
    'Job that caused this one; on a creation without a job of its own, the job of the entity it belongs to.';
COMMENT ON COLUMN llamalog.llama_logs.root_job_id IS
    'First ancestor of the job, as far as the writer knew.';
COMMENT ON COLUMN llamalog.llama_logs.triggered_by IS
    'What set the job off, as admin_ui; without context the application_name of the session.';
COMMENT ON COLUMN llamalog.llama_logs.user_id IS
    'User that the application claims; db_user is what nobody can forge.';
COMMENT ON COLUMN llamalog.llama_logs.db_user IS
    'session_user of the connection that wrote.';
COMMENT ON COLUMN llamalog.llama_logs.before IS
    'UPDATE: the changed columns as they were. DELETE and TRUNCATE: the whole row. Images: see docs/images.md.';
COMMENT ON COLUMN llamalog.llama_logs.after IS
    'UPDATE: the changed columns as they became. INSERT: the whole row of a link, and where the image is full.';
COMMENT ON COLUMN llamalog.llama_logs.metadata IS
    'Whatever the application adds; under "llamalog" what capture had to say, as a context value that it cut.';

CREATE TABLE llamalog.llama_logs_default
    PARTITION OF llamalog.llama_logs DEFAULT;

COMMENT ON TABLE llamalog.llama_logs_default IS
    'Rows of months that have no partition yet, so that no write ever fails for want of one; llamalog maintain moves them.';

CREATE INDEX llama_logs_entity_id_idx
    ON llamalog.llama_logs (entity_id, id);
CREATE INDEX llama_logs_related_id_idx
    ON llamalog.llama_logs (related_id, id)
    WHERE related_id IS NOT NULL;
CREATE INDEX llama_logs_previous_id_idx
    ON llamalog.llama_logs (previous_id, id)
    WHERE previous_id IS NOT NULL;
CREATE INDEX llama_logs_renamed_entity_id_idx
    ON llamalog.llama_logs (entity_id, id)
    WHERE previous_id IS NOT NULL;
CREATE INDEX llama_logs_job_id_idx
    ON llamalog.llama_logs (job_id, id)
    WHERE job_id IS NOT NULL;
CREATE INDEX llama_logs_parent_job_id_idx
    ON llamalog.llama_logs (parent_job_id, id)
    WHERE parent_job_id IS NOT NULL;
CREATE INDEX llama_logs_removed_entity_type_idx
    ON llamalog.llama_logs (entity_type, id)
    WHERE op IN ('D', 'T');
CREATE INDEX llama_logs_created_at_idx
    ON llamalog.llama_logs USING brin (created_at);

CREATE TABLE llamalog.jobs (
    id            bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    job_id        text        NOT NULL,
    parent_job_id text,
    root_job_id   text,
    source        text,
    user_id       text,
    triggered_by  text,
    db_user       text        NOT NULL DEFAULT session_user,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    txid          xid8        NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX jobs_job_id_idx
    ON llamalog.jobs (job_id, id);
CREATE INDEX jobs_parent_job_id_idx
    ON llamalog.jobs (parent_job_id, id)
    WHERE parent_job_id IS NOT NULL;

COMMENT ON TABLE llamalog.jobs IS
    'Which job caused which, once for each transaction that said so. No unique key: transactions of one job never wait for each other.';
COMMENT ON COLUMN llamalog.jobs.id IS
    'Order in which it was said.';
COMMENT ON COLUMN llamalog.jobs.job_id IS
    'The job.';
COMMENT ON COLUMN llamalog.jobs.parent_job_id IS
    'The job that caused it; null for a first one.';
COMMENT ON COLUMN llamalog.jobs.root_job_id IS
    'Its first ancestor, as far as the caller knew.';
COMMENT ON COLUMN llamalog.jobs.source IS
    'Path through which it writes; null when not said.';
COMMENT ON COLUMN llamalog.jobs.user_id IS
    'User that the application claims; null when not said.';
COMMENT ON COLUMN llamalog.jobs.triggered_by IS
    'What set the job off; null when not said.';
COMMENT ON COLUMN llamalog.jobs.db_user IS
    'session_user of the connection that said so.';
COMMENT ON COLUMN llamalog.jobs.recorded_at IS
    'When it was said.';
COMMENT ON COLUMN llamalog.jobs.txid IS
    'Transaction in which it was said.';
