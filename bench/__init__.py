"""Benchmarks: commands with parameters that print a table and JSON; see docs/benchmarks.md. Nothing of Bulkhead imports
them."""
