-- When capture of a table was paused, by whom and why: what was written meanwhile is not in the log.
--
-- Locks nothing of the application's. Takes milliseconds: the table made here is new.

CREATE TABLE llamalog.pauses (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    entity_type text        NOT NULL,
    reason      text        NOT NULL,
    paused_at   timestamptz NOT NULL,
    paused_seq  bigint      NOT NULL,
    paused_by   text        NOT NULL,
    resumed_at  timestamptz,
    resumed_seq bigint,
    resumed_by  text,
    CONSTRAINT resumed_pause_says_by_whom
        CHECK (resumed_by IS NULL OR resumed_at IS NOT NULL)
);

CREATE UNIQUE INDEX table_is_paused_once_at_a_time
    ON llamalog.pauses (entity_type)
    WHERE resumed_at IS NULL;
CREATE INDEX pauses_entity_type_idx
    ON llamalog.pauses (entity_type, paused_at);

COMMENT ON TABLE llamalog.pauses IS
    'When capture of a table was paused. Written by llamalog.pause() and resume(); as_of() and its kin do not cross it.';
COMMENT ON COLUMN llamalog.pauses.id IS
    'Order in which they began.';
COMMENT ON COLUMN llamalog.pauses.entity_type IS
    'Type that the table is watched as.';
COMMENT ON COLUMN llamalog.pauses.reason IS
    'Why, in the words of who paused it.';
COMMENT ON COLUMN llamalog.pauses.paused_at IS
    'What was written before is in the log.';
COMMENT ON COLUMN llamalog.pauses.paused_seq IS
    'The row of the log that says so, by its seq of then: adopting a log numbers older rows anew.';
COMMENT ON COLUMN llamalog.pauses.paused_by IS
    'session_user of who paused it.';
COMMENT ON COLUMN llamalog.pauses.resumed_at IS
    'What was written since is in the log; null while it is paused. Of a table unwatched meanwhile, and watched again: when it was unwatched.';
COMMENT ON COLUMN llamalog.pauses.resumed_seq IS
    'The row of the log that says so; null while it is paused, and where the table was unwatched.';
COMMENT ON COLUMN llamalog.pauses.resumed_by IS
    'session_user of who resumed it; null while it is paused, and where the table was unwatched.';

-- who reads the log reads it, nobody else, whatever the owner's tables are granted to by default
DO $do$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN
        SELECT format('REVOKE ALL ON llamalog.pauses FROM %s', holder.name)
        FROM pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS given
        CROSS JOIN LATERAL (SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END) AS holder (name)
        WHERE class.oid = 'llamalog.pauses'::regclass
            AND given.grantee <> class.relowner
        UNION ALL
        SELECT format('GRANT SELECT ON llamalog.pauses TO %s', holder.name)
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
