"""HTTP for API clients and operators.

May import: shared. Promises: a message is accepted (202) when its row is committed and never half; every refusal is a
problem of the table in `problems.py`; whatever a request does, the process goes on.
"""
