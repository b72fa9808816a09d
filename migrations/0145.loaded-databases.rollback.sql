-- Of a database that was restored, positions then begin anew: readers have to begin again.
ALTER TABLE events ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint;
DROP FUNCTION forget_row_security();
DROP FUNCTION continue_event_positions(bigint);
DROP FUNCTION event_xid_offset();
