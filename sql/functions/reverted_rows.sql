-- The rows that some changes touched: each as it is now, and as it would be without them.
--
-- Each row is played backward from what it is to what it was before the first of the changes. From there it goes two ways.
-- ours: the fields that the changes set have the value that the first to set them found, and the row is there if it was.
-- theirs: the changes that are not to be reverted, and stand, are played forward again. Where both ways end alike, no later writer
-- is in the way, also where one wrote the same row. A write that no capture saw counts as one of a later writer.
CREATE OR REPLACE FUNCTION llamalog.reverted_rows(changes llamalog.log[])
    RETURNS SETOF llamalog.reverted_row
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
    SET DateStyle = 'ISO'
    SET IntervalStyle = 'iso_8601'
    SET bytea_output = 'hex'
    SET extra_float_digits = 1
    SET quote_all_identifiers = off
    SET jit = off
AS $function$
#variable_conflict use_variable
DECLARE
    v_seqs     int8multirange;
    v_type     record;
    v_watch    llamalog.watches;
    v_touched  record;
    v_change   llamalog.log;
    v_row      llamalog.reverted_row;
    v_none     llamalog.reverted_row;
    v_made     llamalog.log[];
    v_found    jsonb[];
    v_undone   boolean[];
    v_renaming llamalog.renaming;
    v_states   jsonb[];  -- as each change left the row
    v_founds   jsonb[];  -- as it found it
    v_written  jsonb[];  -- what it set; that the row came or went, under no name
    v_unseen   jsonb[];  -- what was otherwise when the next one came
    v_state    jsonb;
    v_base     jsonb;
    v_before   jsonb;
    v_after    jsonb;
    v_earlier  jsonb;  -- of the fields that the changes set, what the first to set each found
    v_oldest   integer;
BEGIN
    SELECT range_agg(int8range(given.seq, given.seq, '[]'))
    INTO v_seqs
    FROM unnest(changes) AS given;
    FOR v_type IN
        SELECT coalesce(given.link_type, given.entity_type) AS name, array_agg(given::llamalog.log) AS changes
        FROM unnest(changes) AS given
        GROUP BY name
        ORDER BY name
    LOOP
        SELECT watch.*
        INTO v_watch
        FROM llamalog.watches AS watch
        WHERE watch.entity_type = v_type.name;
        v_none.entity_type := v_type.name;
        v_none.relation := llamalog.table_of(v_watch);
        v_watch := llamalog.current_watch(v_none.relation, v_type.name);
        FOR v_touched IN
            SELECT touched.*
            FROM llamalog.touched_rows(v_type.changes, v_watch, lower(v_seqs)) AS touched
        LOOP
            v_change := v_touched.change;
            v_made := v_touched.made;
            v_found := v_touched.living;
            v_row := v_none;
            v_row.entity_id := v_made[1].entity_id;
            v_row.related_id := CASE WHEN v_watch.is_link THEN v_made[1].related_id END;
            v_row.row_found := v_touched.row_found;
            v_row.last_seq := v_change.seq;
            v_undone := '{}';
            FOR v_place IN 1 .. cardinality(v_made) LOOP
                v_undone[v_place] := v_made[v_place].seq <@ v_seqs;
                IF v_undone[v_place] THEN
                    v_row.first_seq := v_made[v_place].seq;
                    v_oldest := v_place;
                END IF;
            END LOOP;
            IF cardinality(v_found) > 1 THEN
                RAISE EXCEPTION 'the row of change % cannot be told from others', v_change.seq
                    USING ERRCODE = 'LL019',
                          DETAIL  = format('%s rows of %s have these ends, and no change says more.', cardinality(v_found), v_none.entity_type),
                          HINT    = 'Write the row as it should be; llamalog.history() shows what it was.';
            END IF;

            -- whoever has the key by a change of key is another row
            IF v_made[1].op IN ('D', 'T') AND v_found IS NOT NULL AND v_row.related_id IS NULL THEN
                v_renaming := llamalog.next_renaming(v_row.entity_type, v_row.entity_id, v_made[1].seq, NULL);
                IF v_renaming.seq IS NOT NULL THEN
                    v_found := NULL;
                END IF;
            END IF;

            -- backward
            v_row.live := v_found[1] - v_watch.ignored_columns;
            v_row.is_lost := false;
            v_state := v_row.live;
            v_base := v_row.live;
            v_states := '{}';
            v_founds := '{}';
            v_written := '{}';
            v_unseen := '{}';
            FOR v_place IN 1 .. v_oldest LOOP
                v_after := v_made[v_place].after - v_watch.ignored_columns;
                IF v_made[v_place].op IN ('I', 'U') THEN
                    v_row.is_lost := v_state IS NULL AND v_made[v_place].op = 'U';
                    EXIT WHEN v_row.is_lost;
                    v_unseen[v_place] := (
                        SELECT jsonb_object_agg(found.key, found.value)
                        FROM jsonb_each(v_after) AS left_by
                        JOIN jsonb_each(v_state) AS found
                            ON found.key = left_by.key
                        -- as text: as jsonb, 1.0 and 1.00 are equal
                        WHERE found.value::text <> left_by.value::text
                            -- redacted before, or since
                            AND '"[redacted]"' NOT IN (found.value, left_by.value)
                    );
                    v_states[v_place] := v_state || coalesce(v_after, '{}');
                    IF v_made[v_place].op = 'U' THEN
                        v_state := v_states[v_place] || (v_made[v_place].before - v_watch.ignored_columns);
                    ELSE
                        v_state := NULL;
                        v_base := CASE WHEN NOT v_undone[v_place] THEN v_base END;
                    END IF;
                ELSE
                    v_unseen[v_place] := v_state;
                    v_states[v_place] := NULL;
                    v_state := v_made[v_place].before - v_watch.ignored_columns;
                    IF v_base IS NULL OR v_undone[v_place] THEN
                        v_base := v_state;
                        -- not what another row had that got its key since
                        v_row.stored := v_made[v_place].before;
                    END IF;
                END IF;
                v_founds[v_place] := v_state;
                v_written[v_place] := CASE v_made[v_place].op
                    WHEN 'U' THEN coalesce(v_after, '{}')
                    ELSE coalesce(v_states[v_place], v_state) || '{"": null}'
                END;
            END LOOP;
            IF v_row.is_lost THEN
                RETURN NEXT v_row;
                CONTINUE;
            END IF;

            -- and forward
            IF EXISTS (SELECT FROM unnest(v_made) AS known WHERE known.source = 'revert') THEN
                SELECT standing.written, standing.unseen
                INTO v_written, v_unseen
                FROM llamalog.revert_standing(v_made, v_undone, v_states, v_founds, v_written, v_unseen) AS standing;
            END IF;
            v_row.theirs := v_state;
            v_row.set_by := '{}';
            v_earlier := '{}';
            FOR v_place IN REVERSE v_oldest .. 1 LOOP
                v_after := v_written[v_place];
                IF v_undone[v_place] THEN
                    IF v_made[v_place].op <> 'I' THEN
                        v_before := coalesce(v_row.theirs, v_state);
                        v_earlier := (
                            SELECT coalesce(jsonb_object_agg(field.name, v_before -> field.name), '{}')
                            FROM jsonb_object_keys(v_after) AS field (name)
                            WHERE v_before ? field.name
                        ) || v_earlier;
                    END IF;
                ELSIF v_after <> '{}' THEN
                    v_row.row_set_by := v_made[v_place].seq;
                    IF v_row.theirs IS NULL OR v_after ? '' THEN
                        v_row.theirs := v_states[v_place];
                        v_row.set_by := '{}';
                    ELSE
                        v_row.theirs := v_row.theirs || v_after;
                        v_row.set_by := v_row.set_by || (
                            SELECT jsonb_object_agg(field.name, v_made[v_place].seq)
                            FROM jsonb_object_keys(v_after) AS field (name)
                        );
                    END IF;
                END IF;
                IF v_unseen[v_place] IS NOT NULL THEN
                    v_row.row_set_by := CASE WHEN v_row.theirs IS NOT NULL THEN v_row.row_set_by END;
                    v_row.theirs := coalesce(v_row.theirs, v_states[v_place], '{}') || v_unseen[v_place];
                    v_row.set_by := v_row.set_by || (
                        SELECT jsonb_object_agg(field.name, NULL)
                        FROM jsonb_object_keys(v_unseen[v_place]) AS field (name)
                    );
                END IF;
            END LOOP;
            -- what a row that is to go was written while capture was paused, its creation does not tell
            IF v_state IS NULL
                AND v_row.theirs IS NULL
                AND v_row.live IS NOT NULL
                AND v_made[v_oldest].after IS NULL
                AND EXISTS (
                    SELECT
                    FROM llamalog.pauses AS pause
                    WHERE pause.entity_type = v_row.entity_type
                        AND coalesce(pause.resumed_at, 'infinity') > v_made[v_oldest].created_at
                )
            THEN
                v_row.theirs := v_row.live;
                v_row.row_set_by := NULL;
                v_row.set_by := '{}';
            END IF;
            IF v_state IS NOT NULL THEN
                v_row.ours := v_base || v_earlier;
                v_row.masked := ARRAY(
                    SELECT earlier.key
                    FROM jsonb_each(v_earlier) AS earlier
                    WHERE earlier.value = '"[redacted]"'
                );
            END IF;
            RETURN NEXT v_row;
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.reverted_rows(llamalog.log[]) IS
    'Part of llamalog.revert_plan(): one row for each row of a table that the changes touched.';
