-- The job that was at work when a change was written: a creation names the job of its head, which another made.
-- No SET search_path: only so is it inlined, and costs a row next to nothing.
CREATE OR REPLACE FUNCTION llamalog.working_job(change llamalog.log)
    RETURNS text
    LANGUAGE sql
    IMMUTABLE
AS $function$
    SELECT CASE
        WHEN (change).is_root_job
            AND (change).job_id = concat((change).parent_job_id, '/', (change).entity_type, ':', (change).entity_id)
            THEN (change).parent_job_id
        -- a part of the head, or a link of it
        WHEN (change).job_id IS NULL
            AND right((change).parent_job_id, length(concat('/', (change).related_type, ':', (change).related_id)))
                = concat('/', (change).related_type, ':', (change).related_id)
            THEN left((change).parent_job_id, -length(concat('/', (change).related_type, ':', (change).related_id)))
        WHEN (change).job_id IS NULL
            AND right((change).parent_job_id, length(concat('/', (change).entity_type, ':', (change).entity_id)))
                = concat('/', (change).entity_type, ':', (change).entity_id)
            THEN left((change).parent_job_id, -length(concat('/', (change).entity_type, ':', (change).entity_id)))
        ELSE coalesce((change).job_id, (change).parent_job_id)
    END;
$function$;

COMMENT ON FUNCTION llamalog.working_job(llamalog.log) IS
    'Of a row that job J of many heads created, as J/ALBUM:7 or below it: J. Of any other its job, or that of its head.';
