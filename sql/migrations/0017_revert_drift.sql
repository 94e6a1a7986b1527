-- What looked at one written row of a revert now looks at all of them: the older function would stay beside it.
--
-- Locks nothing of the application's.
DROP FUNCTION IF EXISTS llamalog.revert_drift(llamalog.revert_step);
