DELETE FROM row_security_rules WHERE name IN ('tool_calls', 'model_calls', 'model_spend');
DROP TABLE tool_calls;
DROP TABLE model_calls;
DROP TABLE model_spend;
