-- Refuses a question about the impact of nothing, and of a time that cannot be.
CREATE OR REPLACE FUNCTION llamalog.check_impact(
    job_id     text,
    source     text,
    user_id    text,
    start_date timestamptz,
    end_date   timestamptz
)
    RETURNS void
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    IF num_nonnulls(job_id, source, user_id, start_date, end_date) = 0 THEN
        RAISE EXCEPTION 'it is not said whose impact is asked for'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT    = 'Give a job, a source, a user or a time; several of them narrow it down.';
    END IF;
    PERFORM llamalog.check_span(start_date, end_date);
END;
$function$;

COMMENT ON FUNCTION llamalog.check_impact(text, text, text, timestamptz, timestamptz) IS
    'Part of llamalog.impact(): raises 22023 when nothing is asked for, or the time is refused by llamalog.check_span().';
