-- What is watched, and which paths write.
--
-- Locks nothing of the application's. Takes milliseconds: every table made here is new.

CREATE TABLE llamalog.watches (
    entity_type      text        PRIMARY KEY,
    schema_name      text        NOT NULL,
    table_name       text        NOT NULL,
    is_link          boolean     NOT NULL DEFAULT false,
    key_columns      text[]      NOT NULL,
    key_types        text[]      NOT NULL,
    label_column     text,
    subject_type     text        NOT NULL,
    subject_columns  text[]      NOT NULL,
    related_type     text,
    related_columns  text[],
    quality_column   text,
    source_column    text,
    ignored_columns  text[]      NOT NULL DEFAULT '{}',
    redacted_columns text[]      NOT NULL DEFAULT '{}',
    image            text        NOT NULL DEFAULT 'none',
    on_truncate      text        NOT NULL DEFAULT 'log',
    capture          text        NOT NULL DEFAULT 'rendered',
    options          jsonb       NOT NULL DEFAULT '{}',
    column_numbers   jsonb       NOT NULL DEFAULT '{}',
    fingerprint      text        NOT NULL,
    rendered         text        NOT NULL,
    grants           text[]      NOT NULL DEFAULT '{}',
    watched_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    unwatched_at     timestamptz,
    is_lost          boolean     NOT NULL DEFAULT false,
    CONSTRAINT image_is_none_or_full
        CHECK (image IN ('none', 'full')),
    CONSTRAINT truncate_is_logged_or_refused
        CHECK (on_truncate IN ('log', 'refuse')),
    CONSTRAINT capture_is_rendered_or_tolerant
        CHECK (capture IN ('rendered', 'tolerant')),
    CONSTRAINT link_has_another_end
        CHECK (NOT is_link OR related_type IS NOT NULL)
);

COMMENT ON TABLE llamalog.watches IS
    'Tables whose changes are captured, and those that once were. Written by llamalog watch and unwatch.';
COMMENT ON COLUMN llamalog.watches.entity_type IS
    'Name of one row of the table, as ALBUM.';
COMMENT ON COLUMN llamalog.watches.schema_name IS
    'Schema of the table.';
COMMENT ON COLUMN llamalog.watches.table_name IS
    'Name of the table.';
COMMENT ON COLUMN llamalog.watches.is_link IS
    'True for a table whose rows join two entities; its changes are logged on the first end, the other in related_*.';
COMMENT ON COLUMN llamalog.watches.key_columns IS
    'Columns that name a row, in key order.';
COMMENT ON COLUMN llamalog.watches.key_types IS
    'Types of key_columns, as format_type() gives them.';
COMMENT ON COLUMN llamalog.watches.label_column IS
    'Column that people know the entity by; null where the key must do.';
COMMENT ON COLUMN llamalog.watches.subject_type IS
    'Type that the log row is about: the entity itself; for a link, its first end.';
COMMENT ON COLUMN llamalog.watches.subject_columns IS
    'Columns that hold the key of the subject.';
COMMENT ON COLUMN llamalog.watches.related_type IS
    'Type of the whole that a part belongs to; for a link, of its other end. Null for an entity that is no part.';
COMMENT ON COLUMN llamalog.watches.related_columns IS
    'Columns that hold the key of the whole or of the other end.';
COMMENT ON COLUMN llamalog.watches.quality_column IS
    'Column logged as data_quality_before and data_quality_after; null when there is none.';
COMMENT ON COLUMN llamalog.watches.source_column IS
    'Column that says where the data came from, logged as sources; null when there is none.';
COMMENT ON COLUMN llamalog.watches.ignored_columns IS
    'Columns whose change alone is no change; only the image of a deleted row holds them.';
COMMENT ON COLUMN llamalog.watches.redacted_columns IS
    'Columns whose values are never stored; that they changed is.';
COMMENT ON COLUMN llamalog.watches.image IS
    'full: an INSERT stores the row; none: it does not, the live row and later changes hold it.';
COMMENT ON COLUMN llamalog.watches.on_truncate IS
    'log: one row for each entity that TRUNCATE removes; refuse: TRUNCATE fails.';
COMMENT ON COLUMN llamalog.watches.capture IS
    'rendered: functions written for this table; tolerant: the slower generic one, which no change of the table breaks.';
COMMENT ON COLUMN llamalog.watches.options IS
    'What llamalog watch was told; everything else was read from the catalogue.';
COMMENT ON COLUMN llamalog.watches.column_numbers IS
    'Number (pg_attribute.attnum) of each column as it was when the capture was made: by it a renamed column is known again.';
COMMENT ON COLUMN llamalog.watches.fingerprint IS
    'The fingerprint of llamalog.table_traits() when the capture was made; another value now means that the table has changed.';
COMMENT ON COLUMN llamalog.watches.rendered IS
    'Hash of what was hung on the table; llamalog migrate and watch do nothing while it stays the same.';
COMMENT ON COLUMN llamalog.watches.grants IS
    'What the owner of the log was granted so that TRUNCATE can be captured, as {"SELECT ON shop.orders"}; unwatch takes it back.';
COMMENT ON COLUMN llamalog.watches.watched_at IS
    'Since when changes are captured.';
COMMENT ON COLUMN llamalog.watches.unwatched_at IS
    'Since when they no longer are; null while they are.';
COMMENT ON COLUMN llamalog.watches.is_lost IS
    'True when the table was dropped while it was watched, not unwatched.';

CREATE TABLE llamalog.source_paths (
    source      text PRIMARY KEY,
    category    text NOT NULL,
    head_type   text,
    makes       text NOT NULL DEFAULT 'one',
    description text NOT NULL,
    CONSTRAINT category_is_one_a_path_can_have
        CHECK (category IN ('CREATED', 'ENRICHED', 'CORRECTED', 'CACHED', 'FAILED', 'USER_ACTION', 'UPDATED')),
    CONSTRAINT makes_one_head_or_many
        CHECK (makes IN ('one', 'many'))
);

COMMENT ON TABLE llamalog.source_paths IS
    'Paths through which writes enter. Add your own; a path not listed takes every type that is no part or link as a head.';
COMMENT ON COLUMN llamalog.source_paths.source IS
    'Name that the application sets as llamalog.source.';
COMMENT ON COLUMN llamalog.source_paths.category IS
    'Category of the UPDATEs that enter this way; an INSERT is always CREATED or LINKED.';
COMMENT ON COLUMN llamalog.source_paths.head_type IS
    'Type of the entity that a job of this path is for, as ALBUM; null for a path that creates no entity of its own.';
COMMENT ON COLUMN llamalog.source_paths.makes IS
    'one: a job is for one head. many: for many, and each head gets a job of its own below it, as sync-7/ALBUM:42.';
COMMENT ON COLUMN llamalog.source_paths.description IS
    'What the path is, for people.';

INSERT INTO llamalog.source_paths (source, category, head_type, makes, description)
VALUES
    ('addAlbum', 'CREATED', 'ALBUM', 'one', 'A user adds an album'),
    ('addArtist', 'CREATED', 'ARTIST', 'one', 'A user adds an artist'),
    ('addAlbumToCollection', 'USER_ACTION', 'ALBUM', 'one', 'A user adds an album to a collection; it may be new'),
    ('search_save', 'CREATED', 'ALBUM', 'one', 'A user saves an album found by search'),
    ('spotify_sync', 'CREATED', 'ALBUM', 'many', 'Sync of new releases from Spotify'),
    ('musicbrainz_sync', 'CREATED', 'ALBUM', 'many', 'Sync of new releases from MusicBrainz'),
    ('deezer_import', 'CREATED', 'ALBUM', 'many', 'Import from Deezer'),
    ('deezer_editorial_sync', 'CREATED', 'ALBUM', 'many', 'Sync of editorial releases from Deezer'),
    ('listenbrainz_sync', 'CREATED', 'ALBUM', 'many', 'Sync of fresh releases from ListenBrainz'),
    ('enrichment_check', 'ENRICHED', NULL, 'one', 'Decides whether an entity needs enrichment'),
    ('enrichment', 'ENRICHED', NULL, 'one', 'Completes an entity from outside services'),
    ('similar_artists_sync', 'ENRICHED', NULL, 'many', 'Sync of similar artists'),
    ('cache', 'CACHED', NULL, 'one', 'Copies images to the content delivery network'),
    ('admin_correction', 'CORRECTED', NULL, 'one', 'An administrator corrects an entity in the admin screens'),
    ('manual_edit', 'CORRECTED', NULL, 'one', 'An administrator edits an entity by hand'),
    ('recommendation', 'USER_ACTION', NULL, 'one', 'A user recommends an album'),
    ('game_pool', 'USER_ACTION', NULL, 'one', 'A user moves an album in or out of the game pool');
