DROP TABLE webhook_evidence;
