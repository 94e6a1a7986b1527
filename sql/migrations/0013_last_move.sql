-- What the capture of a DELETE leaves for that of the INSERT that completes a move between partitions.
--
-- Locks nothing of the application's. Takes milliseconds: the sequence made here is new.

CREATE SEQUENCE llamalog.last_move
    AS bigint
    MINVALUE -9223372036854775808
    START WITH 1;

COMMENT ON SEQUENCE llamalog.last_move IS
    'Hash of the last move between partitions. No order: currval() is what a session remembers and nobody but capture can set, as settings are.';
