"""The recorder: keeps the database's schema up to date, writes down what the orchestrator saw, and gives back what the
dead had in hand.

May import: `shared`. Promises: an event stands in `events` once, also when this process is killed in between; rows of a
dead incarnation are reclaimed as soon as its slot is proved free.
"""
