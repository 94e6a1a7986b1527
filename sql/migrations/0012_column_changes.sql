-- When columns of watched tables came, went or got another name: what no row of the log says.
--
-- Locks nothing of the application's. Takes milliseconds: the table made here is new.

CREATE TABLE llamalog.column_changes (
    id          bigint      PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    entity_type text        NOT NULL,
    change      text        NOT NULL,
    column_name text        NOT NULL,
    old_name    text,
    after_at    timestamptz NOT NULL,
    noticed_at  timestamptz NOT NULL,
    CONSTRAINT column_was_added_dropped_or_renamed
        CHECK (change IN ('added', 'dropped', 'renamed')),
    CONSTRAINT renamed_column_has_an_old_name
        CHECK ((change = 'renamed') = (old_name IS NOT NULL))
);

CREATE INDEX column_changes_entity_type_idx
    ON llamalog.column_changes (entity_type, id);

COMMENT ON TABLE llamalog.column_changes IS
    'Columns of watched tables that came, went or got another name. Rows are only ever added, by llamalog.follow_columns().';
COMMENT ON COLUMN llamalog.column_changes.id IS
    'Order in which they were noticed.';
COMMENT ON COLUMN llamalog.column_changes.entity_type IS
    'Type that the table is watched as.';
COMMENT ON COLUMN llamalog.column_changes.change IS
    'added, dropped or renamed.';
COMMENT ON COLUMN llamalog.column_changes.column_name IS
    'The column; where it was renamed, its new name.';
COMMENT ON COLUMN llamalog.column_changes.old_name IS
    'The name before; null where it was not renamed.';
COMMENT ON COLUMN llamalog.column_changes.after_at IS
    'It happened no earlier: the instant itself where event triggers noticed it, else when the columns were last looked at.';
COMMENT ON COLUMN llamalog.column_changes.noticed_at IS
    'It happened no later.';

-- who reads the log reads it, nobody else, whatever the owner's tables are granted to by default
DO $do$
DECLARE
    v_statement text;
BEGIN
    FOR v_statement IN
        SELECT format('REVOKE ALL ON llamalog.column_changes FROM %s', holder.name)
        FROM pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS given
        CROSS JOIN LATERAL (SELECT CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END) AS holder (name)
        WHERE class.oid = 'llamalog.column_changes'::regclass
            AND given.grantee <> class.relowner
        UNION ALL
        SELECT format('GRANT SELECT ON llamalog.column_changes TO %s', holder.name)
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
