-- After any DDL: keeps every watched table captured, in the same transaction as its change.
--
-- A table that no longer is what its capture was rendered for gets the tolerant capture until llamalog migrate renders
-- anew; new partitions and heirs get theirs; a renamed table keeps its entity type, a dropped one its history.
-- Runs as a superuser (only those may make event triggers), so it does nothing but hang our own functions. What it hangs
-- fires it again: each step first leaves the mark by which the next round knows that there is nothing to do.
CREATE OR REPLACE FUNCTION llamalog.follow_schema_change()
    RETURNS event_trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET client_min_messages = warning
AS $function$
DECLARE
    v_watch  record;
    v_member oid;
BEGIN
    IF TG_EVENT = 'ddl_command_end'
        AND NOT EXISTS (
            SELECT
            FROM pg_event_trigger_ddl_commands() AS command
            WHERE (command.schema_name IN ('pg_temp', 'llamalog')) IS NOT TRUE
                AND (command.object_type IN ('sequence', 'view')) IS NOT TRUE
                -- nor is an adopted log ever watched: thirty steps of adopting it would take as many rounds
                AND NOT EXISTS (
                    SELECT
                    FROM llamalog.adoptions AS adoption
                    CROSS JOIN LATERAL (
                        VALUES
                            (to_regclass(format('%I.%I', adoption.schema_name, adoption.old_name))::oid),
                            (to_regclass(format('%I.%I', adoption.schema_name, adoption.table_name))::oid)
                    ) AS log (relation)
                    WHERE adoption.undone_at IS NULL
                        AND log.relation IN (
                            CASE WHEN command.classid = 'pg_class'::regclass THEN command.objid END,
                            (
                                SELECT index.indrelid
                                FROM pg_index AS index
                                WHERE index.indexrelid = command.objid
                                    AND command.classid = 'pg_class'::regclass
                            ),
                            (
                                SELECT rule.conrelid
                                FROM pg_constraint AS rule
                                WHERE rule.oid = command.objid
                                    AND command.classid = 'pg_constraint'::regclass
                            ),
                            (
                                SELECT hung.tgrelid
                                FROM pg_trigger AS hung
                                WHERE hung.oid = command.objid
                                    AND command.classid = 'pg_trigger'::regclass
                            )
                        )
                )
        )
    THEN
        RETURN;
    END IF;
    PERFORM llamalog.release_strays();
    FOR v_watch IN
        SELECT
            watch.entity_type,
            watch.capture,
            watch.fingerprint,
            captured.relation,
            (watch.schema_name, watch.table_name) IS DISTINCT FROM (namespace.nspname::text, class.relname::text)
                AS is_renamed,
            namespace.nspname AS schema_name,
            class.relname AS table_name,
            to_regclass(format('%I.%I', watch.schema_name, watch.table_name)) IS NULL AS is_gone
        FROM llamalog.watches AS watch
        LEFT JOIN llamalog.captured_tables() AS captured
            ON captured.entity_type = watch.entity_type
            AND captured.is_top
        LEFT JOIN pg_class AS class
            ON class.oid = captured.relation
        LEFT JOIN pg_namespace AS namespace
            ON namespace.oid = class.relnamespace
        WHERE watch.unwatched_at IS NULL
    LOOP
        IF v_watch.relation IS NULL THEN
            IF v_watch.is_gone THEN
                UPDATE llamalog.watches AS watch
                SET
                    unwatched_at = clock_timestamp(),
                    is_lost = true
                WHERE watch.entity_type = v_watch.entity_type;
            END IF;
            CONTINUE;
        END IF;
        IF v_watch.is_renamed THEN
            UPDATE llamalog.watches AS watch
            SET
                schema_name = v_watch.schema_name,
                table_name = v_watch.table_name
            WHERE watch.entity_type = v_watch.entity_type;
            -- what TRUNCATE needs in another schema
            PERFORM llamalog.hang_truncate_capture(member.oid, v_watch.entity_type)
            FROM llamalog.family(v_watch.relation) AS member (oid);
        END IF;
        PERFORM llamalog.follow_columns(v_watch.entity_type, v_watch.relation, true);
        IF v_watch.capture <> 'tolerant'
            AND (SELECT traits.fingerprint FROM llamalog.table_traits(v_watch.relation) AS traits) <> v_watch.fingerprint
        THEN
            UPDATE llamalog.watches AS watch
            SET
                capture = 'tolerant',
                rendered = 'fallen back'
            WHERE watch.entity_type = v_watch.entity_type;
            PERFORM llamalog.hang_tolerant_capture(v_watch.relation, v_watch.entity_type);
        END IF;
        FOR v_member IN
            SELECT member.oid
            FROM llamalog.family(v_watch.relation) WITH ORDINALITY AS member (oid, position)
            WHERE NOT EXISTS (
                SELECT
                FROM pg_trigger AS hung
                WHERE hung.tgrelid = member.oid
                    AND hung.tgname = '00_llamalog_truncate'
            )
            ORDER BY member.position
        LOOP
            -- the row triggers of a partition are those of the whole; one that lost this trigger alone gets it back
            IF llamalog.is_partitioned(v_member)
                OR EXISTS (
                    SELECT
                    FROM pg_trigger AS hung
                    WHERE hung.tgrelid = v_member
                        AND hung.tgname = '00_llamalog_insert'
                )
            THEN
                PERFORM llamalog.hang_truncate_capture(v_member, v_watch.entity_type);
            ELSE
                PERFORM llamalog.hang_tolerant_capture(v_member, v_watch.entity_type);
            END IF;
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.follow_schema_change() IS
    'Event trigger: the capture of every watched table holds after any change of a table.';
