"""Outgoing webhooks: delivers each company's events to its subscribers.

A subscriber is a cursor over the stream of events, served by one process at a time. Promises: each event at least once,
with the same id; those of one conversation in order; no subscriber waits for another one.
"""
