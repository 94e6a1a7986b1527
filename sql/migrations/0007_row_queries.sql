-- The SQL that the tolerant capture has made for a table, kept for its next row.
--
-- Locks nothing of the application's. Takes milliseconds: the table made here is new. It is unlogged: what a crash takes is
-- made again.

CREATE UNLOGGED TABLE llamalog.row_queries (
    entity_type    text    NOT NULL,
    shape          text    NOT NULL,
    version        text    NOT NULL,
    is_link        boolean NOT NULL,
    subject_type   text    NOT NULL,
    related_type   text,
    image          text    NOT NULL,
    insert_query   text    NOT NULL,
    delete_query   text    NOT NULL,
    image_query    text    NOT NULL,
    changed_query  text    NOT NULL,
    changed_images jsonb   NOT NULL,
    identities     text    NOT NULL,
    PRIMARY KEY (entity_type, shape, version)
);

COMMENT ON TABLE llamalog.row_queries IS
    'What the tolerant capture of a table runs, for each shape that it met. May be emptied at any time. Runs with the rights of the owner of the log: nobody else may write here.';
COMMENT ON COLUMN llamalog.row_queries.entity_type IS
    'Type as which the table is watched.';
COMMENT ON COLUMN llamalog.row_queries.shape IS
    'llamalog.row_shape() of the columns and of the watch that the queries were made for; they serve no other.';
COMMENT ON COLUMN llamalog.row_queries.version IS
    'Checksum of the functions that made them; those of other functions are made anew.';
COMMENT ON COLUMN llamalog.row_queries.is_link IS
    'As in llamalog.watches; false for a link that has lost the columns of its first end.';
COMMENT ON COLUMN llamalog.row_queries.subject_type IS
    'As in llamalog.watches; the type itself for a link that has lost the columns of its first end.';
COMMENT ON COLUMN llamalog.row_queries.related_type IS
    'As in llamalog.watches.';
COMMENT ON COLUMN llamalog.row_queries.image IS
    'As in llamalog.watches.';
COMMENT ON COLUMN llamalog.row_queries.insert_query IS
    'Gives entity_id, related_id, quality, sources and fields_enriched of the new row $1.';
COMMENT ON COLUMN llamalog.row_queries.delete_query IS
    'Gives entity_id, related_id, quality, sources and the image of the old row $1.';
COMMENT ON COLUMN llamalog.row_queries.image_query IS
    'Gives the image of the row $1.';
COMMENT ON COLUMN llamalog.row_queries.changed_query IS
    'Gives the names of the columns in which the old row $1 and the new row $2 differ.';
COMMENT ON COLUMN llamalog.row_queries.changed_images IS
    'For each column that can change, the SQL of its image; %s stands for the value.';
COMMENT ON COLUMN llamalog.row_queries.identities IS
    'SQL of entity_id, related_id, quality and sources of the old row $1, then of the new row $2.';

-- whatever the owner's tables are granted to by default
DO $do$
DECLARE
    v_grantee oid;
BEGIN
    FOR v_grantee IN
        SELECT given.grantee
        FROM pg_class AS class
        CROSS JOIN LATERAL aclexplode(class.relacl) AS given
        WHERE class.oid = 'llamalog.row_queries'::regclass
            AND given.grantee <> class.relowner
    LOOP
        EXECUTE format(
            'REVOKE ALL ON llamalog.row_queries FROM %s', CASE v_grantee WHEN 0 THEN 'PUBLIC' ELSE v_grantee::regrole::text END
        );
    END LOOP;
END;
$do$;

-- what made them before
DO $do$
DECLARE
    v_function regprocedure;
BEGIN
    FOR v_function IN
        SELECT maker.oid
        FROM pg_proc AS maker
        WHERE maker.pronamespace = 'llamalog'::regnamespace
            AND maker.proname IN ('difference_query', 'identity_query')
    LOOP
        EXECUTE format('DROP FUNCTION %s', v_function);
    END LOOP;
END;
$do$;
