"""Files of messages: where they are kept, what may be sent on which channel, and how one is fetched from an address.

`storage.py` is the interface; `local.py` and `s3.py` are its two backends. `shared.store.media` has the rows about
files.
"""
