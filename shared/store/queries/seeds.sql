-- environment_seed --
-- The environment's last known values for a connection; locked, so that two recorders apply a change once.
SELECT digest, written FROM environment_seeds WHERE company_id = %(company_id)s AND phone_index = %(phone_index)s
FOR UPDATE;

-- connection_was_removed --
-- Whether a company had a connection with this index that an operator removed.
SELECT EXISTS (SELECT FROM phone_configs
               WHERE company_id = %(company_id)s AND phone_index = %(phone_index)s
                 AND status = 'removed') AS was_removed;

-- record_environment_seed --
-- Record the environment's values for a connection, and the connection's state.
INSERT INTO environment_seeds (company_id, phone_index, digest, written)
VALUES (%(company_id)s, %(phone_index)s, %(digest)s, %(written)s)
ON CONFLICT (company_id, phone_index) DO UPDATE
SET digest = excluded.digest, written = excluded.written, applied_at = now();
