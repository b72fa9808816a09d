-- Back to a schema without tasks.
DROP TABLE tasks;
