DROP TABLE company_exports;
DELETE FROM row_security_rules WHERE name = 'company_exports';
