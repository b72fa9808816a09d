-- When the password file was lost or replaced while the data stayed.
ALTER ROLE $role PASSWORD '$password';
