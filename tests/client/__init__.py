"""The Python client `bulkhead_client`: its decisions, its two faces, and both against a running installation."""
