-- Forgets what reverts are planned with; what they wrote stays, as any other change.
DELETE FROM llamalog.source_paths AS path
WHERE path.source = 'revert';
DROP TYPE llamalog.revert_step;
DROP TYPE llamalog.reverted_row;
