"""The one stream of what happened: names of events, readers that follow it, and events as clients see them.

May import: the leaves of `shared`, `shared.store` and `shared.process`. Promises: a reader misses no event, however
late its transaction commits, and sees events in one order. Knows nothing of who reads.
"""
