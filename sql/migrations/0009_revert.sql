-- What a revert is planned with, and the path by which it writes.
-- Locks llamalog.source_paths for an instant as any INSERT does, nothing of the application's.

CREATE TYPE llamalog.reverted_row AS (
    entity_type text,
    entity_id   text,
    related_id  text,
    relation    oid,
    row_found   text,
    first_seq   bigint,
    last_seq    bigint,
    is_lost     boolean,
    live        jsonb,
    ours        jsonb,
    theirs      jsonb,
    stored      jsonb,
    masked      text[],
    set_by      jsonb,
    row_set_by  bigint,
    target      jsonb
);

COMMENT ON TYPE llamalog.reverted_row IS
    'A row that changes to be reverted have touched: as it is (live), as it would be where the revert wins (ours) and where later writers do (theirs).';

CREATE TYPE llamalog.revert_step AS (
    turn        integer,
    action      text,
    entity_type text,
    entity_id   text,
    related_id  text,
    field       text,
    before      jsonb,
    after       jsonb,
    is_refused  boolean,
    detail      text,
    seq         bigint,
    job_id      text,
    user_id     text,
    found       text,
    found_after text,
    statement   text
);

COMMENT ON TYPE llamalog.revert_step IS
    'A row of llamalog.revert_plan(): a write to come, or something that stands in the way.';

INSERT INTO llamalog.source_paths (source, category, head_type, makes, description)
VALUES ('revert', 'CORRECTED', NULL, 'one', 'Takes changes back')
ON CONFLICT (source) DO NOTHING;
