"""Shared by all operations: routing, keys, bodies, problems, and the documents generated from the operations."""
