-- Which world a received message came from: the provider of the other one does not know it, and nothing can quote it there.

-- sandbox, live; null: received before this was stored
ALTER TABLE inbound_messages ADD COLUMN world varchar(20);
