"""The proxy that copies a single-process server's traffic."""
