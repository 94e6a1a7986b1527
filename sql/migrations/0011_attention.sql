-- What makes an entity need a person, beside what the catalogue says itself.
-- Locks nothing of the application's. Takes milliseconds: the table made here is new.

CREATE TABLE llamalog.attention_rules (
    id          integer  PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    entity_type text     NOT NULL,
    rule        text     NOT NULL,
    part_type   text,
    columns     text[],
    bad_values  text[],
    period      interval,
    is_enabled  boolean  NOT NULL DEFAULT true,
    CONSTRAINT rule_is_known
        CHECK (rule IN ('no_parts', 'failed', 'value', 'missing', 'unknown_provenance')),
    CONSTRAINT no_parts_names_a_part_type
        CHECK (NOT is_enabled OR rule <> 'no_parts' OR part_type IS NOT NULL),
    CONSTRAINT missing_names_columns
        CHECK (NOT is_enabled OR rule <> 'missing' OR coalesce(cardinality(columns), 0) > 0),
    CONSTRAINT value_names_one_column_and_its_bad_values
        CHECK (
            NOT is_enabled
            OR rule <> 'value'
            OR coalesce(cardinality(columns), 0) = 1 AND coalesce(cardinality(bad_values), 0) > 0
        )
);

COMMENT ON TABLE llamalog.attention_rules IS
    'Rules of your own for llamalog attention. Those of a type and kind take the place of what the catalogue gives: see llamalog.rules_in_force().';
COMMENT ON COLUMN llamalog.attention_rules.id IS
    'Which rule; rules of one kind are told apart by it.';
COMMENT ON COLUMN llamalog.attention_rules.entity_type IS
    'Type of the entities that need a person, as ALBUM.';
COMMENT ON COLUMN llamalog.attention_rules.rule IS
    'no_parts: no row of part_type belongs to it. failed: it failed within the period, and no success since. value: the column has a bad value. missing: all of the columns are null. unknown_provenance: nobody knows how it came.';
COMMENT ON COLUMN llamalog.attention_rules.part_type IS
    'no_parts: the type of the parts, as TRACK; null for other rules.';
COMMENT ON COLUMN llamalog.attention_rules.columns IS
    'missing: the columns that are all null. value: the one column. Null for other rules.';
COMMENT ON COLUMN llamalog.attention_rules.bad_values IS
    'value: the values, as text, that need a person; null for other rules.';
COMMENT ON COLUMN llamalog.attention_rules.period IS
    'failed: how long ago a failure may be; null means 7 days.';
COMMENT ON COLUMN llamalog.attention_rules.is_enabled IS
    'False: no rule, and so none from the catalogue in its place either.';

CREATE TYPE llamalog.needy_entity AS (
    entity_type text,
    entity_id   text,
    label       text,
    rule        text,
    detail      text,
    columns     text[],
    part_type   text,
    seq         bigint
);

COMMENT ON TYPE llamalog.needy_entity IS
    'An entity that needs a person, by which rule, and what that says of it; seq: of the change that it found, null for a rule about live rows.';

CREATE TYPE llamalog.attention_row AS (
    entity_type text,
    entity_id   text,
    label       text,
    rule        text,
    detail      text,
    since       timestamptz,
    because     text,
    seq         bigint,
    change_type text,
    category    text,
    source      text,
    job_id      text,
    root_job_id text,
    user_id     text
);

COMMENT ON TYPE llamalog.attention_row IS
    'An entity that needs a person, since when, and the change that made it so, with its job; because: the same as the end of a sentence. Nulls from since on: not in the log.';

CREATE TYPE llamalog.failure AS (
    seq           bigint,
    created_at    timestamptz,
    entity_type   text,
    entity_id     text,
    label         text,
    operation     text,
    source        text,
    error_code    text,
    error_message text,
    reason        text,
    retry_count   integer,
    job_id        text,
    parent_job_id text,
    root_job_id   text,
    user_id       text,
    resolved_at   timestamptz
);

COMMENT ON TYPE llamalog.failure IS
    'A failed attempt; resolved_at: when a later one of the same path succeeded, or the entity was removed; null while it stands.';
