-- The columns of a table, each with the SQL that compares it and that makes its image: decided here, for every capture.
CREATE OR REPLACE FUNCTION llamalog.table_columns(
    relation oid,
    redacted text[] DEFAULT '{}'
)
    RETURNS TABLE (
        name         text,
        type_name    text,
        is_generated boolean,
        has_value    text,
        compare      text,
        image        text,
        member       text,
        is_plain     boolean,
        is_builtin   boolean,
        key          text,
        key_is_safe  boolean,
        settings     text[],
        base_type    text
    )
    LANGUAGE plpgsql
    STABLE
    SET search_path = pg_catalog, pg_temp
    -- names of types are compared
    SET quote_all_identifiers = off
AS $function$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH RECURSIVE
    unwrapped (attnum, type_oid) AS (
        SELECT attribute.attnum, attribute.atttypid
        FROM pg_attribute AS attribute
        WHERE attribute.attrelid = table_columns.relation
            AND attribute.attnum > 0
            AND NOT attribute.attisdropped
        UNION ALL
        SELECT unwrapped.attnum, domain.typbasetype
        FROM unwrapped
        JOIN pg_type AS domain
            ON domain.oid = unwrapped.type_oid
            AND domain.typtype = 'd'
    ),
    -- or each use below would spell its rules out again
    base_column AS MATERIALIZED (
        SELECT
            attribute.attnum,
            attribute.attname::text AS name,
            format_type(attribute.atttypid, attribute.atttypmod) AS type_name,
            format_type(base.oid, NULL) AS base_type,
            attribute.attgenerated <> '' AS is_generated,
            base.typtype = 'c' AS is_composite,
            base.oid <> attribute.atttypid AS is_domain,
            -- to_jsonb() and ::text run whatever cast the owner of a type of his own has made, with our rights;
            -- concat() runs output functions only
            element.oid < 16384 AS is_builtin,
            -- ROW(NULL) IS NULL, yet it is a value
            CASE WHEN base.typtype = 'c' THEN '%s IS DISTINCT FROM NULL' ELSE '%s IS NOT NULL' END AS has_value,
            element.oid <> base.oid AS is_array,
            -- the family of the type, or of an array's elements: every rule below speaks of families
            CASE
                WHEN element.typtype = 'e' THEN 'enum'
                WHEN element.typtype IN ('c', 'd', 'm', 'r') THEN 'other'
                WHEN element.typnamespace <> 'pg_catalog'::regnamespace THEN 'foreign'
                WHEN element.typname IN ('bool', 'int2', 'int4', 'int8', 'oid', 'uuid', 'xid8') THEN 'exact'
                WHEN element.typname IN ('text', 'varchar') THEN 'text'
                WHEN element.typname IN ('date', 'time', 'timestamp') THEN 'date'
                WHEN element.typname = 'timestamptz' THEN 'instant'
                WHEN element.typname IN ('float4', 'float8') THEN 'float'
                WHEN element.typname IN ('numeric', 'json', 'jsonb', 'bytea', 'money', 'bpchar', 'interval')
                    THEN element.typname::text
                WHEN element.typname IN ('int2vector', 'oidvector') THEN 'vector'
                WHEN element.typname LIKE 'reg%' THEN 'reg'
                WHEN element.typname IN (
                    'bit', 'char', 'cidr', 'inet', 'macaddr', 'macaddr8', 'name', 'tsquery', 'tsvector', 'varbit', 'xml'
                ) THEN 'steady'
                ELSE 'other'
            END AS family,
            coalesce(collation_used.collisdeterministic, true) AS is_deterministic
        FROM pg_attribute AS attribute
        JOIN unwrapped
            ON unwrapped.attnum = attribute.attnum
        JOIN pg_type AS base
            ON base.oid = unwrapped.type_oid
            AND base.typtype <> 'd'
        JOIN pg_type AS element
            ON element.oid = CASE
                -- int2vector and oidvector are written otherwise; they have arrays of their own
                WHEN base.typelem <> 0 AND base.typlen = -1 AND base.typcategory = 'A' AND base.typarray = 0 THEN base.typelem
                ELSE base.oid
            END
        LEFT JOIN pg_collation AS collation_used
            ON collation_used.oid = attribute.attcollation
        WHERE attribute.attrelid = table_columns.relation
    )
    SELECT
        base_column.name,
        base_column.type_name,
        base_column.is_generated,
        base_column.has_value,
        -- only where equal means equal to the byte does IS DISTINCT FROM see every change
        CASE
            WHEN base_column.family IN ('exact', 'date', 'instant', 'bytea')
                OR base_column.family = 'text' AND base_column.is_deterministic
                THEN 'distinct'
            -- casts of somebody's own may give it several operators for equality, but no other function; domains over enums
            -- have none, and of an array's elements they may be his
            WHEN base_column.family = 'enum' AND NOT (base_column.is_domain OR base_column.is_array) THEN 'enum'
            -- one array may have two forms in memory, with and without room for nulls; so may a composite whose type
            -- has got an attribute since
            WHEN base_column.is_array OR base_column.is_composite THEN 'text'
            ELSE 'image'
        END,
        made.image,
        -- jsonb_build_object() makes jsonb by itself, in half the time
        CASE WHEN starts_with(made.image, 'to_jsonb(') THEN substr(made.image, 10, length(made.image) - 10) ELSE made.image END,
        base_column.name <> ALL (table_columns.redacted)
            AND base_column.is_builtin
            AND NOT base_column.is_array
            AND NOT base_column.is_composite
            AND base_column.family NOT IN ('foreign', 'json', 'jsonb', 'float', 'money', 'vector'),
        base_column.is_builtin,
        CASE
            WHEN NOT base_column.is_builtin THEN 'concat(%s)'
            WHEN base_column.is_array THEN '%s::text'
            WHEN base_column.family = 'numeric' THEN 'trim_scale(%s)::text'
            WHEN base_column.family IN ('date', 'instant') THEN '(to_jsonb(%s) #>> ''{}'')'
            ELSE '%s::text'
        END,
        NOT base_column.is_array AND base_column.family IN ('exact', 'date', 'instant'),
        CASE
            WHEN base_column.is_array AND base_column.family NOT IN ('exact', 'enum', 'text', 'numeric')
                OR base_column.is_composite
                OR base_column.family IN ('other', 'foreign')
                THEN ARRAY[
                    'TimeZone', 'DateStyle', 'IntervalStyle', 'bytea_output', 'extra_float_digits', 'quote_all_identifiers'
                ]
            WHEN base_column.family = 'instant' THEN ARRAY['TimeZone']
            WHEN base_column.family = 'interval' THEN ARRAY['IntervalStyle']
            WHEN base_column.family = 'bytea' THEN ARRAY['bytea_output']
            WHEN base_column.family = 'float' THEN ARRAY['extra_float_digits']
            WHEN base_column.family = 'reg' THEN ARRAY['quote_all_identifiers']
            ELSE ARRAY[]::text[]
        END,
        base_column.base_type
    FROM base_column
    CROSS JOIN LATERAL (
        SELECT
            CASE
                WHEN base_column.name = ANY (table_columns.redacted)
                    THEN 'to_jsonb(CASE WHEN ' || base_column.has_value || ' THEN ''[redacted]''::text END)'
                WHEN NOT base_column.is_builtin AND base_column.is_array AND base_column.family = 'enum'
                    THEN 'CASE WHEN cardinality(%1$s) = 0 OR array_ndims(%1$s) = 1 AND array_lower(%1$s, 1) = 1'
                        || ' THEN to_jsonb(concat(%1$s)::text[]) WHEN %1$s IS NOT NULL THEN to_jsonb(concat(%1$s)) END'
                WHEN NOT base_column.is_builtin
                    THEN 'to_jsonb(CASE WHEN ' || base_column.has_value || ' THEN concat(%1$s) END)'
                WHEN base_column.is_array AND base_column.family IN ('exact', 'enum', 'text', 'date', 'instant', 'numeric')
                    THEN 'CASE WHEN cardinality(%1$s) = 0 OR array_ndims(%1$s) = 1 AND array_lower(%1$s, 1) = 1'
                        || ' THEN to_jsonb(%1$s) ELSE to_jsonb(%1$s::text) END'
                WHEN base_column.is_array OR base_column.is_composite OR base_column.family IN ('foreign', 'json', 'vector')
                    THEN 'to_jsonb(%1$s::text)'
                WHEN base_column.family = 'jsonb'
                    THEN 'CASE WHEN jsonb_typeof(%1$s) = ''null'' OR %1$s ? ''$json'''
                        || ' THEN jsonb_build_object(''$json'', %1$s) ELSE %1$s END'
                WHEN base_column.family = 'float'
                    THEN 'CASE WHEN %1$s = 0 AND %1$s::text = ''-0'' THEN to_jsonb(%1$s::text) ELSE to_jsonb(%1$s) END'
                WHEN base_column.family = 'money'
                    THEN 'to_jsonb(%1$s::numeric)'
                ELSE 'to_jsonb(%1$s)'
            END
    ) AS made (image)
    ORDER BY base_column.attnum;
END;
$function$;

COMMENT ON FUNCTION llamalog.table_columns(oid, text[]) IS
    'Columns of a table with the SQL to compare them, to make their image (redacted ones masked), alone or as a member of jsonb_build_object(), and to use them in a key; %s is the value.';
