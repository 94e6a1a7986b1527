-- Forgets the rules for categories. An adopted log is given back by llamalog adopt --undo first.
DROP TABLE llamalog.returned_rows, llamalog.adoption_days, llamalog.adoptions, llamalog.category_rules;
