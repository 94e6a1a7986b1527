-- Where foreign keys are in the way of a revert: a row that is to go, or to get another key, and is still referred to, or one
-- that is to refer to a row which is not there. No row outside of the revert is ever deleted or changed by the action of a
-- key; rows that row security hides from the caller are none to that action.
CREATE OR REPLACE FUNCTION llamalog.revert_references(touched_rows llamalog.reverted_row[])
    RETURNS TABLE (
        place   integer,
        action  text,
        columns text[],
        detail  text
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    SET jit = off
AS $function$
#variable_conflict use_column
DECLARE
    v_moves record := llamalog.revert_moves(touched_rows);
    v_rule  record;
    v_row   record;
    v_count bigint;
    v_types jsonb;  -- of the columns that refer: type, and base type
BEGIN
    FOR v_rule IN
        SELECT
            rule.*,
            -- to a foreign key, the rows of heirs are none
            CASE WHEN parent.relkind = 'p' THEN '' ELSE 'ONLY ' END || rule.parent::regclass AS of_parent,
            CASE WHEN child.relkind = 'p' THEN '' ELSE 'ONLY ' END || rule.child::regclass AS of_child
        FROM llamalog.foreign_keys(ARRAY(SELECT DISTINCT touched.relation FROM unnest(touched_rows) AS touched)) AS rule
        JOIN pg_class AS parent
            ON parent.oid = rule.parent
        JOIN pg_class AS child
            ON child.oid = rule.child
        WHERE rule.parent = ANY (v_moves.going)
            OR rule.child = ANY (v_moves.coming)
            OR EXISTS (
                SELECT
                FROM unnest(rule.child_columns, rule.parent_columns) AS key (child_name, parent_name)
                WHERE concat_ws(' ', rule.child, key.child_name) = ANY (v_moves.changed)
                    OR concat_ws(' ', rule.parent, key.parent_name) = ANY (v_moves.changed)
            )
    LOOP
        FOR v_row IN
            WITH
            parent AS MATERIALIZED (
                SELECT
                    touched.ordinality AS place,
                    touched.row_found,
                    touched.target IS NULL AS goes,
                    llamalog.picked(touched.live, v_rule.parent_columns) AS has,
                    llamalog.picked(touched.target, v_rule.parent_columns) AS gets
                FROM unnest(touched_rows) WITH ORDINALITY AS touched
                WHERE touched.relation = v_rule.parent
            ),
            child AS MATERIALIZED (
                SELECT
                    llamalog.picked(touched.live, v_rule.child_columns) AS has,
                    llamalog.picked(touched.target, v_rule.child_columns) AS gets
                FROM unnest(touched_rows) AS touched
                WHERE touched.relation = v_rule.child
            ),
            matched AS MATERIALIZED (
                SELECT found.*
                FROM llamalog.matching_keys(
                    v_rule.child, v_rule.child_columns, ARRAY(SELECT child.has FROM child UNION SELECT child.gets FROM child),
                    v_rule.parent, v_rule.parent_columns, ARRAY(SELECT parent.has FROM parent UNION SELECT parent.gets FROM parent),
                    v_rule.condition
                ) AS found
            ),
            -- references that the plan itself will have a row for
            met AS (
                SELECT matched.child_key AS key
                FROM matched
                JOIN parent
                    ON parent.gets = matched.parent_key
            ),
            leaving AS (
                SELECT matched.parent_key AS key, count(*) AS row_count
                FROM child
                JOIN matched
                    ON matched.child_key = child.has
                WHERE child.has IS DISTINCT FROM child.gets
                GROUP BY matched.parent_key
            ),
            coming AS (
                SELECT matched.parent_key AS key, count(*) AS row_count
                FROM child
                JOIN matched
                    ON matched.child_key = child.gets
                WHERE child.has IS DISTINCT FROM child.gets
                    -- they may come to another row that takes the key
                    AND child.gets NOT IN (SELECT met.key FROM met)
                GROUP BY matched.parent_key
            )
            SELECT
                parent.place,
                parent.row_found,
                parent.goes,
                CASE WHEN parent.goes THEN v_rule.on_delete ELSE v_rule.on_update END AS what,
                coalesce(coming.row_count, 0) - coalesce(leaving.row_count, 0) AS row_count,
                -- which of those that leave are rows of heirs is not known
                CASE WHEN leaving.key IS NULL THEN v_rule.of_child ELSE v_rule.child::regclass::text END AS of_child
            FROM parent
            LEFT JOIN leaving
                ON leaving.key = parent.has
            LEFT JOIN coming
                ON coming.key = parent.has
            WHERE parent.has IS NOT NULL
                AND parent.has IS DISTINCT FROM parent.gets
                -- where no action follows, another row may take the key
                AND (
                    parent.goes
                    OR v_rule.on_update <> 'a'
                    OR parent.has NOT IN (SELECT taking.gets FROM parent AS taking WHERE taking.gets IS NOT NULL)
                )
        LOOP
            columns := CASE WHEN NOT v_row.goes THEN v_rule.parent_columns END;
            place := v_row.place;
            EXECUTE format(
                'SELECT count(*) FROM %s AS live JOIN %s AS child ON %s WHERE %s',
                v_rule.of_parent, v_row.of_child, v_rule.condition, v_row.row_found
            )
            INTO v_count;
            v_count := v_count + v_row.row_count;
            IF v_count > 0 THEN
                action := 'reference';
                detail := format(
                    '%s %s of %s would still refer to it (%s)',
                    v_count, CASE v_count WHEN 1 THEN 'row' ELSE 'rows' END, v_rule.child::regclass, v_rule.name
                );
                RETURN NEXT;
            ELSIF v_row.what IN ('c', 'n', 'd') AND row_security_active(v_rule.child) THEN
                action := 'hidden';
                detail := format('rows of %s that are hidden from you may refer to it (%s)', v_rule.child::regclass, v_rule.name);
                RETURN NEXT;
            END IF;
        END LOOP;

        action := 'reference';
        columns := v_rule.child_columns;
        v_types := NULL;
        FOR v_row IN
            WITH
            parent AS MATERIALIZED (
                SELECT
                    llamalog.picked(touched.live, v_rule.parent_columns) AS has,
                    llamalog.picked(touched.target, v_rule.parent_columns) AS gets
                FROM unnest(touched_rows) AS touched
                WHERE touched.relation = v_rule.parent
            ),
            child AS (
                SELECT
                    touched.ordinality AS place,
                    llamalog.picked(touched.live, v_rule.child_columns) AS has,
                    llamalog.picked(touched.target, v_rule.child_columns) AS gets
                FROM unnest(touched_rows) WITH ORDINALITY AS touched
                WHERE touched.relation = v_rule.child
            ),
            matched AS MATERIALIZED (
                SELECT found.*
                FROM llamalog.matching_keys(
                    v_rule.child, v_rule.child_columns, ARRAY(SELECT child.has FROM child UNION SELECT child.gets FROM child),
                    v_rule.parent, v_rule.parent_columns, ARRAY(SELECT parent.has FROM parent UNION SELECT parent.gets FROM parent),
                    v_rule.condition
                ) AS found
            ),
            -- references that the plan itself will have a row for
            met AS (
                SELECT matched.child_key AS key
                FROM matched
                JOIN parent
                    ON parent.gets = matched.parent_key
            )
            SELECT
                child.gets,
                array_agg(child.place) AS places,
                child.gets IN (SELECT matched.child_key FROM matched JOIN parent ON parent.has = matched.parent_key) AS is_going
            FROM child
            WHERE child.gets IS NOT NULL
                AND child.gets IS DISTINCT FROM child.has
                AND child.gets NOT IN (SELECT met.key FROM met)
            GROUP BY child.gets
        LOOP
            v_count := 0;
            IF NOT v_row.is_going THEN
                v_types := coalesce(v_types, (
                    SELECT jsonb_object_agg(shown.name, jsonb_build_array(shown.type_name, shown.base_type))
                    FROM llamalog.table_columns(v_rule.child) AS shown
                    WHERE shown.name = ANY (v_rule.child_columns)
                ));
                EXECUTE format(
                    'SELECT count(*) FROM %s AS live CROSS JOIN (SELECT %s) AS child WHERE %s',
                    v_rule.of_parent,
                    (
                        SELECT string_agg(
                            format(
                                '%s AS %I',
                                llamalog.image_literal(v_row.gets -> (key.position - 1)::integer, v_types -> key.name ->> 0, v_types -> key.name ->> 1),
                                key.name
                            ),
                            ', '
                        )
                        FROM unnest(v_rule.child_columns) WITH ORDINALITY AS key (name, position)
                    ),
                    v_rule.condition
                )
                INTO v_count;
            END IF;
            IF v_count = 0 THEN
                detail := format(
                    'the row of %s that its %s would refer to is not there (%s)',
                    v_rule.parent::regclass, array_to_string(v_rule.child_columns, ', '), v_rule.name
                );
                FOREACH place IN ARRAY v_row.places LOOP
                    RETURN NEXT;
                END LOOP;
            END IF;
        END LOOP;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.revert_references(llamalog.reverted_row[]) IS
    'Part of llamalog.revert_plan(): places of rows that foreign keys keep from what is planned for them; action: reference, or hidden where row security may hide who refers; columns: those by which it would refer, or be referred to, null for a row that is to go.';
