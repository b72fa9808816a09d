DROP TABLE hook_deliveries, hook_retries, hooks;
