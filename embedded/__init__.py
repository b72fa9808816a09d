"""The servers that run when no external ones are configured: PostgreSQL and Redis from two wheels, as supervised
children.

May import: shared. Public names: `addresses` (where a client finds the servers), `entry.run_server` (runs a wrapper),
`postgres.prepare` and `redis_server.prepare` (what each server needs). Promises: a server never outlives its wrapper,
it does not listen on a network, PostgreSQL never runs as root, and a hanging server is distinguished from a hanging
wrapper.
"""
