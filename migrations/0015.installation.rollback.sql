ALTER TABLE messages DROP COLUMN closed_attempt;
DROP TABLE installation;
