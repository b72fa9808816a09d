"""`bulkhead chaos`: breaks a running installation on purpose while unique messages flow through it, and compares the
provider's ledger with what clients were promised and with what the API reports.

The program drives the system from outside, as client, operator and fault injector; no process of the system knows it.
May import: the leaves of `shared`, `shared.process` for the layout of a home, `shared.store` and `shared.queues` to cut
their connections.
Files: `plans` (faults and plans as data), `installation` (the installation under test), `tenants` (further companies),
`load` and `forms` (the client and its messages), `follow_up` (the client's operator), `fault_actions` and `outsiders`
(how a fault is done), `ledger` and `api_view` (what arrived, what is reported), `judge` (the judgement, pure), `run`
(one run), `report`, `screen`, `program` (the command line).
"""
