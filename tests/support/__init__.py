"""What the whole suite stands on: real servers, free ports, waiting on conditions, and the real program in a
subprocess.

Public names: `waiting.eventually`, `ports`, `processes`, `entry.Entry`, `servers.Servers`, `bulkhead.Bulkhead`. The
fixtures over them are in `tests/conftest.py`.
"""
