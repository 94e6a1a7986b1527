-- Forgets what was watched, and the paths; the log itself stays.
DROP TABLE llamalog.source_paths;
DROP TABLE llamalog.watches;
