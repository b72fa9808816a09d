"""`bulkhead chaos`: breaks a running copy of Bulkhead on purpose while unique messages flow through it, and judges by the provider's ledger alone.

A program that drives the system from outside, like a client, an operator and a vandal at once; no process of the system knows it. May import: the
leaves of `shared`, `shared.process` for where a home keeps what, `shared.store` and `shared.queues` for cutting their connections.
Files: `plans` (faults and plans as data), `copy` (the copy under test), `load` (the careful client), `deeds` (how a fault is done),
`verdict` (the judgement, pure), `trial` (one run), `report`, `screen`, `options`.
"""
