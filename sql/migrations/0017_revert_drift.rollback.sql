-- Functions are gone when migrations are rolled back, and the version before makes its own.
SELECT;
