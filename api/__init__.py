"""HTTP for API clients and operators.

May import: shared. Promises: a message is accepted (202) only when its row is committed; every refusal is a problem of
the table in `problems.py`; no request can end the process.
"""
