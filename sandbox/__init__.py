"""Local stand-ins for Meta's Graph API, 360dialog and WhatsApp Web, and the ledger of what truly arrived at them.

May import: shared leaf files and, in `room.py`, `shared.process`. Promises: nothing of the product's own store, queues
or delivery is used here, so that the ledger is a witness and not an echo.
"""
