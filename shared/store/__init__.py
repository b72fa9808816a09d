"""PostgreSQL, and the only door to psycopg2 and yoyo. SQL lives in `queries/*.sql`, each statement with a name and a
sentence.

May import: the leaves of `shared`. Promises: a call returns, raises a named error, or raises `StoreUnavailable` by its
deadline, also when the server is frozen; a connection that may be broken is never handed out again.
"""
