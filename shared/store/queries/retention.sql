-- prune_journal --
-- Read the next rows in the order in which they were written, and delete raw events that are older than so many seconds
-- and were processed and understood; what waits, or could not be read, stays. By id, which nearly follows the time: a
-- range of the primary key is read, and an index on the time, which every insert would pay for, is not needed.
-- `all_old` is false once the range has reached young rows. `is_done` is apart from `old`: rows that stay end no pass,
-- and the rows behind them are reached.
WITH looked AS MATERIALIZED (
         SELECT id, received_at < now() - make_interval(secs => %(age_s)s) AS old,
                processed_at IS NOT NULL AND outcome = '' AS is_done
         FROM inbound_journal WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     gone AS (DELETE FROM inbound_journal USING looked
              WHERE inbound_journal.id = looked.id AND looked.old AND looked.is_done RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old,
       (SELECT count(*) FROM gone) AS deleted FROM looked;

-- prune_messages --
-- As prune_journal, for messages of ours that are finished; what is queued, in doubt or being sent stays.
WITH looked AS MATERIALIZED (
         SELECT id, created_at < now() - make_interval(secs => %(age_s)s) AS old,
                state NOT IN ('queued', 'sending', 'in_doubt') AS is_done
         FROM messages WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     -- The state is compared again by the DELETE: an operator may redrive a dead letter between the look and the lock.
     gone AS (DELETE FROM messages USING looked
              WHERE messages.id = looked.id AND looked.old AND looked.is_done
                AND messages.state NOT IN ('queued', 'sending', 'in_doubt')
              RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old,
       (SELECT count(*) FROM gone) AS deleted FROM looked;

-- prune_inbound_messages --
-- As prune_journal, for messages that came in, by when they arrived.
WITH looked AS MATERIALIZED (
         SELECT id, created_at < now() - make_interval(secs => %(age_s)s) AS old FROM inbound_messages
         WHERE id > %(after)s ORDER BY id LIMIT %(most)s),
     gone AS (DELETE FROM inbound_messages USING looked WHERE inbound_messages.id = looked.id AND looked.old
              RETURNING looked.id)
SELECT count(*) AS looked, max(id) AS last, coalesce(bool_and(old), true) AS all_old,
       (SELECT count(*) FROM gone) AS deleted FROM looked;

-- drop_day_partitions --
-- Drop the partitions of one table that ended so many seconds ago.
SELECT drop_day_partitions(%(parent)s, %(age_s)s) AS dropped;

-- make_day_partitions --
-- Make the partitions of one table for today and so many further days.
SELECT make_day_partitions(%(parent)s, %(instant)s, %(ahead)s) AS made;

-- prune_event_names --
-- Forget names of events that were written so long ago: no provider repeats them any more.
DELETE FROM event_names WHERE written_at < now() - make_interval(secs => %(age_s)s);

-- prune_event_positions --
-- Forget sources of numbered events that have written nothing for so long: lives of an orchestrator that are over.
DELETE FROM event_positions WHERE updated_at < now() - make_interval(secs => %(age_s)s);
