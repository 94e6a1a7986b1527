-- A third kind of capture: all rows of a statement at once.
-- Locks llamalog.watches exclusively for an instant, nothing of the application's.

ALTER TABLE llamalog.watches
    DROP CONSTRAINT capture_is_rendered_or_tolerant,
    ADD CONSTRAINT capture_is_known CHECK (capture IN ('rendered', 'statement', 'tolerant'));

COMMENT ON COLUMN llamalog.watches.capture IS
    'rendered: functions written for this table; statement: the same, with all rows of an UPDATE or DELETE captured at once; tolerant: the slower generic one, which no change of the table breaks.';
