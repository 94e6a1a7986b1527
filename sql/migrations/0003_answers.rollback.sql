-- Forgets what questions answer with; they are made anew by the next migrate.
DROP TYPE llamalog.renaming;
DROP TYPE llamalog.found_entity;
DROP TYPE llamalog.entity_label;
DROP TYPE llamalog.tree_node;
DROP TYPE llamalog.chain_row;
DROP TABLE llamalog.clusters;
DROP TYPE llamalog.page;
