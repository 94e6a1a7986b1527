-- The version before makes its own.
DROP FUNCTION IF EXISTS llamalog.revert_drift(llamalog.revert_step[]);
