-- A typographic mark, or what stands for it where the encoding of the database does not have it.
CREATE OR REPLACE FUNCTION llamalog.mark(name text)
    RETURNS text
    LANGUAGE plpgsql
    IMMUTABLE
    STRICT
    PARALLEL SAFE
    SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
    -- two statements: one CASE would be computed in advance, and fail where chr() has no such character
    IF getdatabaseencoding() = 'UTF8' THEN
        RETURN CASE mark.name
            WHEN 'arrow' THEN chr(8594)
            WHEN 'times' THEN chr(215)
            WHEN 'dash' THEN chr(8211)
            WHEN 'ellipsis' THEN chr(8230)
            WHEN 'opening quote' THEN chr(8220)
            WHEN 'closing quote' THEN chr(8221)
        END;
    END IF;
    RETURN CASE mark.name
        WHEN 'arrow' THEN '->'
        WHEN 'times' THEN 'x'
        WHEN 'dash' THEN '-'
        WHEN 'ellipsis' THEN '...'
        ELSE '"'
    END;
END;
$function$;

COMMENT ON FUNCTION llamalog.mark(text) IS
    'The arrow, times sign, dash, ellipsis, opening quote or closing quote; in plain ASCII unless the database is in UTF8.';
