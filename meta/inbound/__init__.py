"""Inbound: the public port, the journal, and the processor that turns webhooks into rows and files."""
