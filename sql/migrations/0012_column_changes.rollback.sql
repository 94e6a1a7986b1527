-- Forgets when columns came, went or got another name.
DROP TABLE llamalog.column_changes;
