-- Tables captured by statement keep their triggers until llamalog migrate renders them by row.
UPDATE llamalog.watches
SET
    capture = 'rendered',
    rendered = '',
    options = options - 'capture'
WHERE capture = 'statement';

ALTER TABLE llamalog.watches
    DROP CONSTRAINT capture_is_known,
    ADD CONSTRAINT capture_is_rendered_or_tolerant CHECK (capture IN ('rendered', 'tolerant'));

COMMENT ON COLUMN llamalog.watches.capture IS
    'rendered: functions written for this table; tolerant: the slower generic one, which no change of the table breaks.';
