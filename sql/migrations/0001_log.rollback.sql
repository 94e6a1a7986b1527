-- Erases the log. `llamalog rollback` goes this far only with --drop-log.
DROP TABLE llamalog.llama_logs, llamalog.jobs;
DROP DOMAIN llamalog.op, llamalog.category;
