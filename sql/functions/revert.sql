-- Takes back a change, what a job and its descendants changed, or what an entity became since an instant; gives the id of
-- the job that did so, null when there was nothing to take back.
-- No SET search_path: the application's triggers fire within, and find what they look for by the caller's.
CREATE OR REPLACE FUNCTION llamalog.revert(
    change      bigint DEFAULT NULL,
    job_id      text DEFAULT NULL,
    entity_type text DEFAULT NULL,
    entity_id   text DEFAULT NULL,
    to_at       timestamptz DEFAULT NULL,
    wins        text DEFAULT NULL,
    is_partial  boolean DEFAULT false,
    planned     pg_snapshot DEFAULT NULL,
    user_id     text DEFAULT NULL,
    reason      text DEFAULT NULL
)
    RETURNS text
    LANGUAGE plpgsql
    VOLATILE
AS $function$
BEGIN
    RETURN llamalog.carry_out_revert(
        revert.change, revert.job_id, revert.entity_type, revert.entity_id, revert.to_at, revert.wins, revert.is_partial,
        revert.planned, revert.user_id, revert.reason, pg_catalog.current_setting('search_path')
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.revert(bigint, text, text, text, timestamptz, text, boolean, pg_snapshot, text, text) IS
    'Does what llamalog.revert_plan() says with the same arguments, as a job of source revert, and returns the id of that job; null when there is nothing to do. Raises LL020 to LL023, LL026 and LL028 where something is in the way.';
