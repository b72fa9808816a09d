"""Redis and RQ, and the only door to both. A job says "look at row N" and nothing else.

May import: the leaves of `shared`; `channels`, `store` and `process` too, for what a stock worker runs (`stock_rq`).
Promises: every call ends within the Redis time limit; what Redis loses, repeats or reorders is harmless, because rows
are the truth.
"""

from shared.process.tracing import keep_out

# before the first import of redis, which loads OpenTelemetry wherever it is installed
keep_out()
