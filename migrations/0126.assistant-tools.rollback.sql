DELETE FROM row_security_rules WHERE name IN ('bookings', 'slots', 'services', 'functions');
DROP TABLE bookings;
DROP TABLE slots;
DROP TABLE services;
DROP TABLE functions;
