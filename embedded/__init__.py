"""The servers that run when no external ones are named: PostgreSQL and Redis out of two wheels, as supervised children.

May import: shared. Public names: `addresses` (where a client finds the servers), `server.run_server` (the life of a
wrapper),
`postgres.prepare` and `redis_server.prepare` (what each server needs). Promises: a server never outlives its wrapper,
nothing of it listens
on a network, PostgreSQL never runs as root, and a server that stands still is told apart from a wrapper that does.
"""
