-- Makes the months to come, and gives the months whose rows had to wait in DEFAULT a partition of their own.
--
-- Attaching a month locks the log exclusively for moments: each attempt waits lock_wait at most, then tries again.
-- Rows move and their month appears in one transaction. The log itself is locked, not only DEFAULT: whoever had begun to
-- plan before the month was there, and waited for DEFAULT alone, would look for the rows, or put his, where they no longer go.
CREATE OR REPLACE FUNCTION llamalog.maintain(
    months_ahead integer DEFAULT 3,
    lock_wait    interval DEFAULT '2 seconds',
    attempts     integer DEFAULT 10,
    clock        timestamptz DEFAULT clock_timestamp()
)
    RETURNS TABLE (
        partition  text,
        first_day  date,
        moved_rows bigint
    )
    LANGUAGE plpgsql
    VOLATILE
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    SET TimeZone = 'UTC'
AS $function$
#variable_conflict use_column
DECLARE
    v_months  timestamptz[];
    v_month   timestamptz;
    v_moved   bigint[] := '{}';
    v_attempt integer := 1;
    v_position integer;
    v_timeout text := current_setting('lock_timeout');
BEGIN
    IF (months_ahead BETWEEN 0 AND 120) IS NOT TRUE THEN
        RAISE EXCEPTION 'months_ahead % is not between 0 and 120', months_ahead
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Three months are usual.';
    END IF;
    IF isfinite(clock) IS NOT TRUE THEN
        RAISE EXCEPTION 'clock % is no instant', coalesce(clock::text, 'null')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Leave it out: it is the clock of the server.';
    END IF;
    IF (lock_wait BETWEEN '1 millisecond' AND '1 hour') IS NOT TRUE THEN
        RAISE EXCEPTION 'lock_wait % is not between a millisecond and an hour', lock_wait
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Every writer waits as long; two seconds are usual.';
    END IF;
    -- one at a time
    PERFORM pg_advisory_xact_lock(hashtext('llamalog.maintain'));
    INSERT INTO llamalog.clusters (system_identifier, first_seq)
    SELECT
        control.system_identifier,
        llamalog.top_seq() + 1
    FROM pg_control_system() AS control
    ON CONFLICT DO NOTHING;
    PERFORM llamalog.fill_renamings();
    IF NOT llamalog.is_partitioned('llamalog.llama_logs'::regclass) THEN
        RETURN;  -- an adopted log has no months
    END IF;

    SELECT array_agg(wanted.month ORDER BY wanted.month)
    INTO v_months
    FROM (
        SELECT generate_series(
            date_trunc('month', clock),
            date_trunc('month', clock) + make_interval(months => months_ahead),
            interval '1 month'
        ) AS month
        UNION
        -- rows of the far past or future that an application made up stay in DEFAULT
        SELECT date_trunc('month', waiting.created_at)
        FROM llamalog.llama_logs_default AS waiting
        WHERE waiting.created_at >= date_trunc('month', clock) - interval '10 years'
            AND waiting.created_at < date_trunc('month', clock) + make_interval(months => months_ahead + 1)
    ) AS wanted
    WHERE to_regclass(llamalog.month_partition(wanted.month)) IS NULL;
    IF v_months IS NULL THEN
        RETURN;
    END IF;

    -- the bulk of the rows moves before anything is locked
    FOREACH v_month IN ARRAY v_months LOOP
        EXECUTE format(
            'CREATE TABLE %s (LIKE llamalog.llama_logs INCLUDING ALL EXCLUDING IDENTITY)',
            llamalog.month_partition(v_month)
        );
        EXECUTE format(
            'COMMENT ON TABLE %s IS %L',
            llamalog.month_partition(v_month), 'Changes of ' || to_char(v_month, 'FMMonth YYYY') || ', UTC.'
        );
        -- policies of the log hold for who reads through it: nobody reads the month itself
        IF (SELECT log.relrowsecurity FROM pg_class AS log WHERE log.oid = 'llamalog.llama_logs'::regclass) THEN
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', llamalog.month_partition(v_month));
        END IF;
        -- with this, attaching need not read the month again
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT created_in_month CHECK (created_at >= %L AND created_at < %L)',
            llamalog.month_partition(v_month), v_month, v_month + interval '1 month'
        );
        v_moved := v_moved || llamalog.move_out_of_default(v_month);
    END LOOP;
    -- and what was written while it moved, so that little is left for the time under the lock
    FOR v_position IN 1 .. cardinality(v_months) LOOP
        v_moved[v_position] := v_moved[v_position] + llamalog.move_out_of_default(v_months[v_position]);
    END LOOP;

    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', (extract(epoch FROM lock_wait) * 1000)::integer || 'ms', true);
            LOCK TABLE ONLY llamalog.llama_logs IN ACCESS EXCLUSIVE MODE;
            LOCK TABLE llamalog.llama_logs_default IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF v_attempt >= attempts THEN
                    RAISE EXCEPTION 'could not lock llamalog.llama_logs in % attempts of %', attempts, lock_wait
                        USING ERRCODE = 'lock_not_available',
                              DETAIL  = 'Nothing was changed.',
                              HINT    = 'A long transaction reads the log: see pg_stat_activity, then run llamalog maintain again.';
                END IF;
                v_attempt := v_attempt + 1;
        END;
    END LOOP;

    -- and those that writers put into DEFAULT meanwhile
    FOR v_month IN
        SELECT DISTINCT date_trunc('month', late.created_at)
        FROM llamalog.llama_logs_default AS late
        WHERE date_trunc('month', late.created_at) = ANY (v_months)
    LOOP
        v_position := array_position(v_months, v_month);
        v_moved[v_position] := v_moved[v_position] + llamalog.move_out_of_default(v_month);
    END LOOP;
    -- with this, DEFAULT is read once, and not again for each month
    EXECUTE (
        SELECT
            'ALTER TABLE llamalog.llama_logs_default ADD CONSTRAINT months_have_moved CHECK ('
                || string_agg(
                    format('NOT (created_at >= %L AND created_at < %L)', moved.month, moved.month + interval '1 month'),
                    ' AND '
                )
                || ')'
        FROM unnest(v_months) AS moved (month)
    );
    FOR v_position IN 1 .. cardinality(v_months) LOOP
        v_month := v_months[v_position];
        partition := llamalog.month_partition(v_month);
        first_day := v_month::date;
        moved_rows := v_moved[v_position];
        EXECUTE format(
            'ALTER TABLE llamalog.llama_logs ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
            partition, v_month, v_month + interval '1 month'
        );
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT created_in_month', partition);
        RETURN NEXT;
    END LOOP;
    ALTER TABLE llamalog.llama_logs_default DROP CONSTRAINT months_have_moved;
    PERFORM set_config('lock_timeout', v_timeout, true);
END;
$function$;

COMMENT ON FUNCTION llamalog.maintain(integer, interval, integer, timestamptz) IS
    'Makes missing monthly partitions, from the oldest row in DEFAULT to months_ahead after the clock; a row for each one made.';
