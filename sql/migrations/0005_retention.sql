-- Which months of the log were archived, and where.
-- Locks nothing of the application's. Takes milliseconds: the table made here is new.

CREATE TABLE llamalog.archived_months (
    id            integer     PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    month         date        NOT NULL,
    partition     text        NOT NULL,
    only_types    text[],
    spared_types  text[]      NOT NULL DEFAULT '{}',
    row_count     bigint,
    removed_count bigint,
    checksum      text,
    file          text,
    began_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    archived_at   timestamptz,
    compacted_at  timestamptz,
    restored_at   timestamptz,
    CONSTRAINT archived_month_is_proved
        CHECK (archived_at IS NULL OR row_count IS NOT NULL AND removed_count IS NOT NULL AND checksum IS NOT NULL)
);

COMMENT ON TABLE llamalog.archived_months IS
    'Months whose rows were archived and removed, but for how their living entities came. Written by llamalog maintain --keep.';
COMMENT ON COLUMN llamalog.archived_months.id IS
    'Which archiving; a month may be archived several times.';
COMMENT ON COLUMN llamalog.archived_months.month IS
    'First day of the month, UTC.';
COMMENT ON COLUMN llamalog.archived_months.partition IS
    'Partition that holds what stays of the month.';
COMMENT ON COLUMN llamalog.archived_months.only_types IS
    'Entity types that were archived, having a period of their own; null for all types.';
COMMENT ON COLUMN llamalog.archived_months.spared_types IS
    'Entity types that were not archived, having a longer period of their own.';
COMMENT ON COLUMN llamalog.archived_months.row_count IS
    'Rows in the file: those removed and those that stay. Null until it is archived.';
COMMENT ON COLUMN llamalog.archived_months.removed_count IS
    'Rows removed from the log; null until it is archived.';
COMMENT ON COLUMN llamalog.archived_months.checksum IS
    'Checksum of the rows in the file, whatever their order; null until it is archived.';
COMMENT ON COLUMN llamalog.archived_months.file IS
    'The file, with its directory, where llamalog ran; null where the rows were removed for good.';
COMMENT ON COLUMN llamalog.archived_months.began_at IS
    'When archiving began.';
COMMENT ON COLUMN llamalog.archived_months.archived_at IS
    'When the rows were proved to be in the file and removed, in one transaction; null before.';
COMMENT ON COLUMN llamalog.archived_months.compacted_at IS
    'When the partition had given its room back; null before.';
COMMENT ON COLUMN llamalog.archived_months.restored_at IS
    'When llamalog restore-archive brought the rows back; null while they are away.';
