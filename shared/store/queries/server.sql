-- ping --
-- The cheapest proof that the server answers, that the schema is there and that rows can be written: a server that is
-- read-only refuses to lock rows, even none of them.
SELECT id FROM messages LIMIT 0 FOR UPDATE;

-- lock_migrations --
-- Wait until no other process migrates; released with the transaction, which must not be ended for being idle
-- meanwhile.
-- The lock's transaction stays open and idle while the migrations run on another connection.
SELECT set_config('idle_in_transaction_session_timeout', '0', true), pg_advisory_xact_lock(%(key)s);
