"""A child's side of supervision: its line to the orchestrator, its lifecycle, crash handlers, heartbeat, health and
metrics.

May import: shared leaf files and, for the heartbeat row, `shared.store`. Promises: a room that runs under `run_child`
is ready, alive and drained by the same rules as every other.
"""
