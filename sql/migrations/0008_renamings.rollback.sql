-- Questions look for changes of keys in the log again.
DROP TABLE llamalog.renamings;
