"""Who asks, and what they may: principals, keys and their scopes.

May import: the leaves of `shared` and `shared.store`. Promises: a principal of one company never gets another's. Knows
nothing of HTTP.
"""
