-- What a cursor must agree with: the question, and the cluster whose transactions its snapshot speaks of.
CREATE OR REPLACE FUNCTION llamalog.question_key(question text)
    RETURNS text
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    RETURN (
        SELECT md5(question) || '@' || control.system_identifier
        FROM pg_control_system() AS control
    );
END;
$function$;

COMMENT ON FUNCTION llamalog.question_key(text) IS
    'Digest of a question and its filters, @, and the cluster; llamalog.open_page() compares both.';
