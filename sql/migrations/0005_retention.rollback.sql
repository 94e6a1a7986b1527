-- Forgets which months were archived; the files say it themselves.
DROP TABLE llamalog.archived_months;
