"""`bulkhead chaos`: breaks a running installation on purpose while unique messages flow through it, and compares the
provider's ledger with what the API accepted and with what it reports.

The program acts from outside, as client, operator and fault injector; no process of the system depends on it. May
import: the leaves of `shared`, `shared.process` for the layout of a home, `shared.store` and `shared.queues` to cut
their connections.
Files: `plans` (faults and plans as data), `installation` (the installation under test), `tenants` (further companies),
`load` and `forms` (the client and its messages), `follow_up` (the client's operator), `fault_actions` and `outsiders`
(how faults are carried out), `ledger` and `api_view` (arrivals and reports), `judge` (the judgement, pure), `run` (one
run), `report`, `screen`, `program` (the command line).
"""
