-- Albums that need a person; empty where no table is watched as ALBUM.
CREATE OR REPLACE VIEW llamalog.albums_needing_attention AS
SELECT
    told.entity_id AS album_id,
    told.label AS title,
    told.rule,
    told.detail,
    told.since,
    told.because,
    told.seq,
    told.category,
    told.source,
    told.job_id,
    told.root_job_id,
    told.user_id
FROM llamalog.watches AS watch
CROSS JOIN LATERAL llamalog.needing_attention(watch.entity_type) AS needy
-- one by one, so that LIMIT asks the log no more than it shows
CROSS JOIN LATERAL llamalog.attention_told(needy) AS told
WHERE watch.entity_type = 'ALBUM'
    AND watch.unwatched_at IS NULL
    AND NOT watch.is_link;

COMMENT ON VIEW llamalog.albums_needing_attention IS
    'Albums without tracks, that failed lately, of low quality, without ids, or that nobody knows the origin of: llamalog.attention(''ALBUM'') without limit. Reads albums with the rights of the caller.';
COMMENT ON COLUMN llamalog.albums_needing_attention.album_id IS
    'Key of the album; an album stands here once for each rule. Null: the rule itself does not fit the table, as detail says.';
COMMENT ON COLUMN llamalog.albums_needing_attention.title IS
    'What people know it by.';
COMMENT ON COLUMN llamalog.albums_needing_attention.rule IS
    'no_parts, failed, value, missing or unknown_provenance: see llamalog.attention_rules.';
COMMENT ON COLUMN llamalog.albums_needing_attention.detail IS
    'What the rule says of it, as no TRACK.';
COMMENT ON COLUMN llamalog.albums_needing_attention.since IS
    'Since when; null where the log does not have it.';
COMMENT ON COLUMN llamalog.albums_needing_attention.because IS
    'What made it so, by whom, through which path and job; null where the log does not have it.';
COMMENT ON COLUMN llamalog.albums_needing_attention.seq IS
    'The change that made it so.';
COMMENT ON COLUMN llamalog.albums_needing_attention.category IS
    'Category of that change.';
COMMENT ON COLUMN llamalog.albums_needing_attention.source IS
    'Path through which it entered.';
COMMENT ON COLUMN llamalog.albums_needing_attention.job_id IS
    'Job that made it, or caused it.';
COMMENT ON COLUMN llamalog.albums_needing_attention.root_job_id IS
    'First ancestor of that job, as far as the writer knew.';
COMMENT ON COLUMN llamalog.albums_needing_attention.user_id IS
    'User that the application named; null for none.';
