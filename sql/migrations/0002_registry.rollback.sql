-- Forgets what was watched, the paths and the ancestry of jobs; the log itself stays.
DROP TABLE llamalog.jobs;
DROP TABLE llamalog.source_paths;
DROP TABLE llamalog.watches;
