-- Forgets the rules that were declared; those that the catalogue gives go with the functions.
DROP TYPE llamalog.attention_row;
DROP TYPE llamalog.needy_entity;
DROP TYPE llamalog.failure;
DROP TABLE llamalog.attention_rules;
