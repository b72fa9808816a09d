DROP TABLE example_sends;
