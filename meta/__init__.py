"""Meta's Cloud API (direct, embedded signup) and 360dialog: sending through the Graph API, and the webhooks that come
back.

May import: `shared`. Promises: a request that may have been carried out is never reported as unsent; a webhook that was
answered with 200 is stored.
"""
