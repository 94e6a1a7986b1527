-- After any DDL: keeps every watched table captured, in the same transaction as its change.
--
-- A table that no longer is what its capture was rendered for gets the tolerant capture until llamalog migrate renders
-- anew; new partitions and heirs get theirs; a renamed table keeps its entity type, a dropped one its history. Nobody switches
-- capture off on a table that he owns, but a superuser, or a member of the log's owner or of llamalog_admin.
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
    v_watch   record;
    v_member  oid;
    v_lacking record;
    -- who logged in: a function of somebody else's makes nobody trusted
    v_is_trusted boolean := EXISTS (
        SELECT
        FROM pg_roles AS trusted
        WHERE trusted.rolname = session_user AND trusted.rolsuper
            OR pg_has_role(session_user, trusted.oid, 'MEMBER')
                AND (
                    trusted.rolname = 'llamalog_admin'
                    OR trusted.oid = (
                        SELECT namespace.nspowner
                        FROM pg_namespace AS namespace
                        WHERE namespace.nspname = 'llamalog'
                    )
                )
    );
BEGIN
    -- what llamalog migrate drops of our own is no table's; its functions are of two versions at that moment
    IF TG_EVENT = 'sql_drop'
        AND NOT EXISTS (
            SELECT
            FROM pg_event_trigger_dropped_objects() AS dropped
            WHERE (dropped.schema_name = 'llamalog') IS NOT TRUE
        )
    THEN
        RETURN;
    END IF;
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
    PERFORM llamalog.take_back_names();
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
        -- it may have another one, whatever captures it
        PERFORM llamalog.let_owner_hang(v_watch.relation);
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
        CONTINUE WHEN v_is_trusted;
        FOR v_lacking IN
            SELECT
                member.oid AS relation,
                event.name AS event,
                hung.tgenabled IN ('D', 'R') AS is_off
            FROM llamalog.family(v_watch.relation) AS member (oid)
            JOIN pg_class AS class
                ON class.oid = member.oid
            JOIN pg_namespace AS namespace
                ON namespace.oid = class.relnamespace
            CROSS JOIN unnest(llamalog.lacking_triggers(member.oid, v_watch.entity_type)) AS event (name)
            LEFT JOIN pg_trigger AS hung
                ON hung.tgrelid = member.oid
                AND hung.tgname = '00_llamalog_' || event.name
            WHERE hung.tgenabled IN ('D', 'R')
                -- those of a partition are those of the whole
                OR (event.name = 'truncate' OR NOT class.relispartition)
                    AND (
                        hung.oid IS NOT NULL
                        -- one that is not there yet may be about to be hung
                        OR TG_EVENT = 'sql_drop'
                            AND EXISTS (
                                SELECT
                                FROM pg_event_trigger_dropped_objects() AS dropped
                                WHERE dropped.object_type = 'trigger'
                                    AND dropped.address_names[1:2] = ARRAY[namespace.nspname, class.relname]::text[]
                            )
                    )
        LOOP
            -- the round that the one before has fired may have done it
            CONTINUE WHEN v_lacking.event <> ALL (llamalog.lacking_triggers(v_lacking.relation, v_watch.entity_type));
            IF v_lacking.is_off THEN
                EXECUTE format(
                    'ALTER TABLE %s ENABLE TRIGGER %I', v_lacking.relation::regclass, '00_llamalog_' || v_lacking.event
                );
            ELSIF v_lacking.event = 'truncate' THEN
                PERFORM llamalog.hang_truncate_capture(v_lacking.relation, v_watch.entity_type);
            ELSE
                UPDATE llamalog.watches AS watch
                SET
                    capture = 'tolerant',
                    rendered = 'fallen back'
                WHERE watch.entity_type = v_watch.entity_type;
                EXECUTE format(
                    'CREATE OR REPLACE TRIGGER %I AFTER %s ON %s FOR EACH ROW EXECUTE FUNCTION llamalog.capture_row(%L)',
                    '00_llamalog_' || v_lacking.event, v_lacking.event, v_lacking.relation::regclass, v_watch.entity_type
                );
            END IF;
            -- what a CHECK or DEFAULT of the same command wrote meanwhile went unlogged
            PERFORM llamalog.note_pause(
                v_watch.entity_type,
                'llamalog:kept',
                format('trigger "%s" of %s was off, and is on again', '00_llamalog_' || v_lacking.event, v_lacking.relation::regclass)
            );
            RAISE WARNING 'trigger "%" of % stays on', '00_llamalog_' || v_lacking.event, v_lacking.relation::regclass
                USING HINT = format('Who administers the log takes the capture off: llamalog unwatch %s', v_watch.entity_type);
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.follow_schema_change() IS
    'Event trigger: the capture of every watched table holds after any change of a table.';
