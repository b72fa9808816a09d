"""`bulkhead chaos`: breaks a running installation of Bulkhead on purpose while unique messages flow through it, and judges by the provider's ledger alone.

A program that drives the system from outside, like a client, an operator and a injector at once; no process of the system knows it. May import: the
leaves of `shared`, `shared.process` for where a home keeps what, `shared.store` and `shared.queues` for cutting their connections.
Files: `plans` (faults and plans as data), `installation` (the installation under test), `load` (the careful client), `fault_actions` (how a fault is done),
`result` (the judgement, pure), `run` (one run), `report`, `screen`, `options`.
"""
