"""Files of messages: where they are kept, what may be sent on which channel, and how one is fetched from an address.

`storage.py` is what everybody uses; `local.py` and `s3.py` are the two ways to keep a file. `shared.store.media` has the rows beside the files.
"""
