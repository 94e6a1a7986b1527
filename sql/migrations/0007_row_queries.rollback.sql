-- The tolerant capture makes its SQL for each row again.
DROP TABLE llamalog.row_queries;
