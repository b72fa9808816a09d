DROP INDEX events_audit;
