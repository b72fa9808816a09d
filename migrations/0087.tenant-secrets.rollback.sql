DROP FUNCTION sealed_with(text, text);
DROP TABLE secret_keys, tenant_secrets;
DELETE FROM row_security_rules WHERE name = 'tenant_secrets';
