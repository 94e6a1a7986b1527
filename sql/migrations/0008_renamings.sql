-- Which keys ever changed, so that no question looks through every month of the log for what nearly never happened.
--
-- Locks nothing of the application's. Takes milliseconds: the table made here is new. llamalog maintain, which llamalog
-- migrate runs, fills it from the log.

CREATE TABLE llamalog.renamings (
    entity_type text NOT NULL,
    old_id      text NOT NULL,
    new_id      text
);

CREATE INDEX renamings_old_id_idx
    ON llamalog.renamings (old_id);
CREATE INDEX renamings_new_id_idx
    ON llamalog.renamings (new_id);

COMMENT ON TABLE llamalog.renamings IS
    'Changes of keys, of entities and of the ends of links, in no order: when and by whom stands in the log. Holds one more than once, and those whose rows left the log, but lacks none. No unique key: writers never wait for each other.';
COMMENT ON COLUMN llamalog.renamings.entity_type IS
    'As in the row of the log.';
COMMENT ON COLUMN llamalog.renamings.old_id IS
    'previous_id of the row of the log.';
COMMENT ON COLUMN llamalog.renamings.new_id IS
    'entity_id of the row of the log; null where the end of a link was emptied.';

-- who reads the log reads it, nobody else, whatever the owner's tables are granted to by default
DO $do$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN
        SELECT format('REVOKE ALL ON llamalog.renamings FROM %s', holder.name)
        FROM pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS given
        CROSS JOIN LATERAL (SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END) AS holder (name)
        WHERE class.oid = 'llamalog.renamings'::regclass
            AND given.grantee <> class.relowner
        UNION ALL
        SELECT format('GRANT SELECT ON llamalog.renamings TO %s', holder.name)
        FROM pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS given
        CROSS JOIN LATERAL (SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END) AS holder (name)
        WHERE class.oid = to_regclass('llamalog.log')
            AND given.grantee <> class.relowner
            AND given.privilege_type = 'SELECT'
    LOOP
        EXECUTE v_statement;
    END LOOP;
END;
$do$;
