"""What stands in a webhook, in one shape for every channel. Pure: bytes in, a `Harvest` out.

`reading.py` is what everybody uses. Below it lies one file for each provider's shape (`whatsapp.py`, `messaging.py`), what they share (`parts.py`), and the
contents of messages by type (`content.py`, `attachments.py`). A part that cannot be read is named and left out; it never hides its neighbours.
"""
