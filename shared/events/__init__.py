"""The one stream of what happened: names of events, and readers that follow it.

May import: the leaves of `shared` and `shared.store`. Promises: a reader misses no event, however late its transaction
commits, and sees events in one order. Knows nothing of who reads.
"""
