DELETE FROM tasks WHERE operation = 'import_contacts';
DROP TABLE contact_imports;
DELETE FROM row_security_rules WHERE name = 'contact_imports';
