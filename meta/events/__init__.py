"""Parses webhooks into one shape for every channel. Pure: bytes in, `ParsedEvents` out.

`reading.py` is the entry. `whatsapp.py` and `messaging.py` read the shapes of their providers; their parts are
functions that return `ParsedEvents`, which are merged. `content.py` and `attachments.py` read the contents of messages
by type, `values.py` single values. A part that cannot be read is named and left out; it never hides another.
"""
