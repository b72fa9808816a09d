"""The API as its clients meet it: the real process over a real PostgreSQL and a real Redis."""
