-- Forgets the last move; capture is off the tables by then.
DROP SEQUENCE llamalog.last_move;
