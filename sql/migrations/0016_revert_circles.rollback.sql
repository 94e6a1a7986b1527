-- Halves are gone with the functions that make them.
ALTER TYPE llamalog.reverted_row DROP ATTRIBUTE is_half;
