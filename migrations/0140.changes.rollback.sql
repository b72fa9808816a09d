DROP INDEX events_slots;
DROP INDEX events_changes;
