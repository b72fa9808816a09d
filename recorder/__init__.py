"""The recorder: keeps the database's schema up to date, stores the orchestrator's events, and reclaims the work of dead
incarnations.

May import: `shared`. Promises: an event stands in `events` once, also when this process is killed in between; rows of a
dead incarnation are reclaimed as soon as its slot is proved free.
"""
