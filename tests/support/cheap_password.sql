-- Each proof of the password costs the client one hash in place of 4096, 2.3 of the 5 ms of CPU of a connection. The
-- suite's processes open thousands.
SET scram_iterations = 1;

ALTER ROLE $role PASSWORD '$password';
