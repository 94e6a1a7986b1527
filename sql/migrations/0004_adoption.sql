-- Which category an operation belongs to, and which log of the application's was adopted.
-- Locks nothing of the application's. Takes milliseconds: every table made here is new.

CREATE TABLE llamalog.category_rules (
    position    integer           PRIMARY KEY,
    operation   text,
    status      text,
    source      text,
    category    llamalog.category NOT NULL,
    description text              NOT NULL
);

COMMENT ON TABLE llamalog.category_rules IS
    'Category of a change that does not say it itself: that of the first rule that fits. Add your own; then run llamalog backfill.';
COMMENT ON COLUMN llamalog.category_rules.position IS
    'Rules are tried in this order; leave room between them.';
COMMENT ON COLUMN llamalog.category_rules.operation IS
    'Pattern of LIKE that the operation fits, in any case; null for every operation.';
COMMENT ON COLUMN llamalog.category_rules.status IS
    'Status of the change; null for every status.';
COMMENT ON COLUMN llamalog.category_rules.source IS
    'Path through which the change entered; null for every path.';
COMMENT ON COLUMN llamalog.category_rules.category IS
    'The category.';
COMMENT ON COLUMN llamalog.category_rules.description IS
    'Why, for people.';

INSERT INTO llamalog.category_rules (position, operation, status, category, description)
VALUES
    (10, NULL, 'FAILED', 'FAILED', 'A failure is a failure, whatever was tried'),
    (20, '%:failed%', NULL, 'FAILED', 'A failure that says so in its name'),
    (30, 'collection:%', NULL, 'USER_ACTION', 'A user adds an album to a collection'),
    (40, 'recommendation:%', NULL, 'USER_ACTION', 'A user recommends an album'),
    (50, 'game-pool:%', NULL, 'USER_ACTION', 'A user moves an album in or out of the game pool'),
    (60, '%correction%', NULL, 'CORRECTED', 'An administrator corrects, in the admin screens or by hand'),
    (70, '%manual\_edit%', NULL, 'CORRECTED', 'An administrator edits by hand'),
    (80, 'cache:%', NULL, 'CACHED', 'An image is copied to the content delivery network'),
    (90, '%:unlinked%', NULL, 'UNLINKED', 'Two entities are taken apart'),
    (100, '%:linked%', NULL, 'LINKED', 'Two entities are joined'),
    (110, '%:deleted%', NULL, 'DELETED', 'An entity is deleted'),
    (120, 'MANUAL\_CREATE', NULL, 'CREATED', 'A user creates an entity'),
    (130, '%:created', NULL, 'CREATED', 'An entity is created'),
    (140, '%:created:%', NULL, 'CREATED', 'An entity is created, by the path that follows'),
    (150, '%enrich%', NULL, 'ENRICHED', 'Enrichment, its check and its preview'),
    (160, 'check:%', NULL, 'ENRICHED', 'A check that decides about enrichment'),
    (170, '%sync%', NULL, 'ENRICHED', 'A sync; what it creates has rows of its own'),
    (180, 'SPOTIFY\_TRACK\_FALLBACK', NULL, 'ENRICHED', 'Tracks taken from Spotify where MusicBrainz has none'),
    (190, '%:enriched%', NULL, 'ENRICHED', 'An entity is enriched'),
    (200, '%:updated%', NULL, 'UPDATED', 'An entity is changed');

CREATE TABLE llamalog.adoptions (
    id           integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    schema_name  text        NOT NULL,
    table_name   text        NOT NULL,
    old_name     text        NOT NULL,
    step         text        NOT NULL,
    shape        jsonb       NOT NULL,
    renamed      jsonb       NOT NULL DEFAULT '[]',
    foreign_keys jsonb       NOT NULL DEFAULT '[]',
    row_count    bigint,
    checksum     text,
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    adopted_at   timestamptz,
    copied_below xid8,
    undone_at    timestamptz
);

COMMENT ON TABLE llamalog.adoptions IS
    'Logs of the application''s that were adopted; at most one at a time. Written by llamalog adopt.';
COMMENT ON COLUMN llamalog.adoptions.id IS
    'Which adoption.';
COMMENT ON COLUMN llamalog.adoptions.schema_name IS
    'Schema of the table.';
COMMENT ON COLUMN llamalog.adoptions.table_name IS
    'Name of the table since it was adopted.';
COMMENT ON COLUMN llamalog.adoptions.old_name IS
    'Name before; a view stands there now.';
COMMENT ON COLUMN llamalog.adoptions.step IS
    'The last step that was done: where llamalog adopt goes on after an interruption.';
COMMENT ON COLUMN llamalog.adoptions.shape IS
    'Which column holds what, and what was added.';
COMMENT ON COLUMN llamalog.adoptions.renamed IS
    'Constraints, indexes and sequences that were renamed, as [kind, old name, new name].';
COMMENT ON COLUMN llamalog.adoptions.foreign_keys IS
    'Foreign keys that were dropped, as [name, definition].';
COMMENT ON COLUMN llamalog.adoptions.row_count IS
    'Rows on the day of adoption.';
COMMENT ON COLUMN llamalog.adoptions.checksum IS
    'Checksum of the application''s columns in those rows, whatever their order.';
COMMENT ON COLUMN llamalog.adoptions.began_at IS
    'When adoption began.';
COMMENT ON COLUMN llamalog.adoptions.adopted_at IS
    'When the table became the log; null before.';
COMMENT ON COLUMN llamalog.adoptions.copied_below IS
    'While it is undone: what transactions below this one captured stands in llamalog''s own log already.';
COMMENT ON COLUMN llamalog.adoptions.undone_at IS
    'When the adoption was undone; null while it holds.';

CREATE TABLE llamalog.adoption_days (
    adoption_id integer NOT NULL REFERENCES llamalog.adoptions,
    day         date,
    row_count   bigint  NOT NULL,
    checksum    text    NOT NULL
);

COMMENT ON TABLE llamalog.adoption_days IS
    'The proof of an adoption by day, so that a difference found later has a place.';
COMMENT ON COLUMN llamalog.adoption_days.adoption_id IS
    'Which adoption.';
COMMENT ON COLUMN llamalog.adoption_days.day IS
    'Day of created_at; null for rows without.';
COMMENT ON COLUMN llamalog.adoption_days.row_count IS
    'Rows of that day.';
COMMENT ON COLUMN llamalog.adoption_days.checksum IS
    'Checksum of the application''s columns in them.';

CREATE TABLE llamalog.returned_rows (
    adoption_id integer NOT NULL REFERENCES llamalog.adoptions,
    row_id      text    NOT NULL,
    checksum    bigint  NOT NULL,
    PRIMARY KEY (row_id, adoption_id)
);

COMMENT ON TABLE llamalog.returned_rows IS
    'Captured rows that stayed in the table of an undone adoption, and stand whole in llamalog''s own log.';
COMMENT ON COLUMN llamalog.returned_rows.adoption_id IS
    'Which adoption.';
COMMENT ON COLUMN llamalog.returned_rows.row_id IS
    'Key of the row in that table.';
COMMENT ON COLUMN llamalog.returned_rows.checksum IS
    'Checksum of the application''s columns in it: another row may get the key.';
