"""The orchestrator's room: one selector loop that starts, watches, restarts and stops the kinds.

May import: `shared` leaves and `shared.process`; psutil only in `resources`. Promises: it needs neither PostgreSQL nor
Redis, never runs two copies of a slot, and says `slot_free` only when nothing of an incarnation lives. `decide` is pure
and holds every decision; the other files see, act and report.
"""
