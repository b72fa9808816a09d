-- depends: 0120.conversations
-- What operators' pages read: what happened lately, and what became of each slot, without the events of contacts.

CREATE INDEX events_changes ON events_others (id)
    WHERE subject IN ('process', 'connection', 'session', 'alert', 'hook', 'audit');
CREATE INDEX events_slots ON events_others (written_at) WHERE subject = 'process';
