-- Forgets when capture was paused, and ends the pauses: llamalog migrate captures again. Their rows in the log stay.
DROP TABLE llamalog.pauses;
