-- Makes the months to come, and gives the months whose rows had to wait in DEFAULT a partition of their own.
--
-- Attaching a month locks DEFAULT exclusively for moments: each attempt waits lock_wait at most, then tries again.
-- Rows move and their month appears in one transaction, so that no reader misses a row or sees one twice.
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
BEGIN
    IF months_ahead NOT BETWEEN 0 AND 120 THEN
        RAISE EXCEPTION 'months_ahead % is not between 0 and 120', months_ahead
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Three months are usual.';
    END IF;
    -- one at a time
    PERFORM pg_advisory_xact_lock(hashtext('llamalog.maintain'));
    INSERT INTO llamalog.clusters (system_identifier, first_seq)
    SELECT
        control.system_identifier,
        coalesce((SELECT max(log.seq) FROM llamalog.log AS log), 0) + 1
    FROM pg_control_system() AS control
    ON CONFLICT DO NOTHING;

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
            'CREATE TABLE %s (LIKE llamalog.llama_logs INCLUDING ALL EXCLUDING IDENTITY EXCLUDING INDEXES)',
            llamalog.month_partition(v_month)
        );
        EXECUTE format(
            'COMMENT ON TABLE %s IS %L',
            llamalog.month_partition(v_month), 'Changes of ' || to_char(v_month, 'FMMonth YYYY') || ', UTC.'
        );
        -- with this, attaching need not read the month again
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT created_in_month CHECK (created_at >= %L AND created_at < %L)',
            llamalog.month_partition(v_month), v_month, v_month + interval '1 month'
        );
        v_moved := v_moved || llamalog.move_out_of_default(v_month);
    END LOOP;

    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', (extract(epoch FROM lock_wait) * 1000)::integer || 'ms', true);
            LOCK TABLE llamalog.llama_logs IN SHARE UPDATE EXCLUSIVE MODE;
            LOCK TABLE llamalog.llama_logs_default IN ACCESS EXCLUSIVE MODE;
            EXIT;
        EXCEPTION
            WHEN lock_not_available THEN
                IF v_attempt >= attempts THEN
                    RAISE EXCEPTION 'could not lock llamalog.llama_logs_default in % attempts of %', attempts, lock_wait
                        USING ERRCODE = 'lock_not_available',
                              DETAIL  = 'Nothing was changed.',
                              HINT    = 'A long transaction reads the log: see pg_stat_activity, then run llamalog maintain again.';
                END IF;
                v_attempt := v_attempt + 1;
        END;
    END LOOP;

    FOR v_position IN 1 .. cardinality(v_months) LOOP
        v_month := v_months[v_position];
        partition := llamalog.month_partition(v_month);
        first_day := v_month::date;
        -- and those that writers put into DEFAULT meanwhile
        moved_rows := v_moved[v_position] + llamalog.move_out_of_default(v_month);
        EXECUTE format(
            'ALTER TABLE llamalog.llama_logs ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
            partition, v_month, v_month + interval '1 month'
        );
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT created_in_month', partition);
        RETURN NEXT;
    END LOOP;
END;
$function$;

COMMENT ON FUNCTION llamalog.maintain(integer, interval, integer, timestamptz) IS
    'Makes missing monthly partitions, from the oldest row in DEFAULT to months_ahead after the clock; a row for each one made.';
