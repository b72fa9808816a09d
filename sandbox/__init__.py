"""Local stand-ins for Meta's Graph API, 360dialog and WhatsApp Web, and the ledger of what arrived at them.

May import: shared leaf files and, in `room.py`, `shared.process`. Promises: the sandbox uses neither the product's
store nor its queues or delivery code, so that the ledger is independent evidence.
"""
