-- Entities of which nobody knows how they came here.
CREATE OR REPLACE VIEW llamalog.unknown_provenance AS
SELECT
    log.entity_type,
    log.entity_id,
    log.created_at,
    log.sources,
    log.user_id,
    log.reason
FROM llamalog.log AS log
WHERE log.op IS NULL
    -- below whatever others write: what they say there of llamalog is a claim
    AND log.seq < (SELECT llamalog.first_claimed_seq())
    AND log.category = 'CREATED'
    AND log.source = 'unknown'
    AND log.metadata @> '{"llamalog": {"inferred": true}}';

COMMENT ON VIEW llamalog.unknown_provenance IS
    'Entities that were there before they were watched, and no row of the log tells of their creation: one inferred row each.';
COMMENT ON COLUMN llamalog.unknown_provenance.entity_type IS
    'Type of the entity.';
COMMENT ON COLUMN llamalog.unknown_provenance.entity_id IS
    'Key of the entity.';
COMMENT ON COLUMN llamalog.unknown_provenance.created_at IS
    'When its row says that it was created; when that says nothing, when the log first mentions it, else when llamalog backfill ran.';
COMMENT ON COLUMN llamalog.unknown_provenance.sources IS
    'Where its row says that it came from; null when it does not say.';
COMMENT ON COLUMN llamalog.unknown_provenance.user_id IS
    'Who its row says that added it; null when it does not say.';
COMMENT ON COLUMN llamalog.unknown_provenance.reason IS
    'What the inference rests on.';
